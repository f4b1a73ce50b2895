# SPDX-License-Identifier: Apache-2.0
"""
Builds the package. Meson compiles toolring's programs and its client library from the tree around
this folder (or, in an sdist, from the copy of it in source/); the extension is linked with that
library's archives, and the programs go into toolring/bin. So what is installed needs nothing of
toolring but itself, and of the system's libraries the C library alone.

It heeds CC, CFLAGS and LDFLAGS, and TOOLRING_PYTHON_WERROR=1: warnings are errors. A -fsanitize= in
CFLAGS is for the extension and the client library in it; the programs are built without.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
TREE = HERE / "source" if (HERE / "source").is_dir() else HERE.parent.parent
TREE_PARTS = ("LICENSE", "meson.build", "meson_options.txt", "include", "src", "tools")
BUILD = HERE / "build"
PROGRAMS = ("src/toolringd", "src/toolring-slot", "src/toolring-zygote.so", "tools/toolring",
            "tools/toolring-alloc-count.so")
ARCHIVES = ("src/client/libclient.a", "src/libwire.a", "src/libshm.a", "src/libbase.a")

FLAGS = ("CFLAGS", "CPPFLAGS", "LDFLAGS")
WERROR = os.environ.get("TOOLRING_PYTHON_WERROR") == "1"
SANITIZE = re.findall(r"-fsanitize=(\S+)", os.environ.get("CFLAGS", ""))  # "address,undefined"
PYTHON_H = Path(sysconfig.get_path("include"), "Python.h")
# Free-threaded Pythons have no stable ABI.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

# pkg-config's name, what version, Debian's package.
LIBRARIES = (
    (("liburing",), "2.3", "liburing-dev"),
    (("msgpack-c", "msgpack"), "3.0", "libmsgpack-c-dev (or, where there is none, libmsgpack-dev)"),
    (("libseccomp",), "2.5.0", "libseccomp-dev"),
    (("jansson",), "2.13", "libjansson-dev"),
)
# What is there only to be linked statically.
STATIC = (
    ("libarchive.a", "libarchive-dev"),
    ("libz.a", "zlib1g-dev"),
    ("libzstd.a", "libzstd-dev"),
    ("libcrypto.a", "libssl-dev"),
    ("liburing.a", "liburing-dev"),
    ("libseccomp.a", "libseccomp-dev"),
    ("libjansson.a", "libjansson-dev"),
)
# What every glibc system has: of these a manylinux wheel may need whichever it likes.
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt|ld-linux[-\w]*)\.so\.\d+$")


def version() -> str:
    text = (TREE / "meson.build").read_text(encoding="utf-8")
    found = re.search(r"^\s*version: '([^']+)'", text, re.M)
    if not found:
        raise SystemExit(f"{TREE}/meson.build names no version")
    return found[1]


def environment() -> dict[str, str]:
    """For Meson: where tools/setup puts a newer liburing is looked too; no sanitizer by flags."""
    env = dict(os.environ)
    paths = [str(TREE / "build/deps/lib/pkgconfig"), env.get("PKG_CONFIG_PATH", "")]
    env["PKG_CONFIG_PATH"] = ":".join(p for p in paths if p)
    for name in FLAGS:
        env[name] = shlex.join(flag for flag in shlex.split(env.get(name, ""))
                               if not flag.startswith(("-fsanitize", "-fno-sanitize")))
    return env


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "")) or ["cc" if shutil.which("cc") else "gcc"]


def missing() -> list[tuple[str, str]]:
    """What the build needs and is not here, each with its Debian package."""
    env = environment()
    cc = compiler()
    if not shutil.which(cc[0]):
        return [(f"a C compiler ({cc[0]})", "gcc libc6-dev")]
    if not shutil.which("pkg-config"):
        return [("pkg-config", "pkg-config")]

    def known(name: str, least: str) -> bool:
        return subprocess.run(["pkg-config", f"--atleast-version={least}", name], env=env,
                              check=False).returncode == 0

    def archived(name: str) -> bool:
        if name == "liburing.a" and (TREE / "build/deps/lib" / name).exists():
            return True
        said = subprocess.run([*cc, f"-print-file-name={name}"], env=env, capture_output=True,
                              text=True, check=False).stdout
        return "/" in said

    faults = [(f"{names[0]} {least} or newer", package) for names, least, package in LIBRARIES
              if not any(known(name, least) for name in names)]
    faults += [(name, package) for name, package in STATIC
               if not archived(name) and package not in [p for _, p in faults]]
    if not PYTHON_H.exists():
        faults.append(("Python.h", f"python3.{sys.version_info.minor}-dev"))
    return faults


def explain(said: str) -> str:
    faults = missing()
    if not faults:
        return f"toolring: its C parts could not be built:\n{said[-6000:]}"
    return "\n".join((
        "toolring: missing here, to build its C parts:",
        *(f"    {what}: Debian and Ubuntu have it in the package {package}"
          for what, package in faults),
        "    All at once, and newer versions where those are too old, in a checkout: tools/setup"))


def run(*command: str | Path, may_fail: bool = False) -> bool:
    done = subprocess.run([str(word) for word in command], env=environment(), text=True,
                          check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode and not may_fail:
        raise SystemExit(explain(done.stdout))
    return done.returncode == 0


def build_tree(targets: tuple[str, ...], sanitize: list[str]) -> Path:
    """Has Meson build targets; each compiler with its flags gets a folder of its own."""
    options = ["--buildtype=release", "-Dtests=false", "-Dself_contained=true",
               f"-Dwerror={str(WERROR).lower()}"]
    if sanitize:
        options += [f"-Db_sanitize={','.join(sanitize)}", "-Db_lundef=false"]
    env = environment()
    key = repr((TREE, options, compiler(), [env[name] for name in (*FLAGS, "PKG_CONFIG_PATH")]))
    folder = BUILD / ("meson-" + hashlib.sha256(key.encode()).hexdigest()[:12])
    meson, ninja = shutil.which("meson"), shutil.which("ninja")
    if not meson or not ninja:
        raise SystemExit("toolring: meson and ninja are missing; pip brings them, unless it is told"
                         " not to by --no-build-isolation")
    # A folder that is there was set up by another meson, which pip has since thrown away.
    if not ((folder / "build.ninja").exists() and
            run(meson, "setup", "--reconfigure", folder, TREE, *options, may_fail=True)):
        shutil.rmtree(folder, ignore_errors=True)
        run(meson, "setup", folder, TREE, *options)
    run(ninja, "-C", folder, *targets)
    return folder


def dialect(folder: Path) -> list[str]:
    """The project's own language version and warnings, as Meson has them for the client library."""
    with open(folder / "compile_commands.json", encoding="utf-8") as f:
        command = next(entry["command"] for entry in json.load(f)
                       if entry["file"].endswith("src/client/about.c"))
    return [word for word in shlex.split(command) if re.match("-std=|-W(?!error)", word)]


class BuildPy(build_py):
    """Leaves nothing in the wheel that an earlier build has put there."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "toolring"), ignore_errors=True)
        super().run()


class BuildExt(build_ext):
    """The extension, and the programs beside it."""

    def build_extension(self, ext: Extension) -> None:
        if not PYTHON_H.exists():
            raise SystemExit(explain(""))
        programs = build_tree(PROGRAMS, [])
        archives = build_tree(ARCHIVES, SANITIZE) if SANITIZE else programs
        if not SANITIZE:
            build_tree(ARCHIVES, [])
        ext.extra_objects = [str(archives / name) for name in ARCHIVES]
        ext.depends += ext.extra_objects
        ext.extra_compile_args += dialect(archives)
        if WERROR:
            ext.extra_compile_args.append("-Werror")
        super().build_extension(ext)
        self.put_programs([programs / name for name in PROGRAMS])

    def put_programs(self, programs: list[Path]) -> None:
        self.bin().mkdir(parents=True, exist_ok=True)
        for program in programs:
            # Never written over: one that runs could not be.
            (self.bin() / program.name).unlink(missing_ok=True)
            shutil.copy(program, self.bin())

    def bin(self) -> Path:
        return Path(self.get_ext_fullpath(self.extensions[0].name)).parent / "bin"

    def get_outputs(self) -> list[str]:
        return super().get_outputs() + [str(self.bin() / Path(name).name) for name in PROGRAMS]

    def copy_extensions_to_source(self) -> None:
        """For pip install -e and build_ext --inplace."""
        built = Path(self.build_lib, "toolring", "bin")
        super().copy_extensions_to_source()
        self.put_programs([built / Path(name).name for name in PROGRAMS])


class Wheel(bdist_wheel):
    """Named for the oldest glibc it works with, by what its files ask of it."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        if not self.plat_name_supplied and platform.startswith("linux_") and not SANITIZE:
            glibc = self.glibc_needed()
            if glibc:
                platform = f"manylinux_{glibc[0]}_{glibc[1]}_{platform.removeprefix('linux_')}"
        return python, abi, platform

    def glibc_needed(self) -> tuple[int, int] | None:
        """None: it needs another C library, or others beside it."""
        needed = (2, 17)
        for path in self.get_finalized_command("build_ext").get_outputs():
            done = subprocess.run(["readelf", "-W", "-d", "-V", path], capture_output=True,
                                  text=True, check=False)
            libraries = re.findall(r"\(NEEDED\).*\[(.+)\]", done.stdout)
            if done.returncode or not all(SYSTEM_LIBRARIES.match(name) for name in libraries):
                return None
            versions = re.findall(r"Name: GLIBC_(\d+)\.(\d+)", done.stdout)
            if libraries and not versions:
                return None
            needed = max([needed, *((int(a), int(b)) for a, b in versions)])
        return needed


class Sdist(sdist):
    """With the tree's C sources in it, in the folder source."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        for name in TREE_PARTS:
            target = Path(base_dir, "source", name)
            if (TREE / name).is_dir():
                shutil.copytree(TREE / name, target,
                                ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                target.parent.mkdir(exist_ok=True)
                shutil.copy(TREE / name, target)


def extension() -> Extension:
    limited = [("Py_LIMITED_API", "0x030b0000")] if LIMITED else []
    return Extension(
        "toolring._toolring",
        sources=sorted(str(path.relative_to(HERE)) for path in HERE.glob("native/*.c")),
        depends=sorted(str(path.relative_to(HERE)) for path in HERE.glob("native/*.h")),
        include_dirs=[str(TREE / "include")],
        define_macros=[("_GNU_SOURCE", None), *limited],
        # Python's headers are not held to our warnings.
        extra_compile_args=["-isystem", sysconfig.get_path("include"), "-fvisibility=hidden",
                            "-pthread"],
        extra_link_args=["-Wl,--exclude-libs,ALL", "-pthread"],
        py_limited_api=LIMITED)


BUILD.mkdir(exist_ok=True)
# One build of this folder at a time: setuptools has but one place for what it makes on the way.
lock = open(BUILD / ".lock", "w", encoding="utf-8")  # noqa: SIM115 - held until we end
fcntl.flock(lock, fcntl.LOCK_EX)

setup(
    version=version(),
    ext_modules=[extension()],
    cmdclass={"build_py": BuildPy, "build_ext": BuildExt, "bdist_wheel": Wheel, "sdist": Sdist},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {})
