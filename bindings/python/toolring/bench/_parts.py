# SPDX-License-Identifier: Apache-2.0
"""The parts of the bench, in the order they are run, with the rows that each may add."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """measure, of that module of this package, adds the rows; judged ones have a target."""

    module: str
    measure: str
    judged: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        return self.judged + self.others


PARTS = (
    Part("_ping", "measure", ("ping_over_c",),
         ("ping_asleep_p50", "ping_asleep_uvloop_p50", "ping_unspun_p50", "ping_held_p50",
          "ping_asleep_sync_p50", "ping_awake_p50", "ping_awake_uvloop_p50",
          "ping_awake_sync_p50")),
    Part("_files", "measure", ("read_file_rate_1000",),
         ("read_file_rate_gather", "read_file_rate_uvloop", "read_file_rate_sync", "read_file_cpu",
          "read_file_rate_vs_c")),
    Part("_waiting", "measure", ("bytes_per_waiting_call",), ("executor_per_waiting_call",)),
    Part("_waiting", "measure_in_flight", (), ("bytes_per_call_in_flight",)),
    Part("_waiting", "measure_traced", (), ("bytes_per_waiting_call_traced",)),
    Part("_leak", "measure", ("leak_per_million", "leak_bytes_per_million"),
         ("leak_blocks_per_million", "leak_private_per_million", "leak_executor_per_million")),
    Part("_leak_sync", "measure", (), ("leak_sync_per_million", "leak_sync_bytes_per_million")),
    Part("_subprocess", "measure", ("vs_subprocess",),
         ("vs_subprocess_uvloop", "vs_subprocess_sync")),
)

ROWS = tuple(row for part in PARTS for row in part.rows)
