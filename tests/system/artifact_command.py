# SPDX-License-Identifier: Apache-2.0
"""
toolring artifact moves files of a slot out and in without changing a byte; what it prints of names
moves no cursor; what is cut off or refused has an exit code and words of its own.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile

TESTS_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
sys.path[:0] = [os.path.join(TESTS_FOLDER, name) for name in ("security", "support")]

from lab import Lab, build_of, chosen, expect, run  # noqa: E402

BYTES = bytes(range(256)) * 40 + b"\r\n\n"


def artifact(lab, slot, what, *words, stdin=b"", status=0):
    done = subprocess.run(
        [os.path.join(lab.build, "tools", "toolring"), "artifact", what, "--name",
         lab.daemon.name, "--trajectory", slot.name, *words],
        capture_output=True, input=stdin, timeout=120, check=False)
    expect(done.returncode == status, f"{what} {words}: expected {status}, came {done}")
    return done


def bytes_there_and_back(lab):
    """What is written from stdin or a file is read back to stdout or a file as it was."""
    slot = lab.slot()
    with tempfile.TemporaryDirectory(prefix="toolring-") as folder:
        here, there = os.path.join(folder, "here"), os.path.join(folder, "there")
        with open(here, "wb") as f:
            f.write(BYTES)
        artifact(lab, slot, "write", "a/b", here)
        artifact(lab, slot, "write", "c", stdin=BYTES[::-1])
        artifact(lab, slot, "write", "empty", "-")
        expect(artifact(lab, slot, "read", "a/b").stdout == BYTES, "from a file")
        expect(artifact(lab, slot, "read", "/workspace/c").stdout == BYTES[::-1], "from stdin")
        expect(artifact(lab, slot, "read", "empty").stdout == b"", "nothing")
        done = artifact(lab, slot, "read", "a/b", "-o", there)
        with open(there, "rb") as f:
            expect(f.read() == BYTES and done.stdout == b"", "to a file")


def lists(lab):
    """One line an entry, folders with a slash and no size, control characters as \\x1b; --json has
    names as they are. That there is more than asked for is exit code 1."""
    slot = lab.slot()
    artifact(lab, slot, "write", "d/f", stdin=b"123")
    artifact(lab, slot, "write", "esc\x1b[2J\\\x85\n", stdin=b"")
    lines = artifact(lab, slot, "list", "--recursive").stdout.decode().splitlines()
    names = sorted(tuple(line.split(None, 1)) for line in lines)
    expect(names == [("-", "d/"), ("0", "esc\\x1b[2J\\\\\\x85\\x0a"), ("3", "d/f")], f"{lines}")
    result = json.loads(artifact(lab, slot, "list", "--json").stdout)
    expect([e["path"] for e in result["entries"]] == ["d", "esc\x1b[2J\\\x85\n"], f"{result}")
    done = artifact(lab, slot, "list", "--recursive", "--max-entries", "1", status=1)
    expect(len(done.stdout.splitlines()) == 1 and b"truncated" in done.stderr, f"{done}")


def archives(lab):
    """An archive of one slot unpacks in another to the same files, in each format."""
    one, other = lab.slot(), lab.slot()
    artifact(lab, one, "write", "x/1", stdin=b"1")
    artifact(lab, one, "write", "x/y/2", stdin=BYTES)
    for form in ("tar.gz", "tgz", "tar.zst", "tar"):
        archive = artifact(lab, one, "archive", "--format", form).stdout
        artifact(lab, other, "unpack", "into-" + form, stdin=archive)
        expect(artifact(lab, other, "read", f"into-{form}/x/y/2").stdout == BYTES, form)
    with tempfile.TemporaryDirectory(prefix="toolring-") as folder:
        file = os.path.join(folder, "a.tar.gz")
        artifact(lab, one, "archive", "x", "-o", file)
        with tarfile.open(file) as archive:
            names = sorted(os.path.basename(m.name) for m in archive if m.isfile())
        expect(names == ["1", "2"], f"{names}")
        artifact(lab, other, "unpack", "again", file)


def faults(lab):
    """What is cut off, missing, forbidden or too large: nothing wrong on stdout, and words."""
    slot = lab.slot()
    artifact(lab, slot, "write", "f", stdin=b"0123456789")
    done = artifact(lab, slot, "read", "--max-bytes", "4", "f", status=1)
    expect(done.stdout == b"0123" and b"truncated" in done.stderr, f"cut off: {done}")
    done = artifact(lab, slot, "read", "none", status=1)
    expect(done.stdout == b"" and b"Not found: none" in done.stderr, f"missing: {done}")
    done = artifact(lab, slot, "read", "/etc/passwd", status=1)
    expect(done.stdout == b"" and b"denied" in done.stderr, f"outside: {done}")
    done = artifact(lab, slot, "read", "--anywhere", "/etc/passwd")
    with open("/etc/passwd", "rb") as f:
        expect(done.stdout == f.read(), f"anywhere: {done}")
    done = artifact(lab, slot, "archive", "--max-bytes", "10", status=1)
    expect(done.stdout == b"" and b"limit" in done.stderr, f"too large: {done}")
    done = artifact(lab, slot, "unpack", "d", stdin=b"no archive at all", status=1)
    expect(done.stderr != b"", f"no archive: {done}")
    done = artifact(lab, slot, "read", "f", "-o", "/nonexistent/f", status=3)
    expect(b"/nonexistent/f" in done.stderr, f"nowhere to write: {done}")
    done = artifact(lab, slot, "write", "f", "/nonexistent/f", status=3)
    expect(b"/nonexistent/f" in done.stderr, f"nothing to read: {done}")
    expect(artifact(lab, slot, "read", "f").stdout == b"0123456789", "it was left alone")


TESTS = (bytes_there_and_back, lists, archives, faults)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "16") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
