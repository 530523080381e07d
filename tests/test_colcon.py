"""`colcon build` with its default arguments installs a package that ROS 2 finds and can start.

Its own target, `make test-colcon`: it needs colcon, and builds everything a second time.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = CHECKOUT / ".ros" / "tools" / "bin"
PACKAGE = "ecmnet_ros"
# Both were compiled with optimisation; what is left is link-time optimisation and overflow checks.
SLOWEST_RATIO = 1.2
BENCH_ROUNDS = 5


def run(*command: str | Path, cwd: Path = CHECKOUT) -> str:
    """The output of a program that must succeed."""
    env = dict(os.environ, PATH=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def status_before() -> str:
    """What git says of the checkout before colcon ran."""
    return run("git", "status", "--porcelain")


@pytest.fixture(scope="module")
def installed(status_before: str) -> Path:
    """The package's install folder, built in a workspace that outlives the test, for its build."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    workspace = cache / PACKAGE / "colcon"
    link = workspace / "src" / PACKAGE
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(CHECKOUT)
    run(TOOLS / "colcon", "build", cwd=workspace)
    return workspace / "install" / PACKAGE


def test_the_package_is_in_the_ament_index(installed: Path) -> None:
    index = installed / "share" / "ament_index" / "resource_index" / "packages"
    assert (index / PACKAGE).is_file()
    assert (installed / "share" / PACKAGE / "package.xml").is_file()


def test_the_installed_programs_start_by_their_path(installed: Path) -> None:
    version = json.loads(run("cargo", "metadata", "--no-deps", "--format-version", "1"))
    version = version["packages"][0]["version"]
    for program in ("ecmnet", "ecmnet_node"):
        assert version in run(installed / "lib" / PACKAGE / program, "--version")


@pytest.mark.parametrize("folder", ["launch", "config", "models"])
def test_shared_files_are_installed_as_they_are(installed: Path, folder: str) -> None:
    tracked = run("git", "ls-files", "-z", folder).rstrip("\0").split("\0")
    assert tracked != [""], f"{folder}/ holds no file"
    for name in tracked:
        copy = installed / "share" / PACKAGE / name
        assert copy.read_bytes() == (CHECKOUT / name).read_bytes()


def test_installed_launch_files_are_python(installed: Path) -> None:
    files = list((installed / "share" / PACKAGE / "launch").glob("*.launch.py"))
    assert files
    for file in files:
        code = compile(file.read_text(), str(file), "exec")
        assert "generate_launch_description" in code.co_names


def test_colcon_leaves_the_checkout_clean(installed: Path, status_before: str) -> None:
    assert installed.is_dir()
    assert run("git", "status", "--porcelain") == status_before


def test_the_installed_network_is_as_fast_as_a_release_build(
    installed: Path, tmp_path: Path
) -> None:
    run("cargo", "build", "--release", "--bin", "ecmnet")
    target = Path(os.environ.get("CARGO_TARGET_DIR", CHECKOUT / "target"))
    programs = (installed / "lib" / PACKAGE / "ecmnet", target / "release" / "ecmnet")
    # The target folder may lie outside the checkout, where the program finds no weights by itself.
    weights = CHECKOUT / "models" / "ecmnet_camvid.safetensors"
    medians_ms: tuple[list[float], list[float]] = ([], [])
    # Interleaved, and the least disturbed round of each: what else the machine does slows both.
    for _ in range(BENCH_ROUNDS):
        for program, found in zip(programs, medians_ms, strict=True):
            report = tmp_path / "bench.json"
            options = ["--size", "360x480", "--device", "cpu", "--frames", "10"]
            run(program, "bench", *options, "--weights", weights, "--json", report)
            found.append(json.loads(report.read_text())["latency_ms"]["p50"])
    by_colcon, by_cargo = (min(found) for found in medians_ms)
    print(f"colcon {by_colcon:.1f} ms, cargo build --release {by_cargo:.1f} ms")
    assert by_colcon <= SLOWEST_RATIO * by_cargo
