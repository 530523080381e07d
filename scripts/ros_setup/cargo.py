"""What Cargo is told: libclang for r2r's bindings, the prefix, a linker that leaves an rpath."""

import json
import shlex
from pathlib import Path

from . import host
from .steps import Steps, digest

_LINKER = """\
#!/bin/sh
# Links with an rpath to the private ROS 2, so that programs and build scripts start from a plain
# shell. A sourced ROS 2 is left alone. New dtags: a library path in the environment still wins.
case ":${{AMENT_PREFIX_PATH:-{prefix}}}:" in
*":{prefix}:"*) exec cc "$@" -Wl,--enable-new-dtags,-rpath,{prefix}/lib ;;
*) exec cc "$@" ;;
esac
"""


def configure(steps: Steps) -> None:
    """Write `<root>/cargo.toml`, which `.cargo/config.toml` includes, and the linker it names."""
    headers = host.compiler_headers()
    prefix = steps.root / "jazzy"
    steps.run(
        "cargo",
        inputs=(str(headers), prefix.exists(), digest(Path(__file__))),
        action=lambda: write_config(steps.root, prefix, headers),
    )


def write_config(root: Path, prefix: Path, headers: Path) -> None:
    """Variables are not forced, so the shell's own win over each of them."""
    libclang = next(root.glob("*/lib/python3.*/site-packages/clang/native"))
    variables = {
        "LIBCLANG_PATH": str(libclang),
        # PyPI's libclang comes without its own headers (stddef.h): last, so that any other's win.
        "BINDGEN_EXTRA_CLANG_ARGS": f"-idirafter {shlex.quote(str(headers))}",
    }
    linker = ""
    if prefix.exists():
        variables |= {"AMENT_PREFIX_PATH": str(prefix), "ROS_DISTRO": "jazzy"}
        wrapper = root / "ros_cc"
        wrapper.write_text(_LINKER.format(prefix=prefix))
        wrapper.chmod(0o755)
        linker = f"\n[target.x86_64-unknown-linux-gnu]\nlinker = {json.dumps(str(wrapper))}\n"
    lines = [f"{name} = {json.dumps(value)}" for name, value in variables.items()]
    text = "# Written by scripts/setup_ros.\n[env]\n" + "\n".join(lines) + "\n" + linker
    written = root / "cargo.toml.new"
    written.write_text(text)
    written.replace(root / "cargo.toml")
