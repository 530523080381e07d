"""Programs with the GPU engine in them start and work on a machine without any CUDA library.

Its own target, `make check-cuda`: it needs programs that were built with the feature `cuda`. Where
there is a GPU after all, it is hidden from them.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")
WEIGHTS = CHECKOUT / "models" / "ecmnet_world.safetensors"
PICTURE = CHECKOUT / "docs" / "world.jpg"
ENVIRONMENT = dict(os.environ, CUDA_VISIBLE_DEVICES="")
# The driver's library, and those that come with a CUDA toolkit.
CUDA_LIBRARIES = ("libcuda", "libcudart", "libcublas", "libcurand", "libnvrtc")
REMEDY = "use device cpu or auto"


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A program of this build, run to its end."""
    command = [TARGET / "debug" / program, *arguments]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def segment(device: str, out: Path) -> subprocess.CompletedProcess[str]:
    """`ecmnet segment` of one picture on `device`."""
    options = ["--out", out, "--weights", WEIGHTS, "--device", device]
    return run("ecmnet", "segment", PICTURE, *options)


@pytest.mark.parametrize("program", ["ecmnet", "ecmnet_node"])
def test_no_cuda_library_is_needed_to_start(program: str) -> None:
    file = TARGET / "debug" / program
    needed = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in needed
    assert not [name for name in CUDA_LIBRARIES if name in needed], needed


def test_the_engine_is_in_the_build() -> None:
    assert b"libcuda.so" in (TARGET / "debug" / "ecmnet").read_bytes()


def test_auto_runs_on_the_cpu_and_says_so(tmp_path: Path) -> None:
    by_auto, by_cpu = segment("auto", tmp_path / "auto"), segment("cpu", tmp_path / "cpu")
    assert by_auto.returncode == 0, by_auto.stderr
    assert by_cpu.returncode == 0, by_cpu.stderr
    notes = [line for line in by_auto.stderr.splitlines() if "running on the CPU" in line]
    assert len(notes) == 1 and names_the_reason(notes[0]), by_auto.stderr
    assert "running on the CPU" not in by_cpu.stderr
    masks = [tmp_path / device / "world_labels.png" for device in ("auto", "cpu")]
    assert masks[0].read_bytes() == masks[1].read_bytes()


def test_cuda_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    done = segment("cuda", tmp_path)
    assert done.returncode == 1, done.stderr
    assert one_sentence(done.stderr).startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_the_node_says_the_same() -> None:
    refused = run("ecmnet_node", *node_arguments("cuda"))
    assert refused.returncode == 1, refused.stderr
    assert one_sentence(refused.stderr).startswith("ecmnet_node: ")


def test_the_node_runs_on_the_cpu_where_it_may_choose(auto_node: subprocess.Popen[str]) -> None:
    assert auto_node.stderr
    told = next((line for line in auto_node.stderr if line.strip().startswith("device: ")), None)
    assert told, "the node ended without its device line"
    assert "cpu" in told and names_the_reason(told), told


@pytest.fixture
def auto_node() -> Iterator[subprocess.Popen[str]]:
    """A node with `device: auto`, ended in order afterwards."""
    command = [TARGET / "debug" / "ecmnet_node", *node_arguments("auto")]
    # rcl's log goes to standard error by default.
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as node:
        try:
            yield node
        finally:
            # Not SIGINT: what a shell starts in the background ignores it until the node is ready.
            node.terminate()
            try:
                node.wait(timeout=10)
            except subprocess.TimeoutExpired:
                node.kill()
                raise


def node_arguments(device: str) -> list[str]:
    return ["--ros-args", "-p", f"device:={device}", "-p", f"weights:={WEIGHTS}"]


def one_sentence(stderr: str) -> str:
    """The one line that names the fault and the remedy; nothing panicked."""
    lines = [line for line in stderr.splitlines() if REMEDY in line]
    assert len(lines) == 1 and "panicked" not in stderr, stderr
    assert names_the_reason(lines[0]), stderr
    return lines[0]


def names_the_reason(line: str) -> bool:
    """Whether it says what is missing: the driver, or with one (hidden here) the device."""
    return "no NVIDIA driver" in line or "no CUDA device" in line
