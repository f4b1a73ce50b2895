# SPDX-License-Identifier: Apache-2.0
"""What both clients are connected with, as the extension's Session takes it."""

from __future__ import annotations

import os
from typing import Any, Protocol

from ._errors import InvalidCall

RESUBMIT = 1  # enum tr_open_flag of toolring/toolring.h
MILLISECONDS_MAX = 2**31 - 1
SPIN_US_MAX = 1_000_000
# What the numbers of the library hold; what the executor allows, it says itself.
COUNTS_MAX = {"calls": 2**32 - 1, "submission_bytes": 2**32 - 1, "completion_bytes": 2**32 - 1,
              "result_bytes_max": 2**63 - 1}


class Named(Protocol):
    """Anything with the name of an instance: a toolring.Daemon is one."""

    @property
    def name(self) -> str: ...


Name = str | os.PathLike[str] | Named | None
"""
Which toolringd: the name of an instance, the path of its socket (what has a slash), or what
toolring.start() returned. None: $TOOLRING_NAME, else "default".
"""


def instance_name(name: Name) -> str:
    """The name or path that Session takes."""
    if name is None:
        return _text("$TOOLRING_NAME", os.environ.get("TOOLRING_NAME", "default"))
    if isinstance(name, os.PathLike):
        # A path that has no slash would be taken for a name.
        path = os.fsdecode(name)
        return _text("name", path if "/" in path else f"./{path}")
    found = name if isinstance(name, str) else getattr(name, "name", None)
    if not isinstance(found, str):
        raise InvalidCall(f"name must be a string, a path or a toolring.Daemon, not {name!r}")
    return _text("name", found)


def _text(option: str, text: str) -> str:
    """As the library can take it."""
    if "\0" in text or not text.isascii() and text != text.encode(errors="replace").decode():
        raise InvalidCall(f"{option} must be text without NUL and surrogates, not {text!r}")
    return text


def _milliseconds(option: str, seconds: float) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise InvalidCall(f"{option} must be a number of seconds, not {seconds!r}")
    return int(min(max(seconds * 1000, 1), MILLISECONDS_MAX))


def _count(option: str, n: int, least: int, most: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not least <= n <= most:
        raise InvalidCall(f"{option} must be a whole number from {least} to {most}, not {n!r}")
    return n


def session_options(*, resubmit: bool, open_timeout: float, reconnect_timeout: float,
                    spin_us: int | None, calls: int | None, submission_bytes: int | None,
                    completion_bytes: int | None, result_bytes_max: int | None,
                    label: str | None) -> dict[str, Any]:
    """connect()'s keywords as Session's; what is None is left to the library."""
    options: dict[str, Any] = {
        "flags": RESUBMIT if resubmit else 0,
        "open_timeout_ms": _milliseconds("open_timeout", open_timeout),
        "reconnect_timeout_ms": _milliseconds("reconnect_timeout", reconnect_timeout),
    }
    counts = {"calls": calls, "submission_bytes": submission_bytes,
              "completion_bytes": completion_bytes, "result_bytes_max": result_bytes_max}
    options |= {name: _count(name, n, 1, COUNTS_MAX[name])
                for name, n in counts.items() if n is not None}
    if spin_us is not None:
        # The library's 0 stands for its default.
        options["spin_us"] = _count("spin_us", spin_us, 0, SPIN_US_MAX) or -1
    if label is not None:
        if not isinstance(label, str):
            raise InvalidCall(f"label must be a string, not {label!r}")
        options["label"] = _text("label", label)
    return options
