# SPDX-License-Identifier: Apache-2.0
"""
toolring.start(): what it starts and how that is reached and stopped, from threads and from loops;
what becomes of its keywords; what is said where it cannot start. How it ends with the interpreter
is shown by test_daemon_ends.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pickle
import re
import signal
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toolring
import toolring.sync
from private import cannot, is_alive, wait_until
from toolring import _daemon, _programs

PROGRAM = os.environ.get("TOOLRINGD") or _programs.path("toolringd")


def answers(name: str) -> bool:
    with toolring.sync.connect(name) as client:
        return client.ping() > 0


def folder_of(daemon: toolring.Daemon) -> str:
    return os.path.dirname(daemon.name)


def is_gone(daemon: toolring.Daemon) -> bool:
    return not is_alive(daemon.pid) and not os.path.exists(folder_of(daemon))


def command_of(daemon: toolring.Daemon) -> list[str]:
    with open(f"/proc/{daemon.pid}/cmdline", encoding="utf-8") as f:
        return f.read().split("\0")


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program that takes toolringd's place."""
    def make(text: str) -> str:
        path = tmp_path / "script"
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
        return str(path)
    return make


# ---- start and stop ------------------------------------------------------------------------------

def test_serves_and_leaves_nothing() -> None:
    """It serves when start() returns. Stopped it is gone, with its folder; again does nothing."""
    daemon = toolring.start(backend="fake")
    assert answers(daemon.name)
    assert is_alive(daemon.pid)
    assert daemon.returncode is None
    daemon.stop()
    assert is_gone(daemon)
    assert daemon.returncode == 0
    daemon.stop()
    with pytest.raises(toolring.Unavailable, match="was stopped"), daemon:
        pass


def test_context() -> None:
    """As a context manager, and what connect() takes."""
    with toolring.start(backend="fake") as daemon, toolring.sync.connect(daemon) as client:
        assert client.ping() > 0
    assert is_gone(daemon)


def test_runs_commands() -> None:
    """The default backend has slots."""
    try:
        daemon = toolring.start(slots_max=4, slots_warm=0)
    except toolring.Unavailable as error:
        if "--accept-missing" not in str(error):
            raise
        cannot(str(error))
    with daemon, toolring.sync.connect(daemon) as client, client.trajectory() as t:
        assert t.bash("echo hello").output == "hello"
    assert is_gone(daemon)


def test_stop_lets_end() -> None:
    """What runs may end within the time that stop() gives; its twin without time is cancelled."""
    verdicts = {}
    for seconds, wait_s in ((60.0, 0.5), (0.0, 3000)):
        with toolring.start(backend="fake") as daemon, toolring.sync.connect(daemon) as client:
            results: list[toolring.Result] = []
            t = client.trajectory("t")
            calls = [threading.Thread(target=lambda: results.append(
                t.call("bash", {"fake": {"wait_s": wait_s}})))]
            calls[0].start()
            # Where the machine is busy, the short one may have ended before it was seen to run.
            wait_until(lambda: client.status()["calls_running"] == 1 or results, "it runs")
            daemon.stop(seconds)
            calls[0].join()
            verdicts[seconds] = results[0].verdict
    assert verdicts == {60.0: "ok", 0.0: "cancelled"}


def test_killed_if_it_heeds_nothing(script: Callable[[str], str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """What ignores being told is killed, and so it leaves its folder to us."""
    monkeypatch.setattr(_daemon, "_CANCEL_S", 0.1)
    stubborn = script("""trap '' TERM INT
        for word; do case $word in
            --ready-fd=*) fd=${word#*=};;
            --socket=*) mkdir "$(dirname "${word#*=}")";;
        esac; done
        printf r >&"$fd"
        exec {fd}>&-
        while :; do sleep 1; done""")
    daemon = toolring.start(toolringd=stubborn)
    assert os.path.isdir(folder_of(daemon))
    daemon.stop(0.1)
    assert daemon.returncode == -signal.SIGKILL
    assert is_gone(daemon)


def test_keeper_killed() -> None:
    """Nothing is left of one that was killed, once it is stopped."""
    with toolring.start(backend="fake") as daemon:
        os.kill(daemon.pid, signal.SIGKILL)
        wait_until(lambda: daemon.returncode is not None, "it was killed")
        assert "ended with -9" in repr(daemon)
        assert os.path.exists(folder_of(daemon))
    assert is_gone(daemon)


def test_forgotten() -> None:
    """One that nobody has any more is stopped, with a warning."""
    daemon = toolring.start(backend="fake")
    pid, folder = daemon.pid, folder_of(daemon)
    with pytest.warns(ResourceWarning, match=f"pid {pid}, serving> was not stopped"):
        del daemon
        gc.collect()
    assert not is_alive(pid)
    assert not os.path.exists(folder)


def test_repr_fits_a_line() -> None:
    with toolring.start(backend="fake") as daemon:
        assert re.fullmatch(r"<toolring.Daemon \S+/sock: pid \d+, serving>", repr(daemon))
    assert "ended with 0" in repr(daemon)


def test_does_not_pickle() -> None:
    """A process that gets one could not stop it; what it needs is the name."""
    with toolring.start(backend="fake") as daemon:
        with pytest.raises(TypeError, match="give others its name"):
            pickle.dumps(daemon)
        code = "import sys, toolring.sync as s; print(s.connect(sys.argv[1]).ping() > 0)"
        done = subprocess.run([sys.executable, "-c", code, daemon.name], text=True, check=True,
                              stdout=subprocess.PIPE)
        assert done.stdout == "True\n"


def test_threads() -> None:
    """Several at a time, each started by a thread that ends."""
    daemons: list[toolring.Daemon] = []
    threads = [threading.Thread(target=lambda: daemons.append(toolring.start(backend="fake")))
               for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({daemon.name for daemon in daemons}) == 6
    for daemon in daemons:
        assert answers(daemon.name)
        stopping = [threading.Thread(target=daemon.stop) for _ in range(2)]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        assert is_gone(daemon)
        assert daemon.returncode == 0


def test_without_pidfd_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that was built with old headers has no os.pidfd_open()."""
    monkeypatch.delattr(os, "pidfd_open")
    with toolring.start(backend="fake") as daemon:
        assert answers(daemon.name)
    assert is_gone(daemon)


def test_what_it_inherits() -> None:
    """A session of its own, no descriptor but those it needs, and no folder of ours."""
    with open("/dev/zero", "rb") as ours:
        os.set_inheritable(ours.fileno(), True)
        twin = subprocess.run(["readlink", f"/proc/self/fd/{ours.fileno()}"], close_fds=False,
                              stdout=subprocess.PIPE, check=False)
        assert twin.stdout == b"/dev/zero\n"
        with toolring.start(backend="fake") as daemon:
            folder = f"/proc/{daemon.pid}/fd"
            open_there = set()
            for fd in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):  # they come and go
                    open_there.add(os.readlink(f"{folder}/{fd}"))
            assert "/dev/zero" not in open_there
            assert os.getsid(daemon.pid) == daemon.pid != os.getsid(0)
            assert os.readlink(f"/proc/{daemon.pid}/cwd") == "/"


def test_descriptors_are_closed() -> None:
    """Starting and stopping many times leaves no descriptor open here."""
    toolring.start(backend="fake").stop()
    gc.collect()  # what other tests have left for it
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        toolring.start(backend="fake").stop()
        with pytest.raises(toolring.InvalidCall):
            toolring.start(backend="fake", slots_max=0)
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


# ---- where it is reached -------------------------------------------------------------------------

def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a name others find it as any instance; a path may be relative, and its folder stays."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with toolring.start(backend="fake", name="mine") as daemon:
        assert daemon.name == "mine"
        assert stat.S_ISSOCK((tmp_path / "toolring" / "mine.sock").stat().st_mode)
        assert answers("mine")
    assert os.listdir(tmp_path / "toolring") == []
    with toolring.start(backend="fake", name="./there.sock") as daemon:
        assert daemon.name == str(tmp_path / "there.sock")
        assert answers(daemon.name)
    assert os.listdir(tmp_path) == ["toolring"]


def test_name_is_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with toolring.start(backend="fake", name=path):
        with pytest.raises(toolring.Unavailable, match="is running at .* already"):
            toolring.start(backend="fake", name=path)
        assert answers(path)


def test_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies with other temporary files, unless that is too long, and is this user's alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with toolring.start(backend="fake") as daemon:
        assert Path(daemon.name).parent.parent == tmp_path
        mode = os.stat(folder_of(daemon)).st_mode
        assert stat.S_IMODE(mode) & 0o022 == 0
        assert stat.S_IMODE(os.stat(daemon.name).st_mode) == 0o600
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with toolring.start(backend="fake") as daemon:
        assert daemon.name.startswith("/tmp/toolring-")
        assert answers(daemon.name)
    assert is_gone(daemon)


# ---- what it is told -----------------------------------------------------------------------------

@pytest.mark.parametrize(("flags", "arguments"), [
    ({"slots_max": 8}, ["--slots-max=8"]),
    ({"idle_ttl_s": 2.5, "spin_us": 0.0}, ["--idle-ttl-s=2.5", "--spin-us=0"]),
    ({"acquire_timeout_s": 100.0, "default_timeout_s": None}, ["--acquire-timeout-s=100"]),
    ({"memory": "512M", "network": "host"}, ["--memory=512M", "--network=host"]),
    ({"accept_missing": ["memory", "pids"]}, ["--accept-missing=memory,pids"]),
    ({"accept_missing": ()}, ["--accept-missing="]),
    ({"allow_uid": {1000}}, ["--allow-uid=1000"]),
    ({"slot_env": {"A": "1,2", "B": 3}}, ["--slot-env=A=1,2\nB=3"]),
    ({"slot_env": ["A=1", "B=2"]}, ["--slot-env=A=1\nB=2"]),
    ({"slot_bind": {"/opt/data": "/data"}}, ["--slot-bind=/opt/data:/data"]),
    ({"slot_bind": [Path("/opt/data"), "/srv"]}, ["--slot-bind=/opt/data,/srv"]),
    ({"limits": {"output_chars": 10, "file_chars": "1K"}},
     ["--limit=output_chars=10", "--limit=file_chars=1K"]),
])
def test_flags(flags: dict[str, Any], arguments: list[str]) -> None:
    """Keywords become flags as start() documents them."""
    assert _daemon._arguments(flags) == arguments


@pytest.mark.parametrize("name", ["socket", "ready_fd", "stop_fd", "limit"])
def test_flags_that_are_ours(name: str) -> None:
    flags: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError, match=name):
        toolring.start(**flags)


def test_flags_hold() -> None:
    """toolringd takes them all: keywords, limits and what is written as on a command line."""
    with toolring.start(backend="fake", slots_max=3, limits={"output_chars": 77},
                        slot_env={"A": "1", "B": "2"}, options=["--spin-us", "7"]) as daemon:
        command = command_of(daemon)
    assert "--slots-max=3" in command
    assert "--limit=output_chars=77" in command
    assert command[command.index("--spin-us") + 1] == "7"
    with toolring.start(backend="fake", options="--slots-max=3") as daemon:
        assert "--slots-max=3" in command_of(daemon)


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are heeded, but not those that say where it is reached, and no .env is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("TOOLRING_SLOTS_MAX=wrong\n")
    monkeypatch.setenv("TOOLRING_NAME", "of/another")
    monkeypatch.setenv("TOOLRING_SOCKET", str(tmp_path / "elsewhere"))
    with toolring.start(backend="fake") as daemon:
        assert answers(daemon.name)
    monkeypatch.setenv("TOOLRING_SLOTS_MAX", "wrong")
    with pytest.raises(toolring.InvalidCall, match="TOOLRING_SLOTS_MAX"):
        toolring.start(backend="fake")
    with toolring.start(backend="fake", env={"TOOLRING_SLOTS_MAX": None}) as daemon:
        assert answers(daemon.name)
    with pytest.raises(toolring.InvalidCall, match="TOOLRING_SPIN_US"):
        toolring.start(backend="fake", slots_max=1, env={"TOOLRING_SPIN_US": "wrong"})


def test_log(tmp_path: Path) -> None:
    """What it says is kept, or goes where it is wanted."""
    with toolring.start(backend="fake") as daemon:
        assert f"serving at {daemon.name}" in daemon.log
    assert "serving" in daemon.log
    path = tmp_path / "log"
    path.write_text("before\n")
    with toolring.start(backend="fake", log=path) as daemon:
        assert daemon.log == ""
    assert path.read_text().startswith("before\n")
    assert f"serving at {daemon.name}" in path.read_text()
    with open(tmp_path / "other", "w+") as f, toolring.start(backend="fake", log=f):
        f.seek(0)
        assert "serving" in f.read()


# ---- what does not start -------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "flags", "said"), [
    (toolring.InvalidCall, {"slots_maxx": 3}, "did you mean --slots-max?"),
    (toolring.InvalidCall, {"slots_max": 0},
     'slots-max: "0" is not allowed; allowed: a whole number from 1'),
    (toolring.InvalidCall, {"backend": "nothing"}, "allowed: local, fake"),
    (toolring.InvalidCall, {"limits": {"output_char": 3}}, "did you mean output_chars?"),
    (toolring.Unavailable, {"slot_program": "/nonexistent"}, "/nonexistent cannot be run"),
    (toolring.Unavailable, {"toolringd": "/nonexistent"}, "No such file or directory"),
])
def test_does_not_start(kind: type[toolring.ToolringError], flags: dict[str, Any], said: str,
                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What toolringd says is what is raised, and nothing is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(kind, match=re.escape(said)) as caught:
        toolring.start(**flags)
    assert str(caught.value).startswith("toolringd does not start: ")
    assert os.listdir(tmp_path) == []


def test_missing_layer() -> None:
    """Where a layer of isolation is missing, the error names it and the remedy; its twin starts."""
    accepted = os.environ.get("TOOLRING_ACCEPT_MISSING", "")
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"',
            "sh"]
    if os.geteuid() != 0:
        # Only root can hide them; but where they are said to be missing, nothing need be hidden.
        hide = []
        if "memory" not in accepted:
            pytest.skip("this user has cgroups")
    code = ("import json, sys, toolring\n"
            "try:\n"
            "    toolring.start(**json.loads(sys.argv[1])).stop()\n"
            "except toolring.Unavailable as error:\n"
            "    print(error)\n")
    said = []
    for accept in ("", accepted or "memory,pids"):
        flags = {"slots_max": 2, "slots_warm": 0, "accept_missing": accept}
        done = subprocess.run([*hide, sys.executable, "-c", code, json.dumps(flags)],
                              text=True, check=True, stdout=subprocess.PIPE)
        said.append(done.stdout)
    assert "memory" in said[0]
    assert "--accept-missing" in said[0]
    assert said[1] == ""


def test_says_nothing(script: Callable[[str], str]) -> None:
    with pytest.raises(toolring.Unavailable, match="does not start: it ended with 7"):
        toolring.start(toolringd=script("exit 7"))


def test_too_late(script: Callable[[str], str], tmp_path: Path) -> None:
    """One that does not serve in time is stopped."""
    slow = script(f"echo hm >&2; echo $$ > {tmp_path}/pid; exec sleep 600")
    for timeout in (0.5, 5, 50):  # one in which a busy machine gets to say it
        with pytest.raises(toolring.Unavailable, match=f"not serve after {timeout} s: ") as caught:
            toolring.start(toolringd=slow, timeout=timeout)
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
    assert str(caught.value).endswith(" s: hm")
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_pipe_held_open(script: Callable[[str], str]) -> None:
    """A process that was forked at the wrong moment holds the pipe: the end is seen anyway."""
    leaves = script("sleep 600 & echo $! >&2; exit 3")
    with pytest.raises(toolring.Unavailable) as caught:
        toolring.start(toolringd=leaves, timeout=60)
    os.kill(int(str(caught.value).rpartition(" ")[2]), signal.SIGKILL)


# ---- in a loop -----------------------------------------------------------------------------------

class Slow:
    """A toolringd that starts when it is told to, and no sooner."""

    def __init__(self, script: Callable[[str], str], gate: Path) -> None:
        self.gate = gate
        self.program = script(f"until [ -e {gate} ]; do sleep 0.01; done\nexec {PROGRAM} \"$@\"")

    def go_on(self) -> None:
        self.gate.touch()


@pytest.fixture
def slow(script: Callable[[str], str], tmp_path: Path) -> Slow:
    return Slow(script, tmp_path / "gate")


async def test_async_context(slow: Slow) -> None:
    """`async with` waits while the loop goes on, at the start and at the end."""
    n_ticks = 0

    async def tick() -> None:
        nonlocal n_ticks
        while True:
            n_ticks += 1
            if n_ticks == 20:
                slow.go_on()
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    async with toolring.start(backend="fake", toolringd=slow.program) as daemon:
        assert n_ticks >= 20
        async with toolring.connect(daemon) as client:
            assert await client.ping() > 0
    assert is_gone(daemon)
    ticking.cancel()


async def test_returns_at_once(slow: Slow) -> None:
    """In a loop start() does not wait; await does, in any number of tasks; so does the name."""
    daemon = toolring.start(backend="fake", toolringd=slow.program)
    assert "starting" in repr(daemon)
    slow.go_on()
    assert all(d is daemon for d in await asyncio.gather(*[wait_for(daemon) for _ in range(5)]))
    assert "serving" in repr(daemon)
    await asyncio.gather(daemon.stop_async(), daemon.stop_async())
    assert is_gone(daemon)
    daemon = toolring.start(backend="fake", toolringd=slow.program)
    async with toolring.connect(daemon) as client:
        assert await client.ping() > 0
    daemon.stop()
    assert is_gone(daemon)


async def wait_for(daemon: toolring.Daemon) -> toolring.Daemon:
    return await daemon


async def test_async_fault() -> None:
    """What does not start is raised by each who waits, and again."""
    daemon = toolring.start(backend="fake", slots_max=0)
    results = await asyncio.gather(*[wait_for(daemon) for _ in range(3)], return_exceptions=True)
    assert [type(r) for r in results] == [toolring.InvalidCall] * 3
    assert all("slots-max" in str(r) for r in results)
    with pytest.raises(toolring.InvalidCall, match="slots-max"):
        await daemon
    await daemon.stop_async()


async def test_cancelled(slow: Slow) -> None:
    """Who is cancelled while it starts leaves nothing behind."""
    daemon = toolring.start(backend="fake", toolringd=slow.program)
    waiting = asyncio.create_task(wait_for(daemon))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert is_gone(daemon)


@pytest.mark.loop("asyncio")
async def test_stopped_while_it_starts() -> None:
    """Told to stop at whatever moment of its start, it leaves no cgroup of its probes."""
    for i in range(25):
        daemon = toolring.start(slots_max=2)
        await asyncio.sleep(i * 0.01)
        daemon.stop()
        # By the signal: before there was anything to undo.
        assert daemon.returncode in (0, -signal.SIGTERM) or "--accept-missing" in daemon.log
        left = [folder for folder, _, _ in os.walk("/sys/fs/cgroup")
                if folder.endswith(f"/toolring-probe-{daemon.pid}")]
        assert left == []


@pytest.mark.loop("asyncio")
async def test_error_within() -> None:
    """An error in the body ends it and goes on."""
    with pytest.raises(ZeroDivisionError):
        async with toolring.start(backend="fake") as daemon:
            raise ZeroDivisionError
    assert is_gone(daemon)


def test_no_warning_when_stopped() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        daemon = toolring.start(backend="fake")
        daemon.stop()
        del daemon
        gc.collect()
