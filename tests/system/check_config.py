#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The configuration from outside: toolringd itself takes flags, environment and .env in that order,
shows what holds and why with --check-config, and refuses a wrong value from each source before it
starts anything, with a line that names the place, the value and what is allowed.

Usage: check_config.py TOOLRINGD
"""
import json
import os
import subprocess
import sys
import tempfile

TOOLRINGD = os.path.abspath(sys.argv[1])


def run(*args, env=None, dotenv=None):
    """One toolringd in a directory of its own, with nothing in its environment but env."""
    with tempfile.TemporaryDirectory(prefix="toolring-check-config-") as directory:
        if dotenv is not None:
            with open(os.path.join(directory, ".env"), "w", encoding="utf-8") as f:
                f.write(dotenv)
        clean = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "XDG_RUNTIME_DIR": directory}
        # What the sanitizers are told has to reach a sanitized toolringd.
        clean.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        clean.update(env or {})
        done = subprocess.run([TOOLRINGD, *args], cwd=directory, env=clean, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        left = [name for name in os.listdir(directory) if name != ".env"]
        assert not left, f"{args}: left behind {left}"
        return done


def assert_good(done, *parts):
    assert done.returncode == 0, (done.args, done.returncode, done.stderr)
    for part in parts:
        assert part in done.stdout, f"{done.args}: no {part!r} in\n{done.stdout}"


def assert_wrong(done, *parts, status=2):
    assert done.returncode == status, (done.args, done.returncode, done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, f"{done.args}: not one line: {done.stderr!r}"
    for part in parts:
        assert part in done.stderr, f"{done.args}: no {part!r} in {done.stderr!r}"


def test_help():
    """--help needs nothing to be right and names flags, variables and limits."""
    done = run("--help", env={"TOOLRING_SLOTS_MAX": "wrong"}, dotenv="wrong")
    assert_good(done, "--slots-max", "TOOLRING_SLOTS_MAX", "TOOL_EXECUTOR_SLOTS", "sessions_max")
    assert not done.stderr


def test_version():
    done = run("--version")
    assert_good(done)
    assert any(c.isdigit() for c in done.stdout), done.stdout


def test_sources():
    """Each source is seen, named, and gives way to the stronger one."""
    dotenv = "# ours\nTOOLRING_SLOTS_MAX=3\nTOOLRING_SPIN_US=4\nTOOLRING_LIMIT_SESSIONS_MAX=5\n"
    done = run("--check-config", env={"TOOLRING_SLOTS_MAX": "2"}, dotenv=dotenv)
    assert_good(done, "slots-max = 2  (environment, TOOLRING_SLOTS_MAX)",
                "spin-us = 4  (.env line 3, TOOLRING_SPIN_US)",
                "limit sessions_max = 5 sessions  (.env line 4,",
                "acquire-timeout-s = 30  (default)")
    done = run("--check-config", "--slots-max", "1", env={"TOOLRING_SLOTS_MAX": "2"},
               dotenv=dotenv)
    assert_good(done, "slots-max = 1  (flag, --slots-max)")
    done = run("--check-config", env={"TOOL_EXECUTOR_MAX_BATCH_SIZE": "9"})
    assert_good(done, "max-batch-size = 9  (environment, TOOL_EXECUTOR_MAX_BATCH_SIZE)",
                "limit batch_calls_max = 9 calls")


def test_reasons():
    """Every limit stands there with a reason."""
    lines = run("--check-config").stdout.splitlines()
    limits = [i for i, line in enumerate(lines) if line.startswith("limit ")]
    assert len(limits) >= 20
    for i in limits:
        assert lines[i + 1].startswith("        "), lines[i]


def test_wrong_values():
    """From each source, checking and starting alike; nothing is started."""
    for first in (["--check-config"], []):
        assert_wrong(run(*first, "--slots-max", "many"), "--slots-max", '"many"', "1 to 1048576")
        assert_wrong(run(*first, env={"TOOLRING_LOG_LEVEL": "loud"}),
                     "environment variable TOOLRING_LOG_LEVEL", '"loud"', "error, warning")
        assert_wrong(run(*first, env={"TOOL_EXECUTOR_ACQUIRE_TIMEOUT_S": "-1"}),
                     "environment variable TOOL_EXECUTOR_ACQUIRE_TIMEOUT_S", '"-1"', "0 to 86400")
        assert_wrong(run(*first, dotenv="\nTOOLRING_USER=root\n"),
                     ".env line 2, TOOLRING_USER", '"root"', "but root")
        assert_wrong(run(*first, "--limit", "session_max=1"), "--limit session_max",
                     "did you mean sessions_max?")
        assert_wrong(run(*first, env={"TOOLRING_LIMIT_NONE": "1"}), "TOOLRING_LIMIT_NONE",
                     "no such limit")
        assert_wrong(run(*first, dotenv="this is no assignment\n"), ".env line 1", "KEY=VALUE")
        assert_wrong(run(*first, "--slot-max=1"), '"--slot-max=1"', "did you mean --slots-max?")
        assert_wrong(run(*first, "something"), '"something"', "--help")


def test_plan():
    """What slots are made to is JSON; an option that cannot be is refused before anything starts."""
    done = run("--plan", "--accept-missing=ipc,network,proc,seccomp,landlock,memory,pids",
               "--slot-env", "COLOUR=red", "--disk=64M")
    if done.returncode == 1 and "does not allow" in done.stderr:
        print("skipped: no slots here:", done.stderr)
        assert not os.environ.get("TOOLRING_MUST_WORK")
        return
    assert_good(done)
    plan = json.loads(done.stdout)
    assert plan["env"]["COLOUR"] == "red" and "HOME" in plan["env"], plan["env"]
    assert plan["limits"]["disk_bytes"] == 64 << 20, plan["limits"]
    assert {"user", "pid", "mount"} <= set(plan["layers"]), plan["layers"]
    for first in (["--plan"], []):
        everything = [*first, "--accept-missing=ipc,network,proc,seccomp,landlock,memory,pids"]
        assert_wrong(run(*everything, "--shell=/no/shell"), "--shell", "/no/shell", status=1)
        assert_wrong(run(*everything, "--slot-env=1=2"), "--slot-env", "NAME=VALUE", status=1)
        assert_wrong(run(*everything, "--slot-bind=/no/place"), "--slot-bind", "/no/place", status=1)
        assert_wrong(run(*everything, "--slot-bind=/usr:/tmp"), "--slot-bind", "/tmp", status=1)
        assert_wrong(run(*everything, "--slot-program=/no/slot"), "--slot-program", "/no/slot", status=1)
    assert_wrong(run("--plan", "--backend=fake"), "--plan", "no slots", status=1)


def main():
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)


main()
