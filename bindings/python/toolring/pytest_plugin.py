# SPDX-License-Identifier: Apache-2.0
"""
Fixtures for tests that run tools:

    def test_it(toolring_trajectory):
        assert toolring_trajectory.bash("echo hello").output == "hello"

    async def test_it_too(toolring_daemon):
        async with toolring.connect(toolring_daemon) as client, client.trajectory() as t:
            assert (await t.bash("echo hello")).output == "hello"

They share a toolringd of this session's own, started when first needed, or use the running one that
--toolring-name or the ini option toolring_name names. The ini option toolring_options has command
line arguments for one's own, and as any toolringd it heeds what the environment says: where a
machine lacks layers of isolation, TOOLRING_ACCEPT_MISSING names those to do without.

pytest loads this file in every project of an environment, so that nothing is imported before a
fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from . import Daemon, sync

# Instances of root must not share ids (toolringd --uid-base), so each worker of pytest-xdist has
# room for this many slots and those on their way, 65,536 ids each.
_WORKER_SLOTS = 256
_WORKER_IDS = 2 * _WORKER_SLOTS * 65536
_UID_BASE = 1879048192
_WORKERS_APART = 64


class Running(NamedTuple):
    """A toolringd that is there without us."""

    name: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("toolring").addoption(
        "--toolring-name", metavar="NAME",
        help="use the running toolringd of this name or socket, start none")
    parser.addini("toolring_name", "the running toolringd to use, by its name or socket")
    parser.addini("toolring_options", "command line arguments of the toolringd that is started",
                  type="args")


def _flags_of_worker() -> dict[str, Any]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if os.geteuid() != 0 or not worker.isdigit():
        return {}
    number = 1 + int(worker) % _WORKERS_APART
    return {"slots_max": _WORKER_SLOTS, "uid_base": _UID_BASE + number * _WORKER_IDS}


@pytest.fixture(scope="session")
def toolring_daemon(pytestconfig: pytest.Config) -> Iterator[Daemon | Running]:
    """A toolringd for this session; toolring.connect() takes it."""
    name = pytestconfig.getoption("--toolring-name") or pytestconfig.getini("toolring_name")
    if name:
        yield Running(str(name))
        return

    from ._daemon import start

    with start(options=pytestconfig.getini("toolring_options"), **_flags_of_worker()) as daemon:
        yield daemon


@pytest.fixture
def toolring_client(toolring_daemon: Daemon | Running) -> Iterator[sync.Client]:
    """A synchronous client of toolring_daemon."""
    from . import sync

    with sync.connect(toolring_daemon) as client:
        yield client


@pytest.fixture
def toolring_trajectory(toolring_client: sync.Client) -> Iterator[sync.Trajectory]:
    """A trajectory with a fresh slot of its own, for the synchronous client."""
    with toolring_client.trajectory() as trajectory:
        yield trajectory
