#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""toolring bench shells, at a few samples each: what it prints has the promised form, it says what it
cannot compare with, and it leaves nothing behind (neither files nor a tmux server), also when
interrupted. Says nothing about speed: no value is judged."""

import json
import os
import signal
import subprocess
import sys
import tempfile

from report_form import check_form

TOOLRING, TOOLRINGD = sys.argv[1:3]
SKIP = 77
SCRATCH = "/dev/shm"

# Row -> unit, has a baseline, has a target.
ROWS = {
    "stateful_true_p50": ("ns", True, True),
    "stateful_true_p99": ("ns", True, False),
    "stateful_true_vs_spin": ("ns", True, False),
    "stateful_true_default": ("ns", True, False),
    "stateful_true_one_core": ("ns", True, False),
    "stateful_true_any_core": ("ns", True, False),
    "shell_start": ("ns", True, False),
    "stateful_output_10mb": ("ns", True, False),
    "key_echo_p50": ("ns", True, True),
    "key_wait_for_p50": ("ns", True, False),
    "artifact_read_5mb": ("ns", True, True),
    "artifact_archive_1000": ("ns", True, True),
    "artifact_archive_zst": ("ns", True, False),
    "shell_idle_memory": ("bytes", False, True),
    "shell_idle_processes": ("bytes", False, False),
    "shell_idle_tmpfs": ("bytes", False, False),
    "shell_idle_slab": ("bytes", False, False),
    "shell_idle_cpu": ("ns", False, True),
}
TMUX_ROWS = ("key_echo_p50", "key_wait_for_p50")


def skip(why):
    """Ends as skipped; where everything must work, as failed."""
    must_work = os.environ.get("TOOLRING_MUST_WORK") == "1"
    print(("cannot be tested: " if must_work else "skipped: ") + why)
    sys.exit(1 if must_work else SKIP)


def run(*arguments, env=None):
    return subprocess.run([TOOLRING, "bench", "shells", "--toolringd", TOOLRINGD, *arguments],
                          capture_output=True, text=True, timeout=500, env=env)


def check_able():
    """Ends the test where no toolringd with slots of its own can be started."""
    r = run("--quick", "--only", "stateful_true_p50")
    if r.returncode == 3 and "toolringd did not start" in r.stderr:
        skip(r.stderr)
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    assert "stateful_true_p50" in r.stdout and "key_echo" not in r.stdout, r.stdout


def left_overs(directory):
    """What our benches have left: each names its folder in memory as that in directory."""
    return os.listdir(directory) + [name for name in os.listdir(SCRATCH)
                                    if name.startswith("toolring-bench-")
                                    and os.stat(os.path.join(SCRATCH, name)).st_uid == os.getuid()]


def test_all():
    """All rows are there, of the right units; what is measured here may be more or less than what
    was there before, so memory may be negative."""
    r = run("--quick", "--json")
    assert r.returncode == 0, (r.returncode, r.stdout, r.stderr)
    report = json.loads(r.stdout)
    check_form(report, "shells")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == set(ROWS), set(rows) ^ set(ROWS)
    for name, row in rows.items():
        unit, baseline, target = ROWS[name]
        assert row["unit"] == unit, row
        assert (row["baseline"] is not None) == baseline, row
        if row["baseline"] in ("tmux is missing", "zstd is missing"):
            print(f"skipped: {name} has nothing to compare with: {row['baseline']}")
            assert row["target"] is None, row
        else:
            assert (row["target"] is not None) == target, row
        assert row["value"] >= 0 or unit == "bytes", row


def test_no_tmux(directory):
    """Without tmux its rows say so and judge nothing; with --check that is a failure."""
    env = {**os.environ, "PATH": os.path.join(directory, "none")}
    r = run("--quick", "--json", "--check", "--only", ",".join(TMUX_ROWS), env=env)
    assert r.returncode == 1 and "tmux is missing" in r.stderr, (r.returncode, r.stderr)
    report = json.loads(r.stdout)
    check_form(report, "shells")
    assert [row["name"] for row in report["rows"]] == list(TMUX_ROWS), report
    for row in report["rows"]:
        assert row["baseline"] == "tmux is missing" and row["met"] is None, row
        assert row["value"] > 0, row


def test_usage():
    """A row that is none is named, and those that are."""
    r = run("--only", "key_echo_p50,key_echo_p51")
    assert r.returncode == 2, r.returncode
    assert "key_echo_p51" in r.stderr and "artifact_read_5mb" in r.stderr, r.stderr


def test_interrupt(directory, row, line):
    """Interrupted in the middle: all that was started is gone when the command is, and so are its
    directories."""
    with subprocess.Popen([TOOLRING, "bench", "shells", "--only", row, "--toolringd", TOOLRINGD],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        while line not in p.stderr.readline():
            pass
        p.send_signal(signal.SIGTERM)
        status = p.wait(timeout=60)
    assert status == 128 + signal.SIGKILL, status
    assert left_overs(directory) == [], left_overs(directory)


def main():
    with tempfile.TemporaryDirectory(prefix="toolring-smoke-") as directory:
        os.environ["TMPDIR"] = directory
        test_usage()
        check_able()
        test_all()
        test_no_tmux(directory)
        assert left_overs(directory) == [], left_overs(directory)
        test_interrupt(directory, "key_echo_p50", "measuring key_echo_p50")
        test_interrupt(directory, "artifact_archive_1000", "measuring artifact_archive_1000")
    print("ok")


main()
