# SPDX-License-Identifier: Apache-2.0
"""
Between inspect_ai's exec() and toolring's: programs put before a command, and what a result means.

Commands run in the slot's shell room (exec with keep), since a sandbox of inspect_ai keeps /tmp and
what runs in the background from one command to the next. A timeout of toolring's ends that whole
room, so one that inspect_ai asks for is kept by timeout(1) inside: the command and its process
group die, and files and servers of earlier commands stay. toolring's own timeout stands behind it,
for what does not go by signals.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import NoReturn

import toolring
from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironmentLimits

CALL_S_MAX = 600  # the longest that toolring lets a call run
KILL_AFTER_S = 5  # between timeout(1)'s SIGTERM and SIGKILL
OUTPUT_BYTES_MAX = 64 << 20  # toolring's limit exec_output_bytes_max

TIMEOUT_PROGRAM = "/usr/bin/timeout"
_TIMEOUT_CODES = (124, 137, 143)  # on time; by SIGKILL; busybox's
_FROM_FILE = 'exec <"$1" && /bin/rm -f -- "$1" && shift && exec "$@"'
# What timeout(1) and sh say instead of running a program that they may not.
_NOT_ALLOWED = re.compile(
    rb"(?:/usr/bin/timeout: failed to run command .*|sh: (?:line )?\d+: .*): Permission denied\n?")


@dataclass(frozen=True)
class Timeout:
    """How long a command may run."""

    seconds: float
    by_program: bool  # timeout(1) sees to it, and toolring later

    @property
    def call_s(self) -> float:
        return self.seconds + (2 * KILL_AFTER_S if self.by_program else 0)

    @property
    def program(self) -> list[str]:
        if not self.by_program:
            return []
        return [TIMEOUT_PROGRAM, "-k", str(KILL_AFTER_S), str(self.seconds)]

    def ended(self, r: toolring.ExecResult) -> bool:
        """It was this that ended the command, which may also exit with those codes by itself."""
        if r.verdict == "timeout":
            return True
        return (self.by_program and r.exit_code in _TIMEOUT_CODES
                and r.timing.run_ns >= self.seconds * 1e9)


def timeout_of(timeout: int | None, has_program: bool) -> Timeout:
    """What inspect_ai's timeout becomes; none is toolring's longest."""
    if timeout is None:
        return Timeout(CALL_S_MAX, False)
    longest = CALL_S_MAX - (2 * KILL_AFTER_S if has_program else 0)
    return Timeout(min(max(timeout, 1), longest), has_program)


def from_file(path: str) -> list[str]:
    """What to put before a command whose input lies in a file, which is then gone."""
    return ["/bin/sh", "-c", _FROM_FILE, "sh", path]


def output_max() -> int:
    """Bytes that inspect_ai wants of each stream at most."""
    return min(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE, OUTPUT_BYTES_MAX)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def raise_timeout(r: toolring.ExecResult, limit: Timeout) -> NoReturn:
    """With what the command wrote until then, which inspect_ai shows to the model."""
    error = TimeoutError(f"Command timed out after {limit.seconds:g} seconds")
    # An attribute that inspect_ai looks for.
    error.truncated_output = _text(r.stdout) + _text(r.stderr)  # type: ignore[attr-defined]
    raise error


def _is_forbidden(r: toolring.ExecResult) -> bool:
    if r.metadata.get("not_started"):
        return r.error.endswith("Permission denied")
    return r.exit_code == 126 and _NOT_ALLOWED.fullmatch(r.stderr) is not None


def answer(r: toolring.ExecResult, program: str) -> ExecResult[str]:
    """What a command that ended by itself gives, or is raised as."""
    stdout, stderr = _text(r.stdout), _text(r.stderr)
    if r.verdict == "denied" or _is_forbidden(r):
        raise PermissionError(errno.EACCES, "Permission denied", program)
    if r.exit_code is None:
        raise toolring.ToolringError(r.error, r)
    if r.truncated:
        raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR,
                                       stdout + stderr)
    # What no program could have said: it never ran, or ran out of memory or processes.
    if r.error and (r.metadata.get("not_started") or r.verdict in ("oom", "limit")):
        stderr += r.error + "\n"
    return ExecResult(r.exit_code == 0, r.exit_code, stdout, stderr)
