# SPDX-License-Identifier: Apache-2.0
"""
Nothing passes between slots, and nothing of a trajectory is left for the next one: after a reset
and after a release the slot shows no file, process, IPC object, terminal or name of the last.
"""

import re
import sys

from lab import Lab, build_of, chosen, expect, run

import local

IPC = ("shm", "sem", "msg", "mq")
# All that a trajectory can see that another could have left.
LOOK = ("find /workspace /tmp /dev/shm /dev/pts /dev/mqueue -mindepth 1 ! -name ptmx "
        "-printf '%p %s %m %U\\n' 2>/dev/null; "
        "tail -qn +2 /proc/sysvipc/*; cat /proc/[0-9]*/comm; "
        "cat /proc/locks /proc/net/tcp /proc/net/udp | grep -v local_address; "
        "awk '$8 {print $8}' /proc/net/unix; cat /proc/sys/kernel/hostname; "
        "awk '{print $5, $9, $10}' /proc/self/mountinfo | sort; df --output=iused,itotal,used "
        "/workspace /tmp /dev/shm 2>/dev/null")
MARK = "toolring-left-behind-5b2d"


def leave_traces(slot):
    """Fills a slot with all that could be left."""
    slot.install_probe()
    slot.keep(f"mkdir -p '{MARK}' a/b; echo {MARK} > '{MARK}/f'; echo {MARK} > /tmp/{MARK}; "
              f"echo {MARK} > /dev/shm/{MARK}; mkfifo p; ln -s / l; chmod 0 a; "
              "./probe shm_make; ./probe sem_make; ./probe msg_make; ./probe mq_make; "
              f"./probe abstract_listen {MARK} > up1 & ./probe terminal_make > up2 & sleep "
              f"32001.25 & "
              "while ! grep -q ok up1 || ! grep -q ok up2; do :; done; true")
    slot.bash(f"echo {MARK} > /tmp/{MARK}2; chmod 700 /workspace; setsid sleep 32002.25 & true")
    slot.bash("./probe shm_make; ./probe sem_make; ./probe msg_make")


def looks(slot):
    """All that shows in the call room and in the shell room, but for the ids that the slot has on
    the host: these differ, and tell nothing."""
    return [re.sub(r"[ug]id=\d+", "", said) for said in (slot.bash(LOOK), slot.keep(LOOK))]


def sees_nothing(lab, slot, fresh, when):
    for keep in (False, True):
        said = looks(slot)[keep]
        lines = set(said.splitlines()) ^ set(fresh[keep].splitlines())
        expect(said == fresh[keep], f"{when}: {sorted(lines)}")
        expect(MARK not in said, f"{when}: the mark shows")
    for name in IPC:
        expect(slot.probe(f"{name}_find") in ("ENOENT", "ENOSYS", "EACCES"), f"{when}: {name} is "
                                                                             f"left")
    expect(slot.probe("abstract_connect", MARK) == "ECONNREFUSED", f"{when}: a socket is left")
    expect(not lab.find("sleep\x003200"), f"{when}: a process lives on: {lab.find('sleep')}")


def next_trajectory(lab):
    """With one slot for all, each trajectory finds it as the first did."""
    fresh = None
    for n in range(4):
        slot = lab.slot()
        fresh = fresh or looks(slot)
        sees_nothing(lab, slot, fresh, f"trajectory {n + 1}")
        leave_traces(slot)
        expect(MARK in slot.bash("ls -R") and slot.probe("shm_find") is not None, "twin: it shows")
        expect(MARK in slot.keep(LOOK), "twin: to the same trajectory it does")
        slot.end()


def after_reset(lab):
    """A reset leaves nothing to its own trajectory, whatever lay there."""
    slot = lab.slot()
    fresh = looks(slot)
    for n in range(3):
        leave_traces(slot)
        expect(MARK in slot.bash("ls -R"), "twin: before, it shows")
        result = lab.ring.reset(slot.name)
        expect(result["verdict"] == "ok" and
               result["output"] == f"Reset workspace for {slot.slot_id}", f"{result}")
        sees_nothing(lab, slot, fresh, f"reset {n + 1}")
    slot.end()


def reset_of_a_tree(lab):
    """Files of any mode, depth and name go, and links are not followed."""
    slot = lab.slot()
    slot.bash("i=0; while [ $i -lt 400 ]; do mkdir $i && cd $i; i=$((i+1)); done; touch end; "
              "cd /workspace; chmod 0 0; touch -- -rf $'\\377' $'\\n'; ln -s /etc e; ln -s / r; "
              "mkdir full; for i in {1..3000}; do : > full/$i; done; chmod 555 full; truncate -s "
              "1T sparse; echo x > ro; chmod 444 ro; exec 9>held; flock 9")
    expect(lab.ring.reset(slot.name)["verdict"] == "ok", "the reset")
    expect(slot.bash("ls -A | wc -l; df --output=iused /workspace | tail -1").split()[0] == "0",
           "something is left")
    expect(slot.bash("grep -c ^root: /etc/passwd") == "1", "and what a link leads to is there")
    slot.end()


def reset_while_running(lab):
    """A reset queued behind a call comes after it; the call's processes are gone."""
    slot = lab.slot()
    slot.keep("sleep 32003.25 & true")
    answer = slot.start("sleep 0.3; echo late > f; echo done")
    result = lab.ring.reset(slot.name)
    expect(answer.wait()["output"] == "done" and result["verdict"] == "ok", "in order")
    expect(slot.bash("ls -A") == "" and not lab.find("sleep\x0032003"), "nothing is left")
    slot.end()


def between_calls(lab):
    """What a stateless call leaves in /tmp, /dev/shm and as IPC objects is gone for the next."""
    slot = lab.slot()
    slot.install_probe()
    slot.bash(f"echo {MARK} > /tmp/x; echo {MARK} > /dev/shm/x; ./probe shm_make; ./probe "
              f"sem_make; "
              "./probe msg_make")
    expect(slot.bash("ls -A /tmp /dev/shm | grep -v :; tail -qn +2 /proc/sysvipc/*; true") == "",
           "something is left")
    for name in IPC:
        expect(slot.probe(f"{name}_find") in ("ENOENT", "ENOSYS"), f"{name} is left")
    expect(slot.bash("./probe shm_make; ./probe shm_find").split() == ["ok", "ok"],
           "twin: within one call it can be found")
    expect(slot.bash(f"echo {MARK} > f") == "" and MARK in slot.bash("cat f"),
           "twin: files of the workspace stay")
    slot.end()


def parked(lab):
    """A workspace that is kept for its trajectory is nobody else's."""
    slot = lab.slot()
    slot.write("mine", MARK)
    lab.ring.release(slot.name, reset=False)
    result = lab.ring.bash("another", "ls -A; pwd", 40)
    expect(result["verdict"] == "unavailable" or result["output"] == "/workspace", f"{result}")
    if result["verdict"] == "ok":
        lab.ring.release("another")
    expect(slot.read("mine")["output"] == MARK, "twin: its own trajectory finds it")
    slot.end()


def at_the_same_time(lab):
    """Two slots side by side share no IPC object, no memory file, no key and no name."""
    a, b = lab.slot(), lab.slot()
    leave_traces(a)
    said = b.bash(LOOK) + b.keep(LOOK)
    expect(MARK not in said, "a file or name shows")
    for name in IPC:
        expect(b.probe(f"{name}_find") in ("ENOENT", "ENOSYS", "EACCES"), f"{name} shows")
    expect(b.probe("abstract_connect", MARK) == "ECONNREFUSED", "a socket shows")
    for name in ("keyctl", "add_key", "request_key"):
        expect(a.probe(name) == "EPERM", f"keyrings: {name}")
        expect(lab.outside(name) == "ok", f"twin: {name} outside")
    said = a.keep("./probe abstract_connect " + MARK + "; ./probe shm_find; ./probe msg_find")
    expect(said.split()[0] == "ok", f"twin: a itself finds them: {said}")
    for slot in (a, b):
        slot.end()


ONE = (next_trajectory, after_reset, reset_of_a_tree, reset_while_running, between_calls)
MANY = (parked, at_the_same_time)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "1", "--acquire-timeout-s", "20") as the_lab:
        FAILED = run(chosen(ONE, sys.argv), the_lab)
    with Lab(build, "--slots-max", "4") as the_lab:
        FAILED += run(chosen(MANY, sys.argv), the_lab)
    sys.exit(FAILED > 0)
