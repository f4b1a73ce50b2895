# SPDX-License-Identifier: Apache-2.0
"""
What goes through the replaced system's interface, by the names that its callers use. What they
never had, the verdict and where the time went, is in metadata, and the whole toolring.Result in
.result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Protocol

from .._result import ArtifactResult, ExecResult, Result

Content = str | bytes

# Verdicts that say nothing about the model: it gets no blame for them, and no reward. A call is
# cancelled only by a caller, or as the client closes.
INFRASTRUCTURE = frozenset(("unavailable", "not_started", "unknown", "cancelled"))

# What the replaced system's results had in their metadata. A model is shown this much: what else is
# there differs from run to run, and tells of the machine.
MODEL_METADATA = ("exit_code", "sandboxed", "network_isolated", "timeout", "stateful", "path",
                  "size", "pane_width", "pane_height", "blocked", "capture_entire", "stream",
                  "offset")


class Call(Protocol):
    """A tool call as a model made it."""

    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...
    @property
    def uniq_id(self) -> str: ...


class Schema(Protocol):
    """What a registered tool says of itself."""

    @property
    def external(self) -> bool: ...


class Tool(Protocol):
    """A registered tool."""

    @property
    def schema(self) -> Schema: ...


class Registry(Protocol):
    """The tools that an environment offers its model."""

    def get(self, name: str) -> Tool | None: ...


class SlotState(Enum):
    """Whose a slot is."""

    AVAILABLE = "available"
    ACQUIRED = "acquired"


@dataclass
class Slot:
    """A trajectory's slot, from acquire() to release()."""

    slot_id: str
    alloc_id: str = ""
    container_addr: str = ""  # the toolringd that has it: a name, or the path of its socket
    workspace_dir: str = "/workspace"  # as commands in the slot see it
    state: SlotState = SlotState.ACQUIRED
    trajectory_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_available(self) -> bool:
        return self.state is SlotState.AVAILABLE

    @property
    def is_acquired(self) -> bool:
        return self.state is SlotState.ACQUIRED

    def release(self) -> None:
        """It is nobody's any more. What gives it back is the backend's release()."""
        self.state = SlotState.AVAILABLE
        self.trajectory_id = None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "state": self.state.value}


class _Judged:
    """Whose metadata say why it ended, and whether that is the model's doing."""

    metadata: dict[str, Any]

    @property
    def verdict(self) -> str:
        return str(self.metadata.get("verdict", ""))

    @property
    def infrastructure_fault(self) -> bool:
        return bool(self.metadata.get("infrastructure_fault"))


@dataclass
class ToolResult(_Judged):
    """What a tool call came to, as an agent gets it."""

    success: bool
    output: str = ""
    error: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    uniq_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"success": self.success, "output": self.output, "error": self.error,
                "metadata": self.metadata, "uniq_id": self.uniq_id}

    def to_xml(self) -> str:
        """What the model is shown: of metadata, what the replaced system showed it."""
        shown: dict[str, Any] = {"success": self.success, "output": self.output}
        if self.uniq_id:
            shown["uniq_id"] = self.uniq_id
        if self.error:
            shown["error"] = self.error
        metadata = {k: self.metadata[k] for k in MODEL_METADATA if k in self.metadata}
        if metadata:
            shown["metadata"] = metadata
        return f"<tool_response>{json.dumps(shown)}</tool_response>"


@dataclass
class ExecutionResult(_Judged):
    """What a tool call came to, as a backend gives it."""

    success: bool
    output: str = ""
    error: str = ""
    execution_id: str = ""
    slot_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    result: Result | None = field(default=None, repr=False)

    def to_tool_result(self) -> ToolResult:
        return ToolResult(self.success, self.output, self.error, self.metadata, self.execution_id)


def metadata_of(result: Result) -> dict[str, Any]:
    """A result's metadata, with the verdict, whose doing it is, and where the time went."""
    return {**result.metadata, "verdict": result.verdict,
            "infrastructure_fault": result.verdict in INFRASTRUCTURE,
            "timing": result.timing._asdict()}


def error_of(result: Result) -> str:
    """Its error, which of a fault says that it is one: some read nothing else."""
    if result.verdict not in INFRASTRUCTURE:
        return result.error
    return f"Infrastructure fault ({result.verdict}): {result.error or 'no reason given'}"


def execution_result(result: Result, execution_id: str, slot_id: str) -> ExecutionResult:
    output, metadata = result.output, metadata_of(result)
    if isinstance(result, ExecResult):
        # A tool of harnesses, whose output is bytes and apart; here all of it has to be text.
        metadata["stdout"] = result.stdout.decode("utf-8", "replace")
        metadata["stderr"] = result.stderr.decode("utf-8", "replace")
        output = output or metadata["stdout"]
    return ExecutionResult(result.success, output, error_of(result), execution_id, slot_id,
                           metadata, result)


# ---- artifacts -----------------------------------------------------------------------------------

# The status that each had over HTTP, which callers of a backend find in "http_status".
_STATUS = {"invalid": 400, "denied": 403, "limit": 413, "unavailable": 503}


def _artifact(result: Result, **members: Any) -> dict[str, Any]:
    not_found = isinstance(result, ArtifactResult) and result.not_found
    answer: dict[str, Any] = {"success": result.success, "error": error_of(result)}
    if result.success:
        answer.update(members)
    answer["metadata"] = metadata_of(result)
    answer["http_status"] = 404 if not_found else _STATUS.get(result.verdict, 200)
    return answer


def read_answer(result: Result, path: str) -> dict[str, Any]:
    r = result if isinstance(result, ArtifactResult) else ArtifactResult()
    return _artifact(result, content=r.content, encoding=r.encoding, truncated=r.truncated,
                     bytes=r.size, file_size=r.file_size, path=r.path or path, mime=r.mime,
                     sha256=r.sha256)


def list_answer(result: Result) -> dict[str, Any]:
    r = result if isinstance(result, ArtifactResult) else ArtifactResult()
    entries = [{"size": 0, **entry} for entry in r.entries or []]  # folders have none
    return _artifact(result, entries=entries, truncated=r.truncated)


def archive_answer(result: Result) -> dict[str, Any]:
    r = result if isinstance(result, ArtifactResult) else ArtifactResult()
    return _artifact(result, content=r.content, encoding=r.encoding, format=r.format, bytes=r.size,
                     entry_count=r.entry_count)


@dataclass
class ArtifactResponse(_Judged):
    """What the answers about artifacts have in common."""

    success: bool
    error: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def model_dump(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class ArtifactReadResponse(ArtifactResponse):
    """A file's content."""

    content: Content = ""
    encoding: str = "text"
    truncated: bool = False
    bytes: int = 0  # of content, before it was encoded
    file_size: int | None = None
    path: str = ""
    mime: str | None = None
    sha256: str | None = None


@dataclass
class ArtifactEntry:
    """One file or folder in a list."""

    path: str
    is_dir: bool
    size: int
    mtime: float


@dataclass
class ArtifactListResponse(ArtifactResponse):
    """What is in a folder."""

    entries: list[ArtifactEntry] = field(default_factory=list)
    truncated: bool = False


@dataclass
class ArtifactArchiveResponse(ArtifactResponse):
    """Files, as one archive."""

    content: Content = ""
    encoding: str = "base64"
    format: str = "tar.gz"
    bytes: int = 0
    entry_count: int = 0
