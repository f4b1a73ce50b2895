# SPDX-License-Identifier: Apache-2.0
"""
The asynchronous client when things go wrong: executors that die, a toolringd that goes, hangs and
comes back, clients that are closed, forgotten, forked or used where they do not belong. Every await
ends with something definite, and what comes after works.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import toolring
from private import Private, below, commands_below, is_alive
from test_client import killed, running, share_of_cpu, until, words

RECONNECT_S = 1.5
LONG = 60  # seconds within which what must happen has happened, however busy the machine
WAIT = {"fake": {"wait_s": 3000}}


@pytest.fixture
def own_local() -> Iterator[Private]:
    with Private(backend="local") as daemon:
        yield daemon


async def kill_executor(client: toolring.Client) -> int:
    pid: int = (await client.status())["executor_pid"]
    os.kill(pid, signal.SIGKILL)
    return pid


async def started(client: toolring.Client, *calls: Any) -> list[asyncio.Task[Any]]:
    """Calls as tasks, of which the first ones of each trajectory run by now."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    while (await client.status())["calls_running"] == 0:
        pass
    await client.ping()
    return tasks


async def outcome_of(call: Any) -> Any:
    return (await asyncio.gather(call, return_exceptions=True))[0]


async def works(t: toolring.Trajectory) -> None:
    """A call does. The first after a death may have gone into a ring that nobody reads any more:
    it says that it was not started, and can be made again."""
    try:
        assert (await t.bash("x")).success
    except toolring.NotStarted:
        assert (await t.bash("x")).success


# ---- executors that die --------------------------------------------------------------------------

async def test_executor_killed_with_calls_in_flight(own: Private) -> None:
    """What ran is unknown, what waited behind it was not started, and the next call works."""
    async with toolring.connect(own.name) as client:
        t = client.trajectory("t")
        tasks = await started(client, t.call("bash", WAIT, uniq_id="first"), t.bash("second"),
                              t.bash("third"))
        old = await kill_executor(client)
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, toolring.Unknown) and first.result is not None
        assert first.result.verdict == "unknown" and str(first) == first.result.error != ""
        assert all(isinstance(e, toolring.NotStarted) for e in others), others
        assert (await t.bash("again")).success
        assert (await client.status())["executor_pid"] != old
        assert await client.ping() > 0


async def test_executor_killed_again_and_again(own: Private) -> None:
    async with toolring.connect(own.name) as client:
        for _ in range(4):
            calls = [client.trajectory(f"t{i % 20}").call("bash", WAIT) for i in range(100)]
            tasks = await started(client, *calls)
            await kill_executor(client)
            kinds = {type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)}
            assert kinds <= {toolring.Unknown, toolring.NotStarted} and kinds, kinds
            assert (await client.trajectory("t0").bash("x")).success


async def test_not_started_calls_are_sent_again_if_asked_for(own: Private) -> None:
    async with toolring.connect(own.name, resubmit=True) as client:
        t = client.trajectory("t")
        tasks = await started(client, t.call("bash", WAIT), *(t.bash(str(i)) for i in range(20)))
        await kill_executor(client)
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        first, *others = outcomes
        assert isinstance(first, toolring.Unknown)
        assert [r.metadata["arguments"] for r in others] == [{"command": str(i)} for i in range(20)]


async def test_idle_client_outlives_executors(own: Private) -> None:
    """And sleeps meanwhile: a socket that is hung up keeps no loop awake."""
    async with toolring.connect(own.name) as client:
        old = await kill_executor(client)
        await until(lambda: not is_alive(old), "the executor is dead")
        assert await share_of_cpu(0.5) < 0.2
        await works(client.trajectory("t"))


async def test_executor_killed_by_its_own_call(own: Private) -> None:
    async with toolring.connect(own.name) as client, client.trajectory() as t:
        with pytest.raises(toolring.Unknown):
            await t.call("bash", {"fake": {"die": "executor"}})
        assert (await t.bash("x")).success
        with pytest.raises(toolring.Unknown):
            await t.call("bash", {"fake": {"die": "slot"}})
        assert (await t.bash("x")).success


async def test_local_commands_are_dead_when_the_executor_was_killed(own_local: Private) -> None:
    word = next(words)
    async with toolring.connect(own_local.name) as client, client.trajectory() as t:
        await t.write_file("f", "kept")
        task = await running(t.bash(f"sleep {word}"), own_local, word)
        await kill_executor(client)
        assert isinstance(await outcome_of(task), toolring.Unknown)
        assert (await t.read_file("f")).output == "kept"
        await killed(own_local, word)


async def test_cancelling_after_the_executor_died(own: Private) -> None:
    async with toolring.connect(own.name) as client:
        tasks = await started(client, *(client.trajectory(f"t{i}").call("bash", WAIT)
                                        for i in range(20)))
        await kill_executor(client)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(e, asyncio.CancelledError) for e in outcomes)
        await works(client.trajectory("t0"))


# ---- toolringd goes and comes --------------------------------------------------------------------

async def test_toolringd_stopped(own: Private) -> None:
    """Calls raise Unavailable within the time to reconnect; the client works on when it is back."""
    async with toolring.connect(own.name, reconnect_timeout=RECONNECT_S) as client:
        assert (await client.trajectory("t").bash("x")).success
        own.stop()
        # Nobody has looked yet, so this one is put into the ring that nobody reads any more.
        assert isinstance(await outcome_of(client.trajectory("t").bash("x")),
                          (toolring.NotStarted, toolring.Unavailable))
        for _ in range(2):
            began = time.monotonic()
            calls: list[Any] = [client.trajectory(f"t{i}").bash("x") for i in range(50)]
            outcomes: list[Any] = await asyncio.gather(*calls, client.ping(), client.status(),
                                                       return_exceptions=True)
            assert all(isinstance(e, toolring.Unavailable) for e in outcomes), outcomes
            assert RECONNECT_S * 0.5 < time.monotonic() - began < 9  # by default it is 10
        assert outcomes[0].result.verdict == "unavailable" and str(outcomes[0])
        assert await share_of_cpu(0.5) < 0.2
        own.start()
        assert (await client.trajectory("t").bash("x")).success


async def test_toolringd_killed_with_calls_in_flight(own: Private) -> None:
    async with toolring.connect(own.name, reconnect_timeout=RECONNECT_S) as client:
        t = client.trajectory("t")
        tasks = await started(client, t.call("bash", WAIT), t.bash("x"))
        own.kill()
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, toolring.Unknown), first
        assert isinstance(second, toolring.NotStarted), second
        with pytest.raises(toolring.Unavailable):
            await t.bash("x")
        own.start()
        assert (await t.bash("x")).success


async def test_toolringd_stopped_with_calls_in_flight(own: Private) -> None:
    """It lets them end, and tells of those that do not."""
    async with toolring.connect(own.name, reconnect_timeout=RECONNECT_S) as client:
        calls = [client.trajectory(f"t{i}").call("bash", {"fake": {"wait_s": s}})
                 for i, s in enumerate((0.3, 3000))]
        tasks = await started(client, *calls)
        assert own.process is not None
        own.process.terminate()
        assert (await tasks[0]).success
        # By another signal: one that is still pending would not be heard twice.
        own.process.send_signal(signal.SIGINT)
        r = await outcome_of(tasks[1])
        assert isinstance(r, toolring.Unknown) or r.verdict == "cancelled", r


async def test_toolringd_comes_back_in_time(own: Private) -> None:
    """Calls made while it is gone wait for it, in order, and work, or are cancelled there."""
    async with toolring.connect(own.name, reconnect_timeout=60) as client:
        own.stop()
        with pytest.raises((toolring.NotStarted, TimeoutError)):
            await asyncio.wait_for(client.trajectory("t").bash("x"), 0.2)
        tasks = [asyncio.ensure_future(client.trajectory("t").bash(str(i))) for i in range(100)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        for task in tasks[1::2]:
            task.cancel()
        own.start()
        results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert [r.metadata["arguments"]["command"] for r in results[::2]] == \
            [str(i) for i in range(0, 100, 2)]
        assert all(isinstance(e, asyncio.CancelledError) for e in results[1::2])


async def test_more_calls_than_room_when_toolringd_goes(own: Private) -> None:
    async with toolring.connect(own.name, calls=16, reconnect_timeout=RECONNECT_S) as client:
        tasks = await started(client, *(client.trajectory(f"t{i}").call("bash", WAIT)
                                        for i in range(14)))
        tasks += [asyncio.ensure_future(client.trajectory(f"w{i}").call("bash", WAIT))
                  for i in range(200)]
        await asyncio.sleep(0)
        own.kill()
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(e, toolring.Unknown) for e in outcomes[:14])
        assert all(isinstance(e, (toolring.Unavailable, toolring.NotStarted, toolring.Unknown))
                   for e in outcomes), outcomes
        assert sum(isinstance(e, toolring.Unavailable) for e in outcomes) > 150
        own.start()
        assert (await client.trajectory("t").bash("x")).success


async def test_toolringd_that_hangs(own: Private) -> None:
    """Connecting ends in time, and the loop goes on meanwhile."""
    pids = [own.pid, *below(own.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticker = asyncio.ensure_future(tick())
        began = time.monotonic()
        with pytest.raises(toolring.Unavailable):
            await toolring.connect(own.name, open_timeout=1)
        assert 0.5 < time.monotonic() - began < 4
        ticker.cancel()
        assert ticks > 2  # a hundred, unless the machine is busy; none if the loop is held up
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await toolring.connect(own.name, open_timeout=60)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    async with toolring.connect(own.name) as client:
        await client.ping()


# ---- closing -------------------------------------------------------------------------------------

async def test_closed_with_calls_in_flight(fake: toolring.Daemon) -> None:
    """Each ends with a definite exception: sent or not sent."""
    client = await toolring.connect(fake.name, calls=16)
    tasks = await started(client, *(client.trajectory(f"closed-{i}").call("bash", WAIT)
                                    for i in range(14)))
    tasks += [asyncio.ensure_future(client.trajectory(f"closed-w{i}").call("bash", WAIT))
              for i in range(50)]
    await asyncio.sleep(0)
    await client.close()
    async with asyncio.timeout(LONG):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(e, toolring.Unknown) and "closed" in str(e) for e in outcomes[:14])
    assert all(isinstance(e, (toolring.Unknown, toolring.Unavailable)) and e.result is not None
               for e in outcomes), outcomes
    assert sum(isinstance(e, toolring.Unavailable) for e in outcomes) >= 40
    async with toolring.connect(fake.name) as other:
        while (await other.status())["calls_running"]:
            pass


async def test_closing_kills_what_runs(local: toolring.Daemon) -> None:
    word = next(words)
    with pytest.raises(ZeroDivisionError):
        async with toolring.connect(local.name) as client:
            task = await running(client.trajectory().bash(f"sleep {word}"), local, word)
            raise ZeroDivisionError
    assert isinstance(await outcome_of(task), toolring.Unknown)
    await killed(local, word)


async def test_closing_within_a_trajectory(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client:
        async with client.trajectory() as t:
            await t.bash("true")
            await client.close()


async def test_a_forgotten_client_warns_and_leaves_nothing(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as watcher:
        before = sorted(os.listdir("/proc/self/fd"))
        for n_calls in (0, 3):
            client = await toolring.connect(fake.name, label="forgotten")
            for _ in range(n_calls):
                await client.ping()
            with pytest.warns(ResourceWarning, match="not closed"):
                del client
                gc.collect()
            while any(s["label"] == "forgotten" for s in (await watcher.status())["sessions"]):
                pass
            assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_client_outlives_its_loop(fake: toolring.Daemon) -> None:
    """One that was not closed is freed with a warning, and a call in flight ends with its loop."""
    kept: list[Any] = []

    async def forget() -> None:
        client = await toolring.connect(fake.name)
        kept.append(client)
        kept.append(asyncio.ensure_future(client.trajectory("outlives").call("bash", WAIT)))
        await client.ping()

    before = sorted(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(forget())
        assert kept[1].cancelled()
        kept.clear()
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning], [str(w.message) for w in caught]
    assert sorted(os.listdir("/proc/self/fd")) == before


# ---- where it does not belong --------------------------------------------------------------------

async def test_each_loop_has_its_own_client(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client:
        found: list[Any] = []

        async def elsewhere() -> None:
            for call in (client.ping(), client.status(), client.trajectory("t").bash("x")):
                found.append(await outcome_of(call))
            async with toolring.connect(fake.name) as own:
                found.append((await own.trajectory("loop").bash("x")).success)

        thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
        thread.start()
        while thread.is_alive():
            await client.ping()  # both at work
        thread.join()
        assert all(isinstance(e, RuntimeError) and "loop" in str(e) for e in found[:3]), found
        assert found[3] is True
        assert await client.ping() > 0


async def test_without_a_loop_it_says_so(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client:
        found: list[Any] = []

        def bare() -> None:
            calls: list[Any] = [client.ping(), client.trajectory("t").bash("x")]
            for call in calls:
                try:
                    call.send(None)
                except BaseException as error:
                    found.append(error)
                finally:
                    call.close()

        thread = threading.Thread(target=bare)
        thread.start()
        thread.join()
        assert all(isinstance(e, RuntimeError) and "loop" in str(e) for e in found), found
        assert len(found) == 2


def in_child(function: Callable[[], None]) -> None:
    """Runs it in a forked child, which must come through it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_forked_child_is_told(fake: toolring.Daemon) -> None:
    """It may close what it got, and connects one of its own; the parent's goes on."""
    async with toolring.connect(fake.name) as client:
        t = client.trajectory("forked")
        task = asyncio.ensure_future(t.call("bash", {"fake": {"wait_s": 0.3}}))
        await client.ping()

        def child() -> None:
            async def main() -> None:
                for call in (client.ping(), client.status(), t.bash("x")):
                    error = await outcome_of(call)
                    assert isinstance(error, toolring.Forked), error
                await client.close()
                async with toolring.connect(fake.name) as own:
                    assert (await own.trajectory("child").bash("x")).success

            with warnings.catch_warnings():
                warnings.simplefilter("error")
                asyncio.run(main())

        in_child(child)
        assert (await task).success
        assert (await t.bash("x")).success
        assert len((await client.status())["sessions"]) >= 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_forked_child_that_ends_at_once_hurts_nobody(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        await t.write_file("f", "mine")
        in_child(lambda: None)

        def collects() -> None:
            gc.collect()

        in_child(collects)
        assert (await t.read_file("f")).output == "mine"


async def rollout(name: str) -> None:
    async with toolring.connect(name) as client, client.trajectory() as t:
        assert (await t.bash("x")).success


def run_rollout(name: str) -> None:
    asyncio.run(rollout(name))


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes_of_multiprocessing_connect_their_own(fake: toolring.Daemon, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        processes = [context.Process(target=run_rollout, args=(fake.name,)) for _ in range(3)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


INTERRUPTED = """
import asyncio, sys, toolring
async def main():
    async with toolring.connect(sys.argv[1]) as client, client.trajectory() as t:
        await t.bash(f"sleep {sys.argv[2]}")
asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_program_leaves_no_command(local: toolring.Daemon,
                                                  how: signal.Signals) -> None:
    word = next(words)
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, local.name, word],
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                               stderr=subprocess.PIPE, text=True)
    try:
        asyncio.run(until(lambda: commands_below(local.pid, word), "the command runs"))
        process.send_signal(how)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt") and "never" not in said, said
    asyncio.run(killed(local, word))
