# SPDX-License-Identifier: Apache-2.0
"""
What is written about the package is true: each example of its README runs as it stands there; the
first one, which the README of the whole project has too, prints what it should; and the rollout
loop plays all its trajectories, with a toolringd that runs and with one of its own, does not score
what the infrastructure did, shows its progress, and ends well when it is interrupted.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

import toolring

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / "bindings" / "python"
EXAMPLES = PYTHON / "examples"
SPDX = "# SPDX-License-Identifier: Apache-2.0\n"
MARK = "TOOLRING_TEST_MARK"  # by which processes are known, in their environment
FAULTS = {"unavailable", "not_started", "unknown", "cancelled"}


def blocks(path: pathlib.Path) -> list[str]:
    """The Python examples of a text, but for those that it says are not to be run."""
    found = re.findall(r"(<!-- not run -->\n)?^```python\n(.*?)^```$", path.read_text("utf-8"),
                       re.M | re.S)
    return [code for not_run, code in found if not not_run]


def environment(**more: str) -> dict[str, str]:
    """Of a program that finds no toolringd unless more names one."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TOOLRING_N")}
    return {**env, "TOOLRING_NAME": "nobody-runs-this", **more}


def processes(mark: str) -> list[int]:
    """Those that have the mark, by /proc."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def assert_none_left(mark: str) -> None:
    until = time.monotonic() + 30
    while left := processes(mark):
        assert time.monotonic() < until, f"processes {left} are left"
        time.sleep(0.05)


@pytest.fixture
def can_have_slots(local: Any) -> None:
    """Skips what starts a toolringd of its own where none can be had."""


# ---- the first example ---------------------------------------------------------------------------

def test_the_first_example_is_the_same_everywhere() -> None:
    code = (EXAMPLES / "first.py").read_text("utf-8").removeprefix(SPDX)
    assert code == blocks(PYTHON / "README.md")[0] == blocks(ROOT / "README.md")[0]


def test_the_first_example_runs_as_shown(can_have_slots: None, tmp_path: pathlib.Path) -> None:
    program = tmp_path / "first.py"
    program.write_text(blocks(ROOT / "README.md")[0], "utf-8")
    mark = f"first-{os.getpid()}"
    done = subprocess.run([sys.executable, program], env=environment(**{MARK: mark}), text=True,
                          capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "failed: 3*4*5, exit code 3\n"
    for readme in (PYTHON, ROOT):
        assert f"`{done.stdout.strip()}`" in (readme / "README.md").read_text("utf-8")
    assert_none_left(mark)


# ---- those that follow it ------------------------------------------------------------------------

def named(codes: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("code", codes, ids=[c.split("\n")[0][:40] for c in codes])


FURTHER = blocks(PYTHON / "README.md")[1:]
WITHOUT_LOOP = [code for code in FURTHER if "toolring.sync" in code]
IN_LOOP = [code for code in FURTHER if code not in WITHOUT_LOOP]


@named(IN_LOOP)
async def test_an_example_of_the_readme_runs(code: str, local: Any) -> None:
    async with toolring.connect(local) as client, client.trajectory() as t:
        names = {"asyncio": asyncio, "toolring": toolring, "client": client, "t": t}
        compiled = compile(code, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waits = eval(compiled, names)
        if inspect.iscoroutine(waits):
            await waits


@named(WITHOUT_LOOP)
def test_a_synchronous_example_of_the_readme_runs(can_have_slots: None, code: str) -> None:
    mark = f"sync-{os.getpid()}"
    done = subprocess.run([sys.executable, "-c", "import toolring\n" + code], text=True,
                          timeout=120, capture_output=True, check=False,
                          env=environment(**{MARK: mark}))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "hello\n")
    assert_none_left(mark)


async def test_the_readme_says_what_a_result_looks_like(local: Any) -> None:
    shown = re.search(r"# (Result\(.*), \.\.\.\)", (PYTHON / "README.md").read_text("utf-8"))
    async with toolring.connect(local) as client, client.trajectory() as t:
        assert shown and repr(await t.bash("echo partly; exit 3")).startswith(shown[1])


# ---- the rollout loop ----------------------------------------------------------------------------

def rollouts(*flags: str, env: dict[str, str], **more: Any) -> subprocess.Popen[str]:
    """The program, in a group of its own, as a shell with job control runs it."""
    return subprocess.Popen([sys.executable, EXAMPLES / "rollouts.py", *flags], env=env, text=True,
                            process_group=0, **{"stdout": subprocess.PIPE,
                                                "stderr": subprocess.PIPE, **more})


def assert_sound(said: dict[str, Any], wanted: int) -> None:
    assert said["trajectories"] == wanted == said["scored"] + said["left_out"]
    assert not FAULTS & set(said["verdicts"]), "faults of the infrastructure were scored"
    assert sum(said["verdicts"].values()) >= said["scored"]
    for tool, row in said["latency_ms"].items():
        assert 0 < row["p50"] <= row["p90"] <= row["p99"], tool


def test_rollouts_play_all_their_trajectories_on_one_of_their_own(can_have_slots: None) -> None:
    mark = f"own-{os.getpid()}"
    began = time.monotonic()
    program = rollouts("--json", env=environment(**{MARK: mark}))
    out, progress = program.communicate(timeout=120)
    assert program.returncode == 0, progress
    said = json.loads(out)
    assert_sound(said, 64)
    assert said["left_out"] == 0 and said["faults"] == {}
    assert 0 < said["solved"] <= 64 and -2 < said["reward_mean"] < 1
    # Each kind of doing that the agent is capable of, by the verdict that it deserves.
    assert {"ok", "failed", "timeout", "denied", "invalid"} == set(said["verdicts"])
    assert set(said["latency_ms"]) == {"bash", "bash_stateful", "read_file", "tmux", "write_file"}
    assert progress.splitlines() == [f"{n} of 64 trajectories done" for n in (0, 16, 32, 48, 64)]
    assert time.monotonic() - began < 60
    assert_none_left(mark)


def test_rollouts_use_a_toolringd_that_runs_and_print_a_table(local: Any) -> None:
    program = rollouts("--trajectories", "16", env=environment(TOOLRING_NAME=local.name))
    out, errors = program.communicate(timeout=120)
    assert program.returncode == 0, errors
    assert re.search(r"^verdict +calls +share$", out, re.M)
    assert re.search(r"^ok +\d+ +\d+\.\d%$", out, re.M)
    assert re.search(r"^tool +calls +p50 ms +p90 ms +p99 ms$", out, re.M)
    assert re.search(r"^bash +\d+( +\d+\.\d{3}){3}$", out, re.M)
    assert re.search(r"^16 of 16 trajectories scored, \d+ solved their task; mean reward -?\d", out,
                     re.M)
    assert "faults of the infrastructure: none; trajectories left out: 0" in out


def test_a_toolringd_that_was_named_must_be_there(tmp_path: pathlib.Path) -> None:
    program = rollouts("--name", str(tmp_path / "none.sock"), env=environment())
    out, errors = program.communicate(timeout=120)
    assert program.returncode != 0 and "Unavailable" in errors and not out


def executor_of(keeper: int) -> int:
    """The child of that keeper that is no toolring-slot."""
    children = pathlib.Path(f"/proc/{keeper}/task/{keeper}/children").read_text("utf-8").split()
    executors = [int(pid) for pid in children
                 if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "toolringd"]
    assert len(executors) == 1
    return executors[0]


SCORE = ("scored", "solved", "left_out", "reward_mean", "verdicts")


def test_what_the_infrastructure_did_is_not_scored(local: Any) -> None:
    program = rollouts("--name", local.name, "--json", env=environment())
    undisturbed = json.loads(program.communicate(timeout=120)[0])
    with toolring.start() as daemon:
        program = rollouts("--name", daemon.name, "--json", env=environment())
        assert program.stderr
        for line in program.stderr:  # in the middle of it
            if line.startswith("16 of"):
                break
        os.kill(executor_of(daemon.pid), signal.SIGKILL)
        out, errors = program.communicate(timeout=120)
        assert program.returncode == 0, errors
        said = json.loads(out)
        assert_sound(said, 64)
        assert sum(said["faults"].values()) > 0, "the kill was not noticed"
        assert said["left_out"] == 0, "they should have been played again"
        # The same seed, the same moves, the same rewards.
        assert {name: said[name] for name in SCORE} == {name: undisturbed[name] for name in SCORE}


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of one."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        with contextlib.suppress(OSError):
            os.close(theirs)


def read_until(fd: int, text: str, seconds: float = 60) -> str:
    got, until = b"", time.monotonic() + seconds
    while text.encode() not in got:
        assert select.select([fd], [], [], max(until - time.monotonic(), 0))[0], got
        got += os.read(fd, 4096)
    return got.decode()


def test_progress_on_a_terminal_is_a_bar(local: Any) -> None:
    with terminal() as (ours, theirs):
        program = rollouts("--trajectories", "8", "--name", local.name, "--json",
                           env=environment(), stderr=theirs)
        shown = read_until(ours, "8 of 8 ")
        out, _ = program.communicate(timeout=120)
    assert f"\r[{'.' * 40}] 0 of 8" in shown and f"\r[{'#' * 40}] 8 of 8" in shown
    assert_sound(json.loads(out), 8)


def test_an_interrupt_ends_rollouts_and_all_they_started(can_have_slots: None) -> None:
    mark = f"interrupt-{os.getpid()}"
    # Endless as far as this test goes.
    program = rollouts("--trajectories", "200", "--turns", "1000", "--json",
                       env=environment(**{MARK: mark}))
    assert program.stderr
    assert program.stderr.readline() == "0 of 200 trajectories done\n"
    os.killpg(program.pid, signal.SIGINT)  # what Control and C on its terminal come to
    out, errors = program.communicate(timeout=120)
    assert program.returncode == 130
    assert re.search(r"^stopped after \d+ of 200$", errors, re.M) and "Traceback" not in errors
    said = json.loads(out)
    assert said["trajectories"] == 200 and not FAULTS & set(said["verdicts"])
    assert_none_left(mark)
