#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""toolring bench ring and load, at a few samples each: what they print has the promised form, and
they leave nothing behind, also when interrupted. Says nothing about speed: no value is judged."""

import json
import os
import signal
import subprocess
import sys
import tempfile

from report_form import check_form

TOOLRING, TOOLRINGD = sys.argv[1:3]

# Row -> unit, has a baseline, has a target.
RING_ROWS = {
    "ping_awake_p50": ("ns", True, True),
    "ping_awake_p99": ("ns", True, True),
    "ping_asleep_p50": ("ns", True, True),
    "socket_asleep_p50": ("ns", True, False),
    "ping_rate_1": ("per_second", False, True),
    "ping_rate_8": ("per_second", True, True),
    "execute_rate_1": ("per_second", False, True),
    "execute_rate_8": ("per_second", True, True),
    "trajectories_100k": ("ns", True, True),
    "allocs_per_call": ("count", False, True),
    "idle_cpu": ("ns", False, True),
    "idle_memory": ("bytes", False, True),
    "idle_private": ("bytes", False, False),
}

def run(*arguments, status=0):
    r = subprocess.run([TOOLRING, "bench", *arguments], capture_output=True, text=True, timeout=240)
    assert r.returncode == status, (arguments, r.returncode, r.stdout, r.stderr)
    return r.stdout


def test_ring():
    """All rows are there, of the right units; a sanitizer's allocator cannot be counted."""
    report = json.loads(run("ring", "--quick", "--json", "--toolringd", TOOLRINGD))
    check_form(report, "ring")
    rows = {row["name"]: row for row in report["rows"]}
    missing = set(RING_ROWS) - set(rows)
    assert missing <= {"allocs_per_call"}, missing
    if missing:
        print("skipped: allocs_per_call (a sanitizer is in the way)")
    for name, row in rows.items():
        unit, baseline, target = RING_ROWS[name]
        assert row["unit"] == unit, row
        assert (row["baseline"] is not None) == baseline, row
        assert (row["target"] is not None) == target, row
        assert row["value"] >= 0, row


def test_only_and_table():
    """--only measures what it names; the table names the row, its target and whether it is met."""
    table = run("ring", "--quick", "--only", "ping_rate_1", "--toolringd", TOOLRINGD)
    assert "ping_rate_1" in table and ">= 3 M/s" in table, table
    assert "ping_awake" not in table, table


def test_load():
    """Every call that was due is answered; as JSON, and as a table with a plot."""
    arguments = ["load", "--rate", "2000", "--seconds", "0.5", "--toolringd", TOOLRINGD]
    report = json.loads(run(*arguments, "--json"))
    check_form(report, "load")
    rows = {row["name"]: row["value"] for row in report["rows"]}
    assert rows["calls"] == 1000 and rows["calls_not_ok"] == 0, rows
    tail = [rows["latency_" + p] for p in ("p50", "p90", "p99", "p99.9", "p99.99", "max")]
    assert tail == sorted(tail) and tail[0] > 0, tail
    plot = run(*arguments, "--payload", "100000")
    assert "99.99 %" in plot and "*" in plot, plot


def test_no_daemon():
    """A toolringd that cannot be started is an infrastructure error with its words, no traceback."""
    r = subprocess.run([TOOLRING, "bench", "ring", "--toolringd", "/bin/false"],
                       capture_output=True, text=True, timeout=60)
    assert r.returncode == 3 and "did not start" in r.stderr, (r.returncode, r.stderr)


def test_interrupt(directory):
    """Interrupted in the middle: toolringd is gone when the command is, and so is its directory."""
    with subprocess.Popen([TOOLRING, "bench", "ring", "--only", "idle_cpu", "--toolringd", TOOLRINGD],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        p.stderr.readline()  # "measuring idle_cpu": there is work in progress
        p.send_signal(signal.SIGTERM)
        status = p.wait(timeout=60)
    assert status == 128 + signal.SIGKILL, status
    assert os.listdir(directory) == [], os.listdir(directory)


def main():
    with tempfile.TemporaryDirectory(prefix="toolring-smoke-") as directory:
        os.environ["TMPDIR"] = directory
        test_no_daemon()
        test_ring()
        test_only_and_table()
        test_load()
        assert os.listdir(directory) == [], os.listdir(directory)
        test_interrupt(directory)
    print("ok")


main()
