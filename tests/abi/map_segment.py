# SPDX-License-Identifier: Apache-2.0
"""A client of toolringd written from the text in include/toolring/abi.h alone.

    map_segment.py PATH_TO_TOOLRINGD

Nothing of the project's own code is used: the standard library, and futex by its system call. Shows
that the text is enough to attach, to be refused politely, to send and receive records and fragments
around the rings, to be woken in both ways, and to read the table of calls.
"""

import array
import ctypes
import fcntl
import mmap
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

MAGIC = 0x676E69726C6F6F74
LAYOUT_VERSION = 1

PAD, PING, EXECUTE = 0, 1, 3
MORE, FIRST = 1, 2
AWAKE, WAIT_FUTEX, WAIT_SOCKET = 0, 1, 2
OK, VERSION, FEATURE, SIZE, MALFORMED = 0, 1, 2, 5, 6

HELLO = struct.Struct("<QIIQQIIII32s")
WELCOME = struct.Struct("<QIIIIQQ216s")
SEGMENT = struct.Struct("<QIIQQQQQQQQQIIQQ")
RECORD = struct.Struct("<IHHQ")
RING_TAIL, RING_HEAD, RING_CONSUMER_WAIT, RING_PRODUCER_WAIT = 0, 128, 256, 384
SUBMISSION_RING, COMPLETION_RING = 512, 1024

GIVE_UP_S = 60

FUTEX_WAIT, FUTEX_WAKE = 0, 1
SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


class Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


def futex(address, operation, value, timeout_s=0):
    return libc.syscall(ctypes.c_long(SYS_FUTEX), ctypes.c_void_p(address), operation,
                        ctypes.c_uint32(value), ctypes.byref(Timespec(timeout_s, 0)), None, 0)


nobody = ctypes.c_uint32(0)


def fence():
    """A full fence. Python has none; the kernel has one in FUTEX_WAKE, before it looks."""
    futex(ctypes.addressof(nobody), FUTEX_WAKE, 0)


def expect(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")


def until(condition, what):
    """Waits by looking, for the cases that are not about sleeping."""
    end = time.monotonic() + GIVE_UP_S
    while True:
        value = condition()
        if value is not None:
            return value
        expect(time.monotonic() < end, f"{what}: nothing for {GIVE_UP_S} s")
        os.sched_yield()


# ---- section 1: handshake ------------------------------------------------------------------------


def hello(version=LAYOUT_VERSION, magic=MAGIC, required=0, sizes=(0, 0, 0), tail=b""):
    return HELLO.pack(magic, HELLO.size + len(tail), version, 0, required, *sizes, 0,
                      b"map_segment.py") + tail


def receive(s, n, fds):
    data = b""
    while len(data) < n:
        part, control, flags, _ = s.recvmsg(n - len(data), socket.CMSG_SPACE(8 * 4))
        expect(not flags & socket.MSG_CTRUNC, "more descriptors than the text says")
        for level, kind, content in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                expect(not data, "descriptors come with the first byte")
                fds.frombytes(content[:len(content) // 4 * 4])
        expect(part, "the welcome is cut off")
        data += part
    return data


def shake_hands(path, message):
    """The socket, the welcome as a dictionary, the descriptors."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(GIVE_UP_S)
    s.connect(path)
    s.sendall(message)
    fds = array.array("i")
    first = receive(s, 16, fds)
    magic, n_bytes, version = struct.unpack("<QII", first)
    expect(magic == MAGIC, "the welcome's magic")
    expect(n_bytes >= WELCOME.size, "the welcome's length")
    rest = receive(s, n_bytes - 16, fds) if n_bytes > 16 else b""
    fields = WELCOME.unpack((first + rest)[:WELCOME.size])
    return s, {"version": version, "status": fields[3], "features": fields[5],
               "segment_bytes": fields[6], "message": fields[7].split(b"\0")[0].decode()}, fds


def check_refused(path, what, status, message):
    s, welcome, fds = shake_hands(path, message)
    expect(welcome["status"] == status, f"{what}: status {welcome['status']}, not {status}")
    expect(not fds, f"{what}: descriptors with a refusal")
    expect(welcome["message"], f"{what}: no reason given")
    expect(welcome["version"] == LAYOUT_VERSION, f"{what}: does not name its version")
    try:
        expect(s.recv(1) == b"", f"{what}: the socket stays open")
    except ConnectionResetError:
        pass  # closed, with some of our hello unread
    s.close()
    print(f"refused, {what}: {welcome['message']}")


# ---- sections 2 to 4: rings ----------------------------------------------------------------------


class Ring:
    """One ring: its control block and its data area. position is this side's own."""

    def __init__(self, session, control, offset, n_bytes):
        self.session = session
        self.memory = session.memory
        self.tail_word = (control + RING_TAIL) // 8
        self.head_word = (control + RING_HEAD) // 8
        self.consumer_wait = control + RING_CONSUMER_WAIT
        self.producer_wait = control + RING_PRODUCER_WAIT
        self.offset = offset
        self.n_bytes = n_bytes
        self.position = 0
        self.n_pads = 0

    def load_acquire(self, word):
        value = self.session.words64[word]
        fence()
        return value

    def publish(self, word, wait_word):
        """Stores the position and wakes the other side if it sleeps."""
        fence()
        self.session.words64[word] = self.position
        fence()
        if self.session.words32[wait_word // 4] == AWAKE:
            return
        # No atomic exchange here: wake in both ways, as section 4 says.
        self.session.words32[wait_word // 4] = AWAKE
        self.session.wake(wait_word)

    def at(self):
        return self.position & (self.n_bytes - 1)


class Submission(Ring):
    def room(self):
        head = self.load_acquire(self.head_word)
        used = (self.position - head) % 2**64
        expect(head % 8 == 0 and used <= self.n_bytes, "the executor's head is where it cannot be")
        return self.n_bytes - used

    def put(self, kind, flags, call_id, payload):
        """Writes one record, once there is room for it, and publishes it."""
        need = (RECORD.size + len(payload) + 7) // 8 * 8
        expect(need <= self.n_bytes // 4, "a record of our own is too large")
        left = self.n_bytes - self.at()
        pad = left if left < need else 0
        until(lambda: True if self.room() >= pad + need else None, "room in the ring")
        if pad:
            begin = self.offset + self.at()
            self.memory[begin:begin + 8] = struct.pack("<IHH", left - 8, PAD, 0)
            self.position += pad
            self.n_pads += 1
        begin = self.offset + self.at()
        record = RECORD.pack(len(payload), kind, flags, call_id) + payload
        self.memory[begin:begin + len(record)] = record
        self.position += need
        self.publish(self.tail_word, self.consumer_wait)

    def send(self, kind, call_id, message):
        """One record, or fragments."""
        most = self.n_bytes // 4 - RECORD.size
        if len(message) <= most:
            self.put(kind, 0, call_id, message)
            return
        payload, rest = struct.pack("<Q", len(message)) + message[:most - 8], message[most - 8:]
        self.put(kind, FIRST | MORE, call_id, payload)
        while rest:
            payload, rest = rest[:most], rest[most:]
            self.put(kind, MORE if rest else 0, call_id, payload)


class Completion(Ring):
    def ready(self):
        tail = self.load_acquire(self.tail_word)
        used = (tail - self.position) % 2**64
        expect(tail % 8 == 0 and used <= self.n_bytes, "the executor's tail is where it cannot be")
        return True if used else None

    def take(self):
        """The next record, pads passed over: kind, flags, call id, payload."""
        while True:
            until(self.ready, "a completion")
            begin = self.offset + self.at()
            length, kind, flags, call_id = RECORD.unpack(self.memory[begin:begin + 8] + bytes(8))
            if kind != PAD:
                break
            expect(length + 8 == self.n_bytes - self.at(), "a pad reaches to the end of the area")
            self.position += length + 8
            self.n_pads += 1
        call_id, = struct.unpack("<Q", self.memory[begin + 8:begin + 16])
        need = (RECORD.size + length + 7) // 8 * 8
        expect(need <= self.n_bytes // 4, "a record is at most a quarter of the ring")
        expect(need <= self.n_bytes - self.at(), "a record does not wrap")
        payload = bytes(self.memory[begin + 16:begin + 16 + length])
        self.position += need
        self.publish(self.head_word, self.producer_wait)
        return kind, flags, call_id, payload

    def receive(self):
        """A whole message: kind, call id, message, number of its records."""
        kind, flags, call_id, payload = self.take()
        if not flags:
            return kind, call_id, payload, 1
        expect(flags & FIRST, "fragments begin with FIRST")
        total, = struct.unpack("<Q", payload[:8])
        message, n = payload[8:], 1
        while flags & MORE:
            next_kind, flags, next_id, payload = self.take()
            expect((next_kind, next_id) == (kind, call_id), "fragments follow one another")
            expect(not flags & ~MORE and payload, "a later fragment")
            message, n = message + payload, n + 1
        expect(len(message) == total, "fragments make up the total")
        return kind, call_id, message, n


class Session:
    def __init__(self, path, message):
        self.socket, welcome, fds = shake_hands(path, message)
        expect(welcome["status"] == OK, f"refused: {welcome['message']}")
        expect(len(fds) == 3, f"three descriptors, not {len(fds)}")
        segment_fd, self.executor_fd, self.stats_fd = fds
        n_bytes = welcome["segment_bytes"]
        expect(os.fstat(segment_fd).st_size >= n_bytes, "fstat gives at least segment_bytes")
        self.memory = mmap.mmap(segment_fd, n_bytes, mmap.MAP_SHARED)
        os.close(segment_fd)
        # Items of a cast view are loaded and stored whole, which struct does not promise.
        self.words64 = memoryview(self.memory)[:n_bytes // 8 * 8].cast("Q")
        self.words32 = memoryview(self.memory)[:n_bytes // 4 * 4].cast("I")
        expect(self.words32[2] == LAYOUT_VERSION, "layout_version is the ready flag")
        fence()
        (magic, _, header_bytes, segment_bytes, features, _, self.generation, submission_offset,
         submission_bytes, completion_offset, completion_bytes, self.calls_offset, self.n_calls, _,
         self.call_bytes_max, self.result_bytes_max) = SEGMENT.unpack(self.memory[:SEGMENT.size])
        expect(magic == MAGIC and segment_bytes == n_bytes, "the segment's header")
        expect(features == welcome["features"], "features hold in both places")
        for offset, size in ((submission_offset, submission_bytes),
                             (completion_offset, completion_bytes)):
            expect(size & (size - 1) == 0 and 4096 <= size <= 2**31, "a data area's size")
            expect(offset % 128 == 0, "a data area's offset")
            expect(header_bytes <= offset <= n_bytes - size, "a data area lies inside")
        expect(self.n_calls and self.n_calls & (self.n_calls - 1) == 0, "n_calls")
        expect(header_bytes <= self.calls_offset <= n_bytes - self.n_calls * 8, "the table")
        self.submission = Submission(self, SUBMISSION_RING, submission_offset, submission_bytes)
        self.completion = Completion(self, COMPLETION_RING, completion_offset, completion_bytes)
        self.call_id = 0

    def address(self, offset):
        return ctypes.addressof(ctypes.c_uint32.from_buffer(self.memory, offset))

    def wake(self, word):
        futex(self.address(word), FUTEX_WAKE, 1)
        try:
            self.socket.send(b"w", socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass

    def next_id(self):
        self.call_id += 1
        return self.call_id

    def call(self, kind, message):
        """Sends, polls memory for the answer: the answer, and how many records it was."""
        call_id = self.next_id()
        self.submission.send(kind, call_id, message)
        got_kind, got_id, answer, n = self.completion.receive()
        expect((got_kind, got_id) == (kind, call_id), "the completion has the call's kind and id")
        return answer, n

    def ping(self, payload):
        answer, records = self.call(PING, payload)
        most = self.completion.n_bytes // 4 - RECORD.size
        expect(answer == payload, f"a ping of {len(payload)} bytes")
        expect((records > 1) == (len(payload) > most), f"{len(payload)} bytes, {records} records")

    def call_asleep(self, message, how):
        """The same, asleep; announced before the call, so the executor owes a wake-up."""
        c = self.completion
        word = c.consumer_wait // 4
        call_id = self.next_id()
        self.words32[word] = how
        fence()
        expect(c.ready() is None, "an answer without a call")
        self.submission.send(PING, call_id, message)
        if how == WAIT_SOCKET:
            expect(select.select([self.socket], [], [], GIVE_UP_S)[0], "no byte on the socket")
            expect(self.socket.recv(16), "the socket hung up")
        end = time.monotonic() + GIVE_UP_S
        while how == WAIT_FUTEX and self.words32[word] == how:
            expect(time.monotonic() < end, "not woken")
            futex(self.address(c.consumer_wait), FUTEX_WAIT, how, GIVE_UP_S)
        expect(self.words32[word] == AWAKE, "the waker takes the announcement down")
        expect(c.ready(), "woken for nothing")
        expect(c.receive()[:3] == (PING, call_id, message), "the answer to a ping sent asleep")


# ---- msgpack, as much as is needed ---------------------------------------------------------------


def text(s):
    data = s.encode()
    expect(len(data) < 256, "a short string")
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else bytes([0xD9, len(data)])) + data


def unpack(data):
    """One object and nothing behind it."""
    value, at = unpack_at(data, 0)
    expect(at == len(data), "one msgpack object")
    return value


def unpack_at(d, at):
    fixed = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
             0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    sized = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xC4: ">B", 0xC5: ">H", 0xC6: ">I",
             0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
    c, at = d[at], at + 1
    if c < 0x80:
        return c, at
    if c >= 0xE0:
        return c - 256, at
    if c in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[c], at
    if c in fixed:
        n = struct.calcsize(fixed[c])
        return struct.unpack(fixed[c], d[at:at + n])[0], at + n
    if c in sized:
        width = struct.calcsize(sized[c])
        n, at = struct.unpack(sized[c], d[at:at + width])[0], at + width
    else:
        n = c & (0x1F if 0xA0 <= c <= 0xBF else 0x0F)
    if 0xA0 <= c <= 0xBF or 0xD9 <= c <= 0xDB:
        return d[at:at + n].decode(), at + n
    if 0xC4 <= c <= 0xC6:
        return d[at:at + n], at + n
    if 0x90 <= c <= 0x9F or c in (0xDC, 0xDD):
        items = []
        for _ in range(n):
            item, at = unpack_at(d, at)
            items.append(item)
        return items, at
    expect(0x80 <= c <= 0x8F or c in (0xDE, 0xDF), f"msgpack byte {c:#x}")
    items = {}
    for _ in range(n):
        key, at = unpack_at(d, at)
        items[key], at = unpack_at(d, at)
    return items, at


# ---- what is shown -------------------------------------------------------------------------------


def check_pings(session):
    """Payloads of every small size, and enough of them to go around both rings, with pads."""
    for n in list(range(64)) + [700] * 200 + [session.submission.n_bytes // 4 - 16]:
        session.ping(os.urandom(n))
    while session.submission.n_pads < 3 or session.completion.n_pads < 3:
        session.ping(os.urandom(941))
    print("pings around both rings, with pads")


def check_fragments(session):
    """Larger than a quarter of the ring, and larger than the ring, if that large is allowed."""
    s = session.submission.n_bytes
    most = min(session.call_bytes_max, session.result_bytes_max)
    sizes = [n for n in (s // 4 - 15, s // 4, s // 2 + 1, s - 1, s + 12345, 3 * s) if n <= most]
    expect(len(sizes) >= 3, "large messages are allowed")
    for n in sizes:
        session.ping(os.urandom(n))
    print(f"fragments, up to {sizes[-1]} bytes through a ring of {s}")


def check_execute(session):
    """A call runs, its result is a map with the call's uniq_id, and the table knew of it."""
    for i in range(3):
        call = (b"\x82" + text("trajectory_id") + text("map-segment") + text("tool") + b"\x83" +
                text("name") + text("bash") + text("arguments") + b"\x81" + text("command") +
                text("true") + text("uniq_id") + text(f"unique-{i}"))
        answer, _ = session.call(EXECUTE, call)
        result = unpack(answer)
        expect(result["verdict"] == "ok" and result["success"] is True, f"the result: {result}")
        expect(result["uniq_id"] == f"unique-{i}", f"uniq_id: {result}")
        row = session.calls_offset // 8 + session.call_id % session.n_calls
        expect(session.words64[row] == session.call_id, "the table names the call")
    # A call that cannot begin is answered, too, and stands in no row.
    answer, _ = session.call(EXECUTE, b"\x80")
    expect(unpack(answer)["verdict"] == "invalid", f"an empty map: {unpack(answer)}")
    row = session.calls_offset // 8 + session.call_id % session.n_calls
    expect(session.words64[row] != session.call_id, "a refused call never began")
    print("execute, and the table of calls in flight")


def check_sleep(session):
    for how, name in ((WAIT_SOCKET, "socket"), (WAIT_FUTEX, "futex")):
        for i in range(20):
            session.call_asleep(b"asleep %d" % i, how)
        print(f"woken by {name}")


def check_descriptors(session):
    """The statistics can be read and not written; the pidfd is that of a living process."""
    n_bytes = os.fstat(session.stats_fd).st_size
    stats = mmap.mmap(session.stats_fd, n_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
    magic, _, size = struct.unpack("<QII", stats[:16])
    expect(magic == MAGIC and size <= n_bytes, "the statistics' header")
    stats.close()
    try:
        mmap.mmap(session.stats_fd, n_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        expect(False, "the statistics can be written")
    except PermissionError:
        pass
    expect(not select.select([session.executor_fd], [], [], 0)[0], "the executor lives")
    expect(fcntl.fcntl(session.executor_fd, fcntl.F_GETFD) >= 0, "the pidfd is open")


def check_all(path):
    check_refused(path, "newer version", VERSION, hello(version=LAYOUT_VERSION + 1))
    check_refused(path, "version 0", VERSION, hello(version=0))
    check_refused(path, "newer and longer", VERSION, hello(version=77, tail=bytes(48)))
    check_refused(path, "required feature", FEATURE, hello(required=1 << 63))
    check_refused(path, "size", SIZE, hello(sizes=(0xFFFFFFFF, 0, 0)))
    check_refused(path, "magic", MALFORMED, hello(magic=MAGIC + 1))
    sessions = [Session(path, hello()),
                Session(path, hello(sizes=(5000, 4096, 20), tail=b"from the future!"))]
    for session in sessions:
        check_pings(session)
        check_execute(session)
        check_fragments(session)
        check_sleep(session)
        check_descriptors(session)
    small = sessions[1]
    expect((small.submission.n_bytes, small.completion.n_bytes, small.n_calls) == (8192, 4096, 32),
           "wishes are rounded up to powers of two")
    return sessions


def hangs_up(s):
    try:
        while s.recv(64):
            pass
    except ConnectionResetError:
        pass  # it ended with wake-ups of ours unread
    return True


def start(program, path):
    daemon = subprocess.Popen([program, "--socket", path, "--backend", "fake"])

    def accepts():
        expect(daemon.poll() is None, "toolringd ended before it accepted")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            try:
                s.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
                return None
        return True

    try:
        until(accepts, "toolringd")
    except BaseException:
        daemon.kill()
        raise
    return daemon


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="toolring-abi-") as folder:
        path = os.path.join(folder, "socket")
        daemon = start(os.path.abspath(sys.argv[1]), path)
        try:
            sessions = check_all(path)
            # Its death shows by the socket's hang-up and by the pidfd.
            daemon.send_signal(signal.SIGTERM)
            for session in sessions:
                ended = select.select([session.executor_fd], [], [], GIVE_UP_S)[0]
                expect(ended, "the pidfd shows the end")
                expect(hangs_up(session.socket), "the socket shows the end")
            status = daemon.wait(GIVE_UP_S)
            expect(status == 0, f"toolringd ended with {status}")
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
    print("passed")


if __name__ == "__main__":
    main()
