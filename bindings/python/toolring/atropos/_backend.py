# SPDX-License-Identifier: Apache-2.0
"""
The tool backend: slots, and tool calls in them. A slot here is a trajectory's slot in toolringd, so
what is acquired twice under one id is one slot, given back with its last release. Nothing is
gathered and nothing is grouped: a batch is so many calls that are under way at once, and toolringd
sees to the order within a trajectory and that none waits for another's.

What a caller can do about errors decides how they are told. acquire() raises, as its callers
expect; a call's fault is its own result's, since a batch holds calls of others too; release() only
logs, as it is called where a rollout has ended and its result must not be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import connect, start
from .._errors import InvalidCall, NotStarted, ToolringError, Unavailable, Unknown
from .._options import Name
from .._result import ExecResult, Result, Verdict
from ._types import (INFRASTRUCTURE, ExecutionResult, Slot, SlotState, archive_answer, execution_result,
                     list_answer, read_answer)

if TYPE_CHECKING:
    from .._client import Client, Trajectory
    from .._daemon import Daemon

log = logging.getLogger("toolring.atropos")

RELEASE_TRIES = 3
# toolringd takes back the slot of a trajectory that makes no calls. Who has acquired one here may
# wait long for its model, and ends with this process anyway; nobody waits for what was only kept.
HELD_S = 7 * 24 * 3600.0
KEPT_S = 600.0
KEPT_MAX = 10_000  # ids whose workspace was kept, remembered for a purge

# Arguments that are policy. An executor sets them; toolringd drops them, since a model may have.
POLICY = ("allow_network", "require_sandbox", "require_stateful_sandbox")

_VERDICTS: dict[type[ToolringError], Verdict] = {
    Unavailable: "unavailable", NotStarted: "not_started", Unknown: "unknown",
    InvalidCall: "invalid"}


def result_of(error: ToolringError) -> Result:
    """What was raised, as the result that it is; an error of no call is raised again."""
    if error.result is not None:
        return error.result
    for kind, verdict in _VERDICTS.items():
        if isinstance(error, kind):
            return Result(error=str(error), verdict=verdict)
    raise error


class _Held:
    """A trajectory that somebody has acquired."""

    __slots__ = ("trajectory", "count", "has_slot", "is_lost")

    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory
        self.count = 0
        self.has_slot = False
        self.is_lost = False  # its slot went; what runs now would run in an empty one

    def saw(self, result: Result) -> Result:
        """What a call came to, which is a fault if it had to wait for another slot."""
        if not result.timing.slot_wait_ns or not self.has_slot:
            return result
        self.is_lost = True
        if result.verdict in INFRASTRUCTURE:
            return result
        return replace(result, success=False, verdict="unknown", error=self.why_lost())

    def why_lost(self) -> str:
        return f"the slot of trajectory {self.trajectory.id!r} is gone, with its files"


class ToolringBackend:
    """
    Slots of a toolringd, as the replaced system's tool backends offered theirs.

    name: which toolringd, as connect() takes it.
    private: start one of its own with start(), and stop it with stop(); a dict of what
        toolring.start() takes says how.
    client: use this client, which stays open.
    default_timeout_s: of calls that name no timeout; None: toolringd's.
    spec: what slots must be, as acquire() of a trajectory takes it.
    resubmit: calls that had not begun when the executor died are sent again.
    connect_options: more of what toolring.connect() takes.
    """

    default_timeout_s: float | None
    spec: dict[str, Any]

    def __init__(self, name: Name = None, *, private: bool | Mapping[str, Any] = False,
                 client: Client | None = None, default_timeout_s: float | None = None,
                 spec: Mapping[str, Any] | None = None, resubmit: bool = False,
                 **connect_options: Any) -> None:
        given = [what for what, is_given in (("name", name is not None),
                                             ("client", client is not None),
                                             ("private", private is not False)) if is_given]
        if len(given) > 1:
            raise ValueError(f"ToolringBackend: {' and '.join(given)} exclude each other")
        if client is not None and (resubmit or connect_options):
            raise ValueError("ToolringBackend: a client given has its own options")
        self.default_timeout_s = default_timeout_s
        self.spec = dict(spec or {})
        self._name = name
        self._private = private
        self._given = client
        self._options = {"resubmit": resubmit, "label": "atropos", **connect_options}
        self._client: Client | None = None
        self._daemon: Daemon | None = None
        self._starting = asyncio.Lock()
        self._held: dict[str, _Held] = {}
        self._kept: dict[str, None] = {}  # in the order in which they were released
        self._backend: dict[str, Any] = {}  # what toolringd said of its own
        self._slots_max = 0
        self._address = ""
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- its own life ----

    async def start(self) -> None:
        """Connects, to a toolringd of its own if private; raises Unavailable if there is none."""
        async with self._starting:
            if self._client is not None:
                return
            try:
                if self._private is not False:
                    options = {} if self._private is True else dict(self._private)
                    self._daemon = await start(**options)
                name = self._name if self._daemon is None else self._daemon
                client = self._given
                if client is None:
                    client = await connect(name, **self._options)
                self._client = client
                self._address = client._name
                status = await client.status()
            except BaseException:
                await self._end(purge=False)
                raise
            self._backend = status.get("backend") or {}
            self._slots_max = int((status.get("slots") or {}).get("max") or 0)

    async def stop(self, *, purge: bool = False) -> None:
        """
        Gives all slots back and disconnects. purge: also the workspaces that were kept for their
        trajectories.
        """
        async with self._starting:
            await self._end(purge)

    async def _end(self, purge: bool) -> None:
        client, self._client = self._client, None
        held, self._held = self._held, {}
        kept, self._kept = self._kept, {}
        try:
            if client is not None:
                # A session that ends gives back what it held; one that lives on does not.
                back = [h.trajectory for h in held.values()] if purge or self._given else []
                if purge:
                    back += [client.trajectory(i) for i in kept if i not in held]
                await asyncio.gather(*[self._give_back(t, reset=True) for t in back])
        finally:
            try:
                if client is not None and self._given is None:
                    await client.close()
            finally:
                daemon, self._daemon = self._daemon, None
                if daemon is not None:
                    await daemon.stop_async()

    async def __aenter__(self) -> ToolringBackend:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def client(self) -> Client:
        """The connection, for what this interface has no words for."""
        if self._client is None:
            raise RuntimeError("ToolringBackend not started (call start() first)")
        return self._client

    def get_stats(self) -> dict[str, Any]:
        """How many slots there may be, and how many this backend has."""
        acquired = len(self._held)
        available = max(0, self._slots_max - acquired)
        return {"total_slots": self._slots_max, "available_slots": available,
                "acquired_slots": acquired, "containers": int(self._client is not None),
                "slots_by_state": {"available": available, "acquired": acquired},
                "started": self._client is not None}

    get_status = get_stats

    # ---- slots ----

    async def acquire(self, trajectory_id: str | None = None) -> Slot:
        """
        The trajectory's slot; without an id that of a new one. Raises Unavailable and the other
        faults, and ToolringError if the spec asks for more than there may be.
        """
        trajectory = self.client.trajectory(trajectory_id)
        held = self._held.setdefault(trajectory.id, _Held(trajectory))
        # Counted before there is a slot, so that a release meanwhile does not give it away.
        held.count += 1
        try:
            result = await held.trajectory.acquire({"idle_ttl_s": HELD_S, **self.spec})
            if not result.success:
                raise ToolringError(f"no slot for trajectory {trajectory.id!r}: {result.error}",
                                    result)
            held.saw(result)
            held.has_slot = True
        except BaseException as e:
            if self._let_go(held) and not isinstance(e, ToolringError):
                # The slot may have come as the call was cancelled.
                task = asyncio.ensure_future(self._give_back_unless_held(held.trajectory))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            raise
        return Slot(result.slot_id, f"toolringd:{self._address}", self._address,
                    trajectory_id=trajectory.id)

    async def release(self, slot: Slot, *, reset_workspace: bool = False) -> None:
        """
        Gives the slot back. Without a reset its files are kept for the same trajectory id, for ten
        minutes or the spec's idle_ttl_s; no other trajectory ever sees them. A fault is logged.
        """
        held = self._held.get(slot.trajectory_id or "")
        if held is None or slot.state is not SlotState.ACQUIRED:
            log.warning("release of a slot that is not acquired: %s", slot.slot_id)
            return
        slot.release()
        reset = reset_workspace or held.is_lost
        try:
            if held.count == 1 and not reset:
                # While it is held: whoever acquires it meanwhile says anew for how long.
                with contextlib.suppress(ToolringError):
                    held.saw(await held.trajectory.acquire({"idle_ttl_s": KEPT_S, **self.spec}))
        finally:
            if self._let_go(held):
                await self._give_back(held.trajectory, reset or held.is_lost)

    def _let_go(self, held: _Held) -> bool:
        """One holder less. True: that was the last."""
        held.count -= 1
        if held.count or self._held.get(held.trajectory.id) is not held:
            return False
        del self._held[held.trajectory.id]
        return True

    async def _give_back_unless_held(self, trajectory: Trajectory) -> None:
        if trajectory.id not in self._held:
            await self._give_back(trajectory, reset=True)

    async def _give_back(self, trajectory: Trajectory, reset: bool) -> None:
        self._kept.pop(trajectory.id, None)
        if not reset:
            self._kept[trajectory.id] = None
            if len(self._kept) > KEPT_MAX:
                del self._kept[next(iter(self._kept))]
        for left in reversed(range(RELEASE_TRIES)):
            try:
                result = await trajectory.release(keep_workspace=not reset)
            except (NotStarted, Unknown) as e:
                # Twice released is released, unless somebody has acquired it anew.
                if left and trajectory.id not in self._held:
                    continue
                log.warning("release of trajectory %s: %s", trajectory.id, e)
            except ToolringError as e:
                log.warning("release of trajectory %s: %s", trajectory.id, e)
            else:
                if not result.success:
                    log.warning("release of trajectory %s: %s", trajectory.id, result.error)
            return

    def _of(self, slot: Slot) -> _Held | Result:
        """The trajectory that has this slot, or why it has none."""
        held = self._held.get(slot.trajectory_id or "")
        if self._client is None or self._client.closed:
            return Result(error="the backend was stopped", verdict="unavailable")
        if held is None:
            return Result(error=f"slot {slot.slot_id} is not acquired", verdict="invalid")
        if held.is_lost:
            return Result(error=held.why_lost(), verdict="unavailable")
        return held

    # ---- calls ----

    async def execute_batch(self, requests: Sequence[tuple[Slot, str, Mapping[str, Any]]], *,
                            timeout_s: float | None = None) -> list[ExecutionResult]:
        """
        Runs (slot, tool, arguments), all at once, and gives the results in the same order. Calls
        of one slot run one after the other, in the order given.
        """
        if len(requests) == 1:
            return [await self.execute(*requests[0], timeout_s=timeout_s)]
        return list(await asyncio.gather(*[self.execute(slot, tool, arguments, timeout_s=timeout_s)
                                           for slot, tool, arguments in requests]))

    async def execute(self, slot: Slot, tool: str, arguments: Mapping[str, Any] | None, *,
                      timeout_s: float | None = None,
                      execution_id: str | None = None) -> ExecutionResult:
        """Runs one tool call."""
        execution_id = execution_id or str(uuid.uuid4())
        found = self._of(slot)
        arguments = {} if arguments is None else arguments
        if isinstance(found, Result):
            return execution_result(found, execution_id, slot.slot_id)
        refusal = self._refusal(arguments)
        if refusal is not None:
            return execution_result(refusal, execution_id, slot.slot_id)
        if isinstance(arguments, Mapping):
            if timeout_s is None and not isinstance(arguments.get("timeout"), (int, float)):
                timeout_s = self.default_timeout_s
            if any(key in arguments for key in POLICY):
                arguments = {k: v for k, v in arguments.items() if k not in POLICY}
        try:
            result = await found.trajectory._execute(
                tool, arguments, timeout_s, ExecResult if tool == "exec" else Result, execution_id)
        except ToolringError as e:
            result = result_of(e)
        return execution_result(found.saw(result), execution_id, slot.slot_id)

    def _refusal(self, arguments: Any) -> Result | None:
        """
        Why slots are less closed than the arguments ask for. Policy is toolringd's and the spec's,
        not a call's: what a call asks for and does not have must not run.
        """
        if not isinstance(arguments, Mapping):
            return None
        if arguments.get("allow_network") is False:
            network = self.spec.get("network") or self._backend.get("network")
            if network != "none":
                return Result(verdict="unavailable", error=(
                    "allow_network is false, but slots have the network: start toolringd with "
                    "--network none, or ToolringBackend(spec={'network': 'none'})"))
        missing = self._backend.get("missing_layers")
        if missing and any(arguments.get(key) for key in POLICY[1:]):
            return Result(verdict="unavailable",
                          error=f"a sandbox is required, but slots lack: {', '.join(missing)}")
        return None

    # ---- artifacts ----

    async def read_artifact(self, slot: Slot, path: str, *, encoding: str = "text",
                            max_bytes: int | None = None, include_sha256: bool = False,
                            timeout_s: float | None = None) -> dict[str, Any]:
        """A file of the workspace: content as "text" or "base64", and what it is."""
        return read_answer(await self._artifact(
            slot, "read", path, encoding=encoding, max_bytes=max_bytes, sha256=include_sha256,
            timeout=timeout_s), path)

    async def list_artifacts(self, slot: Slot, path: str = ".", *, recursive: bool = False,
                             max_entries: int | None = None,
                             timeout_s: float | None = None) -> dict[str, Any]:
        """What is in a folder of the workspace."""
        return list_answer(await self._artifact(
            slot, "list", path, recursive=recursive, max_entries=max_entries, timeout=timeout_s))

    async def archive_artifacts(self, slot: Slot, path: str = ".", *,
                                archive_format: str = "tar.gz", max_bytes: int | None = None,
                                max_entries: int | None = None,
                                timeout_s: float | None = None) -> dict[str, Any]:
        """A file or folder of the workspace, as an archive in base64."""
        return archive_answer(await self._artifact(
            slot, "archive", path, format=archive_format, encoding="base64", max_bytes=max_bytes,
            max_entries=max_entries, timeout=timeout_s))

    async def _artifact(self, slot: Slot, action: str, path: str, **options: Any) -> Result:
        found = self._of(slot)
        if isinstance(found, Result):
            return found
        try:
            result: Result = await getattr(found.trajectory.artifacts, action)(path, **options)
        except ToolringError as e:
            result = result_of(e)
        return found.saw(result)
