# SPDX-License-Identifier: Apache-2.0
"""
Results and exceptions as values: one line to show, equal, copied, pickled. What toolringd really
answers with, of every kind, is in them, with every field set.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import gc
import hashlib
import io
import json
import pickle
import tarfile

import pytest
import toolring
import toolring.sync
from toolring import ArtifactResult, ExecResult, InvalidCall, Result, Timing

CLASSES = [Result, ExecResult, ArtifactResult]

# Texts that would break a line, fill a screen, or take ten characters each to show.
TEXTS = ["", "hi", "a\nb\r\nc\x85d\u2028e\u2029f\x0bg", "x" * 10_000_000, "\U0010ffff" * 100,
         "\x00" * 100, "'\"" * 100, "\udc80" * 100, "\u00e4" * 100, "\x1b[31m" * 50]


def samples() -> list[Result]:
    timing = Timing(1, 2, 3, 4, 5)
    return [
        Result(),
        Result(success=True, output="a\nb", metadata={"k": [1, {"n": None}]}, verdict="ok",
               timing=timing, exit_code=0, uniq_id="u", slot_id="s"),
        Result(verdict="timeout", timed_out=True, exit_code=-1, truncated=True),
        ExecResult(verdict="failed", exit_code=137, stdout=b"\0\xff", stderr=b"e",
                   metadata={"signal": 9}),
        ArtifactResult(success=True, verdict="ok", content=b"\xff", encoding="bytes", size=1),
        ArtifactResult(success=True, verdict="ok", entries=[
            {"path": "a", "is_dir": False, "size": 3, "mtime": 1.5}]),
    ]


# ---- as values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("cls", CLASSES)
def test_repr_fits_one_line(cls, text):
    data = text.encode(errors="surrogatepass")
    more = {ExecResult: {"stdout": data, "stderr": data},
            ArtifactResult: {"content": data, "path": text}}.get(cls, {})
    shown = repr(cls(output=text, error=text, slot_id=text, verdict="failed", exit_code=1, **more))
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    assert len(shown) < 600


def test_repr_says_what_matters():
    assert repr(Result(success=True, output="hi\n", verdict="ok", exit_code=0,
                       timing=Timing(run_ns=1_500_000))) == (
        r"Result(ok, exit_code=0, output='hi\n', 1.500 ms)")
    assert repr(Result(verdict="failed", error="Exit code: 3", exit_code=3)) == (
        "Result(failed, exit_code=3, 0.000 ms)")
    assert repr(Result(verdict="denied", error="no")) == "Result(denied, error='no', 0.000 ms)"
    cut = ExecResult(verdict="ok", exit_code=0, stdout=b"x" * 1000, truncated=True)
    assert repr(cut) == (
        f"ExecResult(ok, exit_code=0, stdout={b'x' * 60!r}... (1000), truncated, 0.000 ms)")
    assert repr(ArtifactResult(verdict="ok", entries=[], path="a")) == (
        "ArtifactResult(ok, path='a', entries=0, 0.000 ms)")
    assert repr(Timing(1_000_000, 0, 0, 2_500_000, 0)) == (
        "Timing(queue=1.000, slot_wait=0.000, start=0.000, run=2.500, reply=0.000 ms)")


@pytest.mark.parametrize("result", samples(), ids=range(len(samples())))
def test_copies_are_equal(result):
    copies = [copy.copy(result), copy.deepcopy(result), dataclasses.replace(result)]
    copies += [pickle.loads(pickle.dumps(result, protocol))
               for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in copies:
        assert other == result
        assert hash(other) == hash(result)
        assert type(other) is type(result)
        assert type(other.timing) is Timing
    # The twin: one that differs anywhere is another one.
    assert dataclasses.replace(result, output="other") != result
    assert dataclasses.replace(result, metadata={"other": 1}) != result
    assert dataclasses.replace(result, timing=Timing(9)) != result


def test_of_another_class_is_another_result():
    assert Result() != ExecResult()
    assert Result() == Result()


@pytest.mark.parametrize("result", samples(), ids=range(len(samples())))
def test_frozen_and_slotted(result):
    for name in (*(f.name for f in dataclasses.fields(result)), "another"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"'{name}' of a .*replace"):
            setattr(result, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"'{name}' of a .*replace"):
            delattr(result, name)
    assert not hasattr(result, "__dict__")
    assert dataclasses.replace(result, output="new").output == "new"


def test_true_if_it_succeeded():
    assert Result(success=True)
    assert not Result(output="x")


def test_matches_and_goes_to_json():
    match Result(verdict="failed", exit_code=2):
        case Result(verdict="failed", exit_code=code):
            assert code == 2
        case _:
            pytest.fail("no match")
    known = json.loads(json.dumps(dataclasses.asdict(samples()[1])))
    assert known["verdict"] == "ok" and known["timing"] == [1, 2, 3, 4, 5]


def test_timing():
    assert Timing(1, 2, 3, 4, 5).total_ns == 15
    assert Timing(run_ns=4) == (0, 0, 0, 4, 0)


def test_data_is_bytes():
    assert ArtifactResult().data == b""
    assert ArtifactResult(content="\u00e4", encoding="text").data == "\u00e4".encode()
    assert ArtifactResult(content="/w==", encoding="base64").data == b"\xff"
    assert ArtifactResult(content=b"\xff", encoding="bytes").data == b"\xff"


EXCEPTIONS = [toolring.ToolringError, toolring.Unavailable, toolring.NotStarted, toolring.Unknown,
              toolring.InvalidCall, toolring.Forked]


@pytest.mark.parametrize("cls", EXCEPTIONS)
@pytest.mark.parametrize("result", [None, Result(error="why", verdict="unavailable")])
def test_exceptions_carry_their_result(cls, result):
    error = cls("why\nit was", result)
    error.add_note("a note")
    for other in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is cls
        assert isinstance(other, toolring.ToolringError)
        assert str(other) == "why\nit was"
        assert other.result == result
        assert other.__notes__ == ["a note"]
        assert len(repr(other).splitlines()) == 1
    assert f"{cls.__module__}.{cls.__qualname__}" == f"toolring.{cls.__name__}"


def test_exceptions_without_a_result():
    assert toolring.Unavailable("x").result is None
    assert str(toolring.Unavailable()) == ""


def test_invalid_call_is_a_value_error():
    assert issubclass(toolring.InvalidCall, ValueError)
    assert not issubclass(toolring.Unavailable, ValueError)


# ---- what toolringd answers ---------------------------------------------------------------------


def check_whole(result: Result) -> None:
    """Every field is set, and is of its type; what came over the wire is a value like any other."""
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    assert type(values["success"]) is bool and values["success"] == (values["verdict"] == "ok")
    assert all(type(values[name]) is str for name in
               ("output", "error", "verdict", "uniq_id", "slot_id"))
    assert type(values["metadata"]) is dict
    assert type(values["timing"]) is Timing and len(values["timing"]) == 5
    assert all(type(ns) is int and ns >= 0 for ns in values["timing"])
    assert not gc.is_tracked(values["timing"])  # thousands of results keep the collector busy enough
    assert values["exit_code"] is None or type(values["exit_code"]) is int
    assert type(values["timed_out"]) is bool
    assert values["timed_out"] == (values["verdict"] == "timeout")
    assert type(values["truncated"]) is bool
    assert bool(values["error"]) == (not values["success"])
    if isinstance(result, ExecResult):
        assert type(result.stdout) is bytes and type(result.stderr) is bytes
    assert pickle.loads(pickle.dumps(result)) == result == type(result)(**values)
    assert len(repr(result).splitlines()) == 1
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        result.output = "x"


def test_of_a_command(t):
    result = t.bash("echo hi; echo e >&2; exit 3")
    check_whole(result)
    assert type(result) is Result
    assert (result.verdict, result.exit_code, result.output) == ("failed", 3, "hi\n\n[stderr]\ne")
    assert result.error == "Exit code: 3"
    assert result.metadata["processes_left"] == 0
    assert result.timing.run_ns > 0
    assert not result.truncated and not result.timed_out
    killed = t.bash("kill -9 $$")
    check_whole(killed)
    assert (killed.exit_code, killed.signal) == (137, 9)
    fine = t.bash("true")
    check_whole(fine)
    assert fine and (fine.exit_code, fine.signal) == (0, 0)


def test_of_a_timeout(t):
    result = t.bash("echo early; sleep 60", timeout=1)
    check_whole(result)
    assert result.timed_out and result.exit_code == -1 and result.output == "early"


def test_of_what_was_cut_off(t):
    cut = t.bash("head -c 60000 /dev/zero | tr '\\0' x")
    check_whole(cut)
    assert cut.truncated
    assert cut.output == "x" * 50_000 + "\n... (output truncated)"
    # The twin: the same words, said by the command itself.
    said = t.bash("printf 'x\\n... (output truncated)'")
    assert said.output == "x\n... (output truncated)" and not said.truncated
    errors = t.shell("head -c 60000 /dev/zero | tr '\\0' x")
    assert errors.truncated


def test_of_exec(t):
    result = t.exec(["sh", "-c", r"cat; printf '\376' >&2; exit 2"], stdin=b"\0\xff\n")
    check_whole(result)
    assert type(result) is ExecResult
    assert (result.stdout, result.stderr, result.exit_code) == (b"\0\xff\n", b"\xfe", 2)
    assert not result.not_started
    missing = t.exec(["no-such-program"])
    check_whole(missing)
    assert missing.not_started and missing.exit_code == 127 and missing.verdict == "failed"
    cut = t.exec("printf 0123456789", stdout_max=4)
    assert cut.truncated and cut.stdout == b"0123"
    assert not t.exec("printf 0123", stdout_max=4).truncated
    late = t.exec(["sleep", "60"], timeout=1)
    check_whole(late)
    assert late.timed_out and (late.stdout, late.stderr) == (b"", b"")
    where = t.exec(["sh", "-c", "pwd; echo $A"], cwd="/tmp", env={"A": "b c"})
    assert where.stdout == b"/tmp\nb c\n"


def test_of_exec_that_was_refused(t):
    """Payloads without stdout and stderr: the fields are there all the same."""
    with pytest.raises(InvalidCall) as caught:
        t.exec([])
    check_whole(caught.value.result)
    assert (caught.value.result.stdout, caught.value.result.stderr) == (b"", b"")
    assert type(caught.value.result) is ExecResult


def test_of_files(t):
    written = t.write_file("a/b.txt", "text \u2713\n")
    check_whole(written)
    assert written.exit_code is None and written.metadata["size"] == len("text \u2713\n")
    read = t.read_file("a/b.txt")
    check_whole(read)
    assert read.output == "text \u2713\n"
    missing = t.read_file("nothing")
    check_whole(missing)
    assert missing.verdict == "failed" and "nothing" in missing.error
    outside = t.read_file("/etc/passwd")
    check_whole(outside)
    assert outside.verdict == "denied"


def test_of_the_shell_and_its_terminal(t):
    assert t.shell("x=3; cd /tmp").success
    result = t.shell("echo $x; pwd; false")
    check_whole(result)
    assert (result.output, result.exit_code) == ("3\n/tmp", 1)
    keys = t.terminal.send_keys(["echo typed", "Enter"], block=True)
    check_whole(keys)
    assert keys.exit_code is None and keys.metadata["seen"] is True
    screen = t.terminal.capture()
    check_whole(screen)
    assert "typed" in screen.output and not screen.truncated
    assert t.terminal.capture(entire=True).metadata["capture_entire"] is True
    missed = t.terminal.wait_for("never shown", max_wait=0.1)
    check_whole(missed)
    assert missed.timed_out
    assert t.terminal.wait_for("t[y]ped", regex=True)
    assert '"version": 2' in t.terminal.stream().output.splitlines()[0]
    assert t.terminal.stream(reset=True, max_bytes=100).success
    assert t.terminal.resize(100, 30).metadata["pane_width"] == 100
    assert t.terminal.start(width=90, height=20).metadata["pane_height"] == 20
    assert t.terminal.stop().success


def test_of_artifacts(t):
    content = b"hello \xff\n"
    written = t.artifacts.write("a/b.txt", content)
    check_whole(written)
    assert type(written) is ArtifactResult
    assert (written.path, written.size, written.content) == ("a/b.txt", len(content), None)
    assert t.artifacts.write("a/c.txt", "\u00e4").size == 2
    read = t.artifacts.read("a/b.txt", sha256=True)
    check_whole(read)
    assert (read.content, read.data, read.encoding) == (content, content, "bytes")
    assert read.sha256 == hashlib.sha256(content).hexdigest()
    assert (read.size, read.file_size, read.mime) == (len(content), len(content), "text/plain")
    cut = t.artifacts.read("a/b.txt", encoding="text", max_bytes=3)
    check_whole(cut)
    assert cut.truncated and (cut.content, cut.size, cut.file_size) == ("hel", 3, len(content))
    coded = t.artifacts.read("a/b.txt", encoding="base64")
    assert coded.content == base64.b64encode(content).decode() and coded.data == content
    assert t.artifacts.read("/etc/hostname", anywhere=True).success
    with pytest.raises(InvalidCall, match="Not a file") as caught:
        t.artifacts.read("a")
    check_whole(caught.value.result)


def test_of_artifacts_that_are_not_there(t):
    missing = t.artifacts.read("nothing")
    check_whole(missing)
    assert missing.not_found and missing.verdict == "failed" and missing.content is None
    outside = t.artifacts.read("/etc/hostname")
    check_whole(outside)
    assert outside.verdict == "denied" and not outside.not_found


def test_of_lists_and_archives(t):
    t.artifacts.write("a/b", b"123")
    listed = t.artifacts.list(recursive=True)
    check_whole(listed)
    assert [(e["path"], e["is_dir"], e.get("size")) for e in listed.entries] == [
        ("a", True, None), ("a/b", False, 3)]
    assert all(type(e["mtime"]) is float for e in listed.entries)
    assert t.artifacts.list(recursive=True, max_entries=1).truncated
    packed = t.artifacts.archive("a", format="tar")
    check_whole(packed)
    assert (packed.format, packed.entry_count, packed.size) == ("tar", 1, len(packed.content))
    with tarfile.open(fileobj=io.BytesIO(packed.data)) as tar:
        assert any(name.endswith("b") for name in tar.getnames())
    refused = t.artifacts.archive("a", max_bytes=3)
    check_whole(refused)
    assert refused.verdict == "limit" and refused.content is None
    unpacked = t.artifacts.unpack("u", packed.data)
    check_whole(unpacked)
    assert (unpacked.path, unpacked.entry_count, unpacked.size) == ("u", 1, 3)
    assert t.artifacts.read("u/a/b").content == b"123"
    with pytest.raises(InvalidCall, match="archive"):
        t.artifacts.unpack("v", b"junk")


def test_of_the_slot(t):
    got = t.acquire({"disk": 64 << 20})
    check_whole(got)
    assert got.slot_id and "slot_id" in repr(got)
    again = t.acquire()
    assert again.slot_id == got.slot_id
    reset = t.reset()
    check_whole(reset)
    assert reset.output == f"Reset workspace for {got.slot_id}"
    check_whole(t.release())


def test_uniq_id_comes_back(t):
    assert t.call("bash", {"command": "true"}, uniq_id="call-1").uniq_id == "call-1"
    with pytest.raises(InvalidCall) as caught:
        t.call("no_such_tool", {}, uniq_id="call-2")
    assert caught.value.result.uniq_id == "call-2"


def test_bad_calls_are_raised_with_their_result(t):
    bad = [
        (lambda: t.call("no_such_tool"), "Unknown tool: no_such_tool"),
        (lambda: t.call("bash"), "arguments.command"),
        (lambda: t.bash("a\0b"), "arguments.command"),
        (lambda: t.bash("true", timeout=-1), "timeout_s"),
        (lambda: t.bash("true", timeout=float("nan")), "timeout_s"),
        (lambda: t.acquire({"bogus": 1}), 'unknown key "bogus" in spec'),
    ]
    for call, message in bad:
        with pytest.raises(InvalidCall, match=message) as caught:
            call()
        assert caught.value.result.verdict == "invalid"
        check_whole(caught.value.result)
        assert str(caught.value) == caught.value.result.error
    assert t.bash("true", timeout=2.5)
