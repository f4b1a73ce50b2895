#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that what our terminal makes of the recorded streams of real programs is what tmux 3.3a made of
them, screen and history, where that tmux itself is not there: by what was found when it was.

    terminal_streams.py SHOW_TERMINAL STREAMS [--write]

Each stream is raw output on a pseudo-terminal of the size in its name; streams/shown.sha256 has what
was shown in the end. --write makes it anew; run system/terminal_tmux.py first."""

import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
from terminals import Ours  # noqa: E402


def main() -> int:
    folder = sys.argv[2]
    known = os.path.join(folder, "shown.sha256")
    ours = Ours(sys.argv[1])
    lines, shown = [], {}
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".bin")):
        columns, rows = (int(n) for n in name.split(".")[1].split("x"))
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read()
        whole = ours.show(data, columns, rows)
        for first in (1, len(data) // 3, len(data) // 2):
            if ours.show(data, columns, rows, first=first)[:3] != whole[:3]:
                print(f"{name}: another screen when it comes in pieces of {first} and the rest")
                return 1
        shown[name] = whole.everything
        lines.append(f"{hashlib.sha256(whole.everything).hexdigest()}  {name}\n")
    ours.close()
    if "--write" in sys.argv:
        with open(known, "w", encoding="ascii") as f:
            f.writelines(lines)
    with open(known, encoding="ascii") as f:
        expected = f.readlines()
    for line in sorted(set(lines) - set(expected)):
        name = line.split()[1]
        print(f"{name} is not as tmux had it:\n{shown[name].decode()}")
    print(f"{len(lines)} streams: " + ("as tmux has them" if lines == expected else "not all right"))
    return 0 if lines == expected else 1


if __name__ == "__main__":
    sys.exit(main())
