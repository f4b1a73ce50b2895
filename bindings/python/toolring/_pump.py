# SPDX-License-Identifier: Apache-2.0
"""
A session in an asyncio loop: calls in, results into futures, and no thread.

The loop polls the session's descriptor, on which the executor sends a byte if it has been told that
nobody looks (arming). That wakes a sleeper at the price of two system calls, so while results are
likely to come soon we look ourselves, once in each turn of the loop, which then does not sleep:

    IDLE --a call--> LOOKING --nothing came for the time of a spin--> ARMED
      ^                 | ^                                             |
      '--all answered---' '-------------- descriptor readable, a call --'

Others in the loop have their turns meanwhile. The spin is adaptive: one that was rewarded doubles the
next, one that was not halves it down to nothing, and now and then the longest is tried again.

What finds no room in the ring (or no executor) waits in a queue of ours, in order.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic_ns
from typing import Any

from ._errors import Forked, failed
from ._native import Session
from ._result import Verdict

SPIN_NS = 100_000  # a wake-up of a sleeping executor takes some 50 us, there and back
SPIN_LEAST_NS = 5_000
SPIN_TRY = 16  # sleeps between tries of the longest spin
RETRY_S = 0.02  # between attempts to reach an executor that is gone
BEAT_S = 0.5  # between checks that we still look

_running_loop = asyncio._get_running_loop  # as get_running_loop(), without its exception

Waiter = asyncio.Future[Any]
Call = tuple[Any, ...]
Submit = Callable[[Session, Waiter, Call], bool]  # Session.execute, .request or .ping


class Pump:
    """One session's in its loop."""

    __slots__ = ("_armed_count", "_beats", "_fd", "_idle_sleeps", "_looked", "_looking", "_loop",
                 "_lost_ns", "_pid", "_queue", "_queued", "_reconnect_ns", "_session",
                 "_spin_max_ns", "_spin_ns", "_spin_until_ns", "_watched")

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, spin_us: int | None,
                 reconnect_s: float) -> None:
        self._session = session
        self._loop = loop
        self._queue: deque[tuple[Submit, Waiter, Call]] = deque()
        self._queued: set[Waiter] = set()  # the waiters in there
        self._looking = False
        self._looked = False  # since the last beat
        self._beats: asyncio.TimerHandle | None = None
        self._pid = os.getpid()
        self._reconnect_ns = int(reconnect_s * 1e9)
        self._lost_ns = 0  # since when no executor is there
        if spin_us is not None:
            self._spin_max_ns = spin_us * 1000
        else:
            # On one core, spinning keeps the executor from running.
            self._spin_max_ns = SPIN_NS if len(os.sched_getaffinity(0)) > 1 else 0
        self._spin_ns = self._spin_max_ns
        self._spin_until_ns = 0  # 0: not spinning
        self._idle_sleeps = 0
        self._fd = session.fileno()
        self._armed_count = session.count
        self._watched = True
        loop.add_reader(self._fd, self._readable)

    # ---- calls ----------------------------------------------------------------------------------

    def submit(self, submit: Submit, call: Call) -> Waiter:
        """
        A call, and the method of Session that sends it. The future gets an instance of the call's
        class, the nanoseconds of a ping, or an exception.
        """
        if _running_loop() is not self._loop:
            self._refuse()
        waiter: Waiter = self._loop.create_future()
        if self._queue or not submit(self._session, waiter, call):
            self._queued.add(waiter)
            self._queue.append((submit, waiter, call))
        if not self._looking:
            self._spin_until_ns = 0
            self._loop.call_soon(self._look)
            self._looking = True
            if self._beats is None:
                self._beats = self._loop.call_later(BEAT_S, self._beat)
        return waiter

    def cancel(self, waiter: Waiter) -> None:
        """Has the call ended, and what it runs killed. Nobody waits for its future any more."""
        with suppress(RuntimeError):  # its loop is closed
            waiter.cancel()
        if waiter not in self._queued and not self._session.closed:
            self._session.cancel(waiter)

    def _refuse(self) -> None:
        if os.getpid() != self._pid:
            raise Forked("this client was connected by the process that forked this one: connect "
                         "another here")
        raise RuntimeError(
            "this client belongs to another event loop: each loop (and thread) connects its own, "
            "and what has no loop uses toolring.sync")

    def _flush(self) -> None:
        """Submits what waits, as far as there is room."""
        queue = self._queue
        while queue:
            submit, waiter, call = queue[0]
            if not waiter.done():
                try:
                    if not submit(self._session, waiter, call):
                        return
                except Exception as error:
                    waiter.set_exception(error)
            # In this order an interrupt in between costs nothing: it is not submitted twice.
            self._queued.discard(waiter)
            queue.popleft()

    # ---- looking --------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._looking:
            return
        if self._session.pending or self._queue:
            self._looking = True
            self._spin_until_ns = 0
            self._look()
        elif self._session.arm() < 0:
            # The executor is gone, and nothing is lost by it; the next call looks for another.
            self._unwatch()

    def _look(self) -> None:
        try:
            self._look_once()
        except BaseException:
            # KeyboardInterrupt may come anywhere; who then runs the loop again finds us looking.
            self._loop.call_later(RETRY_S, self._look)
            raise

    def _beat(self) -> None:
        """
        Looks where nobody does who should. KeyboardInterrupt may strike where a look is about to
        begin, in here or in the loop, which has then forgotten it.
        """
        if self._session.closed or not (self._looking or self._session.pending or self._queue):
            self._beats = None
            return
        self._beats = self._loop.call_later(BEAT_S, self._beat)
        looked, self._looked = self._looked, False
        if self._looking and not looked:
            self._look()

    def _look_once(self) -> None:
        self._looked = True
        session = self._session
        n = 0 if session.closed else session.reap()
        if session.closed:
            self.close()  # what reap() still had in its hands
            return
        if self._queue:
            self._flush()
        if not session.pending and not self._queue:
            self._looking = False
            if n and self._spin_until_ns:
                self._spin_rewarded()
        elif n:
            if self._spin_until_ns:
                self._spin_rewarded()
            self._loop.call_soon(self._look)
        elif self._spinning():
            self._loop.call_soon(self._look)
        else:
            self._arm()

    def _arm(self) -> None:
        r = self._session.arm()
        if r < 0:
            self._lost()
            return
        self._lost_ns = 0
        if not self._watched or self._session.count != self._armed_count:
            self._watch()
        if r == 0:
            self._looking = False
        else:
            self._loop.call_soon(self._look)

    # ---- spinning -------------------------------------------------------------------------------

    def _spinning(self) -> bool:
        """Nothing came: whether to look again at once."""
        if not self._spin_max_ns:
            return False
        now = monotonic_ns()
        if not self._spin_until_ns:
            if self._spin_ns < SPIN_LEAST_NS:
                self._idle_sleeps += 1
                if self._idle_sleeps < SPIN_TRY:
                    return False
                self._idle_sleeps = 0
                self._spin_ns = self._spin_max_ns
            self._spin_until_ns = now + self._spin_ns
            return True
        if now < self._spin_until_ns:
            return True
        self._spin_ns //= 2
        self._spin_until_ns = 0
        return False

    def _spin_rewarded(self) -> None:
        self._spin_ns = min(2 * self._spin_ns, self._spin_max_ns)
        self._spin_until_ns = 0

    # ---- the executor goes and comes ------------------------------------------------------------

    def _watch(self) -> None:
        # The number is the old one, the file behind it a new one, which epoll has to be told.
        self._unwatch()
        self._fd = self._session.fileno()
        self._armed_count = self._session.count
        self._loop.add_reader(self._fd, self._readable)
        self._watched = True

    def _unwatch(self) -> None:
        if self._watched:
            self._loop.remove_reader(self._fd)
            self._watched = False

    def _lost(self) -> None:
        # A socket that is hung up would be readable for ever.
        self._unwatch()
        now = monotonic_ns()
        self._lost_ns = self._lost_ns or now
        if now - self._lost_ns < self._reconnect_ns:
            self._loop.call_later(RETRY_S, self._look)
            return
        self._lost_ns = 0
        self._looking = False
        message = "toolringd is gone, and did not come back in time"
        # What is in flight still was to be sent again; who makes the next call reaps what it ends as.
        for waiter in self._session.cancel_all():
            _fail(waiter, "unavailable", message)
        self._fail_queue(message)

    # ---- the end --------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """close() was called."""
        return self._session.closed

    def close(self) -> None:
        """Ends the session and, definitely, all calls of it. May be repeated."""
        if os.getpid() != self._pid:
            # The loop's epoll is shared with the parent, whose descriptor this would take out.
            self._session.close()
            return
        if self._loop.is_running() and _running_loop() is not self._loop:
            # In another thread, which the garbage collector may have brought us to. Once the loop
            # is closed, any will do.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.close)
                return
        if not self._loop.is_closed():
            self._unwatch()
        if self._beats is not None:
            self._beats.cancel()
        self._looking = False
        waiters = self._session.close()
        message = "the client was closed during the call, which may have run"
        for waiter in waiters:
            _fail(waiter, "unknown", message)
        self._fail_queue("the client was closed before the call was sent")

    def _fail_queue(self, message: str) -> None:
        for _, waiter, _ in self._queue:
            _fail(waiter, "unavailable", message)
        self._queue.clear()
        self._queued.clear()


def _fail(waiter: Waiter, verdict: Verdict, message: str) -> None:
    try:
        if not waiter.done():
            waiter.set_exception(failed(verdict, message))
    except RuntimeError:
        pass  # its loop is closed: nobody waits any more
