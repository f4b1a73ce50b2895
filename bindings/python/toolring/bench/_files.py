# SPDX-License-Identifier: Apache-2.0
"""
How many read_file() go through, of a file of 1 KiB on 64 trajectories of local slots, on all cores:
read_file_rate_1000 with 1,000 tasks that each await one after the other, so that 1,000 are under
way all the time; read_file_rate_gather with a gather() of 1,000 calls again and again, which wait
for the slowest of each. What is counted are answers within a window that begins after all are under
way; the best window counts. The C client's figure (of the same run) has 128 under way.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import toolring
import toolring.sync

from ._bench import Bench, daemon, of_c
from ._report import Row
from ._turns import now, uvloop_factory

N_TRAJECTORIES = 64
N_TASKS = 1000
RATE = 40_000
FILE = "bench.txt"
CONTENT = ("x" * 63 + "\n") * 16


class _Counter:
    """Answers, and what of our own CPU time they took."""

    def __init__(self) -> None:
        self.n = 0
        self.ended = False
        self.rates: list[float] = []
        self.cpu_ns: list[float] = []
        self._at = (0, 0, 0)

    def begin(self) -> None:
        self._at = (self.n, now(), time.process_time_ns())

    def end(self) -> None:
        n, at, cpu = self._at
        answered = max(self.n - n, 1)
        self.rates.append(answered * 1e9 / (now() - at))
        self.cpu_ns.append((time.process_time_ns() - cpu) / answered)


def _check(result: toolring.Result) -> None:
    if result.output != CONTENT:
        raise RuntimeError(f"read_file: {result!r}")


async def _one_by_one(t: toolring.Trajectory, counter: _Counter) -> None:
    while not counter.ended:
        _check(await t.read_file(FILE))
        counter.n += 1


async def _gathered(ts: list[toolring.Trajectory], counter: _Counter) -> None:
    while not counter.ended:
        for result in await asyncio.gather(*(ts[i % N_TRAJECTORIES].read_file(FILE)
                                             for i in range(N_TASKS))):
            _check(result)
            counter.n += 1


async def _windows(counter: _Counter, tasks: list[asyncio.Task[None]], seconds: float,
                   n: int) -> None:
    """Windows of that length; then no more calls are begun."""
    before = counter.n
    while counter.n < before + N_TASKS and not any(task.done() for task in tasks):
        await asyncio.sleep(0.01)
    for _ in range(n):
        counter.begin()
        await asyncio.sleep(seconds)
        counter.end()
    counter.ended = True
    for task in tasks:
        await task


async def _rate(name: str, gathered: bool, seconds: float, n: int) -> _Counter:
    counter = _Counter()
    async with toolring.connect(name) as client:
        ts = [client.trajectory(f"file-{i}") for i in range(N_TRAJECTORIES)]
        for t in ts:
            await t.write_file(FILE, CONTENT)
        works = [_gathered(ts, counter)] if gathered else \
            [_one_by_one(ts[i % N_TRAJECTORIES], counter) for i in range(N_TASKS)]
        await _windows(counter, [asyncio.create_task(work) for work in works], seconds, n)
        for t in ts:
            await t.release()
    return counter


def _sync_rate(name: str, seconds: float, n: int) -> _Counter:
    """A thread for each trajectory, all on one client."""
    counter = _Counter()
    counts = [0] * N_TRAJECTORIES

    def work(client: toolring.sync.Client, i: int) -> None:
        with client.trajectory(f"file-{i}") as t:
            t.write_file(FILE, CONTENT)
            while not counter.ended:
                _check(t.read_file(FILE))
                counts[i] += 1

    with toolring.sync.connect(name) as client:
        threads = [threading.Thread(target=work, args=(client, i)) for i in range(N_TRAJECTORIES)]
        for thread in threads:
            thread.start()
        while not all(counts) and all(thread.is_alive() for thread in threads):
            time.sleep(0.01)
        for _ in range(n):
            counter.n = sum(counts)
            counter.begin()
            time.sleep(seconds)
            counter.n = sum(counts)
            counter.end()
        counter.ended = True
        for thread in threads:
            thread.join()
    return counter


def measure(bench: Bench) -> None:
    """Adds the rows of files read."""
    seconds, n = (0.1, 1) if bench.quick else (2.0, 5)
    uvloop = uvloop_factory()
    steady: _Counter | None = None
    with daemon("local") as d:
        def rate(gathered: bool,
                 factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> _Counter:
            with asyncio.Runner(loop_factory=factory) as runner:
                return runner.run(_rate(d.name, gathered, seconds, n))

        def add(name: str, counter: _Counter, limit: float | None = None) -> None:
            bench.say(f"{name}: " + ", ".join(f"{rate:.0f}/s" for rate in counter.rates))
            bench.add(Row(name, max(counter.rates), "per_second", sign=">=" if limit else None,
                          limit=limit or 0))

        if bench.wants("read_file_rate_1000", "read_file_rate_vs_c", "read_file_cpu"):
            steady = rate(False)
            add("read_file_rate_1000", steady, RATE)
        if bench.wants("read_file_rate_gather"):
            add("read_file_rate_gather", rate(True))
        if uvloop and bench.wants("read_file_rate_uvloop"):
            add("read_file_rate_uvloop", rate(False, uvloop))
        if bench.wants("read_file_rate_sync"):
            add("read_file_rate_sync", _sync_rate(d.name, seconds, n))
    if not uvloop:
        bench.leave_out("read_file_rate_uvloop", "uvloop is not installed")
    if steady:
        bench.add(Row("read_file_cpu", min(steady.cpu_ns), "ns"))
    if steady and bench.wants("read_file_rate_vs_c"):
        c = of_c(bench, "slots", "read_file_rate_64")["read_file_rate_64"]
        bench.add(Row("read_file_rate_vs_c", max(steady.rates), "per_second",
                      "C client's read_file_rate_64", c))
