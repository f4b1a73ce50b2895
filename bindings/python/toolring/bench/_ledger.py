# SPDX-License-Identifier: Apache-2.0
"""
What this process holds, counted again and again over many calls, and how fast it grows.

Counted are objects that the garbage collector knows, blocks of Python's allocator (which holds the
others too), bytes that C has allocated and not freed, descriptors, threads, and private memory. All
but the last are exact: what is freed is not counted, and the books themselves lie in an array made
beforehand. CPython's cache of type attributes, which takes in a name now and then, is emptied
first.

The growth is the median over the spans between two entries: what leaks does so in every span, what
a table or free list takes that grew for good, in one or two. Freed memory that C keeps at hand for
a thread counts as allocated; so what grows less than 16 bytes in 1,000 calls is called nothing.
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import threading
import warnings
from array import array
from collections.abc import Sequence

from . import _machine

MILLION = 1_000_000
BYTES_NOISE = 16_000  # in a million calls
THINGS_NOISE = 500  # the same, where that cache cannot be emptied
COLUMNS = ("calls", "objects", "blocks", "descriptors", "threads", "heap", "private")


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                 "fordblks", "keepcost")]


_libc = ctypes.CDLL(None)
# In glibc 2.33 and newer; other libraries do not tell what is allocated.
KNOWS_HEAP = hasattr(_libc, "mallinfo2")
if KNOWS_HEAP:
    _libc.mallinfo2.restype = _Mallinfo2


_clear_type_cache = getattr(sys, "_clear_type_cache", None)


def heap_bytes() -> int:
    """What C has allocated; 0 where that cannot be told."""
    if not KNOWS_HEAP:
        return 0
    info = _libc.mallinfo2()
    return int(info.uordblks) + int(info.hblkhd)


def growth(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The median of the slopes from each point to the next."""
    return statistics.median((ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]) for i in range(len(xs) - 1))


class Ledger:
    """Room for that many entries, made one after the other."""

    def __init__(self, n_max: int) -> None:
        self._columns = {name: array("q", [0] * n_max) for name in COLUMNS}
        self._n = 0

    def enter(self, n_calls: int) -> None:
        """What is held after so many calls, without garbage."""
        if _clear_type_cache is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer ones would rather not have it called
                _clear_type_cache()
        gc.collect()
        columns, at = self._columns, self._n
        columns["calls"][at] = n_calls
        columns["objects"][at] = len(gc.get_objects())
        columns["blocks"][at] = sys.getallocatedblocks()
        columns["descriptors"][at] = len(os.listdir("/proc/self/fd"))
        columns["threads"][at] = threading.active_count()
        columns["heap"][at] = heap_bytes()
        columns["private"][at] = _machine.private_bytes()
        self._n += 1

    def __str__(self) -> str:
        lines = ["".join(f"{name:>13}" for name in COLUMNS)]
        lines += ["".join(f"{self._columns[name][i]:>13}" for name in COLUMNS)
                  for i in range(self._n)]
        return "\n".join(lines)

    def per_million(self, name: str) -> float:
        """By how much that column grows over a million calls."""
        n = self._n
        return growth(self._columns["calls"][:n], self._columns[name][:n]) * MILLION

    def things_per_million(self) -> float:
        """Objects or blocks, whichever are more, descriptors and threads; 0: no more than noise."""
        of = {name: max(self.per_million(name), 0.0)
              for name in ("objects", "blocks", "descriptors", "threads")}
        things = max(of["objects"], of["blocks"])
        if _clear_type_cache is None and things < THINGS_NOISE:
            things = 0.0
        return things + of["descriptors"] + of["threads"]

    def bytes_per_million(self) -> float:
        """Bytes that C did not free; 0: no more than noise."""
        heap = self.per_million("heap")
        return heap if heap >= BYTES_NOISE else 0
