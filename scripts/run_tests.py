"""Run the Rust and the Python tests and say how many ran.

Test targets named camvid_* read the folder that ECMNET_DATA names. Where it is not set they are
left out, and the last line says how many they are. Tests of other builds are not among them:
tests/test_colcon.py is `make test-colcon`, tests/test_launch.py is `make test-launch`,
tests/test_no_gpu.py is `make check-cuda`, and the Rust targets named cuda_* are `make test-cuda`.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TESTS = CHECKOUT / "tests"
CAMVID_FILES = ("camvid_trainval.tar", "make_bag.py")
OTHER_BUILDS = ("test_colcon.py", "test_launch.py", "test_no_gpu.py")
_RUST_RESULT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
_PYTHON_RESULT = re.compile(r"(\d+) (passed|failed|error|skipped)")


@dataclass
class Count:
    """Tests that passed, that failed, and that did not run."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def __str__(self) -> str:
        ignored = f", {self.skipped} ignored" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{ignored}"


def main() -> int:
    """Exit status 0 when every test that was started passed and at least one was."""
    data = os.environ.get("ECMNET_DATA")
    missing = [name for name in CAMVID_FILES if data and not (Path(data) / name).is_file()]
    if missing:
        print(f"ECMNET_DATA is {data}, which has no {' and no '.join(missing)}", file=sys.stderr)
        return 1
    # Graphs of other machines on the network stay out of the tests.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

    targets = test_targets()
    camvid = [target for target in targets if target.startswith("camvid_")]
    chosen = targets if data else [target for target in targets if target not in camvid]
    rust, rust_ok = run_rust([word for target in chosen for word in ("--test", target)])
    python, python_ok = run_python([] if data else [f"--ignore-glob={TESTS}/test_camvid_*"])

    left_out = (
        "the CamVid tests among them"
        if data
        else f"{count_camvid(camvid)} CamVid tests left out, as ECMNET_DATA is not set"
    )
    print(f"Rust: {rust}\nPython: {python}\ntests: {rust + python}; {left_out}")
    return 0 if rust_ok and python_ok and rust.passed and python.passed else 1


def test_targets() -> list[str]:
    """The names of the integration test targets that need no GPU."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    told = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True)
    targets = json.loads(told.stdout)["packages"][0]["targets"]
    names = (target["name"] for target in targets if "test" in target["kind"])
    return sorted(name for name in names if not name.startswith("cuda_"))


def run_rust(targets: list[str]) -> tuple[Count, bool]:
    """Unit, program and integration tests, then the documentation's."""
    count, good = Count(), True
    for what in (["--lib", "--bins", *targets], ["--doc"]):
        output, status = stream(["cargo", "test", "--no-fail-fast", *what])
        good &= status == 0
        for numbers in _RUST_RESULT.findall(output):
            count += Count(*(int(number) for number in numbers))
    return count, good


def run_python(options: list[str]) -> tuple[Count, bool]:
    """Every tests/test_*.py with pytest, in the Python that has rclpy."""
    options = [*(f"--ignore={TESTS / name}" for name in OTHER_BUILDS), *options]
    output, status = stream(["python", "-m", "pytest", "-v", "--color=no", *options, str(TESTS)])
    closing = _PYTHON_RESULT.findall(output.rsplit("\n==", 1)[-1])
    found = {word: int(number) for number, word in closing}
    failed = found.get("failed", 0) + found.get("error", 0)
    return Count(found.get("passed", 0), failed, found.get("skipped", 0)), status == 0


def stream(command: list[str]) -> tuple[str, int]:
    """Run a command in the checkout, its output shown as it comes; the output and the status."""
    output = []
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            output.append(line)
    return "".join(output), process.returncode


def count_camvid(rust_targets: list[str]) -> int:
    """How many tests the CamVid targets hold."""
    count = 0
    if rust_targets:
        targets = [word for target in rust_targets for word in ("--test", target)]
        listed = subprocess.run(
            ["cargo", "test", "--quiet", *targets, "--", "--list"],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        count += len(re.findall(r": test$", listed.stdout, re.MULTILINE))
    files = sorted(str(file) for file in TESTS.glob("test_camvid_*.py"))
    if files:
        collect = ["python", "-m", "pytest", "--collect-only", "-q", *files]
        listed = subprocess.run(
            collect, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True
        )
        count += listed.stdout.count("::")
    return count


if __name__ == "__main__":
    sys.exit(main())
