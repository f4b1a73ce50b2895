# SPDX-License-Identifier: Apache-2.0
"""
Samples and turns, counted as `toolring bench` counts them: what is compared is measured in turns,
so that noise on the machine hits all of it, and of several turns the best counts on every side,
because what disturbs a measurement only ever makes it slower.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

now = time.perf_counter_ns


def percentile(samples: Sequence[float], share: float) -> float:
    """What that share (0 to 1) of the samples does not exceed."""
    return sorted(samples)[int((len(samples) - 1) * share)] if samples else 0.0


def median(samples: Sequence[float]) -> float:
    return percentile(samples, 0.5)


@dataclass(slots=True)
class Side:
    """One thing done again and again, each time timed; p50: a turn's median each."""

    step: Callable[[], Awaitable[object]]
    n_steps: int
    p50: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        return min(self.p50)


async def take_turns(sides: Sequence[Side], n_turns: int) -> None:
    """In each turn all steps of each side; a twentieth of them, not timed, comes before."""
    for _ in range(n_turns):
        for side in sides:
            for _ in range(side.n_steps // 20 + 1):
                await side.step()
            samples = []
            for _ in range(side.n_steps):
                before = now()
                await side.step()
                samples.append(now() - before)
            side.p50.append(median(samples))


def uvloop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop of uvloop, if that is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
