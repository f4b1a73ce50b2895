# SPDX-License-Identifier: Apache-2.0
"""
toolring exec runs a command in a slot as if it ran here: the same bytes on the same stream, the
same exit code. Each is held against the command run without a slot.
"""

import os
import subprocess
import sys

TESTS_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
sys.path[:0] = [os.path.join(TESTS_FOLDER, name) for name in ("security", "support")]

from lab import Lab, build_of, chosen, expect, run  # noqa: E402

COMMANDS = (
    ["true"],
    ["sh", "-c", "echo out; echo err >&2; exit 3"],
    ["printf", "%s", "a  b\n\n"],
    ["printf", "\\377\\000\\r\\n"],
    ["sh", "-c", "exit 127"],
    ["sh", "-c", "kill -9 $$"],
    ["sh", "-c", "head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2"],
)


def exec_in_slot(lab, *words):
    return subprocess.run([os.path.join(lab.build, "tools", "toolring"), "exec", "--name",
                           lab.daemon.name, *words], capture_output=True, timeout=60, check=False)


def same_as_without_a_slot(lab):
    """Streams and exit codes are the command's own."""
    for command in COMMANDS:
        here = subprocess.run(command, capture_output=True, check=False)
        there = exec_in_slot(lab, "--", *command)
        code = here.returncode if here.returncode >= 0 else 128 - here.returncode
        expect((there.stdout, there.stderr, there.returncode) == (here.stdout, here.stderr, code),
               f"{command}: expected {str(here)[:300]}, came {str(there)[:300]}")


def kept(lab):
    """With --keep and a trajectory's holder, /tmp lives on from one to the next."""
    slot = lab.slot()
    exec_in_slot(lab, "--trajectory", slot.name, "--keep", "--", "sh", "-c", "echo k > /tmp/k")
    done = exec_in_slot(lab, "--trajectory", slot.name, "--keep", "--", "cat", "/tmp/k")
    expect(done.stdout == b"k\n", f"{done}")


def faults(lab):
    """What is not the command's own doing has codes and words of its own."""
    done = exec_in_slot(lab, "--timeout", "1", "--", "sh", "-c", "echo early; sleep 99")
    expect(done.returncode == 124 and done.stdout == b"early\n", f"a timeout: {done}")
    done = exec_in_slot(lab, "--", "toolring-no-such-program")
    expect(done.returncode != 0 and b"No such file" in done.stderr, f"no program: {done}")


TESTS = (same_as_without_a_slot, kept, faults)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "8") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
