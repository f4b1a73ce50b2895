# SPDX-License-Identifier: Apache-2.0
"""
A rollout loop: 64 trajectories at once, each a scripted agent that works in a slot of its own and
is rewarded by what its calls came to. Prints the verdicts and how long calls took.

The task is the sum of the numbers in a file. The agent stands for a model: a small policy that is
right now and then, and else does what models do: wrong commands, bad paths, files that are none of
its business, commands that never end or crash.

What counts is how faults are kept apart. A verdict like failed, timeout or denied is the agent's
doing and has a reward. A fault of the infrastructure is an exception and says nothing about the
agent: the trajectory is played again from its beginning, and left out if that does not help.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from typing import Any, TextIO

import toolring

ATTEMPTS = 4  # at one trajectory, before it is left out
BAR = 40  # characters
REWARDS = {"ok": 0.0, "failed": -0.05, "invalid": -0.05, "timeout": -0.2, "oom": -0.2,
           "limit": -0.2, "denied": -0.5}
REWARD_OF_SUCCESS = 1.0


# ---- the agent -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Move:
    """One tool call, as a model would ask for it."""

    tool: str
    arguments: dict[str, Any]
    timeout: float = 10
    weight: int = 1


SOLVE = Move("bash", {"command": "awk '{ sum += $1 } END { print sum }' numbers.txt"}, weight=4)
MOVES = (
    SOLVE,
    Move("bash", {"command": "ls -l; wc -l numbers.txt"}, weight=3),
    Move("read_file", {"path": "numbers.txt"}, weight=3),
    Move("bash_stateful", {"command": "turn=$((turn + 1)); echo turn $turn"}, weight=2),
    Move("tmux", {"action": "send_keys", "keys": ["head -2 numbers.txt", "Enter"], "block": True}),
    Move("bash", {"command": "sum_up numbers.txt"}),  # there is no such program
    Move("bash", {"command": "grep -q total numbers.txt"}),  # fails
    Move("bash", {"command": "kill -SEGV $$"}),  # crashes
    Move("bash", {"command": "tail -f numbers.txt"}, timeout=1),  # never ends
    Move("bash", {"cmd": "ls"}),  # makes no sense
    Move("read_file", {"path": "no/such/file"}),
    Move("read_file", {"path": "/etc/shadow"}),  # forbidden
)


def agent(seed: int, turns: int) -> Generator[Move, toolring.Result, None]:
    """Yields moves and is sent what they came to."""
    policy = random.Random(seed)
    for _ in range(turns):
        move = policy.choices(MOVES, [move.weight for move in MOVES])[0]
        result = yield move
        if move is SOLVE and result.success:
            yield Move("write_file", {"path": "answer.txt", "content": result.output})
            return


# ---- one trajectory ------------------------------------------------------------------------------

@dataclass
class Report:
    """What all trajectories came to."""

    wanted: int
    rewards: list[float] = field(default_factory=list)
    solved: int = 0
    left_out: int = 0
    faults: Counter[str] = field(default_factory=Counter)  # by the exception's name
    verdicts: Counter[str] = field(default_factory=Counter)
    latencies: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return len(self.rewards) + self.left_out


async def call(t: toolring.Trajectory, move: Move, report: Report) -> toolring.Result:
    """A move's result; one that makes no sense is the agent's doing, and a result too."""
    began = time.perf_counter()
    try:
        result = await t.call(move.tool, move.arguments, timeout=move.timeout)
    except toolring.InvalidCall as e:
        result = e.result or toolring.Result(error=str(e), verdict="invalid")
    if result.verdict not in REWARDS:  # cancelled by somebody else: not the agent's doing
        raise toolring.Unknown(f"the call was {result.verdict}", result)
    if not result.timed_out:  # those took what they were given
        report.latencies[move.tool].append(time.perf_counter() - began)
    report.verdicts[result.verdict] += 1
    return result


async def play(t: toolring.Trajectory, seed: int, turns: int, report: Report) -> tuple[float, bool]:
    """The reward of one trajectory, and whether it solved its task."""
    numbers = random.Random(seed).sample(range(100), 8)
    await t.write_file("numbers.txt", "".join(f"{n}\n" for n in numbers))
    reward = 0.0
    moves = agent(seed, turns)
    with contextlib.suppress(StopIteration):
        move = next(moves)
        while True:
            result = await call(t, move, report)
            reward += REWARDS[result.verdict]
            move = moves.send(result)
    answer = await t.artifacts.read("answer.txt", encoding="text")
    solved = answer.success and answer.content == str(sum(numbers))
    return reward + REWARD_OF_SUCCESS * solved, solved


async def rollout(client: toolring.Client, seed: int, turns: int, report: Report) -> None:
    """Plays one trajectory, again if the infrastructure fails it."""
    for attempt in range(ATTEMPTS):
        counted = Report(wanted=1)  # of this attempt: one that is played again counts for nothing
        try:
            async with client.trajectory() as t:
                reward, solved = await play(t, seed, turns, counted)
        except (toolring.Unavailable, toolring.NotStarted, toolring.Unknown) as fault:
            report.faults[type(fault).__name__] += 1
            await asyncio.sleep(0.2 * 2**attempt)
            continue
        report.rewards.append(reward)
        report.solved += solved
        report.verdicts += counted.verdicts
        for tool, seconds in counted.latencies.items():
            report.latencies[tool] += seconds
        return
    report.left_out += 1


# ---- all of them ---------------------------------------------------------------------------------

class Progress:
    """A bar on a terminal, else a line now and then."""

    def __init__(self, report: Report, out: TextIO) -> None:
        self.report, self.out = report, out
        self.terminal = out.isatty()

    def show(self) -> None:
        done, wanted = self.report.done, self.report.wanted
        if self.terminal:
            filled = BAR * done // wanted
            self.out.write(f"\r[{'#' * filled}{'.' * (BAR - filled)}] {done} of {wanted} ")
        elif done == wanted or done % max(wanted // 4, 1) == 0:
            self.out.write(f"{done} of {wanted} trajectories done\n")
        self.out.flush()

    def end(self) -> None:
        if self.terminal:
            self.out.write("\n")


@contextlib.asynccontextmanager
async def connected(name: str | None) -> AsyncIterator[toolring.Client]:
    """A client of the toolringd of that name; of one of our own if none is named and none runs."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(toolring.connect(name))
        except toolring.Unavailable:
            if name is not None:
                raise
            own = await stack.enter_async_context(toolring.start())
            client = await stack.enter_async_context(toolring.connect(own))
        yield client


async def run(options: argparse.Namespace, report: Report) -> None:
    progress = Progress(report, sys.stderr)
    began = time.perf_counter()

    async def one(client: toolring.Client, seed: int) -> None:
        await rollout(client, seed, options.turns, report)
        progress.show()

    try:
        async with connected(options.name) as client, asyncio.TaskGroup() as group:
            began = time.perf_counter()
            progress.show()
            for n in range(options.trajectories):
                group.create_task(one(client, options.seed + n))
    finally:
        report.seconds = time.perf_counter() - began
        progress.end()


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {f"p{p}": round(ordered[min(len(ordered) * p // 100, len(ordered) - 1)] * 1e3, 3)
            for p in (50, 90, 99)}


def as_json(report: Report) -> dict[str, Any]:
    rewards = report.rewards
    return {
        "trajectories": report.wanted, "scored": len(rewards), "solved": report.solved,
        "left_out": report.left_out, "faults": dict(report.faults),
        "reward_mean": round(sum(rewards) / len(rewards), 4) if rewards else None,
        "verdicts": dict(report.verdicts.most_common()),
        "latency_ms": {tool: {"calls": len(seconds), **percentiles(seconds)}
                       for tool, seconds in sorted(report.latencies.items())},
        "seconds": round(report.seconds, 3),
    }


def as_table(report: Report) -> str:
    said = as_json(report)
    calls = sum(report.verdicts.values())
    lines = [f"{'verdict':16}{'calls':>8}{'share':>9}"]
    lines += [f"{verdict:16}{n:8}{n / calls:9.1%}" for verdict, n in said["verdicts"].items()]
    lines += ["", f"{'tool':16}{'calls':>8}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}"]
    lines += [f"{tool:16}{row['calls']:8}{row['p50']:10.3f}{row['p90']:10.3f}{row['p99']:10.3f}"
              for tool, row in said["latency_ms"].items()]
    faults = ", ".join(f"{n} {name}" for name, n in report.faults.items()) or "none"
    mean = "none" if said["reward_mean"] is None else f"{said['reward_mean']:.3f}"
    lines += ["", f"{said['scored']} of {report.wanted} trajectories scored, {report.solved} solved"
                  f" their task; mean reward {mean}",
              f"{calls} calls in {report.seconds:.2f} s; latencies are without timeouts",
              f"faults of the infrastructure: {faults}; trajectories left out: {report.left_out}"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="64 trajectories at once, with a scripted agent.")
    parser.add_argument("--trajectories", type=int, default=64, metavar="N")
    parser.add_argument("--turns", type=int, default=8, metavar="N", help="most of each trajectory")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--name", help="of a toolringd; else the one that runs, or one of our own")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    report = Report(wanted=options.trajectories)
    status = 0
    try:
        asyncio.run(run(options, report))
    except KeyboardInterrupt:
        status = 130
        print(f"stopped after {report.done} of {report.wanted}", file=sys.stderr)
    print(json.dumps(as_json(report)) if options.json else as_table(report))
    return status


if __name__ == "__main__":
    sys.exit(main())
