# SPDX-License-Identifier: Apache-2.0
"""
What a call answers with.

The extension makes these, straight from msgpack: it takes a bare instance (cls.__new__, no
__init__) and sets every field, those of Result from what every payload has, those of a subclass as
its _MORE says. They are values: frozen, equal if all is equal, hashable, and they can be copied,
pickled and sent to another process.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, NoReturn, NotRequired, TypedDict

Verdict = Literal["ok", "failed", "timeout", "oom", "limit", "denied", "invalid", "unavailable",
                  "cancelled", "not_started", "unknown"]
"""
Why a call ended as it did. "ok", "failed", "timeout", "oom", "limit", "denied" and "cancelled" come
as results; "invalid", "unavailable", "not_started" and "unknown" are raised.
"""

_SHOWN = 60  # characters that a repr spends on one text
_TEXTS = ("output", "error", "stdout", "stderr", "content")


def _short(text: str | bytes) -> str:
    """On one line, and short even where every character takes ten to show."""
    shown = repr(text[:_SHOWN])
    n = min(len(text), _SHOWN)
    while len(shown) > _SHOWN + 3 and n > 1:
        n = n * 3 // 4
        shown = repr(text[:n])
    return shown if n == len(text) else f"{shown}... ({len(text)})"


class Timing(NamedTuple):
    """Where a call's time went, in nanoseconds."""

    queue_ns: int = 0  # until it was its turn in its trajectory
    slot_wait_ns: int = 0  # until there was a slot for it
    start_ns: int = 0  # until it had begun in the slot
    run_ns: int = 0
    reply_ns: int = 0  # from the slot's answer until the result was made

    @property
    def total_ns(self) -> int:
        """From the executor's ring to the result in it."""
        return sum(self)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name.removesuffix('_ns')}={ns / 1e6:.3f}"
                          for name, ns in zip(self._fields, self))
        return f"Timing({parts} ms)"


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """
    The answer to one call. It is true if the call succeeded; a command that failed is a result like
    any other.
    """

    success: bool = False
    """The verdict is "ok"."""
    output: str = ""
    """What it said: what a command wrote, what a file holds, what the screen shows."""
    error: str = ""
    """Why it was no success, in words."""
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)
    """What the tool tells beside that: signal, cpu_user_ns, memory_peak_bytes, ..."""
    verdict: Verdict = "unknown"
    timing: Timing = Timing()
    exit_code: int | None = None
    """Of the command; 128 and the signal's number if one ended it, -1 after a timeout. None: no
    command was run."""
    timed_out: bool = False
    """The verdict is "timeout"."""
    truncated: bool = False
    """Some of the output, the content or the entries was left out, since a limit was reached."""
    uniq_id: str = ""
    """As it was given to call()."""
    slot_id: str = ""
    """The slot's name, after acquire()."""

    # What the payload has beyond that: (its key there, the field here, what an absent one is).
    _MORE: ClassVar[tuple[tuple[str, str, Any], ...]] = ()

    @property
    def signal(self) -> int:
        """The signal that ended the command, or 0."""
        return int(self.metadata.get("signal") or 0)

    def __bool__(self) -> bool:
        return self.success

    def __repr__(self) -> str:
        parts: list[str] = [self.verdict]
        if self.exit_code is not None:
            parts.append(f"exit_code={self.exit_code}")
        # Which only says the exit code again.
        told = f"Exit code: {self.exit_code}"
        parts += [f"{name}={_short(text)}" for name in _TEXTS
                  if (text := getattr(self, name, None)) and text != told]
        parts += self._repr_more()
        if self.truncated:
            parts.append("truncated")
        parts.append(f"{self.timing.total_ns / 1e6:.3f} ms")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_more(self) -> list[str]:
        return [f"slot_id={_short(self.slot_id)}"] if self.slot_id else []


@dataclass(frozen=True, slots=True, repr=False)
class ExecResult(Result):
    """The answer to exec(): the program's own bytes, apart. output is empty."""

    stdout: bytes = b""
    stderr: bytes = b""

    _MORE: ClassVar[tuple[tuple[str, str, Any], ...]] = (
        ("stdout", "stdout", b""), ("stderr", "stderr", b""))

    @property
    def not_started(self) -> bool:
        """There is no such program, or no such folder; error tells which. The exit code is 127."""
        return bool(self.metadata.get("not_started"))


class Entry(TypedDict):
    """One file or folder in a list of artifacts."""

    path: str
    is_dir: bool
    size: NotRequired[int]  # of a file
    mtime: float


@dataclass(frozen=True, slots=True, repr=False)
class ArtifactResult(Result):
    """The answer to a call of t.artifacts. What a call does not answer with is None."""

    path: str | None = None
    """As it was given."""
    content: str | bytes | None = None
    """Of the file, or the archive: bytes, or a string if "text" or "base64" was asked for."""
    encoding: str | None = None
    """Of content: "bytes", "text" or "base64"."""
    size: int | None = None
    """Bytes of content before it was encoded, or bytes that were written or unpacked."""
    file_size: int | None = None
    """Bytes of the whole file: more than size if truncated."""
    mime: str | None = None
    """The file's type, by its name."""
    sha256: str | None = None
    """Of content as bytes, in hexadecimal, if asked for."""
    entries: list[Entry] | None = field(default=None, hash=False)
    """What is in the folder."""
    entry_count: int | None = None
    """How many files and folders were packed or unpacked."""
    format: str | None = None
    """Of the archive."""

    _MORE: ClassVar[tuple[tuple[str, str, Any], ...]] = (
        ("path", "path", None), ("content", "content", None), ("encoding", "encoding", None),
        ("bytes", "size", None), ("file_size", "file_size", None), ("mime", "mime", None),
        ("sha256", "sha256", None), ("entries", "entries", None),
        ("entry_count", "entry_count", None), ("format", "format", None))

    @property
    def not_found(self) -> bool:
        """There is no such file."""
        return bool(self.metadata.get("not_found"))

    @property
    def data(self) -> bytes:
        """The content as bytes, whatever it came as; empty if there is none."""
        if isinstance(self.content, str):
            return b64decode(self.content) if self.encoding == "base64" else self.content.encode()
        return self.content or b""

    def _repr_more(self) -> list[str]:
        parts = [] if self.path is None else [f"path={_short(self.path)}"]
        if self.entries is not None:
            parts.append(f"entries={len(self.entries)}")
        if self.entry_count is not None:
            parts.append(f"entry_count={self.entry_count}")
        if self.size is not None:
            parts.append(f"size={self.size}")
        return parts


def _refuse(self: Result, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"{name!r} of a {type(self).__name__} cannot be changed: "
                              "dataclasses.replace() makes another")


# With slots, what dataclasses makes of it fails on a name that is no field's, and tells of super().
for _class in (Result, ExecResult, ArtifactResult):
    setattr(_class, "__setattr__", _refuse)
    setattr(_class, "__delattr__", _refuse)
