"""What a sourced ROS 2 lacks: interface packages, libclang, the Python peers' imports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import host, interfaces, venv
from .steps import Steps, command, digest

_SETUP = """\
# Puts what the sourced ROS 2 lacked in front of it: `. {overlay}/setup.sh`.
case ":$AMENT_PREFIX_PATH:" in
*":{overlay}:"*) ;;
*)
    export AMENT_PREFIX_PATH="{overlay}:$AMENT_PREFIX_PATH"
    export LD_LIBRARY_PATH="{overlay}/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
    export PATH="{overlay}/bin:$PATH"
    ;;
esac
"""
PEERS, WHEELS = venv.files("peers", "ros")[1:]


def build(steps: Steps, sourced: host.SourcedRos) -> None:
    """Build `<root>/overlay`: a virtual environment on top of the sourced ROS 2's Python."""
    overlay = steps.root / "overlay"
    python = ros_python()
    prefixes = [str(prefix) for prefix in sourced.prefixes]
    steps.run(
        "overlay",
        inputs=(str(python), prefixes, digest(PEERS, WHEELS, Path(__file__))),
        action=lambda: install_peers(overlay, python),
    )
    host.require(*host.COMPILERS, ("cmake", "cmake"))
    python = overlay / "bin" / "python"
    interfaces.build_missing(
        steps, interfaces.Target(overlay, sourced.prefixes, python, environment(overlay))
    )
    (overlay / "setup.sh").write_text(_SETUP.format(overlay=overlay))
    print(f"  for cargo without make: `. {overlay}/setup.sh`")


def ros_python() -> Path:
    """The Python that the sourced ROS 2 was built for: the one that imports rclpy."""
    for candidate in ("python3", "/usr/bin/python3", sys.executable):
        about = host.about_python(candidate)
        if about is None:
            continue
        base = about[0]
        tried = subprocess.run([base, "-c", "import rclpy"], capture_output=True, check=False)
        if tried.returncode == 0:
            return Path(base)
    raise host.SetupError(
        "no python3 imports the sourced ROS 2's rclpy: install it, or leave the virtual environment"
    )


def environment(overlay: Path) -> dict[str, str]:
    """The caller's variables with the overlay in front, as its setup.sh sets them."""
    env = dict(os.environ)
    for name, folder in (("PATH", "bin"), ("LD_LIBRARY_PATH", "lib"), ("AMENT_PREFIX_PATH", "")):
        env[name] = os.pathsep.join(filter(None, (str(overlay / folder), env.get(name))))
    return env


def install_peers(overlay: Path, python: Path) -> None:
    """Install libclang and what the peers import, but numpy: rclpy fits the one there is."""
    shutil.rmtree(overlay, ignore_errors=True)
    command([python, "-m", "venv", "--system-site-packages", overlay])
    wanted = [pin for pin in pins(PEERS) if not pin.startswith("numpy==")]
    wanted += [pin for pin in pins(WHEELS) if pin.startswith("libclang==")]
    pip = [overlay / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
    # What PYTHONPATH offers would count as installed, at whatever version.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command([*pip, "--disable-pip-version-check", *wanted], env=env)


def pins(requirements: Path) -> list[str]:
    """The `name==version` words of a requirements file; its hashes are of other Pythons' wheels."""
    lines = requirements.read_text().splitlines()
    return [line.split()[0] for line in lines if "==" in line and not line.startswith("#")]
