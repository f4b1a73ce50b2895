# SPDX-License-Identifier: Apache-2.0
"""
With the network off a slot reaches nothing: not the host's loopback, not its sockets of any sort,
not a sibling. The twin of most is a toolringd that was told --network host.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile

from lab import Lab, build_of, chosen, expect, run

ABSTRACT = f"toolring-test-{os.getpid()}"


@contextlib.contextmanager
def listener(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind(address)
        s.listen(8)
        yield s


def connects(slot, address, port):
    return slot.bash(f"(exec 3<>/dev/tcp/{address}/{port}) 2>/dev/null && echo connected; true",
                     20) == "connected"


def host_loopback(lab, twin):
    """A listener on the host's loopback cannot be reached."""
    slot, open_slot = lab.slot(), twin.slot()
    with listener(socket.AF_INET, ("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        expect(not connects(slot, "127.0.0.1", port), "the host's loopback was reached")
        expect(connects(open_slot, "127.0.0.1", port), "twin: with the network on it is")
        closed = twin.slot({"network": "none"})
        expect(not connects(closed, "127.0.0.1", port), "a slot that gave its network up reached "
                                                        "it")
    try:
        with listener(socket.AF_INET6, ("::1", 0)) as s:
            port = s.getsockname()[1]
            expect(not connects(slot, "::1", port), "the host's IPv6 loopback was reached")
            expect(connects(open_slot, "::1", port), "twin: with the network on it is")
    except OSError as e:
        print(f"         no IPv6 here: {e}")


def own_loopback(lab, twin):
    """Its own loopback works, and is no sibling's."""
    a, b = lab.slot(), lab.slot()
    serve = ("use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => q(127.0.0.1), "
             "LocalPort => 8123, Listen => 1) or die; open my $f, q(>), q(up); close $f; "
             "while (my $c = $s->accept) { print $c qq(hello\\n); close $c }")
    a.keep(f"perl -e '{serve}' & while ! test -e up; do :; done")
    expect(a.bash("cat < /dev/tcp/127.0.0.1/8123") == "hello", "twin: its own it reaches")
    expect(not connects(b, "127.0.0.1", 8123), "a sibling's loopback was reached")
    expect(a.bash("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '") == "lo", "there is lo "
                                                                                 "alone")


def other_addresses(lab, twin):
    """No address beyond is reachable, the metadata service's among them; nor is a name."""
    slot = lab.slot()
    for address in ("169.254.169.254", "10.0.0.1", "1.1.1.1", "255.255.255.255"):
        expect(not connects(slot, address, 80), f"{address} was reached")
    said = slot.bash("tail -n +2 /proc/net/route | wc -l; grep -vc ' lo$' /proc/net/ipv6_route; "
                     "true")
    expect(said.split()[0] == "0", f"routes: {said}")
    said = slot.bash("getent hosts example.org && echo found; true", 30)
    expect("found" not in said, f"a name was found: {said}")
    with open("/proc/net/route", encoding="utf-8") as f:
        expect(twin.slot().bash("cat /proc/net/route | wc -l") == str(len(f.readlines())),
               "twin: with the network on the host's routes show")


def abstract_sockets(lab, twin):
    """The host's abstract sockets are not there, nor are a sibling's."""
    a, b, open_slot = lab.slot(), lab.slot(), twin.slot()
    with listener(socket.AF_UNIX, "\0" + ABSTRACT):
        expect(a.probe("abstract_connect", ABSTRACT) == "ECONNREFUSED", "the host's was reached")
        said = open_slot.probe("abstract_connect", ABSTRACT)
        # With the network on it depends on whether this kernel's Landlock has scopes.
        expect(said in ("EPERM", "ok"), f"with the network on: {said}")
        expect(lab.outside("abstract_connect", ABSTRACT) == "ok", "twin: outside it can be")
    a.keep("./probe abstract_listen x > up & while ! grep -q ok up; do :; done")
    said = a.ring.execute(a.name, ["./probe", "abstract_connect", "x"])["stdout"]
    expect(said == b"ok\n", f"twin: its own it reaches: {said}")
    expect(b.probe("abstract_connect", "x") == "ECONNREFUSED", "a sibling's was reached")
    expect("@" not in b.bash("cat /proc/net/unix"), "abstract names show")


def path_sockets(lab, twin):
    """The host's sockets lie in folders that do not show, toolringd's own among them."""
    slot, open_slot = lab.slot(), twin.slot()
    with tempfile.TemporaryDirectory(prefix="toolring-test-") as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "s")
        with listener(socket.AF_UNIX, path):
            os.chmod(path, 0o666)
            expect(lab.outside("path_connect", path) == "ok", "twin: outside it can be reached")
            for s in (slot, open_slot):
                expect(s.probe("path_connect", path) == "ENOENT", "a socket of the host was "
                                                                  "reached")
    for daemon in (lab.daemon, twin.daemon):
        expect(slot.probe("path_connect", daemon.name) == "ENOENT", "toolringd's socket is there")
        expect(open_slot.probe("path_connect", daemon.name) == "ENOENT", "toolringd's socket is "
                                                                         "there")
    expect(lab.outside("path_connect", lab.daemon.name) == "ok", "twin: outside it is")
    said = slot.bash("find / -xdev -type s 2>/dev/null; ls -A /run /var/run/ 2>/dev/null | grep "
                     "-v :; true")
    expect(said == "", f"sockets show: {said}")


def siblings_files(lab, twin):
    """A socket in a workspace, /tmp or /dev/shm is that slot's alone."""
    a, b = lab.slot(), lab.slot()
    bind = ("use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un($ARGV[0])) "
            "or die; listen(S, 1); open F, q(>), qq(up); sleep 999")
    a.keep(f"perl -e '{bind}' /workspace/s & while ! test -e up; do :; done")
    expect(a.probe("path_connect", "/workspace/s") == "ok", "twin: its own it reaches")
    expect(b.probe("path_connect", "/workspace/s") == "ENOENT", "a sibling's was reached")


def what_results_say(lab, twin):
    """Each result says whether the network was off."""
    expect(lab.slot().result("true")["metadata"]["network_isolated"] is True, "off")
    expect(twin.slot().result("true")["metadata"]["network_isolated"] is False, "on")
    expect(twin.slot({"network": "none"}).result("true")["metadata"]["network_isolated"] is True,
           "given up")
    made = lab.ring.acquire("wants-more", {"network": "host"})
    expect(made["verdict"] in ("denied", "invalid"), f"more than the operator allows: {made}")


def interfaces_cannot_be_changed(lab, twin):
    """Nobody in a slot can configure its network, with it on or off."""
    for slot in (lab.slot(), twin.slot()):
        said = slot.bash("ip link add d0 type dummy 2>/dev/null && echo made; "
                         "ip link set lo down 2>/dev/null && echo down; "
                         "ip addr add 10.9.9.9/32 dev lo 2>/dev/null && echo added; true")
        expect(said == "", f"{said}")
    done = subprocess.run(["unshare", "-rn", "sh", "-c", "command -v ip >/dev/null || exit 3; "
                           "ip link set lo up"], check=False)
    expect(done.returncode in (0, 3), "twin: with the capabilities it can be")


TESTS = (host_loopback, own_loopback, other_addresses, abstract_sockets, path_sockets,
         siblings_files, what_results_say, interfaces_cannot_be_changed)


def bound(test, twin):
    def call(lab):
        return test(lab, twin)
    call.__name__ = test.__name__
    return call


if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "40") as the_lab, \
            Lab(build, "--slots-max", "40", "--network", "host") as the_twin:
        FAILED = run([bound(t, the_twin) for t in chosen(TESTS, sys.argv)], the_lab)
    sys.exit(FAILED > 0)
