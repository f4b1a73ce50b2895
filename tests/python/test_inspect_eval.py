# SPDX-License-Identifier: Apache-2.0
"""
Evaluations of inspect_ai in sandboxes of toolring, from the command line and with its mock model;
what becomes of one whose toolringd dies; and that no process or slot is left behind.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest

import toolring
from inspect_sandboxes import Sandbox, in_sandbox
from private import Private, cannot, having, wait_until
from toolring import _programs
from toolring.inspect_provider import SandboxLost

from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog

import inspect_task

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent / "bindings/python/pyproject.toml"


def status_of(name: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        async with toolring.connect(name) as client:
            return await client.status()

    return asyncio.run(ask())


# ---- from the command line -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PYTHONPATH that stands in for an installation, where there is none."""
    declared = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["inspect_ai"]
    assert declared == {"toolring": "toolring.inspect_provider"}
    folder = tmp_path_factory.mktemp("installed")
    if not list(importlib.metadata.entry_points(group="inspect_ai", name="toolring")):
        info = folder / "toolring-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toolring\nVersion: 0\n")
        (info / "entry_points.txt").write_text(f"[inspect_ai]\ntoolring = {declared['toolring']}\n")
    rest = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(folder), str(Path(toolring.__file__).parent.parent),
                            *([rest] if rest else [])])


def inspect_command(installed: str, where: Path, *arguments: str,
                    name: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs inspect_ai's program, and sees that no process of it is left."""
    mark = uuid.uuid4().hex
    env = {k: v for k, v in os.environ.items() if k != "TOOLRING_NAME"}
    env |= {f"XDG_{kind}": str(where) for kind in ("RUNTIME_DIR", "DATA_HOME", "CACHE_HOME")}
    env |= {"PYTHONPATH": installed, "TOOLRING_TEST_MARK": mark}
    env |= {"TOOLRING_NAME": name} if name else {}
    done = subprocess.run([sys.executable, "-m", "inspect_ai", *arguments], env=env, cwd=where,
                          text=True, capture_output=True, timeout=300)
    wait_until(lambda: not having(f"TOOLRING_TEST_MARK={mark}"), "no process is left", 30)
    return done


def evaluate(installed: str, where: Path, task: str, config: str = "") -> dict[str, Any]:
    """The log of an evaluation, with this in a toolring.yaml beside the task."""
    file = shutil.copy(HERE / "inspect_task.py", where)
    if config:
        (where / "toolring.yaml").write_text(config)
    done = inspect_command(installed, where, "eval", f"{file}@{task}", "--display", "plain",
                           "--log-format", "json", "--log-dir", str(where / "logs"))
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = (where / "logs").glob("*.json")
    log: dict[str, Any] = json.loads(file.read_text())
    assert log["status"] == "success", log["error"]
    return log


def accuracy_of(log: dict[str, Any]) -> float:
    value: float = log["results"]["scores"][0]["metrics"]["accuracy"]["value"]
    return value


def test_eval(installed: str, tmp_path: Path) -> None:
    """
    "inspect eval" of a task with sandbox="toolring": the model's tool calls run in sandboxes with
    the samples' files and setup, the scorer reads what they left; toolringd comes and goes with it.
    """
    log = evaluate(installed, tmp_path, "count")
    assert accuracy_of(log) == 1
    assert len(log["samples"]) == len(inspect_task.NUMBERS)
    for sample in log["samples"]:
        said = [m for m in sample["messages"] if m["role"] == "tool"]
        assert len(said) == len(inspect_task.COUNT)
        assert not any(m.get("error") for m in said)
        assert "heard" in said[2]["content"]


@pytest.mark.slow
def test_eval_with_a_running_one(local: toolring.Daemon, installed: str,
                                 tmp_path: Path) -> None:
    """
    The same with a toolringd that is there, named in a file beside the task: it has run the calls,
    and has all its slots back afterwards.
    """
    made = status_of(local.name)["backend"]["made_total"]
    used = status_of(local.name)["slots"]["used"]  # by other tests
    assert accuracy_of(evaluate(installed, tmp_path, "count", f"name: {local.name}")) == 1
    assert status_of(local.name)["backend"]["made_total"] >= made + len(inspect_task.NUMBERS)
    wait_until(lambda: status_of(local.name)["slots"]["used"] <= used, "slots are given back")


@pytest.mark.slow
def test_eval_of_injected_tools(installed: str, tmp_path: Path) -> None:
    """
    What inspect_ai does by a server of its own in the sandbox works: exec_remote(), also while
    other commands run, and bash_session().
    """
    assert accuracy_of(evaluate(installed, tmp_path, "session")) == 1


@pytest.mark.slow
def test_cleanup_command(local: toolring.Daemon, installed: str, tmp_path: Path) -> None:
    """"inspect sandbox cleanup toolring" has nothing to do, or releases one slot by its id."""
    done = inspect_command(installed, tmp_path, "sandbox", "cleanup", "toolring")
    assert done.returncode == 0 and "Nothing to clean up" in done.stdout, done.stderr

    async def test(s: Sandbox) -> None:
        id = s._slot.trajectory.id
        done = inspect_command(installed, tmp_path, "sandbox", "cleanup", "toolring", id,
                               name=local.name)
        assert done.returncode == 0 and id in done.stdout, done.stderr
        with pytest.raises(SandboxLost):
            await s.exec(["true"])

    in_sandbox(local, test)


def test_connection(local: toolring.Daemon) -> None:
    """The command that people connect with runs their lines in the sandbox."""
    program = _programs.path("toolring")
    if subprocess.run([program, "--version"], capture_output=True).returncode != 0:
        cannot(f"{program} does not run")

    async def test(s: Sandbox) -> None:
        await s.write_file("/tmp/note", "for people")
        connection = await s.connection()
        with pytest.raises(NotImplementedError):
            await s.connection(user="root")
        shell = await asyncio.create_subprocess_shell(
            connection.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        said, _ = await shell.communicate(b"cat /tmp/note; pwd\nexit 3\necho more\n")
        assert said == b"for people/workspace\nmore\n"

    in_sandbox(local, test)


# ---- toolringd dies ------------------------------------------------------------------------------


def run_crash(kill: int, where: Path) -> EvalLog:
    [log] = inspect_eval(inspect_task.crash(kill), display="none", log_dir=str(where))
    return log


@pytest.mark.slow
def test_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When toolringd dies, the sample ends with an error and without a score; else it has one."""
    with Private(backend="local") as private:
        monkeypatch.setenv("TOOLRING_NAME", private.name)
        log = run_crash(0, tmp_path)
        assert log.status == "success" and log.samples and log.samples[0].scores
        log = run_crash(private.pid, tmp_path)
        assert log.status == "error"
        assert log.samples and log.samples[0].error and not log.samples[0].scores
        assert log.samples[0].error.message.startswith(("Unavailable", "Unknown", "NotStarted"))
        assert private.process is not None
        private.process.wait()
        private.process = None
