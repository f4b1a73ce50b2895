# SPDX-License-Identifier: Apache-2.0
"""What rarely happens to an asynchronous client, and must not go wrong all the same."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
from typing import Any

import pytest

import toolring
from private import Private, wait_until
from toolring import _native

WAIT = {"fake": {"wait_s": 3000}}


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
