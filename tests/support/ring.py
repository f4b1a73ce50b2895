# SPDX-License-Identifier: Apache-2.0
"""
A session with a toolringd, for tests: calls are Python values in, results are Python values out.

    with Ring(build, daemon.name) as ring:
        ring.bash("t1", "echo hi")["output"]

Bytes are msgpack binary, str is text. Everything a result says is checked for being well-formed:
text must be UTF-8, and nothing may follow the value.
"""

import itertools
import os
import queue
import struct
import subprocess
import threading

KINDS = {"ping": 1, "acquire": 2, "execute": 3, "cancel": 4, "reset": 5, "release": 6, "status": 7,
         "artifact_read": 8, "artifact_list": 9, "artifact_archive": 10, "artifact_write": 11,
         "artifact_unpack": 12}


def pack(value):
    """value as msgpack."""
    if value is None:
        return b"\xc0"
    if value is True:
        return b"\xc3"
    if value is False:
        return b"\xc2"
    if isinstance(value, int):
        small = value < 1 << 63
        return struct.pack(">Bq" if small else ">BQ", 0xd3 if small else 0xcf, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xcb, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BI", 0xdb, len(data)) + data
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xc6, len(value)) + value
    if isinstance(value, (list, tuple)):
        return struct.pack(">BI", 0xdd, len(value)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        return struct.pack(">BI", 0xdf, len(value)) + b"".join(
            pack(k) + pack(v) for k, v in value.items())
    raise TypeError(type(value))


class Unpacker:
    """One msgpack value out of data."""

    NUMBERS = {0xca: ">f", 0xcb: ">d", 0xcc: ">B", 0xcd: ">H", 0xce: ">I", 0xcf: ">Q", 0xd0: ">b",
               0xd1: ">h", 0xd2: ">i", 0xd3: ">q"}
    STRINGS = {0xd9: ">B", 0xda: ">H", 0xdb: ">I"}
    BINARIES = {0xc4: ">B", 0xc5: ">H", 0xc6: ">I"}
    ARRAYS = {0xdc: ">H", 0xdd: ">I"}
    MAPS = {0xde: ">H", 0xdf: ">I"}

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("msgpack ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        tag = self.take(1)[0]
        if tag < 0x80:
            return tag
        if tag >= 0xe0:
            return tag - 0x100
        if tag in (0xc0, 0xc2, 0xc3):
            return {0xc0: None, 0xc2: False, 0xc3: True}[tag]
        if tag in self.NUMBERS:
            return self.number(self.NUMBERS[tag])
        if 0xa0 <= tag < 0xc0 or tag in self.STRINGS:
            return self.take(tag & 31 if tag < 0xc0 else self.number(self.STRINGS[tag])).decode()
        if tag in self.BINARIES:
            return bytes(self.take(self.number(self.BINARIES[tag])))
        if 0x90 <= tag < 0xa0 or tag in self.ARRAYS:
            n = tag & 15 if tag < 0xa0 else self.number(self.ARRAYS[tag])
            return [self.value() for _ in range(n)]
        if 0x80 <= tag < 0x90 or tag in self.MAPS:
            n = tag & 15 if tag < 0x90 else self.number(self.MAPS[tag])
            return {self.value(): self.value() for _ in range(n)}
        raise ValueError(f"no msgpack: {tag:#x}")


def unpack(data):
    """The one value that data is."""
    unpacker = Unpacker(data)
    value = unpacker.value()
    if unpacker.at != len(data):
        raise ValueError("something follows the value")
    return value


class Answer:
    """The result of a call that is under way."""

    def __init__(self, tag=0):
        self.tag = tag
        self.slot = queue.SimpleQueue()
        self.result = None

    def wait(self, seconds=300):
        if self.result is None:
            self.result = self.slot.get(timeout=seconds)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def is_there(self):
        return self.result is not None or not self.slot.empty()


class Ring:
    """A session. Any thread may call."""

    def __init__(self, build, name):
        self.program = os.path.join(build, "tests", "conformance", "relay")
        self.name = name

    def __enter__(self):
        self.process = subprocess.Popen([self.program, self.name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.tags = itertools.count(1)
        self.answers = {}
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def read(self):
        out = self.process.stdout
        while True:
            head = out.read(12)
            if len(head) < 12:
                break
            tag, error, n = struct.unpack("=IiI", head)
            data = out.read(n)
            try:
                result = OSError(-error, os.strerror(-error)) if error else unpack(data or b"\xc0")
            except ValueError as e:  # UnicodeDecodeError is one
                result = ValueError(f"a malformed result: {e}: {data[:200]!r}")
            with self.lock:
                self.answers.pop(tag).slot.put(result)
        with self.lock:
            for answer in self.answers.values():
                answer.slot.put(EOFError("the session ended"))
            self.answers = None

    def submit(self, kind, payload):
        """Begins a call of a kind by its payload."""
        data = payload if isinstance(payload, bytes) else pack(payload)
        tag = next(self.tags)
        answer = Answer(tag)
        with self.lock:
            if self.answers is None:
                raise EOFError("the session ended")
            self.answers[tag] = answer
        with self.writing:
            self.process.stdin.write(struct.pack("=III", tag, KINDS[kind], len(data)) + data)
            self.process.stdin.flush()
        return answer

    def start(self, trajectory, tool, arguments, timeout=None):
        """Begins a tool call."""
        payload = {"trajectory_id": trajectory,
                   "tool": {"name": tool, "arguments": arguments, "uniq_id": "test"}}
        if timeout is not None:
            payload["timeout_s"] = timeout
        return self.submit("execute", payload)

    def call(self, trajectory, tool, arguments, timeout=None):
        """A tool call and its result."""
        return self.start(trajectory, tool, arguments, timeout).wait()

    def bash(self, trajectory, command, timeout=None):
        return self.call(trajectory, "bash", {"command": command}, timeout)

    def execute(self, trajectory, argv, timeout=None, **more):
        """The tool exec. more: stdin, cwd, env, keep, ..."""
        return self.call(trajectory, "exec", dict(more, argv=list(argv)), timeout)

    def shell(self, trajectory, command, timeout=None, **more):
        """The tool bash_stateful."""
        return self.call(trajectory, "bash_stateful", dict(more, command=command), timeout)

    def terminal(self, trajectory, action, timeout=None, **more):
        """The tool tmux."""
        return self.call(trajectory, "tmux", dict(more, action=action), timeout)

    def artifact(self, what, trajectory, options):
        """what: read, list, archive, write or unpack. options: the call's members, path among them."""
        return self.submit("artifact_" + what, dict(options, trajectory_id=trajectory)).wait()

    def artifact_read(self, trajectory, path, **options):
        return self.artifact("read", trajectory, dict(options, path=path))

    def artifact_list(self, trajectory, path, **options):
        return self.artifact("list", trajectory, dict(options, path=path))

    def artifact_archive(self, trajectory, path, **options):
        return self.artifact("archive", trajectory, dict(options, path=path))

    def artifact_write(self, trajectory, path, content, **options):
        return self.artifact("write", trajectory, dict(options, path=path, content=content))

    def artifact_unpack(self, trajectory, path, archive, **options):
        return self.artifact("unpack", trajectory, dict(options, path=path, archive=archive))

    def cancel(self, answer):
        """Asks for the end of a call that was started; its answer says what became of it."""
        try:
            self.submit("cancel", struct.pack("=I", answer.tag)).wait()
        except OSError:
            pass  # it has ended

    def acquire(self, trajectory, spec=None):
        payload = {"trajectory_id": trajectory}
        if spec is not None:
            payload["spec"] = spec
        return self.submit("acquire", payload).wait()

    def reset(self, trajectory):
        return self.submit("reset", {"trajectory_id": trajectory}).wait()

    def release(self, trajectory, reset=True):
        return self.submit("release", {"trajectory_id": trajectory,
                                       "reset_workspace": reset}).wait()

    def status(self):
        return self.submit("status", {}).wait()["metadata"]
