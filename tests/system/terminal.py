# SPDX-License-Identifier: Apache-2.0
"""
The tmux tool, through the ring, with real programs in real slots.

Keys go in by their names, screens come out as text, the recording as whole lines; a size is what
programs see; what is waited for is seen, and what does not come is told and ends nothing. vim saves a
file, less pages, top refreshes, Python computes, tmux runs inside. A program that writes without end,
or reads nothing, keeps no call waiting. bash_stateful has the same shell. The shell's death is told
and made good; a call's timeout and cancel leave alone what runs in the terminal.

Usage: terminal.py BUILD [TEST...]
"""

import json
import os
import shutil
import signal
import sys
import time

TESTS_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
sys.path[:0] = [os.path.join(TESTS_FOLDER, name) for name in ("security", "support")]

import local  # noqa: E402
from lab import Lab, build_of, chosen, expect, run  # noqa: E402

PATIENCE_S = 60  # for what takes milliseconds


class Terminal:
    """The terminal of a slot of its own."""

    def __init__(self, lab):
        self.lab = lab
        self.slot = lab.slot()
        self.name = self.slot.name

    def call(self, action, timeout=PATIENCE_S, **more):
        """A call and its result, whatever that is."""
        return self.lab.ring.terminal(self.name, action, timeout, **more)

    def well(self, action, **more):
        """A call that must go well."""
        result = self.call(action, **more)
        if result["verdict"] != "ok" or result["error"] != "":
            shown = self.call("capture")["output"].rstrip("\n")
            raise AssertionError(f"{action} {more}: {result}\nshown is:\n{shown}")
        return result

    def keys(self, *keys, **more):
        result = self.well("send_keys", keys=list(keys), **more)
        expect(result["output"] == "ok", f"{keys}: {result}")
        return result["metadata"]

    def line(self, text, **more):
        """A line of text; until the prompt is back, if nothing else is said."""
        return self.keys(text, "Enter", **(more or {"block": True}))

    def wait(self, text, **more):
        return self.well("wait_for", wait_for=text, **more)

    def lines(self, **more):
        return self.well("capture", **more)["output"].split("\n")

    def shell(self, command):
        """The output of a command of bash_stateful."""
        result = self.lab.ring.shell(self.name, command, PATIENCE_S)
        expect(result["verdict"] == "ok", f"{command}: {result}")
        return result["output"]

    def beside(self, command):
        """A command in the terminal's room, but not in its shell."""
        return self.slot.keep(command, PATIENCE_S)

    def begin(self, text, mark):
        """Starts a program that is known by the mark on its command line, and waits until it runs."""
        self.line(text, max_wait_s=PATIENCE_S, wait_for="$")
        local.wait_until(lambda: self.beside(f"pgrep -f '^{mark}$' || true"), f"{mark} runs",
                         PATIENCE_S)

    def runs(self, mark):
        return self.beside(f"pgrep -f '^{mark}$' || true") != ""


def screens(lab):
    """The screens' processes."""
    found = []
    for pid in lab.daemon.family():
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                if f.read() == "toolring-screen\n":
                    found.append(pid)
        except OSError:
            pass
    return found


# ---- what each action does -----------------------------------------------------------------------


def sizes(lab):
    """A terminal has the size that was asked for; programs see it, and a new one while they run."""
    t = Terminal(lab)
    metadata = t.well("start")["metadata"]
    expect((metadata["pane_width"], metadata["pane_height"]) == (160, 40), f"as it is: {metadata}")
    t.line("stty size")
    expect("40 160" in t.lines(), f"{t.lines()}")
    metadata = t.well("start", pane_width=90, pane_height=25)["metadata"]
    expect((metadata["pane_width"], metadata["pane_height"]) == (90, 25), f"smaller: {metadata}")
    t.line("bash -c 'trap \"stty size; exit\" WINCH; echo is-$((1))-ready; while :; do sleep 0.05; "
           "done'", wait_for="is-1-ready")
    t.well("resize", pane_width=100, pane_height=30)
    t.wait("30 100")
    again = Terminal(lab)
    metadata = again.well("start", pane_width=20, pane_height=10)["metadata"]
    expect((metadata["pane_width"], metadata["pane_height"]) == (20, 10), f"the first: {metadata}")
    again.line("stty size")
    expect("10 20" in again.lines(), f"{again.lines()}")
    expect(len(again.lines()) == 11, "10 lines, each with its newline")
    for wrong in ({"pane_width": 19}, {"pane_width": 501}, {"pane_height": 9},
                  {"pane_height": 201}):
        result = again.call("start", **wrong)
        expect(result["verdict"] != "ok", f"{wrong}: {result}")


def keys_and_captures(lab):
    """Text and keys by name; the screen, all history, and no more bytes than were asked for."""
    t = Terminal(lab)
    metadata = t.line("echo one; echo two")
    expect(metadata["shell_started"] is True, f"the first call starts it: {metadata}")
    lines = t.lines()
    at = lines.index("one")
    expect(lines[at - 1].endswith("echo one; echo two") and lines[at + 1] == "two", f"{lines}")
    prompt = lines[at + 2]
    expect(lines[at - 1] == f"{prompt} echo one; echo two", f"one prompt, once: {lines}")
    metadata = t.keys("echo 1", "Left", "2", "C-a", "x", "BSpace", "End", "3")
    t.wait("echo 213")
    metadata = t.well("capture")["metadata"]
    expect((metadata["cursor_x"], metadata["cursor_y"]) == (len(prompt) + 9, at + 2), f"{metadata}")
    t.keys("C-c", block=True)
    t.line("seq 1000 1999")
    lines = t.lines()
    expect("1999" in lines and "1000" not in lines, f"the screen is the end: {lines}")
    everything = t.lines(capture_entire=True)
    first = everything.index("1000")
    expect(everything[first:first + 1000] == [str(i) for i in range(1000, 2000)],
           "history has all lines in order")
    whole = t.well("capture", capture_entire=True)
    part = t.well("capture", capture_entire=True, max_bytes=100)
    expect(not whole["metadata"]["truncated"] and part["metadata"]["truncated"], "which is cut")
    expect(len(part["output"]) <= 100 and whole["output"].endswith(part["output"]), f"{part}")
    t.line("clear; printf '\\033]2;a title \\342\\202\\254\\007'; echo '\u4f60\u597d'")
    result = t.well("capture")
    expect(result["metadata"]["title"] == "a title \u20ac", f"{result['metadata']}")
    expect("\u4f60\u597d" in result["output"], f"{result['output']}")


def streams(lab):
    """The recording comes in whole lines, each once, and again after a reset."""
    t = Terminal(lab)
    t.line("echo begun")
    whole = t.well("stream")
    lines = [json.loads(line) for line in whole["output"].split("\n")[:-1]]
    expect(lines[0]["version"] == 2 and (lines[0]["width"], lines[0]["height"]) == (160, 40),
           f"{lines[0]}")
    shown = "".join(text for _, kind, text in lines[1:] if kind == "o")
    expect("echo begun\r\n" in shown and "begun\r\n" in shown.partition("\n")[2], f"{shown!r}")
    expect(t.well("stream")["output"] == "", "nothing came since")
    t.line("seq 1 2000")
    t.well("resize", pane_width=100, pane_height=30)
    rest = ""
    while True:
        piece = t.well("stream", max_bytes=5000)
        expect(piece["output"] == "" or piece["output"].endswith("\n"), "whole lines")
        rest += piece["output"]
        if not piece["metadata"]["truncated"]:
            break
    expect(piece["metadata"]["offset"] >= len(whole["output"]) + len(rest.encode()), f"{piece}")
    lines = [json.loads(line) for line in rest.split("\n")[:-1]]
    expect([text for _, kind, text in lines if kind == "r"] == ["100x30"], "the new size")
    shown = "".join(text for _, kind, text in lines if kind == "o")
    expect("\r\n".join(str(i) for i in range(1, 2001)) in shown, "all that was written")
    times = [line[0] for line in lines]
    expect(times == sorted(times), "in order")
    again = t.well("stream", reset=True)["output"]
    expect(again.startswith(whole["output"] + rest), "from the beginning, the same")


def stops(lab):
    """stop ends the shell and what runs in its terminal; without it they live on."""
    t = Terminal(lab)
    t.line("name=value")
    t.begin("exec -a stop-mark sleep 1000 &", "stop-mark 1000")
    t.line("echo name is $name")
    expect("name is value" in t.lines(), "as long as it lives")
    t.begin("(exec -a front-mark sleep 1000)", "front-mark 1000")
    expect(t.well("stop")["output"] == "stopped", "stop")
    local.wait_until(lambda: not t.runs("front-mark 1000"), "the foreground has ended", PATIENCE_S)
    expect(t.well("stop")["output"] == "stopped", "once more, with nothing to stop")
    metadata = t.line("echo name is $name.")
    expect(metadata["shell_started"] and metadata["shell_lost"] == "stopped", f"{metadata}")
    expect("name is ." in t.lines(), f"a new one: {t.lines()}")


def waits(lab):
    """What comes later is waited for, as text or as an expression; what does not come is told."""
    t = Terminal(lab)
    t.well("start")
    result = t.call("wait_for", wait_for="now", max_wait_s=0.25)
    expect(result["verdict"] == "timeout" and result["success"] is False, f"not there: {result}")
    expect(result["error"] == "Not on the screen after 0.25s: now", f"{result}")
    expect(result["metadata"]["seen"] is False, f"{result}")
    t.beside("mkfifo gate")
    t.line("clear; cat gate", wait_for="$")
    waiting = lab.ring.start(t.name, "tmux", {"action": "wait_for", "wait_for": "^n[ou]w [0-9]+$",
                                              "regex": True}, PATIENCE_S)
    local.wait_until(lambda: lab.ring.status()["calls_running"] == 1, "it waits", PATIENCE_S)
    expect(not waiting.is_there(), "it is not there yet")
    lab.ring.cancel(waiting)
    expect(waiting.wait()["verdict"] == "cancelled", f"{waiting.wait()}")
    t.beside("(sleep 0.3; echo now 17 > gate) </dev/null >/dev/null 2>&1 &")
    result = t.well("wait_for", wait_for="^n[ou]w [0-9]+$", regex=True)
    expect(result["output"] == "seen", f"{result}")
    expect("now 17" in t.lines(), f"{t.lines()}")
    result = t.call("wait_for", wait_for="[0-9", regex=True)
    expect(result["verdict"] == "failed" and "regular expression" in result["error"], f"{result}")
    began = time.monotonic()
    t.keys("x", min_wait_s=0.3)
    expect(time.monotonic() - began >= 0.3, "min_wait_s is waited for in any case")


def blocks(lab):
    """block waits for the prompt, for as long as it may, and ends nothing."""
    t = Terminal(lab)
    t.line("clear")
    for i in range(20):
        t.line(f"sleep 0.0{i % 3}; echo done-$(({i} + 100))")
        expect(f"done-{i + 100}" in t.lines(), f"{i}: {t.lines()}")
    result = t.call("send_keys", keys=["exec -a block-mark sleep 1000 & fg", "Enter"], block=True,
                    max_wait_s=0.25)
    expect(result["verdict"] == "timeout" and result["metadata"]["seen"] is False, f"{result}")
    expect(result["error"] == "The terminal was not back at its prompt after 0.25s", f"{result}")
    expect(t.runs("block-mark 1000"), "it lives")
    # An order that the shell could not answer is still open: it is no lie when it comes.
    t.keys("C-c", block=True)
    expect(not t.runs("block-mark 1000"), "it was interrupted")
    result = t.call("send_keys", keys=["exec -a block-mark sleep 1000 & fg", "Enter"], block=True,
                    max_wait_s=0.25)
    expect(result["verdict"] == "timeout", f"{result}")
    t.keys("C-c")
    expect(t.shell("echo $((6 * 7))") == "42", "the same shell")
    metadata = t.line("true")
    expect(metadata["shell_started"] is False, f"and nothing was lost: {metadata}")


# ---- real programs -------------------------------------------------------------------------------


def needs(program):
    """Whether it is here to be tried; where everything must work it has to be."""
    if shutil.which(program, path="/usr/local/bin:/usr/bin:/bin"):
        return True
    expect(os.environ.get("TOOLRING_MUST_WORK") != "1", f"{program} is not installed")
    print(f"    without {program}")
    return False


def vim_saves(lab):
    """vi edits a file and saves it; read_file shows it, and did not before."""
    if not needs("vi"):
        return
    t = Terminal(lab)
    expect(t.slot.read("poem.txt")["verdict"] != "ok", "it is not there yet")
    t.line("vi -u NONE poem.txt", wait_for="poem.txt\" ")
    t.keys("i", "one", "Enter", "two", "Enter", "three", wait_for="three")
    t.keys("Escape", "k0", "d", "w", "gg", "i", "zero", "Enter", "Escape", wait_for="zero")
    t.keys(":wq", "Enter", block=True)
    result = t.slot.read("poem.txt")
    expect(result["output"] == "zero\none\n\nthree\n", f"{result}")


def less_pages(lab):
    """less shows the next page at a space, the last at G, and gives the screen back."""
    if not needs("less"):
        return
    t = Terminal(lab)
    t.well("start", pane_width=80, pane_height=24)
    t.line("echo before; seq 1001 1900 > numbers; less numbers", wait_for="1023")
    expect("1024" not in t.lines(), f"the first page: {t.lines()}")
    t.keys("Space", wait_for="1046")
    expect("1023" not in t.lines() and t.lines()[0] == "1024", f"the second: {t.lines()}")
    t.keys("G", wait_for="1900")
    t.keys("?1500", "Enter", wait_for="^1500$", regex=True)
    t.keys("q", block=True)
    expect("before" in t.lines() and "1500" not in t.lines(), f"the screen is back: {t.lines()}")


def top_refreshes(lab):
    """top shows a process that was started after it."""
    if not needs("top"):
        return
    t = Terminal(lab)
    t.well("start")
    t.beside("cp /bin/sleep refreshed")
    t.line("TERM=xterm top -d 0.2", wait_for="load average")
    expect("refreshed" not in "".join(t.lines()), "it is not there yet")
    t.beside("./refreshed 1000 </dev/null >/dev/null 2>&1 &")
    t.wait(" refreshed *$", regex=True)
    t.keys("q", block=True)


def python_computes(lab):
    """A Python prompt answers, line by line."""
    if not needs("python3"):
        return
    t = Terminal(lab)
    t.line("PYTHON_BASIC_REPL=1 python3 -q", wait_for=">>>")
    t.line("6 * 7", wait_for="^42$", regex=True)
    t.line("for i in range(3): print('number', i * i)", wait_for="...")
    t.keys("Enter", wait_for="number 4")
    # Before its prompt the terminal is in another mode, in which C-d is no key.
    t.wait("^>>>$", regex=True)
    t.keys("C-d", block=True)


def tmux_inside(lab):
    """A tmux with two panes in our terminal, which it leaves as it was."""
    if not needs("tmux"):
        return
    t = Terminal(lab)
    t.well("start", pane_width=80, pane_height=24)
    t.line("tmux -f /dev/null start-server \\; set -g assume-paste-time 0 \\; "
           "new-session -s inner 'PS1=inner: exec sh'", wait_for="[inner]")
    t.wait("inner:")
    t.line("echo $((20 + 3)) rows", wait_for="23 rows")
    t.keys("C-b", "%")
    t.wait("\u2502")
    t.keys("C-b", "d", wait_for="detached (from session inner)")
    expect("[inner]" not in "".join(t.lines()), f"its status line is gone: {t.lines()}")
    t.line("tmux kill-server")


# ---- what is not to hold up anything -------------------------------------------------------------


def floods(lab):
    """While something writes without end, calls are answered and keys come through."""
    t = Terminal(lab)
    t.line("yes flood", wait_for="flood\nflood\nflood")
    for _ in range(20):
        expect("flood" in t.lines(), "a capture")
        t.well("stream", max_bytes=10000)
    t.well("resize", pane_width=100, pane_height=30)
    result = t.call("wait_for", wait_for="not this", max_wait_s=0.2)
    expect(result["verdict"] == "timeout", f"{result}")
    t.keys("C-c", block=True)
    t.line("clear; echo all well")
    expect("all well" in t.lines(), f"{t.lines()}")
    expect(len(t.lines(capture_entire=True)) <= 20000 + 30 + 1, "history has an end")


def nobody_reads(lab):
    """Keys that nobody reads are told, and keep no later call waiting."""
    t = Terminal(lab)
    t.line("stty raw -echo; (exec -a deaf-mark sleep 1000)", wait_for="$")
    local.wait_until(lambda: t.runs("deaf-mark 1000"), "it runs", PATIENCE_S)
    result = t.call("send_keys", keys="a" * 500000, max_wait_s=0.25)
    expect(result["verdict"] == "timeout" and " of 500000 bytes" in result["error"], f"{result}")
    result = t.call("send_keys", keys="a" * 500000, timeout=1)
    expect(result["verdict"] == "timeout" and " of 500000 bytes" in result["error"], f"{result}")
    t.well("capture")
    expect(t.runs("deaf-mark 1000"), "it lives")
    result = t.call("send_keys", keys=["a" * 600000, "b" * 600000])
    expect(result["verdict"] != "ok" and "too long" in result["error"], f"{result}")
    # As long as somebody reads, as many go through.
    reader = Terminal(lab)
    reader.line("stty raw -echo; echo rea''dy; head -c 500000 | wc -c; stty sane",
                wait_for="ready")
    reader.keys("a" * 500000, block=True)
    expect("500000" in "".join(reader.lines()), f"{reader.lines()}")


def screen_hangs(lab):
    """A screen that does not answer is ended with its call; the shell lives, and has a new one."""
    t = Terminal(lab)
    t.line("name=value")
    (screen,) = screens(lab)
    os.kill(screen, signal.SIGSTOP)
    result = t.call("wait_for", wait_for="name", timeout=1)
    expect(result["verdict"] == "timeout", f"{result}")
    local.wait_until(lambda: not local.living([screen]), "it was ended", PATIENCE_S)
    metadata = t.line("clear; echo name is $name")
    expect(metadata["shell_started"] is False, f"the shell lives: {metadata}")
    expect("name is value" in t.lines(), f"{t.lines()}")
    # Neither is a command of bash_stateful kept waiting by it.
    (screen,) = screens(lab)
    os.kill(screen, signal.SIGSTOP)
    expect(t.shell("echo $name") == "value", "bash_stateful")
    t.line("clear; echo name is $name")
    expect("name is value" in t.lines(), f"{t.lines()}")


def any_bytes(lab):
    """Whatever a program writes, what comes out is text."""
    t = Terminal(lab)
    t.line("head -c 2000000 /dev/urandom")
    t.keys("C-c", block=True)
    for more in ({}, {"capture_entire": True}):
        expect(isinstance(t.well("capture", **more)["output"], str), "text")
    for line in t.well("stream", reset=True, max_bytes=3000000)["output"].split("\n")[:-1]:
        json.loads(line)
    # It may have ended within some sequence, or in another mode.
    t.line(r"printf '\030\033\\\033c'; echo all well", block=True)
    expect("all well" in t.lines(), f"{t.lines()}")


# ---- one shell -----------------------------------------------------------------------------------


def same_shell(lab):
    """bash_stateful and the terminal have one shell: directory, variables, and what is shown."""
    t = Terminal(lab)
    expect(t.shell("cd /tmp; name=value; echo hidden-$((40 + 2)); echo second") ==
           "hidden-42\nsecond", "bash_stateful")
    metadata = t.line("pwd; echo name is $name; other=more; cd /usr")
    expect(metadata["shell_started"] is False, f"it is the same: {metadata}")
    expect("/tmp" in t.lines() and "name is value" in t.lines(), f"{t.lines()}")
    expect(t.shell("pwd; echo $other; echo shown") == "/usr\nmore\nshown",
           "and the other way round")
    t.line("true")
    expect("shown" in "".join(t.lines()), f"it is seen there: {t.lines()}")
    # What waits at the prompt stays there, and is no part of a command's.
    t.keys("echo typed", wait_for="echo typed")
    expect(t.shell("echo clean") == "clean", "its output is its own")
    for i in range(20):
        expect(t.shell(f"echo {i}; pwd") == f"{i}\n/usr", f"{i}")
        t.line(f"clear; echo turn $(({i} + 100))")
        expect(f"turn {i + 100}" in "".join(t.lines()), f"{t.lines()}")


def deaths(lab):
    """However the shell ends, the call that waits is told, and the next has a new one."""
    t = Terminal(lab)
    for command, how in (("exit 3", "exited"), ("kill -9 $$", "killed"),
                         ("exec true", "replaced")):
        t.line("name=value")
        result = t.call("send_keys", keys=[command, "Enter"], block=True)
        expect(result["verdict"] == "failed" and "new one" in result["error"], f"{how}: {result}")
        expect(result["metadata"]["shell_ended"] == how, f"{how}: {result}")
        metadata = t.line("clear; echo name is $name.")
        expect(metadata["shell_started"] and metadata["shell_lost"] == how, f"{how}: {metadata}")
        expect("name is ." in t.lines(), f"{how}: {t.lines()}")
    # What has taken its place goes on, without a prompt, until it is stopped.
    result = t.call("send_keys", keys=["exec cat", "Enter"], block=True)
    expect(result["verdict"] == "failed" and "no prompt" in result["error"], f"{result}")
    t.keys("goes on", "Enter", wait_for="goes on\ngoes on")
    t.call("stop")
    metadata = t.line("true")
    expect(metadata["shell_started"] and metadata["shell_lost"] == "stopped", f"{metadata}")
    result = t.call("send_keys", keys=["exit", "Enter"], wait_for="never")
    expect(result["verdict"] == "failed" and result["metadata"]["shell_ended"] == "exited",
           f"{result}")
    # What was seen before the end counts.
    t.line("echo last words; exit", wait_for="last words")
    local.wait_until(lambda: t.call("capture")["metadata"]["shell_started"], "a new one", PATIENCE_S)
    # Its room ends with a command that runs too long.
    t.line("name=value")
    result = lab.ring.shell(t.name, "sleep 1000", 1)
    expect(result["verdict"] == "timeout", f"{result}")
    metadata = t.line("true")
    expect(metadata["shell_started"] and metadata["shell_lost"] == "timeout", f"{metadata}")


def screen_dies(lab):
    """A screen that is killed costs what was on it; the shell, and what runs there, live on."""
    t = Terminal(lab)
    t.line("name=value; echo on the screen")

    before = screens(lab)
    expect(len(before) == 1, f"one terminal, one screen: {before}")
    os.kill(before[0], signal.SIGKILL)
    local.wait_until(lambda: not local.living(before), "it is dead")
    metadata = t.line("echo name is $name")
    expect(metadata["shell_started"] is False, f"{metadata}")
    expect("name is value" in t.lines(), f"{t.lines()}")
    expect("on the screen" not in "".join(t.lines()), f"another screen: {t.lines()}")
    waiting = lab.ring.start(t.name, "tmux", {"action": "wait_for", "wait_for": "never"},
                             PATIENCE_S)
    local.wait_until(lambda: lab.ring.status()["calls_running"] == 1, "it waits", PATIENCE_S)
    for pid in screens(lab):
        os.kill(pid, signal.SIGKILL)
    expect(waiting.wait()["verdict"] == "unavailable", f"{waiting.wait()}")
    t.line("echo again")


def timeouts_and_cancels(lab):
    """A call's timeout and its cancel end the call, and nothing in the terminal."""
    t = Terminal(lab)
    t.line("name=value")
    result = t.call("send_keys", keys=["(exec -a long-mark sleep 1000)", "Enter"], block=True,
                    timeout=1)
    expect(result["verdict"] == "timeout" and result["metadata"]["seen"] is False, f"{result}")
    local.wait_until(lambda: t.runs("long-mark 1000"), "it runs on", PATIENCE_S)
    calls = (("send_keys", {"keys": "x", "block": True}), ("wait_for", {"wait_for": "never"}))
    for action, more in calls:
        waiting = lab.ring.start(t.name, "tmux", dict(more, action=action), PATIENCE_S)
        local.wait_until(lambda: lab.ring.status()["calls_running"] == 1, "it waits", PATIENCE_S)
        lab.ring.cancel(waiting)
        expect(waiting.wait()["verdict"] == "cancelled", f"{action}: {waiting.wait()}")
        expect(t.runs("long-mark 1000"), f"{action}: it lives")
    t.keys("C-c", block=True)
    metadata = t.line("clear; echo name is $name")
    expect(metadata["shell_started"] is False, f"the same shell: {metadata}")
    expect("name is value" in t.lines(), f"{t.lines()}")


def resets_and_releases(lab):
    """Both end the shell, its screen, and what runs there; the twin shows that nothing else does."""
    t = Terminal(lab)
    for end in (lambda: lab.ring.reset(t.name), lambda: lab.ring.release(t.name)):
        metadata = t.line("name=value")
        expect(metadata["shell_started"] and not metadata["shell_lost"], f"a new one: {metadata}")
        t.line("exec -a reset-mark sleep 1000 &", wait_for="$")
        local.wait_until(lambda: t.runs("reset-mark 1000"), "it runs", PATIENCE_S)
        expect(t.line("true")["shell_started"] is False and t.runs("reset-mark 1000"), "it lives on")
        (screen,) = screens(lab)
        result = end()
        expect(result["verdict"] == "ok", f"{result}")
        local.wait_until(lambda: not local.living([screen]), "its screen is gone", PATIENCE_S)
        local.wait_until(lambda: not lab.find("reset-mark"), "what ran is gone", PATIENCE_S)
        expect(not t.runs("reset-mark 1000"), "in a fresh slot")


TESTS = (sizes, keys_and_captures, streams, stops, waits, blocks, vim_saves, less_pages,
         top_refreshes, python_computes, tmux_inside, floods, nobody_reads, screen_hangs,
         any_bytes, same_shell, deaths, screen_dies, timeouts_and_cancels,
         resets_and_releases)

if __name__ == "__main__":
    BUILD = build_of(sys.argv)
    with Lab(BUILD, "--slots-max", "8") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
