# SPDX-License-Identifier: Apache-2.0
"""
installed.py MESON BUILD: shows that what `meson install` puts down is complete: a small program
builds against the installed copy through pkg-config alone, as C and C++, runs with the installed
library, and the installed programs start.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile

PROGRAM = r"""
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <toolring/toolring.h>

int main(void)
{
	struct tr_client *client = NULL;
	int r = tr_open(&client, "/nonexistent/toolring.sock");

	printf("version %s, open %s\n", tr_version(), r < 0 ? strerror(-r) : "done");
	return strcmp(tr_version(), TR_VERSION) == 0 && r == -ENOENT && client == NULL ? 0 : 1;
}
"""


def run(*command, **options):
    print("+", shlex.join(command), flush=True)
    return subprocess.run(command, check=True, text=True, **options)


def find(folder, name):
    for here, _, names in os.walk(folder):
        if name in names:
            return os.path.join(here, name)
    raise SystemExit(f"{name} is not installed")


def build_and_run(root, pc, compiler, arguments):
    env = dict(os.environ, PKG_CONFIG_LIBDIR=os.path.dirname(pc), PKG_CONFIG_SYSROOT_DIR=root)
    env.pop("PKG_CONFIG_PATH", None)
    flags = run("pkg-config", "--cflags", "--libs", "toolring", env=env,
                stdout=subprocess.PIPE).stdout
    source = os.path.join(root, "program.c")
    program = os.path.join(root, "program")
    with open(source, "w", encoding="utf-8") as f:
        f.write(PROGRAM)
    run(compiler, *arguments, "-Wall", "-Wextra", "-Werror", source, "-o", program,
        "-x", "none", *shlex.split(flags))
    library = os.path.dirname(find(root, "libtoolring.so"))
    run(program, env=dict(os.environ, LD_LIBRARY_PATH=library))


def main():
    meson, build = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="toolring-") as root:
        run(meson, "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root)
        pc = find(root, "toolring.pc")
        build_and_run(root, pc, "gcc", ["-std=c11"])
        if shutil.which("g++"):
            build_and_run(root, pc, "g++", ["-x", "c++", "-std=c++17"])
        library = os.path.dirname(find(root, "libtoolring.so"))
        for name in ("toolringd", "toolring"):
            run(find(root, name), "--help", stdout=subprocess.DEVNULL,
                env=dict(os.environ, LD_LIBRARY_PATH=library))


main()
