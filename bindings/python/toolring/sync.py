# SPDX-License-Identifier: Apache-2.0
"""
The synchronous client: each call waits for its result.

    with toolring.sync.connect() as client:
        with client.trajectory("rollout-7") as t:
            print(t.bash("echo hello", timeout=5).output)

Any number of threads may use one client; while one waits, the others run. Where an event loop is
running a call would stop it, so there every call is refused: use toolring.connect().

A session belongs to the process that opened it. In a forked child, and where a client came by
pickle (multiprocessing's spawn and forkserver), the first call opens another one with the same
options. Trajectories belong to the user, so their ids go on working in all of these processes. A
slot stays as long as one process that has used it lives: where children come and go, acquire() it
in their parent. At the end of a with block it is given back by the process that entered the block,
and by no other.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, Self
from weakref import WeakValueDictionary

from . import _calls
from ._calls import TrajectoryCalls, fresh_id
from ._errors import Closed, ToolringError
from ._native import Session
from ._options import Name, instance_name, session_options
from ._result import ArtifactResult, ExecResult, Result

__all__ = ["Client", "Trajectory", "connect"]


# Every client of this process by its key, which a pickled one takes along: what comes by pickle
# more than once is one client, with one session.
_clients: WeakValueDictionary[str, Client] = WeakValueDictionary()
# Those that came by pickle live until they are closed: a worker that gets them anew with each task
# is to go on holding its trajectories between the tasks.
_unpickled: dict[str, Client] = {}
_guard = threading.RLock()


def _in_forked_child() -> None:
    """Locks may be held by threads that are not here; sessions are the parent's."""
    global _guard
    _guard = threading.RLock()
    for client in _clients.values():
        client._forked()


os.register_at_fork(after_in_child=_in_forked_child)

# As get_running_loop(), which raises where none runs: that costs six times as much.
_running_loop = asyncio._get_running_loop


def _refuse_in_loop() -> NoReturn:
    raise RuntimeError(
        "toolring.sync waits for each result, which would stop the event loop that is running in "
        "this thread: use toolring.connect() and await, or asyncio.to_thread()")


def connect(name: Name = None, *, resubmit: bool = False, open_timeout: float = 5.0,
            reconnect_timeout: float = 10.0, spin_us: int | None = None, calls: int | None = None,
            submission_bytes: int | None = None, completion_bytes: int | None = None,
            result_bytes_max: int | None = None, label: str | None = None) -> Client:
    """
    Connects to a toolringd.

    name: which: the name of an instance, the path of its socket, or what toolring.start() returned;
        by default $TOOLRING_NAME, else "default".
    resubmit: calls in flight that had not begun when the executor died are sent again, instead of
        raising NotStarted.
    open_timeout: seconds to wait for the session.
    reconnect_timeout: seconds that a call waits for an executor that is gone to come back.
    spin_us: longest time to look for a result without sleeping; 0: never; by default as suits the
        machine.
    calls, submission_bytes, completion_bytes: most calls in flight, and sizes of the rings; by
        default the executor's.
    result_bytes_max: a larger result ends the session; 256 MiB.
    label: up to 31 bytes, shown in the executor's status.

    Raises Unavailable if there is none, or it does not answer; InvalidCall for a wrong option.
    """
    if _running_loop() is not None:
        _refuse_in_loop()
    options = session_options(
        resubmit=resubmit, open_timeout=open_timeout, reconnect_timeout=reconnect_timeout,
        spin_us=spin_us, calls=calls, submission_bytes=submission_bytes,
        completion_bytes=completion_bytes, result_bytes_max=result_bytes_max, label=label)
    client = Client(instance_name(name), options, fresh_id())
    client._given = name  # a Daemon that nobody else has would stop
    client._session()
    return client


class Client:
    """A connection to a toolringd, for any number of threads. connect() makes it."""

    __slots__ = ("__weakref__", "_closed", "_given", "_inherited", "_key", "_lock", "_name", "_opened",
                 "_options")

    def __init__(self, name: str, options: Mapping[str, Any], key: str) -> None:
        self._name = name
        self._options = options
        self._key = key
        self._opened: Session | None = None
        self._inherited: Session | None = None  # of the process that this one was forked from
        self._closed = False
        self._given: Name = None
        # A signal's handler may call in between.
        self._lock = threading.RLock()
        _clients[key] = self

    # ---- the session ----------------------------------------------------------------------------

    def _session(self) -> Session:
        """This process's own, for a call of this thread."""
        if _running_loop() is not None:
            _refuse_in_loop()
        return self._opened or self._open()

    def _open(self) -> Session:
        with self._lock:
            if self._closed:
                raise Closed("the client is closed")
            if self._inherited is not None:
                # Frees what this process has of it; the other one's lives on.
                self._inherited.close()
                self._inherited = None
            if self._opened is None:
                self._opened = Session(self._name, **self._options)
            return self._opened

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self._inherited, self._opened = self._opened or self._inherited, None

    def close(self) -> None:
        """
        Ends the session. Calls that other threads wait for are cancelled, and raise Unknown. May be
        repeated.
        """
        with self._lock:
            sessions = self._opened, self._inherited
            self._opened = self._inherited = None
            self._closed = True
        _unpickled.pop(self._key, None)
        for session in sessions:
            if session is not None:
                session.close()

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._closed

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

    def ping(self) -> int:
        """Nanoseconds of a round trip through both rings."""
        return self._session().call_ping()

    def status(self) -> dict[str, Any]:
        """What the executor says of itself."""
        return self._session().call_request(Result, _calls.STATUS, None, {}).metadata

    # ---- Python's protocols ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._closed:
            raise Closed("the client is closed: connect() another one")
        return self

    def __exit__(self, type: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, tuple[str, Mapping[str, Any], str]]:
        if self._closed:
            raise Closed("the client is closed: it cannot be sent to another process")
        return _unpickle, (self._name, self._options, self._key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}{', closed' if self._closed else ''})"


def _unpickle(name: str, options: Mapping[str, Any], key: str) -> Client:
    with _guard:
        client = _clients.get(key)
        if client is None or client._closed:
            client = _unpickled[key] = Client(name, options, key)
        return client


class Trajectory(TrajectoryCalls[Result, ExecResult, ArtifactResult]):
    """
    One rollout and its slot. Its calls run in order, one at a time. Client.trajectory() makes it.
    """

    __slots__ = ()

    _client: Client

    def _execute(self, tool: str, arguments: Mapping[str, Any], timeout: float | None,
                 result_class: type[Result] = Result, uniq_id: str | None = None) -> Any:
        return self._client._session().call_execute(result_class, self.id, tool, arguments, timeout,
                                                    uniq_id)

    def _request(self, kind: int, members: Mapping[str, Any],
                 result_class: type[Result] = Result) -> Any:
        return self._client._session().call_request(result_class, kind, self.id, members)

    def __enter__(self) -> Self:
        self._client._session()
        if self._spec is not None:
            result = self.acquire(self._spec)
            if not result:
                raise ToolringError(result.error, result)
        self._entered = os.getpid()
        return self

    def __exit__(self, type: type[BaseException] | None, value: BaseException | None,
                 traceback: TracebackType | None) -> None:
        # A child that was forked inside the block leaves it too, and must not take the slot away.
        entered, self._entered = self._entered, 0
        if entered != os.getpid() or self._client.closed:
            return
        try:
            self.release(keep_workspace=self._keep_workspace)
        except ToolringError as error:
            if value is None:
                raise
            value.add_note(f"toolring: the slot was not given back either: {error}")

    def __reduce__(self) -> tuple[Any, tuple[Client, str, Mapping[str, Any] | None, bool]]:
        return type(self), (self._client, self.id, self._spec, self._keep_workspace)
