# SPDX-License-Identifier: Apache-2.0
"""
The calls of a trajectory, written once for both clients: each makes the arguments and hands them to
_execute() or _request(), which answer with a coroutine in one client and with the result in the
other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from ._errors import failed
from ._result import ArtifactResult, ExecResult, Result

R = TypeVar("R")  # what a call answers with: Result, or a coroutine that gives it
E = TypeVar("E")  # the same for ExecResult
T = TypeVar("T")
A = TypeVar("A")  # the same for ArtifactResult

# enum tr_kind of toolring/abi.h.
PING, ACQUIRE, EXECUTE, CANCEL, RESET, RELEASE, STATUS = range(1, 8)
ARTIFACT_READ, ARTIFACT_LIST, ARTIFACT_ARCHIVE, ARTIFACT_WRITE, ARTIFACT_UNPACK = range(8, 13)

Data = bytes | bytearray | memoryview
Path = str | os.PathLike[str]  # of the slot


def fresh_id() -> str:
    """An id that nobody else has: it tells the process it came from, in status."""
    return f"py-{os.getpid()}-{os.urandom(8).hex()}"


def _refuse(field: str, wanted: str, value: object) -> NoReturn:
    raise failed("invalid", f"{field} must be {wanted}, not {value!r:.60}")


def _path(field: str, value: Path) -> str:
    try:
        return os.fspath(value)
    except TypeError:
        _refuse(field, "a string or a path", value)


def _list(field: str, values: Sequence[T]) -> list[T]:
    if isinstance(values, Data):  # a sequence of numbers, which nobody means
        _refuse(field, "a string or a sequence of them", values)
    try:
        return list(values)
    except TypeError:
        _refuse(field, "a string or a sequence of them", values)


def given(**members: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in members.items() if value is not None}


class Caller(Generic[R, E, A]):
    """Who can make calls of one trajectory."""

    __slots__ = ()

    id: str

    def _execute(self, tool: str, arguments: Mapping[str, Any], timeout: float | None,
                 result_class: type[Result] = Result, uniq_id: str | None = None) -> Any:
        raise NotImplementedError

    def _request(self, kind: int, members: Mapping[str, Any],
                 result_class: type[Result] = Result) -> Any:
        raise NotImplementedError


class TerminalCalls(Generic[R, E, A]):
    """
    The stateful shell's terminal: keys in, screen out. Got as t.terminal. Any call but stop()
    starts the shell if there is none. What does not come in max_wait seconds, or in the call's own
    time, is the verdict "timeout", and the terminal goes on as it was. metadata has seen after a
    wait, and pane_width, pane_height, cursor_x, cursor_y and title.
    """

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller[R, E, A]) -> None:
        self._caller = caller

    def _act(self, action: str, timeout: float | None, **arguments: Any) -> R:
        result: R = self._caller._execute("tmux", {"action": action, **given(**arguments)}, timeout)
        return result

    def start(self, *, width: int | None = None, height: int | None = None,
              timeout: float | None = None) -> R:
        """Starts the shell with a terminal of that size (160 x 40), or resizes it."""
        return self._act("start", timeout, pane_width=width, pane_height=height)

    def send_keys(self, keys: str | Sequence[str], *, block: bool = False,
                  wait_for: str | None = None, regex: bool | None = None,
                  min_wait: float | None = None, max_wait: float | None = None,
                  timeout: float | None = None) -> R:
        """
        Types keys: a string, or several, each a key's name ("Enter", "C-c", "Up", ...) or else
        text. block waits until the shell is at its prompt again, wait_for until the screen shows
        that text or, with regex, what the extended regular expression matches; both for min_wait to
        max_wait seconds.
        """
        return self._act("send_keys", timeout, keys=keys if isinstance(keys, str) else _list("keys", keys),
                         block=block or None, wait_for=wait_for, regex=regex, min_wait_s=min_wait,
                         max_wait_s=max_wait)

    def wait_for(self, text: str, *, regex: bool | None = None, max_wait: float | None = None,
                 timeout: float | None = None) -> R:
        """Waits until the screen shows text, or what the extended regular expression matches."""
        return self._act("wait_for", timeout, wait_for=text, regex=regex, max_wait_s=max_wait)

    def capture(self, *, entire: bool = False, max_bytes: int | None = None,
                timeout: float | None = None) -> R:
        """The screen as text; entire: after up to 20,000 lines of history."""
        return self._act("capture", timeout, capture_entire=entire or None, max_bytes=max_bytes)

    def stream(self, *, reset: bool = False, max_bytes: int | None = None,
               timeout: float | None = None) -> R:
        """
        What the terminal has shown since the last stream() as whole lines of asciicast v2; reset:
        since its start.
        """
        return self._act("stream", timeout, reset=reset or None, max_bytes=max_bytes)

    def resize(self, width: int, height: int, *, timeout: float | None = None) -> R:
        """Gives the terminal another size."""
        return self._act("resize", timeout, pane_width=width, pane_height=height)

    def stop(self, *, timeout: float | None = None) -> R:
        """Ends the shell."""
        return self._act("stop", timeout)


class ArtifactCalls(Generic[R, E, A]):
    """
    Files of a slot for a harness, out and in. Got as t.artifacts.

    A path is one of the workspace, absolute ("/workspace/a") or from there ("a"). With anywhere it
    is any that the slot's shell sees, absolute or from "/", with that one's rights and larger caps.
    What is not there is the verdict "failed" and result.not_found; a path outside is "denied"; more
    than max_bytes or max_entries is left out (result.truncated), but too large an archive is
    "limit".
    """

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller[R, E, A]) -> None:
        self._caller = caller

    def _ask(self, kind: int, path: Path, anywhere: bool, timeout: float | None,
             **options: Any) -> A:
        members = given(path=_path("path", path), anywhere=anywhere or None, timeout_s=timeout,
                        **options)
        result: A = self._caller._request(kind, members, ArtifactResult)
        return result

    def read(self, path: Path, *, encoding: str = "bytes", max_bytes: int | None = None,
             sha256: bool = False, anywhere: bool = False, timeout: float | None = None) -> A:
        """A file's content, as "bytes", as "text" or as "base64"; sha256: and its hash."""
        return self._ask(ARTIFACT_READ, path, anywhere, timeout, encoding=encoding,
                         max_bytes=max_bytes, include_sha256=sha256 or None)

    def list(self, path: Path = ".", *, recursive: bool = False, max_entries: int | None = None,
             anywhere: bool = False, timeout: float | None = None) -> A:
        """What is in a folder, as entries; recursive: and in those below."""
        return self._ask(ARTIFACT_LIST, path, anywhere, timeout, recursive=recursive or None,
                         max_entries=max_entries)

    def archive(self, path: Path = ".", *, format: str = "tar.gz", encoding: str = "bytes",
                max_bytes: int | None = None, max_entries: int | None = None,
                anywhere: bool = False, timeout: float | None = None) -> A:
        """A file or folder as an archive: "tar.gz", "tgz", "tar.zst" or "tar"."""
        return self._ask(ARTIFACT_ARCHIVE, path, anywhere, timeout, format=format,
                         encoding=encoding, max_bytes=max_bytes, max_entries=max_entries)

    def write(self, path: Path, content: Data | str, *, anywhere: bool = False,
              timeout: float | None = None) -> A:
        """Writes a file, with its parent folders."""
        return self._ask(ARTIFACT_WRITE, path, anywhere, timeout, content=content)

    def unpack(self, path: Path, archive: Data, *, format: str | None = None,
               max_bytes: int | None = None, max_entries: int | None = None,
               anywhere: bool = False, timeout: float | None = None) -> A:
        """Unpacks an archive into a folder; its format is found out unless given."""
        return self._ask(ARTIFACT_UNPACK, path, anywhere, timeout, archive=archive, format=format,
                         max_bytes=max_bytes, max_entries=max_entries)


class TrajectoryCalls(Caller[R, E, A]):
    """
    What runs in the slot of one trajectory. Its calls run in order, one at a time.

    timeout: seconds that the call itself may take, from 1 to 600; by default the executor's, 30.
    Time that is spent waiting for a turn or a slot does not count. What was said until then is in
    the result.

    A result tells by its verdict how the call ended, and a command that failed is one like any
    other. What is no answer of a tool is raised: Unavailable, NotStarted, Unknown, InvalidCall.
    """

    __slots__ = ("_client", "_entered", "_keep_workspace", "_spec", "id")

    def __init__(self, client: Any, id: str, spec: Mapping[str, Any] | None,
                 keep_workspace: bool) -> None:
        self._client = client
        self.id = id
        self._spec = spec
        self._keep_workspace = keep_workspace
        self._entered = 0  # the process that did

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @property
    def terminal(self) -> TerminalCalls[R, E, A]:
        """The stateful shell's terminal."""
        return TerminalCalls(self)

    @property
    def artifacts(self) -> ArtifactCalls[R, E, A]:
        """Files of the slot, out and in."""
        return ArtifactCalls(self)

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None, *,
             timeout: float | None = None, uniq_id: str | None = None) -> R:
        """
        Any tool by its name, with arguments as a model gave them; what only an operator may decide,
        such as allow_network, is dropped from them. uniq_id comes back with the result.
        """
        result: R = self._execute(tool, {} if arguments is None else arguments, timeout, Result,
                                  uniq_id)
        return result

    def bash(self, command: str, *, timeout: float | None = None,
             idle_timeout: float | None = None) -> R:
        """
        Runs bash -c command in the workspace, with a fresh /tmp and environment. Nothing that it
        starts outlives it. idle_timeout: it has run into a timeout when it says nothing for that
        many seconds.
        """
        result: R = self._execute("bash", given(command=command, idle_timeout_s=idle_timeout),
                                  timeout)
        return result

    def shell(self, command: str, *, timeout: float | None = None,
              idle_timeout: float | None = None) -> R:
        """
        Runs a command in the slot's one shell, which lives on with its variables, functions, folder
        and background jobs. metadata tells if it was started anew (shell_started, shell_lost) or
        has ended (shell_ended). Its output and its errors are one stream, as on a terminal.
        """
        result: R = self._execute("bash_stateful",
                                  given(command=command, idle_timeout_s=idle_timeout), timeout)
        return result

    def exec(self, argv: Sequence[Path] | str, *, stdin: Data | str | None = None,
             cwd: Path | None = None, env: Mapping[str, str] | None = None,
             timeout: float | None = None, idle_timeout: float | None = None, keep: bool = False,
             stdout_max: int | None = None, stderr_max: int | None = None) -> E:
        """
        For harnesses: runs a program (or a command by bash -c, if argv is a string) and gives its
        output as bytes, stdout and stderr apart.

        cwd: a folder, absolute or from "/workspace", which it is by default.
        env: variables beside the slot's own, or in their place.
        keep: it runs in the shell room, whose /tmp and processes live on until a reset, or until a
            timeout there.
        stdout_max, stderr_max: bytes of each; what is more is dropped (result.truncated). 64 MiB.
        idle_timeout: as of bash().
        """
        command = argv if isinstance(argv, str) else None
        words = None if command is not None else [_path("argv", a) for a in _list("argv", argv)]
        arguments = given(argv=words, command=command, stdin=stdin, env=env, keep=keep or None,
                          cwd=None if cwd is None else _path("cwd", cwd),
                          idle_timeout_s=idle_timeout, stdout_max=stdout_max, stderr_max=stderr_max)
        result: E = self._execute("exec", arguments, timeout, ExecResult)
        return result

    def read_file(self, path: Path, *, timeout: float | None = None) -> R:
        """The text of a file of the workspace, as output. More than 100,000 characters: "limit"."""
        result: R = self._execute("read_file", {"path": _path("path", path)}, timeout)
        return result

    def write_file(self, path: Path, content: str, *, timeout: float | None = None) -> R:
        """Writes a file of the workspace, with its parent folders."""
        result: R = self._execute("write_file", {"path": _path("path", path), "content": content},
                                  timeout)
        return result

    def acquire(self, spec: Mapping[str, Any] | None = None) -> R:
        """
        Gets the slot ahead of the first call; result.slot_id names it. spec: what it must be:
        network ("none" or "host"), memory and disk in bytes, pids, and idle_ttl_s, the seconds
        after which it is taken back from a trajectory that is not used.
        """
        result: R = self._request(ACQUIRE, given(spec=spec))
        return result

    def reset(self) -> R:
        """Makes the slot as new, after the calls before it; it stays the trajectory's."""
        result: R = self._request(RESET, {})
        return result

    def release(self, *, keep_workspace: bool = False) -> R:
        """
        Gives the slot back, after the calls before it. keep_workspace: its files stay for this id
        until its idle time ends.
        """
        result: R = self._request(RELEASE, {"reset_workspace": not keep_workspace})
        return result
