# SPDX-License-Identifier: Apache-2.0
"""
toolring for Python: run a model's tool calls in isolated slots, in microseconds.

    async with toolring.connect() as client:
        async with client.trajectory("rollout-7") as t:
            result = await t.bash("echo hello", timeout=5)
            print(result.verdict, result.output)

connect() is for asyncio; toolring.sync.connect() is its synchronous twin; start() runs a toolringd of
your own. What the names mean is said where they are defined: help(toolring.connect).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._client import Client, Trajectory, connect
    from ._daemon import Daemon, start
    from ._errors import (Closed, Forked, InvalidCall, NotStarted, ToolringError, Unavailable,
                          Unknown)
    from ._result import ArtifactResult, Entry, ExecResult, Result, Timing, Verdict
    from ._schemas import schemas, tool_answer, tool_call

    __version__: str

# Where each name is defined. What is not used is not loaded: the pytest plugin comes into every project
# of an environment, and the extension need not.
_HOMES = {
    "Client": "_client", "Trajectory": "_client", "connect": "_client",
    "Daemon": "_daemon", "start": "_daemon",
    "Closed": "_errors", "Forked": "_errors", "InvalidCall": "_errors", "NotStarted": "_errors",
    "ToolringError": "_errors", "Unavailable": "_errors", "Unknown": "_errors",
    "ArtifactResult": "_result", "Entry": "_result", "ExecResult": "_result", "Result": "_result",
    "Timing": "_result", "Verdict": "_result",
    "schemas": "_schemas", "tool_answer": "_schemas", "tool_call": "_schemas",
}

__all__ = [
    "ArtifactResult", "Client", "Closed", "Daemon", "Entry", "ExecResult", "Forked", "InvalidCall",
    "NotStarted", "Result", "Timing", "ToolringError", "Trajectory", "Unavailable", "Unknown",
    "Verdict", "connect", "schemas", "start", "tool_answer", "tool_call",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__version__":
        value = importlib.import_module("._native", __name__).version
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    elif name == "sync":
        return importlib.import_module(".sync", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__", "sync"})
