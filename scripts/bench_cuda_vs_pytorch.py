"""The CUDA engine beside PyTorch's best mode for the same network, in one run on one GPU.

    PYTHONPATH=training python scripts/bench_cuda_vs_pytorch.py --ecmnet target/release/ecmnet \
        --images IMAGES [--sizes 512x1024,360x480 | all] [--json out/bench/cuda.json]

IMAGES is a folder of pictures or CamVid's tar; eight of them, resized, take turns. A frame goes
from the u8 image on the device to the class ids on the device. Latency is wall time with the device
synchronised after each frame: 500 frames back to back, 300 paced at 30 Hz (of PyTorch's fastest
mode alone); time by CUDA events beside it. PyTorch's modes are those of `ecmnet_training.latency`;
they are compiled side by side, each in its own process, and measured one after another.
`--device cpu` tries the script without a GPU.
"""

import argparse
import io
import json
import multiprocessing
import subprocess
import tarfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from ecmnet_training.latency import Job, measure_mode, modes
from PIL import Image

CHECKOUT = Path(__file__).resolve().parent.parent
ALL_SIZES = "512x1024,360x480,1024x1024"
IMAGES = 8


def bench_pytorch(jobs: list[Job], patience_s: float) -> list[dict]:
    """Makes all modes ready side by side, then measures each alone."""
    context = multiprocessing.get_context("spawn")
    started = time.monotonic()
    children = []
    for job in jobs:
        ours, theirs = context.Pipe()
        child = context.Process(target=measure_mode, args=(job, theirs))
        child.start()
        theirs.close()
        children.append((job.mode.name, child, ours))
    ready, results = [], []
    for name, child, pipe in children:
        told = receive(pipe, max(started + patience_s - time.monotonic(), 0.0))
        if told is None:
            cause = "failed" if child.exitcode else f"not ready after {patience_s:.0f} s"
            print(f"{name}: {cause}", flush=True)
            results.append({"mode": name, "error": cause})
            child.kill()
        else:
            print(f"{name}: ready after {told['ready_s']:.0f} s", flush=True)
            ready.append((pipe, {"mode": name} | told))
    # One at a time, with no compiler beside it; the paced frames of the fastest alone.
    for pipe, result in ready:
        result |= ask(pipe, "measure")
    ready.sort(key=lambda one: one[1]["wall_ms"]["p50"])
    for pipe, result in ready[:1]:
        result |= ask(pipe, "paced")
    for pipe, result in ready:
        pipe.send("end")
        results.append(result)
    for _, child, _ in children:
        child.join(10)
        child.kill()
    return results


def ask(pipe: Connection, what: str) -> dict:
    """A ready process's answer."""
    pipe.send(what)
    return pipe.recv()


def receive(pipe: Connection, patience_s: float) -> dict | None:
    """What a process answers; None where it has ended or does not answer in time."""
    try:
        return pipe.recv() if pipe.poll(patience_s) else None
    except EOFError:
        return None


def bench_engine(ecmnet: Path, weights: Path, folder: Path, *, size: str, frames: int) -> dict:
    """What `ecmnet bench` says of the engine on the images in `folder`."""
    report = folder.with_suffix(".json")
    command = [ecmnet, "bench", "--device", "cuda", "--dtype", "f16", "--size", size]
    command += ["--frames", str(frames), "--weights", weights, "--images", folder]
    subprocess.run([*command, "--json", report], check=True)
    return json.loads(report.read_text())


def load_images(source: Path, height: int, width: int) -> list[np.ndarray]:
    """Eight pictures spread over a folder or CamVid's tar, u8 RGB `[h, w, 3]`."""
    if source.is_dir():
        endings = (".png", ".jpg", ".jpeg")
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in endings)
        contents = [file.read_bytes() for file in spread(files, source)]
    else:
        with tarfile.open(source) as archive:
            names = [n for n in archive.getnames() if n.startswith("val/") and n.endswith(".jpg")]
            contents = [archive.extractfile(name).read() for name in spread(sorted(names), source)]
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
    return [
        np.array(picture.resize((width, height), Image.Resampling.BILINEAR)) for picture in pictures
    ]


def spread(items: list, source: Path) -> list:
    """Eight of the items, evenly spread."""
    if len(items) < IMAGES:
        raise SystemExit(f"{source} has {len(items)} pictures, {IMAGES} are needed")
    return [items[i * len(items) // IMAGES] for i in range(IMAGES)]


def print_table(size: str, results: list[dict], engine: dict | None) -> None:
    """One row a mode, milliseconds; the engine last, with the ratio to PyTorch's best."""
    print(f"\n{size}, milliseconds, device image to device mask")
    print(f"{'':47} {'p50':>7} {'p95':>7} {'30 Hz':>7} {'p95':>7} {'events':>7} {'as f32':>7}")
    for result in results:
        if "error" in result:
            print(f"{result['mode']:47} {result['error']}")
        else:
            cells = [
                *(
                    result.get(key, {}).get(p)
                    for key in ("wall_ms", "paced_ms")
                    for p in ("p50", "p95")
                ),
                result.get("event_ms", {}).get("p50"),
            ]
            print(row(result["mode"], cells, f"{result['agreement_with_f32']:7.2%}"))
    if engine:
        cells = [
            engine.get(key, {}).get(p)
            for key in ("engine_ms", "engine_paced_ms")
            for p in ("p50", "p95")
        ]
        print(row("this engine", [*cells, engine.get("engine_event_ms", {}).get("p50")], ""))
        host = engine["latency_ms"]
        print(f"this engine, host to host: p50 {host['p50']:.3f}, p95 {host['p95']:.3f}")
    timed = [result["wall_ms"]["p50"] for result in results if "wall_ms" in result]
    if timed and engine and "engine_ms" in engine:
        print(f"PyTorch's best over this engine: {min(timed) / engine['engine_ms']['p50']:.1f}")


def row(name: str, cells: list[float | None], last: str) -> str:
    """A line of the table."""
    shown = (f"{'-' if cell is None else f'{cell:.3f}':>7}" for cell in cells)
    return f"{name:47} {' '.join(shown)} {last}"


def main() -> None:
    """Measures each size and writes all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ecmnet", type=Path, help="ecmnet built with --features cuda")
    parser.add_argument("--images", type=Path, required=True, help="folder, or CamVid's tar")
    parser.add_argument(
        "--weights", type=Path, default=CHECKOUT / "models" / "ecmnet_camvid.safetensors"
    )
    parser.add_argument("--sizes", default="512x1024", help="HxW, comma between, or all")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--paced-frames", type=int, default=300)
    parser.add_argument("--patience-s", type=float, default=900.0, help="for compiling a size")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", default="", help="only modes with this in their name")
    parser.add_argument("--json", type=Path, default=Path("out/bench/cuda.json"))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device")
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else "none"
    print(f"PyTorch {torch.__version__}, GPU: {gpu}", flush=True)
    report = {"pytorch": torch.__version__, "gpu": gpu, "sizes": {}}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for size in (ALL_SIZES if options.sizes == "all" else options.sizes).split(","):
        height, width = map(int, size.split("x"))
        images = load_images(options.images, height, width)
        folder = options.json.parent / f"images_{size}"
        folder.mkdir(exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{number}.png")
        chosen = [mode for mode in modes(options.device) if options.only in mode.name]
        jobs = [
            Job(
                mode,
                options.weights,
                images,
                options.device,
                options.frames,
                options.paced_frames,
            )
            for mode in chosen
        ]
        results = bench_pytorch(jobs, options.patience_s)
        engine = None
        if options.ecmnet:
            engine = bench_engine(
                options.ecmnet, options.weights, folder, size=size, frames=options.frames
            )
        print_table(size, results, engine)
        report["sizes"][size] = {"pytorch": results, "engine": engine}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
