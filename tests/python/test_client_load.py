# SPDX-License-Identifier: Apache-2.0
"""
The asynchronous client under load: ten thousand awaits at once, more calls than the session has
room for, arguments and results many times larger than the rings, and clients that keep changing
their mind.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import weakref
from typing import Any

import pytest

import toolring

pytestmark = pytest.mark.quiet_loop

MiB = 1 << 20


def memory_peak(begin: bool = False) -> int:
    """Bytes that were resident at the most since the last begin; then: that are now."""
    if begin:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as f:
            f.write("5")
    with open("/proc/self/status", encoding="ascii") as f:
        lines = dict(line.split(":", 1) for line in f)
    return int(lines["VmRSS" if begin else "VmHWM"].split()[0]) * 1024


async def echoed(t: toolring.Trajectory, value: Any) -> bool:
    """The fake backend answers with the arguments: with those of this call."""
    return bool((await t.call("bash", {"v": value})).metadata["arguments"] == {"v": value})


# ---- many ----------------------------------------------------------------------------------------

async def test_ten_thousand_awaits_at_once(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client:
        trajectories = [client.trajectory(f"many-{i}") for i in range(64)]
        async with asyncio.timeout(60):
            assert all(await asyncio.gather(*(echoed(trajectories[i % 64], i)
                                              for i in range(10_000))))
            assert await client.ping() > 0


async def test_a_call_that_waits_does_not_keep_what_it_was_made_with(fake: toolring.Daemon) -> None:
    class Arguments(dict[str, Any]):
        """Of which it can be told when they are gone."""

    async with toolring.connect(fake.name) as client:
        arguments = Arguments(command="x", fake={"wait_s": 60})
        kept = weakref.ref(arguments)
        task = asyncio.create_task(client.trajectory("waits").call("bash", arguments))
        del arguments
        await client.ping()  # behind it in the ring
        assert kept() is None and not task.done()
        task.cancel()
        await asyncio.wait([task])


async def test_ten_thousand_trajectories_at_once(fake: toolring.Daemon) -> None:
    async def rollout(client: toolring.Client, i: int) -> bool:
        async with client.trajectory() as t:
            return await echoed(t, i)

    async with toolring.connect(fake.name) as client, asyncio.timeout(120):
        # No more at a time than the pool has slots, or some would wait for others to end.
        for _ in range(4):
            assert all(await asyncio.gather(*(rollout(client, i) for i in range(2500))))
        assert (await client.status())["slots"]["used"] == 0


async def test_ten_thousand_pings_and_files_of_local_slots(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, asyncio.timeout(120):
        assert min(await asyncio.gather(*(client.ping() for _ in range(10_000)))) > 0
        trajectories = [client.trajectory(f"files-{i}") for i in range(8)]
        await asyncio.gather(*(t.write_file("f", t.id) for t in trajectories))
        results = await asyncio.gather(*(trajectories[i % 8].read_file("f") for i in range(4000)))
        assert all(r.output == f"files-{i % 8}" for i, r in enumerate(results))
        await asyncio.gather(*(t.release() for t in trajectories))


async def test_commands_of_many_slots_at_once(local: toolring.Daemon) -> None:
    async def rollout(client: toolring.Client, i: int) -> bool:
        async with client.trajectory() as t:
            await t.write_file("n", str(i))
            return (await t.bash("echo $(cat n) $(cat n)")).output == f"{i} {i}"

    async with toolring.connect(local.name) as client, asyncio.timeout(120):
        assert all(await asyncio.gather(*(rollout(client, i) for i in range(64))))


@pytest.mark.parametrize("calls", [16, 100])
async def test_more_calls_than_the_session_has_room_for(fake: toolring.Daemon, calls: int) -> None:
    async with toolring.connect(fake.name, calls=calls) as client:
        trajectories = [client.trajectory(f"rows-{i}") for i in range(7)]
        async with asyncio.timeout(60):
            assert all(await asyncio.gather(*(echoed(trajectories[i % 7], i)
                                              for i in range(40 * calls))))


async def test_calls_beyond_the_room_keep_their_order(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name, calls=16) as client, client.trajectory() as t:
        await asyncio.gather(*(t.bash(f"echo {i} >> f") for i in range(100)))
        assert (await t.read_file("f")).output.split() == [str(i) for i in range(100)]


async def test_waiting_calls_are_cancelled_where_they_wait(fake: toolring.Daemon) -> None:
    """Of calls beyond the room those that were cancelled are never sent, the others are."""
    async with toolring.connect(fake.name, calls=16) as client:
        executed = (await client.status())["backend"]["executed"]
        blocker = [asyncio.ensure_future(client.trajectory(f"block-{i}").call(
            "bash", {"fake": {"wait_s": 3000}})) for i in range(16)]
        tasks = [asyncio.ensure_future(echoed(client.trajectory(f"wait-{i}"), i))
                 for i in range(1000)]
        await asyncio.sleep(0)
        for task in (*tasks[::2], *blocker):
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in outcomes[::2])
        assert outcomes[1::2] == [True] * 500
        await asyncio.gather(*blocker, return_exceptions=True)
        assert (await client.status())["backend"]["executed"] - executed <= 500 + 16


# ---- large ---------------------------------------------------------------------------------------

async def test_a_ring_full_of_large_arguments(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name, submission_bytes=16384,
                                completion_bytes=16384) as client:
        r = random.Random(1)
        values = [r.randbytes(n) for n in (10, 4000, 4100, 20_000, 70_000, 300_000)] * 20
        async with asyncio.timeout(60):
            assert all(await asyncio.gather(*(echoed(client.trajectory(f"ring-{i % 9}"), v)
                                              for i, v in enumerate(values))))
            assert await client.ping() > 0


async def test_arguments_up_to_the_limit_and_beyond(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client, client.trajectory() as t:
        assert await echoed(t, os.urandom(16 * MiB - 4096))
        for n in (16 * MiB, 64 * MiB):
            with pytest.raises(toolring.InvalidCall, match="call_bytes_max"):
                await echoed(t, bytes(n))
        assert await echoed(t, "on")


async def test_a_result_of_64_mib(local: toolring.Daemon) -> None:
    n = 64 * MiB
    command = f"yes 0123456789abcde | head -c {n}"
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        for _ in range(2):
            before = memory_peak(begin=True)
            r = await t.exec(command, stdout_max=n, timeout=60)
            peak = memory_peak() - before
            assert r.success and len(r.stdout) == n and not r.truncated
            # The message in pieces put together, and the bytes made of it.
            assert peak < 2 * n + 32 * MiB
            assert r.stdout == b"0123456789abcde\n" * (n // 16)
            del r
        r = await t.exec(command, stdout_max=n - 1, timeout=60)
        assert r.truncated and len(r.stdout) == n - 1


async def test_large_results_at_once(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client:
        sizes = [0, 1, 70_000, MiB, 8 * MiB, 16 * MiB, 100] * 3
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(client.trajectory(f"large-{i}").call(
                "bash", {"fake": {"output_bytes": n}}) for i, n in enumerate(sizes)))
        assert [len(r.output) for r in results] == sizes


async def test_a_result_over_its_limit_is_unknown(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name, result_bytes_max=200_000) as client:
        t = client.trajectory("over")
        assert len((await t.call("bash", {"fake": {"output_bytes": 190_000}})).output) == 190_000
        with pytest.raises(toolring.Unknown):
            await t.call("bash", {"fake": {"output_bytes": 300_000}})
        assert (await t.call("bash", {"fake": {"output_bytes": 10}})).success


# ---- all of it -----------------------------------------------------------------------------------

async def test_clients_that_change_their_minds(fake: toolring.Daemon) -> None:
    """Calls of all sizes with timeouts around them, tasks cancelled at any time, clients that come
    and go: at the end every one has had an outcome, and nothing is left of them."""
    r = random.Random(2)
    end = time.monotonic() + 4
    n_done = n_cancelled = 0

    def goes_on() -> bool:
        return time.monotonic() < end or n_done <= 100 or n_cancelled <= 20

    async def rollout(client: toolring.Client, i: int) -> None:
        nonlocal n_done, n_cancelled
        while goes_on():
            try:
                async with asyncio.timeout(r.choice((None, 0, 0.001, 0.01, 0.1))), \
                        client.trajectory(f"mind-{i}") as t:
                    value = r.randbytes(r.choice((1, 100, 10_000, 200_000)))
                    wait = {"wait_s": r.choice((0, 0, 0.001, 0.02))}
                    result = await t.call("bash", {"v": value, "fake": wait})
                    assert result.metadata["arguments"]["v"] == value
                    n_done += 1
            except TimeoutError:
                n_cancelled += 1

    async def session() -> None:
        while goes_on():
            async with toolring.connect(fake.name, calls=r.choice((16, 1000)),
                                        submission_bytes=r.choice((8192, 262144))) as client:
                tasks = [asyncio.ensure_future(rollout(client, r.randrange(40)))
                         for _ in range(20)]
                await asyncio.sleep(r.uniform(0, 1))
                for task in tasks:
                    task.cancel()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome

    async with asyncio.timeout(120):
        await asyncio.gather(*(session() for _ in range(3)))
    async with toolring.connect(fake.name) as client, asyncio.timeout(30):
        while (await client.status())["calls_running"] + (await client.status())["calls_queued"]:
            await asyncio.sleep(0.01)
