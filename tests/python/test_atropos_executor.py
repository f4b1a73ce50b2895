# SPDX-License-Identifier: Apache-2.0
"""
Shows that toolring.atropos.ToolExecutor does what the replaced system's executor did for its
callers, and that an executor which works as that one did runs over ToolringBackend.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import pytest
from private import Private

import toolring
from toolring.atropos import (ArtifactArchiveResponse, ArtifactListResponse, ArtifactReadResponse,
                              Slot, ToolExecutor, ToolExecutorConfig, ToolResult, ToolringBackend)
from toolring.atropos import _executor

TRAJECTORIES = 64


@dataclass
class Call:
    """A tool call as the replaced system's agent parses one."""

    name: str
    arguments: Any
    raw_text: str = ""
    uniq_id: str = "u-1"


def bash(command: str, **arguments: Any) -> Call:
    return Call("bash", {"command": command, **arguments})


class Registry:
    """The tools that an environment has turned on."""

    def __init__(self, *names: str, external: tuple[str, ...] = ()) -> None:
        self.tools = {n: SimpleNamespace(schema=SimpleNamespace(name=n, external=n in external))
                      for n in (*names, *external)}

    def get(self, name: str) -> Any:
        return self.tools.get(name)


@runtime_checkable
class Executor(Protocol):
    """What environments and the server around it use of a tool executor."""

    total_requests: int
    total_errors: int
    latencies_s: list[float]

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def queue_size(self) -> int: ...
    async def execute(self, trajectory_id: str, call: Any,
                      timeout_s: float | None = None) -> ToolResult: ...
    async def release_trajectory(self, trajectory_id: str,
                                 reset_workspace: bool = False) -> None: ...
    async def read_artifact(self, req: Any) -> ArtifactReadResponse: ...
    async def list_artifacts(self, req: Any) -> ArtifactListResponse: ...
    async def archive_artifacts(self, req: Any) -> ArtifactArchiveResponse: ...


@pytest.fixture(scope="module")
def daemon() -> Iterator[Private]:
    with Private(backend="local") as d:
        yield d


@pytest.fixture(scope="module")
def networked() -> Iterator[Private]:
    with Private("--network", "host", backend="local") as d:
        yield d


@pytest.fixture(scope="module")
def one_slot() -> Iterator[Private]:
    with Private("--slots-max", "1", "--acquire-timeout-s", "0", backend="local") as d:
        yield d


@pytest.fixture
def mortal() -> Iterator[Private]:
    """One whose executor is killed."""
    with Private(backend="local") as d:
        yield d


@asynccontextmanager
async def executor(daemon: Any, *args: Any, **kwargs: Any) -> AsyncIterator[ToolExecutor]:
    async with ToolringBackend(daemon) as backend, ToolExecutor(backend, *args, **kwargs) as e:
        yield e


async def until(condition: Any, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


async def status(e: ToolExecutor) -> dict[str, Any]:
    said: dict[str, Any] = await e.backend.client.status()
    return said


async def until_running(e: ToolExecutor) -> None:
    async def running() -> bool:
        return bool((await status(e))["calls_running"])

    await until(running)


async def until_unused(e: ToolExecutor) -> None:
    async def unused() -> bool:
        return bool((await status(e))["slots"]["used"] == 0)

    await until(unused)


# ---- the interface -------------------------------------------------------------------------------

def parameters(function: Any) -> list[inspect.Parameter]:
    """What it takes, whatever is said of the types."""
    return [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]


def test_every_member_is_there_with_its_signature() -> None:
    assert isinstance(ToolExecutor(), Executor)
    names = [name for name, member in vars(Executor).items()
             if inspect.isfunction(member) and not name.startswith("_")]
    assert len(names) == 8
    for name in names:
        theirs, ours = getattr(Executor, name), getattr(ToolExecutor, name)
        assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours)
        assert parameters(theirs) == parameters(ours)


async def test_it_is_made_as_the_replaced_one(daemon: Private) -> None:
    backend = ToolringBackend(daemon)
    await backend.start()
    config = SimpleNamespace(batch_window_ms=20, max_batch_size=200, allow_network=True,
                             require_sandbox=True, require_stateful_sandbox=True,
                             tool_server_url=None, tool_server_token=None)
    e = ToolExecutor(backend=backend, tools=Registry("terminal"), config=config)
    with pytest.raises(RuntimeError, match=r"not started \(call start\(\) first\)"):
        await e.execute("t", bash("true"))
    await e.start()
    result = await e.execute("t", Call("terminal", {"command": "echo hi"}, uniq_id="u-7"))
    assert (result.success, result.output, result.uniq_id) == (True, "hi", "u-7")
    await e.close()
    await backend.stop(purge=True)
    with pytest.raises(RuntimeError, match="not started"):
        await e.execute("t", bash("true"))


async def test_without_a_backend_it_has_one_of_its_own(daemon: Private,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLRING_NAME", daemon.name)
    async with ToolExecutor() as e:
        assert (await e.execute("t", bash("echo hi"))).output == "hi"
    with pytest.raises(RuntimeError):
        e.backend.client


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(ValueError, match="tool_server_url"):
        ToolExecutor(config=ToolExecutorConfig(tool_server_url="http://127.0.0.1:1"))
    with pytest.raises(ValueError, match="allow_network"):
        ToolExecutor(ToolringBackend(spec={"network": "host"}),
                     config=ToolExecutorConfig(allow_network=False))
    with pytest.raises(ValueError, match="faults"):
        ToolExecutor(faults="ignore")  # type: ignore[arg-type]


# ---- calls ---------------------------------------------------------------------------------------

async def test_64_trajectories_at_once(daemon: Private) -> None:
    """Each has a slot of its own, where its calls run in order; all is counted; nothing is left."""
    async def rollout(e: ToolExecutor, i: int) -> str:
        tid = f"t{i}"
        assert (await e.execute(tid, bash("ls -A"))).output == ""
        await asyncio.gather(*[e.execute(tid, bash(f"echo {i}.{k} >> log")) for k in range(4)])
        assert (await e.execute(tid, bash("exit 1"))).success is False
        read = await e.execute(tid, Call("read_file", {"path": "log"}, uniq_id=tid))
        assert read.output == "".join(f"{i}.{k}\n" for k in range(4)) and read.uniq_id == tid
        return read.verdict

    async with executor(daemon) as e:
        rollouts = asyncio.gather(*[rollout(e, i) for i in range(TRAJECTORIES)])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert e.queue_size() == TRAJECTORIES
        assert set(await rollouts) == {"ok"}
        assert e.queue_size() == 0
        assert e.total_requests == len(e.latencies_s) == 7 * TRAJECTORIES
        assert e.total_errors == TRAJECTORIES
        assert all(0 < s < 60 for s in e.latencies_s)
        assert (await status(e))["slots"]["used"] == TRAJECTORIES
        await asyncio.gather(*[e.release_trajectory(f"t{i}", reset_workspace=True)
                               for i in range(TRAJECTORIES)])
        await until_unused(e)
        # The slots of others, used by others: as new.
        again = await asyncio.gather(*[e.execute(f"n{i}", bash("ls -A; echo $$ > f"))
                                       for i in range(TRAJECTORIES)])
        assert {r.output for r in again} == {""}
        assert all(r.success for r in again)


async def test_one_trajectory_at_once_is_in_order(daemon: Private) -> None:
    """From the first call on, for which the others wait, and around a release in their midst."""
    async with executor(daemon) as e:
        before = [asyncio.ensure_future(e.execute("t", bash(f"echo {i} >> log; cat log")))
                  for i in range(20)]
        await asyncio.sleep(0)
        releasing = asyncio.ensure_future(e.release_trajectory("t", reset_workspace=True))
        await asyncio.sleep(0)
        after = [asyncio.ensure_future(e.execute("t", bash(f"echo {i} >> log; cat log")))
                 for i in range(20)]
        for calls in (before, after):
            outputs = [(await call).output.split() for call in calls]
            assert outputs == [[str(k) for k in range(i + 1)] for i in range(20)]
        await releasing


@pytest.mark.parametrize(("call", "error"), [
    (Call("nope", {}), "Unknown tool: nope"),
    # There is one, but not for this model.
    (Call("tmux", {"action": "start"}), "Unknown tool: tmux"),
    (Call("web_search", {}), "External tool not available (ToolServer not configured): web_search"),
    (Call("terminal", {"command": "true", "background": True}),
     "terminal background execution is not supported in sandbox"),
    (Call("bash", ["true"]), ""), (Call("bash", None), ""), (Call("bash", {"command": {}}), ""),
])
async def test_calls_that_make_no_sense_are_the_models(daemon: Private, call: Call,
                                                 error: str) -> None:
    tools = Registry("bash", "terminal", external=("web_search",))
    async with executor(daemon, tools, faults="raise") as e:
        result = await e.execute("t", call)
        assert (result.success, result.uniq_id) == (False, "u-1")
        assert (result.verdict, result.infrastructure_fault) == ("invalid", False)
        assert result.error == error if error else result.error
        assert (e.total_requests, e.total_errors) == (1, 1)


async def test_a_model_sets_no_policy(daemon: Private) -> None:
    call = bash("echo ran", allow_network=True, require_sandbox=False, timeout=5,
                require_stateful_sandbox=False)
    async with executor(daemon) as e:
        r = await e.execute("t", call)
        assert (r.output, r.metadata["network_isolated"]) == ("ran", True)
        assert call.arguments["allow_network"] is True  # the caller's own, left alone


@pytest.mark.parametrize(("allow", "isolated"), [(True, False), (False, True)])
async def test_the_configuration_sets_it(networked: Private, allow: bool, isolated: bool) -> None:
    async with executor(networked, config=ToolExecutorConfig(allow_network=allow)) as e:
        r = await e.execute("t", bash("true", allow_network=not allow))
        assert r.success and r.metadata["network_isolated"] is isolated


async def test_timeouts_are_the_models(daemon: Private) -> None:
    async with executor(daemon) as e:
        for call, timeout_s in ((bash("sleep 4321", timeout=1), None),
                                (bash("sleep 4321", timeout=500), 1.0)):
            r = await e.execute("t", call, timeout_s)
            assert (r.success, r.verdict, r.infrastructure_fault) == (False, "timeout", False)


async def test_a_cancelled_call_is_killed(daemon: Private) -> None:
    async with executor(daemon) as e:
        await e.execute("t", bash("true"))
        task = asyncio.ensure_future(e.execute("t", bash("sleep 4321")))
        await until_running(e)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        r = await e.execute("t", bash("echo next"))
        assert r.output == "next" and max(e.latencies_s) < 60
        assert (e.total_requests, e.total_errors, e.queue_size()) == (3, 1, 0)
        # The first of those who wait for a slot goes away: the others get it.
        calls = [asyncio.ensure_future(e.execute("new", bash("echo hi"))) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert [r.output for r in results[1:] if isinstance(r, ToolResult)] == ["hi", "hi"]
        await e.release_trajectory("new", reset_workspace=True)
        await e.release_trajectory("t", reset_workspace=True)
        await until_unused(e)


async def test_close_waits_for_what_runs_and_gives_all_back(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        e = ToolExecutor(backend)
        await e.start()
        calls = [asyncio.ensure_future(e.execute(f"t{i}", bash("sleep 0.2; echo done")))
                 for i in range(4)]
        await until_running(e)
        await e.close()
        assert [c.result().output for c in calls] == ["done"] * 4
        await until_unused(e)
        await e.release_trajectory("t0")  # of nothing: nothing


async def test_latencies_are_not_remembered_without_end(daemon: Private,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_executor, "LATENCIES_MAX", 10)
    async with executor(daemon, Registry()) as e:
        for _ in range(25):
            await e.execute("t", Call("nope", {}))
        assert 10 <= len(e.latencies_s) <= 20
        assert e.total_requests == 25


# ---- faults --------------------------------------------------------------------------------------

@pytest.mark.parametrize("faults", ["return", "raise"])
async def test_the_death_of_the_executor(mortal: Private, faults: Any) -> None:
    async with executor(mortal, faults=faults) as e:
        calls = [asyncio.ensure_future(e.execute("t", bash(c)))
                 for c in ("sleep 4321", "echo behind")]
        await until_running(e)
        os.kill((await status(e))["executor_pid"], signal.SIGKILL)
        ran, behind = await asyncio.gather(*calls, return_exceptions=True)
        if faults == "raise":
            assert isinstance(ran, toolring.Unknown) and isinstance(behind, toolring.NotStarted)
            assert ran.result is not None and ran.result.verdict == "unknown"
        else:
            assert isinstance(ran, ToolResult) and isinstance(behind, ToolResult)
            assert (ran.verdict, behind.verdict) == ("unknown", "not_started")
            assert ran.infrastructure_fault and behind.infrastructure_fault
            assert ran.error.startswith("Infrastructure fault (unknown): ")
        assert (await e.execute("t", bash("echo after"))).output == "after"
        assert (e.total_requests, e.total_errors) == (3, 2)


async def test_no_slot_in_time_is_no_failure_of_the_model(one_slot: Private) -> None:
    async with executor(one_slot) as e:
        assert (await e.execute("a", bash("true"))).success
        none = await asyncio.gather(*[e.execute("b", bash("true")) for _ in range(3)])
        for r in none:
            assert (r.verdict, r.infrastructure_fault) == ("unavailable", True)
            assert r.error.startswith("Failed to acquire slot: Infrastructure fault (unavailable)")
        e.faults = "raise"
        with pytest.raises(toolring.Unavailable, match="Failed to acquire slot"):
            await e.execute("b", bash("true"))
        await e.release_trajectory("a", reset_workspace=True)
        await until_unused(e)
        assert (await e.execute("b", bash("echo got it"))).output == "got it"


# ---- artifacts -----------------------------------------------------------------------------------

@dataclass
class Request:
    """A request for an artifact, with the members that those of all three kinds have."""

    trajectory_id: str
    path: str = "."
    encoding: str = "text"
    recursive: bool = False
    format: str = "tar.gz"
    include_sha256: bool = False
    max_bytes: int | None = None
    max_entries: int | None = None


async def test_artifacts(daemon: Private) -> None:
    async with executor(daemon) as e:
        for ask in (e.read_artifact, e.list_artifacts, e.archive_artifacts):
            none = await ask(Request("t"))
            assert none.success is False
            assert none.error == "No active slot for trajectory (run a sandbox tool first)"
        assert (await status(e))["slots"]["used"] == 0
        await e.execute("t", bash("mkdir d; printf abc > d/f"))
        read = await e.read_artifact(Request("t", "d/f", include_sha256=True, max_bytes=2))
        assert (read.success, read.content, read.encoding, read.bytes) == (True, "ab", "text", 2)
        assert (read.file_size, read.truncated, read.path, read.mime) == \
            (3, True, "d/f", "application/octet-stream")
        assert read.sha256 is not None and len(read.sha256) == 64
        listed = await e.list_artifacts(Request("t", recursive=True))
        assert [(x.path, x.is_dir, x.size) for x in listed.entries if not x.is_dir] == \
            [("d/f", False, 3)]
        assert all(isinstance(x.mtime, float) for x in listed.entries)
        packed = await e.archive_artifacts(Request("t", "d"))
        assert (packed.success, packed.encoding, packed.format) == (True, "base64", "tar.gz")
        assert packed.bytes > 0 and packed.entry_count == 1
        missing = await e.read_artifact(Request("t", "none"))
        assert (missing.success, missing.content, missing.verdict) == (False, "", "failed")
        assert missing.error == "Not found: none" and not missing.infrastructure_fault
        assert read.model_dump()["content"] == "ab"


# ---- the replaced system's own executor ----------------------------------------------------------

@dataclass
class Batcher:
    """
    An executor that works as the replaced system's does: it gathers calls, acquires the slots of
    all, and runs a batch for each timeout.
    """

    backend: Any
    slots: dict[str, Slot] = field(default_factory=dict)

    async def run(self, calls: list[tuple[str, Call, float | None]]) -> list[ToolResult]:
        ids = [i for i in dict.fromkeys(c[0] for c in calls) if i not in self.slots]
        for tid, slot in zip(ids, await asyncio.gather(*[self.backend.acquire(i) for i in ids])):
            self.slots[tid] = slot
        default = self.backend.default_timeout_s
        groups: dict[float, list[int]] = {}
        for i, (_, _, timeout_s) in enumerate(calls):
            groups.setdefault(timeout_s or default or 30.0, []).append(i)
        results: dict[int, ToolResult] = {}
        for timeout, members in groups.items():
            batch = [(self.slots[calls[i][0]], calls[i][1].name,
                      {**calls[i][1].arguments, "allow_network": True, "require_sandbox": False})
                     for i in members]
            done = await self.backend.execute_batch(batch, timeout_s=timeout)
            assert len(done) == len(batch)
            for i, result in zip(members, done):
                results[i] = result.to_tool_result()
                results[i].uniq_id = calls[i][1].uniq_id
        return [results[i] for i in range(len(calls))]

    async def read(self, tid: str, path: str) -> dict[str, Any]:
        data = dict(await self.backend.read_artifact(self.slots[tid], path, encoding="text",
                                                     max_bytes=None, include_sha256=False))
        data.pop("http_status", None)
        return data

    async def close(self) -> None:
        for slot in self.slots.values():
            await self.backend.release(slot, reset_workspace=False)


async def test_the_replaced_executor_runs_over_the_backend(daemon: Private) -> None:
    backend = ToolringBackend(daemon)
    await backend.start()
    old = Batcher(backend)
    calls = [(f"t{i % 8}", Call("bash", {"command": f"echo {i} >> log; echo {i}"}, uniq_id=f"u{i}"),
              (None, 20.0)[i % 2]) for i in range(32)]
    results = await old.run(calls)
    assert [(r.output, r.uniq_id) for r in results] == [(str(i), f"u{i}") for i in range(32)]
    assert (await old.read("t3", "log"))["content"].split() == ["3", "11", "19", "27"]
    await old.close()
    await backend.stop(purge=True)
