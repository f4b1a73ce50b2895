# SPDX-License-Identifier: Apache-2.0
"""What the bench needs of the machine: its description, cores, memory, the death of a parent."""

from __future__ import annotations

import ctypes
import os
import platform
import signal

_PR_SET_PDEATHSIG = 1

CORES = tuple(sorted(os.sched_getaffinity(0)))  # before any pinning
OURS = CORES[0]
THEIRS = CORES[1] if len(CORES) > 1 else CORES[0]

_libc = ctypes.CDLL(None, use_errno=True)


def cpu_model() -> str:
    """As /proc/cpuinfo says; else the architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def pin(*cores: int) -> None:
    """Lets us run on these cores only; none: on all. Where that is forbidden it is noisier."""
    try:
        os.sched_setaffinity(0, cores or CORES)
    except OSError:
        pass


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """To be called in a child of that parent: it dies when the parent does, however."""
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os._exit(1)


def rollup(pid: int | str, *names: str) -> int:
    """The sum of some lines of a process's smaps_rollup, in bytes; 0 if it is gone."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as f:
            for line in f:
                name, _, rest = line.partition(":")
                if name in names:
                    total += int(rest.split()[0]) * 1024
    except OSError:
        pass
    return total


def private_bytes(pid: int | str = "self") -> int:
    """Memory that is this process's alone."""
    return rollup(pid, "Private_Clean", "Private_Dirty", "Private_Hugetlb")


def shared_bytes() -> int:
    """Shared memory that is mapped here, as a session's segment: each object once, all of it."""
    seen: set[str] = set()
    total = 0
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as f:
        for line in f:
            fields = line.split(maxsplit=5)
            if len(fields) < 6 or not fields[1].endswith("s") or fields[4] in seen or \
                    not fields[5].startswith(("/dev/shm/", "/memfd:")):
                continue
            seen.add(fields[4])
            start, end = (int(x, 16) for x in fields[0].split("-"))
            total += end - start
    return total


def family(pid: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        below.setdefault(parent, []).append(int(name))
    found, at = [pid], 0
    while at < len(found):
        found += below.get(found[at], [])
        at += 1
    return found
