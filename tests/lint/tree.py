# SPDX-License-Identifier: Apache-2.0
"""The files of this repository, for the lint tests. Works with and without git."""

import os
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
FOLDERS = ("src", "include", "tools", "tests", "bindings")
SKIPPED = {"__pycache__", "bin", "build", "dist", "target", "node_modules"}


def is_skipped(folder):
    """What is built, or of tools: never tracked."""
    return folder in SKIPPED or folder.startswith(".") or folder.endswith(".egg-info")


def files(root=ROOT, folders=FOLDERS, ends=None):
    """Paths relative to root, sorted."""
    found = []
    for folder in folders:
        for here, below, names in os.walk(os.path.join(root, folder)):
            below[:] = sorted(d for d in below if not is_skipped(d))
            for name in names:
                if ends is None or name.endswith(ends):
                    found.append(os.path.relpath(os.path.join(here, name), root))
    return sorted(found)


def read(path, root=ROOT):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def finish(faults, what):
    """Prints what is wrong and ends with the status Meson expects."""
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults: {what}" if faults else f"fine: {what}")
    sys.exit(1 if faults else 0)


def skip(why):
    """Ends as skipped; where everything must work, as failed."""
    must_work = os.environ.get("TOOLRING_MUST_WORK") == "1"
    print(("cannot be checked: " if must_work else "skipped: ") + why)
    sys.exit(1 if must_work else 77)
