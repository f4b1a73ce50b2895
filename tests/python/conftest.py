# SPDX-License-Identifier: Apache-2.0
"""
What all tests of the Python package share: a toolringd with slots on this machine (local) and one
that only echoes (fake), each started when first needed and ended with the session; and how a test
that is a coroutine is run: under asyncio and under uvloop, in debug mode, and whatever the loop
complains of is a failure. A test marked quiet_loop runs without debug mode, which makes large ones
slow.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import toolring  # noqa: E402
import toolring.sync  # noqa: E402
from private import Private, cannot, wait_until  # noqa: E402

LOOPS = ("asyncio", "uvloop")
SLOW_S = 15.0  # a step of a loop; this machine may be busy with other things


# With pytest-xdist every worker has toolringds of its own; as root their slots want ids apart.
if os.geteuid() == 0 and "PYTEST_XDIST_WORKER" in os.environ:
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    os.environ.setdefault("TOOLRING_UID_BASE", str((7 + worker % 4 * 2) << 28))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quiet_loop: runs its loop without debug mode")
    config.addinivalue_line("markers", "slow: left out by tools/test --quick")
    config.addinivalue_line("markers", "loop(name): runs under this loop only")


def pytest_collection_finish() -> None:
    """What was imported stays: were it looked through, each gc.collect() would take 0.1 s."""
    gc.collect()
    gc.freeze()


# ---- toolringd -----------------------------------------------------------------------------------

def start(backend: str) -> toolring.Daemon:
    try:
        return toolring.start(backend=backend, log_level="warning")
    except toolring.Unavailable as error:
        if "--accept-missing" not in str(error):
            raise
        cannot(f"this machine has not all that slots need: {error}")


@pytest.fixture(scope="session")
def fake() -> Iterator[toolring.Daemon]:
    """A toolringd whose tools do nothing but answer with their arguments."""
    with start("fake") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def local() -> Iterator[toolring.Daemon]:
    """A toolringd with slots on this machine."""
    with start("local") as daemon:
        yield daemon


@pytest.fixture
def own() -> Iterator[Private]:
    """One like fake of a test's own, to be stopped and killed."""
    with Private() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def client(local: toolring.Daemon) -> Iterator[toolring.sync.Client]:
    """A synchronous client of that, for the tests of one file."""
    with toolring.sync.connect(local.name) as client:
        yield client


@pytest.fixture
def t(client: toolring.sync.Client) -> Iterator[toolring.sync.Trajectory]:
    """A trajectory of a test's own."""
    with client.trajectory() as t:
        yield t


# ---- coroutines ----------------------------------------------------------------------------------

def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not inspect.iscoroutinefunction(metafunc.function):
        return
    marker = metafunc.definition.get_closest_marker("loop")
    metafunc.fixturenames.append("loop_name")
    metafunc.parametrize("loop_name", [marker.args[0]] if marker else LOOPS)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        cannot("there is no uvloop here")
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class Complaints(logging.Handler):
    """What asyncio logs, and what loops hand to their exception handler."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def handle_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.texts.append(str(context))


def run_coroutine(function: Callable[..., Any], arguments: dict[str, Any], name: str,
                  debug: bool) -> None:
    complaints = Complaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    gc.collect()  # what the tests before have left would be found among this one's
    n_threads = threading.active_count()
    n_tasks = len(os.listdir("/proc/self/task"))
    try:
        with warnings.catch_warnings(record=True) as caught, \
                asyncio.Runner(debug=debug, loop_factory=loop_factory(name)) as runner:
            warnings.simplefilter("always")
            loop = runner.get_loop()
            loop.slow_callback_duration = SLOW_S
            loop.set_exception_handler(complaints.handle_exception)
            runner.run(function(**arguments))
            # All that was made is gone, or says now that it was forgotten.
            gc.collect()
            assert threading.active_count() <= n_threads
            # One of a test's own that was joined may have its last moments still before it.
            wait_until(lambda: len(os.listdir("/proc/self/task")) <= n_tasks, "no thread was made")
    finally:
        logger.removeHandler(complaints)
    gc.collect()
    assert not complaints.texts
    assert [str(w.message) for w in caught] == []


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    name = str(pyfuncitem.callspec.params["loop_name"])
    run_coroutine(pyfuncitem.obj, arguments, name, not pyfuncitem.get_closest_marker("quiet_loop"))
    return True
