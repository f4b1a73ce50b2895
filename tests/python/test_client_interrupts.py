# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C where the asynchronous client is at work: nothing stalls, is lost or is done twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest

import toolring
from private import Private
from toolring import _native, _pump

WAIT = {"fake": {"wait_s": 3000}}


class Interrupt(asyncio.Future[int]):
    """A waiter in whose set_result Ctrl-C strikes."""

    def set_result(self, result: int) -> None:
        super().set_result(result)
        raise KeyboardInterrupt


def reap_all(session: _native.Session) -> int:
    """Until nothing is pending; how often Ctrl-C struck meanwhile."""
    interrupts = 0
    while session.pending:
        try:
            session.reap()
        except KeyboardInterrupt:
            interrupts += 1
    return interrupts


def test_interrupt_while_results_are_handed_over_is_not_swallowed(fake: toolring.Daemon) -> None:
    """It reaches who runs the loop, and the results beside it their waiters."""
    loop = asyncio.new_event_loop()
    session = _native.Session(fake.name, calls=8)
    waiters: list[Any] = [loop.create_future(), Interrupt(loop=loop), loop.create_future()]
    for waiter in waiters:
        assert session.ping(waiter, ())
    assert reap_all(session) == 1
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
        assert reap_all(session) == 1
        for waiter in waiters:
            assert waiter.cancelled() or isinstance(waiter.exception(), toolring.InvalidCall)
    session.close()
    loop.close()
