# SPDX-License-Identifier: Apache-2.0
"""
A toolringd of a test's own, which may be killed, stopped and started again: with Private() as d.
Clients reach it at d.name. Whatever happens, it and its folder are gone at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self

import pytest

from toolring import _daemon, _programs

MUST_WORK = os.environ.get("TOOLRING_MUST_WORK") == "1"


def cannot(why: str) -> NoReturn:
    """Skips the test; where everything must work, fails it."""
    if MUST_WORK:
        pytest.fail(f"cannot be tested: {why}")
    pytest.skip(why)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Looks again and again; what does not come true is an error."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not after {seconds} s: {what}"
        time.sleep(0.005)


def stat_of(pid: int) -> list[str]:
    """What /proc/PID/stat says behind the name; nothing if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """A process that nobody has reaped yet is nobody any more."""
    return stat_of(pid)[:1] not in ([], ["Z"], ["X"])


def below(pid: int) -> set[int]:
    """All that descend from a process, itself not among them."""
    stats = {p: stat_of(p) for p in map(int, filter(str.isdigit, os.listdir("/proc")))}
    parents = {p: int(stat[1]) for p, stat in stats.items() if stat}
    found = {pid}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def having(variable: str) -> list[int]:
    """All on this machine that have this NAME=VALUE in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if variable.encode() in f.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            continue  # gone, or somebody else's
    return found


def commands_below(pid: int, word: str) -> list[int]:
    """Those of them that live and have this word in their command line."""
    found = []
    for p in below(pid):
        try:
            with open(f"/proc/{p}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if word.encode() in words and is_alive(p):
            found.append(p)
    return found


class Private:
    """Runs from start() to stop(); start() again serves at the same place."""

    def __init__(self, *flags: str, backend: str = "fake") -> None:
        self.flags = flags
        self.backend = backend
        self.folder = tempfile.mkdtemp(prefix="toolring-")
        os.chmod(self.folder, 0o711)  # who is admitted may be another user
        self.name = os.path.join(self.folder, "test.sock")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = tempfile.TemporaryFile()

    @property
    def pid(self) -> int:
        """The keeper's."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Returns once clients may connect."""
        program = os.environ.get("TOOLRINGD") or _programs.path("toolringd")
        ready, told = os.pipe()
        # Which makes it end with this process, however that ends.
        ours = _daemon._pidfd(os.getpid())
        try:
            self.process = subprocess.Popen(
                [program, "--backend", self.backend, "--socket", self.name, "--log-level",
                 "warning", "--ready-fd", str(told), "--stop-fd", str(ours.fd), *self.flags],
                pass_fds=[told, ours.fd], stdin=subprocess.DEVNULL, stderr=self.log,
                process_group=0)
        finally:
            os.close(told)
        with os.fdopen(ready, "rb") as f:
            serves = f.read(1)
        if not serves:
            status = self.process.wait(timeout=60)
            self.process = None
            said = self.said()
            if "--accept-missing" in said:
                cannot(f"this machine has not all that slots need: {said}")
            raise AssertionError(f"toolringd did not start ({status}): {said}")

    def said(self) -> str:
        """What it wrote to standard error so far."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self, sig: int = signal.SIGTERM) -> None:
        """Ends it, if it runs; by SIGTERM it must end well."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(sig)
        try:
            status = process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"toolringd did not end: {self.said()}") from None
        assert status == (0 if sig == signal.SIGTERM else -sig), self.said()

    def kill(self) -> None:
        """All of it at once, none of whom can do anything about it."""
        os.kill(self.pid, signal.SIGSTOP)
        for pid in below(self.pid):
            os.kill(pid, signal.SIGKILL)
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            # What toolringd has made, and killed, could not remove.
            shutil.rmtree(self.folder, ignore_errors=True)
            self.log.close()
