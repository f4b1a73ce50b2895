# SPDX-License-Identifier: Apache-2.0
"""The command line of the bench."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from ._parts import PARTS, ROWS
from ._report import Row, as_json, as_table, unpack

OK, FAILED, USAGE, INFRASTRUCTURE = 0, 1, 2, 3

EPILOG = """\
Starts toolringd where it needs one and takes away all that it makes; about six minutes, on a
machine that does nothing else. Exit codes: 0 done; 1 with --check, a target was missed or not
judged; 2 wrong usage; 3 something could not be measured."""


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m toolring.bench", epilog=EPILOG, allow_abbrev=False,
        description="Speed and memory of the Python binding, each against what it is to be "
                    "compared with in the same run.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true",
                        help="exit with 1 if a target is missed or not judged")
    parser.add_argument("--quick", action="store_true",
                        help="a few samples only, to see that it works")
    parser.add_argument("--only", metavar="ROW,...", help="measure these rows")
    asked = parser.parse_args(words)
    asked.rows = set(ROWS)
    if asked.only is not None:
        asked.rows = set(filter(None, asked.only.split(",")))
        unknown = sorted(asked.rows - set(ROWS))
        if unknown or not asked.rows:
            there = "\n  ".join(ROWS)
            parser.error(f"--only: no row {', '.join(unknown) or 'named'}; there are:\n  {there}")
    return asked


def _measure(number: int, wanted: Sequence[str], quick: bool) -> tuple[list[Row], bool]:
    """The rows of one part, and whether all went well; why not, the part has said."""
    words = [sys.executable, "-m", f"{__package__}._part", str(os.getpid()), str(number),
             str(int(quick)), *wanted]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    return [unpack(line) for line in done.stdout.splitlines()], done.returncode == 0


def _run(asked: argparse.Namespace) -> int:
    rows: list[Row] = []
    status = OK
    for number, part in enumerate(PARTS):
        wanted = [row for row in part.rows if row in asked.rows]
        if not wanted:
            continue
        print(f"measuring {wanted[0]} ...", file=sys.stderr, flush=True)
        more, well = _measure(number, wanted, asked.quick)
        rows += more
        if not well:
            print(f"{wanted[0]}: could not be measured", file=sys.stderr)
            status = INFRASTRUCTURE
    print(as_json(rows) if asked.json else as_table(rows), flush=True)
    if status != OK or not asked.check:
        return status
    judged = {row for part in PARTS for row in part.judged if row in asked.rows}
    met = {row.name for row in rows if row.met}
    for name in sorted(judged - {row.name for row in rows if row.met is not None}):
        print(f"{name}: not judged", file=sys.stderr)
    return OK if judged <= met else FAILED


def main() -> int:
    asked = _arguments(sys.argv[1:])
    try:
        return _run(asked)
    except KeyboardInterrupt:
        return 128 + 2


if __name__ == "__main__":
    sys.exit(main())
