# SPDX-License-Identifier: Apache-2.0
"""
What pip installs is whole: the wheel works in an empty environment, for each CPython there is here,
far from any tree of toolring; its commands become the programs; and the sdist has all that it is
built of, or says what is missing on the machine and how Debian calls it.

TOOLRING_WHEEL names the wheel; without it one is built. Building the sdist (slow) needs PyPI.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from private import cannot

ROOT = Path(__file__).resolve().parents[2]
BINDING = ROOT / "bindings" / "python"
PROGRAMS = {"toolringd", "toolring", "toolring-slot", "toolring-zygote.so",
            "toolring-alloc-count.so"}
# Nothing of where we run: neither a path to the tree nor a toolringd that is there already.
BARE = {name: value for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "TOOLRING_N", "LD_")) and name != "TOOLRINGD"}

SCRIPT = """
import asyncio, toolring

async def main(name):
    async with toolring.connect(name) as client:
        async with client.trajectory("packaging") as t:
            result = await t.bash("echo it runs; exit 3")
            return result.verdict, result.output, result.exit_code

with toolring.start(BACKEND) as daemon:
    print(toolring.__version__, *asyncio.run(main(daemon.name)))
"""
FAKE = SCRIPT.replace("BACKEND", 'backend="fake"').replace("echo it runs; exit 3", "true")


def run(*command: str | Path, cwd: Path | str = "/", fails: bool = False, **more: str) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, env={**BARE, **more}, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                          stderr=subprocess.STDOUT, timeout=500)
    assert (done.returncode != 0) is fails, done.stdout[-6000:]
    return done.stdout


def pip(*words: str | Path, fails: bool = False, **more: str) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words, fails=fails,
               **more)


def can_build() -> None:
    try:
        import setuptools
    except ImportError:
        cannot("there is no setuptools here")
    if int(setuptools.__version__.split(".")[0]) < 77 or not all(
            shutil.which(tool) for tool in ("meson", "ninja")):
        cannot("setuptools of 77 or newer, meson and ninja are needed to build without PyPI")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("TOOLRING_WHEEL")
    if given:
        return Path(given)
    can_build()
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, BINDING)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    can_build()
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", "import sys; from setuptools import build_meta\n"
        "build_meta.build_sdist(sys.argv[1])", folder, cwd=BINDING)
    return next(folder.glob("*.tar.gz"))


def pythons() -> list[Path]:
    """Each CPython of 3.11 or newer that has the stable ABI, ours first."""
    found = {sys.version_info[:2]: Path(getattr(sys, "_base_executable", sys.executable))}
    for minor in range(11, 20):
        places = [Path(p) for p in [shutil.which(f"python3.{minor}") or ""] if p]
        places += Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}")
        for place in places:
            asked = subprocess.run([place, "-c", "import ensurepip"], capture_output=True, env=BARE,
                                   check=False)
            if asked.returncode == 0:
                found.setdefault((3, minor), place)
    return list(found.values())


def version() -> str:
    found = re.search(r'#define TR_VERSION "(.+)"',
                      (ROOT / "include/toolring/toolring.h").read_text(encoding="utf-8"))
    assert found
    return found[1]


class Environment:
    """An environment of its own with the wheel in it and nothing else."""

    def __init__(self, folder: Path, python: Path, wheel: Path | None) -> None:
        run(python, "-m", "venv", "--without-pip", folder)
        self.python = folder / "bin/python"
        self.bin = folder / "bin"
        if wheel:
            pip("--python", self.python, "install", "-q", "--no-index", "--no-deps", wheel)

    @property
    def package(self) -> Path:
        return next(self.bin.parent.glob("lib/python*/site-packages/toolring"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    yield Environment(tmp_path_factory.mktemp("env") / "venv", pythons()[0], wheel)


# ---- the wheel -----------------------------------------------------------------------------------

def test_the_wheel_holds_all_it_needs(wheel: Path, tmp_path: Path) -> None:
    """Programs that may be run, types, the licence; and no file of another build, nor sources."""
    with zipfile.ZipFile(wheel) as z:
        modes = {i.filename: i.external_attr >> 16 for i in z.infolist()}
        z.extractall(tmp_path)
    assert {n.rpartition("/")[2] for n in modes if n.startswith("toolring/bin/")} == PROGRAMS
    assert all(modes[f"toolring/bin/{n}"] & 0o111 for n in PROGRAMS if not n.endswith(".so"))
    assert {"toolring/py.typed", "toolring/__init__.py"} <= set(modes)
    assert any(n.endswith("/licenses/LICENSE") for n in modes)
    assert not [n for n in modes if n.endswith((".c", ".h", ".o", ".a", ".pyc"))]
    assert {n.split("/")[0] for n in modes} == {"toolring", f"toolring-{version()}.dist-info"}
    sources = {str(p.relative_to(BINDING)) for p in BINDING.glob("toolring/**/*.py")}
    assert {n for n in modes if n.endswith(".py")} == sources


def test_nothing_but_the_c_library_is_needed(wheel: Path, tmp_path: Path) -> None:
    """Of libraries; and the glibc that the wheel's name promises is enough for each file."""
    with zipfile.ZipFile(wheel) as z:
        z.extractall(tmp_path)
    needs: set[tuple[int, int]] = set()
    for path in [*tmp_path.glob("toolring/bin/*"), *tmp_path.glob("toolring/*.so")]:
        said = run("readelf", "-W", "-d", "-V", path)
        assert set(re.findall(r"\(NEEDED\).*\[(.+)\]", said)) <= {"libc.so.6", "libm.so.6"}, path
        needs |= {(int(a), int(b)) for a, b in re.findall(r"Name: GLIBC_(\d+)\.(\d+)", said)}
    promised = re.search(r"-manylinux_(\d+)_(\d+)_", wheel.name)
    assert promised and max(needs) == (int(promised[1]), int(promised[2]))


def test_the_extension_shows_nothing_but_itself(wheel: Path, tmp_path: Path) -> None:
    """The client library inside it is no business of others, even of a libtoolring beside it."""
    with zipfile.ZipFile(wheel) as z:
        z.extractall(tmp_path)
    extension = next(tmp_path.glob("toolring/_toolring*.so"))
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", extension).splitlines()]
    assert names == ["PyInit__toolring"]
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert "-cp311-abi3-" in wheel.name and extension.name == "_toolring.abi3.so"


def test_an_empty_environment_can_use_it(installed: Environment) -> None:
    """It starts its own toolringd and runs a command, from a folder that has nothing of ours."""
    if not can_have_slots(installed):
        cannot("this machine has not all that slots need")
    said = run(installed.python, "-c", SCRIPT.replace("BACKEND", ""))
    assert said.split() == [version(), "failed", "it", "runs", "3"]


def can_have_slots(installed: Environment) -> bool:
    done = subprocess.run([installed.bin / "toolring", "doctor"], env=BARE, cwd="/", check=False,
                          capture_output=True)
    return done.returncode == 0


def test_without_it_there_is_no_toolring(tmp_path: Path) -> None:
    """The twin: what an environment without the wheel says, in the same folder."""
    bare = Environment(tmp_path / "venv", pythons()[0], None)
    assert "No module named 'toolring'" in run(bare.python, "-c", "import toolring", fails=True)


def test_each_python_can_use_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """One build for all of them, by the stable ABI."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this one has no stable ABI")
    for number, python in enumerate(pythons()):
        env = Environment(tmp_path / str(number), python, wheel)
        assert run(env.python, "-W", "error", "-c", FAKE).split()[:2] == [version(), "ok"], python


# ---- its commands --------------------------------------------------------------------------------

def test_commands_become_the_programs(installed: Environment, tmp_path: Path) -> None:
    """No Python stays around toolringd: its process is the program, and ends as it is told to."""
    ready, told = os.pipe()
    process = subprocess.Popen(
        [installed.bin / "toolringd", "--backend", "fake", "--socket", str(tmp_path / "s"),
         "--ready-fd", str(told)], env=BARE, cwd="/", pass_fds=[told])
    try:
        os.close(told)
        with os.fdopen(ready, "rb") as f:
            assert f.read(1)
        assert os.readlink(f"/proc/{process.pid}/exe") == str(installed.package / "bin/toolringd")
        said = run(installed.bin / "toolring", "ping", "--name", tmp_path / "s")
        assert said
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_commands_have_the_signals_of_programs(installed: Environment) -> None:
    """Python ignores SIGPIPE; that nobody reads what toolring says ends it, as any other."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody_reads:
        done = subprocess.run([installed.bin / "toolring", "--help"], env=BARE, cwd="/",
                              stdout=nobody_reads, check=False, timeout=60)
    assert done.returncode == -signal.SIGPIPE


def test_the_module_says_where_they_are(installed: Environment) -> None:
    """python -m toolring."""
    said = run(installed.python, "-m", "toolring").splitlines()
    assert said[0] == f"toolring {version()}"
    assert [line.split()[1] for line in said[1:]] == \
        [str(installed.package / "bin" / name) for name in ("toolring", "toolringd")]


# ---- the sdist -----------------------------------------------------------------------------------

def unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as tar:  # our own, so no filter, which Python 3.11.2 does not have
        tar.extractall(folder)
    return next(folder.iterdir())


def test_the_sdist_has_the_sources(sdist: Path, tmp_path: Path) -> None:
    """All that Meson and the extension are built of, the licence; and nothing that was built."""
    top = unpacked(sdist, tmp_path)
    for folder in ("src", "include", "tools"):
        assert {p.name for p in (top / "source" / folder).rglob("*.[ch]")} == \
            {p.name for p in (ROOT / folder).rglob("*.[ch]")}
    for folder in ("native", "toolring"):
        assert {p.name for p in (top / folder).rglob("*.[ch]")} | \
            {p.name for p in (top / folder).rglob("*.py*")} == \
            {p.name for p in (BINDING / folder).rglob("*.[ch]")} | \
            {p.name for p in (BINDING / folder).rglob("*.py*") if p.suffix != ".pyc"
             and p.name != "__pycache__"}
    assert (top / "LICENSE").is_file() and not (top / "LICENSE").is_symlink()
    assert not [p for p in top.rglob("*") if p.suffix in (".so", ".a", ".o", ".pyc") or
                p.name in ("bin", "build")]


def test_what_is_missing_is_named(sdist: Path, tmp_path: Path) -> None:
    """By Debian's package, when pip cannot build; here for want of libraries, or of a compiler."""
    top = unpacked(sdist, tmp_path)
    words = ("wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, top)
    said = pip(*words, fails=True, PKG_CONFIG_LIBDIR="/nonexistent")
    for package in ("liburing-dev", "libmsgpack-c-dev", "libseccomp-dev", "libjansson-dev"):
        assert re.search(rf"Debian and Ubuntu have it in the package {package}", said), said[-3000:]
    said = pip(*words, fails=True, CC="no-such-cc")
    assert "Debian and Ubuntu have it in the package gcc" in said


@pytest.mark.slow
def test_the_sdist_builds_alone(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """In an isolated environment that pip makes, into the same wheel as the tree does."""
    asked = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d",
                            str(tmp_path), "setuptools>=77"], env=BARE, capture_output=True,
                           check=False)
    if asked.returncode:
        cannot("PyPI cannot be reached")
    pip("wheel", "-q", "--no-deps", "-w", tmp_path / "out", sdist)
    made = next((tmp_path / "out").glob("*.whl"))
    assert made.name == wheel.name
    with zipfile.ZipFile(made) as a, zipfile.ZipFile(wheel) as b:
        assert set(a.namelist()) == set(b.namelist())
