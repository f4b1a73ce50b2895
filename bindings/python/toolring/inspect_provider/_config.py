# SPDX-License-Identifier: Apache-2.0
"""What a task may say of its sandboxes, in Python or in a file beside it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from inspect_ai.util import SandboxEnvironmentConfigType
from pydantic import BaseModel, AfterValidator, ConfigDict, Field

_yaml: Any = importlib.import_module("yaml")  # inspect_ai's; it has no types

FILES = ["toolring.yaml", "toolring.yml", "toolring.json"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_WEEK_S = 7 * 24 * 3600.0


def _bytes(value: int | str) -> int:
    """Bytes may be said with K, M or G, as toolringd takes them."""
    found = re.fullmatch(r"(\d+)([KMG]?)", str(value))
    if not found or int(found[1]) == 0:
        raise ValueError(f"must be a number of bytes, K, M or G may stand behind it, not {value!r}")
    return int(found[1]) * _UNITS[found[2]]


Bytes = Annotated[int | str, AfterValidator(_bytes)]


class ToolringSandboxConfig(BaseModel):
    """How the slots of a task are made. What is not given is as toolringd gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    """Name of the toolringd to use, or the path of its socket."""
    network: Literal["none", "host"] | None = None
    """What slots may reach. A running toolringd grants "host" only if its operator does."""
    memory: Bytes | None = None
    """Memory of a slot, without what its files take."""
    pids: int | None = Field(default=None, gt=0)
    """Processes and threads in a slot."""
    disk: Bytes | None = None
    """What the files in a slot's workspace may take; /tmp holds half of that."""
    idle_ttl_s: float = Field(default=_WEEK_S, gt=0)
    """
    How long a sample may go without a call before its slot is taken away, with its files. Long,
    since a model's answer may take its time; that the evaluation has died is seen at once.
    """

    def spec(self) -> dict[str, Any]:
        """The same as the spec of an ACQUIRE."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


def read_config(config: SandboxEnvironmentConfigType | None) -> ToolringSandboxConfig:
    """What stands behind the "toolring" of a task: nothing, a model, or a file's path."""
    if config is None:
        return ToolringSandboxConfig()
    if isinstance(config, ToolringSandboxConfig):
        return config
    if isinstance(config, BaseModel):
        raise TypeError("the toolring sandbox is configured with a ToolringSandboxConfig, not a "
                        f"{type(config).__name__}")
    members = _yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    if not isinstance(members, dict | None):
        raise TypeError(f"{config} must hold a map, such as 'network: none'")
    return ToolringSandboxConfig(**(members or {}))
