# SPDX-License-Identifier: Apache-2.0
"""
The file tools stay inside the workspace, whatever lies there and whoever moves it meanwhile; they
never wait on what is no file. The twins do by bash, which may, what the tools must not.
"""

import subprocess
import sys
import os

from lab import IS_ROOT, Lab, build_of, chosen, expect, run

DENIED = "Access denied: path outside workspace"


def is_denied(result):
    expect(result["verdict"] == "denied" and result["error"] == DENIED and not result["output"],
           f"not denied: {result}")


def links_out(lab):
    """A link that leads out is not followed, be it the last step or one before it."""
    slot = lab.slot()
    slot.bash("ln -s /etc/passwd a; ln -s /etc b; ln -s ../etc/passwd c; ln -s b d; ln -s . e")
    for path in ("a", "b/passwd", "c", "d/passwd", "e/e/b/passwd"):
        is_denied(slot.read(path))
        expect(slot.bash(f"grep -c ^root: {path}") == "1", f"twin: {path} leads to the file")
    slot.bash("ln -s /tmp f; ln -s /dev/shm/x g")
    for path in ("f/x", "g", "b/x"):
        is_denied(slot.write(path, "x"))
    expect(slot.bash("echo t > f/x; echo t > g; cat /tmp/x /dev/shm/x") == "t\nt",
           "twin: bash can write there")


def dots_out(lab):
    """No way up is taken, plain or behind a link."""
    slot = lab.slot()
    slot.bash("mkdir -p d; ln -s / r")
    for path in ("../etc/passwd", "d/../../etc/passwd", "/workspace/../etc/passwd",
                 "d/../../workspace/../etc/passwd", "/workspace/d/../../../../etc/passwd",
                 "r/workspace/../etc/passwd"):
        is_denied(slot.read(path))
        expect(slot.bash(f"grep -c ^root: {path}") == "1", f"twin: {path} leads to the file")
    is_denied(slot.write("../tmp/x", "x"))


def proc_out(lab):
    """Links of /proc, which lead where no path does, are not followed."""
    slot = lab.slot()
    slot.bash("ln -s /proc/self/root r; ln -s /proc/self/cwd c; ln -s /proc/self/fd fd; "
              "ln -s /dev/stdin i; ln -s /proc/1/root o; ln -s /proc/thread-self/root t")
    for path in ("r/etc/passwd", "c/etc/passwd", "fd/0", "i", "o/etc/passwd", "t/etc/passwd",
                 "/proc/self/root/etc/passwd", "/proc/self/fd/0", "r/workspace/x"):
        is_denied(slot.read(path))
        is_denied(slot.write(path, "x"))
    expect(slot.bash("grep -c ^root: r/etc/passwd") == "1", "twin: bash goes that way")


def swapped_parents(lab):
    """A folder that is exchanged for a link out of the workspace, again and again, while in use."""
    slot = lab.slot()
    slot.install_probe()
    slot.bash("mkdir d; echo inside > d/passwd; ln -s /etc l")
    slot.keep("./probe swap 'd l' > said & while ! grep -q ok said; do :; done")
    seen = {"inside": 0, "denied": 0}
    for i in range(400):
        result = slot.read("d/passwd")
        if result["verdict"] == "ok":
            expect(result["output"] == "inside\n", f"read from outside: {result['output'][:80]!r}")
            seen["inside"] += 1
        else:
            expect(result["verdict"] in ("denied", "failed"), f"{result}")
            seen["denied"] += result["verdict"] == "denied"
        result = slot.write(f"d/toolring-test-{i}", "x")
        expect(result["verdict"] in ("ok", "denied", "failed"), f"{result}")
    expect(seen["inside"] and seen["denied"], f"the race went on: {seen}")
    twin = slot.bash("for i in {1..3000}; do read -r x < d/passwd && echo \"${x%%:*}\"; done 2>&1 |"
                     " sort -u")
    expect("inside" in twin and "root" in twin, f"twin: a shell sees both: {twin!r}")
    expect(slot.bash("ls /etc | grep toolring-test-") == "", "written outside")
    slot.keep("for p in /proc/[0-9]*; do grep -q probe $p/comm && kill -9 ${p#/proc/}; done; true")
    expect(int(slot.bash("ls d/ l/ | grep -c toolring-test-")) > 0, "twin: written inside")


def swapped_files(lab):
    """A file that is exchanged for a FIFO or a link to a device: never read, nor waited on."""
    slot = lab.slot()
    slot.install_probe()
    slot.bash("echo inside > f; mkfifo p; ln -s /dev/zero z; echo inside > g")
    slot.keep("./probe swap 'f p' > a & ./probe swap 'g z' > b & "
              "while ! grep -q ok a || ! grep -q ok b; do :; done")
    seen = set()
    for _ in range(300):
        for path in ("f", "g"):
            result = slot.read(path)
            expect(result["verdict"] in ("ok", "failed", "denied"), f"{result}")
            expect(result["output"] in ("", "inside\n"), f"read something else: {result}")
            seen.add((path, result["verdict"]))
            result = slot.write(path, "inside\n")
            expect(result["verdict"] in ("ok", "failed", "denied"), f"{result}")
    expect(len(seen) >= 4, f"the race went on: {seen}")


def fifos(lab):
    """A FIFO is no file: not opened, though somebody writes to it, and not replaced."""
    slot = lab.slot()
    slot.bash("mkfifo p")
    slot.keep("(echo secret > p) & echo on")
    result = slot.read("p")
    expect(result["verdict"] == "failed" and result["error"] == "Not a file: p", f"{result}")
    result = slot.write("p", "x")
    expect(result["verdict"] == "failed", f"{result}")
    expect(slot.bash("test -p p && cat p") == "secret", "twin: what was written there comes out")


def devices(lab):
    """None can be made, and those there are cannot be reached through a path."""
    slot = lab.slot()
    slot.bash("ln -s /dev/zero z; ln -s /dev/full f; ln -s /dev/tty t")
    for path in ("z", "f", "t", "/dev/zero"):
        is_denied(slot.read(path))
        is_denied(slot.write(path, "x"))
    expect(slot.bash("head -c 4 z | wc -c") == "4", "twin: bash reads the device")
    expect(slot.probe("mknod") == "EPERM", "a device was made")
    if IS_ROOT:
        expect(lab.outside("mknod", os.path.join(lab.daemon.folder, "node")) == "ok",
               "twin: root outside can")


def hard_links(lab):
    """None to what lies outside; one inside is a file like any other."""
    slot = lab.slot()
    for target in ("/etc/passwd", "/bin/sh", "/proc/self/status", "/dev/null"):
        said = slot.bash(f"ln -L {target} x 2>&1 || echo refused; ls x 2>/dev/null")
        expect(said.endswith("refused"), f"{target}: {said}")
    expect(slot.bash("echo 1 > f; ln f g; stat -c %h g") == "2", "twin: one inside can be made")
    expect(slot.write("g", "2")["verdict"] == "ok" and slot.read("f")["output"] == "2",
           "the tools take it for a file")


def odd_names(lab):
    """Names that look like options, or that no terminal shows, are only names; NUL is none."""
    slot = lab.slot()
    for name in ("-rf", "--help", "a\nb", "a\x1b[2Jb", "~", "$HOME", "*", "a b", "é", ".hidden"):
        expect(slot.write(name, "x")["verdict"] == "ok" and slot.read(name)["output"] == "x", name)
    result = slot.write("a\0b", "x")
    expect(result["verdict"] == "invalid", f"NUL: {result}")
    # One name takes two lines.
    expect(slot.bash("ls -A | wc -l") == "11", "each was made, and nothing else")


def modes_bind_the_tools(lab):
    """They act as the guest: what its modes forbid is forbidden to them."""
    slot = lab.slot()
    slot.bash("echo x > f; chmod 0 f; mkdir d; echo y > d/f; chmod 0 d")
    for path in ("f", "d/f"):
        expect(slot.read(path)["verdict"] == "failed", f"{path} was read")
        expect(slot.write(path, "z")["verdict"] == "failed", f"{path} was written")
    slot.bash("chmod 700 d; chmod 600 f")
    expect(slot.read("f")["output"] == "x\n" and slot.read("d/f")["output"] == "y\n",
           "twin: with other modes they are")


def system_is_read_only(lab):
    """No file of the host that shows can be changed, and no folder of the root written to."""
    slot = lab.slot()
    said = slot.bash("for d in / /usr /usr/bin /etc /bin /lib /var /run /home /root /dev /proc; do "
                     "touch $d/toolring-test 2>/dev/null && echo $d; done; "
                     "for f in /etc/passwd /bin/sh /usr/bin/env; do "
                     "(: >> $f) 2>/dev/null && echo $f; done; true")
    expect(said == "", f"can be written: {said}")
    expect(slot.bash("touch /workspace/x /tmp/x /dev/shm/x && echo on") == "on", "twin: these can")


def only_the_listed_shows(lab):
    """Of the host's root only the listed folders show, and root's own files cannot be read."""
    slot = lab.slot()
    shown = set(slot.bash("ls -A /").split())
    expect(shown <= {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root",
                     "run", "sbin", "tmp", "usr", "var", "workspace"}, f"shown: {shown}")
    said = slot.bash("ls -A /home /root /run /var 2>/dev/null; ls -A /sys /boot /mnt /opt /srv "
                     "/media 2>/dev/null; true")
    expect(set(said.split()) <= {"/home:", "/run:", "/var:", "run", "tmp", "/root:"}, f"shown: "
                                                                                      f"{said}")
    for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key"):
        said = slot.bash(f"cat {path} 2>/dev/null | head -c 20")
        expect(said == "", f"{path}: {said}")
    expect(slot.bash("grep -c ^root: /etc/passwd") == "1", "twin: other files of /etc can be")
    if IS_ROOT:
        with open("/etc/shadow", "rb") as f:
            expect(f.read(), "twin: it is there")


def setuid_gives_nothing(lab):
    """su, mount and their like, and a file that the guest makes setuid, run as the guest."""
    slot = lab.slot()
    said = slot.bash("cp /usr/bin/id me && chmod 6777 me && ./me -u && ./me -g")
    expect(said == "1000\n1000", f"a setuid file of its own: {said}")
    said = slot.bash("for p in su mount umount passwd newgrp chsh sudo pkexec; do f=$(command -v "
                     "$p) && $f --version </dev/null >/dev/null 2>&1; done; "
                     "su -c 'id -u' </dev/null 2>/dev/null; echo; "
                     "mount -t tmpfs none /tmp 2>/dev/null && echo mounted; grep NoNewPrivs "
                     "/proc/self/status")
    expect(said.split() == ["NoNewPrivs:", "1"], f"{said!r}")
    if IS_ROOT:
        said = subprocess.run(["su", "-c", "id -u"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False).stdout
        expect(said.strip() == "0", "twin: su works outside")


def handles(lab):
    """No file is opened by handle, past its folders."""
    slot = lab.slot()
    expect(slot.probe("handle") in ("EPERM", "ENOSYS", "EOPNOTSUPP"), "a handle was opened")
    if IS_ROOT:
        expect(lab.outside("handle") in ("ok", "EOPNOTSUPP"), "twin: outside it can be")


TESTS = (links_out, dots_out, proc_out, swapped_parents, swapped_files, fifos, devices, hard_links,
         odd_names, modes_bind_the_tools, system_is_read_only, only_the_listed_shows,
         setuid_gives_nothing, handles)

if __name__ == "__main__":
    build = build_of(sys.argv)
    with Lab(build, "--slots-max", "40") as the_lab:
        FAILED = run(chosen(TESTS, sys.argv), the_lab)
    sys.exit(FAILED > 0)
