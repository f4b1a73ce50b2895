# SPDX-License-Identifier: Apache-2.0
"""
The process of one part: python -m toolring.bench._part PARENT NUMBER QUICK ROW... It prints each
row as a line, and dies with the process that wants it.
"""

from __future__ import annotations

import importlib
import resource
import sys

from . import _machine
from ._bench import Bench
from ._parts import PARTS


def main() -> int:
    parent, number, quick, *rows = sys.argv[1:]
    _machine.die_with_parent(int(parent))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # slots take descriptors
    part = PARTS[int(number)]
    bench = Bench(frozenset(rows), quick == "1", lambda row: print(row.pack(), flush=True))
    getattr(importlib.import_module(f"{__package__}.{part.module}"), part.measure)(bench)
    return 0


sys.exit(main())
