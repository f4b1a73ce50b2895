# SPDX-License-Identifier: Apache-2.0
"""
The programs inside this package: toolringd, the toolring command, and what they look for beside them. The
commands of these names in an environment's bin become them, so signals, exit status and /proc show
the program and no Python around it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")


def path(name: str) -> str:
    """Where a program of this package lies: "toolringd", "toolring"."""
    found = os.path.join(FOLDER, name)
    if not os.access(found, os.X_OK):
        raise FileNotFoundError(f"{found} is missing: this package was not built as a whole "
                                "(pip install ./bindings/python does that)")
    return found


def _become(name: str) -> NoReturn:
    program = path(name)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, which would be inherited
        signal.signal(number, signal.SIG_DFL)
    os.execv(program, [program, *sys.argv[1:]])


def toolring() -> NoReturn:
    """The command toolring."""
    _become("toolring")


def toolringd() -> NoReturn:
    """The command toolringd."""
    _become("toolringd")
