# SPDX-License-Identifier: Apache-2.0
"""Faults that a review found in the asynchronous client, each with what showed it."""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import toolring
from private import Private, wait_until
from toolring import _native, _pump

WAIT = {"fake": {"wait_s": 3000}}


@pytest.fixture
def own() -> Iterator[Private]:
    with Private() as daemon:
        yield daemon


async def test_calls_to_be_sent_again_do_not_wait_for_ever(own: Private) -> None:
    """With resubmit, too, a toolringd that stays away makes calls end after reconnect_timeout; and
    they do not run when it comes back later."""
    async with toolring.connect(own.name, resubmit=True, reconnect_timeout=0.3) as client:
        t = client.trajectory("t")
        tasks = [asyncio.ensure_future(call) for call in
                 (t.call("bash", WAIT), *(t.bash(str(i)) for i in range(20)))]
        while (await client.status())["calls_running"] == 0:
            pass
        own.kill()
        async with asyncio.timeout(30):
            first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, toolring.Unknown), first
        assert all(isinstance(e, toolring.Unavailable) for e in others), others
        own.start()
        assert (await client.trajectory("new").bash("x")).success
        backend = (await client.status())["backend"]
        assert backend["executed"] == 1, backend


async def test_closing_a_coroutine_cancels_its_call(own: Private) -> None:
    """As cancelling its task does: nobody is left who wants the result."""
    async with toolring.connect(own.name) as client:
        call = client.trajectory("t").call("bash", WAIT, timeout=600)
        call.send(None)
        while (await client.status())["calls_running"] == 0:
            pass
        call.close()
        async with asyncio.timeout(30):
            while (await client.status())["calls_running"]:
                pass


class Interrupt(asyncio.Future[int]):
    """A waiter in whose set_result Ctrl-C strikes."""

    def set_result(self, result: int) -> None:
        super().set_result(result)
        raise KeyboardInterrupt


def test_interrupt_while_results_are_handed_over_is_not_swallowed(fake: toolring.Daemon) -> None:
    """It reaches who runs the loop, and the results beside it their waiters."""
    loop = asyncio.new_event_loop()
    session = _native.Session(fake.name, calls=8)
    waiters: list[Any] = [loop.create_future(), Interrupt(loop=loop), loop.create_future()]
    for waiter in waiters:
        assert session.ping(waiter, ())
    interrupts = 0
    while session.pending:
        try:
            session.reap()
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts == 1
    assert all(waiter.result() > 0 for waiter in waiters)
    session.close()
    loop.close()


def test_client_works_after_an_interrupt(fake: toolring.Daemon, monkeypatch: Any) -> None:
    """One that leaves the loop from within the client's own callback: who runs the loop again, as
    asyncio.run() does to clean up, is answered."""
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(toolring.connect(fake.name)._open())
    task = loop.create_task(client.trajectory("interrupted").call("bash", WAIT))
    loop.run_until_complete(client.ping())
    spinning: Callable[..., Any] = _pump.Pump._spinning

    def interrupted(self: _pump.Pump) -> bool:
        monkeypatch.setattr(_pump.Pump, "_spinning", spinning)
        signal.raise_signal(signal.SIGINT)
        return spinning(self)

    monkeypatch.setattr(_pump.Pump, "_spinning", interrupted)
    # Whatever it did last, now it looks, and for the other call in vain at least once.
    ping = loop.create_task(client.ping())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(asyncio.wait_for(ping, 30)) > 0
    assert loop.run_until_complete(asyncio.wait_for(client.ping(), 30)) > 0
    task.cancel()
    loop.run_until_complete(asyncio.wait([task], timeout=30))
    assert task.cancelled()
    loop.run_until_complete(client.close())
    loop.close()


# ---- what a second review found ------------------------------------------------------------------

async def test_a_client_keeps_its_toolringd() -> None:
    """A Daemon that nobody else has lives as long as its client."""
    async with toolring.connect(toolring.start(backend="fake")) as client:
        gc.collect()
        assert (await client.trajectory("t").bash("x")).success
        daemon: Any = client._given
    await daemon.stop_async()


async def test_an_asynchronous_client_does_not_pickle(own: Private) -> None:
    """It says what to do instead."""
    async with toolring.connect(own.name) as client:
        for thing in (client, client.trajectory("t")):
            with pytest.raises(TypeError, match="connect"):
                pickle.dumps(thing)


async def test_one_client_opens_one_session(own: Private) -> None:
    """However many tasks await it at once."""
    client = toolring.connect(own.name)

    async def opened() -> toolring.Client:
        return await client

    assert set(await asyncio.gather(*(opened() for _ in range(20)))) == {client}
    assert len((await client.status())["sessions"]) == 1
    await client.close()


async def test_wrong_types_are_named(own: Private) -> None:
    """By the argument they were given as."""
    async with toolring.connect(own.name) as client:
        t = client.trajectory("t")
        wrong: Any = 5
        data: Any = b"ls"  # for Python a sequence of numbers
        for call, named in ((lambda: t.exec(wrong), "argv"), (lambda: t.exec(["a", wrong]), "argv"),
                            (lambda: t.exec(data), "argv"),
                            (lambda: t.terminal.send_keys(data), "keys"),
                            (lambda: t.read_file(wrong), "path"),
                            (lambda: t.exec("x", cwd=wrong), "cwd"),
                            (lambda: t.terminal.send_keys(wrong), "keys")):
            with pytest.raises(toolring.InvalidCall, match=f"{named} must be") as caught:
                await call()
            assert repr(wrong) in str(caught.value) or repr(data) in str(caught.value)


@pytest.mark.quiet_loop
async def test_many_cancelled_before_they_were_sent(own: Private) -> None:
    """Cancelling what waits for room ends it, and it never runs."""
    async with (toolring.connect(own.name, calls=16) as client,
                toolring.connect(own.name) as other):
        tasks = [asyncio.ensure_future(client.trajectory(f"t{i}").call("bash", WAIT))
                 for i in range(2000)]
        while (await other.status())["calls_running"] == 0:
            pass
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(e, asyncio.CancelledError) for e in outcomes)
        async with asyncio.timeout(30):
            while (await other.status())["calls_running"]:
                pass
        assert (await other.status())["backend"]["executed"] <= 16


# ---- what an attack found ------------------------------------------------------------------------

async def test_no_complaint_about_a_coroutine_that_was_closed(own: Private) -> None:
    """What its call ends as is nobody's any more."""
    client = await toolring.connect(own.name)
    call = client.trajectory("t").call("bash", WAIT, timeout=600)
    call.send(None)
    call.close()
    await client.close()


def test_client_is_closed_in_the_thread_of_its_loop(fake: toolring.Daemon) -> None:
    """Whoever closes it, or is where the garbage collector finds it: what waits in the loop learns
    it at once, though the loop sleeps."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)  # complains of what is done to it from elsewhere

    async def connected() -> toolring.Client:
        return await toolring.connect(fake.name)

    async def called() -> Any:
        return await client.trajectory("t").call("bash", WAIT, timeout=600)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    for close in (lambda: asyncio.run(client.close()), lambda: client._pump.close()):
        client: Any = asyncio.run_coroutine_threadsafe(connected(), loop).result(60)
        call = asyncio.run_coroutine_threadsafe(called(), loop)
        pump = client._pump
        wait_until(lambda: pump._session.pending and not pump._looking, "the loop sleeps")
        close()
        with pytest.raises(toolring.Unknown, match="closed during the call"):
            call.result(60)
        assert client.closed
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("entered", ["_look", "_readable"])
def test_client_works_after_an_interrupt_on_entering(fake: toolring.Daemon, entered: str,
                                                     monkeypatch: Any) -> None:
    """Where nothing of ours can catch it, and the loop has forgotten the callback already: what is
    awaited then is answered all the same."""
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(toolring.connect(fake.name, spin_us=0)._open())
    callback = getattr(_pump.Pump, entered)
    interrupts: list[str] = []

    def interrupted(self: _pump.Pump) -> None:
        if not interrupts:
            interrupts.append(entered)
            self._looking = True  # as _readable() has it when it looks
            raise KeyboardInterrupt
        callback(self)

    monkeypatch.setattr(_pump.Pump, entered, interrupted)
    assert client._pump is not None
    loop.remove_reader(client._pump._fd)
    loop.add_reader(client._pump._fd, client._pump._readable)
    task = loop.create_task(client.trajectory("t").call("bash", {"fake": {"wait_s": 0.1}}))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(asyncio.wait_for(task, 60)).success
    loop.run_until_complete(client.close())
    loop.close()


async def test_nobody_looks_for_ever(fake: toolring.Daemon) -> None:
    """The check that somebody looks ends when nothing is awaited any more, and with the client."""
    async with toolring.connect(fake.name) as client:
        pump: Any = client._pump
        assert (await client.trajectory("t").bash("x")).success
        async with asyncio.timeout(60):
            while pump._beats is not None:
                await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(client.trajectory("t").call("bash", WAIT, timeout=600))
        while not pump._session.pending:
            await asyncio.sleep(0)
        assert not pump._beats.cancelled()
    assert pump._beats.cancelled()
    with pytest.raises(toolring.Unknown):
        await waiting


class Struck(set[Any]):
    """In whose discard() Ctrl-C strikes, once."""

    struck = False

    def discard(self, element: Any) -> None:
        if not self.struck:
            self.struck = True
            raise KeyboardInterrupt
        super().discard(element)


@pytest.mark.parametrize("where", ["submit", "discard"])
def test_an_interrupted_call_is_sent_once(own: Private, where: str) -> None:
    """Ctrl-C between the submit of a call that has waited for room and our learning of it, or
    before we have said that it waits no more."""
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(toolring.connect(own.name)._open())
    pump: Any = client._pump
    submitted: list[bool] = []

    def interrupted(*call: Any) -> bool:
        submitted.append(_native.Session.execute(*call))
        if len(submitted) == 1 and where == "submit":
            raise KeyboardInterrupt
        return submitted[-1]

    waiter = loop.create_future()
    # It lasts until we come to submit it again.
    call = (toolring.Result, "t", "bash", {"fake": {"wait_s": 1}}, None, None)
    if where == "discard":
        pump._queued = Struck()
    pump._queued.add(waiter)
    pump._queue.append((interrupted, waiter, call))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(client.ping())
    assert loop.run_until_complete(asyncio.wait_for(waiter, 60)).success
    assert submitted[0]
    assert loop.run_until_complete(client.status())["backend"]["executed"] == 1
    assert not pump._queued
    loop.run_until_complete(client.close())
    loop.close()


def test_an_interrupt_is_no_result(own: Private, monkeypatch: Any) -> None:
    """One that strikes while a result is made reaches who runs the loop, also where nobody wants
    the result any more; the others are handed over, and so is this one."""
    loop = asyncio.new_event_loop()
    session = _native.Session(own.name, calls=8)
    init = toolring.ToolringError.__init__

    def interrupted(*arguments: Any) -> None:
        monkeypatch.setattr(toolring.ToolringError, "__init__", init)
        raise KeyboardInterrupt

    for wanted in (True, False):
        waiters = [loop.create_future() for _ in range(3)]
        for waiter in waiters:
            # No such tool as "".
            assert session.execute(waiter, (toolring.Result, "t", "", {}, None, None))
        if not wanted:
            waiters[0].cancel()
        monkeypatch.setattr(toolring.ToolringError, "__init__", interrupted)
        interrupts = 0
        while session.pending:
            try:
                session.reap()
            except KeyboardInterrupt:
                interrupts += 1
        assert interrupts == 1
        for waiter in waiters:
            assert waiter.cancelled() or isinstance(waiter.exception(), toolring.InvalidCall)
    session.close()
    loop.close()


def test_wrong_use_of_the_extension_is_refused(fake: toolring.Daemon) -> None:
    """It does not crash, whoever goes past the package."""
    session: Any = _native.Session(fake.name, calls=8)
    for method in (session.execute, session.request, session.call_execute, session.call_request):
        with pytest.raises(TypeError, match="expected"):
            method()
    for call in ((), None, (1,) * 7, (toolring.Result,)):
        for method in (session.execute, session.request):
            with pytest.raises(TypeError, match="expected"):
                method(None, call)
    for kind in (3, 3 + 2**32, 0, 99, -1):
        with pytest.raises(ValueError):
            session.call_request(toolring.Result, kind, "t", {})
    session.close()
