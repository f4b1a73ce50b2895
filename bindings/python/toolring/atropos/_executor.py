# SPDX-License-Identifier: Apache-2.0
"""
The tool executor: from a trajectory's id and a model's call to a result. The replaced one gathered
calls for 20 ms and ran them in batches; here each goes straight to toolringd, which gathers where
that helps, so there is no queue, and queue_size() counts the calls that have no answer yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

from .._errors import BY_VERDICT, ToolringError
from .._result import Result
from ._backend import POLICY, ToolringBackend, result_of
from ._types import (ArtifactArchiveResponse, ArtifactEntry, ArtifactListResponse,
                     ArtifactReadResponse, ArtifactResponse, Call, ExecutionResult, Registry, Slot,
                     ToolResult, execution_result)

R = TypeVar("R", bound=ArtifactResponse)

LATENCIES_MAX = 100_000  # how many are remembered at least; up to twice as many are
NO_SLOT = "No active slot for trajectory (run a sandbox tool first)"


@dataclass
class ToolExecutorConfig:
    """
    As the replaced system had it; any object with some of these attributes will do. allow_network:
    False gives slots without the network; True, what toolringd gives. batch_window_ms and
    max_batch_size are toolringd's own affair and are not read; a tool server is none of ours.
    """

    batch_window_ms: int = 20
    max_batch_size: int = 200
    allow_network: bool = True
    require_sandbox: bool = False
    require_stateful_sandbox: bool = False
    tool_server_url: str | None = None
    tool_server_token: str | None = None


def _policy(config: Any) -> dict[str, bool]:
    """The arguments that a call gets, whatever the model said."""
    policy = {key: True for key in POLICY[1:] if getattr(config, key, False)}
    return policy if getattr(config, "allow_network", True) else {**policy, "allow_network": False}


class _Entry:
    """A trajectory: its slot, and who is about to do something with that."""

    __slots__ = ("lock", "slot", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()  # wakes those who wait in the order in which they came
        self.slot: Slot | None = None
        self.users = 0


class ToolExecutor:
    """
    Runs the calls of many trajectories, as the replaced system's executor did.

    backend: a ToolringBackend, which its caller starts and stops; None: one of its own, at the
        default address of toolringd.
    tools: what the model may call, by get(name); without it, all that toolringd knows.
    config: see ToolExecutorConfig.
    faults: what becomes of a call that the infrastructure failed. "return": a result, with
        metadata["infrastructure_fault"]; "raise": toolring.Unavailable, NotStarted or Unknown.
    """

    total_requests: int  # calls that have ended
    total_errors: int  # those of them that were no success
    latencies_s: list[float]  # of the last of them, 100,000 and more

    def __init__(self, backend: ToolringBackend | None = None, tools: Registry | None = None,
                 config: Any = None, *, faults: Literal["return", "raise"] = "return") -> None:
        if faults not in ("return", "raise"):
            raise ValueError(f'ToolExecutor: faults is "return" or "raise", not {faults!r}')
        self.config = ToolExecutorConfig() if config is None else config
        if getattr(self.config, "tool_server_url", None):
            raise ValueError("ToolExecutor: config.tool_server_url: there is no way to a tool "
                             "server here; leave it None, and external tools are said to be "
                             "unavailable")
        self.backend = ToolringBackend() if backend is None else backend
        self.tools = tools
        self.faults = faults
        self.total_requests = 0
        self.total_errors = 0
        self.latencies_s = []
        self._owns_backend = backend is None
        self._started = False
        self._policy = _policy(self.config)
        if ("allow_network" in self._policy and
                self.backend.spec.setdefault("network", "none") != "none"):
            raise ValueError("ToolExecutor: config.allow_network is false, and the backend's spec "
                             "asks for the network")
        self._entries: dict[str, _Entry] = {}
        self._unanswered = 0
        self._idle = asyncio.Event()
        self._idle.set()

    # ---- its own life ----

    async def start(self) -> None:
        if self._owns_backend:
            await self.backend.start()
        self._started = True

    async def close(self) -> None:
        """
        Waits for the calls that are under way, then gives all slots back, reset: nobody could come
        back for what is in them.
        """
        self._started = False
        await self._idle.wait()
        await asyncio.gather(*[self.release_trajectory(trajectory_id, reset_workspace=True)
                               for trajectory_id in list(self._entries)])
        if self._owns_backend:
            await self.backend.stop()

    async def __aenter__(self) -> ToolExecutor:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    def queue_size(self) -> int:
        """How many calls have no answer yet."""
        return self._unanswered

    # ---- calls ----

    async def execute(self, trajectory_id: str, call: Call,
                      timeout_s: float | None = None) -> ToolResult:
        """
        Runs a call in the trajectory's slot, which its first call acquires. A trajectory's calls
        run in the order in which they came. Cancelling this cancels the call and kills what it
        runs.
        """
        if not self._started:
            raise RuntimeError("ToolExecutor not started (call start() first)")
        began = time.perf_counter()
        self._unanswered += 1
        self._idle.clear()
        success = False
        try:
            done = await self._execute(trajectory_id, call, timeout_s)
            success = done.success
        finally:
            self._unanswered -= 1
            if not self._unanswered:
                self._idle.set()
            self.total_requests += 1
            self.total_errors += not success
            self.latencies_s.append(time.perf_counter() - began)
            if len(self.latencies_s) > 2 * LATENCIES_MAX:
                del self.latencies_s[:LATENCIES_MAX]
        if self.faults == "raise" and done.infrastructure_fault and done.verdict in BY_VERDICT:
            raise BY_VERDICT[done.verdict](done.error, done.result)
        answer = done.to_tool_result()
        answer.uniq_id = getattr(call, "uniq_id", None)
        return answer

    async def _execute(self, trajectory_id: str, call: Call,
                       timeout_s: float | None) -> ExecutionResult:
        uniq_id = str(getattr(call, "uniq_id", None) or "")
        refusal = self._refusal(call.name)
        if refusal:
            return execution_result(Result(verdict="invalid", error=refusal), uniq_id, "")
        try:
            slot = await self._slot(trajectory_id)
        except ToolringError as e:
            return self._no_slot(result_of(e), uniq_id)
        arguments: Any = call.arguments
        if isinstance(arguments, Mapping):
            # Policy that a model claims is none.
            arguments = {k: v for k, v in arguments.items() if k not in POLICY}
            arguments.update(self._policy)
        return await self.backend.execute(slot, call.name, arguments, timeout_s=timeout_s,
                                          execution_id=uniq_id)

    def _refusal(self, name: str) -> str | None:
        """Why the registry does not let this tool be called."""
        if self.tools is None:
            return None
        tool = self.tools.get(name)
        if tool is None:
            return f"Unknown tool: {name}"
        if getattr(tool.schema, "external", False):
            return f"External tool not available (ToolServer not configured): {name}"
        return None

    @staticmethod
    def _no_slot(result: Result, uniq_id: str) -> ExecutionResult:
        done = execution_result(result, uniq_id, "")
        done.error = f"Failed to acquire slot: {done.error}"
        return done

    # ---- slots ----

    @asynccontextmanager
    async def _use(self, trajectory_id: str) -> AsyncIterator[_Entry]:
        """Who wants a trajectory's slot, or wants it gone: one after the other, in their order."""
        entry = self._entries.setdefault(trajectory_id, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                yield entry
        finally:
            entry.users -= 1
            if not entry.users and entry.slot is None:
                del self._entries[trajectory_id]

    async def _slot(self, trajectory_id: str) -> Slot:
        """The trajectory's slot. Once there is one, and nobody waits, this takes no time."""
        found = self._entries.get(trajectory_id)
        if found is not None and found.slot is not None and not found.users:
            return found.slot
        async with self._use(trajectory_id) as entry:
            if entry.slot is None:
                entry.slot = await self.backend.acquire(trajectory_id)
            return entry.slot

    async def release_trajectory(self, trajectory_id: str, reset_workspace: bool = False) -> None:
        """Gives the trajectory's slot back, if it has one, behind its calls."""
        if trajectory_id not in self._entries:
            return
        async with self._use(trajectory_id) as entry:
            slot, entry.slot = entry.slot, None
            if slot is not None:
                await self.backend.release(slot, reset_workspace=reset_workspace)

    # ---- artifacts: requests have the attributes that the replaced system's have ----

    async def read_artifact(self, req: Any) -> ArtifactReadResponse:
        slot = await self._present(req)
        if slot is None:
            return ArtifactReadResponse(success=False, error=NO_SLOT)
        answer = await self.backend.read_artifact(
            slot, req.path, encoding=getattr(req, "encoding", "text"),
            max_bytes=getattr(req, "max_bytes", None),
            include_sha256=getattr(req, "include_sha256", False))
        return _response(ArtifactReadResponse, answer)

    async def list_artifacts(self, req: Any) -> ArtifactListResponse:
        slot = await self._present(req)
        if slot is None:
            return ArtifactListResponse(success=False, error=NO_SLOT)
        answer = await self.backend.list_artifacts(
            slot, getattr(req, "path", "."), recursive=getattr(req, "recursive", False),
            max_entries=getattr(req, "max_entries", None))
        response = _response(ArtifactListResponse, answer)
        response.entries = [ArtifactEntry(e["path"], e["is_dir"], e["size"], e["mtime"])
                            for e in answer.get("entries", [])]
        return response

    async def archive_artifacts(self, req: Any) -> ArtifactArchiveResponse:
        slot = await self._present(req)
        if slot is None:
            return ArtifactArchiveResponse(success=False, error=NO_SLOT)
        answer = await self.backend.archive_artifacts(
            slot, getattr(req, "path", "."), archive_format=getattr(req, "format", "tar.gz"),
            max_bytes=getattr(req, "max_bytes", None),
            max_entries=getattr(req, "max_entries", None))
        return _response(ArtifactArchiveResponse, answer)

    async def _present(self, req: Any) -> Slot | None:
        """The slot that the request's trajectory has already; none is acquired for a look at it."""
        if req.trajectory_id not in self._entries:
            return None
        async with self._use(req.trajectory_id) as entry:
            return entry.slot


def _response(kind: type[R], answer: Mapping[str, Any]) -> R:
    return kind(**{k: v for k, v in answer.items() if k in kind.__dataclass_fields__})
