# SPDX-License-Identifier: Apache-2.0
"""
The pytest plugin: its fixtures in a project of its own, over a toolringd that it starts and over
one that runs; that loading it costs next to nothing; and that it needs no other plugin.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import toolring
from private import cannot, having, is_alive, wait_until
from toolring import pytest_plugin

pytest_plugins = ["pytester"]

FAKE = "toolring_options = --backend=fake"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs the tests in a text with the plugin and no other. Returns their output."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    # Not as it is: it may be relative.
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(toolring.__file__)))

    def run(text: str, *arguments: str, passed: int = 1, ini: str = FAKE, **more: int) -> list[str]:
        pytester.makeini(f"[pytest]\n{ini}\n")
        pytester.makepyfile(text)
        result = pytester.runpytest_subprocess("-p", "toolring.pytest_plugin", "-s", *arguments)
        result.assert_outcomes(passed=passed, **more)
        return result.outlines
    return run


def test_fixtures(project: Callable[..., list[str]]) -> None:
    """A client and a trajectory for each test, one toolringd for all, gone with the session."""
    lines = project("""
        import os
        import toolring
        seen = []

        def test_daemon(toolring_daemon):
            assert isinstance(toolring_daemon, toolring.Daemon)
            print("pid", toolring_daemon.pid)
            seen.append(toolring_daemon)

        def test_client(toolring_client, toolring_daemon):
            assert toolring_client.ping() > 0
            assert toolring_daemon is seen[0]
            seen.append(toolring_client)

        def test_trajectory(toolring_trajectory, toolring_client):
            assert toolring_client is not seen[1]
            assert toolring_trajectory.bash("true").verdict == "ok"
            seen.append(toolring_trajectory.id)

        def test_another(toolring_trajectory, toolring_client):
            assert toolring_trajectory.id not in seen
            assert toolring_client.status()["trajectories"] == 0
        """, passed=4)
    pid, = [int(line.split()[-1]) for line in lines if "pid " in line]
    assert not is_alive(pid)


def test_runs_commands(project: Callable[..., list[str]]) -> None:
    """Without options it has slots; the environment says what to do without."""
    try:
        toolring.start(slots_max=2, slots_warm=0).stop()
    except toolring.Unavailable as error:
        cannot(str(error))
    project("""
        def test_it(toolring_trajectory):
            assert toolring_trajectory.bash("echo hello").output == "hello"
        """, ini="toolring_options = --slots-max=4")


def test_coroutines(project: Callable[..., list[str]]) -> None:
    """Tests with a loop of their own need nothing but the daemon."""
    project("""
        import asyncio
        import toolring

        def test_it(toolring_daemon):
            async def main():
                async with toolring.connect(toolring_daemon) as client:
                    async with client.trajectory() as t:
                        assert (await t.bash("true")).verdict == "ok"
            asyncio.run(main())
        """)


@pytest.mark.parametrize(("plugin", "marks"), [
    ("pytest_asyncio.plugin", ["@pytest.mark.asyncio"]),
    ("anyio.pytest_plugin",
     ["@pytest.mark.anyio", "@pytest.mark.parametrize('anyio_backend', ['asyncio'])"]),
])
def test_beside(plugin: str, marks: list[str], project: Callable[..., list[str]]) -> None:
    """Beside the plugins that run coroutines."""
    if importlib.util.find_spec(plugin.partition(".")[0]) is None:
        cannot(f"there is no {plugin} here")
    project("\n".join([
        "import pytest, toolring",
        *marks,
        "async def test_it(toolring_daemon):",
        "    async with toolring.connect(toolring_daemon) as client, client.trajectory() as t:",
        "        assert (await t.bash('true')).verdict == 'ok'",
    ]), "-p", plugin)


@pytest.mark.parametrize("how", ["option", "ini"])
def test_running_one(how: str, project: Callable[..., list[str]]) -> None:
    """One that runs is used, and goes on."""
    with toolring.start(backend="fake") as daemon:
        project(f"""
            def test_it(toolring_daemon, toolring_client):
                assert toolring_daemon.name == {daemon.name!r}
                assert toolring_client.ping() > 0
            """, *([f"--toolring-name={daemon.name}"] if how == "option" else []),
            ini=f"toolring_name = {daemon.name}" if how == "ini" else "toolring_options = --wrong")
        assert daemon.returncode is None


def test_does_not_start(project: Callable[..., list[str]]) -> None:
    """What cannot be started is an error of each test, with its cause; tests without it pass."""
    lines = project("""
        def test_one(toolring_trajectory): pass
        def test_two(toolring_client): pass
        def test_three(): pass
        """, ini="toolring_options = --slots-max=wrong", errors=2)
    assert any("InvalidCall" in line and "slots-max" in line for line in lines)


def test_costs_little() -> None:
    """Loaded beside pytest it brings nothing but itself; the twin: connect() has the extension."""
    code = """
import sys, pytest
before = set(sys.modules)
import toolring.pytest_plugin
assert "toolring._toolring" not in sys.modules
print(*sorted(set(sys.modules) - before))
import toolring
toolring.connect
assert "toolring._toolring" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, check=True,
                          stdout=subprocess.PIPE)
    assert done.stdout.split() == ["toolring", "toolring.pytest_plugin"]


def test_workers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, workers beside each other get ids of their own, as many as their slots take."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert pytest_plugin._flags_of_worker() == {}
    ends: list[int] = []
    for number in range(64):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        flags = pytest_plugin._flags_of_worker()
        # As many as toolringd counts: those in use, made ahead, on their way.
        taken = (flags["slots_max"] + 2 + 16) * 65536
        assert not ends or flags["uid_base"] >= ends[-1]
        ends.append(flags["uid_base"] + taken)
    assert ends[-1] < 2**32 - 1
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert pytest_plugin._flags_of_worker() == {}


def test_workers(project: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """With pytest-xdist each worker has its own."""
    if importlib.util.find_spec("xdist") is None:
        cannot("there is no pytest-xdist here")
    # Known by their environment: what else runs below us comes and goes as it likes.
    mark = f"toolring-workers-{os.getpid()}"
    monkeypatch.setenv("TOOLRING_TEST_MARK", mark)
    project("""
        import pytest

        @pytest.mark.parametrize("i", range(8))
        def test_it(i, toolring_trajectory):
            assert toolring_trajectory.bash("true").verdict == "ok"
        """, "-p", "xdist", "-n", "2", passed=8)
    wait_until(lambda: not having(f"TOOLRING_TEST_MARK={mark}"), "all of them are gone")
