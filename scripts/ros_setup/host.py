"""What this machine offers: a sourced ROS 2, a fitting Python, compilers."""

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# The generated type support is C and C++.
COMPILERS = (("cc", "gcc"), ("c++", "g++"))
SOURCE_A_ROS = "source a ROS 2 (`. /opt/ros/<distro>/setup.sh`) and run this again"
WHEEL_PYTHONS = ((3, 11), (3, 12))
OLDEST_GLIBC = (2, 28)

_ABOUT_PYTHON = """
import json, os, sys, sysconfig
try:
    import ensurepip, venv
    has_venv = True
except ImportError:
    has_venv = False
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
base = os.path.realpath(sys._base_executable)
print(json.dumps([base, list(sys.version_info[:2]), has_venv, os.path.exists(headers)]))
"""


class SetupError(Exception):
    """One sentence for the person at the terminal: what is missing and what to do."""


@dataclass(frozen=True)
class SourcedRos:
    """A ROS 2 that the calling shell has sourced: its distro and its prefixes, nearest first."""

    distro: str
    prefixes: tuple[Path, ...]


def sourced_ros(root: Path) -> SourcedRos | None:
    """The shell's ROS 2, or None where the shell has none but what set-up built under `root`."""
    listed = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    entries = [entry for entry in listed if entry]
    prefixes = tuple(Path(entry) for entry in entries if root not in Path(entry).resolve().parents)
    distro = os.environ.get("ROS_DISTRO")
    if prefixes and distro:
        return SourcedRos(distro, prefixes)
    if prefixes or (distro and not entries):
        raise SetupError(
            "the shell has only one of AMENT_PREFIX_PATH and ROS_DISTRO set: "
            f"{SOURCE_A_ROS}, or unset both to have a private ROS 2 built"
        )
    return None


def wheel_python() -> Path:
    """A Python for which PyPI carries ROS 2 wheels and that can build extension modules."""
    glibc = platform.libc_ver()
    if platform.system() != "Linux" or platform.machine() != "x86_64" or glibc[0] != "glibc":
        raise SetupError(f"PyPI carries ROS 2 for x86-64 Linux with glibc alone: {SOURCE_A_ROS}")
    if tuple(int(part) for part in glibc[1].split(".")[:2]) < OLDEST_GLIBC:
        raise SetupError(f"the ROS 2 wheels need glibc 2.28, this is {glibc[1]}: {SOURCE_A_ROS}")
    faults = []
    for candidate in (sys.executable, "python3", "python3.12", "python3.11"):
        about = about_python(candidate)
        if about is None:
            continue
        base, version, has_venv, has_headers = about
        name = f"Python {version[0]}.{version[1]}"
        if tuple(version) not in WHEEL_PYTHONS:
            faults.append(f"{name} has no ROS 2 wheels")
        elif not has_venv:
            faults.append(f"{name} has no venv module (Debian: `apt install python3-venv`)")
        elif not has_headers:
            faults.append(f"{name} has no Python.h (Debian: `apt install python3-dev`)")
        else:
            return Path(base)
    what = "; ".join(dict.fromkeys(faults)) or "no python3 was found"
    raise SetupError(
        f"a private ROS 2 needs Python 3.11 or 3.12 ({what}): install one, or {SOURCE_A_ROS}"
    )


def about_python(candidate: str) -> tuple[str, list[int], bool, bool] | None:
    """What stands behind a virtual environment, version, has venv, has headers; None if no Python.

    The Python behind, so that a set-up run by the environment that it fills does not remove itself.
    """
    found = shutil.which(candidate)
    if not found:
        return None
    ask = [found, "-c", _ABOUT_PYTHON]
    told = subprocess.run(ask, capture_output=True, text=True, check=False)
    return tuple(json.loads(told.stdout)) if told.returncode == 0 else None


def require(*programs: tuple[str, str]) -> None:
    """Err unless each `(program, Debian package)` is on the PATH."""
    for program, package in programs:
        if not shutil.which(program):
            raise SetupError(f"no `{program}` was found (Debian: `apt install {package}`)")


def compiler_headers() -> Path:
    """The C compiler's own include folder (stddef.h and its kin)."""
    ask = ["cc", "-print-file-name=include"]
    told = subprocess.run(ask, capture_output=True, text=True, check=True)
    return Path(told.stdout.strip()).resolve()
