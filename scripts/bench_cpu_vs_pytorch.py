"""How long the Rust network takes on the CPU beside PyTorch, in interleaved runs on one machine.

    cargo bench --no-default-features --bench network_cpu --no-run
    PYTHONPATH=training python scripts/bench_cpu_vs_pytorch.py BENCH [--runs 20] [--threads 2]

BENCH is the executable that the first command names. PyTorch gets what speeds it up without
changing the result: inference mode, batch norms folded, torch's own PReLU, the scan stepping over
all directions and channels at once, and the faster of NCHW and channels_last. The ratio of medians
is the figure; the ratio of CPU times depends less on what else the machine does. On a busy machine
set OMP_WAIT_POLICY=passive, or PyTorch's threads burn their time waiting for each other.
"""

import argparse
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ecmnet_training.goldens import seeded_model
from ecmnet_training.inference import folded
from ecmnet_training.model import ECMNet
from torch import Tensor

SIZES_HW = ((360, 480), (512, 1024))


@dataclass
class Times:
    """Wall and CPU milliseconds of each run."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, wall_ms: float, cpu_ms: float) -> None:
        """Keeps one run."""
        self.wall.append(wall_ms)
        self.cpu.append(cpu_ms)


class RustBench:
    """The bench as a child process that runs one frame for each line it gets."""

    def __init__(self, executable: Path, size_hw: tuple[int, int], threads: int) -> None:
        height, width = size_hw
        self.child = subprocess.Popen(
            [executable, "--on-line", "--size", f"{height}x{width}", "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self) -> tuple[float, float]:
        """Wall and CPU milliseconds of one frame."""
        start = self._cpu_ms()
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        wall = float(self.child.stdout.readline())
        return wall, self._cpu_ms() - start

    def close(self) -> None:
        """Ends the child."""
        self.child.stdin.close()
        self.child.wait()

    def _cpu_ms(self) -> float:
        """User and system time of all its threads, from Linux's scheduler statistics."""
        tasks = Path(f"/proc/{self.child.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def torch_run(model: ECMNet, image: Tensor) -> tuple[float, float]:
    """Wall and CPU milliseconds of one forward pass."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    model(image)
    wall = (time.perf_counter() - start) * 1e3
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu * 1e3


@torch.inference_mode()
def compare(executable: Path, size_hw: tuple[int, int], *, threads: int, runs: int) -> str:
    """One line of the table for one input size."""
    plain = seeded_model("A").float()
    image = torch.randn(1, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    exact = plain(image)
    exact = exact[0] if isinstance(exact, tuple) else exact
    layouts = {}
    for name, layout in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
        model = folded(seeded_model("A").float()).to(memory_format=layout)
        shaped = image.to(memory_format=layout)
        result = model(shaped)
        result = result[0] if isinstance(result, tuple) else result
        assert torch.allclose(result, exact, atol=1e-3 * exact.abs().max().item()), name
        layouts[name] = (model, shaped)
    rust = RustBench(executable, size_hw, threads)
    times = {name: Times() for name in ("rust", *layouts)}
    try:
        rust.run()
        for _ in range(runs):
            times["rust"].add(*rust.run())
            for name, (model, shaped) in layouts.items():
                times[name].add(*torch_run(model, shaped))
    finally:
        rust.close()
    medians = {name: statistics.median(t.wall) for name, t in times.items()}
    cpu = {name: statistics.median(t.cpu) for name, t in times.items()}
    best = min(layouts, key=medians.__getitem__)
    return (
        f"{size_hw[0]}x{size_hw[1]}: rust {medians['rust']:.0f} ms, "
        f"PyTorch NCHW {medians['NCHW']:.0f} ms, channels_last {medians['NHWC']:.0f} ms; "
        f"ratio to the faster {medians['rust'] / medians[best]:.2f}, "
        f"of CPU times {cpu['rust'] / cpu[best]:.2f}"
    )


def main() -> None:
    """Prints a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path, help="the network_cpu executable")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__}, {options.threads} threads, {options.runs} runs each")
    for size_hw in SIZES_HW:
        line = compare(options.bench, size_hw, threads=options.threads, runs=options.runs)
        print(line, flush=True)


if __name__ == "__main__":
    main()
