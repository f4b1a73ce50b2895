# SPDX-License-Identifier: Apache-2.0
"""
What is raised: faults of the infrastructure, and calls that make no sense. What the model did is
never raised: that is a result.
"""

from __future__ import annotations

from ._result import Result, Verdict


class ToolringError(Exception):
    """
    Something that is no answer of a tool. result is the call's, with verdict, metadata and timing;
    None where nothing came back. errno is the system's, where a session could not be opened.
    """

    __module__ = "toolring"

    result: Result | None
    errno: int | None = None  # of the system call that failed, where opening a session did

    def __init__(self, message: str = "", result: Result | None = None) -> None:
        # args is the message alone; what pickles is that and the attributes.
        super().__init__(message)
        self.result = result


class Unavailable(ToolringError):
    """No slot in time, too much load, or no toolringd: try again later."""

    __module__ = "toolring"


class NotStarted(ToolringError):
    """The executor or the slot died before the call began: it is safe to send again."""

    __module__ = "toolring"


class Unknown(ToolringError):
    """The executor or the slot died, and the call may have run."""

    __module__ = "toolring"


class InvalidCall(ToolringError, ValueError):
    """The call makes no sense; the message names the field and what is allowed."""

    __module__ = "toolring"


class Closed(ToolringError):
    """The client was closed, or is not connected yet."""

    __module__ = "toolring"


class Forked(ToolringError):
    """
    A client was used in another process than the one that connected it. An asynchronous client has
    to be connected anew there; toolring.sync does it by itself.
    """

    __module__ = "toolring"


# What a verdict is raised as; any other is a value.
BY_VERDICT: dict[str, type[ToolringError]] = {
    "unavailable": Unavailable, "not_started": NotStarted, "unknown": Unknown,
    "invalid": InvalidCall}


def failed(verdict: Verdict, message: str) -> ToolringError:
    """What a verdict is raised as, for a call that has no answer but ours."""
    return BY_VERDICT[verdict](message, Result(verdict=verdict, error=message))
