# SPDX-License-Identifier: Apache-2.0
"""
Nothing grows: after tens of thousands of calls of all kinds and endings there are as many objects
as before, as many references to those that all share, and no more memory. And the same, and what
packs and unpacks, with Python's allocator checking every block.
"""

from __future__ import annotations

import array
import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import toolring
import toolring.sync
from private import Private, cannot
from toolring import _errors, _result, _toolring

_pack: Callable[[Any], bytes] = getattr(_toolring, "_pack")
_unpack: Callable[[Any], Any] = getattr(_toolring, "_unpack")

pytestmark = pytest.mark.quiet_loop

ROUNDS = int(os.environ.get("TOOLRING_LEAK_ROUNDS", "8"))
WARM = ROUNDS // 2  # so many are to fill caches, strings that are kept and tables that grow
CALLS = 2000  # in a round

SHARED: list[Any] = [
    None, True, False, "", (), "ok", "failed", "output", "metadata", "exit_code", "backend", dict,
    _result.Result, _result.ExecResult, _result.ArtifactResult, _result.Timing, _errors.InvalidCall,
    _errors.Unknown, _errors.NotStarted, _errors.Unavailable, _toolring.Session,
    *range(-5, 257),
]


IMMORTAL = 1 << 30  # from Python 3.12 on some count as many references, which mean nothing


def references() -> array.array[int]:
    """To objects that everything uses."""
    return array.array("q", map(sys.getrefcount, SHARED))


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Books:
    """Of objects, references, blocks and bytes, each time that nothing is going on."""

    def __init__(self) -> None:
        self.objects: list[int] = []
        self.blocks: list[int] = []
        self.bytes: list[int] = []
        self.references: list[array.array[int]] = []

    def enter(self) -> None:
        gc.collect()
        self.objects.append(len(gc.get_objects()))
        self.blocks.append(sys.getallocatedblocks())
        self.bytes.append(resident())
        self.references.append(references())

    def balance(self, n_calls: int) -> None:
        """n_calls in a round. What grows by one for each hundred calls is a leak; of blocks, for
        each twenty, since Python's cache of attributes fills with names that are looked up."""
        n = (ROUNDS - WARM) * n_calls
        few = n // 100
        assert self.objects[-1] - self.objects[WARM] < few, self.objects
        assert self.blocks[-1] - self.blocks[WARM] < n // 20, self.blocks
        for i, before in enumerate(self.references[WARM]):
            more = self.references[-1][i] - before
            assert before > IMMORTAL or abs(more) < few, f"{more} references to {SHARED[i]!r}"
        # A byte and a half for each call is the noise of a heap.
        assert self.bytes[-1] - self.bytes[WARM] < 3 << 20, self.bytes


class Own:
    """What holds on to itself is the collector's, and what it holds too."""

    def __index__(self) -> int:
        raise ZeroDivisionError


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
BAD: list[Any] = [{1: 2}, [object()], {"a": ["\ud800"]}, 2**70, CYCLE, [Own()], "\udfff",
                  {"a": b"x", "b": {1, 2}}, memoryview(b"abcd")[::2]]


def fake_call(r: random.Random, t: Any, i: int) -> Any:
    """One of all kinds of calls, of a trajectory of either client."""
    match i % 12:
        case 0:
            return t.bash("x" * r.randrange(3000), timeout=5)
        case 1:
            return t.call("bash", {"v": [i, float(i), None, True, {"k": b"b"}, (1, "\u20ac")]},
                          uniq_id=f"u{i}")
        case 2:
            return t.exec(["a", "b"], stdin=b"\0" * 100, env={"A": "1"})
        case 3:
            return t.call("bash", {"fake": {"verdict": r.choice(("failed", "timeout", "denied"))}})
        case 4:
            return t.call("bash", {"fake": {"verdict": r.choice(("unknown", "unavailable"))}})
        case 5:
            return t.call("bash", {"v": r.choice(BAD)})
        case 6:
            return t.call("no_such_tool", {})
        case 7:
            return t.call("bash", {"fake": {"output_bytes": r.choice((0, 10, 1000, 100_000))}})
        case 8:
            return t.artifacts.read("a", max_bytes=5)
        case 9:
            return t.acquire() if i % 2 else t.acquire({"colour": "red"})
        case 10:
            return t.read_file("a")
        case _:
            return t.call("bash", {"v": "y" * 70_000})


EXPECTED = (toolring.InvalidCall, toolring.Unknown, toolring.Unavailable, ZeroDivisionError)


async def settle(call: Awaitable[Any], seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await call
    except (*EXPECTED, TimeoutError):
        pass


async def all_answered(client: toolring.Client) -> None:
    """What was cancelled is answered all the same, later, and has its part of memory until then."""
    while (status := await client.status())["calls_running"] + status["calls_queued"]:
        pass
    await client.ping()


async def test_nothing_grows_in_the_asynchronous_client(fake: toolring.Daemon) -> None:
    r = random.Random(3)
    books = Books()
    async with toolring.connect(fake.name) as client:
        for _ in range(ROUNDS):
            books.enter()
            trajectories = [client.trajectory(f"leak-{i}") for i in range(32)]
            await asyncio.gather(*(
                settle(fake_call(r, trajectories[i % 32], i), 0 if i % 7 == 0 else None)
                for i in range(CALLS)))
            await all_answered(client)
        del trajectories
        books.enter()
    books.balance(CALLS)


async def test_nothing_grows_with_cancelled_calls(fake: toolring.Daemon) -> None:
    books = Books()
    async with toolring.connect(fake.name, calls=64) as client:
        for _ in range(ROUNDS):
            books.enter()
            tasks = [asyncio.ensure_future(client.trajectory(f"leak-{i % 40}").call(
                "bash", {"fake": {"wait_s": 3000}})) for i in range(CALLS)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del tasks, task
            await all_answered(client)
        books.enter()
    books.balance(CALLS)


async def test_nothing_grows_with_clients_that_come_and_go(fake: toolring.Daemon) -> None:
    books = Books()
    n = 100
    for _ in range(ROUNDS):
        books.enter()
        for i in range(n):
            async with toolring.connect(fake.name, calls=16) as client:
                call = client.trajectory("leak").call("bash", {"fake": {"wait_s": 3000}})
                task = asyncio.ensure_future(call)
                await client.trajectory(f"leak-{i}").bash("x")
            with pytest.raises((toolring.Unknown, toolring.Unavailable)):
                await task
            del client, call, task
    books.enter()
    books.balance(50 * n)


async def test_nothing_grows_when_executors_die() -> None:
    books = Books()
    n = 50
    with Private("--limit", "restarts_max=100000") as own:
        async with toolring.connect(own.name) as client:
            for _ in range(ROUNDS):
                books.enter()
                for i in range(3):
                    tasks = [asyncio.ensure_future(client.trajectory(f"leak-{i}").call(
                        "bash", {"fake": {"wait_s": 3000}})) for i in range(n)]
                    await client.ping()
                    with pytest.raises(toolring.Unknown):
                        await client.trajectory("die").call("bash", {"fake": {"die": "executor"}})
                    for e in await asyncio.gather(*tasks, return_exceptions=True):
                        assert isinstance(e, (toolring.Unknown, toolring.NotStarted)), e
                    del tasks, e
                    await client.ping()
            books.enter()
    books.balance(3 * n * 100)


def test_nothing_grows_in_the_synchronous_client(fake: toolring.Daemon) -> None:
    books = Books()
    with toolring.sync.connect(fake.name) as client:
        def work(seed: int) -> None:
            r = random.Random(seed)
            t = client.trajectory(f"leak-sync-{seed}")
            for i in range(CALLS // 4):
                try:
                    fake_call(r, t, i)
                except EXPECTED:
                    pass

        for _ in range(ROUNDS):
            books.enter()
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            del threads, thread
        books.enter()
    books.balance(CALLS)


async def test_nothing_grows_with_local_slots(local: toolring.Daemon) -> None:
    books = Books()
    n = 60

    async def rollout(client: toolring.Client) -> None:
        async with client.trajectory() as t:
            await t.write_file("f", "x" * 1000)
            await t.read_file("f")
            await t.bash("cat f; exit 3")
            await t.exec(["cat"], stdin=b"x" * 100_000)
            await t.artifacts.read("f")
            await t.artifacts.list()

    async with toolring.connect(local.name) as client:
        for _ in range(ROUNDS):
            books.enter()
            for _ in range(n // 6):
                await asyncio.gather(*(rollout(client) for _ in range(6)))
        books.enter()
    books.balance(100 * n)


@pytest.mark.parametrize("pack", [_pack, lambda value: _unpack(_pack(value)),
                                  lambda value: toolring.Result(metadata=value)])
def test_nothing_grows_with_values(pack: Callable[[Any], Any]) -> None:
    books = Books()
    good: dict[str, Any] = {
        "a": [1, 2**63, -1, 1.5, None, True, "text" * 50, b"b" * 500, {"k": {}}], "verdict": "ok"}
    malformed = b"\x93\xa1k\x82\xa6output\x01\xc4\x02ab\xc1\xdd\xff\xff\xff\xff"
    for _ in range(ROUNDS):
        books.enter()
        for i in range(CALLS):
            pack(good)
            try:
                pack(BAD[i % len(BAD)])
            except EXPECTED:
                pass
            try:
                _unpack(malformed[i % 9:])
            except ValueError:
                pass
    books.enter()
    books.balance(CALLS)


def again(*what: str, **env: str) -> None:
    """Runs tests of these files in a Python of their own, with this in its environment."""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what],
        cwd=here, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500)
    if "no tests ran" in done.stdout:
        cannot(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "Debug memory block" not in done.stdout


@pytest.mark.slow
def test_with_every_block_of_memory_checked() -> None:
    """A write beyond a block, a block freed twice or by the wrong allocator ends such a Python."""
    again("test_values.py", "test_leaks.py", "-k",
          "not every_block and not local and not reference", PYTHONMALLOC="debug",
          TOOLRING_LEAK_ROUNDS="6")
