"""The private ROS 2 Jazzy: PyPI wheels in a virtual environment, repaired for Rust to link."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import host, interfaces, venv
from .steps import Steps, command, digest


def build(steps: Steps) -> None:
    """Build the prefix under `<root>/jazzy`; err with a sentence where this machine cannot."""
    python = host.wheel_python()
    host.require(*host.COMPILERS)
    print(f"ROS 2 Jazzy from PyPI, in {steps.root}")
    prefix = steps.root / "jazzy"
    steps.run(
        "wheels",
        inputs=(str(python), digest(*venv.files("ros", "peers"))),
        action=lambda: venv.fill(prefix, python, parts=("ros", "peers"), env=environment(prefix)),
    )
    steps.run("repairs", inputs=digest(Path(__file__)), action=lambda: repair(prefix))
    python = prefix / "bin" / "python"
    interfaces.build_missing(
        steps, interfaces.Target(prefix, (prefix,), python, environment(prefix))
    )


def environment(prefix: Path) -> dict[str, str]:
    """The caller's variables with `prefix` as the only ROS 2 and no Python paths but its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["PATH"] = f"{prefix / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["AMENT_PREFIX_PATH"] = str(prefix)
    env["ROS_DISTRO"] = "jazzy"
    return env


def repair(prefix: Path) -> None:
    """Give the wheels what a build against them needs and they lack."""
    site = next(prefix.glob("lib/python3.*/site-packages"))
    name_the_rmw(prefix)
    link_libraries(prefix, site)
    rewrite_builder_paths(prefix, site)
    # The libraries have rpaths now: Python need not execute itself again with a library path.
    (site / "ros_wheels_bootstrapper.pth").unlink(missing_ok=True)


def name_the_rmw(prefix: Path) -> None:
    """The wheels bind one middleware and leave out the library of the switch, which r2r links."""
    switch = prefix / "lib" / "librmw_implementation.so"
    if not switch.exists():
        switch.symlink_to("librmw_fastrtps_cpp.so")


def link_libraries(prefix: Path, site: Path) -> None:
    """Let every library find what it needs by rpath, and none but Python's own need libpython."""
    lib = prefix / "lib"
    bundled = sorted(folder.name for folder in site.glob("ros_*.libs"))
    from_lib = [f"$ORIGIN/{site.relative_to(lib)}/{folder}" for folder in bundled]
    from_package = [f"$ORIGIN/../{folder}" for folder in bundled]
    rpaths = {file: ["$ORIGIN", *from_lib] for file in lib.glob("*.so*")}
    rpaths |= {file: ["$ORIGIN"] for file in site.glob("ros_*.libs/*.so*")}
    for package in (prefix / "share").iterdir():
        extensions = (site / package.name).glob("*.so")
        rpaths |= {file: ["$ORIGIN/../../..", *from_package] for file in extensions}
    patchelf = prefix / "bin" / "patchelf"

    def patch(file: Path) -> None:
        arguments: list[str | Path] = [patchelf, "--set-rpath", ":".join(rpaths[file])]
        if file.parent == lib and "__rosidl_generator_py" not in file.name:
            needed = command([patchelf, "--print-needed", file]).split()
            for name in needed:
                if name.endswith("__rosidl_generator_py.so"):
                    arguments += ["--remove-needed", name]
        # A new file put in place whole: an interrupted repair leaves no half-written library.
        patched = file.with_name(file.name + ".patched")
        command([*arguments, "--output", patched, file])
        patched.replace(file)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(patch, (file for file in rpaths if not file.is_symlink())))


def rewrite_builder_paths(prefix: Path, site: Path) -> None:
    """Replace the wheel builder's Python and numpy include folders in the CMake files."""
    python = prefix / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('include'))"
    include = command([python, "-c", ask]).strip()
    numpy = site / "numpy" / "_core" / "include"
    for file in (prefix / "share").rglob("*.cmake"):
        text = file.read_text()
        fixed = re.sub(r"/opt/python/[^;\"]*/numpy/_core/include", str(numpy), text)
        fixed = re.sub(r"/opt/python/[^;\"]*/include/python3\.\d+", include, fixed)
        if fixed != text:
            file.write_text(fixed)
