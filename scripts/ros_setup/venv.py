"""Virtual environments filled from the pinned requirements files beside `setup_ros`."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from .steps import command

SCRIPTS = Path(__file__).resolve().parent.parent


def files(*parts: str) -> list[Path]:
    """The requirements files of these parts, setuptools first."""
    return [SCRIPTS / f"requirements-{part}.txt" for part in ("setuptools", *parts)]


def fill(folder: Path, python: Path, *, parts: tuple[str, ...], env: Mapping[str, str]) -> None:
    """Install exactly the pinned packages of `parts`, hashes checked, into `folder`.

    An environment of this Python that was finished before is updated in place; any other is made
    anew.
    """
    finished = folder / "finished_for"
    if not finished.exists() or finished.read_text() != str(python):
        shutil.rmtree(folder, ignore_errors=True)
        command([python, "-m", "venv", folder], env=env)
    finished.unlink(missing_ok=True)
    setuptools, *rest = files(*parts)
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    pip += ["--no-deps", "--disable-pip-version-check", "--require-hashes"]
    command([*pip, "-r", setuptools], env=env)
    # No isolation: empy, the one source package, is built with the pinned setuptools.
    listed = [word for file in rest for word in ("-r", file)]
    command([*pip, "--no-build-isolation", *listed], env=env)
    finished.write_text(str(python))
