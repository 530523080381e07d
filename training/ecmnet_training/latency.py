"""How long one frame takes in each of PyTorch's modes, each mode in a process of its own.

Half precision, channels_last, batch norms folded, weights frozen; eager in a CUDA graph, or
compiled (reduce-overhead, max-autotune), depthwise convolutions as such or as shifted sums, the
scan a Triton kernel in its fastest tiling. On a CPU, where the bench can only be tried, f32 without
graphs.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .export import read_labeller
from .inference import DeployedECMNet, Form
from .ss2d import SS2D

PACED_HZ = 30.0
WARM_UP_FRAMES = 30
SCAN_TILES = ((1, 32, 1), (2, 32, 2), (1, 64, 1), (2, 64, 2), (1, 128, 2), (1, 128, 4), (1, 256, 4))
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Mode:
    """How PyTorch runs the network: `compile` is torch.compile's mode, or None for eager."""

    name: str
    form: Form
    compile: str | None


@dataclass(frozen=True)
class Job:
    """What a mode's process is told."""

    mode: Mode
    weights: Path
    images: list[NDArray[np.uint8]]
    device: str
    frames: int
    paced_frames: int


def modes(device: str) -> list[Mode]:
    """The modes that are compared."""
    dtype = torch.float16 if device == "cuda" else torch.float32
    as_convolution, as_shifts = Form(dtype, "convolution"), Form(dtype, "shifts")
    compiled = [
        Mode(f"{how}, depthwise as {form.depthwise}", form, how)
        for how in ("reduce-overhead", "max-autotune")
        for form in (as_convolution, as_shifts)
    ]
    eager = "eager in a CUDA graph" if device == "cuda" else "eager"
    return [Mode(eager, as_convolution, None), *compiled]


def measure_mode(job: Job, parent: Connection) -> None:
    """A mode's process: makes it ready and says so; then each "measure" is answered by frames back
    to back, each "paced" by frames at a camera's rate, until "end"."""
    # The modes compile side by side: each takes a share of the cores.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    torch.set_grad_enabled(False)
    torch.set_float32_matmul_precision("high")
    if job.device == "cpu":
        torch.set_num_threads(1)
    start = time.perf_counter()
    images = [torch.from_numpy(image).to(job.device) for image in job.images]
    network, header = read_labeller(job.weights)
    mean, std = torch.tensor(header.mean), torch.tensor(header.std)
    exact = DeployedECMNet(network, mean, std, Form(torch.float32)).to(job.device)
    expected = [exact(image) for image in images]
    model = DeployedECMNet(network, mean, std, job.mode.form).to(job.device)
    tile = use_fastest_scan(model, images[0]) if job.device == "cuda" else None
    run = runner(model, job.mode, images[0])
    agreement = [
        (run(image) == wanted).float().mean().item()
        for image, wanted in zip(images, expected, strict=True)
    ]
    parent.send({"ready_s": time.perf_counter() - start})
    while (asked := parent.recv()) != "end":
        for i in range(WARM_UP_FRAMES if job.device == "cuda" else 1):
            run(images[i % len(images)])
        if asked == "paced":
            times = wall_ms(run, images, job.paced_frames, rate_hz=PACED_HZ)
            parent.send({"paced_ms": summary(times)})
            continue
        result = {
            "wall_ms": summary(wall_ms(run, images, job.frames)),
            "agreement_with_f32": statistics.mean(agreement),
            "scan_tile": tile,
        }
        if job.device == "cuda":
            result["event_ms"] = summary(event_ms(run, images, job.frames))
        parent.send(result)


def runner(model: DeployedECMNet, mode: Mode, image: Tensor) -> Run:
    """The model as a function that is ready to be timed."""
    if mode.compile is None:
        return graph_of(model, image) if image.is_cuda else model
    if image.is_cuda:
        torch._inductor.config.freezing = True
        compiled = torch.compile(model, mode=mode.compile, fullgraph=True, dynamic=False)
    else:
        compiled = torch.compile(model, dynamic=False)

    def run(image: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(image)

    for _ in range(3):
        run(image)
    return run


def graph_of(model: DeployedECMNet, image: Tensor) -> Run:
    """Eager PyTorch's kernels, recorded once and replayed."""
    torch.backends.cudnn.benchmark = True
    fixed = image.clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(fixed)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        ids = model(fixed)

    def run(image: Tensor) -> Tensor:
        fixed.copy_(image)
        graph.replay()
        return ids

    return run


def use_fastest_scan(model: DeployedECMNet, image: Tensor) -> tuple[int, int, int]:
    """Gives the model's scan the tiling that is fastest on this image's size, and returns it."""
    from ecmnet_training.scan_triton import selective_scan_tiled

    ss2d = next(module for module in model.modules() if isinstance(module, SS2D))
    seen: dict[str, Tensor] = {}

    def keep(u: Tensor, delta: Tensor, **others: Tensor) -> Tensor:
        seen.update(u=u, delta=delta, **others)
        return selective_scan_tiled(u, delta, **others, block_d=2, block_l=32, warps=2)

    ss2d.selective_scan = keep
    model(image)
    times = {}
    for tile in SCAN_TILES:
        block_d, block_l, warps = tile
        scan = partial(selective_scan_tiled, block_d=block_d, block_l=block_l, warps=warps)
        run = partial(scan, **seen)
        run()
        times[tile] = statistics.median(event_ms(lambda _, run=run: run(), [image], 20))
    best = min(times, key=times.__getitem__)
    block_d, block_l, warps = best

    def fastest(u: Tensor, delta: Tensor, **others: Tensor) -> Tensor:
        return selective_scan_tiled(
            u, delta, **others, block_d=block_d, block_l=block_l, warps=warps
        )

    ss2d.selective_scan = fastest
    return best


def wall_ms(
    run: Run, images: list[Tensor], frames: int, *, rate_hz: float | None = None
) -> list[float]:
    """Milliseconds of each frame from its start to the device's standstill."""
    found = []
    due = time.perf_counter()
    for i in range(frames):
        if rate_hz is not None:
            due += 1.0 / rate_hz
            time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        run(images[i % len(images)])
        if images[0].is_cuda:
            torch.cuda.synchronize()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def event_ms(run: Run, images: list[Tensor], frames: int) -> list[float]:
    """Milliseconds of each frame between two events of the device's stream."""
    found = []
    for i in range(frames):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run(images[i % len(images)])
        after.record()
        torch.cuda.synchronize()
        found.append(before.elapsed_time(after))
    return found


def summary(values_ms: list[float]) -> dict[str, float]:
    """The percentiles that the table shows."""
    p50, p95, p99 = np.percentile(values_ms, (50, 95, 99)).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}
