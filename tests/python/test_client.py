# SPDX-License-Identifier: Apache-2.0
"""
The asynchronous client, under asyncio and under uvloop: each call does what it says, what is raised
and what is a value, trajectories side by side and the calls of one in order, and cancelling, which
kills what runs. Faults are in test_client_faults.py, crowds in test_client_load.py.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest

import toolring
from private import Private, below, commands_below

# A command that sleeps so long is found on the host by this word; each has another one.
words = (f"4321.{n:06d}" for n in itertools.count(1))


async def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Looks again and again, and lets the loop go on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not after {seconds} s: {what}"
        await asyncio.sleep(0.005)


async def running(call: Any, daemon: toolring.Daemon | Private, word: str) -> asyncio.Task[Any]:
    """A call as a task, whose command runs on this host by now."""
    task: asyncio.Task[Any] = asyncio.ensure_future(call)
    await until(lambda: task.done() or commands_below(daemon.pid, word), "the command runs")
    assert not task.done(), task
    return task


async def killed(daemon: toolring.Daemon | Private, word: str) -> None:
    await until(lambda: not commands_below(daemon.pid, word), "the command is dead")


# ---- connecting ----------------------------------------------------------------------------------

async def test_connect_with_and_await(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client:
        assert not client.closed and fake.name in repr(client)
        assert 0 < await client.ping() < 10**10
    assert client.closed and "closed" in repr(client)
    client = await toolring.connect(fake)  # anything with a name
    assert (await client.status())["backend"]["name"] == "fake"
    await client.close()
    await client.close()
    for call in (client.ping(), client.status(), client.trajectory("t").bash("true")):
        with pytest.raises(toolring.Closed, match="closed"):
            await call
    with pytest.raises(toolring.Closed, match="another"):
        await client
    with pytest.raises(toolring.Closed, match="another"):
        async with client:
            pass


async def test_unconnected_client_says_how(fake: toolring.Daemon) -> None:
    client = toolring.connect(fake.name)
    with pytest.raises(toolring.Closed, match="await"):
        await client.ping()
    await client.close()
    async with client:
        await client.ping()


async def test_name_comes_from_the_environment(fake: toolring.Daemon,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLRING_NAME", fake.name)
    async with toolring.connect() as client:
        await client.ping()


async def test_nobody_there_is_unavailable_and_says_where(tmp_path: Any) -> None:
    path = str(tmp_path / "none.sock")
    for name, said in ((path, path), ("nobody-is-called-so", "nobody-is-called-so"),
                       (str(tmp_path / "no" / "folder.sock"), "folder.sock")):
        began = time.monotonic()
        with pytest.raises(toolring.Unavailable) as caught:
            await toolring.connect(name)
        assert said in str(caught.value)
        assert time.monotonic() - began < 3  # nothing to wait for
    (tmp_path / "file.sock").write_text("not a socket")
    with pytest.raises(toolring.Unavailable, match="file.sock"):
        await toolring.connect(str(tmp_path / "file.sock"))


@pytest.mark.parametrize("options", [
    {"label": "x" * 32}, {"label": 5}, {"label": "a\0b"}, {"label": "\ud800"},
    {"calls": 0}, {"calls": -1}, {"calls": 1.5}, {"calls": 2**40},
    {"submission_bytes": 0}, {"submission_bytes": 2**31}, {"completion_bytes": 2**60},
    {"spin_us": -1}, {"spin_us": "fast"}, {"spin_us": 10**9}, {"open_timeout": -1},
    {"open_timeout": "soon"}, {"open_timeout": float("nan")}, {"reconnect_timeout": -0.5},
    {"result_bytes_max": 0}, {"result_bytes_max": 2**70}, {"name": 5}, {"name": b"bytes"},
    {"name": "x" * 300}, {"name": "a\0b"}, {"name": "\ud800"},
], ids=lambda options: next(iter(options)))
async def test_wrong_options_are_invalid(fake: toolring.Daemon, options: dict[str, Any]) -> None:
    with pytest.raises(toolring.InvalidCall) as caught:
        await toolring.connect(**({"name": fake.name} | options))
    assert str(caught.value)


async def test_options_arrive(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name, label="a label", calls=16, submission_bytes=8192,
                                completion_bytes=8192, spin_us=0, open_timeout=1,
                                reconnect_timeout=0, result_bytes_max=10**6,
                                resubmit=True) as client:
        labels = [s["label"] for s in (await client.status())["sessions"]]
        assert labels.count("a label") == 1
    with pytest.raises(TypeError):
        toolring.connect(fake.name, speed="high")  # type: ignore[call-arg]


# ---- every call ----------------------------------------------------------------------------------

async def test_bash(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        r = await t.bash("echo hello; echo oh >&2", timeout=5)
        assert isinstance(r, toolring.Result) and r and r.success and r.verdict == "ok"
        assert (r.output, r.error, r.exit_code) == ("hello\n\n[stderr]\noh", "", 0)
        assert not r.timed_out and not r.truncated and r.timing.run_ns > 0
        assert r.metadata["processes_left"] == 0 and r.metadata["sandboxed"] is True
        r = await t.bash("exit 3")
        assert not r and (r.verdict, r.exit_code, r.error) == ("failed", 3, "Exit code: 3")
        r = await t.bash("echo so far; sleep 4321", timeout=1)
        assert (r.verdict, r.timed_out, r.exit_code, r.output) == ("timeout", True, -1, "so far")
        r = await t.bash("sleep 4321", idle_timeout=1)
        assert r.timed_out and r.metadata["idle_timeout"] is True
        r = await t.bash("head -c 60000 /dev/zero | tr '\\0' a")
        assert r.success and r.truncated and r.output == "a" * 50_000 + "\n... (output truncated)"
        assert not (await t.bash("printf '\\n... (output truncated)'")).truncated
        r = await t.bash("kill -9 $$")
        assert (r.exit_code, r.signal) == (137, 9)


async def test_files(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        text = "h\u00e4\u00df\u20ac\U0001f600\r\n\0end"
        r = await t.write_file("a/b.txt", text)
        assert r.success and r.metadata["path"] == "/workspace/a/b.txt"
        assert (await t.read_file("a/b.txt")).output == text
        r = await t.read_file("a/none")
        assert r.verdict == "failed" and not r and r.exit_code is None
        assert (await t.read_file("../../etc/passwd")).verdict == "denied"
        assert (await t.write_file("big", "x" * 100_001)).verdict == "limit"
        assert (await t.read_file("a/b.txt", timeout=5)).success


async def test_exec(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        data = bytes(range(256)) * 100
        r = await t.exec(["cat"], stdin=data)
        assert isinstance(r, toolring.ExecResult) and r.stdout == data and r.stderr == b""
        r = await t.exec("cat; printf $X >&2; pwd; exit 4", stdin="\u20ac", env={"X": "why"},
                         cwd="/tmp")
        assert (r.stdout, r.stderr, r.exit_code) == ("\u20ac/tmp\n".encode(), b"why", 4)
        assert r.verdict == "failed" and r.output == ""
        r = await t.exec(("printf", "%s|", "a b", "*"), timeout=5)
        assert r.stdout == b"a b|*|"
        r = await t.exec(["no-such-program"])
        assert r.exit_code == 127 and r.not_started and not r.success
        r = await t.exec("echo 12345; echo 123 >&2", stdout_max=3, stderr_max=100)
        assert (r.stdout, r.stderr, r.truncated) == (b"123", b"123\n", True)
        await t.exec("touch /tmp/kept", keep=True)
        assert (await t.exec("ls /tmp", keep=True)).stdout == b"kept\n"
        assert (await t.exec("ls /tmp")).stdout == b""
        r = await t.exec("sleep 4321", timeout=30, idle_timeout=1)
        assert r.timed_out and r.verdict == "timeout"


async def test_shell_and_terminal(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        assert (await t.shell("X=kept; cd /tmp")).success
        r = await t.shell("echo $X in $PWD; (exit 5)")
        assert (r.output, r.exit_code) == ("kept in /tmp", 5) and r.metadata["stateful"] is True
        assert (await t.shell("head -c 60000 /dev/zero | tr '\\0' a", timeout=9)).truncated
        assert (await t.terminal.start(width=90, height=20)).metadata["pane_width"] == 90
        r = await t.terminal.send_keys(["echo $((40 + 2))", "Enter"], block=True)
        assert r.success
        assert "42" in (await t.terminal.capture()).output
        assert (await t.terminal.send_keys("sleep 0.2; echo d''one\n", wait_for="done",
                                           max_wait=20)).success
        assert (await t.terminal.wait_for("d.ne", regex=True, max_wait=5)).metadata["seen"] is True
        assert (await t.terminal.wait_for("never", max_wait=0.1)).verdict == "timeout"
        assert (await t.terminal.resize(100, 30)).metadata["pane_height"] == 30
        assert "42" in (await t.terminal.capture(entire=True, max_bytes=10_000)).output
        assert '"version": 2' in (await t.terminal.stream(reset=True)).output
        assert (await t.terminal.stop()).success
        assert (await t.shell("echo [$X]")).output == "[]"


async def test_artifacts(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        a = t.artifacts
        r = await a.write("d/raw", b"\xff\0raw")
        assert isinstance(r, toolring.ArtifactResult) and r.success and r.size == 5
        r = await a.read("d/raw", sha256=True)
        assert r.content == r.data == b"\xff\0raw" and r.sha256 and len(r.sha256) == 64
        assert not r.truncated and (r.encoding, r.file_size, r.path) == ("bytes", 5, "d/raw")
        r = await a.read("d/raw", encoding="base64", max_bytes=1)
        assert (r.content, r.truncated, r.data) == ("/w==", True, b"\xff")
        assert (await a.read("d/raw", encoding="text")).content == "\ufffd\0raw"
        r = await a.read("d/none")
        assert not r.success and r.not_found and r.content is None
        r = await a.list(recursive=True)
        assert [e["path"] for e in r.entries or []] == ["d", "d/raw"] or len(r.entries or []) == 2
        r = await a.archive("d", format="tar")
        assert isinstance(r.content, bytes) and r.format == "tar"
        with tarfile.open(fileobj=io.BytesIO(r.content)) as tar:
            assert any(name.endswith("raw") for name in tar.getnames())
        r = await a.unpack("copy", r.content, format="tar")
        assert r.success and r.entry_count
        assert (await t.bash("find copy -name raw | wc -l")).output == "1"
        assert (await a.read("/etc/hostname", anywhere=True, timeout=5)).verdict in ("ok", "failed")
        assert (await a.read("/etc/passwd")).verdict == "denied"
        assert (await a.list("d", max_entries=1)).entries


async def test_call_with_what_a_model_gave(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        r = await t.call("terminal", {"command": "echo $0", "timeout": 7}, uniq_id="u-\u20ac")
        assert (r.output, r.uniq_id) == ("bash", "u-\u20ac")
        wrong: list[tuple[str, Any, str]] = [
            ("no_such_tool", None, "no_such_tool"), ("bash", {}, "command"),
            ("bash", {"command": 5}, "command"), ("", {}, "name")]
        for tool, arguments, said in wrong:
            with pytest.raises(toolring.InvalidCall, match=said) as caught:
                await t.call(tool, arguments)
            assert caught.value.result is not None and caught.value.result.verdict == "invalid"
        for timeout in (float("nan"), -1, "long"):
            with pytest.raises(toolring.InvalidCall, match="timeout"):
                await t.bash("true", timeout=timeout)  # type: ignore[arg-type]


async def test_slot_of_a_trajectory(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client:
        t = client.trajectory("slot-of")
        r = await t.acquire({"network": "none", "disk": 64 << 20})
        assert r.success and r.slot_id
        await t.write_file("f", "x")
        assert (await t.reset()).success
        assert (await t.bash("ls")).output == ""
        await t.write_file("f", "kept")
        assert (await t.release(keep_workspace=True)).success
        async with client.trajectory("slot-of", keep_workspace=True) as again:
            assert (await again.read_file("f")).output == "kept"
        async with client.trajectory("slot-of", spec={}) as again:
            assert (await again.read_file("f")).output == "kept"
        async with client.trajectory("slot-of") as again:  # the block before gave it back
            assert (await again.read_file("f")).verdict == "failed"
        with pytest.raises(toolring.InvalidCall, match="colour"):
            async with client.trajectory(spec={"colour": "red"}):
                pytest.fail("the block ran")
        assert client.trajectory().id != client.trajectory().id


async def test_trajectories_end_when_their_block_raises(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.trajectory("raises") as t:
                await t.write_file("f", "x")
                raise ZeroDivisionError
        async with client.trajectory("raises") as t:
            assert (await t.bash("ls")).output == ""


# ---- verdicts ------------------------------------------------------------------------------------

RAISED = {"unavailable": toolring.Unavailable, "not_started": toolring.NotStarted,
          "unknown": toolring.Unknown, "invalid": toolring.InvalidCall}


@pytest.mark.parametrize("verdict", ["ok", "failed", "timeout", "oom", "limit", "denied",
                                     "cancelled", *RAISED])
async def test_each_verdict_is_raised_or_a_value(fake: toolring.Daemon, verdict: str) -> None:
    async with toolring.connect(fake.name) as client, client.trajectory() as t:
        call = t.call("bash", {"fake": {"verdict": verdict, "error": "as told"}}, uniq_id="u")
        if verdict not in RAISED:
            r = await call
            assert r.verdict == verdict and r.success == (verdict == "ok")
            assert r.timed_out == (verdict == "timeout")
            return
        with pytest.raises(RAISED[verdict], match="as told") as caught:
            await call
        result = caught.value.result
        assert result is not None and (result.verdict, result.uniq_id) == (verdict, "u")
        assert result.metadata["backend"] == "fake" and type(caught.value) is RAISED[verdict]


# ---- order ---------------------------------------------------------------------------------------

async def test_calls_of_a_trajectory_run_in_order(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        results = await asyncio.gather(*(t.bash(f"echo {i} >> f; wc -l < f") for i in range(100)))
        assert [r.output for r in results] == [str(i + 1) for i in range(100)]
        assert (await t.read_file("f")).output == "".join(f"{i}\n" for i in range(100))


async def test_trajectories_do_not_wait_for_each_other(local: toolring.Daemon) -> None:
    word = next(words)
    async with toolring.connect(local.name) as client, client.trajectory() as slow:
        task = await running(slow.bash(f"sleep {word}"), local, word)
        for _ in range(5):
            async with client.trajectory() as quick:
                assert (await quick.bash("echo on")).output == "on"
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_several_clients_share_a_trajectory(local: toolring.Daemon) -> None:
    async with toolring.connect(local.name) as one, toolring.connect(local.name) as other:
        await one.trajectory("shared").write_file("f", "of one")
        assert (await other.trajectory("shared").read_file("f")).output == "of one"
        await other.trajectory("shared").release()


# ---- cancelling ----------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["bash", "exec", "shell", "terminal"])
async def test_cancelling_a_task_kills_its_command(local: toolring.Daemon, how: str) -> None:
    word = next(words)
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        calls: dict[str, Callable[[], Any]] = {
            "bash": lambda: t.bash(f"sleep {word} & sleep {word}"),
            "exec": lambda: t.exec(["sleep", word]),
            "shell": lambda: t.shell(f"sleep {word}"),
            "terminal": lambda: t.terminal.send_keys([f"sleep {word}", "Enter"], block=True),
        }
        task = await running(calls[how](), local, word)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if how != "terminal":
            await killed(local, word)
        assert (await t.bash("echo on")).output == "on"
        if how == "terminal":  # whose shell, with what runs in it, is the slot's
            assert commands_below(local.pid, word)


async def test_a_timeout_around_a_call_kills_its_command(local: toolring.Daemon) -> None:
    word = next(words)
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await t.bash(f"sleep {word}")
        await killed(local, word)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(t.bash(f"sleep {word}"), 0.3)
        await killed(local, word)
        assert (await t.bash("echo on")).output == "on"


async def test_a_task_group_that_fails_kills_the_others(local: toolring.Daemon) -> None:
    word = next(words)
    async with toolring.connect(local.name) as client:
        async def fail() -> None:
            await until(lambda: len(commands_below(local.pid, word)) == 5, "all five run")
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for i in range(5):
                    group.create_task(client.trajectory(f"group-{i}").bash(f"sleep {word}"))
                group.create_task(fail())
        assert caught.group_contains(ZeroDivisionError)
        await killed(local, word)


async def test_a_cancelled_call_that_waits_never_runs(local: toolring.Daemon) -> None:
    word = next(words)
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        first = await running(t.bash(f"sleep {word}"), local, word)
        second = asyncio.ensure_future(t.bash("touch ran"))
        third = asyncio.ensure_future(t.bash("ls"))
        await client.ping()  # both were sent
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        first.cancel()
        assert (await third).output == ""
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_cancelling_before_the_first_step_sends_nothing(fake: toolring.Daemon) -> None:
    async with toolring.connect(fake.name) as client:
        executed = (await client.status())["backend"]["executed"]
        tasks = [asyncio.ensure_future(client.trajectory("t").bash("x")) for _ in range(10)]
        for task in tasks:
            task.cancel()
        assert all(isinstance(r, asyncio.CancelledError)
                   for r in await asyncio.gather(*tasks, return_exceptions=True))
        assert (await client.status())["backend"]["executed"] == executed


async def test_cancelling_when_the_answer_is_there_already(fake: toolring.Daemon) -> None:
    """Of two calls answered at once the first's task cancels the second's, well or badly ended."""
    async with toolring.connect(fake.name) as client:
        for i in range(50):
            verdict = ("ok", "unknown")[i % 2]
            second: asyncio.Task[Any] | None = None

            async def first() -> None:
                await client.ping()
                assert second is not None
                second.cancel()

            one = asyncio.ensure_future(first())
            second = asyncio.ensure_future(
                client.trajectory("t").call("bash", {"fake": {"verdict": verdict}}))
            outcomes = await asyncio.gather(one, second, return_exceptions=True)
            assert isinstance(outcomes[1], (asyncio.CancelledError, toolring.Result,
                                            toolring.Unknown))
        assert await client.ping() > 0


@pytest.mark.quiet_loop
async def test_cancel_storm(fake: toolring.Daemon) -> None:
    """Thousands of calls are cancelled at once, and the session goes on."""
    async with toolring.connect(fake.name) as client:
        hang = {"fake": {"wait_s": 3000}}
        tasks = [asyncio.ensure_future(client.trajectory(f"storm-{i % 512}").call("bash", hang))
                 for i in range(6000)]
        await client.ping()
        began = time.monotonic()
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in outcomes)
        assert time.monotonic() - began < 20

        async def idle() -> bool:
            status = await client.status()
            return bool(status["calls_queued"] + status["calls_running"] == 0)

        while not await idle():
            assert time.monotonic() - began < 30
        assert (await client.trajectory("storm-0").bash("x")).success


# ---- loops ---------------------------------------------------------------------------------------

async def share_of_cpu(seconds: float) -> float:
    """Of one CPU, that this process takes meanwhile; the least of some, as others disturb it."""
    least = 1.0
    for _ in range(5):
        cpu, began = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        least = min(least, (time.process_time() - cpu) / (time.monotonic() - began))
        if least < 0.1:
            break
    return least


async def test_waiting_costs_nothing(local: toolring.Daemon) -> None:
    """A loop that waits for a call, or has none, sleeps."""
    async with toolring.connect(local.name) as client, client.trajectory() as t:
        await t.bash("true")
        assert await share_of_cpu(0.5) < 0.2
        task = asyncio.ensure_future(t.bash("sleep 60"))
        assert await share_of_cpu(0.5) < 0.2
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_others_have_their_turns(fake: toolring.Daemon) -> None:
    """While calls come and go without a pause, a timer of the same loop goes off all the same."""
    async with toolring.connect(fake.name) as client:
        loop = asyncio.get_running_loop()
        late = []

        async def tick() -> None:
            for _ in range(50):
                due = loop.time() + 0.01
                await asyncio.sleep(0.01)
                late.append(loop.time() - due)

        async def talk(t: toolring.Trajectory) -> None:
            while len(late) < 50:
                await t.bash("x")

        await asyncio.gather(tick(), *(talk(client.trajectory(f"turns-{i}")) for i in range(8)))
        assert sorted(late)[25] < 2, late  # a few milliseconds where the machine is not busy


PROGRAM = """
import asyncio, os, sys, threading
threads = []
sys.addaudithook(lambda event, args: threads.append(event) if "thread" in event else None)
import toolring
async def main():
    assert threads == [], threads
    async with toolring.connect(sys.argv[1]) as client:
        await asyncio.gather(*(client.trajectory(f"t{i}").bash("x") for i in range(100)))
        hang = {"fake": {"wait_s": 3000}}
        task = asyncio.ensure_future(client.trajectory("t").call("bash", hang))
        await client.ping()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.trajectory("u").call("bash", {"fake": {"output_bytes": 1 << 20}})
        assert os.listdir("/proc/self/task") == [str(os.getpid())]
if sys.argv[2] == "uvloop":
    import uvloop
    loop_factory = uvloop.new_event_loop
else:
    loop_factory = None
with asyncio.Runner(loop_factory=loop_factory) as runner:
    runner.run(main())
assert threads == [] and os.listdir("/proc/self/task") == [str(os.getpid())], threads
"""


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_no_thread_is_ever_made(fake: toolring.Daemon, name: str) -> None:
    if name == "uvloop":
        pytest.importorskip("uvloop")
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", PROGRAM, fake.name, name], check=True, timeout=120,
                   env={**os.environ, "PYTHONPATH": path})


def test_the_extension_cannot_make_threads() -> None:
    from toolring import _toolring

    symbols = subprocess.run(["nm", "-D", "--undefined-only", _toolring.__file__], text=True,
                             capture_output=True, check=True).stdout
    assert "pthread_mutex_lock" in symbols or "tr_" not in symbols
    assert "pthread_create" not in symbols and "thrd_create" not in symbols


async def test_nothing_of_a_client_is_left(local: toolring.Daemon) -> None:
    def n_maps() -> int:
        with open("/proc/self/maps", encoding="utf-8") as f:
            return len(f.readlines())

    before, n_before = set(os.listdir("/proc/self/fd")), n_maps()
    for _ in range(20):
        async with toolring.connect(local.name) as client, client.trajectory() as t:
            await t.bash("true")
    assert set(os.listdir("/proc/self/fd")) == before
    assert n_maps() < n_before + 20
    assert below(local.pid)  # and the twin: there is somebody there to have been left alone
