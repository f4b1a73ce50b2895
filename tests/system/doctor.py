#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""toolring doctor: as root, as an ordinary user with delegated cgroups and without, and under each
refusal that a machine or a container is known for, made by hand in a child. Each shows that the row
of that layer, and no other, names the cause and a remedy; the twin is the run with nothing refused.

Usage: doctor.py TOOLRING TOOLRINGD
"""
import ctypes
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time

TOOLRING, TOOLRINGD = map(os.path.abspath, sys.argv[1:3])
USER = 54321  # belongs to nobody
IS_ROOT = os.geteuid() == 0
LAYERS = ["user", "pid", "mount", "ipc", "network", "proc", "seccomp", "landlock", "memory", "pids",
          "cpu"]
CGROUPS = {"memory", "pids", "cpu"}

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
EPERM, ENOSYS, EOPNOTSUPP = 1, 38, 95
NUMBERS = {  # of system calls
    "x86_64": {"clone": 56, "unshare": 272, "clone3": 435},
    "aarch64": {"clone": 220, "unshare": 97, "clone3": 435},
}.get(platform.machine())
IO_URING_SETUP, LANDLOCK_CREATE_RULESET, MOUNT_SETATTR = 425, 444, 442


def skip(why):
    must_work = os.environ.get("TOOLRING_MUST_WORK") == "1"
    print(("cannot be tested: " if must_work else "skipped: ") + why)
    sys.exit(1 if must_work else 77)


# ---- what a child does to itself before it becomes toolring ------------------------------------------


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path, text):
    """With what is loaded already: as another user we may not get at Python's own files."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    os.write(fd, text.encode())
    os.close(fd)


def become_user():
    if IS_ROOT:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        # What changes its uid loses its /proc/self to root.
        check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))


def own_mounts():
    check(libc.unshare(CLONE_NEWNS))
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))


def mount_tmpfs(path):
    check(libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, b"mode=0755"))


def limit(**limits):
    """In a user namespace of its own: the machine's limits stay as they are."""
    def act():
        become_user()
        uid, gid = os.geteuid(), os.getegid()
        check(libc.unshare(CLONE_NEWUSER))
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
        for name, value in limits.items():
            write(f"/proc/sys/user/{name}", str(value))
    return act


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


def refuse(calls, flags_of=()):
    """A seccomp filter: {number: errno}; of calls in flags_of only with CLONE_NEWUSER."""
    load, equal, has, end = 0x20, 0x15, 0x45, 0x06
    program = b""
    for number, error in calls.items():
        deny = instruction(end, 0x50000 | error)
        program += instruction(load, 0)
        if number in flags_of:
            program += instruction(equal, number, 0, 3) + instruction(load, 16)
            program += instruction(has, CLONE_NEWUSER, 0, 1) + deny
        else:
            program += instruction(equal, number, 0, 1) + deny
    program += instruction(end, 0x7fff0000)
    code = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0))


def container_filter():
    """As docker's default profile has it."""
    refuse({NUMBERS["clone"]: EPERM, NUMBERS["unshare"]: EPERM, NUMBERS["clone3"]: ENOSYS},
           flags_of=(NUMBERS["clone"], NUMBERS["unshare"]))


def fake_sysctls(**values):
    """Hides kernel.* behind these, for who reads them here."""
    own_mounts()
    mount_tmpfs("/proc/sys/kernel")
    for name, value in values.items():
        write(f"/proc/sys/kernel/{name}", str(value))


def enter_chroot(ground):
    """All of this machine below a folder that is no mount."""
    mount_tmpfs(ground)
    root = ground + "/root"
    os.mkdir(root)
    for entry in os.scandir("/"):
        inside = f"{root}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), inside)
        elif entry.is_dir():
            os.mkdir(inside)
            check(libc.mount(os.fsencode(entry.path), os.fsencode(inside), None,
                             MS_BIND | MS_REC, None))
    os.chroot(root)
    os.chdir("/")


# ---- asking -------------------------------------------------------------------------------------------


def run(*arguments, act=None, look_for_leaks=True):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TOOLRING", "TOOL_EXECUTOR"))}
    if not look_for_leaks:
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    return subprocess.run([TOOLRING, "doctor", "--toolringd", TOOLRINGD, *arguments], cwd="/",
                          env=env, preexec_fn=act, capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, check=False)


def ask(act=None, **options):
    """(exit code, what it says); the form is checked here."""
    done = run("--json", act=act, **options)
    assert done.returncode in (0, 1), (done.returncode, done.stdout, done.stderr)
    said = json.loads(done.stdout)
    assert list(said["layers"]) == LAYERS, said
    for name, row in [*said["layers"].items(), ("io_uring", said["io_uring"])]:
        assert isinstance(row["works"], bool) and row["detail"], (name, row)
        assert bool(row["remedy"]) != row["works"], (name, row)
        # No command is cut off.
        assert len(row["remedy"].encode()) < 319 and len(row["detail"].encode()) < 160, (name, row)
    return done.returncode, said


def missing(said):
    return {name for name, row in said["layers"].items() if not row["works"]}


def expect(row, detail, *remedies):
    assert not row["works"], row
    assert detail in row["detail"], row
    for remedy in remedies:
        assert remedy in row["remedy"], row


def as_user(*acts):
    def act():
        become_user()
        for a in acts:
            a()
    return act


def without_cgroups(said):
    """What an ordinary user lacks who was given no cgroup; and nothing else."""
    return missing(said) - CGROUPS


# ---- tests --------------------------------------------------------------------------------------------


def test_form():
    """As whoever runs this: what is said, the exit code and the text agree."""
    code, said = ask()
    needed = missing(said) - {"cpu"}
    assert code == (0 if not needed and said["io_uring"]["works"] else 1), said
    assert set(said["slot"]["missing"]) == missing(said), said
    if "error" not in said["slot"]:
        assert said["slot"]["network"] == "none" and said["slot"]["shell"].startswith("/"), said
        assert said["slot"]["disk"] > 0 and said["slot"]["pids"] > 0, said
    text = run()
    assert text.returncode == code and not text.stderr, text
    assert text.stdout.count("MISSING") == len(missing(said)) + (not said["io_uring"]["works"])
    for row in said["layers"].values():
        assert row["works"] or row["remedy"] in text.stdout, (row, text.stdout)
    assert ("All that is needed is there." in text.stdout) == (code == 0), text.stdout
    probe = subprocess.run([TOOLRINGD, "--probe"], capture_output=True, text=True, cwd="/",
                           timeout=120, check=False)
    assert probe.returncode == code and "landlock" in probe.stdout, probe


def test_no_daemon():
    """No toolringd to ask: exit code 3, and why."""
    done = subprocess.run([TOOLRING, "doctor", "--toolringd", "/nonexistent"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 3 and "/nonexistent" in done.stderr and not done.stdout, done


def test_root():
    """Root has everything on a machine that TOOLRING_MUST_WORK says can do it all."""
    if IS_ROOT and os.environ.get("TOOLRING_MUST_WORK") == "1":
        code, said = ask()
        assert code == 0 and not missing(said), said
        assert said["slot"]["memory"] > 0 and said["slot"]["shell"], said
        lines = [line for line in run().stdout.splitlines() if line.startswith("  memory")]
        assert lines[-1].endswith("; what its files take comes on top"), lines


def test_user_without_cgroups():
    """An ordinary user whom nobody gave a cgroup is told so, and how to get one; the rest works."""
    if not IS_ROOT:
        return
    code, said = ask(become_user)
    assert code == 1 and missing(said) == CGROUPS, said
    for name in CGROUPS:
        expect(said["layers"][name], "not delegated to us")
        remedy = said["layers"][name]["remedy"]
        assert "Delegate=yes" in remedy or "chown -R 54321 toolring-54321" in remedy, remedy
    assert said["slot"]["memory"] is None and said["slot"]["pids"] > 0, said
    assert set(said["slot"]["missing"]) == CGROUPS, said
    text = run(act=become_user).stdout
    assert "--accept-missing=memory,pids\n" in text, text


def test_user_with_cgroups():
    """The twin: the same user in a cgroup that root gave it, as the remedies say, lacks nothing."""
    if not IS_ROOT:
        return
    with Delegated() as cgroups:
        code, said = ask(lambda: (cgroups.enter(), become_user()))
        assert code == 0 and not missing(said), said
        for name in CGROUPS:
            assert cgroups.name in said["layers"][name]["detail"], said
        assert cgroups.is_empty()


def test_limits():
    """A limit of namespaces that is 0: the row that needs them names it."""
    code, said = ask(limit(max_user_namespaces=0))
    assert code == 1 and missing(said) >= {"user", "pid", "mount", "ipc", "network", "proc"}, said
    expect(said["layers"]["user"], "user.max_user_namespaces is 0",
           "sudo sysctl user.max_user_namespaces=")
    assert "error" in said["slot"], said
    for name, layers in (("pid", {"pid", "proc"}), ("mnt", {"mount", "proc"}), ("ipc", {"ipc"}),
                         ("uts", {"ipc"}), ("net", {"network"})):
        _, said = ask(limit(**{f"max_{name}_namespaces": 0}))
        assert without_cgroups(said) == layers, (name, said)
        for layer in layers:
            expect(said["layers"][layer], f"user.max_{name}_namespaces is 0",
                   f"sudo sysctl user.max_{name}_namespaces=")
    _, said = ask(limit())
    assert not without_cgroups(said), said


def test_seccomp():
    """A container's seccomp profile: whichever call it refuses, it is what is named."""
    if not NUMBERS:
        skip("system calls have other numbers here")
    _, said = ask(as_user(container_filter))
    expect(said["layers"]["user"], "seccomp", "--security-opt seccomp=unconfined", "unshare")
    expect(said["layers"]["pid"], "needs a user namespace", "as for user")
    assert said["layers"]["seccomp"]["works"] and said["layers"]["landlock"]["works"], said
    _, said = ask(as_user(lambda: refuse({NUMBERS["clone3"]: ENOSYS})))
    expect(said["layers"]["user"], "seccomp", "clone3")
    for error in (EPERM, ENOSYS):
        _, said = ask(as_user(lambda e=error: refuse({LANDLOCK_CREATE_RULESET: e})))
        assert without_cgroups(said) == {"landlock"}, said
        expect(said["layers"]["landlock"], "seccomp", "landlock_create_ruleset")
        _, said = ask(as_user(lambda e=error: refuse({MOUNT_SETATTR: e})))
        assert without_cgroups(said) == {"mount"}, said
        expect(said["layers"]["mount"], "seccomp", "mount_setattr")
        code, said = ask(as_user(lambda e=error: refuse({IO_URING_SETUP: e})))
        assert code == 1 and not without_cgroups(said), said
        expect(said["io_uring"], "io_uring", "io_uring_setup", "seccomp")


def test_landlock_off():
    """A kernel that has Landlock but was booted without it: the remedy is the kernel's command line."""
    _, said = ask(as_user(lambda: refuse({LANDLOCK_CREATE_RULESET: EOPNOTSUPP})))
    assert without_cgroups(said) == {"landlock"}, said
    expect(said["layers"]["landlock"], "not switched on at boot", "lsm=landlock",
           "--accept-missing=landlock")


def test_masked_proc():
    """Something lies over a part of /proc, as containers have it: named, with what to do."""
    if not IS_ROOT:
        return
    place = next(p for p in ("/proc/irq", "/proc/bus", "/proc/tty") if os.path.isdir(p))
    for user in (lambda: None, become_user):
        code, said = ask(lambda u=user: (own_mounts(), mount_tmpfs(place), u()))
        assert code == 1 and without_cgroups(said) == {"proc"}, said
        expect(said["layers"]["proc"], place, "systempaths=unconfined", "--accept-missing=proc")
        assert "proc" in said["slot"]["missing"] and "error" not in said["slot"], said


def test_foreign_proc():
    """In a pid namespace with the outer one's /proc no ids can be mapped: that is what is said."""
    if not IS_ROOT:
        return
    # A sanitizer's search for leaks needs one more process, when there can be none any more.
    code, said = ask(lambda: check(libc.unshare(CLONE_NEWPID)), look_for_leaks=False)
    assert code == 1 and "error" in said["slot"], said
    expect(said["layers"]["user"], "not that of our pid namespace", "mount -t proc")


def test_sysctls():
    """Distributions' switches that keep user namespaces for root, or take their rights."""
    if not IS_ROOT or not NUMBERS:
        return
    _, said = ask(lambda: (fake_sysctls(unprivileged_userns_clone=0), become_user(),
                           container_filter()))
    expect(said["layers"]["user"], "kernel.unprivileged_userns_clone is 0",
           "sudo sysctl kernel.unprivileged_userns_clone=1")
    with tempfile.TemporaryDirectory(prefix="toolring-doctor-") as ground:
        def act():
            fake_sysctls(apparmor_restrict_unprivileged_userns=1)
            enter_chroot(ground)
            become_user()
        _, said = ask(act)
    expect(said["layers"]["user"], "AppArmor",
           "sysctl kernel.apparmor_restrict_unprivileged_userns=0", "userns,")


def test_chroot():
    """In a chroot the kernel makes no user namespaces."""
    if not IS_ROOT:
        return
    with tempfile.TemporaryDirectory(prefix="toolring-doctor-") as ground:
        _, said = ask(lambda: (own_mounts(), enter_chroot(ground), become_user()))
    expect(said["layers"]["user"], "chroot", "outside the chroot")


# ---- cgroups ------------------------------------------------------------------------------------------


def mounts():
    """(folder, root, type, options) of cgroup hierarchies."""
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            if right.startswith("cgroup"):
                yield left.split()[4], left.split()[3], right.split()[0], right.split()[2].split(",")


def own_path(controller):
    with open("/proc/self/cgroup", encoding="utf-8") as f:
        for line in f:
            _, names, path = line.rstrip("\n").split(":", 2)
            if controller in names.split(","):
                return path
    return "/"


def hierarchies():
    """Folders in which cgroups can be made that have the controllers, each once."""
    found = {}
    for folder, root, kind, options in mounts():
        for controller in CGROUPS:
            if kind == "cgroup" and controller in options:
                path = own_path(controller)
                inside = path[len(root.rstrip("/")):] if path.startswith(root) else ""
                own = folder + inside.rstrip("/")
                found[own if os.path.isdir(own) else folder] = False
    if not found:
        for folder, _, kind, _ in mounts():
            if kind == "cgroup2":
                found[folder] = True
    return found


class Delegated:
    """A folder in each hierarchy that belongs to USER."""

    def __enter__(self):
        self.name = f"toolring-doctor-{os.getpid()}"
        self.folders = []
        for folder, is_v2 in hierarchies().items():
            if is_v2:
                write(folder + "/cgroup.subtree_control", "+memory +pids +cpu")
            own = f"{folder}/{self.name}"
            os.mkdir(own)
            self.folders.append(own)
            for path in (own, *(e.path for e in os.scandir(own))):
                os.chown(path, USER, USER)
        return self

    def enter(self):
        for folder in self.folders:
            write(folder + "/cgroup.procs", "0")

    def is_empty(self):
        return not any(e.is_dir() for folder in self.folders for e in os.scandir(folder))

    def __exit__(self, *_):
        for folder in self.folders:
            removed(folder)


def removed(folder):
    """A cgroup may be busy for a moment after its last process has ended."""
    until = time.monotonic() + 10
    while True:
        try:
            os.rmdir(folder)
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def test_nothing_left():
    """No cgroup of a probe whose process is gone. (Others may be at it now.)"""
    for folder in hierarchies():
        for entry in os.scandir(folder):
            if entry.name.startswith(("toolring-probe-", "toolring-self-", "toolring-doctor-")):
                pid = entry.name.rpartition("-")[2]
                assert os.path.exists("/proc/" + pid) or not os.path.exists(entry.path), entry.path


def can_run():
    """May that user get at what was built?"""
    return subprocess.run([TOOLRINGD, "--version"], preexec_fn=become_user, capture_output=True,
                          check=False).returncode == 0


def main():
    if IS_ROOT:
        try:
            able = can_run()
        except OSError:
            able = False
        if not able:
            skip(f"uid {USER} cannot run {TOOLRINGD}")
    last = [test_nothing_left]
    for name, test in sorted(globals().items()):
        if name.startswith("test_") and test not in last:
            test()
            print("ok", name)
    for test in last:
        test()
        print("ok", test.__name__)


main()
