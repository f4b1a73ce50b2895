#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""toolring bench slots, at a few samples each: what it prints has the promised form, it says what it
cannot compare with, and it leaves nothing behind, also when interrupted. Says nothing about speed:
no value is judged."""

import json
import os
import signal
import subprocess
import sys
import tempfile

from report_form import check_form

TOOLRING, TOOLRINGD = sys.argv[1:3]
SKIP = 77

# Row -> unit, has a baseline, has a target.
ROWS = {
    "bash_true_p50": ("ns", True, True),
    "bash_true_p99": ("ns", True, True),
    "bash_true_vs_bwrap": ("ns", True, True),
    "bash_ls_p50": ("ns", True, True),
    "bash_true_rate_64": ("per_second", True, True),
    "bash_true_rate_64_vs_bwrap": ("per_second", True, True),
    "read_file_p50": ("ns", True, True),
    "read_file_any_core": ("ns", True, False),
    "read_file_rate_64": ("per_second", True, True),
    "slot_make": ("ns", True, True),
    "slot_rate": ("per_second", True, True),
    "reset_small": ("ns", False, True),
    "reset_large": ("ns", False, False),
    "slot_memory": ("bytes", False, True),
    "slot_memory_available": ("bytes", False, False),
    "slot_memory_processes": ("bytes", False, False),
    "slot_memory_tmpfs": ("bytes", False, False),
    "slot_memory_slab": ("bytes", False, False),
    "slot_memory_percpu": ("bytes", False, False),
    "slot_memory_stacks": ("bytes", False, False),
    "slot_memory_zygote": ("bytes", False, True),
    "slot_idle_cpu": ("ns", False, True),
    "many_slots_call": ("ns", True, True),
    "many_slots_read": ("ns", True, True),
    "yes_memory": ("bytes", False, True),
    "yes_time": ("ns", True, True),
    "abuse_p99": ("ns", True, True),
}
BWRAP_ROWS = ("bash_true_vs_bwrap", "bash_true_rate_64_vs_bwrap", "slot_make")


def skip(why):
    """Ends as skipped; where everything must work, as failed."""
    must_work = os.environ.get("TOOLRING_MUST_WORK") == "1"
    print(("cannot be tested: " if must_work else "skipped: ") + why)
    sys.exit(1 if must_work else SKIP)


def run(*arguments, env=None):
    return subprocess.run([TOOLRING, "bench", "slots", "--toolringd", TOOLRINGD, *arguments],
                          capture_output=True, text=True, timeout=500, env=env)


def check_able():
    """Ends the test where no toolringd with slots of its own can be started."""
    r = run("--quick", "--only", "read_file_p50")
    if r.returncode == 3 and "toolringd did not start" in r.stderr:
        skip(r.stderr)
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    assert "read_file_p50" in r.stdout and "bash_true" not in r.stdout, r.stdout


def test_all():
    """All rows are there, of the right units; what is measured here may be more or less than what
    was there before, so memory may be negative."""
    r = run("--quick", "--json")
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    report = json.loads(r.stdout)
    check_form(report, "slots")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == set(ROWS), set(rows) ^ set(ROWS)
    for name, row in rows.items():
        unit, baseline, target = ROWS[name]
        assert row["unit"] == unit, row
        assert (row["baseline"] is not None) == baseline, row
        if row["baseline"] == "bwrap is missing":
            assert name in BWRAP_ROWS and row["target"] is None, row
        else:
            assert (row["target"] is not None) == target, row
        assert row["value"] >= 0 or unit == "bytes", row


def test_no_bwrap(directory):
    """Without bubblewrap its rows say so and judge nothing; with --check that is a failure."""
    env = {**os.environ, "PATH": os.path.join(directory, "none")}
    r = run("--quick", "--json", "--check", "--only", "slot_make", env=env)
    assert r.returncode == 1 and "bubblewrap" in r.stderr, (r.returncode, r.stderr)
    report = json.loads(r.stdout)
    check_form(report, "slots")
    (row,) = report["rows"]
    assert row["baseline"] == "bwrap is missing" and row["met"] is None, row
    assert row["value"] > 0, row


def test_usage():
    """A row that is none is named, and those that are."""
    r = run("--only", "bash_true_p50,bash_false_p50")
    assert r.returncode == 2, r.returncode
    assert "bash_false_p50" in r.stderr and "slot_rate" in r.stderr, r.stderr


def test_no_daemon():
    """A toolringd that cannot be started is an infrastructure error with its words."""
    r = subprocess.run([TOOLRING, "bench", "slots", "--only", "slot_rate", "--toolringd",
                        "/bin/false"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 3 and "did not start" in r.stderr, (r.returncode, r.stderr)


def test_interrupt(directory, number):
    """Interrupted in the middle: toolringd is gone when the command is, and so is its directory."""
    with subprocess.Popen([TOOLRING, "bench", "slots", "--only", "slot_rate", "--toolringd",
                           TOOLRINGD], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as p:
        p.stderr.readline()  # "measuring slot_rate": there is work in progress
        p.send_signal(number)
        status = p.wait(timeout=60)
    assert status == 128 + signal.SIGKILL, status
    assert os.listdir(directory) == [], os.listdir(directory)


def main():
    with tempfile.TemporaryDirectory(prefix="toolring-smoke-") as directory:
        os.environ["TMPDIR"] = directory
        test_usage()
        test_no_daemon()
        check_able()
        test_all()
        test_no_bwrap(directory)
        assert os.listdir(directory) == [], os.listdir(directory)
        test_interrupt(directory, signal.SIGTERM)
        test_interrupt(directory, signal.SIGINT)
    print("ok")


main()
