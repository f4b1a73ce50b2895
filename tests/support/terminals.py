# SPDX-License-Identifier: Apache-2.0
"""Two terminals that are fed the same bytes: ours, through unit/tool/show_terminal.c, and a pane of a
tmux server of our own."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

PATIENCE_S = 120  # for what takes milliseconds

# In the pane: what comes through the socket goes to the terminal; what it answers goes back, when the
# answer to the cursor's place has come, which the last bytes ask for.
FEEDER = r"""
import os, re, socket, struct, sys, tty
tty.setraw(0)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
def take(n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data
while True:
    (n, until_key) = struct.unpack("=IB", take(5))
    data = take(n)
    while data:
        data = data[os.write(1, data):]
    got = b""
    end = rb"\xfe\xfe\xfe$" if until_key else rb"\x1b\[\d+;\d+R$"
    while not re.search(end, got, re.S):
        got += os.read(0, 65536)
    s.sendall(struct.pack("=I", len(got)) + got)
"""


class Shown(NamedTuple):
    screen: bytes
    everything: bytes
    keys: bytes
    replies: bytes
    title: bytes
    cursor: tuple
    recording: bytes


class Ours:
    def __init__(self, show_terminal: str):
        self.process = subprocess.Popen([show_terminal], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def show(self, data: bytes, columns: int, rows: int, key: bytes = b"", first: int = 0) -> Shown:
        self.process.stdin.write(struct.pack("=IIIII", columns, rows, len(data), first, len(key)) +
                                 data + key)
        self.process.stdin.flush()
        cursor, screen, everything, keys, replies, title, recording = [self._part() for _ in range(7)]
        return Shown(screen, everything, keys, replies, title, struct.unpack("=HH", cursor), recording)

    def _part(self) -> bytes:
        (n,) = struct.unpack("=I", self._take(4))
        return self._take(n)

    def _take(self, n: int) -> bytes:
        data = self.process.stdout.read(n)
        if len(data) != n:
            raise RuntimeError(f"show_terminal ended: {self.process.wait()}")
        return data

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise RuntimeError(f"show_terminal: {self.process.returncode}")
        self.process.stdout.close()


def take(s: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise RuntimeError("tmux's pane is gone")
        data += more
    return data


class Tmux:
    """One pane of a fixed size. Its state is brought back to the beginning by RESET, which both
    terminals are to be fed."""

    RESET = (b"\x18\x1b\\\x1b[?1049l\x1bc\x1b[?1049h\x1b[?1049l\x1b[?6l\x1b7\x1bc\x1b[3J")
    # Ends whatever began, then asks for the cursor.
    END = b"\x18\x1b\\\x1b[6n"

    def __init__(self, columns: int, rows: int):
        self.folder = tempfile.mkdtemp(prefix="toolring-tmux.")
        self.socket = os.path.join(self.folder, "server")
        config = os.path.join(self.folder, "config")
        with open(config, "w", encoding="ascii") as f:
            f.write("set -g history-limit 20000\nset -g status off\nset -g exit-empty on\n"
                    "set -g remain-on-exit off\n")
        feeder = os.path.join(self.folder, "feeder.py")
        with open(feeder, "w", encoding="ascii") as f:
            f.write(FEEDER)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(self.folder, "feed"))
        listener.listen(1)
        listener.settimeout(PATIENCE_S)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        self.environment.update(TERM="xterm-256color", LC_ALL="C.UTF-8", SHELL="/bin/sh")
        self.command = ["tmux", "-u", "-S", self.socket, "-f", config]
        self.run("new-session", "-d", "-x", str(columns), "-y", str(rows),
                 f"exec {sys.executable} {feeder} {self.folder}/feed")
        self.feed_socket, _ = listener.accept()
        self.feed_socket.settimeout(PATIENCE_S)
        listener.close()
        self.rows = rows

    def run(self, *arguments: str) -> bytes:
        return subprocess.run([*self.command, *arguments], env=self.environment, check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              timeout=PATIENCE_S).stdout

    def _send(self, data: bytes, until_key: bool):
        self.feed_socket.sendall(struct.pack("=IB", len(data), until_key) + data)

    def _answer(self) -> bytes:
        (n,) = struct.unpack("=I", take(self.feed_socket, 4))
        return take(self.feed_socket, n)

    def show(self, data: bytes) -> Shown:
        """data: from RESET on, to END."""
        self._send(data, False)
        replies = self._answer()
        out = self.run("capture-pane", "-p", ";", "capture-pane", "-p", "-S", "-", ";",
                       "display-message", "-p", "#{cursor_x} #{cursor_y}")
        lines = out.split(b"\n")
        screen = b"".join(line + b"\n" for line in lines[:self.rows])
        everything = b"".join(line + b"\n" for line in lines[self.rows:-2])
        x, y = lines[-2].split()
        return Shown(screen, everything, b"", replies, b"", (int(x), int(y)), b"")

    def keys(self, data: bytes, name: str) -> bytes:
        """What is sent for a key when data has been shown."""
        self._send(data, True)
        # The end is a byte thrice that no key's name gives.
        self.run("send-keys", "--", name, ";", "send-keys", "-H", "fe", "fe", "fe")
        return self._answer()[:-3]

    def close(self):
        self.feed_socket.close()
        # The server ends with its only session.
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run([*self.command, "kill-server"], env=self.environment, check=False,
                             capture_output=True, timeout=PATIENCE_S).returncode == 0:
            if time.monotonic() > deadline:
                raise RuntimeError("tmux does not end")
        shutil.rmtree(self.folder)
