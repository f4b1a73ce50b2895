# SPDX-License-Identifier: Apache-2.0
"""
What the bench prints, as `toolring bench` does: rows of a name, a value and its unit, what it is
compared with, and a target. Where there is a baseline the target is on the ratio, else on the value
itself.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from . import _machine

Unit = Literal["ns", "bytes", "per_second", "count"]
Sign = Literal["<=", "<", ">="]

PYTHON = f"{platform.python_implementation()} {platform.python_version()}"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. sign and limit: its target; None: it has none."""

    name: str
    value: float
    unit: Unit
    baseline: str | None = None
    baseline_value: float | None = None  # None with a baseline: not to be had, as baseline says
    sign: Sign | None = None
    limit: float = 0

    @property
    def ratio(self) -> float | None:
        if self.baseline_value is None:
            return None
        return self.value / self.baseline_value if self.baseline_value else math.inf

    @property
    def met(self) -> bool | None:
        """None: there is no target."""
        judged = self.value if self.baseline is None else self.ratio
        if self.sign is None or judged is None:
            return None
        if self.sign == ">=":
            return judged >= self.limit
        return judged < self.limit if self.sign == "<" else judged <= self.limit

    @property
    def target(self) -> str | None:
        return None if self.sign is None else f"{self.sign} {_plain(self.limit)}"

    def as_json(self) -> dict[str, Any]:
        """As `toolring bench --json` shows it."""
        return {"name": self.name, "value": _number(self.value), "unit": self.unit,
                "baseline": self.baseline, "baseline_value": _number(self.baseline_value),
                "ratio": _number(self.ratio), "target": self.target, "met": self.met}

    def pack(self) -> str:
        """For the process that asked for it: unpack() makes the row of it again."""
        return json.dumps(asdict(self))


def unpack(text: str) -> Row:
    """A row that pack() has made a line of."""
    return Row(**json.loads(text))


def _number(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == math.floor(value) else float(f"{value:.6g}")


def _plain(value: float) -> str:
    return str(int(value)) if value == math.floor(value) else f"{value:.4g}"


def _scaled(value: float, step: float, units: Sequence[str]) -> str:
    """Three digits and a unit."""
    at = 0
    while at + 1 < len(units) and abs(value) >= 0.9995 * step:
        value /= step
        at += 1
    size = abs(value)
    digits = 0 if size >= 99.95 or value == math.floor(value) else 1 if size >= 9.995 else 2
    return f"{value:.{digits}f}{units[at]}"


def quantity(value: float, unit: Unit) -> str:
    """For people: "812 ns", "1.50 MiB", "41.2 k/s"."""
    if unit == "ns":
        return _scaled(value, 1000, (" ns", " us", " ms", " s"))
    if unit == "bytes":
        return _scaled(value, 1024, (" B", " KiB", " MiB", " GiB"))
    if unit == "per_second":
        return _scaled(value, 1000, ("", " k", " M", " G")) + "/s"
    return _plain(value)


def as_json(rows: Sequence[Row]) -> str:
    """The whole report as one JSON object."""
    machine = {"cpu": _machine.cpu_model(), "cores": len(_machine.CORES),
               "kernel": platform.release(), "arch": platform.machine(), "python": PYTHON}
    report = {"bench": "python", "machine": machine, "rows": [row.as_json() for row in rows]}
    return json.dumps(report, indent=2)


def as_table(rows: Sequence[Row]) -> str:
    """The same for people."""
    lines = [f"bench python on {_machine.cpu_model()}, {len(_machine.CORES)} cores, Linux "
             f"{platform.release()}, {PYTHON}", "",
             _line("row", "value", "baseline", "its value", "ratio", "target", "")]
    for row in rows:
        limit = _plain(row.limit) if row.baseline else quantity(row.limit, row.unit)
        there = row.baseline_value is not None
        lines.append(_line(row.name, quantity(row.value, row.unit), row.baseline or "",
                           quantity(row.baseline_value or 0, row.unit) if there else "",
                           f"{row.ratio:.2f}" if there else "",
                           f"{row.sign} {limit}" if row.sign else "",
                           "" if row.met is None else "met" if row.met else "MISSED"))
    return "\n".join(lines)


def _line(name: str, value: str, baseline: str, its_value: str, ratio: str, target: str,
          met: str) -> str:
    line = f"{name:<30} {value:>12}  {baseline:<33} {its_value:>12} {ratio:>7}  {target:<12} {met}"
    return line.rstrip()
