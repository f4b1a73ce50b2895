# SPDX-License-Identifier: Apache-2.0
"""
python -m toolring.bench, at a few samples each: what it prints has the promised form, its books see
a leak, and it leaves nothing behind, also when interrupted. Says nothing about speed: no value is
judged.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "bench"))

import toolring  # noqa: E402
from private import having, wait_until  # noqa: E402
from report_form import check_form  # noqa: E402
from toolring.bench import __main__ as command  # noqa: E402
from toolring.bench import _ledger, _parts, _report  # noqa: E402

# Row -> unit, has a baseline, has a target.
FAKE_ROWS = {
    "ping_over_c": ("ns", False, True),
    "ping_asleep_p50": ("ns", True, False),
    "ping_asleep_uvloop_p50": ("ns", True, False),
    "ping_unspun_p50": ("ns", True, False),
    "ping_held_p50": ("ns", True, False),
    "ping_asleep_sync_p50": ("ns", True, False),
    "ping_awake_p50": ("ns", True, False),
    "ping_awake_uvloop_p50": ("ns", True, False),
    "ping_awake_sync_p50": ("ns", True, False),
    "bytes_per_waiting_call": ("bytes", False, True),
    "executor_per_waiting_call": ("bytes", False, False),
    "bytes_per_call_in_flight": ("bytes", False, False),
    "bytes_per_waiting_call_traced": ("bytes", False, False),
    "leak_per_million": ("count", False, True),
    "leak_bytes_per_million": ("bytes", False, True),
    "leak_blocks_per_million": ("count", False, False),
    "leak_private_per_million": ("bytes", False, False),
    "leak_executor_per_million": ("bytes", False, False),
    "leak_sync_per_million": ("count", False, False),
    "leak_sync_bytes_per_million": ("bytes", False, False),
}
LOCAL_ROWS = {
    "read_file_rate_1000": ("per_second", False, True),
    "read_file_rate_gather": ("per_second", False, False),
    "read_file_rate_uvloop": ("per_second", False, False),
    "read_file_rate_sync": ("per_second", False, False),
    "read_file_cpu": ("ns", False, False),
    "read_file_rate_vs_c": ("per_second", True, False),
    "vs_subprocess": ("ns", True, True),
    "vs_subprocess_uvloop": ("ns", True, False),
    "vs_subprocess_sync": ("ns", True, False),
}
# Not to be had everywhere: without uvloop; where the C library is not glibc.
OPTIONAL = {row for row in {**FAKE_ROWS, **LOCAL_ROWS} if "uvloop" in row} | \
    {"leak_bytes_per_million"}


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory,
           monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Temporary files of the bench and what it starts go here; the name is short, for sockets."""
    path = tmp_path_factory.mktemp("b")
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    r = subprocess.run([sys.executable, "-m", "toolring.bench", *arguments], capture_output=True,
                       text=True, timeout=300, check=False)
    assert r.returncode == status, (arguments, r.returncode, r.stdout, r.stderr)
    return r


def check_rows(report: dict[str, Any], expected: dict[str, tuple[str, bool, bool]]) -> None:
    check_form(report, "python")
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) <= set(expected) and set(expected) - set(rows) <= OPTIONAL, rows
    for name, row in rows.items():
        unit, baseline, target = expected[name]
        assert row["unit"] == unit, row
        assert (row["baseline"] is not None) == baseline, row
        assert (row["target"] is not None) == target, row


def test_table_of_parts() -> None:
    """The rows that this file knows are those that there are."""
    assert set(_parts.ROWS) == set(FAKE_ROWS) | set(LOCAL_ROWS)


def test_rows_without_slots(folder: pathlib.Path) -> None:
    """All rows over the fake backend are there, of the right units."""
    r = run("--quick", "--json", "--only", ",".join(FAKE_ROWS))
    check_rows(json.loads(r.stdout), FAKE_ROWS)
    assert "measuring ping_over_c" in r.stderr, r.stderr
    assert os.listdir(folder) == []


def test_rows_with_slots(folder: pathlib.Path, local: toolring.Daemon) -> None:
    """And those over slots of this machine, where it has any (which local finds out)."""
    r = run("--quick", "--json", "--only", ",".join(LOCAL_ROWS))
    check_rows(json.loads(r.stdout), LOCAL_ROWS)
    assert os.listdir(folder) == []


def test_table(folder: pathlib.Path) -> None:
    """Without --json a table; --only measures what it names."""
    table = run("--quick", "--only", "bytes_per_waiting_call").stdout
    assert "bytes_per_waiting_call" in table and "<= 2 KiB" in table, table
    assert "executor_per_waiting_call" not in table and "ping" not in table, table


def test_usage() -> None:
    """A row that is none is named, and those that are."""
    r = run("--only", "ping_over_c,ping_over_d", status=2)
    assert "ping_over_d" in r.stderr and "leak_per_million" in r.stderr, r.stderr


def test_cannot_be_measured(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that fails is an infrastructure error, in words; the report is printed even so."""
    monkeypatch.setenv("TOOLRING_LIMIT_SESSIONS_MAX", "none")
    r = run("--quick", "--json", "--only", "bytes_per_waiting_call", status=3)
    assert "bytes_per_waiting_call: could not be measured" in r.stderr, r.stderr
    assert json.loads(r.stdout)["rows"] == []


@pytest.mark.parametrize("rows, check, status", [
    ([_report.Row("vs_subprocess", 1, "ns", "other", 2, "<=", 0.6)], True, 0),
    ([_report.Row("vs_subprocess", 3, "ns", "other", 2, "<=", 0.6)], True, 1),
    ([_report.Row("vs_subprocess", 3, "ns", "other", 2, "<=", 0.6)], False, 0),
    ([], True, 1)])
def test_check(rows: list[_report.Row], check: bool, status: int, monkeypatch: pytest.MonkeyPatch,
               capsys: pytest.CaptureFixture[str]) -> None:
    """With --check a missed target is exit code 1, and so is one that was not judged."""
    monkeypatch.setattr(command, "_measure", lambda *_: (rows, True))
    words = ["bench", "--json", "--only", "vs_subprocess"] + ["--check"] * check
    monkeypatch.setattr(sys, "argv", words)
    assert command.main() == status
    check_form(json.loads(capsys.readouterr().out), "python")


@pytest.mark.parametrize("sign, limit, met", [
    ("<=", 2, True), ("<", 2, False), (">=", 2, True), ("<=", 1.5, False), (">=", 2.5, False),
    (None, 0, None)])
@pytest.mark.parametrize("value, baseline", [(2, None), (6, 3)])
def test_judgement(value: float, baseline: float | None, sign: _report.Sign | None, limit: float,
                   met: bool | None) -> None:
    """A target is on the value, or on its ratio to the baseline."""
    row = _report.Row("x", value, "ns", "other" if baseline else None, baseline, sign, limit)
    assert row.met is met
    assert _report.unpack(row.pack()) == row


@pytest.mark.parametrize("value, unit, text", [
    (812, "ns", "812 ns"), (41_234, "ns", "41.2 us"), (1_500_000, "ns", "1.50 ms"),
    (999_600, "ns", "1.00 ms"), (2048, "bytes", "2 KiB"), (41_234, "per_second", "41.2 k/s"),
    (3, "count", "3")])
def test_quantities(value: float, unit: _report.Unit, text: str) -> None:
    """Numbers for people are those of the C bench."""
    assert _report.quantity(value, unit) == text


# ---- the books ---------------------------------------------------------------------------------

# What leaks one thing in 1,000 calls, in a process of its own: objects that the garbage collector
# knows and such as it does not, memory of C's, a descriptor.
LEAKS = {
    "nothing": "[]",
    "list": "kept.append([])",
    "object": "kept.append(object())",
    "text": "kept.append(str(len(kept)) + 'x' * 10)",
    "malloc": "kept.append(libc.malloc(16))",
    "descriptor": "kept.append(os.open('/dev/null', os.O_RDONLY))",
}
BOOKS = """
import ctypes, os
from toolring.bench._ledger import Ledger
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
kept = []
ledger = Ledger(8)
for i in range(8):
    ledger.enter(i * 100_000)
    for _ in range(100):
        LEAK
print(ledger.things_per_million(), ledger.bytes_per_million(), ledger.per_million("descriptors"))
"""


@pytest.mark.parametrize("name", LEAKS)
def test_books(name: str) -> None:
    """One thing in 1,000 calls shows in the books, whatever it is, and nothing does not."""
    if name == "malloc" and not _ledger.KNOWS_HEAP:
        pytest.skip("this C library does not tell what is allocated")
    said = subprocess.run([sys.executable, "-c", BOOKS.replace("LEAK", LEAKS[name])], check=True,
                          capture_output=True, text=True, timeout=60).stdout
    things, heap, descriptors = map(float, said.split())
    if name == "nothing":
        assert (things, heap, descriptors) == (0, 0, 0)
    elif name == "malloc":
        assert heap >= 16_000
    else:
        assert things >= 900
        assert descriptors == (1000 if name == "descriptor" else 0)


# ---- interrupted -------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted(folder: pathlib.Path, number: int) -> None:
    """Interrupted in the middle, in whatever way: toolringd goes too, with all that was made."""
    words = [sys.executable, "-m", "toolring.bench", "--only", "ping_awake_p50"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        assert p.stderr is not None
        p.stderr.readline()  # "measuring ping_awake_p50 ..."
        assert "turn 1" in p.stderr.readline()
        p.send_signal(number)
        p.wait(timeout=60)
        p.stderr.read()  # until the last that holds it is gone
    wait_until(lambda: not having(f"TMPDIR={folder}"), "its processes are gone")
    wait_until(lambda: not os.listdir(folder), "its folders are gone")
