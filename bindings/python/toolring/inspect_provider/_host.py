# SPDX-License-Identifier: Apache-2.0
"""
Where the slots of a task come from: a toolringd and one session with it.

There is one Host for each event loop and configuration. It is opened by the first that needs it,
which is task_init() unless somebody makes samples without tasks, and closed with the last task; a
toolringd that was started for it ends then, and by itself if this process dies.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from logging import getLogger
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio
import toolring
from inspect_ai.util import SandboxEnvironmentConfigType
from pydantic import BaseModel

from ._commands import TIMEOUT_PROGRAM
from ._config import ToolringSandboxConfig, read_config
from ._slot import Slot

if TYPE_CHECKING:
    from toolring import Client

logger = getLogger(__name__)

LABEL = "inspect_ai"  # of the session, as toolring status shows it
DEFAULT = "default"  # the instance that is looked for before one is started
LOOK_TIMEOUT_S = 2.0

# Who commands run as in a slot, and whether TIMEOUT_PROGRAM is there: the same for all slots.
_PROBE = f"id -u; id -un 2>/dev/null || id -u; [ -x {TIMEOUT_PROGRAM} ] && echo yes || echo no"

Config = SandboxEnvironmentConfigType | None


@dataclass(frozen=True)
class Facts:
    """What every slot of a host has in common."""

    users: frozenset[str]  # names and number of the one user that commands run as
    has_timeout: bool  # TIMEOUT_PROGRAM is there


class Host:
    """A toolringd, a session with it, and how many tasks and samples use them."""

    def __init__(self, config: ToolringSandboxConfig) -> None:
        self.config = config
        self.n_tasks = 0
        self.n_samples = 0
        self.name = ""
        self.is_private = False
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._facts: Facts | None = None
        self._cleanup = AsyncExitStack()

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def facts(self) -> Facts:
        assert self._facts is not None
        return self._facts

    async def open(self) -> None:
        """Ready to make slots after this, or an exception that says why not."""
        async with self._lock:
            if self._facts is not None:
                return
            try:
                self._client = await self._connect()
                self._facts = await self._probe()
            except BaseException:
                await self._close()
                raise

    async def close(self) -> None:
        """Ends the session, which frees its slots, and a toolringd of our own."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        self._client = self._facts = None
        cleanup, self._cleanup = self._cleanup, AsyncExitStack()
        await cleanup.aclose()

    async def _connect(self) -> Client:
        name = self.config.name or os.environ.get("TOOLRING_NAME")
        if name:
            return await self._connect_to(name)
        try:
            return await self._connect_to(DEFAULT, open_timeout=LOOK_TIMEOUT_S)
        except toolring.Unavailable as e:
            logger.info("starting a toolringd, as the default one does not answer: %s", e)
        c = self.config
        daemon = await self._cleanup.enter_async_context(
            toolring.start(network=c.network, memory=c.memory, pids=c.pids, disk=c.disk))
        self.is_private = True
        return await self._connect_to(daemon.name)

    async def _connect_to(self, name: str, **options: Any) -> Client:
        client = toolring.connect(name, label=LABEL, **options)
        await self._cleanup.enter_async_context(client)
        self.name = name
        return client

    async def _probe(self) -> Facts:
        """A slot as samples will get them, so that what is wrong with those shows before them."""
        async with self.client.trajectory(f"inspect-probe-{uuid.uuid4().hex}",
                                          spec=self.config.spec()) as t:
            r = await t.exec(["/bin/sh", "-c", _PROBE])
            if not r:
                raise toolring.ToolringError(f"slots cannot run commands: {r.error}", r)
            uid, user, has_timeout = r.stdout.decode().split()
            return Facts(frozenset((uid, user)), has_timeout == "yes")

    async def slot(self, task_name: str, sample: Any) -> Slot:
        """A slot for a sample. Its id is what toolring's status and commands know it by."""
        words = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_"
                        for c in f"{task_name[:40]}-{str(sample)[:40]}")
        trajectory = self.client.trajectory(f"inspect-{words}-{uuid.uuid4().hex[:16]}")
        try:
            r = await trajectory.acquire(self.config.spec())
            if not r:
                raise toolring.ToolringError(f"no slot: {r.error}", r)
        except BaseException:
            # One that was cancelled may have been given to us all the same.
            with anyio.CancelScope(shield=True), suppress(toolring.ToolringError):
                await trajectory.release()
            raise
        return Slot(trajectory)


_hosts: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Config, Host]] = WeakKeyDictionary()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("the toolring sandbox runs under asyncio, inspect_ai's default, and not "
                           "under trio") from None


def find(config: Config) -> Host:
    """The host of the running loop for a configuration, made if there is none."""
    hosts = _hosts.setdefault(_running_loop(), {})
    # Another provider's model, which need not even be hashable.
    if isinstance(config, BaseModel) and not isinstance(config, ToolringSandboxConfig):
        read_config(config)
    if config not in hosts:
        hosts[config] = Host(read_config(config))
    return hosts[config]


async def join(config: Config, *, task: bool = False) -> Host:
    """For a task or a sample: an open host, to be left again unless this fails."""
    host = find(config)
    _count(host, task, 1)
    try:
        await host.open()
    except BaseException:
        await leave(config, host, task=task)
        raise
    return host


async def leave(config: Config, host: Host, *, task: bool = False) -> None:
    """The last task closes it, with what samples may have left; without tasks, the last sample."""
    _count(host, task, -1)
    if host.n_tasks > 0 or (host.n_samples > 0 and not task):
        return
    hosts = _hosts.get(_running_loop(), {})
    if hosts.get(config) is host:
        del hosts[config]
    await host.close()


def _count(host: Host, task: bool, n: int) -> None:
    if task:
        host.n_tasks += n
    else:
        host.n_samples += n
