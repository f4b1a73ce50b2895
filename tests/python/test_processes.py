# SPDX-License-Identifier: Apache-2.0
"""
The synchronous client across processes: fork, forkserver, spawn, with and without threads. Each
child has a session of its own, finds the trajectories, and does not disturb its parent.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest
import toolring
import toolring.sync
from private import wait_until
from toolring import Closed, InvalidCall

LONG = 180  # seconds within which what must happen has happened
METHODS = ["fork", "forkserver", "spawn"]

# Python 3.12 warns of what is to be shown here to work.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def client(local):
    with toolring.sync.connect(local.name) as client:
        yield client


@pytest.fixture(params=METHODS)
def context(request):
    return multiprocessing.get_context(request.param)


def in_child(work) -> None:
    """Runs work in a forked child, which must end well and soon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(LONG)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def pids_of_sessions(client) -> list[int]:
    return [session["pid"] for session in client.status()["sessions"]]


def all_are_ours(client) -> bool:
    return set(pids_of_sessions(client)) == {os.getpid()}


# ---- os.fork ------------------------------------------------------------------------------------


def test_child_has_a_session_of_its_own(client, t):
    assert t.bash("echo parent > f")

    def work():
        assert client.ping()
        assert os.getpid() in pids_of_sessions(client) and os.getppid() in pids_of_sessions(client)
        assert t.read_file("f").output == "parent\n"
        assert t.shell("x=child").success

    in_child(work)
    assert t.shell("echo $x").output == "child"
    assert client.ping()


def test_child_that_calls_nothing(client, t):
    in_child(lambda: None)
    assert t.bash("true")


def test_child_that_only_closes(client, t):
    in_child(client.close)
    assert not client.closed and t.bash("true")


def test_grandchild(client, t):
    t.acquire()

    def work():
        in_child(lambda: t.bash("echo deep > f"))
        assert t.bash("true")

    in_child(work)
    assert t.read_file("f").output == "deep\n"


def test_grandchild_of_a_child_that_called(client, t):
    t.acquire()

    def work():
        assert t.bash("true")
        in_child(lambda: t.bash("echo deep > f"))
        assert t.bash("true")

    in_child(work)
    assert t.read_file("f").output == "deep\n"


def test_slot_is_held_by_those_who_used_it(client):
    """With the last of them it goes, as when a process dies; acquire() alone makes one of them."""
    t = client.trajectory("held")
    in_child(lambda: t.bash("echo 1 > f"))
    wait_until(lambda: all_are_ours(client), "the child's session is over")
    assert not t.read_file("f").success
    t.release()
    t.acquire()
    in_child(lambda: t.bash("echo 1 > f"))
    assert t.read_file("f").output == "1\n"
    t.release()


def test_block_left_in_a_child_gives_nothing_back(client):
    """A child that was forked in a block leaves it too."""
    with client.trajectory("forked") as t:
        t.write_file("f", "1")

        def leave():
            assert t.bash("true")
            t.__exit__(None, None, None)

        in_child(leave)
        assert t.read_file("f").output == "1"

        # The twin: a child that enters it gives it back.
        def enter():
            with client.trajectory("forked") as mine:
                assert mine.read_file("f").output == "1"

        in_child(enter)
        assert not t.read_file("f").success


OUTLIVES = """
import os, signal, sys, toolring.sync
client = toolring.sync.connect(sys.argv[1])
t = client.trajectory(sys.argv[2])
t.write_file("f", "1")
ready, tell = os.pipe()
if os.fork():
    os.read(ready, 1)
    os.kill(os.getpid(), signal.SIGKILL)
t.bash("true")
os.write(tell, b"1")
sys.stdin.readline()
print(t.read_file("f").output, flush=True)
"""


def test_child_outlives_its_parent(local):
    with subprocess.Popen([sys.executable, "-c", OUTLIVES, local.name, f"outlives-{os.getpid()}"],
                          text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.wait(LONG) == -signal.SIGKILL
        parent.stdin.write("go\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "1\n"


def test_fork_while_threads_call(client):
    """
    Whatever they hold at that moment: children get through, and the threads see nothing of it.
    """
    stop = threading.Event()
    failed = []

    def call():
        try:
            with client.trajectory() as t:
                while not stop.is_set():
                    assert t.write_file("f", "x" * 1000)
                    assert client.ping()
                    assert pickle.loads(pickle.dumps(t)).id == t.id
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        def work():
            with client.trajectory() as t:
                for _ in range(3):
                    assert t.bash("echo child").output == "child"
            client.close()

        for _ in range(30):
            in_child(work)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONG)
    assert not failed and not any(thread.is_alive() for thread in threads)


def test_fork_while_a_thread_connects(local, client, t):
    """The lock around connecting is held at the fork: not by anybody in the child."""
    other = toolring.sync.connect(local.name)
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with other._lock, toolring.sync._guard:
            held.set()
            let_go.wait(LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(LONG)
    try:
        def work():
            assert other.ping()
            assert pickle.loads(pickle.dumps(t)).bash("true")

        in_child(work)
    finally:
        let_go.set()
        thread.join()
    assert other.ping()
    other.close()


def test_many_children_leave_nothing(client, t):
    """No session and no descriptor stays behind."""
    in_child(lambda: t.bash("true"))
    gc.collect()  # what other tests have left for it
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        in_child(lambda: t.bash("true"))
    assert len(os.listdir("/proc/self/fd")) == before
    wait_until(lambda: all_are_ours(client), "their sessions are over")


# ---- multiprocessing ----------------------------------------------------------------------------


def read_and_write(t, expected):
    assert t.read_file("f").output == expected
    assert t.write_file("g", str(os.getpid()))
    assert os.getpid() in pids_of_sessions(t._client)


def run(context, function, *arguments):
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join(LONG)
    assert process.exitcode == 0
    return process.pid


def test_process_gets_a_trajectory(context, client, t):
    t.write_file("f", "parent's")
    pid = run(context, read_and_write, t, "parent's")
    assert t.read_file("g").output == str(pid)
    # It came to no block there, so nothing was given back.
    assert t.read_file("f").output == "parent's"


def enter_it(t):
    with t:
        assert t.read_file("f").success


def test_process_that_enters_gives_back(context, client, t):
    """The twin: there the block's end does."""
    t.write_file("f", "1")
    run(context, enter_it, t)
    assert not t.read_file("f").success


def use_client(client, n):
    with client.trajectory() as t:
        for _ in range(n):
            assert t.bash("echo hi").output == "hi"
    client.close()


def test_process_gets_the_client(context, client):
    run(context, use_client, client, 5)
    assert client.ping()


def work_in_pool(t, i):
    assert t.write_file(f"f{i}", "x")
    return os.getpid()


def test_process_pool(context, client):
    """Workers get the same trajectories with each task and hold them in between."""
    ids = [f"pool-{context.get_start_method()}-{os.getpid()}-{i}" for i in range(4)]
    trajectories = [client.trajectory(id) for id in ids]  # never used here: only workers hold them
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for i in range(3):
            pids = set(pool.map(work_in_pool, trajectories, [i] * 4))
            assert len(pids) == 1 and os.getpid() not in pids
            # One session for all that was sent to it.
            assert [pids_of_sessions(client).count(pid) for pid in pids] == [1]
        for t in trajectories:
            assert len(t.artifacts.list().entries) == 3
            t.release()


def connect_there(name):
    with toolring.sync.connect(name) as client, client.trajectory() as t:
        return t.bash("echo there").output


def test_connecting_in_the_workers(context, local):
    with context.Pool(2) as pool:
        assert pool.map(connect_there, [local.name] * 8) == ["there"] * 8


def results_of(t):
    try:
        t.call("no_such_tool")
    except InvalidCall as error:
        return t.bash("exit 3"), t.exec(["true"]), t.artifacts.list(), error


def test_results_and_exceptions_come_back(context, client, t):
    with context.Pool(1) as pool:
        bash, program, listed, error = pool.apply(results_of, (t,))
    assert (bash.verdict, bash.exit_code) == ("failed", 3) and type(bash) is toolring.Result
    assert type(program) is toolring.ExecResult and type(listed) is toolring.ArtifactResult
    assert isinstance(error, InvalidCall) and error.result.verdict == "invalid"


def raises(t):
    t.call("no_such_tool")


def test_exceptions_are_raised_here(context, client, t):
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(InvalidCall, match="Unknown tool: no_such_tool") as caught:
            pool.submit(raises, t).result(timeout=LONG)
    assert caught.value.result.verdict == "invalid"


# ---- pickle -------------------------------------------------------------------------------------


def test_pickled_here_is_the_same_client(client, t):
    assert pickle.loads(pickle.dumps(client)) is client
    again = pickle.loads(pickle.dumps(t))
    assert (again.id, again._client) == (t.id, client) and again.bash("true")


def test_pickle_keeps_the_options(local):
    with toolring.sync.connect(local.name, label="labelled", calls=16) as client:
        assert pickle.loads(pickle.dumps(client.trajectory(
            "x", spec={"pids": 9}, keep_workspace=True)))._spec == {"pids": 9}
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            labels = pool.submit(labels_of_own, client).result(timeout=LONG)
        assert labels == ["labelled"]


def labels_of_own(client):
    return [s["label"] for s in client.status()["sessions"] if s["pid"] == os.getpid()]


def test_closed_client_is_not_pickled(local):
    client = toolring.sync.connect(local.name)
    sent = pickle.dumps(client)
    client.close()
    with pytest.raises(Closed, match="closed"):
        pickle.dumps(client)
    # What was sent before is another client, which may connect.
    other = pickle.loads(sent)
    assert other is not client and other.ping()
    other.close()
    with pytest.raises(Closed, match="closed"):
        other.ping()
