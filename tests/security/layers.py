# SPDX-License-Identifier: Apache-2.0
"""
toolringd is never silently weaker: what of its walls cannot be had here doctor says, a start
without leave is refused by name, and with leave (TOOLRING_ACCEPT_MISSING) status and every result
tell it.
"""

import json
import os
import subprocess
import sys

from lab import Lab, build_of, chosen, expect, run

import local


def said_by_doctor(lab):
    """Each layer is there or was accepted to be missing, and doctor says which."""
    done = subprocess.run([os.path.join(lab.build, "tools", "toolring"), "doctor", "--json",
                           "--toolringd", os.path.join(lab.build, "src", "toolringd")],
                          capture_output=True, text=True, check=False)
    layers = json.loads(done.stdout)["layers"]
    missing = {name for name, row in layers.items() if not row["works"]} - {"cpu"}
    expect(missing == local.ACCEPTED, f"doctor misses {missing}, accepted are {local.ACCEPTED}")
    expect(all(layers[name]["detail"] and layers[name]["remedy"] for name in missing),
           f"causes and remedies: {layers}")
    expect((done.returncode == 0) == (not missing), f"doctor's exit code is {done.returncode}")


def said_by_results(lab):
    """Every result says what is missing, and so does status."""
    slot = lab.slot()
    for result in (slot.result("true"), slot.result("exit 1"), slot.write("f", "x"), slot.read("f"),
                   slot.read("none"), lab.ring.execute(slot.name, ["true"])):
        told = set(result["metadata"].get("missing_layers", []))
        expect(told == local.ACCEPTED, f"{result}")
    backend = lab.ring.status()["backend"]
    expect(set(backend.get("missing_layers", [])) == local.ACCEPTED, f"status: {backend}")


def refused_without_leave(lab):
    """Where something is missing, no toolringd starts that was not told to do without it."""
    env = {k: v for k, v in os.environ.items() if k != "TOOLRING_ACCEPT_MISSING"}
    path = os.path.join(lab.daemon.folder, "refused.sock")
    command = [os.path.join(lab.build, "src", "toolringd"), "--backend", "local", "--socket", path]
    for layer in sorted(local.ACCEPTED):
        others = ",".join(sorted(local.ACCEPTED - {layer}))
        done = subprocess.run(command + (["--accept-missing", others] if others else []), env=env,
                              capture_output=True, text=True, timeout=60, check=False)
        expect(done.returncode != 0 and f"{layer}: " in done.stderr and
               "--accept-missing=" in done.stderr, f"{layer}: {done}")
    for layer in ("user", "pid", "mount"):
        done = subprocess.run(command + ["--accept-missing", layer], env=env, capture_output=True,
                              text=True, timeout=60, check=False)
        expect(done.returncode != 0 and layer in done.stderr, f"{layer}: {done}")
    expect(not os.path.exists(path), "a socket is left")
    lab.slot().is_well()  # the twin: with leave it started


TESTS = (said_by_doctor, said_by_results, refused_without_leave)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "8") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
