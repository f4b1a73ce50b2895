# SPDX-License-Identifier: Apache-2.0
"""
Shows that what a slot was asked to be outlives the slot: a trajectory that ACQUIRE shut off from the
network of an operator who allows it, with a small disk, gets such slots again after the death of its
slot (idle, or during a call), after its idle time, and when the executor died in between. Only a
RELEASE ends that: the twin in each case is the slot that the trajectory gets then, with the network
and the operator's disk.

Usage: spec_survives.py BUILD
"""

import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import local  # noqa: E402
from ring import Ring  # noqa: E402

SPEC = {"network": "none", "disk": 4 << 20}
OTHER = {"network": "host", "disk": 8 << 20}
FILL = "head -c 6000000 /dev/zero 2>/dev/null > big && echo fits || echo full; rm -f big"


def expect(what, value, wanted):
    if value != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, came {value!r}")


def children(pid):
    return [p for p in local.processes() if local.parent_of(p) == pid]


def is_maker(pid):
    return os.readlink(f"/proc/{pid}/exe").endswith("/toolring-slot")


def kill(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    local.wait_until(lambda: not local.living(pids), "they are dead")


def kill_slots(daemon):
    for maker in filter(is_maker, children(daemon.process.pid)):
        kill(children(maker))


def kill_executor(daemon):
    kill([p for p in children(daemon.process.pid) if not is_maker(p)])


def is_as_asked(ring, what, asked=True):
    result = ring.bash("t", f"readlink /proc/self/ns/net; {FILL}")
    expect(what, result["verdict"], "ok")
    network, disk = result["output"].split()
    expect(f"{what}: cut off", network != os.readlink("/proc/self/ns/net"), asked)
    expect(f"{what}: says so", result["metadata"]["network_isolated"], asked)
    expect(f"{what}: 6 MB", disk, "full" if asked else "fits")


def survived(ring, what):
    """It is what it was; nothing else can be had until a RELEASE, and then anything."""
    is_as_asked(ring, what)
    expect("the same spec", ring.acquire("t", SPEC)["verdict"], "ok")
    expect("another spec", ring.acquire("t", OTHER)["verdict"], "invalid")
    expect("release", ring.release("t")["verdict"], "ok")
    is_as_asked(ring, what + ", released", asked=False)
    expect("release", ring.release("t")["verdict"], "ok")
    expect("another spec", ring.acquire("t", OTHER)["verdict"], "ok")
    is_as_asked(ring, what + ", another", asked=False)


def told(ring):
    expect("the call of a slot that is gone", ring.bash("t", "true")["verdict"], "not_started")


def dies_idle(daemon, ring):
    kill_slots(daemon)
    told(ring)


def dies_idle_and_is_acquired(daemon, ring):
    """Without a slot it is what it was as well."""
    dies_idle(daemon, ring)
    expect("another spec", ring.acquire("t", OTHER)["verdict"], "invalid")
    expect("the same spec", ring.acquire("t", SPEC)["verdict"], "ok")


def dies_in_a_call(daemon, ring):
    running = ring.start("t", "bash", {"command": "sleep 1000"}, timeout=500)
    local.wait_until(lambda: ring.status()["calls_running"] == 1, "the call runs")
    kill_slots(daemon)
    expect("the call", running.wait()["verdict"], "unknown")


def dies_twice(daemon, ring):
    dies_idle(daemon, ring)
    is_as_asked(ring, "once")
    dies_in_a_call(daemon, ring)


def dies_before_a_release_that_keeps(daemon, ring):
    """There is nothing to keep, and the trajectory goes on."""
    kill_slots(daemon)
    expect("release", ring.release("t", reset=False)["verdict"], "not_started")


def goes_for_its_idle_time(daemon, ring):
    expect("idle time", ring.acquire("t", {"idle_ttl_s": 0.2})["verdict"], "ok")
    local.wait_until(lambda: ring.status()["slots"]["used"] == 0, "it is given back")
    # And has it no more, so that the rest of the test is not cut short.
    expect("idle time", ring.acquire("t", {"idle_ttl_s": 600})["verdict"], "ok")


def dies_after_a_restart(daemon, ring):
    kill_executor(daemon)
    # What reaches nobody is answered "not_started" until the next one is there.
    local.wait_until(lambda: ring.acquire("t")["verdict"] == "ok", "the next executor is there")
    is_as_asked(ring, "after a restart")
    dies_idle(daemon, ring)


CASES = (dies_idle, dies_idle_and_is_acquired, dies_in_a_call, dies_twice,
         dies_before_a_release_that_keeps, goes_for_its_idle_time, dies_after_a_restart)


def main():
    build = os.path.abspath(sys.argv[1])
    local.must_be_able(build)
    if "network" in local.ACCEPTED:
        local.skip("this machine cannot shut slots off")
    for case in CASES:
        with local.Local(build, "--network", "host", "--slots-max", "4") as daemon:
            with Ring(build, daemon.name) as ring:
                is_as_asked(ring, "without a spec", asked=False)
                expect("release", ring.release("t")["verdict"], "ok")
                expect("acquire", ring.acquire("t", SPEC)["verdict"], "ok")
                is_as_asked(ring, "at first")
                case(daemon, ring)
                survived(ring, case.__name__)
        print(f"{case.__name__}: as it should be")


if __name__ == "__main__":
    main()
