"""What a sourced ROS 2 lacks: interface packages, libclang, the Python peers' imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import host, interfaces
from .steps import Steps, command, digest

SCRIPTS = Path(__file__).resolve().parent.parent
PEERS = SCRIPTS / "requirements-peers.txt"
WHEELS = SCRIPTS / "requirements-ros.txt"


def build(steps: Steps, sourced: host.SourcedRos) -> None:
    """Build `<root>/overlay`: a virtual environment on top of the sourced ROS 2's Python."""
    overlay = steps.root / "overlay"
    python = ros_python()
    prefixes = [str(prefix) for prefix in sourced.prefixes]
    steps.run(
        "overlay",
        inputs=(str(python), prefixes, digest(PEERS, WHEELS)),
        action=lambda: install_peers(overlay, python),
    )
    host.require_compilers()
    interfaces.build_missing(
        steps,
        into=overlay,
        on=sourced.prefixes,
        env=environment(overlay),
        python=overlay / "bin" / "python",
    )


def ros_python() -> Path:
    """The Python that the sourced ROS 2 was built for: the one that imports rclpy."""
    for candidate in ("python3", "/usr/bin/python3", sys.executable):
        found = shutil.which(candidate)
        if found and subprocess.run([found, "-c", "import rclpy"], stderr=subprocess.DEVNULL).returncode == 0:
            return Path(found)
    raise host.SetupError("no python3 imports the sourced ROS 2's rclpy: install rclpy, or leave the virtual environment")


def environment(overlay: Path) -> dict[str, str]:
    """The caller's variables with the overlay in front, as `scripts/with_ros` sets them."""
    env = dict(os.environ)
    for name, folder in (("PATH", "bin"), ("LD_LIBRARY_PATH", "lib"), ("AMENT_PREFIX_PATH", "")):
        env[name] = os.pathsep.join(filter(None, (str(overlay / folder), env.get(name))))
    return env


def install_peers(overlay: Path, python: Path) -> None:
    """Install libclang and what the peers import, but numpy: that must be the one rclpy was built for."""
    shutil.rmtree(overlay, ignore_errors=True)
    command([python, "-m", "venv", "--system-site-packages", overlay])
    wanted = [pin for pin in pins(PEERS) if not pin.startswith("numpy==")]
    wanted += [pin for pin in pins(WHEELS) if pin.startswith("libclang==")]
    pip = [overlay / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
    command([*pip, "--disable-pip-version-check", *wanted])


def pins(requirements: Path) -> list[str]:
    """The `name==version` words of a requirements file; its hashes are for the private prefix's Pythons."""
    return [line.split()[0] for line in requirements.read_text().splitlines() if "==" in line.split("#")[0]]
