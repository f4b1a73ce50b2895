#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that our terminal and tmux 3.3a show the same: screen, history and cursor, for recorded streams
of real programs (each at eight points on its way), for sequences written by hand, and for sequences
made at random; and that a key's name comes to the same bytes in each mode of the keyboard.

    terminal_tmux.py SHOW_TERMINAL STREAMS [--cases N] [--seed N]

Where ours differs, on purpose:
* characters without a width in tmux's C library (newer than its Unicode) are shown, not left out;
* CSI 6 n and the cursor never name a column behind the last one, nor does CSI 18 t swap its numbers;
* a zero width joiner joins also where a read ends between it and what it joins (tmux forgets it);
* blanks alone, written with wrapping off, make a line one that is kept when the screen is cleared;
* APC strings set no title;
* keys: "User1" and the like are text; "0x41zz" is text, not "A"; a named key that has no sequence is
  never a number of tmux's own.
"""

import argparse
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from terminals import Ours, Tmux  # noqa: E402

VERSION = "tmux 3.3a"
JOINER = "\u200d".encode()
TRIES_TO_JOIN = 10
SIZES = [(80, 24), (120, 40), (20, 10)]

WRITTEN = {
    "wrapping": b"x" * 79 + b"yz\b\b\bA\r\n" + b"w" * 80 + b"\x1b[D!" + b"w" * 80 + b"\x1b[C#\r\n",
    "wrapping of wide ones": "界".encode() * 60 + b"a" + "界".encode() * 41,
    "no wrapping": b"\x1b[?7l" + b"abc" * 50 + "界界".encode() + b"\x1b[?7h.",
    "pending at the edge": b"\x1b[80G#\x1b[K\x1b[1K\x1b[A@\x1b[2;80H$\t%\b\b&\x1b[3;80H*\x1b[J+",
    "torn wide ones": "世界世界世界".encode() + b"\x1b[2Gx\x1b[5Gy\x1b[8G\x1b[K\r\n" +
                      "世界世界".encode() + b"\x1b[2G\x1b[P\x1b[4G\x1b[@\x1b[1G\x1b[X",
    "first column of a wide one": "世\bx".encode() + b"\r\n" + "世\b\bx".encode(),
    "combining": "e\u0301\u0302 \u0301x\u200dy a\u0300".encode() + b"\b\b" + "\u0308".encode() +
                 ("o" + "\u0301" * 30).encode() + b"\r" + "\u0301".encode(),
    "emoji": "👍🏽 👨\u200d👩\u200d👧 🇩🇪 ❤\ufe0f ☺ ™ ⌚ 1\ufe0f\u20e3".encode(),
    "alternate screen": b"one\r\ntwo\x1b[?1049hthree\r\n" + b"four\r\n" * 60 + b"\x1b[?1049lfive" +
                        b"\x1b[?47hsix\x1b[?47l\x1b[?1047hseven\x1b[?1047leight",
    "alternate, left twice": b"a\x1b[?1049hb\x1b[?1049hc\x1b[?1049l\x1b[?1049ld",
    "clear into history": b"a\r\nb\r\nc\x1b[2J" + b"d\x1b[H\x1b[J" + b"e\x1b[3J" + b"f\x1b[2J\x1b[Hg\x1bc",
    "scroll region": b"".join(b"line %d\r\n" % i for i in range(8)) + b"\x1b[3;6r\x1b[6;1H\n\nA\x1bM\x1b[3;1H"
                     b"\x1bM\x1bMB\x1b[2S\x1b[1T\x1b[8;1H\n\nC\x1b[r\x1b[99;1H\n\n",
    "origin": b"\x1b[4;8r\x1b[?6h\x1b[1;1HA\x1b[99;5HB\x1b[3dC\x1b7\x1b[?6l\x1b[1;1HD\x1b8E",
    "lines": b"".join(b"%d\r\n" % i for i in range(9)) + b"\x1b[2;7r\x1b[3;1H\x1b[2L\x1b[5;1H\x1b[M\x1b[99L"
             b"\x1b[8;1H\x1b[LX\x1b[1;1H\x1b[3MY\x1b[9;1H\x1b[99M",
    "characters": b"0123456789" * 3 + b"\x1b[5G\x1b[3@\x1b[10G\x1b[4P\x1b[15G\x1b[5X\x1b[99G\x1b[2D\x1b[99@\x1b[1G"
                  b"\x1b[99P",
    "inserting more than is moved": b"abcdefghijklmnopqrst\x1b[15G\x1b[4@" + b"\x1b[18G\x1b[2@",
    "insert mode": b"abcdef\r\x1b[4hXY" + "世".encode() + b"\x1b[4lZ",
    "tabs": b"\ta\tb\x1b[3g\r\x1b[7GH\x1bH\x1b[13G\x1bH\r\tc\td\te\x1b[2Zf\x1b[g\x1b[Zg",
    "repeat": b"ab\x1b[5b\x1b[m\x1b[3b c\x1b[999999999b\x1b[2bd",
    "line drawing": b"\x1b(0lqqk\x1b(B \x1b)0\x0ex\x0f lqk",
    "progress": b"".join(b"\r%3d%% [%s]" % (i, b"#" * (i // 5)) for i in range(0, 101, 7)) + b"\x1b[K\n",
    "huge numbers": b"x\x1b[999999999S\x1b[2147483647@\x1b[2147483648Ca\x1b[99999999999999999999Db"
                    b"\x1b[2147483647;2147483647Hc\x1b[2147483647Ad\x1b[2147483647Pe\x1b[2147483647Lf",
    "many parameters": b"\x1b[" + b";".join([b"1"] * 22) + b"Ha\x1b[" + b";".join([b"1"] * 24) + b"Hb\x1b[" +
                       b"1;" * 100 + b"Hc\x1b[1:2Hd\x1b[;;Ae\x1b[?1;2$pf",
    "strings": b"\x1bPq1;2abc\x1b\\a\x1b_apc\x1b\\b\x1bXsos\x1b\\c\x1b^pm\x1b\\d\x1bkname\x1b\\e\x1b]8;;http://x\x07f"
               b"\x1b]0;t\x18g\x1bP\x1b\x1b\\\x1b\\h\x1bP:x\x1b[1mi\x1b\\",
    "no UTF-8": b"a\x80b\xc0\xafc\xe2\x82d\xf0\x9fe\xed\xa0\x80f\xf4\x90\x80\x80g\xe2\x1b[m\x82\xach\xc2\x9b1mi\xff",
    "controls": b"a\x00b\x7fc\x0bd\x0ce\x05f\x07g\x1b[3\bCh\x1b[2\x18Ci\x1b\x1b[Bj\x1bEk\x1bDl\x1b[2El\x1b[2Fm",
    "alignment": b"\x1b#8\x1b[5;5H\x1b[1J\x1b[10;10H\x1b[J\x1b[7;7H\x1b[1K\x1b[8;8H\x1b[2K",
    "saved cursor": b"\x1b[5;10H\x1b7\x1b(0\x1b[1;1Hq\x1b8q\x1b[s\x1b[9;9H\x1b[ur",
    "132 columns": b"abc\r\ndef\x1b[?3hg\x1b[?3lh",
}

TEXT = [t.encode() for t in ("a", "bc", "hello world", "x" * 30, "é", "世", "界界", "😀", "e\u0301",
                             "\u0301", "한", "│┌", "\u00a0", "ﬁ", "\ufe0f", "🇩🇪", "👍🏽")]
ESCAPES = [b"7", b"8", b"D", b"E", b"M", b"H", b"c", b"#8", b"(0", b"(B", b")0", b")B", b"=", b">", b"%G"]
STRINGS = [b"\x1b]0;title\x07", b"\x1bP1$r\x1b\\", b"\x1b_x\x1b\\", b"\x1bkname\x1b\\", b"\x1b[31;42m",
           b"\x1b[m", b"\x1b[6n", b"\x1b[5n", b"\x1b[c"]


def one(rng: random.Random, columns: int, rows: int) -> bytes:
    kind = rng.randrange(100)
    if kind < 33:
        return rng.choice(TEXT) * rng.choice([1, 1, 1, 1, 1, 9, 60])
    if kind < 44:
        return bytes([rng.choice(b"\b\t\n\r\x0b\x0c\x0e\x0f\n\r")]) * rng.choice([1, 1, 1, 20])
    if kind < 49:
        return b"\x1b" + rng.choice(ESCAPES)
    if kind < 54:
        return b"\x1b[?%d%c" % (rng.choice([1, 3, 6, 6, 12, 25, 47, 1047, 1049, 1049]), rng.choice(b"hl"))
    if kind < 57:
        return b"\x1b[4%c" % rng.choice(b"hl")
    if kind < 59:
        return rng.choice(STRINGS)
    numbers = [b"", b"0", b"1", b"2", b"3", b"5", b"9", b"999999999", b"4:3", b"%d" % rng.randint(1, columns + 2),
               b"%d" % rng.randint(1, rows + 2)]
    return (b"\x1b[" + b";".join(rng.choice(numbers) for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3]))) +
            bytes([rng.choice(b"@ABCDEFGHHHHJKLMPSTXZ`bdfghlmnrsuu")]))


NAMES = ("F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 IC Insert DC Delete Home End NPage PageDown PgDn PPage PageUp "
         "PgUp Tab BTab Space BSpace Enter Escape Up Down Left Right KP/ KP* KP- KP7 KP8 KP9 KP+ KP4 KP5 KP6 KP1 "
         "KP2 KP3 KPEnter KP0 KP.").split()
OTHERS = ("None Any any F0 F13 Foo hello C- M- C-M- ^ ^^ -- M-- é M-é C-é 日本 日 M-日 0x41 0x 0x1 0x7f 0x1F600 0xzz "
          "0xd800 0xe9 😀 - -l a-b X-a C-Foo M-Foo ENTER c-X C-X C-Space C-@ C-[ C-? C-_ C-/ C-\\ C-] C-^").split()
MODES = {"plain": b"", "cursor keys": b"\x1b[?1h", "keypad": b"\x1b=", "extended": b"\x1b[>4;1m"}


def key_names(mode: str) -> list:
    names = NAMES + [n.lower() for n in NAMES] + [n.upper() for n in NAMES] + OTHERS
    names += ["hello world", "C-x C-c", "Enter ", "\t", "\r", "a\n", "\x7f", "C-\t", "M-\x7f", "\u0301"]
    for modifier in ("C-", "M-", "S-", "^", "C-M-", "C-S-", "M-S-", "C-M-S-", "c-", "^M-", "S-C-"):
        # Not in the extended mode where tmux sends its own number of the key.
        names += [modifier + n for n in NAMES if mode != "extended" or not n.startswith(("KP", "BTab"))]
    for modifier in ("", "C-", "M-", "S-", "^", "C-M-", "M-C-", "C-S-"):
        names += [modifier + chr(c) for c in range(0x20, 0x7f)]
    return list(dict.fromkeys(names))


class Comparison:
    def __init__(self, ours: Ours):
        self.ours = ours
        self.n = 0
        self.n_wrong = 0

    def differs(self, tmux: Tmux, size: tuple, data: bytes) -> list:
        columns, rows = size
        data = tmux.RESET + data + tmux.END
        ours = self.ours.show(data, columns, rows)
        theirs = tmux.show(data)
        x, y = theirs.cursor
        faults = [] if ours.cursor == (min(x, columns - 1), y) else [f"cursor {ours.cursor} {theirs.cursor}"]
        for name in ("screen", "everything"):
            a, b = getattr(ours, name), getattr(theirs, name)
            if a != b:
                lines = [f"    line {i}: ours {p!r}\n            tmux {q!r}"
                         for i, (p, q) in enumerate(zip(a.split(b"\n"), b.split(b"\n"))) if p != q]
                faults.append("\n".join([f"{name}, {a.count(10)} and {b.count(10)} lines:", *lines[:3]]))
        return faults

    def check(self, what: str, tmux: Tmux, size: tuple, data: bytes):
        self.n += 1
        faults = self.differs(tmux, size, data)
        # Where tmux's reads end is the kernel's affair: it is to keep its joiners in one try of a few.
        for _ in range(TRIES_TO_JOIN if JOINER in data else 0):
            faults = faults and self.differs(tmux, size, data)
        if faults:
            self.n_wrong += 1
            shown = data if len(data) < 400 else data[:400] + b"..."
            print(f"{what} at {size[0]}x{size[1]}: {shown!r}")
            for fault in faults:
                print("  " + fault)

    def check_key(self, mode: str, tmux: Tmux, name: str):
        self.n += 1
        data = tmux.RESET + MODES[mode]
        # A semicolon at the end is tmux's own, of its command line.
        theirs = tmux.keys(data, name[:-1] + "\\;" if name.endswith(";") else name)
        ours = self.ours.show(data, 80, 24, name.encode()).keys
        if ours != theirs:
            self.n_wrong += 1
            print(f"key {name!r}, {mode}: ours {ours!r}, tmux {theirs!r}")


def compare(c: Comparison, size: tuple, options: argparse.Namespace):
    columns, rows = size
    tmux = Tmux(columns, rows)
    try:
        for name in sorted(os.listdir(options.streams)):
            if name.endswith(f".{columns}x{rows}.bin"):
                with open(os.path.join(options.streams, name), "rb") as f:
                    data = f.read()
                for i in range(1, 9):
                    c.check(f"{name}, {i}/8", tmux, size, data[:len(data) * i // 8])
        for name, data in WRITTEN.items():
            c.check(name, tmux, size, data)
        for i in range(options.cases):
            rng = random.Random(f"{options.seed} {columns} {i}")
            c.check(f"case {i}", tmux, size,
                    b"".join(one(rng, columns, rows) for _ in range(rng.choice([3, 8, 20, 60, 200]))))
        if size == SIZES[0]:
            for mode in MODES:
                for name in key_names(mode):
                    c.check_key(mode, tmux, name)
    finally:
        tmux.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("show_terminal")
    parser.add_argument("streams")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        version = subprocess.run(["tmux", "-V"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    except FileNotFoundError:
        version = "none"
    if version != VERSION:
        # What another version shows is no fault of ours; tool_terminal_streams holds what 3.3a showed.
        print(f"skipped: compared with {VERSION}, and here is {version}")
        must = os.environ.get("TOOLRING_MUST_WORK") == "1" and version == "none"
        return 1 if must else 77
    ours = Ours(options.show_terminal)
    comparison = Comparison(ours)
    for size in SIZES:
        compare(comparison, size, options)
    ours.close()
    print(f"{comparison.n} compared with {version}, {comparison.n_wrong} differ")
    return 1 if comparison.n_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
