#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
zygote.py HOST OBJECT [--bash FILE] [--only N] [--random N] [--seed N] [--verbose]
zygote.py --through-slots BUILD [--only N] [--random N] [--seed N] [--verbose]

Shows that a command forked by the zygote cannot be told from one started as `bash -c COMMAND`: each
command here runs both ways, in the same place, and must give the same bytes on stdout and on stderr
and the same exit status or signal. The commands are those of tests/conformance/bash-commands.jsonl and
zygote_commands.jsonl, and as many more as ZYGOTE_RANDOM says (300) made at random by zygote_grammar.py;
the seed is printed and ZYGOTE_SEED sets it. Then zygote_host checks the protocol.

Through slots, a toolringd is started, and the two ways are its tools bash, which has a zygote fork,
and exec with the arguments bash -c COMMAND.

What differs by nature is in DIFFERS below, and nowhere else.
"""

import argparse
import difflib
import json
import os
import random
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
import zygote_grammar  # noqa: E402

# Replaced before comparing, in the output of commands that match.
DIFFERS = [
    # (why, what the command must contain, what is replaced, by what)
    ("how long a thing took", r"\btimes?\b|TIMEFORMAT", rb"\d+m\d+\.\d+s|\d+\.\d\d\d?\b", b"TIME"),
]

# Through slots only: there one cannot have the kernel count process ids from the same number again.
DIFFERS_IN_SLOTS = [
    ("process ids", r"", rb"\d+", b"N"),
]

ZYGOTE, EXEC = 0, 1
RUNS_MAX = 8  # of a command whose sides differ
TIMEOUT_S = 10
OUTPUT_MAX = 40000  # characters: some less than the tool bash gives


class Host:
    """zygote_host, which runs one command at a time."""

    differs = DIFFERS

    def __init__(self, host, target, bash):
        self.process = subprocess.Popen([host, target, bash], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def run(self, side, command, stdin=b""):
        self.process.stdin.write(struct.pack("=IIQ", side, len(stdin), len(command))
                                 + command + stdin)
        self.process.stdin.flush()
        answer = self.read(24)
        status, timed_out, n_out, n_err = struct.unpack("=iIQQ", answer)
        out = self.read(n_out)
        err = self.read(n_err)
        return {"status": "timeout" if timed_out else status, "stdout": out, "stderr": err}

    def read(self, n):
        data = self.process.stdout.read(n)
        if len(data) != n:
            code = self.process.wait()
            sys.exit(code if code == 77 else f"zygote_host ended early ({code})")
        return data

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


class Slots:
    """A toolringd of our own. The tool bash gives its two streams as one text."""

    differs = DIFFERS + DIFFERS_IN_SLOTS

    def __init__(self, build):
        import local
        from ring import Ring
        local.must_be_able(build)
        self.daemon = local.Local(build)
        self.daemon.__enter__()
        self.ring = Ring(build, self.daemon.name)
        self.ring.__enter__()
        self.n_zygote = 0

    def run(self, side, command, stdin=b""):
        text = command.decode("utf-8", "surrogateescape")
        if stdin or len(text) > 30000 or "\udcff" in text:
            return {"status": "not for the tool bash", "stdout": b"", "stderr": b""}
        self.ring.execute("zygote", ["sh", "-c", "chmod -R u+rwx . 2>/dev/null; "
                                     "find . -mindepth 1 -delete"])
        if side == ZYGOTE:
            result = self.ring.bash("zygote", text, timeout=TIMEOUT_S)
            output = result["output"]
            self.n_zygote += result["metadata"].get("zygote", 0) > 0
        else:
            result = self.ring.execute("zygote", ["bash", "-c", text], timeout=TIMEOUT_S)
            output = "\n".join(result[name].decode("utf-8", "replace").strip()
                               for name in ("stdout", "stderr"))
        output = re.sub(r"\s*\[stderr\]\s*", "\n", output).strip()
        metadata = result["metadata"]
        return {"status": (result["verdict"], metadata.get("exit_code"), metadata.get("signal")),
                "stdout": output[:OUTPUT_MAX].encode("utf-8", "surrogateescape"), "stderr": b""}

    def close(self):
        self.ring.__exit__(None, None, None)
        self.daemon.__exit__(None, None, None)
        print(f"{self.n_zygote} commands were forked by a zygote")
        return self.n_zygote == 0


def normal(differs, command, result):
    for _why, needs, pattern, by in differs:
        if re.search(needs, command):
            result = {key: re.sub(pattern, by, value) if isinstance(value, bytes) else value
                      for key, value in result.items()}
    return result


def show(result):
    lines = [f"status: {result['status']}"]
    for name in ("stdout", "stderr"):
        text = result[name].decode("utf-8", "backslashreplace")
        lines += [f"{name}: {line}" for line in text.splitlines()]
        if text and not text.endswith("\n"):
            lines.append(f"{name}: (no newline)")
    return lines


def compare(host, case):
    """None where both sides agree, else what differs, as text.

    A few commands say one of several things, whoever runs them: a second may pass, a pipe's reader
    may be gone or not. So sides that differ are run again, and must say some same thing then.
    """
    command = case["command"]
    if "fill" in case:
        command = command.replace("{}", case["fill"][0] * case["fill"][1])
    data = command.encode("utf-8", "surrogateescape")
    stdin = case.get("stdin", "").encode()
    seen = {EXEC: [], ZYGOTE: []}
    for _ in range(RUNS_MAX):
        for side, results in seen.items():
            results.append(normal(host.differs, command, host.run(side, data, stdin)))
        if any(result in seen[EXEC] for result in seen[ZYGOTE]):
            return None
    return "\n".join(difflib.unified_diff(show(seen[EXEC][0]), show(seen[ZYGOTE][0]), "bash -c",
                                          "zygote", lineterm="", n=1))


def commands_of(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("host", nargs="?")
    parser.add_argument("object", nargs="?")
    parser.add_argument("--through-slots", metavar="BUILD")
    parser.add_argument("--bash", default="/bin/bash")
    parser.add_argument("--only", type=int, help="the case of that number alone")
    parser.add_argument("--random", type=int,
                        default=int(os.environ.get("ZYGOTE_RANDOM", "300")))
    parser.add_argument("--seed", type=int,
                        default=int(os.environ.get("ZYGOTE_SEED", str(time.time_ns() % 10**9))))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if bool(options.through_slots) == bool(options.object):
        parser.error("name a zygote_host and an object, or a build")
    if not os.access(options.bash, os.X_OK):
        print(f"no {options.bash} here")
        return 1 if os.environ.get("TOOLRING_MUST_WORK") else 77

    cases = commands_of(HERE.parent / "conformance" / "bash-commands.jsonl")
    cases += commands_of(HERE / "zygote_commands.jsonl")
    n_written = len(cases)
    choose = random.Random(options.seed)
    cases += [{"command": zygote_grammar.command(choose)} for _ in range(options.random)]
    print(f"{n_written} commands, {options.random} at random (ZYGOTE_SEED={options.seed})",
          flush=True)

    if options.through_slots:
        host = Slots(options.through_slots)
    else:
        host = Host(options.host, options.object, options.bash)
    n_different = 0
    started = time.monotonic()
    for number, case in enumerate(cases):
        if options.only is not None and options.only != number:
            continue
        if options.verbose:
            print(f"{number}: {case['command']!r}", flush=True)
        before = time.monotonic()
        difference = compare(host, case)
        if options.verbose:
            print(f"    {time.monotonic() - before:.3f} s", flush=True)
        if difference:
            n_different += 1
            print(f"--- {number}: {case['command']!r}\n{difference}\n", flush=True)
    if host.close() != 0:
        return 1
    print(f"{n_different} differ, {time.monotonic() - started:.1f} s", flush=True)
    if options.only is not None or options.through_slots:
        return n_different != 0
    protocol = subprocess.run([options.host, options.object, options.bash, "check"], check=False)
    return 1 if n_different or protocol.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
