# SPDX-License-Identifier: Apache-2.0
"""
Artifacts through the ring, from the client to the slot and back: what is put there comes out again,
as bytes, text, list and archive; `anywhere` reaches what the guest reaches, and no more; a job that
takes too long, is cancelled or is killed costs its own call and nothing that lives in the shell room;
bombs, full disks and trees that change are answered; other slots go on meanwhile; and nothing stays:
no process, no file in /tmp, no memory.

Usage: artifacts.py BUILD
"""

import base64
import io
import os
import signal
import sys
import tarfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "support"))

import local  # noqa: E402
from ring import Ring  # noqa: E402

MIB = 1 << 20
# Of zeros, which no archive is through with soon: what is too large comes to light only at its end.
ENDLESS = "truncate -s 8T endless"
PATIENCE_S = 500


def expect(what, value, wanted):
    if value != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, came {value!r}")


def expect_verdict(what, result, verdict, error=""):
    if result["verdict"] != verdict or error not in result["error"]:
        raise SystemExit(f"{what}: expected {verdict} ({error}), came {result['verdict']}: "
                         f"{result['error']}")
    return result


def ok(what, result):
    return expect_verdict(what, result, "ok")


def well(ring, trajectory, command, output=""):
    """A command that must answer this, and does if nothing of the slot was lost."""
    result = ok(command, ring.bash(trajectory, command, 300))
    expect(command, result["output"], output)


def kept(ring, trajectory, command):
    """The output of a command in the shell room."""
    result = ok(command, ring.call(trajectory, "exec", {"command": command, "keep": True}, 300))
    expect(f"{command}: what was kept before was lost",
           result["metadata"].get("kept_lost", False), False)
    return result["stdout"].decode()


def named(daemon, name):
    """The processes of that name, in whichever slot."""
    found = set()
    for pid in local.below(daemon.process.pid):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as f:
                if f.read() == name + "\n":
                    found.add(pid)
        except OSError:
            continue
    return found


def jobs(daemon):
    """Those that do artifacts' work."""
    return named(daemon, "toolring-job")


def members(content):
    """Name and content of each member of an archive; None for a folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {m.name.rstrip("/"): archive.extractfile(m).read() if m.isfile() else None
                for m in archive}


def archive_of(names, mode="w"):
    """An archive of files: (name, content), a folder where the content is None."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in names:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
                member.mode = 0o755
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content or b""))
    return out.getvalue()


# ---- what is asked for every day ----------------------------------------------------------------


def everyday(daemon, ring):
    blob = bytes(range(256)) * 2000
    put = ok("write", ring.artifact_write("a", "deep/down/blob", blob))
    expect("bytes written", put["bytes"], len(blob))
    ok("write of text", ring.artifact_write("a", "deep/text", "häß\n"))
    ok("write over more", ring.artifact_write("a", "short", b"x" * 100))
    ok("write over more", ring.artifact_write("a", "short", b"y"))
    well(ring, "a", "cat short deep/text; wc -c < deep/down/blob", f"yhäß\n{len(blob)}")
    got = ok("read", ring.artifact_read("a", "deep/down/blob", encoding="bytes",
                                        include_sha256=True))
    expect("content", got["content"], blob)
    well(ring, "a", "sha256sum < deep/down/blob", got["sha256"] + "  -")
    got = ok("read", ring.artifact_read("a", "deep/down/blob", encoding="base64"))
    expect("content", base64.b64decode(got["content"], validate=True), blob)
    got = ok("read", ring.artifact_read("a", "/workspace/deep/text"))
    expect("content", (got["content"], got["truncated"]), ("häß\n", False))
    got = ok("read", ring.artifact_read("a", "deep/down/blob", encoding="bytes", max_bytes=1000))
    expect("cut content", (got["content"], got["truncated"], got["file_size"]),
           (blob[:1000], True, len(blob)))
    listed = ok("list", ring.artifact_list("a", ".", recursive=True))
    expect("list", {e["path"]: e.get("size") for e in listed["entries"]},
           {"deep": None, "deep/down": None, "deep/down/blob": len(blob), "deep/text": 6,
            "short": 1})
    for form in ("tar.gz", "tgz", "tar.zst", "tar"):
        packed = ok(form, ring.artifact_archive("a", "deep", format=form, encoding="bytes"))
        text = ok(form, ring.artifact_archive("a", "deep", format=form, encoding="base64"))
        expect(form, base64.b64decode(text["content"], validate=True), packed["content"])
        expect(form, (packed["bytes"], text["bytes"]), (len(packed["content"]),) * 2)
        if form != "tar.zst":
            expect(form, members(packed["content"]),
                   {"deep/down": None, "deep/down/blob": blob, "deep/text": "häß\n".encode()})
        folder = "out-" + form
        ok(form, ring.artifact_unpack("a", folder, packed["content"]))
        well(ring, "a", f"diff -r deep {folder}/deep && rm -r {folder}")
    for call in (ring.artifact_read, ring.artifact_list, ring.artifact_archive):
        result = expect_verdict("nothing there", call("a", "none"), "failed", "Not found: none")
        expect("not found", result["metadata"].get("not_found"), True)
        expect_verdict("outside", call("a", "/etc/passwd"), "denied", "outside workspace")
    expect_verdict("outside", ring.artifact_write("a", "/tmp/x", "x"), "denied")
    expect_verdict("a folder", ring.artifact_read("a", "deep"), "invalid", "Not a file")
    expect_verdict("no archive", ring.artifact_unpack("a", "u", b"no archive at all"), "invalid")
    clean(daemon, ring, "a")


def clean(daemon, ring, trajectory):
    """Nothing of the work before is there any more."""
    expect("processes", local.living(jobs(daemon)), [])
    well(ring, trajectory, "ls -A /tmp /dev/shm", "/dev/shm:\n\n/tmp:")
    well(ring, trajectory, "cat /proc/[0-9]*/comm | grep -c toolring-job || true", "0")


# ---- anywhere -------------------------------------------------------------------------------------


def anywhere(daemon, ring):
    kept(ring, "a", "echo kept > /tmp/f; sleep 1000 > /dev/null 2>&1 & echo $! > /tmp/pid")
    got = ok("read", ring.artifact_read("a", "/tmp/f", anywhere=True))
    expect("content", got["content"], "kept\n")
    expect_verdict("the same without anywhere", ring.artifact_read("a", "/tmp/f"), "denied")
    listed = ok("list", ring.artifact_list("a", "/tmp", anywhere=True))
    expect("list", [e["path"] for e in listed["entries"]], ["/tmp/f", "/tmp/pid"])
    ok("write", ring.artifact_write("a", "/tmp/new/g", b"put there", anywhere=True))
    expect("what was put there", kept(ring, "a", "cat /tmp/new/g"), "put there")
    packed = ok("archive", ring.artifact_archive("a", "/tmp/new", format="tar", encoding="bytes",
                                                 anywhere=True))
    ok("unpack", ring.artifact_unpack("a", "/tmp/again", packed["content"], anywhere=True))
    expect("what was unpacked", kept(ring, "a", "find /tmp/again -type f -exec cat {} +"),
           "put there")
    # The rooms' /tmp are two, the workspace is one.
    well(ring, "a", "ls -A /tmp; echo one > f")
    got = ok("read", ring.artifact_read("a", "/workspace/f", anywhere=True))
    expect("content", got["content"], "one\n")
    # As the guest reads: by its rights, and what the room has.
    got = ok("read", ring.artifact_read("a", "/etc/passwd", anywhere=True))
    well(ring, "a", "cat /etc/passwd", got["content"].rstrip("\n"))
    for path in ("/etc/shadow", "/etc/gshadow"):
        expect(f"test of {path}", kept(ring, "a", f"test ! -r {path}; echo $?"), "0\n")
        result = ring.artifact_read("a", path, anywhere=True)
        if result["verdict"] not in ("denied", "failed") or "content" in result:
            raise SystemExit(f"{path}: {result}")
    kept(ring, "a", "echo secret > /tmp/closed; chmod 0 /tmp/closed")
    expect_verdict("closed to its owner", ring.artifact_read("a", "/tmp/closed", anywhere=True),
                   "denied", "Permission denied: /tmp/closed")
    for path in ("/etc/new", "/usr/bin/true"):
        result = ring.artifact_write("a", path, b"x", anywhere=True)
        if result["verdict"] == "ok":
            raise SystemExit(f"{path} was written")
    # Nobody there was disturbed.
    expect("who was kept", kept(ring, "a", "kill -0 $(cat /tmp/pid) && cat /tmp/f"), "kept\n")
    expect("processes", local.living(jobs(daemon)), [])


# ---- too long ---------------------------------------------------------------------------------------


def endless(ring, trajectory, timeout, **options):
    """An archive that will not be through."""
    return ring.submit("artifact_archive", dict(
        options, trajectory_id=trajectory, path="/workspace/endless", format="tar.zst",
        encoding="bytes", timeout_s=timeout))


def ended(daemon, result, verdict):
    expect_verdict("an endless archive", result, verdict)
    if "content" in result or result["output"]:
        raise SystemExit(f"it brought something: {result}")
    expect("left", result["metadata"]["processes_left"], 0)
    expect("processes", local.living(jobs(daemon)), [])


def too_long(daemon, ring):
    well(ring, "a", ENDLESS)
    kept(ring, "a", "sleep 1000 > /dev/null 2>&1 & echo $! > /tmp/pid")
    for options in ({}, {"anywhere": True}):
        ended(daemon, endless(ring, "a", 1, **options).wait(), "timeout")
        running = endless(ring, "a", PATIENCE_S, **options)
        local.wait_until(lambda: jobs(daemon), "it runs")
        ring.cancel(running)
        ended(daemon, running.wait(), "cancelled")
        expect("who was kept", kept(ring, "a", "kill -0 $(cat /tmp/pid) && echo lives"), "lives\n")
    clean(daemon, ring, "a")


def others_go_on(daemon, ring):
    well(ring, "a", ENDLESS)
    running = endless(ring, "a", PATIENCE_S)
    local.wait_until(lambda: jobs(daemon), "it runs")
    ok("write", ring.artifact_write("b", "f", b"b"))
    for i in range(50):
        well(ring, "b", f"echo {i}", str(i))
        expect("content", ok("read", ring.artifact_read("b", "f"))["content"], "b")
        expect("entries", len(ok("list", ring.artifact_list("b", "."))["entries"]), 1)
    expect("the archive is done", running.is_there(), False)
    ring.cancel(running)
    ended(daemon, running.wait(), "cancelled")
    # A slot that is given back takes what runs there along.
    running = endless(ring, "a", PATIENCE_S, anywhere=True)
    local.wait_until(lambda: jobs(daemon), "it runs")
    with Ring(daemon.build, daemon.name) as other:
        other.bash("c", ENDLESS)
        endless(other, "c", PATIENCE_S)
        local.wait_until(lambda: len(jobs(daemon)) == 2, "both run")
    local.wait_until(lambda: len(jobs(daemon)) == 1, "who has left leaves nothing running")
    ring.cancel(running)
    ended(daemon, running.wait(), "cancelled")


# ---- guests against jobs ----------------------------------------------------------------------------

# Finds the job, looks into it if it can, and kills it.
ATTACK = """
while :; do
	for p in /proc/[0-9]*; do
		read -r name < $p/comm || continue
		[ "$name" = toolring-job ] || continue
		(cat $p/maps || ls $p/fd || cat $p/environ) > /tmp/found
		kill -9 ${p#/proc/}
		echo done >> /tmp/done
		exit
	done
done 2> /dev/null
"""


def attacked(daemon, ring):
    well(ring, "a", ENDLESS)
    kept(ring, "a", "sleep 1000 > /dev/null 2>&1 & echo $! > /tmp/pid")
    expect("looking into another's process", kept(
        ring, "a", "cat /proc/$(cat /tmp/pid)/maps > /tmp/maps && test -s /tmp/maps && echo seen"),
        "seen\n")
    kept(ring, "a", f"({ATTACK}) > /dev/null 2>&1 &")
    result = endless(ring, "a", PATIENCE_S, anywhere=True).wait()
    expect_verdict("a job that guests have killed", result, "failed", "died")
    expect("what was seen of the job", kept(ring, "a", "cat /tmp/found"), "")
    expect("who was kept", kept(ring, "a", "kill -0 $(cat /tmp/pid) && echo lives"), "lives\n")
    ok("the next one", ring.artifact_list("a", "/tmp", anywhere=True))


def room_dies(daemon, ring):
    well(ring, "a", ENDLESS)
    for options in ({}, {"anywhere": True}):
        running = endless(ring, "a", PATIENCE_S, **options)
        local.wait_until(lambda: jobs(daemon), "it runs")
        for pid in named(daemon, "toolring-room"):
            os.kill(pid, signal.SIGKILL)
        result = expect_verdict("a job whose room died", running.wait(), "unknown")
        expect("what it says was lost", result["metadata"].get("kept_lost", False), bool(options))
        ok("the next one", ring.artifact_list("a", "/workspace", **options))
    expect("processes", local.living(jobs(daemon)), [])


# ---- much --------------------------------------------------------------------------------------------


def much(daemon, ring):
    well(ring, "a", "mkdir many && cd many && seq 20000 | xargs touch")
    listed = ok("list", ring.artifact_list("a", "many"))
    expect("list", (len(listed["entries"]), listed["truncated"]), (5000, True))
    first = [e["path"] for e in listed["entries"]]
    expect("its order", first, sorted(first))
    listed = ok("list", ring.artifact_list("a", "/workspace/many", anywhere=True,
                                           max_entries=30000))
    expect("list", (len({e["path"] for e in listed["entries"]}), listed["truncated"]),
           (20000, False))
    packed = ok("archive", ring.artifact_archive("a", "many", encoding="bytes", max_entries=100))
    expect("archive", (packed["entry_count"], packed["truncated"],
                       len([m for m in members(packed["content"]).values() if m is not None])),
           (100, True, 100))
    # Content that no compression helps with, and no cap but the harness's lets through.
    well(ring, "a", "head -c 40M /dev/urandom > noise")
    expect_verdict("archive", ring.artifact_archive("a", "noise", format="tar"), "limit",
                   "too large")
    for options in ({}, {"max_bytes": 64 * MIB}):
        got = ok("read", ring.artifact_read("a", "noise", encoding="bytes", **options))
        expect("read", (len(got["content"]), got["truncated"], got["file_size"]),
               (5000000, True, 40 * MIB))
    whole = ok("read", ring.artifact_read("a", "/workspace/noise", encoding="base64",
                                          include_sha256=True, anywhere=True,
                                          max_bytes=64 * MIB))
    well(ring, "a", "sha256sum < noise", whole["sha256"] + "  -")
    content = base64.b64decode(whole["content"], validate=True)
    packed = ok("archive", ring.artifact_archive("a", "/workspace/noise", format="tar.gz",
                                                 anywhere=True, max_bytes=64 * MIB))
    expect("archive", members(base64.b64decode(packed["content"])), {"workspace/noise": content})
    half = content[:12 * MIB]
    ok("write", ring.artifact_write("a", "/tmp/half", half, anywhere=True))
    ok("unpack", ring.artifact_unpack("a", "/tmp", archive_of([("same", half)]), anywhere=True))
    expect("what was put there", kept(
        ring, "a", "cmp /tmp/half /tmp/same && cmp -n 12M /tmp/half noise && echo same"), "same\n")
    memory(daemon)
    clean(daemon, ring, "a")


def raised(daemon, ring):
    """What is too large for an init is a job's as well where it is no harness that asks."""
    content = os.urandom(12 * MIB)
    ok("write", ring.artifact_write("a", "noise", content))
    for encoding in ("bytes", "base64"):
        got = ok("read", ring.artifact_read("a", "noise", encoding=encoding))["content"]
        expect("content", got if encoding == "bytes" else base64.b64decode(got), content)
    ok("write", ring.artifact_write("a", "small", b"small"))
    expect("content", ok("read", ring.artifact_read("a", "small"))["content"], "small")
    expect_verdict("nothing there", ring.artifact_read("a", "none"), "failed", "Not found")
    memory(daemon)
    clean(daemon, ring, "a")


def memory(daemon):
    """The inits of slots have not taken the memory of what went by them."""
    maker = daemon.children()[1]
    for pid in [p for p in local.processes() if local.parent_of(p) == maker]:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            status = dict(line.split(":", 1) for line in f)
        now, most = (int(status[key].split()[0]) >> 10 for key in ("VmRSS", "VmHWM"))
        # What it is sent and sends it maps for a moment; reading an artifact itself it may take more.
        if now > 8:
            raise SystemExit(f"a slot's init holds {now} MiB, and held {most}")


# ---- harm --------------------------------------------------------------------------------------------


def deflated_zeros(n):
    """A gzip of n zero bytes, and a tar's head before them, made without memory for them."""
    member = tarfile.TarInfo("zeros")
    member.size = n
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [packer.compress(member.tobuf())]
    pieces += [packer.compress(bytes(MIB)) for _ in range(n // MIB)]
    return b"".join(pieces) + packer.flush()


def bombs(daemon, ring):
    expect_verdict("a gzip bomb", ring.artifact_unpack("a", "bomb", deflated_zeros(512 * MIB)),
                   "limit")
    expect_verdict("many entries", ring.artifact_unpack(
        "a", "many", archive_of((f"f{i}", b"") for i in range(6000))), "limit")
    for name in ("../out", "/tmp/out", "a/../../out"):
        for options in ({"path": "u"}, {"path": "/tmp/u", "anywhere": True}):
            expect_verdict(name, ring.artifact("unpack", "a", dict(
                options, archive=archive_of([(name, b"x")]))), "denied", name)
    expect("files outside", kept(ring, "a", "ls -d /tmp/out out || true"), "")
    # The twin: the same without what is wrong with it.
    ok("an archive", ring.artifact_unpack("a", "u", archive_of([("a", None), ("a/out", b"x")])))
    well(ring, "a", "cat u/a/out", "x")
    clean(daemon, ring, "a")


def full_disk(daemon, ring):
    ring.acquire("full", {"disk": 8 * MIB})
    size = 12 * MIB
    packed = archive_of([("noise", os.urandom(size))])
    expect_verdict("unpacking on a full disk",
                   ring.artifact_unpack("full", "/workspace/u", packed, anywhere=True), "limit",
                   "No space left")
    well(ring, "full", "rm -rf u; echo on > f; cat f", "on")
    expect_verdict("writing on a full disk", ring.artifact_write(
        "full", "/workspace/f", bytes(size), anywhere=True), "limit", "No space left")
    well(ring, "full", "cat f", "on")
    ring.acquire("wide", {"disk": 64 * MIB})
    ok("unpacking where there is space",
       ring.artifact_unpack("wide", "/workspace/u", packed, anywhere=True))
    clean(daemon, ring, "full")


CHANGE = """
while [ ! -e /tmp/stop ]; do
	echo >> /tmp/rounds
	mkdir -p t/a/b t/c
	for i in 1 2 3 4 5 6 7 8; do echo $i > t/a/b/$i; head -c ${i}00000 /dev/zero > t/c/$i; done
	mv t/a/b t/c/moved; ln -s /etc t/a/b; rm t/a/b; rm -rf t/c; : > t/c; rm t/c
	rm -rf t/a; ln -s c t/a; rm t/a
done
"""


def changing(daemon, ring):
    kept(ring, "a", f"mkdir -p t; ({CHANGE}) > /dev/null 2>&1 & ({CHANGE}) > /dev/null 2>&1 &")
    n_ok = 0
    seen = set()
    for _ in range(100):
        listed = ok("list", ring.artifact_list("a", "t", recursive=True))
        for entry in listed["entries"]:
            if not entry["path"].startswith("t/"):
                raise SystemExit(f"an entry of somewhere else: {entry}")
        seen.add(tuple(e["path"] for e in listed["entries"]))
        packed = ring.artifact_archive("a", "t", format="tar", encoding="bytes")
        if packed["verdict"] == "ok":
            n_ok += 1
            for name in members(packed["content"]):
                if not name.startswith("t"):
                    raise SystemExit(f"a member of somewhere else: {name}")
        elif packed["verdict"] not in ("failed", "denied", "invalid"):
            raise SystemExit(f"archive: {packed}")
        got = ring.artifact_read("a", "t/c/8", encoding="bytes")
        if got["verdict"] == "ok":
            expect("content", got["content"].strip(b"\0"), b"")
    rounds = kept(ring, "a", "touch /tmp/stop; wc -l < /tmp/rounds").strip()
    print(f"changing: {n_ok} of 100 archives could be made, of a tree seen in {len(seen)} "
          f"ways, while it changed {rounds} times")
    clean(daemon, ring, "a")


# Holds it until it is ended.
TAKE_MEMORY = """
(head -c 400M /dev/zero; exec sleep 1000) | tail -n 1 > /dev/null 2>&1 &
until read -r _ resident _ < /proc/$!/statm; [ $((resident * 4)) -gt 400000 ]; do :; done
"""


def out_of_memory(daemon, ring):
    if "memory" in local.ACCEPTED:
        print("out_of_memory: left out, as slots have no caps of memory here")
        return
    for name, memory_bytes, cause in (("held", 64 * MIB, TAKE_MEMORY), ("small", 8 * MIB, ":")):
        needs_more(ring, name, memory_bytes, cause)


def needs_more(ring, name, memory_bytes, cause):
    ring.acquire(name, {"memory": memory_bytes, "disk": 62 * MIB})
    well(ring, name, "head -c 60M /dev/zero | tr '\\0' '\\377' > ff; echo on > f")
    kept(ring, name, cause)
    # Bytes that are no text come to seven times as many: themselves, the text, and the answer.
    result = ring.artifact_read(name, "/workspace/ff", anywhere=True, max_bytes=64 * MIB)
    print(f"out_of_memory, {name}: {result['verdict']}: {result['error']}")
    if result["verdict"] not in ("ok", "oom"):
        raise SystemExit("neither who held it was ended, nor the job")
    well(ring, name, "cat f", "on")
    got = ok("read", ring.artifact_read(name, "ff", max_bytes=10))
    expect("content", got["content"], "\N{REPLACEMENT CHARACTER}" * 10)


def main():
    build = os.path.abspath(sys.argv[1])
    local.must_be_able(build)
    cases = (everyday, anywhere, too_long, others_go_on, attacked, room_dies, much, raised, bombs,
             full_disk, changing, out_of_memory)
    flags = {raised: ("--limit", f"artifact_bytes_max={64 * MIB}")}
    chosen = [c for c in cases if c.__name__ in sys.argv[2:]] or cases
    for case in chosen:
        with local.Local(build, "--slots-max", "8", "--slots-warm", "1",
                         *flags.get(case, ())) as daemon:
            with Ring(build, daemon.name) as ring:
                case(daemon, ring)
        print(f"{case.__name__}: as it should be", flush=True)


if __name__ == "__main__":
    main()
