# SPDX-License-Identifier: Apache-2.0
"""
Whatever a command does to its machine costs its own call, in bounded time, and no other: the same
slot works at the next call, and a neighbour answers rightly all the while.

Slots have small caps here, so that each is reached soon. Where the memory or pids layer is accepted
to be missing, the abuses that it would end are left out, by name.
"""

import os
import sys
import threading
import time

TESTS_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
sys.path[:0] = [os.path.join(TESTS_FOLDER, name) for name in ("security", "support")]

import local  # noqa: E402
from lab import Lab, build_of, chosen, expect, run  # noqa: E402

MIB = 1 << 20
SPEC = {"memory": 128 * MIB, "pids": 128, "disk": 64 * MIB}
# All of a line is kept by tail, and this one has no end.
TAKE_MEMORY = "set -o pipefail; head -c 20G /dev/zero | tail -n 1"
BOUND_S = 100  # far more than any call here may take, with a timeout of 20


class Neighbour:
    """Calls on a slot of its own from another thread, until the with block ends."""

    def __init__(self, lab):
        self.slot = lab.slot(SPEC)
        self.thread = threading.Thread(target=self.go)
        self.stop = threading.Event()
        self.wrong = []
        self.n = 0

    def go(self):
        try:
            while not self.stop.is_set():
                self.n += 1
                result = self.slot.result(f"echo ok {self.n} | cat", 60)
                if result["output"] != f"ok {self.n}" or result["verdict"] != "ok":
                    self.wrong.append(result)
                    return
                time.sleep(0.02)
        except (OSError, EOFError, ValueError) as e:
            self.wrong.append(e)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.slot.ring.release(self.slot.name)


def abuse(lab, command, verdicts, timeout=20, tool="bash", spec=None, check=None):
    """Runs command in a slot of its own: its verdict, its neighbour, and what comes after it."""
    slot = lab.slot(spec or SPEC)
    slot.write("kept", "kept")
    with Neighbour(lab) as neighbour:
        local.wait_until(lambda: neighbour.n > 2 or neighbour.wrong, "the neighbour answers")
        before, began = neighbour.n, time.monotonic()
        arguments = {"command": command}
        if tool == "keep":
            arguments["keep"] = True
        result = lab.ring.start(slot.name, "exec" if tool == "keep" else tool, arguments,
                                timeout).wait(BOUND_S)
        took = time.monotonic() - began
        if took < 1:  # so that it has its chance to be disturbed by what comes after
            local.wait_until(lambda: neighbour.n > before + 2 or neighbour.wrong, "it goes on")
    shown = dict(result, output=result["output"][:100])
    shown.pop("stdout", None)
    expect(not neighbour.wrong, f"the neighbour got {str(neighbour.wrong)[:500]}; "
                                f"the abuse {shown}")
    expect(neighbour.n > before, f"the neighbour did not answer in {took:.1f} s: {shown}")
    expect(result["verdict"] in verdicts, f"{shown}")
    expect(result["metadata"].get("processes_left", 0) == 0, f"{shown}")
    if check:
        check(result)
    slot.is_well()
    expect(slot.read("kept")["output"] == "kept", "the slot kept its files")
    expect(slot.bash("set -- /proc/[0-9]*; echo $#") == "2", "the room is not empty")
    expect(slot.bash("(echo a | cat; exit 3); echo $?; ls -A /tmp /dev/shm | grep -v :") == "a\n3",
           "it forks, and /tmp is empty")
    lab.ring.release(slot.name)


def need(layer):
    """False, with words, where a layer is missing that would end an abuse."""
    if layer in local.ACCEPTED:
        print(f"         left out: needs the layer {layer}")
    return layer not in local.ACCEPTED


def fork_bomb(lab):
    """f | f &, until the cap on processes."""
    if need("pids"):
        abuse(lab, "f() { f | f & }; f; sleep 2; exit 1", {"limit", "failed"}, 10)
        abuse(lab, "f() { f | f & }; f; while :; do f; done", {"timeout", "limit", "failed"}, 3)


def fork_bomb_that_waits(lab):
    """The shell itself fails to fork at the cap: that is the slot's limit."""
    if need("pids"):
        abuse(lab, "for i in $(seq 400); do sleep 99 & done; wait -n; exit 1", {"limit"}, 20)


def thread_bomb(lab):
    """Threads count as processes do."""
    if need("pids"):
        abuse(lab, "perl -e 'use threads; while (1) { threads->create(sub { sleep 99 }) or last } "
                   "exit 1' "
              "2>/dev/null || f() { sleep 99 & f; }; f 2>/dev/null; exit 1",
              {"limit", "failed", "oom", "timeout"}, 10)


def memory_bomb(lab):
    """One process that takes all: out of memory, said as such."""
    if need("memory"):
        abuse(lab, TAKE_MEMORY, {"oom"}, 60)
        abuse(lab, "x=a; while :; do x=$x$x; done", {"oom"}, 60)
        abuse(lab, TAKE_MEMORY, {"oom"}, 60, "keep")


def memory_bomb_of_many(lab):
    """Many that take it together."""
    if need("memory"):
        abuse(lab, "for i in $(seq 20); do (" + TAKE_MEMORY + ") & done; wait; exit 1", {"oom"}, 60)


def memory_in_the_background(lab):
    """One in the background is killed, and the call that went well all the same went well."""
    if need("memory"):
        abuse(lab, TAKE_MEMORY + " & wait; echo on", {"ok"}, 60)


def memory_of_pipes_and_sockets(lab):
    """Memory of the kernel's that is held through descriptors counts too, or has an end."""
    abuse(lab, "perl -e 'use Socket; my @k; while (1) { socketpair(my $a, my $b, AF_UNIX, "
               "SOCK_STREAM, 0) "
          "or last; push @k, $a, $b; $a->blocking(0); 1 while syswrite $a, q(x) x 65536 } exit 1'",
          {"failed", "oom", "limit"}, 30)


def disk_filler(lab):
    """The workspace, /tmp and /dev/shm are full at their caps: no space, and not out of memory."""
    for place in ("/workspace", "/tmp", "/dev/shm"):
        abuse(lab, f"said=$(cat /dev/zero 2>&1 > {place}/x); echo $said | grep -c 'No space left'; "
              f"stat -c %s {place}/x; rm -f {place}/x", {"ok"}, 60,
              check=lambda r: expect(r["output"].split()[0] == "1" and
                                     int(r["output"].split()[1]) <= SPEC["disk"], f"{r}"))


def all_full_at_once(lab):
    """All of them full at the same time is still no space and not out of memory."""
    abuse(lab, "for d in /tmp /dev/shm /workspace; do head -c 1G /dev/zero > $d/x; done "
               "2>/dev/null; "
          "dd if=/dev/zero bs=16M count=1 2>/dev/null | wc -c; rm -f /workspace/x", {"ok"}, 60,
          check=lambda r: expect(r["output"] == str(16 * MIB), f"{r}"))


def full_disk_and_files(lab):
    """On a full disk write_file says so, the old content stays, and reading works."""
    slot = lab.slot(SPEC)
    slot.write("f", "old")
    slot.bash("cat /dev/zero > x 2>/dev/null; cat /dev/zero > y 2>/dev/null")
    result = slot.write("g", "x" * 90000)
    expect(result["verdict"] == "limit" and "o space" in result["error"], f"{result}")
    result = slot.write("f", "n" * 90000)
    expect(result["verdict"] == "limit" and slot.read("f")["output"] == "old", f"{result}")
    expect(slot.bash("echo still; rm -f x y") == "still", "commands run")
    expect(slot.write("f", "new")["verdict"] == "ok" and slot.read("f")["output"] == "new",
           "twin: with space it can be written")
    lab.ring.release(slot.name)


def inode_filler(lab):
    """Files without content have a cap as well."""
    for place in ("/workspace/d", "/tmp/d", "/dev/shm/d"):
        abuse(lab, f"mkdir {place}; cd {place}; i=0; while (: > $i) 2>/dev/null; do i=$((i+1)); "
              "[ $i -gt 3000000 ] && break; done; echo $i; cd /; rm -rf /workspace/d",
              {"ok", "oom", "timeout"}, 20)


def descriptor_exhaustion(lab):
    """Every descriptor that it may have is taken."""
    abuse(lab, "i=0; while exec {fd}</dev/null; do i=$((i+1)); done 2>/dev/null; exit 1",
          {"failed"})
    abuse(lab, "ulimit -n hard; for j in 1 2 3 4 5 6 7 8; do (while exec {fd}</dev/null; do :; "
               "done "
          "2>/dev/null; sleep 1) & done; wait; echo on", {"ok"}, 30)


def endless_output(lab):
    """yes until the timeout: the first 50,000 characters are there, and no more memory is taken."""
    abuse(lab, "yes", {"timeout"}, 3,
          check=lambda r: expect(len(r["output"]) < 50100 and r["output"].startswith("y\ny\n"),
                                 "output"))
    abuse(lab, "yes >&2 & yes", {"timeout"}, 3)
    abuse(lab, "yes", {"timeout"}, 3, "keep")


def output_of_one_line(lab):
    """1 GB without a newline."""
    abuse(lab, "head -c 1000000000 /dev/zero | tr '\\0' x", {"ok"}, 60,
          check=lambda r: expect(len(r["output"]) < 50100 and
                                 r["metadata"]["stdout_bytes"] == 1000000000,
                                 f"{len(r['output'])} {r['metadata']}"))


def output_from_the_background(lab):
    """Writers that go on after the shell do not hold the call."""
    abuse(lab, "yes & yes >&2 & echo on", {"ok"}, 20)


def many_zombies(lab):
    """Ten thousand children that nobody waits for."""
    if need("pids"):
        abuse(lab, "perl -e 'for (1..10000) { my $p = fork; exit 0 if defined $p && !$p; "
              "select undef, undef, undef, 0.001 unless defined $p; last unless defined $p } "
              "print scalar(() = glob q(/proc/[0-9]*)) > 50 ? qq(many\\n) : qq(few\\n); exit 1'",
              {"limit", "failed"}, 60)
    abuse(lab, "for i in $(seq 2000); do (exit 0) & done 2>/dev/null; wait; echo on",
          {"ok", "limit"},
          60)
    abuse(lab, "perl -e 'for (1..10000) { my $p = fork; exit 0 if defined $p && !$p; "
          "waitpid $p, 0 if $p } print qq(on\\n)'", {"ok"}, 60)


def kill_everybody(lab):
    """kill -9 -1 ends what may be signalled: the room's, but for its init and who says it."""
    abuse(lab, "sleep 99 & kill -9 -1; echo on", {"ok"},
          check=lambda r: expect(r["output"] == "on", f"{r}"))
    abuse(lab, "sh -c 'kill -9 -1'; echo not here", {"failed"})
    abuse(lab, "kill -STOP -1; kill -STOP $$", {"timeout"}, 2)


def close_everything(lab):
    """A command without any descriptor."""
    abuse(lab, "for fd in $(seq 0 255); do eval \"exec $fd>&-\"; done; echo x; exit 4", {"failed"})
    abuse(lab, "exec >&- 2>&- <&-; sleep 0.2; exit 5", {"failed"},
          check=lambda r: expect(r["metadata"]["exit_code"] == 5, f"{r}"))


def grep_everything(lab):
    """Every file that shows is read, /proc and /dev among them."""
    abuse(lab, "grep -rs toolring-there-is-none / | head -c 1000; true", {"ok", "timeout"}, 15)
    abuse(lab, "find / -type f -exec cat {} + 2>/dev/null | head -c 300000000 | tail -c 1 | wc "
               "-c; true",
          {"ok", "timeout"}, 10)


def deep_trees(lab):
    """A tree deeper than any path, in /tmp, /dev/shm and the workspace."""
    dig = ("i=0; while [ $i -lt 500 ]; do mkdir dddddddddd && cd dddddddddd || break; "
           "i=$((i+1)); done; ")
    for place in ("/tmp", "/dev/shm"):
        abuse(lab, f"cd {place}; {dig} touch end; echo on", {"ok"}, 60)
    slot = lab.slot(SPEC)
    slot.bash(f"{dig} touch end", 60)
    expect(slot.bash("ls -A") == "dddddddddd", "it is there")
    expect(lab.ring.reset(slot.name)["verdict"] == "ok" and slot.bash("ls -A") == "", "the reset")
    lab.ring.release(slot.name)


def wide_trees(lab):
    """/tmp full of files and folders of every mode is empty for the next call."""
    abuse(lab, "cd /tmp; for i in $(seq 2000); do mkdir d$i; : > d$i/f; : > f$i; chmod 0 d$i f$i; "
               "done; "
          "ln -s /workspace w; mkfifo p; echo on", {"ok"}, 60)


def processes_that_outlive(lab):
    """A storm of processes that fork on and on, in sessions of their own, ends with the call."""
    storm = ("storm() { (setsid bash -c 'trap \"\" TERM HUP; while :; do sleep 0.01 & wait; done' "
             "&) ; }; ")
    abuse(lab, storm + "for i in 1 2 3 4 5 6 7 8; do storm; done >/dev/null 2>&1; echo on", {"ok"},
          20)
    abuse(lab, "perl -e 'while (1) { my $p = fork; exit 0 if $p; setpgrp }' & echo on",
          {"ok", "limit"}, 20)
    abuse(lab, "exec perl -e 'while (1) { my $p = fork; exit 0 if $p; setpgrp }'", {"ok", "limit"},
          20)


def stopped_and_traced(lab):
    """Processes that are stopped, or traced by others that are, end like all."""
    abuse(lab, "for i in $(seq 20); do (kill -STOP $BASHPID) & done; sleep 0.2; echo on", {"ok"})
    abuse(lab, "command -v strace >/dev/null && { strace -f -o /dev/null sleep 99 & sleep 0.5; "
          "kill -STOP $!; }; echo on", {"ok"}, 20)


def busy_processors(lab):
    """More that run than there are processors."""
    abuse(lab, "for i in $(seq 16); do (while :; do :; done) & done; wait", {"timeout"}, 5)


def file_locks_and_ipc(lab):
    """IPC objects up to their limits are gone for the next call."""
    abuse(lab, "for i in $(seq 500); do ipcmk -M 4096 -p 0600 || break; done >/dev/null 2>&1; "
          "for i in $(seq 500); do ipcmk -S 10 || break; done >/dev/null 2>&1; "
          "for i in $(seq 500); do ipcmk -Q || break; done >/dev/null 2>&1; echo on", {"ok"}, 60)
    slot = lab.slot(SPEC)
    slot.bash("ipcmk -M 4096; ipcmk -S 1; ipcmk -Q")
    expect(slot.bash("tail -qn +2 /proc/sysvipc/*") == "", "something is left")
    lab.ring.release(slot.name)


def terminals(lab):
    """Terminals up to their limit are gone for the next call."""
    abuse(lab, "perl -e 'my @k; while (open my $f, q(+<), q(/dev/ptmx)) { push @k, $f } "
          "print scalar(@k) > 2 ? qq(many\\n) : qq(few\\n); exit 1'", {"failed"},
          check=lambda r: expect(r["output"] == "many", f"{r}"))


def kept_processes(lab):
    """A shell room that is as bad as it can be costs only itself, and a timeout ends it."""
    slot = lab.slot(SPEC)
    with Neighbour(lab) as neighbour:
        slot.keep("for i in $(seq 20); do (while :; do sleep 0.02; done) & done; yes > /dev/null & "
                  "cat /dev/zero > /tmp/x 2>/dev/null; true", 30)
        slot.is_well()
        result = lab.ring.call(slot.name, "exec", {"command": "sleep 99", "keep": True}, 1)
        expect(result["verdict"] == "timeout", f"{result}")
        expect(slot.keep("ls -A /tmp; set -- /proc/[0-9]*; echo $#") == "2", "the room was not "
                                                                             "ended")
        slot.is_well()
    expect(not neighbour.wrong, f"the neighbour got {neighbour.wrong}")
    lab.ring.release(slot.name)


TESTS = (fork_bomb, fork_bomb_that_waits, thread_bomb, memory_bomb, memory_bomb_of_many,
         memory_in_the_background, memory_of_pipes_and_sockets, disk_filler, all_full_at_once,
         full_disk_and_files, inode_filler, descriptor_exhaustion, endless_output,
         output_of_one_line, output_from_the_background, many_zombies, kill_everybody,
         close_everything, grep_everything, deep_trees, wide_trees, processes_that_outlive,
         stopped_and_traced, busy_processors, file_locks_and_ipc, terminals, kept_processes)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "16") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
        if the_lab.ring.status()["generation"] != 1:
            FAILED += 1
            print("FAILED   the executor was started anew meanwhile")
    sys.exit(FAILED > 0)
