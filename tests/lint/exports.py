# SPDX-License-Identifier: Apache-2.0
"""
exports.py LIBRARY HEADER... : shows that the library exports exactly the functions that the public
headers declare: none is missing, and no inner name leaks. A made-up header must fail both ways.
"""

import re
import subprocess
import sys

import tree


def declared(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//.*|^[ \t]*#(?:.*\\\n)*.*", " ", text, flags=re.M)
    return set(re.findall(r"\b(tr_\w+)\s*\(", text))


def exported(library):
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True,
                            check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    # "A" are the names of the symbol versions themselves.
    return {row[-1].split("@")[0] for row in rows if row[-2] != "A"}


def compare(names, promised):
    return ([f"{n}: declared, not exported" for n in sorted(promised - names)] +
            [f"{n}: exported, not declared" for n in sorted(names - promised)])


def main():
    library, *headers = sys.argv[1:]
    names = exported(library)
    promised = set()
    for header in headers:
        with open(header, encoding="utf-8") as f:
            promised |= declared(f.read())
    faults = compare(names, promised)
    if len(compare(names, declared("int tr_made_up(void); /* tr_comment() */"))) != len(names) + 1:
        faults.append("a made-up declaration is not told from an export")
    tree.finish(faults, f"{len(names)} exported functions")


main()
