# SPDX-License-Identifier: Apache-2.0
"""
A toolringd that toolring.start() has started ends with the interpreter, however that ends, and
leaves nothing: no process, mount, cgroup, name in /dev/shm or folder. It does not end with a
thread, a forked child, or what is typed at the terminal.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from private import below, cannot, commands_below, is_alive, stat_of, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "system"))

import nothing_left as traces  # type: ignore[import-not-found]  # noqa: E402

GONE_S = 10  # a machine that does other things, too, takes its time

# What every script begins with: daemon is started, and say() sends a line to the test.
FAKE = """
import json, os, signal, sys, threading, time, toolring, toolring.sync

def say(**members):
    os.write(1, json.dumps(members).encode() + b"\\n")

def ping():
    with toolring.sync.connect(daemon.name) as client:
        return client.ping() > 0

daemon = toolring.start(backend="fake")
say(pid=daemon.pid, name=daemon.name)
"""

# Four slots that are busy with what would run for ever.
LOCAL = """
import json, os, sys, threading, time, toolring, toolring.sync

daemon = toolring.start(slots_max=8, slots_min=2)
client = toolring.sync.connect(daemon)
for i in range(4):
    t = client.trajectory(f"t{i}")
    t.exec("sleep 33001.25 & setsid sleep 33001.25 & echo x > /tmp/x", keep=True)
    threading.Thread(target=t.bash, args=["sleep 33002.25; :"], kwargs={"timeout": 600},
                     daemon=True).start()
print(json.dumps({"pid": daemon.pid, "name": daemon.name}), flush=True)
"""

WAIT = "\nsys.stdin.read()\n"


class Interpreter:
    """A Python that runs a script; its temporary files go where folder says."""

    def __init__(self, script: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder)}, start_new_session=True)

    def hear(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it said nothing more, and ended with {self.process.wait(timeout=60)}"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def marked(pids: set[int]) -> set[tuple[int, str]]:
    """These processes so that they can be known again: their numbers may be given to others."""
    return {(pid, stat[19]) for pid in pids if (stat := stat_of(pid))}


def remaining(processes: set[tuple[int, str]]) -> list[int]:
    return [pid for pid, began in processes if is_alive(pid) and stat_of(pid)[19:20] == [began]]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """After each test there is no more than before."""
    mounts, shm = traces.mounts(), traces.shm()
    yield
    wait_until(lambda: not os.listdir(tmp_path), f"{tmp_path} is empty", GONE_S)
    # What others have meanwhile, in tests beside this one, goes as well.
    wait_until(lambda: traces.mounts() <= mounts, "mounts are gone", GONE_S)
    wait_until(lambda: traces.shm() <= shm, "names in /dev/shm are gone", GONE_S)


# ---- the interpreter ends ------------------------------------------------------------------------

def test_killed_with_slots(tmp_path: Path) -> None:
    """kill -9 of an interpreter whose slots are busy: within seconds all of it is gone."""
    with Interpreter(LOCAL + WAIT, tmp_path) as interpreter:
        try:
            said = interpreter.hear()
        except AssertionError:
            cannot("this machine has no slots")
        wait_until(lambda: len(commands_below(said["pid"], "33002.25")) == 4, "four are busy")
        pids = below(said["pid"]) | {said["pid"]}
        family = marked(pids)
        cgroups = traces.cgroup_folders(traces.cgroups_of(pids))
        assert len(remaining(family)) > 20  # twin: while the interpreter lives, so do they
        assert os.path.exists(said["name"])
        if not {"memory", "pids"} <= set(os.environ.get("TOOLRING_ACCEPT_MISSING", "").split(",")):
            assert cgroups
        before = time.monotonic()
        interpreter.process.kill()
        wait_until(lambda: not remaining(family), "its processes are gone", GONE_S)
        wait_until(lambda: not any(map(os.path.isdir, cgroups)), "its cgroups are gone", GONE_S)
        wait_until(lambda: not os.path.exists(os.path.dirname(said["name"])), "its folder is gone")
        print(f"gone after {time.monotonic() - before:.3f} s")


@pytest.mark.parametrize("end", [
    "sys.exit(3)", "raise ZeroDivisionError", "os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)",
    "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "pass",
    "daemon.stop()", "del daemon", "sys.daemon = daemon; daemon.me = daemon",
])
def test_ends(end: str, tmp_path: Path) -> None:
    """By itself, by a signal, with an error or without a word."""
    script = FAKE + "sys.stdin.readline()\nimport resource\n" \
                    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" + end
    with Interpreter(script, tmp_path) as interpreter:
        said = interpreter.hear()
        family = marked(below(said["pid"]) | {said["pid"]})
        assert len(remaining(family)) == 2
        interpreter.go_on()
        interpreter.process.wait(timeout=60)
        wait_until(lambda: not remaining(family), "it is gone", GONE_S)


def test_end_waits_for_nothing(tmp_path: Path) -> None:
    """A call that would run for long does not hold up the end of an interpreter."""
    script = FAKE + """
client = toolring.sync.connect(daemon)
call = ("bash", {"fake": {"wait_s": 500}})
threading.Thread(target=client.trajectory("t").call, args=call, kwargs={"timeout": 600},
                 daemon=True).start()
while client.status()["calls_running"] != 1:
    pass
say()
"""
    with Interpreter(script, tmp_path) as interpreter:
        said = interpreter.hear()
        interpreter.hear()
        interpreter.process.wait(timeout=GONE_S)
        assert not is_alive(said["pid"])


def test_killed_while_it_starts(tmp_path: Path) -> None:
    """kill -9 at any moment of start(), and of an interpreter that is starting several."""
    if os.environ.get("TOOLRING_SEED"):
        random.seed(os.environ["TOOLRING_SEED"])
    script = """
import threading, toolring
print("{}", flush=True)
for backend in ("local", "fake"):
    threading.Thread(target=lambda: toolring.start(backend=backend, slots_max=4)).start()
"""
    for i in range(20):
        with Interpreter(script, tmp_path) as interpreter:
            interpreter.hear()
            time.sleep(random.uniform(0, 0.3))
            family = marked(below(interpreter.process.pid))
            interpreter.process.kill()
            wait_until(lambda: not remaining(family), f"all is gone of the {i}th", GONE_S)
        wait_until(lambda: not os.listdir(tmp_path), "the folders are gone", GONE_S)


# ---- it goes on ----------------------------------------------------------------------------------

def test_outlives_its_thread(tmp_path: Path) -> None:
    """The thread that started it may end."""
    script = FAKE.replace("daemon = toolring", "holder = []\nthread = threading.Thread("
                          "target=lambda: holder.append(toolring.start(backend='fake')))\n"
                          "thread.start()\nthread.join()\ndaemon = holder[0]\n#") + \
        "say(pings=ping())" + WAIT
    with Interpreter(script, tmp_path) as interpreter:
        said = interpreter.hear()
        assert interpreter.hear() == {"pings": True}
        interpreter.process.kill()
        wait_until(lambda: not is_alive(said["pid"]), "it is gone", GONE_S)


CHILDREN = {
    "exits": "if os.fork() == 0: sys.exit()\nos.wait()",
    "leaves": "if os.fork() == 0: os._exit(0)\nos.wait()",
    "leaves a with": """
with daemon:
    if os.fork() == 0:
        with daemon:
            daemon.stop()
        del daemon
        sys.exit()
    os.wait()
    say(pings=ping())
    daemon = toolring.start(backend="fake")
""",
    "has died": "child = os.fork()\nif child == 0: time.sleep(600)\n"
                "os.kill(child, signal.SIGKILL)\nos.wait()",
    "is a process of multiprocessing": """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=daemon.stop)
process.start()
process.join()
""",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_outlives_a_child(child: str, tmp_path: Path) -> None:
    """A forked child does not stop it, whatever it does."""
    script = FAKE + CHILDREN[child] + \
        "\nsay(pings=ping())\ndaemon.stop()\nsay(code=daemon.returncode)"
    with Interpreter(script, tmp_path) as interpreter:
        interpreter.hear()
        if child == "leaves a with":
            assert interpreter.hear() == {"pings": True}
        assert interpreter.hear() == {"pings": True}
        assert interpreter.hear() == {"code": 0}
        assert interpreter.process.wait(timeout=60) == 0


def test_child_does_not_hold_it(tmp_path: Path) -> None:
    """A forked child that lives on, with all descriptors that its parent had, keeps nothing."""
    script = FAKE + "child = os.fork()\nif child == 0: time.sleep(600)\nsay(child=child)" + WAIT
    with Interpreter(script, tmp_path) as interpreter:
        said, child = interpreter.hear(), interpreter.hear()["child"]
        try:
            interpreter.process.kill()
            wait_until(lambda: not is_alive(said["pid"]), "it is gone", GONE_S)
            assert is_alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_child_may_start_another(tmp_path: Path) -> None:
    """A forked child's own ends with the child."""
    script = FAKE + """
child = os.fork()
if child == 0:
    daemon = toolring.start(backend="fake")
    say(pid=daemon.pid)
    time.sleep(600)
sys.stdin.readline()
os.kill(child, signal.SIGKILL)
os.wait()
sys.stdin.readline()
say(pings=ping())
"""
    with Interpreter(script, tmp_path) as interpreter:
        first, second = interpreter.hear()["pid"], interpreter.hear()["pid"]
        assert is_alive(second)
        interpreter.go_on()
        wait_until(lambda: not is_alive(second), "the child's is gone", GONE_S)
        assert is_alive(first)
        interpreter.go_on()
        assert interpreter.hear() == {"pings": True}
        assert interpreter.process.wait(timeout=60) == 0
        assert not is_alive(first)


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of the terminal's foreground group; it is not among them."""
    script = FAKE + """
try:
    say()
    time.sleep(600)
except KeyboardInterrupt:
    say(pings=ping())
"""
    with Interpreter(script, tmp_path) as interpreter:
        interpreter.hear()
        interpreter.hear()
        os.killpg(interpreter.process.pid, signal.SIGINT)
        assert interpreter.hear() == {"pings": True}
        assert interpreter.process.wait(timeout=60) == 0


def test_interrupted_start(tmp_path: Path) -> None:
    """Ctrl-C while start() waits: it raises, and leaves nothing."""
    slow = tmp_path.parent / f"{tmp_path.name}-slow"
    slow.write_text("#!/bin/sh\necho '{}'>&2\nexec sleep 600\n")
    slow.chmod(0o755)
    script = FAKE.replace("daemon = ", "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                          f"toolring.start(toolringd={str(slow)!r}, log=1)\n")
    with Interpreter(script, tmp_path) as interpreter:
        interpreter.hear()
        children = marked(below(interpreter.process.pid))
        assert children
        interpreter.process.send_signal(signal.SIGINT)
        assert interpreter.process.wait(timeout=60) == -signal.SIGINT
        assert not remaining(children)
    slow.unlink()


def test_interrupted_fork(tmp_path: Path) -> None:
    """Ctrl-C before start() knows what it has forked: the same."""
    hasty = tmp_path.parent / f"{tmp_path.name}-hasty"
    hasty.write_text("#!/bin/sh\nkill -INT $PPID\nexec sleep 600\n")
    hasty.chmod(0o755)
    script = FAKE.partition("daemon = ")[0] + f"""
import subprocess
signal.signal(signal.SIGINT, signal.default_int_handler)
popen = subprocess.Popen
class Slow(popen):
    def _execute_child(self, *args, **keywords):
        popen._execute_child(self, *args, **keywords)
        say(pid=self.pid)
        time.sleep(0.5)
subprocess.Popen = Slow
try:
    toolring.start(toolringd={str(hasty)!r})
except KeyboardInterrupt:
    say()
"""
    with Interpreter(script, tmp_path) as interpreter:
        pid = interpreter.hear()["pid"]
        interpreter.hear()
        assert not is_alive(pid)
        assert interpreter.process.wait(timeout=60) == 0
    hasty.unlink()


def test_children_ignored(tmp_path: Path) -> None:
    """Where the end of children is ignored it serves, restarts its executor and stops as ever."""
    script = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
""" + FAKE + """
with toolring.sync.connect(daemon) as client:
    os.kill(client.status()["executor_pid"], signal.SIGKILL)
    while client.ping() and client.status()["generation"] != 2:
        pass
daemon.stop()
say(left=os.path.exists(daemon.name))
"""
    with Interpreter(script, tmp_path) as interpreter:
        interpreter.hear()
        assert interpreter.hear() == {"left": False}
        assert interpreter.process.wait(timeout=60) == 0


def test_cell_of_a_notebook(tmp_path: Path) -> None:
    """In a notebook's cell, where a loop is running, start() is simply called."""
    script = """
import asyncio, json, os, toolring

def say(**members):
    os.write(1, json.dumps(members).encode() + b"\\n")

async def cells():
    daemon = toolring.start(backend="fake")
    async with toolring.connect(daemon) as client:
        say(pid=daemon.pid, pings=await client.ping() > 0)
    await asyncio.sleep(600)

asyncio.run(cells())
"""
    with Interpreter(script, tmp_path) as interpreter:
        said = interpreter.hear()
        assert said["pings"]
        interpreter.process.kill()
        wait_until(lambda: not is_alive(said["pid"]), "it is gone", GONE_S)
