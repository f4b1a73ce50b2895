# SPDX-License-Identifier: Apache-2.0
"""
What one call leaves behind in the workspace, which is HOME, does not reach into the next; what
toolringd itself holds (its environment, its descriptors) does not reach into any.
"""

import difflib
import os
import sys

from lab import Lab, build_of, chosen, expect, run

STARTUP = (".bashrc", ".profile", ".bash_profile", ".bash_login", ".bash_logout", ".inputrc",
           ".bash_aliases", ".shrc", ".kshrc", ".env", ".bash_history", ".terminfo", ".nix-profile")
SECRET = "toolring-test-secret-7c1e"


def touches(slot, calls):
    """Makes these calls; was the planted script run?"""
    slot.bash("rm -f touched")
    for call in calls:
        call()
    return slot.bash("/bin/test -e touched && echo yes") == "yes"


def some_calls(slot):
    return (lambda: slot.bash("true"), lambda: slot.bash("ls"), lambda: slot.bash("cat "
                                                                                  "/etc/passwd"),
            lambda: slot.ring.execute(slot.name, ["ls"]),
            lambda: slot.ring.call(slot.name, "exec", {"command": "ls; cat /etc/passwd"}),
            lambda: slot.keep("ls; cat /etc/passwd"))


def startup_files(lab):
    """No startup file in HOME is read."""
    slot = lab.slot()
    for name in STARTUP:
        slot.write(name, "touch /workspace/touched\n")
    expect(not touches(slot, some_calls(slot)), "a startup file was run")
    expect(touches(slot, [lambda: slot.bash("bash -ic true </dev/null")]),
           "twin: an interactive shell runs one")
    expect(touches(slot, [lambda: slot.bash("bash -lc true </dev/null")]),
           "twin: a login shell runs one")


def environment_files(lab):
    """BASH_ENV, ENV and LD_PRELOAD of an earlier call are gone, and so is PATH."""
    slot = lab.slot()
    slot.write("plant", "touch /workspace/touched\n")
    slot.write("bin/ls", "#!/bin/sh\ntouch /workspace/touched\n")
    slot.bash("chmod +x bin/ls")
    plant = ("export BASH_ENV=/workspace/plant ENV=/workspace/plant PATH=/workspace/bin:$PATH "
             "PROMPT_COMMAND='. /workspace/plant' PS4='$(. /workspace/plant)' SHELLOPTS "
             "LD_PRELOAD=/workspace/none.so; ")
    expect(touches(slot, [lambda: slot.bash(plant + "bash -c true")]), "twin: within one call it "
                                                                       "is")
    expect(touches(slot, [lambda: slot.bash(plant + "ls")]), "twin: so is the path")
    slot.bash(plant + "f() { touch /workspace/touched; }; export -f f; alias ls=f; enable -n "
                      "test; true")
    slot.keep(plant + "true")
    expect(not touches(slot, some_calls(slot)), "an earlier call's environment was used")
    said = slot.bash("env")
    for word in ("BASH_ENV", "LD_PRELOAD", "/workspace/bin", "BASH_FUNC", "PROMPT_COMMAND",
                 "\nENV="):
        expect(word not in said, f"{word} is left: {said}")


def programs_in_the_workspace(lab):
    """Programs and libraries with names that are known lie in the workspace and are not used."""
    slot = lab.slot()
    slot.bash("for n in ls cat bash sh test true env; do printf '#!/bin/sh\\ntouch "
              "/workspace/touched\\n' > $n; chmod +x $n; done; cp -r . bin 2>/dev/null; mkdir -p "
              ".local; cp -r bin .local/bin; "
              "for n in libc.so.6 libtinfo.so.6 toolring-zygote.so ld.so.preload; do echo x > $n; "
              "done")
    expect(not touches(slot, some_calls(slot)), "a planted program was run")
    expect(touches(slot, [lambda: slot.bash("./ls")]), "twin: by its path it is")


def descriptors(lab):
    """A command has 0, 1 and 2 and no other, by every way to start one."""
    slot = lab.slot()
    for said in (slot.bash("ls /proc/$$/fd; true"), slot.keep("ls /proc/$$/fd; true"),
                 slot.bash("bash -c 'ls /proc/$$/fd; true'"),
                 slot.ring.execute(slot.name, ["sh", "-c", "ls /proc/$$/fd; true"],
                                   stdin=b"x")["stdout"].decode().strip()):
        expect(said.split() == ["0", "1", "2"], f"descriptors: {said}")
    expect(slot.bash("exec 9</etc/passwd; ls /proc/$$/fd; true").split() == ["0", "1", "2", "9"],
           "twin: another one shows")
    for word in (slot.bash("readlink /proc/$$/fd/0"), slot.bash("readlink /proc/$$/fd/1 "
                                                                "/proc/$$/fd/2")):
        for target in word.split():
            expect(target.startswith(("pipe:", "/dev/null", "socket:")), f"open: {target}")


def secrets_of_the_daemon(lab):
    """toolringd's environment and folder show nowhere inside."""
    slot = lab.slot()
    with open(f"/proc/{lab.daemon.process.pid}/environ", "rb") as f:
        expect(SECRET.encode() in f.read(), "twin: it is in toolringd's environment")
    said = slot.bash(f"env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /proc/*/cmdline "
                     f"2>/dev/null | tr '\\0' '\\n'; cat /proc/mounts /proc/*/mountinfo "
                     f"2>/dev/null")
    expect(SECRET not in said, "the environment shows")
    expect(os.path.basename(lab.daemon.folder) not in said, f"the folder shows: {said}")
    expect(slot.bash(f"ls {lab.daemon.folder} 2>/dev/null; echo $?") == "2", "the folder is there")


def process_attributes(lab):
    """No capability in any set, no new privileges, a filter, and nothing ignored or blocked."""
    slot = lab.slot()
    for said in (slot.bash("cat /proc/$$/status"), slot.keep("cat /proc/$$/status"),
                 slot.ring.execute(slot.name, ["cat", "/proc/self/status"])["stdout"]
                 .decode()):
        status = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd", "SigIgn", "SigBlk"):
            if name == "CapBnd" and int(status[name], 16):
                raise AssertionError(f"the bounding set is {status[name]}")
            expect(int(status[name], 16) == 0, f"{name} is {status[name]}")
        expect(status["NoNewPrivs"].strip() == "1", "no_new_privs")
        expect(status["Seccomp"].strip() == "2", "a filter of system calls")
        expect(status["Uid"].split() == ["1000"] * 4 and status["Gid"].split() == ["1000"] * 4,
               "ids")
    expect(slot.bash("ulimit -c") == "0", "no core files")


def next_call_is_as_the_first(lab):
    """All that a shell shows of itself is the same before and after a call that changed it."""
    slot = lab.slot()
    look = ("set -o; shopt; alias; trap; ulimit -a; umask; declare -F; complete; bind -v "
            "2>/dev/null; env | sort; declare -p | grep -vE "
            "'BASHPID|RANDOM|EPOCH|PPID|SRANDOM|SECONDS|"
            "BASH_EXECUTION_STRING|BASH_ARGV0|BASHOPTS|_=|LINENO'; stat -c '%a %u' /tmp "
            "/workspace /dev/shm; cat /proc/self/oom_score_adj /proc/self/timerslack_ns "
            "/proc/self/coredump_filter; "
            "nice; chrt -p $$ 2>/dev/null | cut -d: -f2; taskset -p $$ 2>/dev/null | cut -d: -f2; "
            "cat /proc/self/personality; hostname")
    before = slot.bash(look)
    slot.bash("set -euxo pipefail; shopt -s extglob; alias a=b; ulimit -n 50; ulimit -s 1000; "
              "umask 0; renice 19 $$; chmod 777 /tmp; readonly PATH HOME; declare -r X=1; unset "
              "LANG; cd /; taskset -p 1 $$; chrt -b -p 0 $$; choom -p $$ -n 500; hash -p "
              "/bin/false ls; trap '' TERM HUP; enable -n echo; exec 1>&- 2>&-")
    after = slot.bash(look)
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))
    expect(before == after, f"differs: {lines}")


TESTS = (startup_files, environment_files, programs_in_the_workspace, descriptors,
         secrets_of_the_daemon, process_attributes, next_call_is_as_the_first)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "40", env={"TEST_SECRET": SECRET}) as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
