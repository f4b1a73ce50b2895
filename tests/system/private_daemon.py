# SPDX-License-Identifier: Apache-2.0
"""A toolringd of a test's own: with Daemon(program) as d, clients reach it at d.name."""

import os
import shutil
import signal
import subprocess
import tempfile


class Daemon:
    def __init__(self, program, *flags):
        self.command = [os.path.abspath(program), "--backend", "fake", "--log-level", "warning",
                        *flags]
        self.folder = None
        self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="toolring-")
        # A client that runs as another user than this one must get to the socket.
        os.chmod(self.folder, 0o711)
        self.name = os.path.join(self.folder, "test.sock")
        ready, told = os.pipe()
        try:
            self.process = subprocess.Popen(
                self.command + ["--socket", self.name, "--ready-fd", str(told)], pass_fds=[told])
        finally:
            os.close(told)
        with os.fdopen(ready, "rb") as f:
            if not f.read(1):
                self.stop()
                raise SystemExit("toolringd did not start")
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        left = os.listdir(self.folder)
        shutil.rmtree(self.folder)
        if status or left:
            raise SystemExit(f"toolringd ended with {status} and left {left}")
