# SPDX-License-Identifier: Apache-2.0
"""
Shows that every #include follows an arrow of the house: who may include whom is the table below,
and nothing else. Also that only src/io knows io_uring and libcurl, that only src/backend/local
knows libseccomp, and that tools/ and bindings/ see the public headers alone, which proves that these
are enough.

With --self-test it shows that forbidden includes of each sort are caught in a made-up tree, and
that the permitted ones beside them are not.
"""

import os
import re
import sys
import tempfile

import tree

# Folder of src/ -> folders of src/ it may include, besides itself and include/toolring.
ARROWS = {
    "base": (),
    "shm": ("base",),
    "wire": ("base",),
    "io": ("base",),
    "client": ("base", "shm", "wire"),
    "tool": ("base", "shm", "io", "wire"),
    "tool/host": ("base", "shm", "io", "wire", "tool"),
    "tool/slot": ("base", "wire", "tool"),
    "slot": ("base", "wire", "tool", "tool/slot", "backend/local"),
    "backend": ("base", "shm", "io", "wire", "backend/local"),
    "backend/local": ("base",),
    "backend/http": ("base", "io", "wire", "backend"),
    "backend/nomad": ("base", "io", "wire", "backend", "backend/http"),
    "keeper": ("base", "backend/local"),
    "executor": ("base", "shm", "io", "wire", "tool", "tool/host", "backend",
                 "backend/http", "backend/nomad"),
    "gateway": ("base",),
}
# Single files that tie the parts together: the programs' main.
MAINS = {
    "src/toolringd.c": ("base", "shm", "io", "keeper", "executor", "backend/local"),
}
# Libraries that only one folder may know. A bench measures slots against a bare io_uring loop, which
# has to be one of its own: that file is none of the program's.
LIBRARIES = {
    re.compile(r"liburing(\.h|/)|linux/io_uring\.h"): ("src/io/", "tools/bench_slots_uring.c"),
    re.compile(r"curl/"): ("src/io/",),
    re.compile(r"seccomp\.h"): ("src/backend/local/",),
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def layer_of(path):
    """The longest folder of ARROWS that path (relative to src/) lies in; None for a file on top."""
    folder = os.path.dirname(path)
    while folder and folder not in ARROWS:
        folder = os.path.dirname(folder)
    return folder or None


def target_of(root, path, name):
    """Where a quoted include leads, relative to root, as the compiler would find it."""
    for base in (os.path.dirname(path), "src", "include"):
        found = os.path.normpath(os.path.join(base, name))
        if os.path.isfile(os.path.join(root, found)):
            return found
    return None


def library_fault(path, name):
    for pattern, homes in LIBRARIES.items():
        if pattern.match(name) and not path.startswith(homes):
            return f"only {' and '.join(homes)} may include it"
    return None


def source_fault(path, target):
    """path lies in src/, target in this tree."""
    if target.startswith("include/toolring/"):
        return None
    if not target.startswith("src/"):
        return "src/ includes only src/ and include/toolring/"
    inside = layer_of(path[len("src/"):])
    to = layer_of(target[len("src/"):])
    allowed = MAINS.get(path) if inside is None else ARROWS[inside] + (inside,)
    if allowed is None:
        return "its folder is in no layer: add it to ARROWS in tests/lint/layers.py"
    if to is None or to not in allowed:
        return f"may include only {', '.join(allowed)}"
    return None


def include_fault(root, path, quote, name):
    """What is wrong with one #include line, or None."""
    if path.startswith("tests/"):
        return None
    fault = library_fault(path, name)
    if fault:
        return fault
    if quote == "<" and not name.startswith("toolring/"):
        return None
    target = target_of(root, path, name)
    if target is None:
        return "leads nowhere in this tree"
    if path.startswith("include/"):
        return None if target.startswith("include/") else "public headers include only each other"
    if path.startswith(("tools/", "bindings/")):
        home = path.split("/")[0] + "/"
        if target.startswith((home, "include/toolring/")):
            return None
        return "tools/ and bindings/ see include/toolring/ alone"
    return source_fault(path, target)


def check(root):
    faults = []
    for path in tree.files(root, ends=(".c", ".h", ".cc", ".hpp")):
        text = tree.read(path, root)
        for found in INCLUDE.finditer(text):
            fault = include_fault(root, path, *found.groups())
            if fault:
                line = text.count("\n", 0, found.start(2)) + 1
                faults.append(f"{path}:{line}: includes {found.group(2)}: {fault}")
    return faults


GOOD = {
    "include/toolring/abi.h": "#include <stdint.h>\n",
    "src/base/buf.h": "#include <stddef.h>\n",
    "src/shm/ring.h": '#include <toolring/abi.h>\n#include "base/buf.h"\n',
    "src/io/loop.h": "#include <liburing.h>\n",
    "src/executor/executor.h": '#include "io/loop.h"\n#include "shm/ring.h"\n',
    "src/toolringd.c": '#include "executor/executor.h"\n#include "backend/local/plan.h"\n',
    "src/backend/local/plan.h": "#include <seccomp.h>\n",
    "src/backend/backend.h": "",
    "src/backend/local.c": '#include "backend/local/plan.h"\n',
    "src/client/call.c": '#include "shm/ring.h"\n',
    "tools/ping.c": '#include <toolring/abi.h>\n#include "command.h"\n',
    "tools/command.h": "",
    "tools/bench_slots_uring.c": "#include <liburing.h>\n",
    "tests/unit/ring.c": '#include "executor/executor.h"\n',
}
BAD = {
    "src/base/bad.c": '#include "shm/ring.h"\n',
    "src/shm/bad.c": '\t#  include "io/loop.h"\n',
    "src/client/bad.c": '#include "executor/executor.h"\n',
    "src/client/bad2.c": '#include "../io/loop.h"\n',
    "src/executor/bad.c": "#include <liburing.h>\n",
    "src/executor/bad2.c": "#include <curl/curl.h>\n",
    "src/executor/bad3.c": '#include "backend/local/plan.h"\n',
    "src/backend/bad.c": "#include <seccomp.h>\n",
    "src/backend/local/bad.c": '#include "backend/backend.h"\n',
    "src/novel/bad.c": '#include "base/buf.h"\n',
    "src/bad.c": '#include "base/buf.h"\n',
    "include/toolring/bad.h": '#include "base/buf.h"\n',
    "tools/bad.c": '#include "base/buf.h"\n',
    "tools/bad3.c": "#include <liburing.h>\n",
    "tools/bad2.c": '#include "../src/base/buf.h"\n',
    "bindings/c/bad.c": '#include "shm/ring.h"\n',
}


def self_test():
    faults = []
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**GOOD, **BAD}.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        caught = {fault.split(":")[0] for fault in check(root)}
    faults += [f"not caught: {path}: {BAD[path].strip()}" for path in BAD if path not in caught]
    faults += [f"caught, but allowed: {path}" for path in GOOD if path in caught]
    tree.finish(faults, f"{len(BAD)} forbidden includes are caught, {len(GOOD)} files are not")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    tree.finish(check(tree.ROOT), "includes follow the arrows")
