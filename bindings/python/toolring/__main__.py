# SPDX-License-Identifier: Apache-2.0
"""python -m toolring: which version this is, and where its programs lie."""

from __future__ import annotations

from . import __version__, _programs

print("toolring", __version__)
for name in ("toolring", "toolringd"):
    print(f"{name:10}{_programs.path(name)}")
