#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds tool/slot/text.c against Python: bytes at random, many of them near to being UTF-8, must be
decoded, counted, cut and stripped as Python does it. Usage: text_oracle.py SHOW_TEXT [CASES]"""
import random
import struct
import subprocess
import sys

PIECES = [b"a", b" ", b"\n", b"\t", b"\x1c", b"\x1f", b"\x00", b"\x7f", b"plain text, longer than a word. ",
          *(chr(c).encode() for c in (0x85, 0xa0, 0xe9, 0x1680, 0x2000, 0x200a, 0x200b, 0x2028, 0x2029,
                                      0x202f, 0x205f, 0x3000, 0x2713, 0xd7ff, 0xe000, 0xffff, 0x1f600,
                                      0x10ffff))]
LEADS = [0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff]
TAILS = [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0]
NOTE = "\n... (output truncated)"


def make_bytes(rng: random.Random) -> bytes:
    out = b""
    for _ in range(rng.choice([0, 0, 1, 2, 3, 5, 8, 20])):
        kind = rng.random()
        if kind < 0.5:
            out += rng.choice(PIECES)
        elif kind < 0.8:
            out += bytes([rng.choice(LEADS)]) + bytes(rng.choice(TAILS) for _ in range(rng.randrange(4)))
        elif kind < 0.9:
            whole = rng.choice(PIECES)
            out += whole[:rng.randrange(len(whole) + 1)]
        else:
            out += rng.randbytes(rng.randrange(12))
    return out


def show(streams: list, n_max: int) -> str:
    texts = []
    for data, more in streams:
        text = data.decode("utf-8", "replace")
        texts.append(text[:n_max] + NOTE if len(text) > n_max or more else text)
    out, err = texts
    return (out + "\n[stderr]\n" + err if out and err else out or err).strip()


def main() -> int:
    rng = random.Random(4)
    cases = []
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 20000):
        n_max = rng.choice([1, 2, 5, 10, 50, 1000])
        streams = []
        for _ in range(2):
            data = make_bytes(rng)
            # As the slot captures: 4 * n_max bytes at most.
            streams.append((data[:4 * n_max], len(data) > 4 * n_max))
        cases.append((n_max, streams))
    asked = b"".join(
        struct.pack("=IIII", n_max, s[0][1] | s[1][1] << 1, len(s[0][0]), len(s[1][0])) + s[0][0] + s[1][0]
        for n_max, s in cases)
    got = subprocess.run([sys.argv[1]], input=asked, stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for n_max, streams in cases:
        answers = []
        for _ in range(2):
            (n,) = struct.unpack_from("=I", got, at)
            answers.append(got[at + 4:at + 4 + n])
            at += 4 + n
        (count,) = struct.unpack_from("=Q", got, at)
        at += 8
        whole = (streams[0][0] + streams[1][0]).decode("utf-8", "replace")
        expected = [show(streams, n_max).encode(), whole.encode()]
        if answers != expected or count != len(whole):
            print(f"limit {n_max}, streams {streams!r}:\n  expected {expected!r} {len(whole)}\n"
                  f"  got      {answers!r} {count}")
            return 1
    assert at == len(got)
    print(f"{len(cases)} cases as Python has them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
