# SPDX-License-Identifier: Apache-2.0
"""
The sandbox provider of inspect_ai: its own checks for providers, and what those do not look at:
what is kept after a timeout, large files in pieces, slots that go away, where slots come from.
Evaluations are test_inspect_eval.py's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import toolring
from inspect_sandboxes import Sandbox, in_sandbox, sandbox
from private import Private, cannot, is_alive

from inspect_ai.util import (
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
    override_sandbox_output_limit,
)
from inspect_ai.util._concurrency import init_concurrency
from inspect_ai.util._sandbox import self_check
from inspect_ai.util._sandbox.registry import registry_find_sandboxenv
from inspect_ai.util._subprocess import init_max_subprocesses

from toolring.inspect_provider import SandboxLost, ToolringSandboxConfig, _host
from toolring.inspect_provider._config import read_config

MIB = 1 << 20
HOG = "x = [bytes([65]) * 10**6 + b'%d' % i for i in range({})]"

# Those of inspect_ai's checks that need a second user: a slot's commands run as its one user, and
# nobody in it has the rights to become another, root included.
SECOND_USER = {
    "test_exec_as_user": "makes a user as root, and runs commands as root and as that user",
}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No toolringd is named, and none answers by its default name."""
    monkeypatch.delenv("TOOLRING_NAME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


# ---- inspect_ai's own checks ---------------------------------------------------------------------


def is_slow(name: str) -> bool:
    return "_kills_" in name  # these sleep


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if is_slow(name) else [])
    for name in self_check.__all__])
def test_self_check(local: toolring.Daemon, name: str) -> None:
    """Every check that inspect_ai has for providers passes, but for SECOND_USER."""
    check: Callable[[SandboxEnvironment], Coroutine[Any, Any, None]] = getattr(self_check, name)

    async def test(s: Sandbox) -> None:
        if name not in SECOND_USER:
            await check(s)
            return
        with pytest.raises(SandboxUserUnsupportedError, match="'root'"):
            await check(s)

    in_sandbox(local, test)


async def test_under_any_loop(local: toolring.Daemon) -> None:
    """A sandbox works under asyncio and uvloop, and both hear no complaint."""
    async with sandbox(ToolringSandboxConfig(name=local.name)) as s:
        await s.write_file("a", "b")
        assert (await s.exec(["cat", "a"])).stdout == "b"


# ---- commands ------------------------------------------------------------------------------------


def test_the_one_user(local: toolring.Daemon) -> None:
    """What a slot's user is called is accepted as user, by name and number; nobody else is."""
    async def test(s: Sandbox) -> None:
        for user in ((await s.exec(["id", "-un"])).stdout, (await s.exec(["id", "-u"])).stdout):
            assert (await s.exec(["true"], user=user.strip())).success
        for user in ("root", "0", "nobody"):
            with pytest.raises(SandboxUserUnsupportedError):
                await s.exec(["true"], user=user)

    in_sandbox(local, test)


def test_timeout_keeps_the_rest(local: toolring.Daemon) -> None:
    """A timeout kills the command, and leaves /tmp and a server that an earlier one has started."""
    async def test(s: Sandbox) -> None:
        await s.exec(["sh", "-c", "echo kept > /tmp/file; sleep 4321 >/dev/null 2>&1 &"])
        with pytest.raises(TimeoutError) as raised:
            await s.exec(["sh", "-c", "echo partly; echo so >&2; sleep 1234; :"], timeout=1)
        assert getattr(raised.value, "truncated_output") == "partly\nso\n"
        assert await s.read_file("/tmp/file") == "kept\n"
        running = (await s.exec(["ps", "-eo", "args"])).stdout
        assert "sleep 4321" in running
        assert "sleep 1234" not in running

    in_sandbox(local, test)


@pytest.mark.slow
def test_timeout_of_what_refuses_to_end(local: toolring.Daemon) -> None:
    """What ignores SIGTERM is killed; what exits with timeout's own codes in time is a result."""
    async def test(s: Sandbox) -> None:
        with pytest.raises(TimeoutError):
            await s.exec(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], timeout=1)
        for code in (124, 137):
            assert (await s.exec(["sh", "-c", f"exit {code}"], timeout=30)).returncode == code

    in_sandbox(local, test)


def test_timeout_without_the_program(local: toolring.Daemon,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Where slots have no timeout(1), toolring's own timeout ends the command, and what it kept."""
    async def test(s: Sandbox) -> None:
        facts = s._host.facts
        monkeypatch.setattr(s._host, "_facts", _host.Facts(facts.users, has_timeout=False))
        with pytest.raises(TimeoutError) as raised:
            await s.exec(["sh", "-c", "echo partly; setsid sleep 1234 & sleep 1234"], timeout=1)
        assert getattr(raised.value, "truncated_output") == "partly\n"
        assert "sleep 1234" not in (await s.exec(["ps", "-eo", "args"])).stdout

    in_sandbox(local, test)


@pytest.mark.parametrize("input", [None, b"x" * 5 * MIB], ids=["no input", "large input"])
@pytest.mark.parametrize("timeout", [None, 30])
def test_programs_that_do_not_run(local: toolring.Daemon, input: bytes | None,
                                  timeout: int | None) -> None:
    """
    However it is started, one that may not be run is a PermissionError, one that is not there a
    failed command; and one that says so itself is a command like any other.
    """
    async def test(s: Sandbox) -> None:
        with pytest.raises(PermissionError):
            await s.exec(["/etc/passwd"], input=input, timeout=timeout)
        r = await s.exec(["no_such_program"], input=input, timeout=timeout)
        assert (r.success, r.returncode) == (False, 127)
        assert "o such file" in r.stderr or "not found" in r.stderr
        r = await s.exec(["sh", "-c", "echo it: Permission denied >&2; exit 126"], input=input,
                         timeout=timeout)
        assert (r.returncode, r.stderr) == (126, "it: Permission denied\n")
        assert (await s.exec(["ls", "-A", "/tmp"])).stdout == "", "input was left behind"

    in_sandbox(local, test)


def test_cwd(local: toolring.Daemon) -> None:
    """A folder that is not there is a failed command; one that may not be entered is refused."""
    async def test(s: Sandbox) -> None:
        r = await s.exec(["pwd"], cwd="nowhere")
        assert (r.success, r.returncode) == (False, 127) and "No such file" in r.stderr
        await s.exec(["mkdir", "-m", "0", "shut"])
        with pytest.raises(PermissionError):
            await s.exec(["pwd"], cwd="shut")
        assert (await s.exec(["pwd"], cwd="../tmp")).stdout == "/tmp\n"

    in_sandbox(local, test)


def test_output_limit(local: toolring.Daemon) -> None:
    """Output up to the limit comes whole, more raises, with the part before the limit."""
    async def test(s: Sandbox) -> None:
        limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
        r = await s.exec(["sh", "-c", f"head -c {limit} /dev/zero; head -c {limit} /dev/zero >&2"])
        assert (len(r.stdout), len(r.stderr)) == (limit, limit)
        with override_sandbox_output_limit(1000, "exec"):
            for where in ("", ">&2"):
                with pytest.raises(OutputLimitExceededError) as raised:
                    await s.exec(["sh", "-c", f"head -c 1001 /dev/zero {where}"])
                assert raised.value.truncated_output == "\0" * 1000

    in_sandbox(local, test)


def test_null_bytes(local: toolring.Daemon) -> None:
    """They are refused in words that inspect_ai shows to a model, instead of ending the sample."""
    async def test(s: Sandbox) -> None:
        with pytest.raises(ValueError, match="embedded null byte"):
            await s.exec(["echo", "a\0b"])
        with pytest.raises(ValueError, match="embedded null byte"):
            await s.read_file("a\0b")

    in_sandbox(local, test)


def test_memory(local: toolring.Daemon) -> None:
    """A command that runs out of memory fails as if killed, and says why; the sandbox goes on."""
    async def test(s: Sandbox) -> None:
        await s.write_file("/tmp/file", "kept")
        r = await s.exec(["python3", "-c", HOG.format(999)])
        assert r.returncode == 137 and "out of memory" in r.stderr
        assert (await s.exec(["python3", "-c", HOG.format(9)])).success
        assert await s.read_file("/tmp/file") == "kept"

    try:
        in_sandbox(ToolringSandboxConfig(name=local.name, memory="64M", disk="16M"), test)
    except toolring.ToolringError as error:
        if "memory" not in str(error):
            raise
        cannot(f"nobody counts memory here: {error}")


@asynccontextmanager
async def one_at_a_time(local: toolring.Daemon) -> AsyncIterator[tuple[Sandbox, Sandbox]]:
    """Two sandboxes, where inspect_ai says that one command may run."""
    init_concurrency()
    init_max_subprocesses(1)
    config = ToolringSandboxConfig(name=local.name)
    async with sandbox(config) as one, sandbox(config) as two:
        yield one, two


def test_max_subprocesses(local: toolring.Daemon) -> None:
    """Of all sandboxes together so many commands run as inspect_ai is told."""
    async def run(s: Sandbox) -> tuple[float, ...]:
        r = await s.exec(["sh", "-c", "cat /proc/uptime; sleep 0.5; cat /proc/uptime"])
        return tuple(float(line.split()[0]) for line in r.stdout.splitlines())

    async def body() -> None:
        async with one_at_a_time(local) as (one, two):
            (begin, end), (other_begin, other_end) = await asyncio.gather(run(one), run(two))
        assert end <= other_begin or other_end <= begin

    asyncio.run(body())


def test_without_concurrency(local: toolring.Daemon) -> None:
    """The twin: commands that inspect_ai does not want counted run beside each other."""
    async def body() -> None:
        async with one_at_a_time(local) as sandboxes, toolring.connect(local) as client, \
                asyncio.timeout(60):
            calls = [asyncio.ensure_future(s.exec(["sleep", "1234"], concurrency=False))
                     for s in sandboxes]
            while (await client.status())["calls_running"] < len(calls):
                await asyncio.sleep(0.005)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(body())


def test_cancelled(local: toolring.Daemon) -> None:
    """A cancelled exec kills what it ran, and the sandbox runs the next command."""
    async def test(s: Sandbox) -> None:
        call = asyncio.ensure_future(s.exec(["sh", "-c", "touch started; sleep 1234; :"]))
        # Another session, as commands of one sandbox run one after the other.
        async with toolring.connect(s._host.name) as client:
            while (await client.status())["calls_running"] == 0:
                await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert "sleep 1234" not in (await s.exec(["ps", "-eo", "args"])).stdout

    in_sandbox(local, test)


def test_toolringd_stops() -> None:
    """It cancels what runs, which is a fault, and nothing that a model is told."""
    async def body(own: Private) -> None:
        async with sandbox(ToolringSandboxConfig(name=own.name)) as s:
            call = asyncio.ensure_future(s.exec(["sleep", "1234"]))
            async with toolring.connect(own.name) as client:
                while (await client.status())["calls_running"] == 0:
                    await asyncio.sleep(0.005)
            assert own.process is not None
            own.process.send_signal(signal.SIGTERM)
            own.process.send_signal(signal.SIGINT)
            with pytest.raises(toolring.Unknown, match="toolringd ended it: "):
                await call
            assert own.process.wait() == 0
            own.start()  # who gives the slot back need not wait for another

    with Private(backend="local") as own:
        asyncio.run(body(own))


# ---- files ---------------------------------------------------------------------------------------


def test_files_in_pieces(local: toolring.Daemon) -> None:
    """What is larger than toolring moves in one call comes and goes unchanged."""
    async def test(s: Sandbox) -> None:
        content = os.urandom(MIB) * 70 + b"end"
        await s.write_file("/workspace/folder/large", content)
        assert await s.read_file("folder/large", text=False) == content
        assert (await s.exec(["stat", "-c", "%s", "folder/large"])).stdout == f"{len(content)}\n"
        await s.write_file("folder/large", "short")
        assert await s.read_file("folder/large") == "short"

    in_sandbox(local, test)


@pytest.mark.parametrize("limit", [1, 1000, 16 * MIB, 17 * MIB, 33 * MIB])
def test_read_limit(local: toolring.Daemon, limit: int) -> None:
    """A file of as many bytes as may be is read, in one piece or many; one byte more is refused."""
    async def test(s: Sandbox) -> None:
        content = b"x" * limit
        with override_sandbox_output_limit(limit, "read_file"):
            await s.write_file("file", content)
            assert await s.read_file("file", text=False) == content
            await s.write_file("file", content + b"y")
            with pytest.raises(OutputLimitExceededError):
                await s.read_file("file", text=False)

    in_sandbox(local, test)


def test_file_errors(local: toolring.Daemon) -> None:
    """Errors beyond those that inspect_ai checks, with their twins that work."""
    async def test(s: Sandbox) -> None:
        await s.write_file("file", b"\xff\r\n")
        with pytest.raises(UnicodeDecodeError):
            await s.read_file("file")
        with pytest.raises(FileNotFoundError):
            await s.read_file("file/below")
        with pytest.raises(NotADirectoryError):
            await s.write_file("file/below", "x")
        await s.write_file("file", "a\r\nb\n")
        assert await s.read_file("file") == "a\r\nb\n"
        with pytest.raises(PermissionError):
            await s.write_file("/etc/passwd", "x")
        with pytest.raises(PermissionError):
            await s.write_file("/usr/new", "x")
        assert (await s.read_file("/etc/passwd")).startswith("root:")
        with pytest.raises(OSError, match="regular"):
            await s.read_file("/dev/zero", text=False)
        assert await s.read_file("/proc/self/cmdline", text=False)
        with pytest.raises(OSError, match="No space left"):
            await s.write_file("large", b"x" * 40 * MIB)

    in_sandbox(ToolringSandboxConfig(name=local.name, disk="16M"), test)


# ---- infrastructure ------------------------------------------------------------------------------


def test_lost_slot(local: toolring.Daemon) -> None:
    """A slot that was taken away is never silently another, empty one: every later call raises."""
    async def test(s: Sandbox) -> None:
        await s.write_file("file", "x")
        async with toolring.connect(s._host.name) as other:
            await other.trajectory(s._slot.trajectory.id).release()
        for _ in range(2):
            with pytest.raises(SandboxLost):
                await s.exec(["true"])
        with pytest.raises(SandboxLost):
            await s.read_file("file")
        with pytest.raises(ConnectionError):
            await s.connection()

    in_sandbox(local, test)


def test_private(nowhere: None) -> None:
    """Without a toolringd one is started, which tasks of one configuration share, and stopped."""
    async def executor(s: Sandbox) -> int:
        pid: int = (await s._host.client.status())["executor_pid"]
        return pid

    async def body() -> int:
        async with sandbox(None) as one, sandbox(None) as two:
            assert one._host is two._host and one._host.is_private
            pid = await executor(one)
            async with sandbox(ToolringSandboxConfig(pids=100)) as three:
                assert await executor(three) != pid
            assert (await one.exec(["true"])).success
            return pid

    assert not is_alive(asyncio.run(body()))


def test_private_that_fails(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose slots are no good is stopped before the error is raised."""
    pids: list[int] = []

    async def probe(host: _host.Host) -> None:
        pids.append((await host.client.status())["executor_pid"])
        raise toolring.ToolringError("no good")

    monkeypatch.setattr(_host.Host, "_probe", probe)
    with pytest.raises(toolring.ToolringError, match="no good"):
        asyncio.run(Sandbox.task_init("startup", None))
    assert not is_alive(*pids)


def test_named_and_not_there(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toolringd that was named and does not answer is an error; none is started in its place."""
    with pytest.raises(toolring.Unavailable):
        asyncio.run(Sandbox.task_init("startup", ToolringSandboxConfig(name="/nowhere/sock")))
    monkeypatch.setenv("TOOLRING_NAME", "/nowhere/sock")
    with pytest.raises(toolring.Unavailable):
        asyncio.run(Sandbox.task_init("startup", None))


def test_many(local: toolring.Daemon) -> None:
    """64 samples at once, each with a slot of its own, and all of them are given back."""
    config = ToolringSandboxConfig(name=local.name)

    async def sample(i: int) -> None:
        environments = await Sandbox.sample_init("many", config, {"__sample_id__": str(i)})
        s = environments["default"]
        await s.write_file("number", str(i))
        assert (await s.exec(["cat", "number"])).stdout == str(i)
        await Sandbox.sample_cleanup("many", config, environments, i % 2 == 0)

    async def body() -> None:
        await Sandbox.task_init("startup", config)
        client = _host.find(config).client
        before = (await client.status())["slots"]["used"]  # by other tests
        await asyncio.gather(*map(sample, range(64)))
        assert (await client.status())["slots"]["used"] <= before
        await Sandbox.task_cleanup("shutdown", config, True)

    asyncio.run(body())


def test_without_cleanup(local: toolring.Daemon) -> None:
    """A task that leaves its samples be (--no-sandbox-cleanup) leaves no slot behind either."""
    config = ToolringSandboxConfig(name=local.name)

    async def body() -> None:
        await Sandbox.task_init("startup", config)
        async with toolring.connect(local) as client, asyncio.timeout(60):
            while (await client.status())["slots"]["used"]:  # other tests' go when they are noticed
                await asyncio.sleep(0.005)
            await Sandbox.sample_init("left", config, {"__sample_id__": "1"})
            assert (await client.status())["slots"]["used"] == 1
            await Sandbox.task_cleanup("shutdown", config, False)
            assert not any(_host._hosts.values())
            while (await client.status())["slots"]["used"]:
                await asyncio.sleep(0.005)

    asyncio.run(body())


def test_not_trio() -> None:
    """Outside asyncio it says what it needs."""
    with pytest.raises(RuntimeError, match="asyncio"):
        Sandbox.task_init("startup", None).send(None)


# ---- configuration -------------------------------------------------------------------------------


def test_config(tmp_path: Path) -> None:
    """A model, or the same in a file; what is wrong is named."""
    file = tmp_path / "toolring.yaml"
    file.write_text("memory: 512M\ndisk: 1000000\nnetwork: none\n")
    config = read_config(str(file))
    assert config == ToolringSandboxConfig(memory=512 * MIB, disk=1000000, network="none")
    assert config.spec() == {"memory": 512 * MIB, "disk": 1000000, "network": "none",
                             "idle_ttl_s": 7 * 24 * 3600}
    assert Sandbox.config_deserialize(config.model_dump()) == config
    for wrong in ("memory: 12Q", "colour: red", "pids: 0", "network: all", "- a\n- b"):
        file.write_text(wrong)
        with pytest.raises((ValueError, TypeError)):
            read_config(str(file))


def test_config_that_is_refused(local: toolring.Daemon) -> None:
    """What the operator does not allow fails at the start of the task, and leaves nothing open."""
    async def works(s: Sandbox) -> None:
        assert (await s.exec(["true"])).success

    with pytest.raises(toolring.ToolringError, match="network"):
        in_sandbox(ToolringSandboxConfig(name=local.name, network="host"), works)
    assert not any(_host._hosts.values())
    in_sandbox(ToolringSandboxConfig(name=local.name, network="none"), works)


def test_registered() -> None:
    """inspect_ai finds the provider by its name."""
    assert registry_find_sandboxenv("toolring") is Sandbox
