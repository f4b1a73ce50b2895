# SPDX-License-Identifier: Apache-2.0
"""
What types the calls of both clients have, for mypy --strict: test_typing.py runs it over this file.
Nothing here is run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, assert_type

import toolring
import toolring.sync
from toolring import (ArtifactResult, Entry, ExecResult, InvalidCall, Result, Timing,
                      ToolringError, Verdict)


async def asynchronous(daemon: toolring.Daemon, path: os.PathLike[str]) -> None:
    toolring.connect()
    toolring.connect(daemon)
    toolring.connect(path)
    connected = await toolring.connect("name", resubmit=True, spin_us=0)
    assert_type(connected, toolring.Client)
    await connected.close()
    async with toolring.connect() as client:
        assert_type(client, toolring.Client)
        assert_type(await client.ping(), int)
        assert_type(await client.status(), dict[str, Any])
        assert_type(client.trajectory("id"), toolring.Trajectory)
        async with client.trajectory("id", spec={"network": "none"}) as t:
            assert_type(t, toolring.Trajectory)
            assert_type(t.id, str)
            coroutine: Coroutine[Any, Any, Result] = t.bash("x")
            await coroutine
            assert_type(await t.bash("x", timeout=5), Result)
            assert_type(await t.shell("x"), Result)
            assert_type(await t.exec(["x"], stdin=b"", env={"A": "b"}), ExecResult)
            assert_type(await t.exec("x", stdin=memoryview(b"")), ExecResult)
            assert_type(await t.read_file("x"), Result)
            assert_type(await t.write_file("x", "y"), Result)
            assert_type(await t.call("x", {"any": [1, None]}), Result)
            assert_type(await t.terminal.send_keys(["x", "Enter"], block=True), Result)
            assert_type(await t.artifacts.read("x"), ArtifactResult)
            assert_type(await t.artifacts.write("x", bytearray()), ArtifactResult)
            assert_type(await t.acquire({"memory": 1}), Result)
            assert_type(await t.reset(), Result)
            assert_type(await t.release(), Result)
            task = asyncio.create_task(t.bash("x"))
            assert_type(task, asyncio.Task[Result])
            both = await asyncio.gather(t.bash("x"), t.exec(["x"]))
            assert_type(both, tuple[Result, ExecResult])
            async with asyncio.TaskGroup() as group:
                assert_type(group.create_task(t.exec(["x"])), asyncio.Task[ExecResult])
            assert_type(await asyncio.wait_for(t.bash("x"), 1), Result)


def synchronous(daemon: toolring.Daemon) -> None:
    toolring.sync.connect(daemon)
    with toolring.sync.connect("name") as client:
        assert_type(client, toolring.sync.Client)
        assert_type(client.ping(), int)
        assert_type(client.status(), dict[str, Any])
        with client.trajectory() as t:
            assert_type(t, toolring.sync.Trajectory)
            assert_type(t.bash("x"), Result)
            assert_type(t.exec(["x"]), ExecResult)
            assert_type(t.call("x"), Result)
            assert_type(t.terminal.capture(), Result)
            assert_type(t.artifacts.list(), ArtifactResult)
            assert_type(t.artifacts.unpack("x", b""), ArtifactResult)
            assert_type(t.release(keep_workspace=True), Result)


def results(result: Result, program: ExecResult, artifact: ArtifactResult) -> None:
    assert_type(result.success, bool)
    assert_type(result.output, str)
    assert_type(result.metadata, dict[str, Any])
    assert_type(result.verdict, Verdict)
    assert_type(result.timing, Timing)
    assert_type(result.timing.total_ns, int)
    assert_type(result.exit_code, int | None)
    assert_type(program.stdout, bytes)
    assert_type(artifact.content, str | bytes | None)
    assert_type(artifact.data, bytes)
    assert_type(artifact.entries, list[Entry] | None)
    for entry in artifact.entries or []:
        assert_type(entry["path"], str)
        assert_type(entry.get("size"), int | None)
    if result.verdict == "timeout":
        pass


def mistakes(t: toolring.Trajectory, u: toolring.sync.Trajectory, result: Result) -> None:
    """Each of these is one: an ignore that is not needed is an error too."""
    not_awaited = t.bash(["x"])  # type: ignore[arg-type]
    not_awaited.output  # type: ignore[attr-defined]
    u.bash("x").stdout  # type: ignore[attr-defined]
    u.bash("x", 5)  # type: ignore[call-arg]
    result.output = "x"  # type: ignore[misc]
    if result.verdict == "no such verdict":  # type: ignore[comparison-overlap]
        pass
    u.artifacts.write("x", 5)  # type: ignore[arg-type]


def exceptions(error: ToolringError, invalid: InvalidCall) -> None:
    assert_type(error.result, Result | None)
    assert_type(error.errno, int | None)
    as_value_error: ValueError = invalid
    raise as_value_error
