# SPDX-License-Identifier: Apache-2.0
"""
A sample's slot: commands, and files of any size anywhere in it.

toolring moves a file in one call, of up to 16 MiB on the way in (its limit call_bytes_max) and
64 MiB on the way out. What is larger goes in pieces: the first by such a call, which makes folders
and gives definite errors, the rest through commands.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Awaitable, Mapping
from typing import NoReturn, TypeVar

import toolring
from inspect_ai.util import OutputLimitExceededError, SandboxEnvironmentLimits

FILE_S_MAX = 600
IN_BYTES_MAX = 4 << 20  # of a piece: well below what an operator may have set
OUT_BYTES_MAX = 16 << 20

_APPEND = 'exec cat >>"$1"'
_PIECE = 'tail -c "+$2" -- "$1" | head -c "$3"'
_IS_FOLDER = '[ -d "$1" ]'

# What toolring says of a file that can be neither read nor written, up to its colon.
_LIMITS = {"No space left on device": errno.ENOSPC, "Too many files in a folder": errno.EMLINK,
           "File larger than allowed": errno.EFBIG, "No memory left for file": errno.ENOMEM}
_OTHERS = {"File name too long": errno.ENAMETOOLONG, "File is busy": errno.EBUSY,
           "Too many levels of symbolic links": errno.ELOOP}

R = TypeVar("R", bound=toolring.Result)


class SandboxLost(toolring.ToolringError):
    """A sample's slot is gone, with its files; what runs now would run in an empty one."""


class Slot:
    """The slot of one trajectory, which has acquired it before."""

    def __init__(self, trajectory: toolring.Trajectory) -> None:
        self.trajectory = trajectory
        self.lost: SandboxLost | None = None

    async def _sure(self, call: Awaitable[R]) -> R | toolring.Result:
        """
        Awaits a call, and sees that it ran in the same slot as those before. toolring gives a
        trajectory whose slot died a fresh one, which is right for stateless calls; here, a model
        would find its work gone and be scored for it. A call that waited for a slot has a new one.
        """
        r: R | toolring.Result
        try:
            r = await call
        except toolring.InvalidCall as e:
            if e.result is None:
                raise
            r = e.result
        if r.verdict == "cancelled":
            # Not by us, who would not be here: toolringd ends, and it may have run.
            raise toolring.Unknown(f"toolringd ended it: {r.error}", r)
        if r.timing.slot_wait_ns and self.lost is None:
            self.lost = SandboxLost(f"the slot of {self.trajectory.id} is gone, with its files", r)
        if self.lost:
            raise self.lost
        return r

    async def run(self, argv: list[str], *, stdin: bytes | None = None, cwd: str | None = None,
                  env: Mapping[str, str] | None = None, timeout: float = FILE_S_MAX,
                  output_max: int = OUT_BYTES_MAX) -> toolring.ExecResult:
        """Runs a program where /tmp and processes live on."""
        r = await self._sure(self.trajectory.exec(
            argv, stdin=stdin, cwd=cwd, env=env or None, timeout=timeout, keep=True,
            stdout_max=output_max, stderr_max=output_max))
        if not isinstance(r, toolring.ExecResult) or r.verdict == "invalid":
            raise toolring.InvalidCall(r.error, r)
        return r

    # ---- files -----------------------------------------------------------------------------------

    async def write(self, path: str, content: bytes) -> None:
        r = await self._sure(self.trajectory.artifacts.write(
            path, content[:IN_BYTES_MAX], anywhere=True, timeout=FILE_S_MAX))
        if not r:
            await self._refuse(r, path, reading=False)
        for at in range(IN_BYTES_MAX, len(content), IN_BYTES_MAX):
            piece = await self.run(["/bin/sh", "-c", _APPEND, "sh", path],
                                   stdin=content[at:at + IN_BYTES_MAX])
            self._see(piece, path)

    async def keep_input(self, content: bytes) -> str:
        """Puts what is too large for a call into a file; returns its path."""
        path = f"/tmp/.toolring-input-{uuid.uuid4().hex}"
        await self.write(path, content)
        return path

    async def read(self, path: str) -> bytes:
        bytes_max = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        r = await self._sure(self.trajectory.artifacts.read(
            path, max_bytes=min(bytes_max, OUT_BYTES_MAX), anywhere=True, timeout=FILE_S_MAX))
        if not r or not isinstance(r, toolring.ArtifactResult) or not isinstance(r.content, bytes):
            await self._refuse(r, path, reading=True)
        content, goes_on = r.content, r.truncated
        while goes_on and len(content) < bytes_max and (r.file_size or 0) <= bytes_max:
            # One byte more than may be, to see whether that is all.
            n = min(OUT_BYTES_MAX, bytes_max + 1 - len(content))
            piece = await self.run(["/bin/sh", "-c", _PIECE, "sh", path, str(len(content) + 1),
                                    str(n)])
            self._see(piece, path)
            content += piece.stdout
            goes_on = len(piece.stdout) == n
        if goes_on or len(content) > bytes_max:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        return content

    def _see(self, r: toolring.ExecResult, path: str) -> None:
        """A piece that went wrong after the first went well."""
        if r.verdict == "timeout":
            raise TimeoutError(f"{path}: not done after {FILE_S_MAX} seconds")
        if not r or r.stderr:
            words = r.stderr.decode("utf-8", "replace").strip() or r.error
            number = next((n for text, n in _LIMITS.items() if text in words), errno.EIO)
            raise OSError(number, words, path)

    async def _refuse(self, r: toolring.Result, path: str, reading: bool) -> NoReturn:
        """The exception for a file call that did not succeed."""
        words = r.error.partition(": ")[0]
        if r.verdict == "timeout":
            raise TimeoutError(f"{path}: {r.error}")
        if r.metadata.get("not_found"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if r.verdict == "denied":
            raise PermissionError(errno.EACCES, words, path)
        if r.verdict == "limit":
            raise OSError(_LIMITS.get(words, errno.EAGAIN), r.error, path)
        if words == "Not a file":
            if await self.run(["/bin/sh", "-c", _IS_FOLDER, "sh", path]):
                raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
            raise OSError(errno.EINVAL, "Not a regular file", path)
        if words == "Not a folder":
            # What lies below a file is not there to be read.
            error = FileNotFoundError if reading else NotADirectoryError
            raise error(errno.ENOTDIR, "Not a directory", path)
        raise OSError(_OTHERS.get(words, errno.EIO), words, path)
