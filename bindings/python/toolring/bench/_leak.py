# SPDX-License-Identifier: Apache-2.0
"""
What is left behind by a million calls, of every kind there is: pings, tools that succeed, fail,
raise or are cancelled, calls and results too large for one record, trajectories and whole sessions
that come and go; 64 tasks at a time. After a warm-up, with a crowd of 1,000 of each kind at once in
it, the books (_ledger) are made up ten times, each time when all of it has ended.

toolringd's row has no target: its executor keeps up to 4 MiB at hand that it has freed, so its
private memory goes up and down by some MiB with how many large results there were at once.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import toolring

from . import _machine
from ._bench import Bench, daemon
from ._ledger import KNOWS_HEAP, MILLION, Ledger, growth
from ._report import Row

N_LANES = 64
N_WARM = 3  # windows before the first that counts
N_WINDOWS = 10
N_SESSIONS = 10  # opened and closed in each window
N_CROWD = 1000
LARGE = 100_000  # above a quarter of a ring

Action = Callable[[toolring.Client, toolring.Trajectory], Awaitable[object]]


def _fake(**script: Any) -> dict[str, Any]:
    return {"command": "true", "fake": script}


async def _raises(call: Awaitable[object], kind: type[BaseException]) -> None:
    try:
        await call
    except kind:
        return
    raise RuntimeError(f"a call was to raise {kind.__name__}")


async def _cancelled(_: toolring.Client, t: toolring.Trajectory) -> None:
    """In flight when its task is cancelled."""
    task = asyncio.ensure_future(t.call("bash", _fake(wait_s=60)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await _raises(task, asyncio.CancelledError)


async def _too_late(_: toolring.Client, t: toolring.Trajectory) -> None:
    await _raises(asyncio.wait_for(t.call("bash", _fake(wait_s=60)), 0.001), asyncio.TimeoutError)


async def _passing(client: toolring.Client, t: toolring.Trajectory) -> None:
    async with client.trajectory(None) as passing:
        await passing.bash("true")


async def _failing(_: toolring.Client, t: toolring.Trajectory) -> None:
    if (await t.call("bash", _fake(verdict="failed", exit_code=3))).success:
        raise RuntimeError("a call was to fail")


async def _large(_: toolring.Client, t: toolring.Trajectory) -> None:
    result = await t.call("bash", _fake(output_bytes=LARGE))
    if len(result.output) != LARGE:
        raise RuntimeError(f"a large result: {result!r}")


async def _ping(client: toolring.Client, _: toolring.Trajectory) -> None:
    await client.ping()


async def _read(_: toolring.Client, t: toolring.Trajectory) -> None:
    await t.read_file("notes.txt")


# One of a hundred calls each; of the others every second is a PING, the rest read_file().
RARE: tuple[Action, ...] = (
    _cancelled, _too_late, _passing, _failing, _large,
    lambda c, t: c.status(),
    lambda c, t: t.write_file("large.txt", "x" * LARGE),
    lambda c, t: _raises(t.call("no_such_tool", {}), toolring.InvalidCall),
    lambda c, t: _raises(t.call("bash", _fake(verdict="unavailable")), toolring.Unavailable),
    lambda c, t: _raises(t.call("bash", _fake(verdict="unknown")), toolring.Unknown),
    lambda c, t: _raises(t.call("bash", {"command": object()}), toolring.InvalidCall),
    lambda c, t: t.exec(["true"], stdin=b"some"),
)


async def _lane(client: toolring.Client, t: toolring.Trajectory, first: int, n: int) -> None:
    for k in range(first, first + n):
        at = k % 100
        if at < len(RARE):
            await RARE[at](client, t)
        else:
            await (_read if at % 2 else _ping)(client, t)


async def _crowd(client: toolring.Client, ts: list[toolring.Trajectory]) -> None:
    """More at once than ever after: free lists and tables get as large as they are to be."""
    for kind in (_ping, _read, *RARE):
        await asyncio.gather(*(kind(client, ts[i % N_LANES]) for i in range(N_CROWD)))


async def _window(name: str, client: toolring.Client, ts: list[toolring.Trajectory],
                  n: int) -> None:
    """n calls, all ended, cancelled ones too: those of a trajectory are answered in order."""
    for _ in range(N_SESSIONS):
        async with toolring.connect(name) as other:
            await other.ping()
    # Each lane begins elsewhere, so that all kinds are under way at once.
    await asyncio.gather(*(_lane(client, t, 13 * i, n // N_LANES) for i, t in enumerate(ts)))
    await asyncio.gather(*(t.read_file("notes.txt") for t in ts))
    for _ in range(5):  # what has ended is let go of in the loop's next turns
        await asyncio.sleep(0.01)


async def _work(name: str, executor: Callable[[], int], n: int,
                n_windows: int) -> tuple[Ledger, list[int]]:
    ledger, executors = Ledger(n_windows + 1), array("q", [0] * (n_windows + 1))
    async with toolring.connect(name) as client:
        ts = [client.trajectory(f"leak-{i}") for i in range(N_LANES)]
        await _crowd(client, ts)
        for _ in range(N_WARM):
            await _window(name, client, ts, n)
        for i in range(n_windows + 1):
            ledger.enter(i * n)
            executors[i] = executor()
            if i < n_windows:
                await _window(name, client, ts, n)
        for t in ts:
            await t.release()
    return ledger, list(executors)


def measure(bench: Bench) -> None:
    """Adds what is left behind."""
    n, n_windows = (N_LANES * 100, 3) if bench.quick else (1_000_000 // N_WINDOWS, N_WINDOWS)
    with daemon("fake") as d:
        def executor() -> int:
            return sum(map(_machine.private_bytes, _machine.family(d.pid)))

        ledger, executors = asyncio.run(_work(d.name, executor, n, n_windows))
    bench.say(f"\n{ledger}\n  toolringd's private memory: {executors}")
    bench.add(Row("leak_per_million", ledger.things_per_million(), "count", sign="<=", limit=0))
    if KNOWS_HEAP:
        bench.add(Row("leak_bytes_per_million", ledger.bytes_per_million(), "bytes", sign="<=",
                      limit=0))
    else:
        bench.leave_out("leak_bytes_per_million", "this C library does not tell what is allocated")
    bench.add(Row("leak_blocks_per_million", ledger.per_million("blocks"), "count"))
    bench.add(Row("leak_private_per_million", ledger.per_million("private"), "bytes"))
    calls = [i * n for i in range(n_windows + 1)]
    bench.add(Row("leak_executor_per_million", growth(calls, executors) * MILLION, "bytes"))
