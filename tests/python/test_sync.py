# SPDX-License-Identifier: Apache-2.0
"""
The synchronous client: every call, threads, signals, a lost executor, and that loops refuse it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import toolring
import toolring.sync
from private import Private, wait_until
from toolring import Closed, InvalidCall, NotStarted, Unavailable, Unknown

LONG = 60  # seconds within which what must happen has happened


@pytest.fixture
def own():
    """A toolringd that may be stopped and killed."""
    with Private(backend="local") as daemon:
        yield daemon


def is_running(client, n=1):
    return client.status()["calls_running"] >= n


# ---- connecting ---------------------------------------------------------------------------------


def test_connects_pings_closes(local):
    client = toolring.sync.connect(local.name, label="a label")
    assert 0 < client.ping() < 10**10
    status = client.status()
    assert status["state"] == "running"
    assert "a label" in [s["label"] for s in status["sessions"] if s["pid"] == os.getpid()]
    assert not client.closed and repr(client) == f"Client({local.name!r})"
    client.close()
    client.close()
    assert client.closed and "closed" in repr(client)
    for call in (client.ping, client.status, lambda: client.trajectory("x").bash("true")):
        with pytest.raises(Closed, match="closed"):
            call()


def test_block_closes(local):
    with toolring.sync.connect(local.name) as client:
        client.ping()
    assert client.closed
    with pytest.raises(Closed, match="another"), client:
        pass


def test_names(local, monkeypatch):
    """A string, a path, what has a name, the environment."""
    class Named:
        name = local.name

    for name in (local.name, pathlib.Path(local.name), local, Named()):
        with toolring.sync.connect(name) as client:
            client.ping()
    monkeypatch.setenv("TOOLRING_NAME", local.name)
    with toolring.sync.connect() as client:
        client.ping()
    with pytest.raises(InvalidCall, match="name"):
        toolring.sync.connect(5)


def test_path_without_a_slash(local, monkeypatch):
    """A path is a path: only a string without a slash is an instance's name."""
    folder, file = os.path.split(local.name)
    monkeypatch.chdir(folder)
    with toolring.sync.connect(pathlib.Path(file)) as client:
        client.ping()
    with pytest.raises(Unavailable):
        toolring.sync.connect(file)


def test_nobody_there(tmp_path):
    with pytest.raises(Unavailable, match="no toolringd at .*: is it running?"):
        toolring.sync.connect(tmp_path / "none.sock")


def test_options(local):
    with toolring.sync.connect(
            local.name, resubmit=True, open_timeout=2.5, reconnect_timeout=1, spin_us=0, calls=8,
            submission_bytes=65536, completion_bytes=65536, result_bytes_max=1 << 20,
            label="x" * 31) as client:
        client.ping()


@pytest.mark.parametrize("name", ["", "a\0b", "/\ud800", 5, b"bytes"], ids=ascii)
def test_wrong_names(name):
    with pytest.raises(InvalidCall, match="name"):
        toolring.sync.connect(name)


@pytest.mark.parametrize("option", [
    {"open_timeout": -1}, {"open_timeout": float("nan")}, {"open_timeout": "5"},
    {"reconnect_timeout": None}, {"calls": 0}, {"calls": 1.5}, {"calls": True}, {"spin_us": -1},
    {"submission_bytes": 0}, {"completion_bytes": "a"}, {"result_bytes_max": -1}, {"label": 3},
    {"label": "x" * 32}, {"label": "a\0b"}, {"label": "\ud800"}, {"spin_us": 10**7}, {"calls": 2**32 + 8}, {"result_bytes_max": 2**64},
], ids=ascii)
def test_wrong_options(local, option):
    with pytest.raises(InvalidCall) as caught:
        toolring.sync.connect(local.name, **option)
    assert next(iter(option)) in str(caught.value)


# ---- trajectories -------------------------------------------------------------------------------


def test_each_call(t):
    """Every method gets to its tool; test_results.py looks at what comes back."""
    assert t.bash("echo hi", timeout=5).output == "hi"
    assert t.bash("sleep 60", idle_timeout=0.2, timeout=30).metadata["idle_timeout"] is True
    assert t.exec(["cat"], stdin="text").stdout == b"text"
    assert t.exec("echo $0 $A", env={"A": "b"}).stdout.endswith(b" b\n")
    assert t.exec(["sh", "-c", "echo kept > /tmp/k"], keep=True).success
    assert t.exec(["cat", "/tmp/k"], keep=True).stdout == b"kept\n"
    assert not t.exec(["cat", "/tmp/k"]).success
    assert t.write_file("f", "1").success and t.read_file("f").output == "1"
    assert t.shell("x=1") and t.shell("echo $x").output == "1"
    assert t.terminal.send_keys("echo $x", block=False).success
    assert t.artifacts.list().entries
    assert t.call("bash", {"command": "echo called"}).output == "called"
    assert t.call("terminal", {"command": "echo", "timeout": 3}).success
    assert t.acquire().slot_id
    assert t.reset() and not t.artifacts.list().entries


def test_paths_may_be_paths(t):
    path = pathlib.PurePosixPath("a") / "b"
    assert t.write_file(path, "1") and t.read_file(path).output == "1"
    assert t.artifacts.write(path, b"2") and t.artifacts.read(path).content == b"2"
    assert t.exec(["cat", path]).stdout == b"2"
    assert t.exec(["pwd"], cwd=pathlib.PurePosixPath("/tmp")).stdout == b"/tmp\n"


def test_fresh_ids(client):
    ids = {client.trajectory().id for _ in range(1000)}
    assert len(ids) == 1000
    assert client.trajectory("mine").id == "mine" and repr(client.trajectory("a\nb")) == (
        r"Trajectory('a\nb')")


def test_block_gives_the_slot_back(client):
    with client.trajectory("back") as t:
        t.write_file("f", "1")
    assert not client.trajectory("back").read_file("f").success
    client.trajectory("back").release()


def test_block_that_keeps(client):
    """The twin of the one before."""
    with client.trajectory("kept", keep_workspace=True) as t:
        t.write_file("f", "1")
    with client.trajectory("kept") as t:
        assert t.read_file("f").output == "1"


def test_without_a_block(client):
    t = client.trajectory("plain")
    assert t.bash("echo 1 > f")
    assert client.trajectory("plain").read_file("f").output == "1\n"
    assert t.release(keep_workspace=True) and t.read_file("f").success
    assert t.release() and not t.read_file("f").success
    t.release()


def test_spec_is_acquired_on_entering(client):
    with client.trajectory(spec={"disk": 8 << 20}) as t:
        assert t.acquire({"disk": 8 << 20})
        with pytest.raises(InvalidCall, match="another spec"):
            t.acquire({"disk": 9 << 20})
        assert not t.bash("head -c 16m /dev/zero > f")
    with client.trajectory() as t:
        assert t.bash("head -c 16m /dev/zero > f")
    with pytest.raises(InvalidCall, match="bogus"):
        with client.trajectory(spec={"bogus": 1}):
            pytest.fail("entered")


def test_exception_of_a_block_stays(client):
    with pytest.raises(KeyError, match="mine"):
        with client.trajectory("raises") as t:
            t.write_file("f", "1")
            raise KeyError("mine")
    assert not client.trajectory("raises").read_file("f").success


def test_client_closed_in_a_block(local):
    with toolring.sync.connect(local.name) as client:
        with client.trajectory():
            client.close()


def test_large_both_ways(t):
    content = os.urandom(12 << 20)
    assert t.artifacts.write("/workspace/big", content, anywhere=True).size == len(content)
    assert t.artifacts.read("/workspace/big", anywhere=True).content == content
    assert t.exec(["cat"], stdin=content, stdout_max=len(content)).stdout == content
    with pytest.raises(InvalidCall, match="call_bytes_max"):
        t.exec(["cat"], stdin=bytes(20 << 20))


# ---- loops --------------------------------------------------------------------------------------


async def test_refuses_in_a_running_loop(local, client):
    t = client.trajectory("looped")
    for call in (lambda: toolring.sync.connect(local.name), client.ping, client.status,
                 lambda: t.bash("true"), t.acquire, t.release, t.artifacts.list, t.__enter__):
        with pytest.raises(RuntimeError, match=r"toolring\.connect\(\)"):
            call()
    assert pickle.loads(pickle.dumps(t)).id == "looped"  # which waits for nothing


def test_works_without_a_running_loop(client):
    """The twin: before and after one ran, and while one is there that does not run."""
    loop = asyncio.new_event_loop()
    try:
        with client.trajectory() as t:
            assert client.ping() and t.bash("true")
            loop.run_until_complete(asyncio.sleep(0))
            assert client.ping() and t.bash("true")
    finally:
        loop.close()


def test_works_beside_a_running_loop(client, t):
    async def call():
        return await asyncio.to_thread(t.bash, "echo in a thread")

    assert asyncio.run(call()).output == "in a thread"


# ---- threads ------------------------------------------------------------------------------------


def test_threads_each_with_a_trajectory(client):
    def rollout(i):
        with client.trajectory() as t:
            for k in range(10):
                assert t.write_file("f", f"{i} {k}")
                assert t.read_file("f").output == f"{i} {k}"
        return i

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(rollout, range(32))) == list(range(32))


def test_threads_on_one_trajectory(client, t):
    """Its calls run one at a time."""
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: t.bash(
            "mkdir lock && echo x >> log && rmdir lock").success, range(40)))
    assert all(done)
    assert t.read_file("log").output == "x\n" * 40


def test_others_run_while_one_waits(local, client):
    """The interpreter is free while a thread waits, and so is the session."""
    mine = toolring.sync.connect(local.name)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(mine.trajectory().bash, "sleep 300", timeout=300)
        wait_until(lambda: is_running(mine), "the call runs")
        for _ in range(50):
            assert mine.ping()
        assert not waits.done()
        mine.close()
        with pytest.raises(Unknown, match="closed"):
            waits.result(timeout=LONG)
    wait_until(lambda: not is_running(client), "what it ran was killed")


def test_close_ends_the_calls_of_other_threads(local, client):
    mine = toolring.sync.connect(local.name)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(mine.trajectory().bash, "sleep 300", timeout=300) for _ in range(4)]
        wait_until(lambda: is_running(client, 4), "all of them run")
        mine.close()
        for call in calls:
            with pytest.raises(Unknown, match="closed"):
                call.result(timeout=LONG)
    wait_until(lambda: not is_running(client), "what they ran was killed")


def test_more_threads_than_calls(local):
    """Those for whose calls the session has no room wait their turn."""
    with toolring.sync.connect(local.name, calls=1) as client:
        def work(_):
            return all(client.ping() for _ in range(50))

        with ThreadPoolExecutor(150) as pool:
            assert all(pool.map(work, range(150)))


def test_clients_apart(local):
    """Threads that want to share nothing open one each."""
    def work(_):
        with toolring.sync.connect(local.name) as client, client.trajectory() as t:
            return t.bash("echo own").output

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(16))) == {"own"}


# ---- signals ------------------------------------------------------------------------------------

INTERRUPTED = """
import sys, time, toolring, toolring.sync
with toolring.sync.connect(sys.argv[1]) as client:
    with client.trajectory("interrupted") as t:
        try:
            t.bash("sleep 300", timeout=300)
        except KeyboardInterrupt:
            print("interrupted", time.monotonic_ns(), flush=True)
        # The call was cancelled, so the next one need not wait for it.
        print(t.bash("echo next").output, flush=True)
"""


def test_interrupt_cancels_the_call(local, client):
    program = subprocess.Popen([sys.executable, "-c", INTERRUPTED, local.name], text=True,
                               stdout=subprocess.PIPE)
    try:
        wait_until(lambda: is_running(client), "the call runs")
        sent_ns = time.monotonic_ns()
        program.send_signal(signal.SIGINT)
        said, at_ns = program.stdout.readline().split()
        assert said == "interrupted"
        assert int(at_ns) - sent_ns < LONG * 10**9  # usually some 50 ms
        assert program.stdout.readline() == "next\n"
        assert program.wait(LONG) == 0
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_handler_that_does_not_raise_interrupts_nothing(client, t):
    """The twin: the call goes on."""
    came = []
    before = signal.signal(signal.SIGALRM, lambda *_: came.append(client.ping()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert t.bash("sleep 1; echo done").output == "done"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(came) == 1


AT_EXIT = """
import sys, threading, toolring.sync
client = toolring.sync.connect(sys.argv[1])
t = client.trajectory("at-exit")
threading.Thread(target=t.bash, args=("sleep 300",), kwargs={"timeout": 300}, daemon=True).start()
while not client.status()["calls_running"]:
    pass
"""


def test_python_ends_while_a_thread_waits(local, client):
    done = subprocess.run([sys.executable, "-c", AT_EXIT, local.name], timeout=LONG, text=True,
                          capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_until(lambda: not is_running(client), "what it ran was killed")


# ---- a lost executor ----------------------------------------------------------------------------


def test_executor_that_dies(own):
    """Calls in flight end with a definite verdict; the client goes on with the next one."""
    with toolring.sync.connect(own.name) as client, ThreadPoolExecutor(1) as pool:
        t = client.trajectory("survives")
        assert t.write_file("f", "1")
        call = pool.submit(t.bash, "sleep 300", timeout=300)
        wait_until(lambda: is_running(client), "the call runs")
        os.kill(client.status()["executor_pid"], signal.SIGKILL)
        with pytest.raises((Unknown, NotStarted)) as caught:
            call.result(timeout=LONG)
        assert type(caught.value) is Unknown  # it had begun
        assert caught.value.result.verdict == "unknown"
        assert t.read_file("f").output == "1"
        assert client.status()["generation"] == 2
        assert t.release()


@pytest.mark.parametrize("resubmit", [False, True])
def test_calls_that_never_began(own, resubmit):
    """They are safe to send again: by the caller, or by the library if it was told to."""
    with toolring.sync.connect(own.name, resubmit=resubmit) as client, \
            ThreadPoolExecutor(2) as pool:
        t = client.trajectory("waits")
        first = pool.submit(t.bash, "sleep 300", timeout=300)
        wait_until(lambda: is_running(client), "the first runs")
        second = pool.submit(t.bash, "echo second")
        wait_until(lambda: client.status()["calls_queued"] == 1, "the second waits its turn")
        os.kill(client.status()["executor_pid"], signal.SIGKILL)
        with pytest.raises(Unknown):
            first.result(timeout=LONG)
        if resubmit:
            assert second.result(timeout=LONG).output == "second"
        else:
            with pytest.raises(NotStarted) as caught:
                second.result(timeout=LONG)
            assert caught.value.result.verdict == "not_started"
        t.release()


def test_executor_that_hangs(own):
    """Connecting gives up in time; once it goes on, so does the one who waits."""
    with toolring.sync.connect(own.name) as client, ThreadPoolExecutor(1) as pool:
        pid = client.status()["executor_pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable) as caught:
                toolring.sync.connect(own.name, open_timeout=0.2)
            assert caught.value.errno == errno.ETIMEDOUT
            waits = pool.submit(client.ping)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert waits.result(timeout=LONG)


def test_daemon_that_goes_away(own):
    """
    A call waits as long as reconnect_timeout says, then raises; so does release at a block's end.
    """
    with toolring.sync.connect(own.name, reconnect_timeout=0.3) as client:
        t = client.trajectory().__enter__()
        assert t.bash("true")
        own.stop()
        # Nobody looked since: it went into the ring of one that was gone.
        with pytest.raises((NotStarted, Unavailable)):
            t.bash("true")
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            t.bash("true")
        assert 0.2 < time.monotonic() - began < LONG
        assert len(str(caught.value).splitlines()) == 1 and str(caught.value)
        with pytest.raises(Unavailable):
            client.ping()
        with pytest.raises(Unavailable):
            t.__exit__(None, None, None)
        with pytest.raises(KeyError) as mine:
            with client.trajectory():
                raise KeyError("mine")
        assert "not given back" in mine.value.__notes__[0]
