# SPDX-License-Identifier: Apache-2.0
"""
What a call takes that waits, with 10,000 awaits of t.bash() at once.

64 trajectories of the fake backend are kept busy by one call each, so that whatever comes after it
waits. Then 10,000 tasks are made that await t.bash("true"), and when each has got as far as it can,
the growth of our private memory and of the shared segment is divided by 10,000: what counts is all
of it, coroutine, task, the list that holds the task, arguments, and what the client and the C
library keep. Each figure has a process of its own, in which no freed memory hides the growth.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Sequence

import toolring

from . import _machine
from ._bench import Bench, daemon
from ._report import Row

N_TRAJECTORIES = 64
N_WAITING = 10_000
BYTES = 2048
BLOCKER = {"command": "wait", "fake": {"wait_s": 600}}
CALLS = 16384  # above N_WAITING


def _memory() -> int:
    return _machine.private_bytes() + _machine.shared_bytes()


def _executor(d: toolring.Daemon) -> int:
    return sum(map(_machine.private_bytes, _machine.family(d.pid)))


async def _settle() -> None:
    """Every task that can go on has done so, and every call that can leave has left."""
    for _ in range(3):
        await asyncio.sleep(0.1)


async def _growth(n: int, client: toolring.Client,
                  gauges: Sequence[Callable[[], int]]) -> list[float]:
    """By how much each gauge grows for each waiting call."""
    ts = [client.trajectory(f"waiting-{i}") for i in range(N_TRAJECTORIES)]
    for t in ts:
        await t.bash("true")
    blockers = [asyncio.create_task(t.call("bash", BLOCKER, timeout=600)) for t in ts]
    await _settle()
    gc.collect()
    before = [gauge() for gauge in gauges]
    tasks = [asyncio.create_task(ts[i % N_TRAJECTORIES].bash("true")) for i in range(n)]
    await _settle()
    gc.collect()
    after = [gauge() for gauge in gauges]
    if any(task.done() for task in tasks):
        raise RuntimeError("a call that was to wait has ended")
    for task in (*tasks, *blockers):
        task.cancel()
    await asyncio.gather(*tasks, *blockers, return_exceptions=True)
    return [(b - a) / n for a, b in zip(before, after, strict=True)]


def _n(bench: Bench) -> int:
    return 500 if bench.quick else N_WAITING


def measure(bench: Bench) -> None:
    """Adds what they take here and in the executor, of a client with default options."""
    async def work(d: toolring.Daemon) -> list[float]:
        async with toolring.connect(d.name) as client:
            return await _growth(_n(bench), client, (_memory, lambda: _executor(d)))

    with daemon("fake") as d:
        ours, executor = asyncio.run(work(d))
    bench.add(Row("bytes_per_waiting_call", ours, "bytes", sign="<=", limit=BYTES))
    bench.add(Row("executor_per_waiting_call", executor, "bytes"))


def measure_in_flight(bench: Bench) -> None:
    """Adds the same where all of them are in the ring, the segment's growth for that included."""
    async def work(d: toolring.Daemon) -> list[float]:
        async with toolring.connect(d.name, calls=CALLS) as client:
            return await _growth(_n(bench), client, (_memory,))

    with daemon("fake", "--limit", f"session_calls_max={CALLS}") as d:
        ours, = asyncio.run(work(d))
    bench.add(Row("bytes_per_call_in_flight", ours, "bytes"))


def measure_traced(bench: Bench) -> None:
    """Adds what of it was allocated through Python."""
    async def work(d: toolring.Daemon) -> list[float]:
        async with toolring.connect(d.name) as client:
            tracemalloc.start()
            return await _growth(_n(bench), client, (lambda: tracemalloc.get_traced_memory()[0],))

    with daemon("fake") as d:
        ours, = asyncio.run(work(d))
    bench.add(Row("bytes_per_waiting_call_traced", ours, "bytes"))
