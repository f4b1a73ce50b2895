# SPDX-License-Identifier: Apache-2.0
"""What a part has: its options, a toolringd, the C client's figures, a place for its rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import contextmanager
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import toolring
from toolring import _programs

from . import _machine
from ._report import Row


@dataclass(frozen=True, slots=True)
class Bench:
    """A part's view of the run."""

    rows: Collection[str]  # that are wanted
    quick: bool
    emit: Callable[[Row], None]

    def wants(self, *names: str) -> bool:
        """Any of them?"""
        return any(name in self.rows for name in names)

    def add(self, row: Row) -> None:
        if row.name in self.rows:
            self.emit(row)

    def leave_out(self, name: str, why: str) -> None:
        """A row that cannot be had here; those with a target then count as not judged."""
        if name in self.rows:
            print(f"{name}: left out, {why}", file=sys.stderr)

    def say(self, what: str) -> None:
        print(f"  {what}", file=sys.stderr, flush=True)


@contextmanager
def daemon(backend: str, *flags: str, core: int | None = None) -> Iterator[toolring.Daemon]:
    """A toolringd of our own; core: the only one that it may run on."""
    if core is not None:
        _machine.pin(core)  # it inherits that
    try:
        started = toolring.start(backend=backend, options=flags)
    finally:
        _machine.pin()
    with started:
        yield started


def of_c(bench: Bench, kind: str, *rows: str) -> dict[str, float]:
    """What the C client's own bench, of the same package, measures for these rows just now."""
    us = os.getpid()

    def begin() -> None:
        _machine.die_with_parent(us, signal.SIGTERM)
        _machine.pin()

    words = [_programs.path("toolring"), "bench", kind, "--json", "--only", ",".join(rows)]
    if bench.quick:
        words.append("--quick")
    said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=begin, check=False)
    if said.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: exit code {said.returncode}: {said.stderr.strip()}")
    report: dict[str, Any] = json.loads(said.stdout)
    return {row["name"]: float(row["value"]) for row in report["rows"]}
