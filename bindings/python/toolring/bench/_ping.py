# SPDX-License-Identifier: Apache-2.0
"""
What a PING takes, over what it takes the C client in the same run.

As in `toolring bench ring`, toolringd (over the fake backend) is pinned to one core and we to
another, and before each round trip come three pauses of 2 ms, which is how long its executor is
left alone there. We pin ourselves once we are connected, since a client that finds itself on one
core never spins; that is the row ping_unspun_p50.

In a pause the loop sleeps as the loop of a program does that waits for something else: in its
selector, by asyncio.sleep(), with its descriptors armed; what has woken it runs before the clock
does. time.sleep() instead, as in ping_held_p50, is the very system call that the C bench sleeps in.
There the first code of Python's that runs on a core that was switched off is the round trip's own,
which shows how cold that is and not what a PING takes: no program sleeps so in its loop.

The two clients take turns, and a figure is the median over turns of each turn's median.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

import toolring
import toolring.sync

from . import _machine
from ._bench import Bench, daemon, of_c
from ._report import Row
from ._turns import median, now, uvloop_factory

PAUSE_S = 0.002
N_PAUSES = 3
OVER_C_NS = 25_000

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


async def _ping_asleep(name: str, n: int, held: bool, spin_us: int | None) -> float:
    samples = []
    async with toolring.connect(name, spin_us=spin_us) as client:
        _machine.pin(_machine.OURS)
        await client.ping()
        for _ in range(n):
            for _ in range(N_PAUSES):
                if held:
                    time.sleep(PAUSE_S)
                else:
                    await asyncio.sleep(PAUSE_S)
            before = now()
            await client.ping()
            samples.append(now() - before)
    return median(samples)


async def _ping_awake(name: str, n: int) -> float:
    samples = []
    async with toolring.connect(name) as client:
        _machine.pin(_machine.OURS)
        for _ in range(n // 20):
            await client.ping()
        before = now()
        for _ in range(n):
            await client.ping()
            after = now()
            samples.append(after - before)
            before = after
    return median(samples)


def _sync(name: str, n: int, n_pauses: int) -> float:
    samples = []
    with toolring.sync.connect(name) as client:
        _machine.pin(_machine.OURS)
        client.ping()
        for _ in range(n):
            for _ in range(n_pauses):
                time.sleep(PAUSE_S)
            before = now()
            client.ping()
            samples.append(now() - before)
    return median(samples)


def _in(factory: LoopFactory | None, work: Callable[[], Coroutine[object, object, float]]) -> float:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work())


def _turn(bench: Bench, name: str, uvloop: LoopFactory | None) -> dict[str, float]:
    """One turn of everything that is wanted but the C client."""
    n_asleep, n_awake = (20, 200) if bench.quick else (300, 10_000)

    def asleep(factory: LoopFactory | None = None, held: bool = False,
               spin_us: int | None = None) -> float:
        return _in(factory, lambda: _ping_asleep(name, n_asleep, held, spin_us))

    def awake(factory: LoopFactory | None = None) -> float:
        return _in(factory, lambda: _ping_awake(name, n_awake))

    kinds: dict[str, Callable[[], float]] = {
        "ping_asleep_p50": asleep,
        "ping_unspun_p50": lambda: asleep(spin_us=0),
        "ping_held_p50": lambda: asleep(held=True),
        "ping_asleep_sync_p50": lambda: _sync(name, n_asleep, N_PAUSES),
        "ping_awake_p50": awake,
        "ping_awake_sync_p50": lambda: _sync(name, n_awake, 0),
    }
    if uvloop:
        kinds["ping_asleep_uvloop_p50"] = lambda: asleep(uvloop)
        kinds["ping_awake_uvloop_p50"] = lambda: awake(uvloop)
    figures = {}
    for kind, measure_kind in kinds.items():
        if bench.wants(kind) or kind == "ping_asleep_p50" and bench.wants("ping_over_c"):
            figures[kind] = measure_kind()
            _machine.pin()
    return figures


def measure(bench: Bench) -> None:
    """Adds the rows of PINGs."""
    uvloop = uvloop_factory()
    turns: list[dict[str, float]] = []
    with daemon("fake", core=_machine.THEIRS) as d:
        for turn in range(1 if bench.quick else 5):
            c = of_c(bench, "ring", "ping_asleep_p50", "ping_awake_p50")
            ours = _turn(bench, d.name, uvloop)
            turns.append({**ours, **{"c_" + kind: value for kind, value in c.items()}})
            bench.say(f"turn {turn + 1}: " + ", ".join(f"{kind} {value / 1000:.1f} us"
                                                       for kind, value in turns[-1].items()))
    middle = {kind: median([turn[kind] for turn in turns]) for kind in turns[0]}
    if bench.wants("ping_over_c"):
        over = middle["ping_asleep_p50"] - middle["c_ping_asleep_p50"]
        bench.add(Row("ping_over_c", over, "ns", sign="<=", limit=OVER_C_NS))
    for kind, value in middle.items():
        if not kind.startswith("c_"):
            state = "asleep" if "awake" not in kind else "awake"
            bench.add(Row(kind, value, "ns", f"C client's ping_{state}_p50",
                          middle[f"c_ping_{state}_p50"]))
    if not uvloop:
        bench.leave_out("ping_asleep_uvloop_p50", "uvloop is not installed")
        bench.leave_out("ping_awake_uvloop_p50", "uvloop is not installed")
