# SPDX-License-Identifier: Apache-2.0
"""
Shows that each public header compiles alone and without a warning as C11, C17 and C++17, with each
compiler that is here. Headers inside src/ must compile alone too (as this project is built).
"""

import os
import shutil
import subprocess
import sys

import tree

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wundef", "-Werror"]
DIALECTS = [("gcc", "c", "c11"), ("gcc", "c", "c17"), ("g++", "c++", "c++17"),
            ("clang", "c", "c11"), ("clang", "c", "c17"), ("clang++", "c++", "c++17")]


def compile_alone(compiler, arguments, header):
    done = subprocess.run([compiler, "-fsyntax-only", *arguments, "-"], cwd=tree.ROOT,
                          input=f"#include <{header}>\n", capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return [f"{header} with {compiler} {' '.join(arguments)}:\n{done.stderr}"]


def main():
    faults = []
    done = set()
    for header in tree.files(folders=("include",), ends=".h"):
        for compiler, language, standard in DIALECTS:
            if shutil.which(compiler):
                done.add((compiler, standard))
                faults += compile_alone(
                    compiler, ["-x", language, f"-std={standard}", "-Iinclude", *STRICT],
                    os.path.relpath(header, "include"))
    inner = sys.argv[1:]  # flags that lead to the libraries' headers
    for header in tree.files(folders=("src",), ends=".h"):
        faults += compile_alone(
            "gcc", ["-x", "c", "-std=gnu17", "-D_GNU_SOURCE", "-Iinclude", "-Isrc", *inner, "-Wall",
                    "-Wextra", "-Werror", "-Wno-unused-function"], os.path.relpath(header, "src"))
    missing = {(c, s) for c, _, s in DIALECTS} - done
    if missing and not faults:
        tree.skip("no compiler for " + ", ".join(sorted(c + " " + s for c, s in missing)))
    tree.finish(faults, "headers compile alone as " + ", ".join(sorted(f"{s} ({c})" for c, s in done)))


main()
