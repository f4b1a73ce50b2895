# SPDX-License-Identifier: Apache-2.0
"""The extension, told which classes it is to make instances of. Nobody else imports it."""

from __future__ import annotations

from ._errors import BY_VERDICT, Closed, Forked
from ._result import Result, Timing
from ._toolring import Session, register, version

__all__ = ["Session", "version"]

register(Result, Timing, BY_VERDICT, Forked, Closed)
