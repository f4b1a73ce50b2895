# SPDX-License-Identifier: Apache-2.0
"""
However toolringd ends, nothing of its slots is left: no process, no namespace, no mount, no cgroup,
no file in /dev/shm. It is told to end, its keeper is killed, its executor, both, these and the maker
of slots, or who started it; each time with slots that are idle, busy and full of processes.
"""

import os
import signal
import subprocess
import sys

TESTS_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
sys.path[:0] = [os.path.join(TESTS_FOLDER, name) for name in ("security", "support")]

import local  # noqa: E402
from lab import Lab, build_of, chosen, expect, run  # noqa: E402

NAMESPACES = ("user", "pid", "mnt", "ipc", "uts", "net")


def namespaces_of(pids):
    """Namespaces of these processes that are not ours."""
    found = set()
    for pid in pids:
        for name in NAMESPACES:
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
            except OSError:
                pass
    return found - {os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}


def cgroups_of(pids):
    """Folders of cgroups that these processes are in and we are not."""
    found = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
                found |= {tuple(line.strip().split(":", 2)[1:]) for line in f}
        except OSError:
            pass
    with open("/proc/self/cgroup", encoding="utf-8") as f:
        return found - {tuple(line.strip().split(":", 2)[1:]) for line in f}


def cgroup_folders(cgroups):
    """Where those lie in the file system, as far as they are there."""
    found = set()
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        for line in f:
            fields = line.split()
            kind = fields[fields.index("-") + 1]
            options = fields[-1].split(",")
            for controllers, path in cgroups:
                ours = (kind == "cgroup2" and not controllers) or (
                    kind == "cgroup" and controllers and
                    set(controllers.split(",")) <= set(options))
                if ours and os.path.isdir(fields[4] + path):
                    found.add(fields[4] + path)
    return found


def mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return {line.split(" ", 1)[1] for line in f if "toolring" in line}


def shm():
    return {name for name in os.listdir("/dev/shm") if name.startswith("toolring")}


class Traces:
    """What a toolringd at work is made of."""

    def __init__(self, lab):
        for i in range(4):
            slot = lab.slot()
            slot.keep("sleep 33001.25 & setsid sleep 33001.25 & echo x > /tmp/x")
            slot.bash("echo y > y")
            if i % 2:
                slot.start("sleep 33002.25; :")
        local.wait_until(lambda: len(lab.find("sleep\x0033002")) >= 2, "two are busy")
        self.pids = lab.daemon.family()
        self.marked = local.marked(self.pids)
        self.last = max(map(local.began, self.pids))
        self.namespaces = namespaces_of(self.pids)
        self.cgroups = cgroup_folders(cgroups_of(self.pids))
        expect(len(local.remaining(self.marked)) > 10, "twin: processes are there")
        expect(self.namespaces, "twin: namespaces are there")
        if not {"memory", "pids"} <= local.ACCEPTED:
            expect(self.cgroups, "twin: cgroups are there")

    def left(self):
        # The number of a namespace that is gone may be that of a later one.
        old = [p for p in local.processes() if local.began(p) <= self.last]
        held = namespaces_of(old) & self.namespaces
        return local.remaining(self.marked), held, {c for c in self.cgroups if os.path.isdir(c)}

    def are_gone(self, cgroups=True):
        def gone():
            pids, held, folders = self.left()
            return not pids and not held and not (cgroups and folders)
        try:
            local.wait_until(gone, "all is gone", 30)
        except AssertionError:
            shown = [f"{pid} {comm(pid)}" for pid in self.left()[0]]
            raise AssertionError(f"left: {shown}, {self.left()[1:]}") from None


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return "?"


MOUNTS, SHM = mounts(), shm()


def ended_by(build, how, *flags, fds=()):
    """Starts a toolringd, uses it, ends it by how(lab) or else as usual, and looks."""
    with Lab(build, "--slots-max", "8", "--slots-min", "2", *flags, fds=fds) as lab:
        traces = Traces(lab)
        how(lab)
    traces.are_gone()
    expect(mounts() <= MOUNTS, f"mounts: {mounts() - MOUNTS}")
    expect(shm() <= SHM, f"in /dev/shm: {shm() - SHM}")


def told(build):
    """SIGTERM."""
    ended_by(build, lambda lab: None)


def keeper_killed(build):
    """kill -9 of the keeper."""
    ended_by(build, lambda lab: lab.daemon.kill())


def executor_killed(build):
    """After kill -9 of the executor the next one serves; told to end, nothing is left."""
    def how(lab):
        os.kill(lab.ring.status()["executor_pid"], signal.SIGKILL)
        local.wait_until(lambda: generation(lab) == 2, "the next one serves")
    ended_by(build, how)


def generation(lab):
    try:
        return lab.ring.status()["generation"]
    except (OSError, KeyError):
        return 0


def both_killed(build):
    """kill -9 of the executor and the keeper at once."""
    ended_by(build, lambda lab: lab.daemon.kill(lab.ring.status()["executor_pid"]))


def all_killed(build):
    """
    kill -9 of all at once, the maker of slots too: its slots end. The folders of cgroups that
    nobody could remove any more are removed by the next start at the same place.
    """
    with Lab(build, "--slots-max", "8") as lab:
        traces = Traces(lab)
        keeper = lab.daemon.process.pid
        lab.daemon.kill(*[p for p in local.processes() if local.parent_of(p) == keeper])
        traces.are_gone(cgroups=False)
        lab.daemon.start()
        lab.ring.status()
    traces.are_gone()
    expect(mounts() <= MOUNTS, f"mounts: {mounts() - MOUNTS}")


def starter_killed(build):
    """
    kill -9 of whose pidfd it was given as --stop-fd. It ends by itself, well, without waiting for what
    runs, and with the folder of its socket.
    """
    def how(lab):
        expect(lab.daemon.process.poll() is None, "twin: while that lives, so does it")
        starter.kill()
        expect(lab.daemon.process.wait(timeout=20) == 0, "it ended well")
        expect(not os.path.exists(lab.daemon.folder), "its folder is gone")
        os.mkdir(lab.daemon.folder)  # where the end of the test looks

    starter = subprocess.Popen(["sleep", "600"])
    try:
        fd = os.pidfd_open(starter.pid)
        flags = "--limit", "stop_grace_ms=3600000", "--stop-fd", str(fd)
        ended_by(build, how, *flags, fds=[fd])
        os.close(fd)
    finally:
        starter.kill()
        starter.wait()


TESTS = (told, keeper_killed, executor_killed, both_killed, all_killed, starter_killed)

if __name__ == "__main__":
    the_build = build_of(sys.argv)
    FAILED = run(chosen(TESTS, sys.argv), the_build)
    sys.exit(FAILED > 0)
