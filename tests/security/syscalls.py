# SPDX-License-Identifier: Apache-2.0
"""
Each system call that guests are denied, tried inside by a small program, and, as the twin, outside
in namespaces of its own, where it works (or where this kernel does not have it at all).
"""

import os
import sys

from lab import IS_ROOT, NOT_THERE, Lab, build_of, chosen, expect, run

# Attempts, and how a denial may look.
DENIED = {
    "bpf": {"EPERM"},
    "perf": {"EPERM"},
    "keyctl": {"EPERM"},
    "add_key": {"EPERM"},
    "request_key": {"EPERM"},
    "io_uring": {"EPERM"},
    "aio": {"EPERM"},
    "core_limit": {"EPERM"},
    "userfaultfd": {"EPERM"},
    "init_module": {"EPERM"},
    "finit_module": {"EPERM"},
    "delete_module": {"EPERM"},
    "kexec": {"EPERM"},
    "clone_parent": {"EPERM", "EINVAL"},
    "clone3": {"ENOSYS"},
    "mount": {"EPERM"},
    "remount": {"EPERM"},
    "umount": {"EPERM"},
    "pivot_root": {"EPERM"},
    "chroot": {"EPERM"},
    "open_tree": {"EPERM"},
    "move_mount": {"EPERM"},
    "fsopen": {"EPERM"},
    "fsconfig": {"EPERM"},
    "fsmount": {"EPERM"},
    "fspick": {"EPERM"},
    "mount_setattr": {"EPERM"},
    "vsock": {"EPERM", "EAFNOSUPPORT"},
    "packet": {"EPERM", "EAFNOSUPPORT"},
    "alg": {"EPERM", "EAFNOSUPPORT"},
    "raw": {"EPERM"},
    "tiocsti": {"EPERM"},
    "int80": {"EPERM", "ENOSYS", "signal 31"},
    "x32": {"EPERM", "ENOSYS", "signal 31"},
    "sethostname": {"EPERM"},
    "reboot": {"EPERM"},
}
# What root of a user namespace alone cannot do outside either.
NEEDS_ROOT = {"bpf", "init_module", "finit_module", "delete_module", "kexec", "packet", "raw",
              "tiocsti", "reboot", "perf", "io_uring", "umount"}
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
FILES = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/sysrq",
         "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory",
         "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/binfmt_misc/register", "/proc/kcore",
         "/proc/kmsg", "/proc/timer_list", "/proc/sys/kernel/ns_last_pid", "/proc/acpi",
         "/proc/1/oom_score_adj", "/proc/irq/default_smp_affinity", "/proc/mtrr",
         "/proc/self/uid_map")


def denied_calls(lab):
    """Every attempt of the table fails inside, and works outside if the kernel has it."""
    slot = lab.slot()
    wrong = []
    machine = os.uname().machine
    for name, how in DENIED.items():
        if name in ("int80", "x32") and machine != "x86_64":
            continue
        inside, outside = slot.probe(name), lab.outside(name)
        if inside not in how:
            wrong.append(f"{name}: inside {inside}")
        if outside == "ok":
            continue
        if outside in NOT_THERE or (not IS_ROOT and name in NEEDS_ROOT):
            print(f"         no twin of {name} here: {outside}")
        else:
            wrong.append(f"twin of {name}: outside {outside}")
    expect(not wrong, "; ".join(wrong))


def namespaces(lab):
    """No namespace is made or entered."""
    slot = lab.slot()
    wrong = []
    for name in NAMESPACES:
        for attempt in ("unshare", "clone_new"):
            if (name, attempt) == ("time", "clone_new"):  # that flag is clone3's alone
                continue
            inside, outside = slot.probe(attempt, name), lab.outside(attempt, name)
            if inside != "EPERM":
                wrong.append(f"{attempt} {name}: inside {inside}")
            if outside != "ok" and outside not in NOT_THERE | {"EINVAL"}:
                wrong.append(f"twin of {attempt} {name}: {outside}")
    for name in ("uts", "mnt", "net", "ipc", "pid", "cgroup"):
        inside, outside = slot.probe("setns", name), lab.outside("setns", name)
        if inside not in ("EPERM", "EACCES"):
            wrong.append(f"setns {name}: inside {inside}")
        if outside != "ok" and not (not IS_ROOT and outside == "EPERM"):
            wrong.append(f"twin of setns {name}: {outside}")
    expect(not wrong, "; ".join(wrong))


def other_namespaces_and_ids(lab):
    """No id but its own is taken on."""
    slot = lab.slot()
    for uid in ("0", "1", "1001", "65534"):
        expect(slot.probe("setuid", uid) in ("EPERM", "EINVAL"), f"uid {uid} was taken on")
    expect(slot.probe("setuid", "1000") == "ok", "twin: its own is")
    expect(slot.bash("touch f; chown 0 f 2>/dev/null || echo refused") == "refused", "chown")


def kernel_files(lab):
    """What steers the kernel or the machine cannot be opened for writing."""
    slot = lab.slot()
    slot.install_probe()
    open_for = [path for path in FILES if slot.probe("writing", path) == "ok"]
    # Some open, and refuse what is written.
    for path, text in (("/proc/self/uid_map", "0 0 1"), ("/proc/sys/kernel/ns_last_pid", "5")):
        said = slot.bash(f"echo {text} > {path} 2>/dev/null || echo refused")
        expect(said == "refused", f"{path} was written")
        open_for = [p for p in open_for if p != path]
    expect(not open_for, f"can be written: {open_for}")
    expect(slot.probe("writing", "/proc/self/comm") == "ok", "twin: a file of /proc that may be")
    said = slot.bash("find / -xdev -name release_agent 2>/dev/null; ls /sys/fs/cgroup 2>/dev/null; "
                     "grep -E 'cgroup|sysfs|securityfs|debugfs' /proc/mounts; true")
    expect(said == "", f"cgroups or sysfs show: {said}")
    if IS_ROOT:
        expect(os.access("/proc/sys/kernel/core_pattern", os.W_OK), "twin: root outside can")


def kernel_log(lab):
    """The kernel's log and keys cannot be read."""
    slot = lab.slot()
    expect(slot.bash("dmesg 2>/dev/null | head -1; head -c1 /dev/kmsg 2>/dev/null; true") == "",
           "dmesg")
    said = slot.bash("cat /proc/keys 2>/dev/null | wc -l")
    expect(said == "0" or not IS_ROOT, f"keys show: {said}")


def clone3_falls_back(lab):
    """With clone3 denied as not there, C libraries use clone: threads and processes work."""
    slot = lab.slot()
    said = slot.bash("perl -e 'my $p = fork; if (!$p) { exit 3 } waitpid $p, 0; print $? >> 8'")
    expect(said == "3", f"fork: {said}")
    expect(slot.probe("clone3") == "ENOSYS", "clone3")


def debuggers(lab):
    """gdb and strace work within a room, and on nothing outside it."""
    slot = lab.slot()
    if slot.bash("command -v strace >/dev/null && echo there") == "there":
        said = slot.bash("strace -f -o t sh -c 'true; exit 3'; echo $?; grep -c execve t")
        expect(said.split() == ["3", "1"], f"strace: {said}")
        said = slot.bash("timeout 10 strace -p 1 2>&1 | head -1")
        expect("not permitted" in said or "ermission" in said, f"strace of the room's init: {said}")
    else:
        print("         there is no strace here")
    if slot.bash("command -v gdb >/dev/null && echo there") == "there":
        said = slot.bash("gdb -q -nx -batch -ex run -ex 'info inferiors' --args /bin/true 2>&1", 60)
        expect("exited normally" in said, f"gdb: {said}")
        said = slot.bash("gdb -q -nx -batch -p 1 2>&1", 60)
        expect("ptrace" in said or "not permitted" in said, f"gdb of the room's init: {said}")
    else:
        print("         there is no gdb here")
    slot.is_well()


TESTS = (denied_calls, namespaces, other_namespaces_and_ids, kernel_files, kernel_log,
         clone3_falls_back, debuggers)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "40") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
