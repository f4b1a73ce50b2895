# SPDX-License-Identifier: Apache-2.0
"""
A command reaches no process but its own: not the room's init, not the slot's, not the zygote, not
the executor or a sibling; and whatever it does to its own, the next call finds all as it was.
"""

import os
import sys

from lab import IS_ROOT, Lab, build_of, chosen, expect, run

import local


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def namespace(pid, name):
    return os.readlink(f"/proc/{pid}/ns/{name}")


def ancestors(pid):
    found = []
    while pid > 1:
        pid = local.parent_of(pid)
        found.append(pid)
    return found


def only_its_own_show(lab):
    """In a room's /proc there is its init, the command and what that started; nobody else."""
    slot, other = lab.slot(), lab.slot()
    lab.wait_for("31001.25", other)
    slot.keep("sleep 31002.25 & true")
    said = slot.bash("for p in /proc/[0-9]*; do echo ${p#/proc/}; done; echo $$ $BASHPID")
    *pids, own = said.splitlines()
    expect(set(pids) == {"1", own.split()[0]}, f"shown: {pids}, of which {own} is the shell")
    # The one that was started last may not have become a sleep yet.
    local.wait_until(lambda: lab.find("sleep\x0031001.25") and lab.find("sleep\x0031002.25"),
                     "twin: from outside they show")
    expect(slot.bash("sleep 9 & sleep 9 & set -- /proc/[0-9]*; echo $#") == "4",
           "twin: what it started shows")


def numbers_from_outside_mean_nothing(lab):
    """Signals and traces at the host's numbers of our processes reach nobody."""
    slot, other = lab.slot(), lab.slot()
    sibling, answer = lab.wait_for("31003.25", other)
    family = sorted(lab.daemon.family())
    for pid in family + [1, sibling]:
        if pid == 1:
            continue
        said = slot.bash(f"test -d /proc/{pid} && [ {pid} -lt 100 ] || kill -9 {pid} 2>&1 | cut "
                         f"-c1-40; test -e /proc/{pid}/mem && echo there; true")
        expect("there" not in said or pid < 100, f"{pid}: {said}")
    expect(slot.probe("ptrace", str(sibling)) == "ESRCH", "a sibling was traced")
    expect(slot.probe("mem", str(sibling)) == "ENOENT", "a sibling's memory was opened")
    expect(slot.probe("vm_read", str(sibling)) == "ESRCH", "a sibling's memory was read")
    expect(all(os.path.exists(f"/proc/{p}") for p in family if comm(p) == "toolring-slot"),
           "an init is gone")
    expect(not answer.is_there(), "the sibling goes on")
    for name in ("ptrace_child", "mem_child", "vm_read_child"):
        expect(slot.probe(name) == "ok", f"twin: {name}, at a process of its own")


def signals_at_init(lab):
    """No signal to the room's init has an effect, and none to everybody reaches further."""
    slot = lab.slot()
    slot.write("f", "kept")
    slot.bash("for s in $(seq 1 64); do kill -$s 1 2>/dev/null; done; true")
    slot.keep("for s in $(seq 1 64); do kill -$s 1 2>/dev/null; done; true")
    slot.is_well()
    result = slot.result("trap '' TERM; kill -TERM -1; kill -STOP -1; kill -9 -1; echo here")
    expect(result["verdict"] in ("ok", "failed"), f"{result}")
    slot.is_well()
    expect(slot.read("f")["output"] == "kept", "it is the same slot still")
    expect(slot.bash("sleep 99 & kill -9 $!; wait $! 2>/dev/null; echo $?") == "137",
           "twin: a signal at its own works")


def room_init_is_closed(lab):
    """Nothing of a room's init can be read, traced or changed, be it call room or shell room."""
    slot = lab.slot()
    slot.install_probe()
    for attempt in ("ptrace", "mem", "vm_read", "getfd"):
        for keep in (False, True):
            said = lab.ring.execute(slot.name, ["./probe", attempt, "1"], keep=keep)
            expect(said["stdout"].decode().strip() in ("1", "13"), f"{attempt} at 1: "
                                                                   f"{said['stdout']}")
        expect(slot.probe(f"{attempt}_child") == "ok", f"twin: {attempt} at its own child")
    look = ("for f in environ maps mem auxv fd/ fdinfo/ root/ cwd exe ns/pid ns/mnt map_files/ "
            "stack syscall io personality; do "
            "if ls -L /proc/1/$f >/dev/null 2>&1 && cat /proc/1/$f 2>/dev/null | head -c1 | grep "
            "-q . || readlink /proc/1/$f >/dev/null 2>&1 || ls /proc/1/$f/* >/dev/null 2>&1; then "
            "echo $f; fi; done")
    for said in (slot.bash(look), slot.keep(look)):
        expect(said == "", f"of the room's init this can be read: {said}")
    expect("environ" in slot.bash(look.replace("/proc/1/", "/proc/$$/")), "twin: of its own it "
                                                                          "can be")
    slot.bash("echo 1000 > /proc/1/oom_score_adj; echo x > /proc/1/comm; echo 1 > "
              "/proc/1/clear_refs; prlimit --pid 1 --nofile=1:1 --cpu=1:1; renice 19 -p 1; "
              "taskset -p 1 1; chrt -i -p "
              "0 1; ionice -c3 -p 1; true")
    slot.is_well()
    slot.is_well()


def limits_of_init_stay(lab):
    """Nobody sets a limit of the room's init, not even where it is the guest's own user there."""
    slot = lab.slot()
    slot.install_probe()
    for keep in (False, True):
        said = lab.ring.execute(slot.name, ["./probe", "prlimit", "1"], keep=keep)
        expect(said["stdout"].decode().strip() == "1", f"a limit at 1: {said['stdout']}")
    expect(slot.probe("prlimit", "0") == "ok", "twin: its own")
    # Where slots share an id the filter knows no better than to deny all others.
    expect(slot.probe("prlimit_child") == ("ok" if IS_ROOT else "EPERM"), "at its own child")
    expect(lab.outside("prlimit_child") == "ok", "twin: outside")
    expect(slot.bash("ulimit -c 0 && ulimit -n 64 && ulimit -n") == "64", "ulimit works")


def files_of_init_are_not_reachable(lab):
    """Through the init's root nobody gets to the slot's or the host's."""
    slot = lab.slot()
    for path in ("/proc/1/root/etc/passwd", "/proc/1/cwd/x", "/proc/1/fd/3", "/proc/1/root/proc"):
        said = slot.bash(f"cat {path} 2>/dev/null || ls {path} 2>/dev/null; true")
        expect(said == "", f"{path}: {said[:200]}")
    expect(slot.bash("cat /proc/self/root/etc/passwd | grep -c ^root:") == "1", "twin: by its own")


def zygote_is_outside(lab):
    """The zygote is in no room's pid namespace, and what becomes of a command's shell does not
    become of the next one's."""
    slot = lab.slot()
    slot.bash("true")
    sleeper, _ = lab.wait_for("31004.25", slot)
    init = [p for p in ancestors(sleeper) if comm(p) == "toolring-slot"][0]
    # How many pid namespaces deep each lies.
    depths = {p: len(status_of(p)["NSpid"].split()) for p in local.below(init)}
    in_room = sorted(comm(p) for p, depth in depths.items() if depth == depths[sleeper])
    expect(in_room == ["sleep", "toolring-room"], f"in the room: {in_room}")
    expect([p for p, depth in depths.items() if depth < depths[sleeper]],
           "twin: outside the room the slot has others: its zygotes")
    slot.end()
    slot = lab.slot()
    slot.bash("gdb -q -nx -batch -p $$ >/dev/null 2>&1; kill -SEGV $$")
    slot.bash("echo 1 > /proc/self/oom_score_adj; ulimit -v 100000; exec -a x bash -c 'kill -9 "
              "$PPID'")
    slot.is_well()


def seen_from_outside(lab):
    """What runs in a slot is nobody on the host: ids of its own, no capabilities, a filter."""
    slots = [lab.slot(), lab.slot()]
    runs = [lab.wait_for(f"3100{5 + i}.25", s) for i, s in enumerate(slots)]
    uids = []
    for pid, _ in runs:
        status = status_of(pid)
        uids.append({int(u) for u in status["Uid"].split()})
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"):
            expect(int(status[name], 16) == 0, f"{name}: {status[name]}")
        expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "its walls stand")
    for name in ("user", "pid", "mnt", "ipc", "uts", "net"):
        seen = {namespace(p, name) for p in ("self", runs[0][0], runs[1][0])}
        expect(len(seen) == 3, f"{name} is shared: {seen}")
    if IS_ROOT:
        expect(all(u >= 65536 for s in uids for u in s), f"host ids: {uids}")
        expect(not uids[0] & uids[1], f"two slots share an id: {uids}")
        inits = [p for pid, _ in runs for p in ancestors(pid) if comm(p) == "toolring-slot"]
        for pid in {p for p in inits if namespace(p, "user") != namespace("self", "user")}:
            expect(int(status_of(pid)["Uid"].split()[0]) >= 65536, "a slot's init is somebody")
        executor = lab.ring.status()["executor_pid"]
        status = status_of(executor)
        expect(status["Uid"].split()[0] != "0" and int(status["CapPrm"], 16) == 0,
               f"the executor is {status['Uid']}, {status['CapPrm']}")
        keeper = status_of(lab.daemon.process.pid)
        expect(keeper["Uid"].split()[0] == "0", "twin: the keeper is root")


def executor_and_keeper_stay(lab):
    """After all of the above the same keeper and executor serve."""
    expect(lab.daemon.process.poll() is None, "the keeper ended")
    expect(lab.ring.status()["generation"] == 1, "the executor was started anew")


TESTS = (only_its_own_show, numbers_from_outside_mean_nothing, signals_at_init, room_init_is_closed,
         limits_of_init_stay, files_of_init_are_not_reachable, zygote_is_outside, seen_from_outside,
         executor_and_keeper_stay)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "40") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
