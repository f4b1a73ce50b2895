# SPDX-License-Identifier: Apache-2.0
"""
A toolringd of one's own, for tests and notebooks.

It has to end with the process that started it, however that ends. So it is handed a pidfd of that
process (toolringd --stop-fd), which the kernel makes readable when the process is no more: kill -9
of the interpreter ends it, the end of the thread that called start() does not, and neither does a
forked child keep it alive, as the other end of a pipe would. It also makes the folder that its
socket lies in, and removes it: here nothing is made that would stay behind.

Waiting is written once, as generators that yield what to wait for: _drive() waits for it in poll(),
and _drive_async() in the running loop.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, NoReturn, Union

from . import _programs
from ._errors import InvalidCall, Unavailable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_SOCKET_PATH_MAX = 107
_SAID_SHOWN = 4000  # bytes of what toolringd said that an error shows
_CANCEL_S = 10.0  # for what was cancelled to end, before toolringd is killed
_STOP_S = 5.0
_SYS_PIDFD_OPEN = 434  # on every machine that toolringd runs on

# How the items of these are parted; those of any other list, by commas.
_SEPARATORS = {"slot_env": "\n"}
_PAIRS = {"slot_env": "=", "slot_bind": ":"}
_USAGE = 2  # exit code of a toolringd that was told what there is not
_OURS = ("socket", "ready_fd", "stop_fd", "limit")

Scalar = Union[str, int, float, "os.PathLike[str]"]
Flag = Union[Scalar, Iterable[Scalar], Mapping[str, Scalar], None]
Log = Union[str, "os.PathLike[str]", int, IO[Any], None]

# Yields (descriptors, seconds), and is sent whether one of them became readable in time.
Steps = Generator[tuple[tuple[int, ...], float], bool, None]


# ---- waiting -------------------------------------------------------------------------------------


def _drive(steps: Steps) -> None:
    readable: bool | None = None
    with contextlib.suppress(StopIteration):
        while True:
            fds, seconds = next(steps) if readable is None else steps.send(readable)
            waiting = select.poll()
            for fd in fds:
                waiting.register(fd, select.POLLIN)
            readable = bool(waiting.poll(max(0.0, seconds) * 1000))


async def _drive_async(steps: Steps) -> None:
    readable: bool | None = None
    with contextlib.suppress(StopIteration):
        while True:
            fds, seconds = next(steps) if readable is None else steps.send(readable)
            readable = await _become_readable(fds, seconds)


async def _become_readable(fds: tuple[int, ...], seconds: float) -> bool:
    import asyncio

    loop = asyncio.get_running_loop()
    seen: asyncio.Future[bool] = loop.create_future()

    def settle(readable: bool) -> None:
        if not seen.done():
            seen.set_result(readable)

    with contextlib.ExitStack() as stack:
        for fd in fds:
            # A loop knows one reader of a descriptor, and others may wait for the same.
            fd = os.dup(fd)
            stack.callback(os.close, fd)
            loop.add_reader(fd, settle, True)
            stack.callback(loop.remove_reader, fd)
        # Not asyncio.timeout(): in a task that is being cancelled that of 3.11.2 never ends well.
        timer = loop.call_later(max(0.0, seconds), settle, False)
        stack.callback(timer.cancel)
        return await seen


def _in_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


class _Fd:
    """A descriptor that is closed when nobody has this any more."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.fd)


def _pidfd(pid: int) -> _Fd:
    if hasattr(os, "pidfd_open"):
        return _Fd(os.pidfd_open(pid))
    # This Python was built where the kernel's headers were older than the call.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(ctypes.c_long(_SYS_PIDFD_OPEN), ctypes.c_int(pid), ctypes.c_uint(0))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return _Fd(fd)


@contextlib.contextmanager
def _uninterrupted() -> Generator[None, None, None]:
    """Ctrl-C in here is heard at the end: between a fork and knowing of it, a process would stay."""
    handler = signal.getsignal(signal.SIGINT)
    heard: list[int] = []
    try:
        if callable(handler):
            signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    except ValueError:
        handler = None  # threads but the main one are not interrupted
    try:
        yield
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
        for number in heard[:1]:
            signal.raise_signal(number)


# ---- what toolringd is told ----------------------------------------------------------------------


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{key}{_PAIRS.get(name, '=')}{_text(item)}" for key, item in value.items()]
    if isinstance(value, Iterable) and not isinstance(value, str):
        return _SEPARATORS.get(name, ",").join(map(_text, value))
    return _text(value)


def _arguments(flags: Mapping[str, Any]) -> list[str]:
    """The command line of these keywords, as start() documents them."""
    arguments = []
    for name, value in flags.items():
        if name in _OURS:
            raise TypeError(f"start() takes no {name!r}" +
                            (", but limits={NAME: VALUE}" if name == "limit" else ""))
        if value is None:
            continue
        if name == "limits":
            arguments += [f"--limit={key}={_text(item)}" for key, item in value.items()]
        else:
            arguments.append(f"--{name.replace('_', '-')}={_value(name, value)}")
    return arguments


def _environment(more: Mapping[str, str | None] | None) -> dict[str, str]:
    # Where it is reached is not for the environment to say.
    gone: dict[str, str | None] = {"TOOLRING_SOCKET": None, "TOOLRING_NAME": None}
    merged = {**os.environ, **gone, **(more or {})}
    return {name: value for name, value in merged.items() if value is not None}


def _program(said: str | os.PathLike[str] | None) -> str:
    said = said or os.environ.get("TOOLRINGD")
    return os.path.abspath(said) if said else _programs.path("toolringd")


def _socket_path() -> str:
    """In a folder that is not there yet, and that nobody could foresee and make before us."""
    rest = f"toolring-{secrets.token_hex(8)}/sock"
    path = os.path.join(tempfile.gettempdir(), rest)
    return path if len(os.fsencode(path)) <= _SOCKET_PATH_MAX else f"/tmp/{rest}"


class _Said:
    """What toolringd says: kept in a file without a name, or written where the caller wants it."""

    def __init__(self, log: Log) -> None:
        self._own: _Fd | None = None
        self._opened: _Fd | None = None
        if log is None:
            with tempfile.TemporaryFile() as file:
                self._own = self._opened = _Fd(os.dup(file.fileno()))
        elif isinstance(log, (str, os.PathLike)):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._opened = _Fd(os.open(log, flags, 0o666))
        if self._opened is not None:
            self.fd = self._opened.fd
        else:
            assert not isinstance(log, (str, os.PathLike)) and log is not None
            self.fd = log if isinstance(log, int) else log.fileno()

    def text(self) -> str:
        if self._own is None:
            return ""
        # Where one is in the file is one thing with toolringd, so it is not moved.
        size = os.fstat(self._own.fd).st_size
        return os.pread(self._own.fd, size, 0).decode(errors="replace")


# ---- the process ---------------------------------------------------------------------------------


class _Process:
    """toolringd as a child of this process. It knows nothing of the Daemon, and may outlive it."""

    def __init__(self, command: list[str], folder: str | None, log: Log,
                 env: dict[str, str]) -> None:
        self.owner = os.getpid()
        self._folder = folder  # that goes with it
        self.said = _Said(log)
        self._lock = threading.Lock()
        self._n_told = 0
        ours = _pidfd(self.owner)
        ready, told = map(_Fd, os.pipe())
        command = [*command, f"--ready-fd={told.fd}", f"--stop-fd={ours.fd}"]
        # A session of its own: what is typed at this terminal is not meant for it. Its folder is
        # the root, so that it keeps nobody's folder busy, and reads no .env that was meant for
        # others.
        self._popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.said.fd,
            pass_fds=(told.fd, ours.fd), env=env, cwd="/", start_new_session=True)
        os.set_blocking(ready.fd, False)
        self._ready = ready
        try:
            self._ended = _pidfd(self._popen.pid)
        except BaseException:
            self._popen.kill()
            self._popen.wait()
            raise

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_ours(self) -> bool:
        """Not in a child that was forked since."""
        return os.getpid() == self.owner

    @property
    def started(self) -> tuple[int, int]:
        """One is readable: it serves, or has ended. (A forked child may hold the pipe open.)"""
        return self._ready.fd, self._ended.fd

    def serves(self) -> bool:
        """To be asked once it has started, until it does."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._ready.fd, 1) != b""
        return False

    def poll(self) -> int | None:
        return self._popen.poll() if self.is_ours else self._popen.returncode

    def _tell(self, number: int, n_told: int) -> None:
        with self._lock:
            if self._n_told < n_told:
                self._n_told = n_told
                self._popen.send_signal(number)

    def stopping(self, seconds: float) -> Steps:
        """
        Told once, it lets what runs end; told twice, it cancels that. By another signal, since one
        that is pending already is not heard twice.
        """
        told = ((signal.SIGTERM, seconds), (signal.SIGINT, _CANCEL_S), (signal.SIGKILL, _CANCEL_S))
        for n, (number, patience) in enumerate(told, 1):
            if self.poll() is not None:
                break
            self._tell(number, n)
            if (yield (self._ended.fd,), patience):
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        if self._folder is not None:
            # If it was killed, it could not do so itself.
            shutil.rmtree(self._folder, ignore_errors=True)

    def end(self) -> None:
        """At once, in the process that started it."""
        if self.is_ours:
            _drive(self.stopping(0))


# ---- what start() returns ------------------------------------------------------------------------


class Daemon:
    """
    A toolringd that start() has started. It stops with stop(), at the end of a `with` or `async
    with`, when nobody has this object any more, and with this process, however that ends; not with
    a child forked from it.
    """

    def __init__(self, process: _Process, name: str, timeout: float) -> None:
        self._process = process
        self._name = name
        self._until = time.monotonic() + timeout
        self._timeout = timeout
        self._lock = threading.Lock()
        self._state = "starting"  # then "serving"; at last "stopped"
        self._fault = "toolringd was stopped"  # why it serves no more, or never has
        self._end = weakref.finalize(self, process.end)

    @property
    def name(self) -> str:
        """Where it is reached, for connect(). Waits until it serves, where nothing has yet."""
        if self._state == "starting" and self._process.is_ours:
            self._wait()
        return self._name

    @property
    def pid(self) -> int:
        """Of its keeper."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, as subprocess has it; None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What it has said so far; "" if that goes elsewhere."""
        return self._process.said.text()

    def stop(self, timeout: float = _STOP_S) -> None:
        """
        Stops it. What runs may take timeout seconds to end, and is then cancelled. Once stopped, or
        in a child forked from the process that started it, this does nothing.
        """
        if self._process.is_ours:
            _drive(self._stopping(timeout))

    async def stop_async(self, timeout: float = _STOP_S) -> None:
        """The same, while the running loop goes on."""
        if self._process.is_ours:
            await _drive_async(self._stopping(timeout))

    def _stopping(self, timeout: float) -> Steps:
        if self._state != "stopped":
            yield from self._process.stopping(timeout)
            self._state = "stopped"
            self._end.detach()

    # ---- its start

    def _starting(self) -> Steps:
        if self._state == "starting":
            in_time = yield self._process.started, self._until - time.monotonic()
            with self._lock:
                # Others may wait for it, too.
                if self._state == "starting" and in_time and self._process.serves():
                    self._state = "serving"
            if self._state == "starting":
                yield from self._process.stopping(_STOP_S if in_time else 0)
                self._fault = self._describe(in_time)
                yield from self._stopping(0)
        if self._state == "stopped":
            raise (InvalidCall if self.returncode == _USAGE else Unavailable)(self._fault)

    def _describe(self, in_time: bool) -> str:
        said = self.log.strip()
        if len(said) > _SAID_SHOWN:
            said = "..." + said[-_SAID_SHOWN:]
        if not in_time:
            return (f"toolringd does not serve after {self._timeout:g} s: "
                    f"{said or 'it says nothing'}")
        return f"toolringd does not start: {said or f'it ended with {self.returncode}'}"

    def _wait(self) -> None:
        try:
            _drive(self._starting())
        except BaseException:
            self.stop(0)
            raise

    async def _wait_async(self) -> None:
        try:
            await _drive_async(self._starting())
        except BaseException:
            # Cancelled, for one: whoever waited will not come to stop it.
            await self.stop_async(0)
            raise

    # ---- as a context

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self._wait_async()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.stop_async()

    def __await__(self) -> Generator[Any, Any, Self]:
        """Waits until it serves."""
        return self.__aenter__().__await__()

    # ---- as an object

    def __repr__(self) -> str:
        code = self.returncode
        state = self._state if code is None else f"ended with {code}"
        return f"<toolring.Daemon {self._name}: pid {self.pid}, {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Daemon belongs to the process that started it; give others its name")

    def __del__(self) -> None:
        # Not where __init__ did not get far, in a forked child, and after the end of the process.
        if "_end" in self.__dict__ and self._end.alive and self._process.poll() is None \
                and self._process.is_ours:
            warnings.warn(f"{self!r} was not stopped", ResourceWarning, source=self)


def start(*, backend: str = "local", name: str | None = None, options: Iterable[str] = (),
          toolringd: str | os.PathLike[str] | None = None, timeout: float = 30.0,
          env: Mapping[str, str | None] | None = None, log: Log = None, **flags: Flag) -> Daemon:
    """
    Starts a toolringd of one's own, which ends with this process, and waits until it serves:

        with toolring.start(slots_max=8) as daemon, toolring.sync.connect(daemon) as client: ...
        async with toolring.start() as daemon, toolring.connect(daemon) as client: ...

    Inside a running event loop it returns at once, so as not to hold that up: `async with`, `await`
    and at the latest a first look at its name wait. Unavailable is raised if it does not start,
    with what it said: a layer of isolation that this machine lacks, for one, and the remedy;
    InvalidCall for an option that it does not have, or not with that value.

    Any other keyword is the flag of toolringd that is called so, with dashes: slots_max=8 is
    --slots-max=8. A list is joined by commas (accept_missing=["memory", "pids"]), slot_env and
    slot_bind may also be dictionaries, and limits is one: limits={"artifact_bytes_max": "64M"}.
    Paths must be absolute. As everywhere TOOLRING_ variables are heeded, but no .env is read.

    backend: "local" makes slots on this machine; "fake" runs nothing and echoes.
    name: an instance's name, or the path of a socket, if others are to find it; else its socket is
        in a temporary folder.
    options: further command line arguments as they are; a string is one.
    toolringd: the program; else $TOOLRINGD, else the one in this package.
    timeout: seconds within which it must serve.
    env: variables in addition to this process's; None takes one away.
    log: where its messages go: a path, a file or a descriptor (sys.stderr shows them); else
        Daemon.log has them.

    As root, several at a time should each have a uid_base of their own.
    """
    folder = None
    daemon: Daemon | None = None
    if name is None:
        name = _socket_path()
        folder = os.path.dirname(name)
        place = f"--socket={name}"
    else:
        name = os.path.abspath(name) if "/" in name else name
        place = f"--name={name}"
    try:
        more = [options] if isinstance(options, str) else options
        command = [_program(toolringd), f"--backend={backend}", *_arguments(flags), *more, place]
        with _uninterrupted():
            process = _Process(command, folder, log, _environment(env))
            daemon = Daemon(process, name, timeout)
        if not _in_loop():
            daemon._wait()
    except BaseException as error:
        if daemon is not None:
            daemon.stop(0)
        if isinstance(error, OSError):
            raise Unavailable(f"toolringd does not start: {error}") from error
        raise
    return daemon
