# SPDX-License-Identifier: Apache-2.0
"""
What the tests of security share. Each test is a function that takes a Lab; it shows that something
is denied in a slot, and, as its twin, that the same thing works where the rule does not hold: so
that a denial is the rule's doing and not a mistake of the test.
"""

import errno
import os
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import local  # noqa: E402
from ring import Ring  # noqa: E402

IS_ROOT = os.geteuid() == 0
# What a kernel without the thing itself answers.
NOT_THERE = {"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ENODEV", "EOPNOTSUPP"}


def error_name(said):
    """What the probe said, in words: "ok" or an error's name."""
    said = said.strip()
    return errno.errorcode.get(int(said), said) if said.isdigit() else said


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Slot:
    """One trajectory's slot."""

    def __init__(self, lab, name):
        self.lab = lab
        self.ring = lab.ring
        self.name = name
        self.started = []

    def end(self):
        """Ends what runs in it, and gives it back."""
        for answer in self.started:
            if not answer.is_there():
                self.ring.cancel(answer)
                answer.wait()
        self.started = []
        self.ring.release(self.name)

    def result(self, command, timeout=None):
        return self.ring.bash(self.name, command, timeout)

    def bash(self, command, timeout=None):
        """The output of a command that must be answered, whatever its exit code."""
        result = self.result(command, timeout)
        expect(result["verdict"] in ("ok", "failed"), f"{command!r}: {result}")
        return result["output"]

    def keep(self, command, timeout=None):
        """The same in the shell room."""
        result = self.ring.execute(self.name, ["bash", "-c", command], timeout, keep=True)
        expect(result["verdict"] in ("ok", "failed"), f"{command!r}: {result}")
        return result["stdout"].decode(errors="replace").strip()

    def start(self, command, timeout=None):
        self.started.append(self.ring.start(self.name, "bash", {"command": command}, timeout))
        return self.started[-1]

    def read(self, path):
        return self.ring.call(self.name, "read_file", {"path": path}, 20)

    def write(self, path, content):
        return self.ring.call(self.name, "write_file", {"path": path, "content": content}, 20)

    def install_probe(self):
        """Puts the probe into the workspace, once."""
        with open(self.lab.probe, "rb") as f:
            program = f.read()
        result = self.ring.execute(
            self.name, ["sh", "-c", "test -x probe || { cat > probe && chmod 755 probe; }"],
            stdin=program)
        expect(result["verdict"] == "ok", f"no probe: {result}")

    def probe(self, *words):
        """How an attempt goes inside: "ok", an error's name or "signal N"."""
        self.install_probe()
        result = self.ring.execute(self.name, ["./probe", *words])
        metadata = result["metadata"]
        if metadata.get("signal"):
            return f"signal {metadata['signal']}"
        expect(result["verdict"] == "ok", f"probe {words}: {result}")
        return error_name(result["stdout"].decode())

    def is_well(self):
        """The slot still does what it should."""
        expect(self.bash("echo well") == "well", "the slot does not answer as it should")


class Lab:
    def __init__(self, build, *flags, env=None, fds=()):
        self.build = build
        self.probe = os.path.join(os.path.abspath(build), "tests", "security", "probe")
        self.daemon = local.Local(build, *flags, env=env, fds=fds)
        self.slots = []
        self.n_slots = 0

    def __enter__(self):
        self.daemon.__enter__()
        try:
            self.ring = Ring(self.build, self.daemon.name).__enter__()
        except BaseException:
            self.daemon.stop()
            raise
        return self

    def __exit__(self, *_):
        self.ring.__exit__()
        self.daemon.stop()

    def slot(self, spec=None):
        self.n_slots += 1
        slot = Slot(self, f"lab-{self.n_slots}")
        spec = dict(spec or {})
        if "memory" in os.environ.get("TOOLRING_ACCEPT_MISSING", ""):
            spec.pop("memory", None)  # no cap can be had, and asking for one is denied
        made = self.ring.acquire(slot.name, spec)
        expect(made["verdict"] == "ok", f"no slot: {made}")
        slot.slot_id = made["slot_id"]
        self.slots.append(slot)
        return slot

    def end_slots(self):
        """Ends all that a test has left."""
        for slot in self.slots:
            slot.end()
        self.slots = []

    def outside(self, *words):
        """How the probe's attempt goes without a slot, in namespaces of its own."""
        own = ["unshare", "-mu"] if IS_ROOT else ["unshare", "-rmu"]
        done = subprocess.run([*own, self.probe, *words], capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode < 0:
            return f"signal {-done.returncode}"
        expect(done.returncode == 0, f"probe {words} outside: {done}")
        return error_name(done.stdout)

    def find(self, marker):
        """The processes whose command line has marker in it, as seen from outside."""
        found = []
        for pid in self.daemon.family():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if marker.encode() in f.read():
                        found.append(pid)
            except OSError:
                pass
        return sorted(found)

    def wait_for(self, marker, slot, seconds=20):
        """Runs a sleep that is known by marker in the slot; its host's pid, and the answer."""
        answer = slot.start(f"exec sleep {marker}")
        local.wait_until(lambda: self.find(f"sleep\0{marker}"), "the sleep runs", seconds)
        return self.find(f"sleep\0{marker}")[0], answer


def run(tests, lab, label=""):
    """Runs tests one after another; the number that failed."""
    failed = 0
    for test in tests:
        began = time.monotonic()
        try:
            test(lab)
            word = "ok"
        except Exception as e:
            failed += 1
            word = "FAILED"
            traceback.print_exc(file=sys.stdout)
            print(f"    {type(e).__name__}: {str(e)[:2000]}")
        if isinstance(lab, Lab):
            lab.end_slots()
        print(f"{word:8} {label}{test.__name__}  ({time.monotonic() - began:.1f} s)", flush=True)
    return failed


def build_of(argv):
    """The build folder that the command line names; ends the test where there can be no slots."""
    if len(argv) < 2:
        sys.exit(f"usage: {argv[0]} BUILD [TEST...]")
    local.must_be_able(argv[1])
    return argv[1]


def chosen(tests, argv):
    """All tests, or those named on the command line."""
    return [t for t in tests if len(argv) < 3 or t.__name__ in argv[2:]]
