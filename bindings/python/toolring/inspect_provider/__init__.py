# SPDX-License-Identifier: Apache-2.0
"""
Slots as sandboxes of inspect_ai: sandbox="toolring", or ("toolring", config).

inspect_ai imports this by its entry point, which registers the provider. Nobody else needs to, but
for ToolringSandboxConfig.
"""

from __future__ import annotations

from ._config import ToolringSandboxConfig
from ._environment import SandboxLost, ToolringSandboxEnvironment

__all__ = ["SandboxLost", "ToolringSandboxConfig", "ToolringSandboxEnvironment"]
