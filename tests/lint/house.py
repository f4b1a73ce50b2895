# SPDX-License-Identifier: Apache-2.0
"""
Shows that the top level holds what it should and nothing else, that every source file names its
licence, and that no mark of unfinished work is left.
"""

import os
import re
import shutil
import subprocess

import tree

TOP = {"meson.build", "meson_options.txt", "src", "include", "bindings", "tests", "tools",
       "README.md", "LICENSE"}
OUTPUT = {"build"}
# Written in pieces, so that this file does not name itself.
MARKS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
SPDX = "SPDX-License-Identifier: Apache-2.0"
SPDX_ENDS = (".c", ".h", ".cc", ".hpp", ".py", ".pyi", ".sh", ".map", ".toml")


def top_level():
    names = {n for n in os.listdir(tree.ROOT) if not n.startswith(".")} - OUTPUT
    if shutil.which("git"):  # what is tracked belongs, or not, even where it is not checked out
        listed = subprocess.run(["git", "ls-files"], cwd=tree.ROOT, capture_output=True, text=True,
                                check=False)
        names |= {n.split("/")[0] for n in listed.stdout.splitlines() if not n.startswith(".")}
    return ([f"{n}: does not belong on the top level" for n in sorted(names - TOP)] +
            [f"{n}: missing from the top level" for n in sorted(TOP - names)])


def main():
    faults = top_level()
    for path in tree.files() + ["README.md", "meson.build", "meson_options.txt", ".ci/run"]:
        try:
            text = tree.read(path)
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # test data; named above
        script = text.startswith("#!")
        if (path.endswith(SPDX_ENDS) or script) and SPDX not in text[:300]:
            faults.append(f"{path}:1: does not name its licence ({SPDX})")
        for number, line in enumerate(text.splitlines(), 1):
            if MARKS.search(line):
                faults.append(f"{path}:{number}: a mark of unfinished work: {line.strip()}")
    tree.finish(faults, "top level, licences, no marks")


main()
