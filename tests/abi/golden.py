# SPDX-License-Identifier: Apache-2.0
"""Pins every constant, enum value, struct size and member offset of abi.h to golden.txt.

    golden.py generate ABI_H            prints a C program that prints the table
    golden.py check PROGRAM GOLDEN_TXT  runs it; shows that the table is what is checked in

The program is made from the header itself, so nothing in it can be forgotten; and a struct whose
members do not fill it without gaps fails the check, which shows that the reading missed none. A
difference means that old clients and new executors no longer understand each other: raise
TR_LAYOUT_VERSION, then write the new table (PROGRAM > golden.txt).
"""

import difflib
import re
import subprocess
import sys


def generate(path):
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    lines = []
    for name in re.findall(r"^#define (TR_\w+)[ \t]+\S", text, re.M):
        lines.append(f'printf("{name} %llu\\n", (unsigned long long){name});')
    for kind, name, body in re.findall(r"^(enum|struct) (tr_\w+) \{(.*?)^\};", text, re.M | re.S):
        if kind == "enum":
            lines.append(f'printf("enum {name}\\n");')
            for value in re.findall(r"\bTR_\w+", body):
                lines.append(f'printf("\\t{value} %lld\\n", (long long){value});')
            continue
        lines.append(f'printf("struct {name} %zu align %zu\\n", sizeof(struct {name}), '
                     f'_Alignof(struct {name}));')
        for member in re.findall(r"(\w+)(?:\[[^\]]*\])*;", body):
            lines.append(f'printf("\\t{member} at %zu bytes %zu\\n", '
                         f'offsetof(struct {name}, {member}), '
                         f'sizeof(((struct {name} *)0)->{member}));')
    print("#include <stddef.h>\n#include <stdio.h>\n\n#include <toolring/abi.h>\n")
    print("int main(void)\n{")
    for line in lines:
        print("\t" + line)
    print("\treturn 0;\n}")


def gaps(lines):
    """Structs whose members do not follow one another to the end."""
    found = []
    struct, size, end = None, 0, 0
    for line in lines + ["end"]:
        member = re.match(r"\t(\w+) at (\d+) bytes (\d+)", line)
        if member and struct:
            if int(member[2]) != end:
                found.append(f"struct {struct}: a gap before {member[1]}")
            end = int(member[2]) + int(member[3])
            continue
        if struct and not line.startswith("\t"):
            if end != size:
                found.append(f"struct {struct}: members end at {end}, the struct at {size}")
            struct = None
        begin = re.match(r"struct (\w+) (\d+)", line)
        if begin:
            struct, size, end = begin[1], int(begin[2]), 0
    return found


def check(program, golden):
    now = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    with open(golden, encoding="utf-8") as f:
        pinned = f.read().splitlines()
    problems = gaps(now) + list(difflib.unified_diff(pinned, now, golden, "abi.h", lineterm=""))
    for line in problems:
        print(line)
    print(f"{len(now)} lines, {'as pinned' if not problems else 'not as pinned'}")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "generate":
        generate(sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(sys.argv[2], sys.argv[3]))
    else:
        sys.exit(__doc__)
