# SPDX-License-Identifier: Apache-2.0
"""
A slot as inspect_ai's SandboxEnvironment.

What is wrong with the infrastructure is raised as toolring raises it, which ends the sample with an
error. It is never a SandboxUnavailableError: inspect_ai would tell that to the model as a tool's
answer, and score what the model makes of it.
"""

from __future__ import annotations

import contextlib
import posixpath
import shlex
from logging import getLogger
from typing import Any, Literal, overload

import anyio
import toolring
from inspect_ai.util import (
    ExecResult,
    SandboxConnection,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxUserUnsupportedError,
    concurrency as limit_concurrency,
    sandboxenv,
)
from inspect_ai.util._subprocess import max_subprocesses_context_var

from .. import _programs
from . import _commands, _host
from ._config import FILES, ToolringSandboxConfig
from ._slot import IN_BYTES_MAX, SandboxLost, Slot

logger = getLogger(__name__)

WORKSPACE = "/workspace"
RELEASE_S_MAX = 30

# One line after the other, each as a command of the sandbox.
_CONNECTION = 'while IFS= read -erp "$0> " line; do "$@" "$line"; done'

Config = SandboxEnvironmentConfigType | None

__all__ = ["SandboxLost", "ToolringSandboxEnvironment"]


@sandboxenv(name="toolring")
class ToolringSandboxEnvironment(SandboxEnvironment):
    """A slot of toolring."""

    def __init__(self, host: _host.Host, slot: Slot) -> None:
        super().__init__()
        self._host = host
        self._slot = slot

    # ---- what there is ---------------------------------------------------------------------------

    @classmethod
    def config_files(cls) -> list[str]:
        return FILES

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> ToolringSandboxConfig:
        return ToolringSandboxConfig(**config)

    @classmethod
    def default_concurrency(cls) -> int | None:
        return None  # slots are cheap, and toolringd has a limit of its own (--slots-max)

    def default_polling_interval(self) -> float:
        return 0.1

    # ---- life ------------------------------------------------------------------------------------

    @classmethod
    async def task_init(cls, task_name: str, config: Config) -> None:
        await _host.join(config, task=True)

    @classmethod
    async def task_cleanup(cls, task_name: str, config: Config, cleanup: bool) -> None:
        # Also without cleanup: a slot is its session's, and who would hold it after this process?
        await _host.leave(config, _host.find(config), task=True)

    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        if id is None:
            print("Nothing to clean up: the slots of an evaluation end with its process.")
            return
        async with toolring.connect() as client:
            await client.trajectory(id).release()
        print(f"Released {id}.")

    @classmethod
    async def sample_init(cls, task_name: str, config: Config,
                          metadata: dict[str, str]) -> dict[str, SandboxEnvironment]:
        host = await _host.join(config)
        try:
            slot = await host.slot(task_name, metadata.get("__sample_id__", ""))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _host.leave(config, host)
            raise
        return {"default": cls(host, slot)}

    @classmethod
    async def sample_cleanup(cls, task_name: str, config: Config,
                             environments: dict[str, SandboxEnvironment],
                             interrupted: bool) -> None:
        with anyio.CancelScope(shield=True):
            for environment in environments.values():
                self = environment.as_type(ToolringSandboxEnvironment)
                await self._release()
                await _host.leave(config, self._host)

    async def _release(self) -> None:
        trajectory = self._slot.trajectory
        try:
            with anyio.fail_after(RELEASE_S_MAX):
                await trajectory.release()
        except (toolring.ToolringError, TimeoutError) as e:
            # The sample is over, and whatever became of its slot, that ends with our session.
            logger.warning("slot of %s: %s", trajectory.id, str(e) or type(e).__name__)

    # ---- commands --------------------------------------------------------------------------------

    async def exec(self, cmd: list[str], input: str | bytes | None = None, cwd: str | None = None,
                   env: dict[str, str] | None = None, user: str | None = None,
                   timeout: int | None = None, timeout_retry: bool = True,
                   concurrency: bool = True) -> ExecResult[str]:
        """
        As SandboxEnvironment.exec() says. What timed out is not tried again, whatever timeout_retry
        says: it was the command's doing. Without a timeout, or with a long one, a command has ten
        minutes.
        """
        self._check_user(user)
        for word in cmd:
            _refuse_null(word)
        stdin = input.encode() if isinstance(input, str) else input
        before: list[str] = []
        limit = _commands.timeout_of(timeout, self._host.facts.has_timeout)
        async with _throttle() if concurrency else contextlib.nullcontext():
            if stdin is not None and len(stdin) > IN_BYTES_MAX:
                before = _commands.from_file(await self._slot.keep_input(stdin))
                stdin = None
            r = await self._slot.run(
                [*limit.program, *before, *cmd], stdin=stdin, cwd=_absolute(cwd or "."), env=env,
                timeout=limit.call_s, output_max=_commands.output_max())
        if limit.ended(r):
            _commands.raise_timeout(r, limit)
        return _commands.answer(r, cmd[0])

    def _check_user(self, user: str | None) -> None:
        users = self._host.facts.users
        if user is not None and user not in users:
            raise SandboxUserUnsupportedError(
                f"commands of a toolring sandbox run as its one user "
                f"({' or '.join(sorted(users))}), not as {user!r}")

    # ---- files -----------------------------------------------------------------------------------

    async def write_file(self, file: str, contents: str | bytes) -> None:
        data = contents.encode() if isinstance(contents, str) else contents
        await self._slot.write(_absolute(file), data)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        content = await self._slot.read(_absolute(file))
        return content.decode("utf-8") if text else content

    # ---- for people ------------------------------------------------------------------------------

    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        """A prompt that runs each line as a command of its own; nothing full-screen."""
        if user is not None and user not in self._host.facts.users:
            raise NotImplementedError(f"nobody can be {user!r} in a toolring sandbox")
        if self._slot.lost:
            raise ConnectionError(str(self._slot.lost))
        id = self._slot.trajectory.id
        run = [_programs.path("toolring"), "exec", "--name", self._host.name, "--trajectory", id,
               "--keep", "--timeout", str(_commands.CALL_S_MAX), "--", "bash", "-c"]
        return SandboxConnection(type="toolring",
                                 command=shlex.join(["bash", "-c", _CONNECTION, id, *run]))


def _refuse_null(text: str) -> None:
    if "\0" in text:
        raise ValueError("embedded null byte")  # Python's words, which inspect_ai shows to a model


def _absolute(path: str) -> str:
    _refuse_null(path)
    return posixpath.join(WORKSPACE, path)


def _throttle() -> contextlib.AbstractAsyncContextManager[Any]:
    """As many at a time as --max-subprocesses says: they run on this machine's cores."""
    return limit_concurrency("subprocesses", max_subprocesses_context_var.get(), resizable=True)
