# SPDX-License-Identifier: Apache-2.0
"""The asynchronous client, for asyncio and loops that behave like it (uvloop)."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator, Mapping
from types import TracebackType
from typing import Any, Never, NoReturn, Self

from . import _calls
from ._calls import TrajectoryCalls, fresh_id
from ._errors import Closed, InvalidCall, ToolringError, Unavailable
from ._native import Session
from ._options import Name, instance_name, session_options
from ._pump import Call, Pump, Submit
from ._result import ArtifactResult, ExecResult, Result

CALLS = 8192  # in flight; what is more waits its turn. The executor's default limit of a session.
OPEN_MS = 50  # the first attempt; the loop stands still while one is made, so they stay short
OPEN_MS_MAX = 200


def connect(name: Name = None, *, resubmit: bool = False, open_timeout: float = 5.0,
            reconnect_timeout: float = 10.0, spin_us: int | None = None, calls: int | None = None,
            submission_bytes: int | None = None, completion_bytes: int | None = None,
            result_bytes_max: int | None = None, label: str | None = None) -> Client:
    """
    A client for the running event loop: async with toolring.connect() as client, or
    client = await toolring.connect() and at the end await client.close().

    name: which toolringd: the name of an instance, the path of its socket, or what toolring.start()
        returned; by default $TOOLRING_NAME, else "default".
    resubmit: calls in flight that had not begun when the executor died are sent again, instead of
        raising NotStarted.
    open_timeout: seconds to wait for the session.
    reconnect_timeout: seconds that a call waits for an executor that is gone to come back.
    spin_us: longest time that the loop looks for results without sleeping; 0: never; 100 by default
        where there are two cores or more.
    calls, submission_bytes, completion_bytes: most calls in flight, and sizes of the rings; by default
        8192 and the executor's.
    result_bytes_max: a larger result ends the session; 256 MiB.
    label: up to 31 bytes, shown in the executor's status.

    Raises Unavailable if there is none, or it does not answer; InvalidCall for a wrong option.
    """
    options = session_options(
        resubmit=resubmit, open_timeout=open_timeout, reconnect_timeout=reconnect_timeout,
        spin_us=spin_us, calls=calls, submission_bytes=submission_bytes,
        completion_bytes=completion_bytes, result_bytes_max=result_bytes_max, label=label)
    return Client(name, options, spin_us)


async def _open_session(name: str, options: dict[str, Any]) -> Session:
    """Opens in short attempts, so that a toolringd that hangs does not stop the loop."""
    loop = asyncio.get_running_loop()
    end = loop.time() + options["open_timeout_ms"] / 1000
    attempt_ms = OPEN_MS
    options = {"calls": CALLS, **options}
    while True:
        left_ms = int((end - loop.time()) * 1000)
        options["open_timeout_ms"] = max(1, min(attempt_ms, left_ms))
        try:
            return Session(name, **options)
        except InvalidCall as error:
            if error.errno != errno.E2BIG or options.pop("calls", 0) != CALLS:
                raise
        except Unavailable as error:
            if error.errno != errno.ETIMEDOUT or left_ms <= attempt_ms:
                raise
            attempt_ms = min(2 * attempt_ms, OPEN_MS_MAX)
            await asyncio.sleep(OPEN_MS / 1000)


class Client:
    """A connection to a toolringd, for one event loop. connect() makes it."""

    __slots__ = ("__weakref__", "_given", "_name", "_opening", "_options", "_pid", "_pump", "_spin_us")

    def __init__(self, name: Name, options: dict[str, Any], spin_us: int | None) -> None:
        self._given = name  # a Daemon that nobody else has would stop
        self._name = instance_name(name)
        self._opening = asyncio.Lock()
        self._options = options
        self._spin_us = spin_us
        self._pump: Pump | None = None
        self._pid = os.getpid()

    async def _open(self) -> Self:
        async with self._opening:
            if self._pump is None:
                session = await _open_session(self._name, self._options)
                self._pump = Pump(session, asyncio.get_running_loop(), self._spin_us,
                                  self._options["reconnect_timeout_ms"] / 1000)
        if self._pump.closed:
            raise Closed("the client is closed: connect() another one")
        return self

    def _connected(self) -> Pump:
        if self._pump is None:
            raise Closed("the client is not connected: use 'async with toolring.connect()', "
                         "or await it")
        return self._pump

    async def close(self) -> None:
        """Ends the session. Calls in flight are cancelled, and raise. May be repeated."""
        if self._pump is not None:
            self._pump.close()

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._pump is not None and self._pump.closed

    # ---- calls ----------------------------------------------------------------------------------

    def trajectory(self, id: str | None = None, *, spec: Mapping[str, Any] | None = None,
                   keep_workspace: bool = False) -> Trajectory:
        """
        One rollout, with a slot of its own. As a context manager it gives the slot back at the end.

        id: yours, unique for this user; None: a fresh one.
        spec: what the slot must be, see acquire(); it is then acquired on entering.
        keep_workspace: the files stay for this id when the slot is given back.
        """
        return Trajectory(self, fresh_id() if id is None else id, spec, keep_workspace)

    async def ping(self) -> int:
        """Nanoseconds of a round trip through both rings."""
        ns: int = await self._connected().submit(Session.ping, ())
        return ns

    async def status(self) -> dict[str, Any]:
        """What the executor says of itself."""
        result: Result = await self._connected().submit(Session.request,
                                                        (Result, _calls.STATUS, None, {}))
        return result.metadata

    # ---- Python's protocols ---------------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(self, type: type[BaseException] | None, value: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an asynchronous client belongs to its process and event loop: connect() "
                        "another one there, or send a toolring.sync one")

    def __repr__(self) -> str:
        state = ", closed" if self.closed else "" if self._pump else ", not connected"
        return f"{type(self).__name__}({self._name!r}{state})"

    def __del__(self, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the interpreter's end modules are gone by now; the extension ends the session.
        pump = getattr(self, "_pump", None)
        if pump is None or _finalizing() or pump.closed:
            return
        if os.getpid() == self._pid:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
        pump.close()


class Trajectory(TrajectoryCalls[Coroutine[object, Never, Result],
                                 Coroutine[object, Never, ExecResult],
                                 Coroutine[object, Never, ArtifactResult]]):
    """One rollout and its slot. Its calls run in order, one at a time. Client.trajectory() makes it."""

    __slots__ = ()

    _client: Client

    def _execute(self, tool: str, arguments: Mapping[str, Any], timeout: float | None,
                 result_class: type[Result] = Result, uniq_id: str | None = None) -> Any:
        return self._answer(Session.execute,
                            (result_class, self.id, tool, arguments, timeout, uniq_id))

    def _request(self, kind: int, members: Mapping[str, Any],
                 result_class: type[Result] = Result) -> Any:
        return self._answer(Session.request, (result_class, kind, self.id, members))

    async def _answer(self, submit: Submit, call: Call) -> Any:
        pump = self._client._connected()
        waiter = pump.submit(submit, call)
        del call  # a call that waits takes no more memory than it must
        try:
            return await waiter
        except (asyncio.CancelledError, GeneratorExit):  # close() of the coroutine is one, too
            pump.cancel(waiter)
            raise

    async def __aenter__(self) -> Self:
        if self._spec is not None:
            result = await self.acquire(self._spec)
            if not result:
                raise ToolringError(result.error, result)
        self._entered = os.getpid()
        return self

    async def __aexit__(self, type: type[BaseException] | None, value: BaseException | None,
                        traceback: TracebackType | None) -> None:
        # A child that was forked inside the block leaves it too, and must not take the slot away.
        entered, self._entered = self._entered, 0
        if entered != os.getpid() or self._client.closed:
            return
        try:
            await self.release(keep_workspace=self._keep_workspace)
        except ToolringError as error:
            if value is None:
                raise
            value.add_note(f"toolring: the slot was not given back either: {error}")

    def __reduce__(self) -> NoReturn:
        self._client.__reduce__()
