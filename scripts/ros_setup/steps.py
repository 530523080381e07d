"""Set-up steps: skipped when done, redone when their inputs change, safe to interrupt."""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .host import SetupError


class Steps:
    """Runs named steps under one root, each with a stamp of its inputs and of the steps before it.

    A context manager: it holds a lock on the root, so that two set-ups wait for each other.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stamps = root / "stamps"
        self._stamps.mkdir(parents=True, exist_ok=True)
        self._before = hashlib.sha256(str(root).encode()).hexdigest()

    def __enter__(self) -> "Steps":
        self._lock = (self.root / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another set-up of {self.root}", flush=True)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def run(self, name: str, *, inputs: object, action: Callable[[], None]) -> None:
        """Run `action`, unless its stamp says that it was done with these inputs."""
        key = hashlib.sha256(f"{self._before}\n{inputs!r}".encode()).hexdigest()
        self._before = key
        stamp = self._stamps / name.replace(" ", "_")
        if stamp.exists() and stamp.read_text() == key:
            print(f"  {name}: up to date", flush=True)
            return
        stamp.unlink(missing_ok=True)
        print(f"  {name} ...", end="", flush=True)
        start = time.monotonic()
        try:
            action()
        except BaseException:
            print(" failed", flush=True)
            raise
        stamp.write_text(key)
        print(f" {time.monotonic() - start:.0f} s", flush=True)


def command(arguments: list[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Run a program quietly and return its output; on failure show the output and say which."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        words,
        env=dict(os.environ if env is None else env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(f"\n{done.stdout}", file=sys.stderr)
        raise SetupError(f"`{' '.join(words[:6])} ...` failed with the output above")
    return done.stdout


def digest(*files: Path) -> str:
    """SHA-256 over the files' bytes, for a step's inputs."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
