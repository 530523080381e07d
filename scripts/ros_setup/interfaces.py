"""The interface packages that a ROS 2 may lack, generated and built from `interfaces/`."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .steps import Steps, command, digest

INTERFACES = Path(__file__).resolve().parents[2] / "interfaces"


@dataclass(frozen=True)
class Target:
    """Where packages are installed (`into`), on which prefixes, with which Python and variables."""

    into: Path
    on: tuple[Path, ...]
    python: Path
    env: Mapping[str, str]


def build_missing(steps: Steps, target: Target) -> None:
    """Build each package that no prefix below `target.into` has, and install it there."""
    for source in sorted(folder for folder in INTERFACES.iterdir() if folder.is_dir()):
        if any(has_package(prefix, source) for prefix in target.on if prefix != target.into):
            continue
        files = sorted(file for file in source.rglob("*") if file.is_file())
        steps.run(
            f"interfaces {source.name}",
            inputs=(digest(*files), [str(prefix) for prefix in target.on]),
            action=lambda source=source: build_package(source, steps.root / "build", target),
        )


def has_package(prefix: Path, source: Path) -> bool:
    """True if `prefix` has each message that `source` defines."""
    index = prefix / "share" / "ament_index" / "resource_index" / "rosidl_interfaces" / source.name
    if not index.is_file():
        return False
    known = index.read_text().split()
    return all(f"msg/{file.name}" in known for file in source.glob("msg/*.msg"))


def build_package(source: Path, build_in: Path, target: Target) -> None:
    """Configure, build and install one interface package with CMake."""
    build = build_in / source.name
    shutil.rmtree(build, ignore_errors=True)
    found = ";".join(str(prefix) for prefix in (target.into, *target.on))
    configure: list[str | Path] = ["cmake", "-S", source, "-B", build]
    configure += [f"-DCMAKE_INSTALL_PREFIX={target.into}", f"-DCMAKE_PREFIX_PATH={found}"]
    configure += [f"-DPython3_EXECUTABLE={target.python}", f"-DPYTHON_EXECUTABLE={target.python}"]
    configure += ["-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    # $ORIGIN: the package's libraries find each other and their neighbours without a library path.
    configure += ["-DCMAKE_INSTALL_RPATH=$ORIGIN;$ORIGIN/../../.."]
    command(configure, env=target.env)
    command(["cmake", "--build", build, "--parallel", str(os.cpu_count() or 1)], env=target.env)
    command(["cmake", "--install", build], env=target.env)
    shutil.rmtree(build)
