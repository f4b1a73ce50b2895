# SPDX-License-Identifier: Apache-2.0
"""
Shows what the stateful shell holds to, where a list of calls and answers (tests/conformance) cannot:
that no child of it and no output forges an exit code, that nobody looks into it, that it outlives the
executor and no reset, and that what runs behind a call neither waits for one nor shows in one.

Usage: shell.py BUILD
"""

import os
import signal
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import local  # noqa: E402
from ring import Ring  # noqa: E402

# What a report looks like (src/slot/shell.h), but for the number that nobody can know.
REPORT = struct.pack("<II16siIQQ", 0x6c656873, 6, b"guessed", 0, 0, 0, 0)
SHELL_FD = 500


def expect(what, value, wanted):
    if value != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, came {value!r}")


def says(ring, trajectory, command, output, verdict="ok", timeout=None):
    result = ring.shell(trajectory, command, timeout)
    expect(f"{trajectory}: {command}", (result["verdict"], result["output"]), (verdict, output))
    return result["metadata"]


def written(name):
    """A command that writes a forged report to descriptor name."""
    text = "".join(f"\\x{b:02x}" for b in REPORT)
    return f"printf '{text}' >&{name}"


def nothing_is_forged(ring):
    """A report from the shell's child, or of a wrong number, is its end; to a file it is just bytes."""
    for how in (f"({written(SHELL_FD)}); false", f"{written(SHELL_FD)}; false",
                f"({written(SHELL_FD)}) & wait; false", f"echo DONE >&{SHELL_FD}; false"):
        says(ring, "f", "x=1; exec 9>f", "")
        told = says(ring, "f", how, "", "failed")
        expect(how, (told["shell_ended"], told["exit_code"]), ("untrusted", -1))
        told = says(ring, "f", "echo [$x]", "[]")
        expect(how, (told["shell_started"], told["shell_lost"]), (True, "untrusted"))
    # The twin: the same bytes elsewhere cost nothing.
    says(ring, "f", "x=1; exec 9>f", "")
    told = says(ring, "f", f"{written(9)}; ({written(9)}); (exit 7)", "", "failed")
    expect("to a file", (told["shell_ended"], told["exit_code"]), (None, 7))
    says(ring, "f", "echo [$x]; wc -c < f", f"[1]\n{2 * len(REPORT)}")


def a_report_between_calls(ring):
    """Nor can a child that is left behind, when nothing runs."""
    says(ring, "g", f"({{ until [ -e go ]; do :; done; {written(SHELL_FD)}; touch gone; }} &) ; true",
         "")
    expect("go", ring.bash("g", "touch go; until [ -e gone ]; do :; done")["verdict"], "ok")
    told = says(ring, "g", "echo well", "well")
    expect("lost", told["shell_lost"], "untrusted")


def steals_no_command(ring):
    """Who reads its socket gets no more than the end of the shell."""
    command = f"while read -u {SHELL_FD} line; do echo $line >> stolen; done; true"
    result = ring.shell("h", command, 3)
    expect("a thief", result["verdict"] in ("failed", "timeout"), True)
    says(ring, "h", "echo on", "on")


PTRACE = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def attach(pid):
    return libc.ptrace(16, pid, 0, 0) == 0
def opens(pid, name):
    try:
        os.close(os.open(f"/proc/{pid}/{name}", os.O_RDWR))
        return True
    except OSError:
        return False
child = subprocess.Popen(["sleep", "1000"])
while not os.readlink(f"/proc/{child.pid}/exe").endswith("sleep"): pass
print(opens(child.pid, "mem"), attach(child.pid))
print(opens(int(sys.argv[1]), "mem"), attach(int(sys.argv[1])))
child.kill()
"""


def nobody_looks_in(ring):
    """A child can trace its own child, and not the shell."""
    expect("script", ring.call("p", "write_file", {"path": "t.py", "content": PTRACE})["verdict"], "ok")
    says(ring, "p", "python3 t.py $$", "True True\nFalse False")


def jobs_go_on(ring):
    """What runs behind is not stopped by a terminal nobody reads, and is heard in no later call."""
    says(ring, "j", "{ head -c 3000000 /dev/zero | tr '\\0' x; echo; touch done; } &", "")
    expect("it goes on", ring.bash("j", "until [ -e done ]; do :; done")["verdict"], "ok")
    says(ring, "j", "echo next; wait", "next")


PTYS = """
import os, time
held = []
try:
    while len(held) < 1000:
        held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    pass
print(len(held))
"""


def takes_no_others_terminals(ring):
    """A guest gets some dozens of pseudo-terminals, of the machine's few thousand."""
    expect("script", ring.call("t", "write_file", {"path": "p.py", "content": PTYS})["verdict"], "ok")
    n = int(ring.shell("t", "python3 p.py")["output"])
    expect(f"{n} pseudo-terminals", 16 <= n <= 64, True)


def a_report_at_the_prompt(ring):
    """Nor what the prompt runs, while the terminal is handed over: it is no fault of ours."""
    says(ring, "w", f"forge() {{ {written(SHELL_FD)}; }}; PROMPT_COMMAND='(forge)'", "")
    result = ring.terminal("w", "start")
    expect("the terminal", (result["verdict"], result["metadata"]["shell_ended"]),
           ("failed", "untrusted"))
    result = ring.terminal("w", "start")
    expect("the next", (result["verdict"], result["metadata"]["shell_lost"]), ("ok", "untrusted"))


HOG = """
import os, signal, sys
def take_all():
    n = 0
    while True:
        try:
            os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
            n += 1
        except OSError:
            return n
take_all()
os.kill(int(sys.argv[1]), signal.SIGKILL)
while not take_all():
    pass
open("taken", "w").close()
signal.pause()
"""


def in_the_way(ring):
    """What is left behind keeps no shell from being started: where it is in the way, it goes."""
    expect("script", ring.call("n", "write_file", {"path": "h.py", "content": HOG})["verdict"], "ok")
    told = says(ring, "n", "python3 h.py $$ < /dev/null > /dev/null 2>&1 & wait", "", "failed")
    expect("the first", (told["shell_ended"], told["exit_code"]), ("killed", 137))
    expect("taken", ring.bash("n", "until [ -e taken ]; do :; done")["verdict"], "ok")
    told = says(ring, "n", "echo on", "on")
    expect("lost", (told["shell_started"], told["shell_lost"]), (True, "room_lost"))
    says(ring, "n", "ps -e -o comm= | grep -c python || true", "0")


def two_at_once(ring):
    """Calls of one trajectory queue."""
    first = ring.start("q", "bash_stateful", {"command": "sleep 0.2; y=2; echo one"}, 20)
    second = ring.start("q", "bash_stateful", {"command": "echo two $y"}, 20)
    expect("the first", first.wait()["output"], "one")
    expect("the second", second.wait()["output"], "two 2")


def cancel(daemon, ring):
    """A cancelled command is gone with all in its room, and the next has a fresh shell."""
    says(ring, "c", "z=1; sleep 2001 &", "")
    running = ring.start("c", "bash_stateful", {"command": "touch here; sleep 2002"}, 500)
    expect("it runs", ring.bash("d", "true")["verdict"], "ok")
    local.wait_until(lambda: sleeps(daemon, "2002"), "the command runs")
    ring.cancel(running)
    result = running.wait()
    expect("cancelled", (result["verdict"], result["metadata"]["shell_ended"]),
           ("cancelled", "cancelled"))
    expect("nothing is left", sleeps(daemon, "2001") + sleeps(daemon, "2002"), [])
    told = says(ring, "c", "echo [$z]", "[]")
    expect("lost", told["shell_lost"], "cancelled")


def sleeps(daemon, seconds):
    """Who of the daemon's processes sleeps so long."""
    found = []
    for pid in local.living(local.below(daemon.process.pid)):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read() == b"sleep\0" + seconds.encode() + b"\0":
                    found.append(pid)
        except OSError:
            pass
    return found


def large(ring):
    """A command of a megabyte, and output of many."""
    says(ring, "l", "x='" + "y" * 1_000_000 + "'; echo ${#x}", "1000000")
    result = ring.shell("l", "head -c 5000000 /dev/zero | tr '\\0' a")
    expect("cut", result["output"], "a" * 50_000 + "\n... (output truncated)")
    expect("all was written", result["metadata"]["stdout_bytes"], 5_000_000)
    says(ring, "l", "echo ${#x}", "1000000")


def executor_dies(daemon, ring):
    """An idle shell outlives the executor; one that runs is ended, and its call answered."""
    says(ring, "a", "k=3; sleep 2003 &", "")
    says(ring, "b", "k=4", "")
    running = ring.start("b", "bash_stateful", {"command": "sleep 2004"}, 500)
    local.wait_until(lambda: sleeps(daemon, "2004"), "the command runs")
    os.kill(daemon.children()[0], signal.SIGKILL)
    expect("the call that ran", running.wait()["verdict"], "unknown")
    says(ring, "a", "echo [$k]", "[3]")
    says(ring, "b", "echo [$k]", "[]")
    expect("it was ended", sleeps(daemon, "2004"), [])
    expect("it was kept", len(sleeps(daemon, "2003")), 1)


def ends(daemon, ring):
    """Reset and release end the shell and what it has started."""
    for how in (ring.reset, ring.release):
        says(ring, "e", "m=5; (setsid sleep 2005 &); echo $m", "5")
        local.wait_until(lambda: sleeps(daemon, "2005"), "it runs")
        expect(str(how), how("e")["verdict"], "ok")
        local.wait_until(lambda: not sleeps(daemon, "2005"), "it is gone")
        told = says(ring, "e", "echo [$m]; ps -e -o comm= | grep -c sleep || true", "[]\n0")
        expect("a new one", (told["shell_started"], told["shell_lost"]), (True, None))


def main():
    build = sys.argv[1]
    local.must_be_able(build)
    with local.Local(build) as daemon, Ring(build, daemon.name) as ring:
        steps = [nothing_is_forged, a_report_between_calls, steals_no_command, nobody_looks_in,
                 a_report_at_the_prompt, in_the_way, jobs_go_on, takes_no_others_terminals,
                 two_at_once, large]
        for step in steps:
            step(ring)
            print(f"ok: {step.__doc__}")
        for step in (cancel, executor_dies, ends):
            step(daemon, ring)
            print(f"ok: {step.__doc__}")
    print(f"{len(steps) + 3} passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    main()
