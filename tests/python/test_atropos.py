# SPDX-License-Identifier: Apache-2.0
"""
Shows that toolring.atropos stands where the replaced system's tool backend stood: everything its
callers use is there under the same names, and behaves. (What the executor over it does:
test_atropos_executor.py; the answers of the tools: test_atropos_contract.py.)
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import inspect
import io
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import pytest
from private import Private, is_alive

import toolring
from toolring.atropos import ExecutionResult, Slot, ToolResult, ToolringBackend

FAULTS = {"unavailable", "not_started", "unknown", "cancelled"}


@runtime_checkable
class Backend(Protocol):
    """
    What a tool executor of the replaced system calls, with the names and defaults by which it does.
    """

    @property
    def default_timeout_s(self) -> float | None: ...
    async def start(self) -> None: ...
    async def stop(self, *, purge: bool = False) -> None: ...
    async def acquire(self, trajectory_id: str | None = None) -> Slot: ...
    async def release(self, slot: Slot, *, reset_workspace: bool = False) -> None: ...
    async def execute_batch(self, requests: list[tuple[Slot, str, dict[str, Any]]], *,
                            timeout_s: float | None = None) -> list[ExecutionResult]: ...
    async def read_artifact(self, slot: Slot, path: str, *, encoding: str = "text",
                            max_bytes: int | None = None, include_sha256: bool = False,
                            timeout_s: float | None = None) -> dict[str, Any]: ...
    async def list_artifacts(self, slot: Slot, path: str = ".", *, recursive: bool = False,
                             max_entries: int | None = None,
                             timeout_s: float | None = None) -> dict[str, Any]: ...
    async def archive_artifacts(self, slot: Slot, path: str = ".", *,
                                archive_format: str = "tar.gz", max_bytes: int | None = None,
                                max_entries: int | None = None,
                                timeout_s: float | None = None) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
def daemon() -> Iterator[Private]:
    with Private(backend="local") as d:
        yield d


@pytest.fixture(scope="module")
def networked() -> Iterator[Private]:
    with Private("--network", "host", backend="local") as d:
        yield d


@pytest.fixture(scope="module")
def one_slot() -> Iterator[Private]:
    with Private("--slots-max", "1", backend="local") as d:
        yield d


@pytest.fixture
def mortal() -> Iterator[Private]:
    """One whose executor is killed."""
    with Private(backend="local") as d:
        yield d


def used_slots(status: dict[str, Any]) -> int:
    return int(status["slots"]["used"])


async def until(condition: Any, what: str, seconds: float = 30) -> None:
    """Looks again and again; what does not come true is an error."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not after {seconds} s: {what}") from None


async def until_running(backend: ToolringBackend) -> None:
    async def running() -> bool:
        return bool((await backend.client.status())["calls_running"])

    await until(running, "a call runs")


# ---- the interface -------------------------------------------------------------------------------

def protocol_members() -> list[str]:
    return sorted(n for n in vars(Backend) if not n.startswith("_"))


def test_every_member_of_the_protocol_is_there() -> None:
    backend = ToolringBackend()
    assert isinstance(backend, Backend)
    assert len(protocol_members()) == 9
    assert backend.default_timeout_s is None
    assert ToolringBackend(default_timeout_s=7.0).default_timeout_s == 7.0


@pytest.mark.parametrize("name", [n for n in protocol_members() if n != "default_timeout_s"])
def test_members_take_what_the_replaced_system_passes(name: str) -> None:
    theirs = inspect.signature(getattr(Backend, name))
    ours = inspect.signature(getattr(ToolringBackend, name))
    assert inspect.iscoroutinefunction(getattr(ToolringBackend, name))
    assert [p.replace(annotation=p.empty) for p in theirs.parameters.values()] == \
           [p.replace(annotation=p.empty) for p in ours.parameters.values()]


def test_nothing_of_the_replaced_system_is_imported() -> None:
    import subprocess
    import sys
    code = ("import sys, toolring.atropos; "
            "print([m for m in sys.modules if m.split('.')[0] in "
            "('atropos', 'atroposlib', 'pydantic', 'aiohttp', 'httpx', 'fastapi')])")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


async def test_used_before_it_is_started_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        await ToolringBackend().acquire("t")


def test_name_private_and_client_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        ToolringBackend("a", private=True)


# ---- slots ---------------------------------------------------------------------------------------

async def test_a_slot_is_what_callers_know(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        assert slot.slot_id and slot.trajectory_id == "t"
        assert slot.container_addr == daemon.name and daemon.name in slot.alloc_id
        assert slot.workspace_dir == "/workspace"
        assert slot.is_acquired and not slot.is_available
        assert json.loads(json.dumps(slot.to_dict()))["state"] == "acquired"
        assert backend.get_stats()["acquired_slots"] == 1
        await backend.release(slot, reset_workspace=True)
        assert slot.is_available and slot.trajectory_id is None
        assert backend.get_stats()["acquired_slots"] == 0
        nameless = [await backend.acquire(), await backend.acquire()]
        assert len({s.trajectory_id for s in nameless}) == 2
        assert len({s.slot_id for s in nameless}) == 2


async def test_one_id_is_one_slot_until_its_last_release(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        first, second = await asyncio.gather(backend.acquire("t"), backend.acquire("t"))
        assert first.slot_id == second.slot_id
        await backend.execute_batch([(first, "write_file", {"path": "f", "content": "x"})])
        await backend.release(first, reset_workspace=True)
        [kept] = await backend.execute_batch([(second, "read_file", {"path": "f"})])
        assert kept.output == "x"
        await backend.release(second, reset_workspace=True)
        third = await backend.acquire("t")
        [gone] = await backend.execute_batch([(third, "read_file", {"path": "f"})])
        assert gone.error == "File not found: f"


async def test_a_released_slot_takes_no_calls(daemon: Private,
                                        caplog: pytest.LogCaptureFixture) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        await backend.release(slot, reset_workspace=True)
        [result] = await backend.execute_batch([(slot, "bash", {"command": "true"})])
        assert (result.success, result.verdict) == (False, "invalid")
        assert result.error == f"slot {slot.slot_id} is not acquired"
        assert (await backend.read_artifact(slot, "f"))["success"] is False
        assert "not acquired" not in caplog.text
        await backend.release(slot)
        assert "not acquired" in caplog.text


async def test_files_are_kept_for_their_trajectory_alone(daemon: Private) -> None:
    """Released without a reset: the same id finds its files again, others do not, until a purge."""
    backend = ToolringBackend(daemon)
    for purge, found in ((False, True), (True, False)):
        await backend.start()
        slot = await backend.acquire("keeper")
        await backend.execute_batch([(slot, "write_file", {"path": "f", "content": "x"})])
        await backend.release(slot)
        for i in range(8):
            other = await backend.acquire(f"other-{purge}-{i}")
            assert (await backend.list_artifacts(other))["entries"] == []
        await backend.stop(purge=purge)
        async with ToolringBackend(daemon) as later:
            slot = await later.acquire("keeper")
            [read] = await later.execute_batch([(slot, "read_file", {"path": "f"})])
            assert read.success is found
            await later.release(slot, reset_workspace=True)


async def test_stop_gives_all_back(daemon: Private) -> None:
    async with toolring.connect(daemon) as client:
        async def none_used() -> bool:
            return used_slots(await client.status()) == 0

        await until(none_used, "the tests before left nothing")
        backend = ToolringBackend(daemon)
        await backend.start()
        await asyncio.gather(*[backend.acquire() for _ in range(5)])
        assert used_slots(await client.status()) == 5
        await backend.stop()
        await until(none_used, "the session's slots are back")
        # A client that was given stays open, and its slots go back all the same.
        shared = ToolringBackend(client=client)
        await shared.start()
        assert (await shared.acquire("t")).container_addr == daemon.name
        assert used_slots(await client.status()) == 1
        await shared.stop()
        await until(none_used, "the shared session's slots are back")
        assert await client.ping() > 0


async def test_a_cancelled_acquire_leaves_no_slot_behind(one_slot: Private) -> None:
    async with ToolringBackend(one_slot) as backend:
        for _ in range(20):
            held = await backend.acquire("held")
            waiting = asyncio.ensure_future(backend.acquire("waiting"))
            await asyncio.sleep(0)
            freeing = asyncio.ensure_future(backend.release(held, reset_workspace=True))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, freeing, return_exceptions=True)

        async def none_used() -> bool:
            return used_slots(await backend.client.status()) == 0

        await until(none_used, "no slot is held")
        assert backend.get_stats()["acquired_slots"] == 0


# ---- calls ---------------------------------------------------------------------------------------

async def test_results_come_in_order_with_all_their_members(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        slots = [await backend.acquire(f"t{i}") for i in range(4)]
        requests = [(slots[i % 4], "bash", {"command": f"sleep 0.0{(7 * i) % 5}; echo {i}"})
                    for i in range(40)]
        results = await backend.execute_batch(requests, timeout_s=20.0)
        assert [r.output for r in results] == [str(i) for i in range(40)]
        assert [r.slot_id for r in results] == [slots[i % 4].slot_id for i in range(40)]
        assert len({r.execution_id for r in results}) == 40
        for r in results:
            assert (r.success, r.error, r.metadata["exit_code"]) == (True, "", 0)
            assert r.metadata["verdict"] == "ok" and r.metadata["infrastructure_fault"] is False
            assert r.metadata["timing"]["run_ns"] > 0
        assert await backend.execute_batch([]) == []


async def test_calls_of_a_slot_run_in_order(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        calls = [(slot, "bash", {"command": f"echo {i} >> log"}) for i in range(50)]
        await backend.execute_batch([*calls[:25]])
        await asyncio.gather(*[backend.execute_batch([c]) for c in calls[25:]])
        [log] = await backend.execute_batch([(slot, "bash", {"command": "cat log"})])
        assert log.output.split() == [str(i) for i in range(50)]


async def test_to_tool_result_and_what_a_model_is_shown(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        [ran] = await backend.execute_batch([(slot, "bash", {"command": "echo hi; exit 3"})])
        result = ran.to_tool_result()
        assert isinstance(result, ToolResult)
        assert (result.success, result.output, result.error) == (False, "hi", "Exit code: 3")
        assert result.uniq_id == ran.execution_id
        assert result.to_dict() == {"success": False, "output": "hi", "error": "Exit code: 3",
                                    "metadata": ran.metadata, "uniq_id": ran.execution_id}
        assert (result.verdict, result.infrastructure_fault) == ("failed", False)
        json.dumps(result.to_dict())
        xml = result.to_xml()
        shown = json.loads(xml.removeprefix("<tool_response>").removesuffix("</tool_response>"))
        # Nothing that differs from run to run, and nothing that the replaced system did not show.
        assert shown == {"success": False, "output": "hi", "uniq_id": ran.execution_id,
                         "error": "Exit code: 3",
                         "metadata": {"exit_code": 3, "sandboxed": True, "network_isolated": True}}


@pytest.mark.parametrize("how", ["batch", "arguments", "default"])
async def test_where_a_timeout_comes_from(daemon: Private, how: str) -> None:
    default = 1.0 if how == "default" else 60.0
    arguments: dict[str, Any] = {"command": "echo before; sleep 4321"}
    if how == "arguments":
        arguments["timeout"] = 1
    async with ToolringBackend(daemon, default_timeout_s=default) as backend:
        slot = await backend.acquire("t")
        [r] = await backend.execute_batch([(slot, "bash", arguments)],
                                          timeout_s=1.0 if how == "batch" else None)
        assert (r.success, r.verdict, r.output) == (False, "timeout", "before")
        assert r.metadata["timeout"] is True and r.metadata["processes_left"] == 0
        assert r.infrastructure_fault is False


@pytest.mark.parametrize(("tool", "arguments", "error"), [
    ("nope", {}, "Unknown tool: nope"),
    ("terminal", {"command": "true", "background": True},
     "terminal background execution is not supported in sandbox"),
    ("bash", {"command": 5}, "arguments.command must be a string without NUL"),
    ("bash", ["not", "a", "map"], ""),
    ("bash", {"command": object()}, ""),
    ("bash", {"command": "true", "timeout": -1}, ""),
])
async def test_bad_calls_are_results(daemon: Private, tool: str, arguments: Any,
                               error: str) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        bad, good = await backend.execute_batch([(slot, tool, arguments),
                                                 (slot, "terminal", {"command": "echo good"})])
        assert (bad.success, bad.verdict) == (False, "invalid")
        assert bad.infrastructure_fault is False
        assert bad.error == error if error else bad.error
        assert (good.success, good.output) == (True, "good")


async def test_exec_is_text_here(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        [r] = await backend.execute_batch(
            [(slot, "exec", {"argv": ["sh", "-c", "printf 'a\\377'; echo b >&2"]})])
        assert (r.success, r.output) == (True, "a\ufffd")
        assert (r.metadata["stdout"], r.metadata["stderr"]) == ("a\ufffd", "b\n")
        assert isinstance(r.result, toolring.ExecResult) and r.result.stdout == b"a\xff"


# ---- policy --------------------------------------------------------------------------------------

async def test_policy_that_does_not_hold_is_refused_and_not_ignored(networked: Private) -> None:
    """An executor says allow_network=False in a call's arguments: toolringd would drop that."""
    closed: dict[str, Any] = {"command": "echo ran > ran", "allow_network": False}
    async with ToolringBackend(networked) as backend:
        slot = await backend.acquire("t")
        [refused] = await backend.execute_batch([(slot, "bash", closed)])
        assert (refused.verdict, refused.infrastructure_fault) == ("unavailable", True)
        assert "allow_network is false" in refused.error
        assert (await backend.list_artifacts(slot))["entries"] == []
        # The twin that does not ask for it, and one whose demand is met.
        [open_one, sandboxed] = await backend.execute_batch([
            (slot, "bash", {"command": "true", "allow_network": True}),
            (slot, "bash", {"command": "true", "require_sandbox": True})])
        assert open_one.success and open_one.metadata["network_isolated"] is False
        assert sandboxed.success and sandboxed.metadata["sandboxed"] is True
    async with ToolringBackend(networked, spec={"network": "none"}) as backend:
        slot = await backend.acquire("t2")
        [ran] = await backend.execute_batch([(slot, "bash", closed)])
        assert ran.success and ran.metadata["network_isolated"] is True


async def test_a_spec_beyond_what_the_operator_allows_is_an_error(daemon: Private) -> None:
    async with ToolringBackend(daemon, spec={"network": "host"}) as backend:
        with pytest.raises(toolring.ToolringError, match="operator allows slots no network"):
            await backend.acquire("t")


# ---- faults --------------------------------------------------------------------------------------

async def test_the_death_of_the_executor_is_nobodys_failure(mortal: Private) -> None:
    """A call that may have run is "unknown", those behind it "not_started", all of them flagged."""
    async with ToolringBackend(mortal) as backend:
        slot = await backend.acquire("t")
        requests = [(slot, "bash", {"command": "sleep 4321"}),
                    (slot, "bash", {"command": "echo behind"})]
        batch = asyncio.ensure_future(backend.execute_batch(requests))
        await until_running(backend)
        os.kill((await backend.client.status())["executor_pid"], signal.SIGKILL)
        running, behind = await batch
        assert (running.verdict, behind.verdict) == ("unknown", "not_started")
        for r in (running, behind):
            assert r.success is False and r.infrastructure_fault is True
            assert r.error.startswith(f"Infrastructure fault ({r.verdict}): ")
            assert r.to_tool_result().infrastructure_fault is True
            assert "exit_code" not in r.metadata
        # The slot is the trajectory's still, and the next call runs in it.
        [after] = await backend.execute_batch([(slot, "bash", {"command": "echo after"})])
        assert (after.success, after.output) == (True, "after")
        await backend.release(slot, reset_workspace=True)


async def test_a_slot_that_went_is_never_silently_another(daemon: Private) -> None:
    """What runs in an empty slot, since the one with the files is gone, is nobody's failure."""
    async with ToolringBackend(daemon) as backend, toolring.connect(daemon.name) as other:
        for artifact in (False, True):
            slot = await backend.acquire("t")
            await backend.execute(slot, "write_file", {"path": "f", "content": "x"})
            await other.trajectory("t").release()
            if artifact:
                answer = await backend.read_artifact(slot, "f")
                assert answer["metadata"]["infrastructure_fault"] and "gone" in answer["error"]
            else:
                read = await backend.execute(slot, "read_file", {"path": "f"})
                assert (read.verdict, read.infrastructure_fault) == ("unknown", True)
                assert read.error.startswith("Infrastructure fault (unknown): the slot of")
            later = await backend.execute(slot, "bash", {"command": "true"})
            assert (later.verdict, later.infrastructure_fault) == ("unavailable", True)
            await backend.release(slot)
            slot = await backend.acquire("t")
            assert (await backend.execute(slot, "bash", {"command": "true"})).success
            await backend.release(slot, reset_workspace=True)


async def test_an_acquired_slot_is_not_taken_away_from_who_waits_for_a_model(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """It outlives toolringd's --idle-ttl-s; one that is only kept does not outlive its own."""
    with Private("--idle-ttl-s", "0.2", backend="local") as d:
        async with ToolringBackend(d) as backend:
            slot = await backend.acquire("t")
            await backend.execute(slot, "write_file", {"path": "f", "content": "x"})
            async with toolring.connect(d.name) as other:
                # Of one that is as idle, and was acquired by nobody here, it is known to be over.
                await other.trajectory("idle").bash("true")

                async def idle_is_gone() -> bool:
                    return used_slots(await other.status()) == 1

                await until(idle_is_gone, "the idle slot is taken back")
            assert (await backend.execute(slot, "read_file", {"path": "f"})).output == "x"
            monkeypatch.setattr("toolring.atropos._backend.KEPT_S", 0.2)
            await backend.release(slot)

            async def kept_is_gone() -> bool:
                return used_slots(await backend.client.status()) == 0

            await until(kept_is_gone, "what was kept is gone")


async def test_resubmit_runs_what_never_began(mortal: Private) -> None:
    async with ToolringBackend(mortal, resubmit=True) as backend:
        slot = await backend.acquire("t")
        requests = [(slot, "bash", {"command": "sleep 4321"}),
                    (slot, "bash", {"command": "echo behind"})]
        batch = asyncio.ensure_future(backend.execute_batch(requests))
        await until_running(backend)
        os.kill((await backend.client.status())["executor_pid"], signal.SIGKILL)
        running, behind = await batch
        assert (running.verdict, behind.verdict) == ("unknown", "ok")
        assert behind.output == "behind"


async def test_without_toolringd_start_raises_and_release_does_not(mortal: Private,
                                                                   tmp_path: Any) -> None:
    absent = ToolringBackend(str(tmp_path / "absent.sock"), open_timeout=0.2)
    with pytest.raises(toolring.Unavailable):
        await absent.start()
    backend = ToolringBackend(mortal, reconnect_timeout=0.2)
    await backend.start()
    slot = await backend.acquire("t")
    mortal.stop()
    [r] = await backend.execute_batch([(slot, "bash", {"command": "true"})])
    assert r.verdict in FAULTS and r.infrastructure_fault
    answer = await backend.read_artifact(slot, "f")
    assert answer["success"] is False and answer["metadata"]["infrastructure_fault"]
    with pytest.raises(toolring.ToolringError):
        await backend.acquire("t2")
    await backend.release(slot, reset_workspace=True)
    await backend.stop(purge=True)


class Flaky:
    """A trajectory whose executor dies while it is released."""

    id = "t"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.n_tries = 0

    async def release(self, *, keep_workspace: bool) -> toolring.Result:
        self.n_tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return toolring.Result(success=True, verdict="ok")


@pytest.mark.parametrize(("errors", "n_tries", "said"), [
    ([], 1, ""),
    ([toolring.Unknown("u"), toolring.NotStarted("n")], 3, ""),
    ([toolring.Unknown("u")] * 5, 3, "release of trajectory t: u"),
    ([toolring.Unavailable("gone")], 1, "release of trajectory t: gone")])
async def test_a_release_is_tried_again_and_never_raises(
        errors: list[Exception], n_tries: int, said: str,
        caplog: pytest.LogCaptureFixture) -> None:
    trajectory: Any = Flaky(*errors)
    await ToolringBackend()._give_back(trajectory, reset=True)
    assert trajectory.n_tries == n_tries
    assert caplog.text.count("release of trajectory") == bool(said) and said in caplog.text


async def test_ids_whose_files_are_kept_are_not_remembered_without_end(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolring.atropos._backend.KEPT_MAX", 3)
    backend = ToolringBackend()
    for i in range(10):
        trajectory: Any = Flaky()
        trajectory.id = f"t{i}"
        await backend._give_back(trajectory, reset=False)
    assert list(backend._kept) == ["t7", "t8", "t9"]


async def test_a_private_toolringd_lives_from_start_to_stop(daemon: Private) -> None:
    backend = ToolringBackend(private={"network": "host", "slots_max": 3})
    await backend.start()
    await backend.start()  # once more is no second one
    slot = await backend.acquire("t")
    [r] = await backend.execute_batch([(slot, "bash", {"command": "echo hi"})])
    assert r.output == "hi" and r.metadata["network_isolated"] is False
    assert backend.get_stats()["total_slots"] == 3
    pid = (await backend.client.status())["executor_pid"]
    await backend.stop(purge=True)
    assert not is_alive(pid)
    assert not os.path.exists(slot.container_addr)


# ---- artifacts -----------------------------------------------------------------------------------

async def test_artifacts_have_the_old_form(daemon: Private) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        await backend.execute_batch([(slot, "bash", {"command": "printf abc > d.txt; mkdir sub"})])
        text = await backend.read_artifact(slot, "d.txt")
        text.pop("metadata")
        assert text == {"success": True, "error": "", "content": "abc", "encoding": "text",
                        "truncated": False, "bytes": 3, "file_size": 3, "path": "d.txt",
                        "mime": "text/plain", "sha256": None, "http_status": 200}
        coded = await backend.read_artifact(slot, "d.txt", encoding="base64", max_bytes=2,
                                            include_sha256=True, timeout_s=5.0)
        assert base64.b64decode(coded["content"]) == b"ab"
        assert coded["truncated"] is True and len(coded["sha256"]) == 64
        listed = await backend.list_artifacts(slot, ".", recursive=True, max_entries=10)
        assert [set(e) for e in listed["entries"]] == [{"path", "is_dir", "size", "mtime"}] * 2
        assert isinstance(listed["entries"][0]["mtime"], float)
        packed = await backend.archive_artifacts(slot, ".", archive_format="tgz")
        assert (packed["encoding"], packed["format"]) == ("base64", "tar.gz")
        plain = gzip.decompress(base64.b64decode(packed["content"]))
        assert "d.txt" in tarfile.open(fileobj=io.BytesIO(plain)).getnames()
        assert packed["bytes"] == len(base64.b64decode(packed["content"]))
        json.dumps([text, coded, listed, packed])


@pytest.mark.parametrize(("path", "options", "status", "verdict"), [
    ("none", {}, 404, "failed"), ("../../etc/passwd", {}, 403, "denied"),
    ("f", {"encoding": "hex"}, 400, "invalid")])
async def test_artifacts_that_cannot_be_had(daemon: Private, path: str, options: dict[str, Any],
                                      status: int, verdict: str) -> None:
    async with ToolringBackend(daemon) as backend:
        slot = await backend.acquire("t")
        answer = await backend.read_artifact(slot, path, **options)
        assert answer["success"] is False and answer["error"]
        assert (answer["http_status"], answer["metadata"]["verdict"]) == (status, verdict)
        assert answer["metadata"]["infrastructure_fault"] is False
