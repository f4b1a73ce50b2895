# SPDX-License-Identifier: Apache-2.0
"""
readme.py [--update] TOOLRINGD TOOLRING: shows that README.md stays true. Each block after a line
"<!-- help: COMMAND -->" is what that command prints for --help; every sub-command that toolring
lists has such a block; its C example compiles without warnings; each path that it names exists.
--update writes the help blocks anew.
"""

import os
import re
import subprocess
import sys

import tree

HELP = re.compile(r"(<!-- help: ([^>]+) -->\n```text\n)(.*?)(\n```\n)", re.S)
EXAMPLE = re.compile(r"```c\n(.*?)```\n", re.S)
GROUPS = {"artifact", "bench"}  # commands that only have further ones
PATH = re.compile(r"`((?:src|include|tests|tools|bindings)/[\w./-]*)`")


def help_of(programs, command):
    name, *words = command.split()
    done = subprocess.run([programs[name], *words, "--help"], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise SystemExit(f"{command} --help ended with {done.returncode}: {done.stderr}")
    return done.stdout.rstrip("\n")


def commands_of(programs, command="toolring"):
    """The sub-commands that a help text lists, with those that theirs list."""
    for name in re.findall(r"^  ([a-z]+(?: [a-z]+)?) {2,}\S", help_of(programs, command), re.M):
        if name != "help":
            yield "toolring " + name
        if name in GROUPS:
            yield from commands_of(programs, "toolring " + name)


def example_faults(text):
    faults = []
    for example in EXAMPLE.findall(text):
        done = subprocess.run(
            ["gcc", "-x", "c", "-std=c17", "-Wall", "-Wextra", "-Werror", "-Iinclude",
             "-fsyntax-only", "-"], cwd=tree.ROOT, input=example, capture_output=True, text=True,
            check=False)
        if done.returncode:
            faults.append("the C example does not compile:\n" + done.stderr)
    return faults


def main():
    arguments = sys.argv[1:]
    update = arguments[:1] == ["--update"]
    toolringd, toolring = map(os.path.abspath, arguments[-2:])
    programs = {"toolringd": toolringd, "toolring": toolring}
    text = tree.read("README.md")
    blocks = {command: body for _, command, body, _ in HELP.findall(text)}
    if update:
        new = HELP.sub(lambda m: m[1] + help_of(programs, m[2]) + m[4], text)
        with open(os.path.join(tree.ROOT, "README.md"), "w", encoding="utf-8") as f:
            f.write(new)
        return
    faults = [f"help of {c}: differs from what it prints; to repair: readme.py --update"
              for c, body in blocks.items() if body != help_of(programs, c)]
    wanted = {"toolringd", "toolring", *commands_of(programs)}
    faults += [f"help of {c}: missing" for c in sorted(wanted - set(blocks))]
    faults += example_faults(text)
    faults += [f"{path}: named, but not there" for path in PATH.findall(text)
               if not os.path.exists(os.path.join(tree.ROOT, path))]
    if not EXAMPLE.search(text):
        faults.append("no C example")
    tree.finish(faults, f"README: {len(blocks)} help texts, the example, the paths")


main()
