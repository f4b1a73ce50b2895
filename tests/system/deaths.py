# SPDX-License-Identifier: Apache-2.0
"""
Shows what the death of each process behind local slots costs, and what not.

The executor (SIGKILL): the call that ran is answered "unknown" and ended in its slot; files and kept
processes of every slot are there for the client that comes back. A slot's init: its trajectory is told
that its files are gone, no other is, and the next call has a fresh slot. The maker: all slots are gone
and each trajectory is told; calls go on. toolringd as a whole ends well after each. A room's init:
the call that ran there is answered "unknown", never "failed", and who kept something is told so.

Usage: deaths.py BUILD
"""

import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import local  # noqa: E402
from ring import Ring  # noqa: E402

LOST = {"unknown", "not_started"}


def expect(what, value, wanted):
    if value != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, came {value!r}")


def inits(daemon):
    """The slots' inits: the maker's children."""
    maker = daemon.children()[1]
    return {p for p in local.processes() if local.parent_of(p) == maker}


def kill_inits(daemon):
    """Of slots in use and of spares: nothing says which is whose."""
    pids = inits(daemon)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    local.wait_until(lambda: not local.living(pids), "they are dead")


def well(ring, trajectory, command, output):
    result = ring.bash(trajectory, command)
    expect(f"{trajectory}: {command}", (result["verdict"], result["output"]), ("ok", output))


def keeps(ring, trajectory, command):
    return ring.call(trajectory, "exec", {"command": command, "keep": True})


def told(ring, trajectory):
    """The next call says that the slot is gone, and the one after it has a fresh one."""
    result = ring.bash(trajectory, "cat f")
    if result["verdict"] not in LOST or "gone" not in result["error"]:
        raise SystemExit(f"{trajectory} was not told: {result}")
    well(ring, trajectory, "ls -A", "")


def executor_dies(daemon, ring):
    well(ring, "a", "echo one > f", "")
    well(ring, "b", "echo two > f", "")
    expect("keep", keeps(ring, "b", "sleep 1000 & echo $! > pid")["verdict"], "ok")
    expect("keep", keeps(ring, "b", "kill -0 $(cat pid)")["verdict"], "ok")
    running = ring.start("a", "bash", {"command": "echo begun > g; exec sleep 1001"}, timeout=500)
    local.wait_until(lambda: any(b"sleep\x001001" == open(f"/proc/{p}/cmdline", "rb").read()[:-1]
                                 for p in local.below(daemon.process.pid)
                                 if os.path.exists(f"/proc/{p}/cmdline")), "the call runs")
    before = inits(daemon)
    os.kill(daemon.children()[0], signal.SIGKILL)
    expect("the call that ran", running.wait()["verdict"], "unknown")
    # Behind the end of what ran before: nobody of it is seen.
    well(ring, "a", "cat f g; ps -e -o comm= | grep -c sleep || true", "one\nbegun\n0")
    well(ring, "b", "cat f", "two")
    expect("kept over a restart", keeps(ring, "b", "kill -0 $(cat pid)")["verdict"], "ok")
    if not before & inits(daemon):
        raise SystemExit("no slot outlived the executor")


def slot_dies(daemon, ring):
    for trajectory in ("a", "b", "c"):
        well(ring, trajectory, "echo one > f", "")
    kill_inits(daemon)
    for trajectory in ("a", "b", "c"):
        told(ring, trajectory)
    running = ring.start("c", "bash", {"command": "sleep 1000"}, timeout=500)
    local.wait_until(lambda: ring.status()["calls_running"] == 1, "the call runs")
    kill_inits(daemon)
    result = running.wait()
    expect("the call of a slot that died", result["verdict"], "unknown")
    well(ring, "c", "ls -A", "")


def maker_dies(daemon, ring):
    well(ring, "d", "echo four > f", "")
    os.kill(daemon.children()[1], signal.SIGKILL)
    local.wait_until(lambda: ring.status()["backend"]["died_total"] > 0, "slots are gone")
    told(ring, "d")
    well(ring, "e", "echo on", "on")


def rooms(daemon, command):
    """The inits of all rooms, once somebody has this on his command line. Whose room is whose an
    ordinary user may not look up."""
    words = command.replace(" ", "\x00").encode()
    found = False
    inits_of = set()
    for pid in local.below(daemon.process.pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                found |= f.read().rstrip(b"\0") == words
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                if f.read() == "toolring-room\n":
                    inits_of.add(pid)
        except OSError:
            continue
    return inits_of if found else set()


def kill_room(daemon, command):
    local.wait_until(lambda: rooms(daemon, command), "it runs")
    for pid in rooms(daemon, command):
        os.kill(pid, signal.SIGKILL)
        local.wait_until(lambda: not local.living({pid}), "its room is gone")


def room_dies(daemon, ring):
    well(ring, "a", "echo one > f", "")
    for arguments in ({"command": "exec sleep 1002"},
                      {"argv": ["sleep", "1002"]},
                      {"argv": ["sleep", "1002"], "keep": True}):
        tool = "bash" if "argv" not in arguments else "exec"
        running = ring.start("a", tool, arguments, timeout=500)
        kill_room(daemon, "sleep 1002")
        result = running.wait()
        expect(f"{arguments} in a room that died", result["verdict"], "unknown")
        expect("what it says was lost", "kept_lost" in result["metadata"], "keep" in arguments)
        well(ring, "a", "cat f", "one")
    expect("keep", keeps(ring, "a", "sleep 1003 >/dev/null 2>&1 &")["verdict"], "ok")
    kill_room(daemon, "sleep 1003")
    result = keeps(ring, "a", "ps -e -o comm= | grep -c sleep || true")
    expect("the next one is told", (result["verdict"], result["stdout"],
                                    result["metadata"].get("kept_lost")), ("ok", b"0\n", True))
    expect("once", "kept_lost" in keeps(ring, "a", "true")["metadata"], False)


def main():
    build = os.path.abspath(sys.argv[1])
    local.must_be_able(build)
    for case in (executor_dies, slot_dies, maker_dies, room_dies):
        with local.Local(build, "--slots-max", "8", "--slots-warm", "1") as daemon:
            with Ring(build, daemon.name) as ring:
                case(daemon, ring)
        print(f"{case.__name__}: as it should be")


if __name__ == "__main__":
    main()
