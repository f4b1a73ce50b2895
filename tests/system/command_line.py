#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The toolring command against a private toolringd over the fake backend: help, usage errors, exit
codes, and what is printed where.

Usage: command_line.py TOOLRING TOOLRINGD
"""
import base64
import json
import os
import subprocess
import sys

from private_daemon import Daemon

TOOLRING, TOOLRINGD = sys.argv[1:3]
COMMANDS = ["ping", "call", "exec", "artifact", "status", "acquire", "reset", "release", "doctor",
            "bench"]
ARTIFACTS = ["artifact " + word for word in ("read", "list", "archive", "write", "unpack")]


def run(*arguments, status=0, name=None, text=True):
    environment = dict(os.environ)
    if name:
        environment["TOOLRING_NAME"] = name
    r = subprocess.run([TOOLRING, *arguments], capture_output=True, text=text, timeout=60,
                       env=environment, stdin=subprocess.DEVNULL)
    assert r.returncode == status, (arguments, r.returncode, r.stdout, r.stderr)
    return r


def test_help():
    """--help of the program and of every sub-command: on stdout, exit 0, naming every option."""
    for arguments in (["--help"], ["-h"], ["help"]):
        out = run(*arguments).stdout
        assert all(c in out for c in COMMANDS), out
    for command in COMMANDS + ARTIFACTS + ["bench ring", "bench load"]:
        out = run(*command.split(), "--help").stdout
        assert out.startswith("usage: toolring " + command), out
        assert run("help", *command.split()).stdout == out
    for option in ("--trajectory ID", "--timeout S", "--raw", "--json", "--name NAME", "--help"):
        assert option in run("call", "--help").stdout, option
    for option in ("--json", "--check", "--quick", "--only", "--toolringd", "--name"):
        assert option in run("bench", "ring", "--help").stdout, option
    assert run("--version").stdout.startswith("toolring 0.")


def test_usage():
    """What makes no sense exits with 2, before anything is tried, and names what is wrong and what is
    allowed; nothing on stdout."""
    for arguments, words in (
        ([], ["no command"]),
        (["frob"], ["unknown command frob", "ping", "status"]),
        (["--frob"], ["unknown option --frob", "--version"]),
        (["help", "frob"], ["unknown command frob"]),
        (["ping", "--frob"], ["unknown option --frob", "--count", "--name"]),
        (["ping", "-c"], ["--count needs a value"]),
        (["ping", "-c", "0"], ["--count 0", "from 1"]),
        (["ping", "-c", "1.5"], ["--count 1.5", "whole number"]),
        (["ping", "-c", "nan"], ["--count nan"]),
        (["ping", "x"], ["unexpected argument: x"]),
        (["call"], ["too few arguments", "TOOL"]),
        (["call", "bash", "{"], ["not JSON", "line 1"]),
        (["call", "bash", "[]"], ["must be a JSON object"]),
        (["call", "bash", "{}", "{}"], ["unexpected argument"]),
        (["call", "bash", '{"a": {"$base64": "?"}}'], ["base64"]),
        (["call", "bash", "--raw", "--json"], ["--raw", "--json"]),
        (["call", "bash", "--timeout", "soon"], ["--timeout soon", "number"]),
        (["exec"], ["too few arguments"]),
        (["artifact"], ["read", "list", "archive", "write", "unpack"]),
        (["artifact", "frob"], ["unknown command frob", "read", "unpack"]),
        (["artifact", "read", "-t", "t"], ["too few arguments", "PATH"]),
        (["artifact", "read", "x"], ["--trajectory is missing"]),
        (["artifact", "read", "-t", "t", "x", "y"], ["unexpected argument: y"]),
        (["artifact", "read", "-t", "t", "x", "--max-bytes", "0"], ["--max-bytes 0"]),
        (["artifact", "list", "-t", "t", "--frob"], ["unknown option --frob", "--recursive"]),
        (["artifact", "write", "-t", "t"], ["too few arguments"]),
        (["status", "--json=1"], ["takes no value"]),
        (["acquire"], ["too few arguments"]),
        (["acquire", "t", "--spec", "[]"], ["--spec must be a JSON object"]),
        (["bench"], ["ring", "load"]),
        (["bench", "frob"], ["unknown command frob", "ring", "load"]),
        (["bench", "ring", "--only", "ping_rate_1,frob"], ["no row frob", "ping_awake_p50"]),
        (["bench", "load", "--rate", "0"], ["--rate 0"]),
        (["bench", "load", "--arguments", "[1]"], ["must be a JSON object"]),
    ):
        r = run(*arguments, status=2)
        assert r.stdout == "", (arguments, r.stdout)
        for word in words:
            assert word in r.stderr, (arguments, word, r.stderr)


def test_no_daemon():
    """Nobody there: 3 with the reason (exec: 125, as its own codes are the command's)."""
    nobody = "/nonexistent/nobody.sock"
    for arguments, status in ((["ping"], 3), (["call", "bash"], 3), (["status"], 3),
                              (["exec", "true"], 125), (["artifact", "read", "-t", "t", "x"], 3),
                              (["artifact", "write", "-t", "t", "x"], 3)):
        r = run(*arguments, status=status, name=nobody)
        assert "no session with toolringd" in r.stderr and r.stdout == "", r.stderr


def test_ping(name):
    out = run("ping", "-c", "3", "--interval", "0", "--name", name).stdout.splitlines()
    assert len(out) == 4 and out[0].startswith("ping 1: ") and out[3].startswith("3 round trips"), out


def test_call(name):
    """Arguments of every type reach the tool and come back; the three forms of output."""
    arguments = {"command": "echo h\u00e9", "list": [1, -2, 3.5, None, True, {"deep": {}}],
                 "bytes": {"$base64": base64.b64encode(b"\x00\xff\xfe").decode()}}
    out = run("call", "bash", json.dumps(arguments), "--name", name).stdout
    result = json.loads(out)
    assert result["verdict"] == "ok" and result["success"] is True, result
    assert result["output"] == arguments["command"], result
    assert result["metadata"]["arguments"] == arguments, result
    assert result["uniq_id"] == "cli" and "queue_ns" in result["timing"], result
    assert len(out.splitlines()) > 5
    line = run("call", "--json", "bash", json.dumps(arguments), "-n", name).stdout
    assert len(line.splitlines()) == 1 and json.loads(line)["output"] == result["output"]
    raw = run("call", "bash", json.dumps(arguments), "--raw", "--trajectory", "t", name=name).stdout
    assert raw == arguments["command"], raw
    # A command's streams stand beside the output, which then says nothing of them.
    streams = {"fake": {"stdout": "out\n", "stderr": "err\n"}}
    r = run("call", "exec", json.dumps(streams), "--raw", name=name)
    assert (r.stdout, r.stderr) == ("out\n", "err\n"), r


def test_call_exit_codes(name):
    """ok 0; the tool's and the model's doing 1; what is toolring's own 3. The verdict is printed."""
    for verdict, status in (("ok", 0), ("failed", 1), ("oom", 1), ("limit", 1), ("denied", 1),
                            ("unavailable", 3)):
        fake = {"fake": {"verdict": verdict, "error": "because"}}
        r = run("call", "bash", json.dumps(fake), "--json", name=name, status=status)
        assert json.loads(r.stdout)["verdict"] == verdict, r.stdout
        if verdict == "failed":
            r = run("call", "bash", json.dumps(fake), "--raw", name=name, status=status)
            assert "because" in r.stderr, r.stderr
    r = run("call", "no_such_tool", "{}", "--json", name=name, status=1)
    assert json.loads(r.stdout)["error"] == "Unknown tool: no_such_tool", r.stdout
    r = run("call", "bash", '{"fake": {"wait_s": 30}}', "--timeout", "1", "--json", name=name, status=1)
    assert json.loads(r.stdout)["verdict"] == "timeout", r.stdout


def run_exec(name, fake, *options, status=0):
    """Runs `true` with a script for the fake backend."""
    return run("exec", *options, "--arguments", json.dumps({"fake": fake}), "true", name=name,
               status=status)


def test_exec_words(name):
    """The words reach the tool as argv, one by one, also those with spaces in them or that look like
    options of ours; further arguments stand beside them."""
    assert run("exec", "--trajectory", "t", "--", "ls", "--frob", name=name).stdout == "ls --frob"
    assert run("exec", "ls", "--frob", "--", name=name).stdout == "ls --frob --"
    words = ["sh", "-c", "echo  two  words", "", "h\u00e9"]
    fake = {"fake": {"verdict": "ok", "exit_code": 0}}
    assert run("exec", "-a", json.dumps(fake), "--", *words, name=name).stdout == " ".join(words)
    # A joined text cannot tell "a b" from "a", "b": the arguments as the backend got them can.
    r = run("call", "exec", json.dumps({"argv": words}), "--json", name=name)
    assert json.loads(r.stdout)["metadata"]["arguments"]["argv"] == words, r.stdout
    r = run("exec", "--frob", "ls", name=name, status=2)
    assert "unknown option --frob" in r.stderr
    for wrong, word in (("{", "not JSON"), ("[]", "object"), ('{"argv": []}', "argv")):
        r = run("exec", "--arguments", wrong, "ls", name=name, status=2)
        assert word in r.stderr and r.stdout == "", r.stderr


def test_exec_outcome(name):
    """The command's streams become ours, its exit code or signal our exit code; a timeout is 124."""
    streams = {"stdout": "out\n", "stderr": "err\n"}
    r = run_exec(name, streams)
    assert (r.stdout, r.stderr) == ("out\n", "err\n"), r
    r = run_exec(name, {"verdict": "failed", "exit_code": 3, **streams}, status=3)
    assert (r.stdout, r.stderr) == ("out\n", "err\n"), r
    r = run_exec(name, {"verdict": "failed", "error": "because", "exit_code": 3}, status=3)
    assert "failed: because" in r.stderr, r.stderr
    run_exec(name, {"verdict": "failed", "signal": 9}, status=128 + 9)
    run_exec(name, {"verdict": "failed"}, status=1)
    run_exec(name, {"wait_s": 30}, "--timeout", "1", status=124)


def test_exec_infrastructure(name):
    """What keeps the command from running is 125 and named, whatever exit code the answer has."""
    for verdict in ("unavailable", "unknown", "denied"):
        r = run_exec(name, {"verdict": verdict, "exit_code": 3}, status=125)
        assert verdict in r.stderr, r.stderr
    for wrong in ({"exit_code": 256}, {"signal": 0}, {"stdout": 1}):
        r = run_exec(name, wrong, status=125)
        assert "invalid: arguments.fake" in r.stderr, r.stderr


def test_exec_no_slot():
    """A toolringd that gets no slots: 125 with the verdict, nothing on stdout."""
    with Daemon(TOOLRINGD, "--fake", "acquire_fail=1", "--acquire-timeout-s", "0") as daemon:
        r = run("exec", "true", name=daemon.name, status=125)
        assert "unavailable" in r.stderr and r.stdout == "", r


def test_bench_left_out(name):
    """bench ring --check against a given toolringd fails for a row that needs one of its own, unless
    --only leaves it out."""
    arguments = ["bench", "ring", "--quick", "--check", "--name", name, "--only"]
    r = run(*arguments, "allocs_per_call", status=1)
    assert "allocs_per_call: left out" in r.stderr, r.stderr
    run(*arguments, "idle_private")


def test_status(name):
    """Counters grow with what was done; one row for each tool, percentiles in order."""
    before = json.loads(run("status", "--json", name=name).stdout)
    run("call", "read_file", '{"path": "x"}', name=name)
    after = json.loads(run("status", "--json", name=name).stdout)
    assert after["stats"]["calls_total"] > before["stats"]["calls_total"]
    assert after["stats"]["sessions_total"] == before["stats"]["sessions_total"] + 2
    tool = after["stats"]["tools"]["read_file"]
    assert tool["verdicts"]["ok"] >= 1, tool
    run_ns = tool["phases"]["run"]
    assert run_ns["count"] >= 1 and run_ns["p50_ns"] <= run_ns["p99_ns"] <= run_ns["max_ns"], run_ns
    table = run("status", name=name).stdout
    assert "read_file" in table and "calls_total" in table and "p99" in table, table


def test_trajectory(name):
    """acquire names the slot; reset and release are answered; a spec that is none is refused."""
    result = json.loads(run("acquire", "t1", "--json", name=name).stdout)
    assert result["verdict"] == "ok" and result["slot_id"], result
    r = run("acquire", "t1", "--spec", '{"frob": 1}', "--json", name=name, status=1)
    assert json.loads(r.stdout)["verdict"] == "invalid", r.stdout
    run("acquire", "t1", "--spec", "{", name=name, status=2)
    for command in (["reset", "t1"], ["release", "t1"], ["release", "t1", "--keep-files"]):
        result = json.loads(run(*command, "--json", name=name).stdout)
        assert result["verdict"] == "ok" and result["success"] is True, (command, result)
        run(*command, name="/nonexistent/nobody.sock", status=3)


def main():
    test_help()
    test_usage()
    test_no_daemon()
    test_exec_no_slot()
    with Daemon(TOOLRINGD) as daemon:
        for test in (test_ping, test_call, test_call_exit_codes, test_exec_words,
                     test_exec_outcome, test_exec_infrastructure, test_status, test_trajectory,
                     test_bench_left_out):
            test(daemon.name)
    print("ok")


main()
