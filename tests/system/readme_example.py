# SPDX-License-Identifier: Apache-2.0
"""
readme_example.py TOOLRINGD LIBRARY SOURCE_ROOT FLAG...: shows that the C example of README.md, as
it stands there, builds, puts a call through a toolringd and prints the result.
"""

import os
import re
import subprocess
import sys
import tempfile

from private_daemon import Daemon


def main():
    toolringd, library, root, *flags = sys.argv[1:]
    with open(os.path.join(root, "README.md"), encoding="utf-8") as f:
        source = re.search(r"```c\n(.*?)```\n", f.read(), re.S).group(1)
    with Daemon(toolringd) as daemon, tempfile.TemporaryDirectory(prefix="toolring-") as folder:
        program = os.path.join(folder, "example")
        folder_of_library = os.path.dirname(os.path.abspath(library))
        subprocess.run(["gcc", "-x", "c", "-std=c17", "-Wall", "-Wextra", "-Werror",
                        "-I" + os.path.join(root, "include"), "-", "-o", program, "-x", "none",
                        library, "-Wl,-rpath," + folder_of_library, *flags],
                       input=source, text=True, check=True)
        done = subprocess.run([program], env=dict(os.environ, TOOLRING_NAME=daemon.name),
                              capture_output=True, text=True, check=False, timeout=60)
    print(done.stdout, done.stderr, sep="")
    if done.returncode or done.stdout != "ok: echo hello\n":
        raise SystemExit(f"it ended with {done.returncode} and printed {done.stdout!r}")


main()
