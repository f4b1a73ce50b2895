#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that our terminal gives each character the width that glibc 2.36 does, in a UTF-8 locale; with
another C library, that of all characters at most a few hundred differ, as Unicode goes on.

    terminal_widths.py SHOW_TERMINAL           holds it against the C library that is here
    terminal_widths.py --tables                prints the tables of src/tool/slot/terminal_width.c"""

import ctypes
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
from terminals import Ours  # noqa: E402

VERSION = "2.36"
END = 0x110000
SURROGATES = range(0xd800, 0xe000)
OTHERS_MAX = 1500


def widths() -> tuple:
    libc = ctypes.CDLL(None)
    libc.setlocale.restype = ctypes.c_char_p
    libc.gnu_get_libc_version.restype = ctypes.c_char_p
    if not any(libc.setlocale(0, name) for name in (b"C.UTF-8", b"en_US.UTF-8")):
        raise RuntimeError("there is no UTF-8 locale")
    return libc.gnu_get_libc_version().decode(), [libc.wcwidth(i) for i in range(END)]


def ranges(width: list, value: int):
    """Of wide ones, those without a name between them belong to them."""
    start = None
    i = 1
    while i < END:
        if width[i] != value:
            i += 1
            continue
        start = last = i
        i += 1
        while i < END and (width[i] == value or (value == 2 and width[i] == -1 and i not in SURROGATES)):
            if width[i] == value:
                last = i
            i += 1
        yield start, last
        i = last + 1


def print_tables(width: list):
    for name, value in (("zero", 0), ("two", 2)):
        print(f"static const struct range {name}[] = {{")
        line = "\t"
        for first, last in ranges(width, value):
            item = f"{{0x{first:x}, 0x{last:x}}},"
            if len(line.expandtabs(8)) + len(item) + 1 > 98:
                print(line.rstrip())
                line = "\t"
            line += item + " "
        print(line.rstrip() + "\n};\n")


def main() -> int:
    version, width = widths()
    if sys.argv[1] == "--tables":
        print_tables(width)
        return 0
    ours = Ours(sys.argv[1])
    wrong = []
    n = 0
    for c in range(0xa0, END):
        if width[c] < 0 or c in SURROGATES or c == 0x200d:
            continue
        n += 1
        # The cursor moves on by the width.
        (x, _) = ours.show(b"\x1b[5G" + chr(c).encode(), 20, 10).cursor
        if x - 4 != width[c]:
            wrong.append(c)
    ours.close()
    print(f"glibc {version}: of {n} characters {len(wrong)} are otherwise: {[hex(c) for c in wrong[:20]]}")
    return 1 if len(wrong) > (0 if version == VERSION else OTHERS_MAX) else 0


if __name__ == "__main__":
    sys.exit(main())
