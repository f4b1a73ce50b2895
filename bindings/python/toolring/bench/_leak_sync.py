# SPDX-License-Identifier: Apache-2.0
"""What a million calls of the synchronous client leave behind, of four threads: as _leak."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import toolring
import toolring.sync

from ._bench import Bench, daemon
from ._ledger import Ledger
from ._report import Row

N_THREADS = 4
N_WINDOWS = 10
N_SESSIONS = 10  # opened and closed in each window
LARGE = 100_000  # above a quarter of a ring

Action = Callable[[toolring.sync.Client, toolring.sync.Trajectory], object]


def _fake(**script: Any) -> dict[str, Any]:
    return {"command": "true", "fake": script}


def _raises(call: Callable[[], object], kind: type[Exception]) -> None:
    try:
        call()
    except kind:
        return
    raise RuntimeError(f"a call was to raise {kind.__name__}")


def _passing(client: toolring.sync.Client, _: toolring.sync.Trajectory) -> None:
    with client.trajectory(None) as passing:
        passing.bash("true")


# One of a hundred calls each; of the others every second is a PING, the rest read_file().
RARE: tuple[Action, ...] = (
    _passing,
    lambda c, t: t.call("bash", _fake(verdict="failed", exit_code=3)),
    lambda c, t: t.call("bash", _fake(output_bytes=LARGE)),
    lambda c, t: c.status(),
    lambda c, t: t.write_file("large.txt", "x" * LARGE),
    lambda c, t: _raises(lambda: t.call("no_such_tool", {}), toolring.InvalidCall),
    lambda c, t: _raises(lambda: t.call("bash", _fake(verdict="unknown")), toolring.Unknown),
    lambda c, t: _raises(lambda: t.call("bash", {"command": object()}), toolring.InvalidCall),
    lambda c, t: t.exec(["true"], stdin=b"some"),
)


def _lane(client: toolring.sync.Client, t: toolring.sync.Trajectory, first: int, n: int) -> None:
    for k in range(first, first + n):
        at = k % 100
        if at < len(RARE):
            RARE[at](client, t)
        elif at % 2:
            t.read_file("notes.txt")
        else:
            client.ping()


def _window(name: str, client: toolring.sync.Client, ts: list[toolring.sync.Trajectory],
            n: int) -> None:
    for _ in range(N_SESSIONS):
        with toolring.sync.connect(name) as other:
            other.ping()
    faults: list[BaseException] = []

    def work(i: int) -> None:
        try:
            _lane(client, ts[i], 25 * i, n // N_THREADS)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def measure(bench: Bench) -> None:
    """Adds what is left behind."""
    n, n_windows = (4000, 3) if bench.quick else (1_000_000 // N_WINDOWS, N_WINDOWS)
    ledger = Ledger(n_windows + 1)
    with daemon("fake") as d, toolring.sync.connect(d.name) as client:
        ts = [client.trajectory(f"leak-{i}") for i in range(N_THREADS)]
        _window(d.name, client, ts, n)
        for i in range(n_windows + 1):
            ledger.enter(i * n)
            if i < n_windows:
                _window(d.name, client, ts, n)
    bench.say(f"\n{ledger}")
    bench.add(Row("leak_sync_per_million", ledger.things_per_million(), "count"))
    bench.add(Row("leak_sync_bytes_per_million", ledger.bytes_per_million(), "bytes"))
