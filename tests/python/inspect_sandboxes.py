# SPDX-License-Identifier: Apache-2.0
"""What the tests of the inspect_ai provider share. Without inspect_ai, importing it skips them."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

import toolring
from private import MUST_WORK

if importlib.util.find_spec("inspect_ai") is None:
    if MUST_WORK:
        pytest.fail("cannot be tested: there is no inspect_ai here", pytrace=False)
    pytest.skip("there is no inspect_ai here", allow_module_level=True)

from toolring.inspect_provider import (  # noqa: E402
    ToolringSandboxConfig,
    ToolringSandboxEnvironment,
    _host,
)

Sandbox = ToolringSandboxEnvironment


@asynccontextmanager
async def sandbox(config: ToolringSandboxConfig | str | None) -> AsyncIterator[Sandbox]:
    """One sample's, in a task of its own."""
    await Sandbox.task_init("startup", config)
    try:
        environments = await Sandbox.sample_init("test", config, {"__sample_id__": "1"})
        try:
            yield environments["default"].as_type(Sandbox)
        finally:
            await Sandbox.sample_cleanup("test", config, environments, False)
    finally:
        await Sandbox.task_cleanup("shutdown", config, True)


def in_sandbox(where: toolring.Daemon | ToolringSandboxConfig | None,
               test: Callable[[Sandbox], Awaitable[None]]) -> None:
    config = ToolringSandboxConfig(name=where.name) if isinstance(where, toolring.Daemon) else where

    async def body() -> None:
        async with sandbox(config) as s:
            await test(s)
        assert not any(_host._hosts.values()), "a host was left open"

    asyncio.run(body())
