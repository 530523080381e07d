"""`scripts/setup_cuda` tells in one sentence what is wrong with the CUDA that it was given."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the scripts, so that this one's `.cuda` is left alone."""
    shutil.copytree(SCRIPTS, tmp_path / "checkout" / "scripts")
    return tmp_path / "checkout"


def nvcc_of(release: str, home: Path) -> Path:
    """A toolkit whose nvcc knows its version and compiles nothing."""
    nvcc = home / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || { echo "no such host compiler"; exit 1; }\n'
        f'echo "Cuda compilation tools, release {release}, V{release}.1"\n'
    )
    nvcc.chmod(0o755)
    return home


def refusal(checkout: Path, home: Path) -> str:
    """The sentence on standard error; the rest of it where there is more."""
    done = subprocess.run(
        [checkout / "scripts" / "setup_cuda"],
        env=dict(os.environ, CUDA_HOME=str(home)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_cuda_home_without_nvcc_is_named(checkout: Path, tmp_path: Path) -> None:
    said = refusal(checkout, tmp_path / "nowhere")
    assert said.startswith("setup_cuda: CUDA_HOME is ") and "nowhere" in said
    assert "set CUDA_HOME to its folder" in said


def test_a_toolkit_that_is_too_old_is_named_with_its_version(
    checkout: Path, tmp_path: Path
) -> None:
    said = refusal(checkout, nvcc_of("11.5", tmp_path / "cuda"))
    assert "11.5" in said and "12.0 or newer" in said


def test_an_nvcc_that_cannot_compile_is_found_out_now(checkout: Path, tmp_path: Path) -> None:
    home = nvcc_of("12.4", tmp_path / "cuda")
    said = refusal(checkout, home)
    assert said.startswith("setup_cuda: `") and "nvcc" in said and said.endswith("output above")
    assert (checkout / ".cuda" / "toolkit").resolve() == home.resolve()
