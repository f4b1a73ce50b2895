# SPDX-License-Identifier: Apache-2.0
"""
Shows that every C file is as clang-format leaves it. One major version counts, since versions
differ in details: 14, that of Debian 12 (tools/setup gets it elsewhere).
"""

import os
import re
import shutil
import subprocess

import tree

MAJOR = "14"


def find_tool():
    for name in (f"clang-format-{MAJOR}", "build/venv/bin/clang-format", "clang-format"):
        tool = shutil.which(os.path.join(tree.ROOT, name) if "/" in name else name)
        if tool:
            said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
            if re.search(rf"version {MAJOR}\.", said.stdout):
                return tool
    return None


def main():
    tool = find_tool()
    if not tool:
        tree.skip(f"there is no clang-format {MAJOR}")
    names = tree.files(ends=(".c", ".h", ".cc", ".hpp"))
    done = subprocess.run([tool, "--dry-run", "-Werror", "--style=file", *names], cwd=tree.ROOT,
                          capture_output=True, text=True, check=False)
    places = {}
    for path, line in re.findall(r"^(\S+?):(\d+):\d+: error: ", done.stderr, re.M):
        places.setdefault(path, set()).add(int(line))
    faults = [f"{path}: lines {', '.join(map(str, sorted(lines)))}" for path, lines in places.items()]
    if done.returncode and not faults:
        faults = [done.stderr]
    tree.finish(faults, f"format of {len(names)} files; to repair: clang-format -i FILE")


main()
