# SPDX-License-Identifier: Apache-2.0
"""
A toolringd of a test's own, with slots that run commands. with Local(build) as d: clients reach it
at d.name. Whatever happens, it and its folder are gone at the end, and it must have ended well.

Where this machine cannot give slots, tests skip (or fail, where everything must work). An ordinary
user without a delegated cgroup names what may be missing: TOOLRING_ACCEPT_MISSING=memory,pids.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIP = 77
ACCEPTED = set(filter(None, os.environ.get("TOOLRING_ACCEPT_MISSING", "").split(",")))


def skip(why):
    """Ends the test as skipped; where everything must work, as failed."""
    must_work = os.environ.get("TOOLRING_MUST_WORK") == "1"
    print(("cannot be tested: " if must_work else "skipped: ") + why)
    sys.exit(1 if must_work else SKIP)


def must_be_able(build):
    """Ends the test if this build or machine has no local slots."""
    said = subprocess.run([os.path.join(build, "src", "toolringd"), "--help"], text=True,
                          capture_output=True, check=True).stdout
    if "--accept-missing" not in said:
        skip("this toolringd has no slots of its own")


def wait_until(condition, what, seconds=60):
    """Looks again and again; what did not come true is an error."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not after {seconds} s: {what}")
        time.sleep(0.01)


def stat_of(pid):
    """What /proc/PID/stat says behind the name; nothing if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return []


def parent_of(pid):
    stat = stat_of(pid)
    return int(stat[1]) if stat else 0


def began(pid):
    """When it was started, in ticks since the machine was."""
    stat = stat_of(pid)
    return int(stat[19]) if stat else 0


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def living(pids):
    """Those that are there and are not dead: whom pid 1 has not reaped yet is nobody any more."""
    return sorted(p for p in pids if stat_of(p)[:1] not in ([], ["Z"], ["X"]))


def marked(pids):
    """These processes so that they can be known again: numbers are soon given to others here."""
    return {(p, began(p)) for p in pids}


def remaining(processes_marked):
    """The numbers of those of them that live."""
    return living(p for p, when in processes_marked if began(p) == when)


def below(pid):
    """All that descend from pid, itself not among them."""
    parents = {p: parent_of(p) for p in processes()}
    found = {pid}
    while True:
        more = {p for p, parent in parents.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


class Local:
    def __init__(self, build, *flags, backend="local", env=None, fds=()):
        self.build = os.path.abspath(build)
        self.command = [os.path.join(self.build, "src", "toolringd"), "--backend", backend,
                        "--log-level", "warning", *flags]
        self.env = dict(os.environ, **(env or {}))
        self.fds = fds  # that it inherits

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="toolring-")
        # A client that runs as another user than this one must get to the socket.
        os.chmod(self.folder, 0o711)
        self.name = os.path.join(self.folder, "test.sock")
        self.log = tempfile.TemporaryFile()
        self.start()
        return self

    def start(self):
        """Also once more, at the same place, after it has ended."""
        ready, told = os.pipe()
        try:
            self.process = subprocess.Popen(
                self.command + ["--socket", self.name, "--ready-fd", str(told)],
                pass_fds=[told, *self.fds],
                stdin=subprocess.DEVNULL, stderr=self.log, env=self.env)
        finally:
            os.close(told)
        with os.fdopen(ready, "rb") as f:
            serves = f.read(1)
        if not serves:
            status = self.process.wait(timeout=60)
            shutil.rmtree(self.folder)
            said = self.said()
            if "--accept-missing" in said:
                skip("this machine has not all that slots need: " + said)
            raise SystemExit(f"toolringd did not start ({status}): {said}")

    def __exit__(self, *_):
        self.stop()

    def said(self):
        """What it wrote to standard error so far."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def family(self):
        """Every process of it: keeper, executor, maker, slots and what runs in them."""
        return below(self.process.pid) | {self.process.pid}

    def children(self):
        """(executor, maker): the keeper's."""
        pids = [p for p in processes() if parent_of(p) == self.process.pid]
        makers = [p for p in pids if os.readlink(f"/proc/{p}/exe").endswith("/toolring-slot")]
        executors = [p for p in pids if p not in makers]
        if len(makers) != 1 or len(executors) != 1:
            raise SystemExit(f"the keeper's children: executors {executors}, makers {makers}")
        return executors[0], makers[0]

    def kill(self, *more):
        """Ends the keeper, and these other processes of it, with SIGKILL."""
        for pid in (self.process.pid, *more):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """It must end well, with all of its processes, and leave nothing in its folder."""
        if self.process.poll() is not None and self.process.returncode == -signal.SIGKILL:
            shutil.rmtree(self.folder)  # by kill()
            self.log.close()
            return
        family = marked(self.family())
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = "nothing, it had to be killed"
            self.process.wait()
        left = os.listdir(self.folder)
        shutil.rmtree(self.folder)
        said = self.said()
        self.log.close()
        try:  # what is told to end may take a moment more
            wait_until(lambda: not remaining(family), "its processes are gone", 20)
        except AssertionError:
            pass
        alive = remaining(family)
        if status or left or alive:
            print(said, file=sys.stderr)
            raise SystemExit(f"toolringd ended with {status}, left {left} and processes {alive}")
        if said:
            print("toolringd said:\n" + said, file=sys.stderr)
