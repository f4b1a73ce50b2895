# SPDX-License-Identifier: Apache-2.0
"""
What bash("true") in a slot takes, against a bash of one's own that is started by asyncio and waited
for, one at a time, in turns. That one inherits our descriptors, so that nothing has to be made for
it but the process.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

import toolring
import toolring.sync

from ._bench import Bench, daemon
from ._report import Row
from ._turns import Side, median, now, take_turns, uvloop_factory

RATIO = 0.6
ROWS = {"vs_subprocess": "asyncio.create_subprocess_exec()",
        "vs_subprocess_uvloop": "the same of uvloop",
        "vs_subprocess_sync": "subprocess.run()"}


def _check(result: toolring.Result) -> None:
    if not result.success:
        raise RuntimeError(f"bash: {result!r}")


async def _spawn() -> None:
    process = await asyncio.create_subprocess_exec("bash", "-c", "true")
    if await process.wait() != 0:
        raise RuntimeError("bash -c true failed")


async def _compare(name: str, quick: bool) -> tuple[float, float]:
    async with toolring.connect(name) as client, client.trajectory("bench") as t:
        async def call() -> None:
            _check(await t.bash("true"))

        sides = [Side(call, 20 if quick else 400), Side(_spawn, 20 if quick else 200)]
        await take_turns(sides, 1 if quick else 7)
    return sides[0].best, sides[1].best


def _compare_sync(name: str, quick: bool) -> tuple[float, float]:
    def times(step: Callable[[], object], n: int) -> float:
        samples = []
        for _ in range(n):
            before = now()
            step()
            samples.append(now() - before)
        return median(samples)

    ours, theirs = [], []
    with toolring.sync.connect(name) as client, client.trajectory("bench-sync") as t:
        for _ in range(1 if quick else 7):
            ours.append(times(lambda: _check(t.bash("true")), 20 if quick else 400))
            theirs.append(times(lambda: subprocess.run(("bash", "-c", "true"), check=True),
                                20 if quick else 200))
    return min(ours), min(theirs)


def measure(bench: Bench) -> None:
    """Adds the rows of bash against a subprocess."""
    uvloop = uvloop_factory()
    with daemon("local") as d:
        for row, baseline in ROWS.items():
            if not bench.wants(row):
                continue
            if row == "vs_subprocess_sync":
                value, other = _compare_sync(d.name, bench.quick)
            elif row == "vs_subprocess" or uvloop:
                factory = None if row == "vs_subprocess" else uvloop
                with asyncio.Runner(loop_factory=factory) as runner:
                    value, other = runner.run(_compare(d.name, bench.quick))
            else:
                bench.leave_out(row, "uvloop is not installed")
                continue
            judged = row == "vs_subprocess"
            bench.add(Row(row, value, "ns", baseline, other, "<=" if judged else None, RATIO))
