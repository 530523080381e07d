"""Writes the fixtures of the Rust network's parity test.

    python -m ecmnet_training.goldens --out tests/fixtures/goldens [--weights FILE]

Each file holds, per named intermediate of one forward pass in f64: shape, mean, L2 norm, largest
magnitude, and up to 4,096 elements at seeded places as 16-bit fractions of the largest magnitude
(1.5e-5 of it, a seventh of the test's tolerance). `--whole` writes whole f32 tensors instead.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .generator import sample_positions, seeded_image, seeded_weights
from .model import ECMNet, Plan

SIZES_HW = ((360, 480), (512, 1024), (357, 481))
SEEDED_CLASSES = 11


def seeded_model(plan: Plan) -> ECMNet:
    """The network in f64 with generated weights and running statistics."""
    model = ECMNet(SEEDED_CLASSES, plan)
    shapes = {name: tuple(t.shape) for name, t in _tensors(model)}
    model.load_state_dict(seeded_weights(shapes), strict=False)
    return model.double().eval()


def trained_model(path: Path) -> tuple[ECMNet, Plan, Tensor, Tensor]:
    """The network in f64 with a weights file, its plan, and its mean and std `[3]`."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    plan: Plan = metadata["plan"]
    model = ECMNet(len(json.loads(metadata["classes"])), plan)
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")
    mean, std = (
        torch.tensor(json.loads(metadata[key]), dtype=torch.float64) for key in ("mean", "std")
    )
    return model.double().eval(), plan, mean, std


@torch.inference_mode()
def trace(model: ECMNet, size_hw: tuple[int, int], mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """Every intermediate `[1, c, h, w]` in f64 for the seeded image of that size."""
    image = torch.from_numpy(seeded_image(*size_hw)).double()
    return model.forward_traced(((image - mean) / std).permute(2, 0, 1)[None])


def write_samples(path: Path, traced: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """One fixture file, in the layout of this module's heading."""
    tensors, table = {}, []
    for name, value in traced.items():
        flat = value.contiguous().flatten()
        max_abs = flat.abs().max().item()
        positions = torch.from_numpy(sample_positions(name, flat.numel()))
        tensors[name] = (flat[positions] * (32767.0 / max_abs)).round().to(torch.int16)
        table.append(
            {
                "name": name,
                "shape": list(value.shape),
                "mean": flat.mean().item(),
                "l2": flat.norm().item(),
                "max_abs": max_abs,
            }
        )
    save_file(tensors, path, metadata | {"intermediates": json.dumps(table)})


def write_whole(path: Path, traced: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Whole tensors in f32, for `make parity`; hundreds of megabytes, never committed."""
    tensors = {name: value.float().contiguous() for name, value in traced.items()}
    save_file(tensors, path, metadata | {"intermediates": json.dumps(list(tensors))})


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the parity fixtures.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the fixture files")
    parser.add_argument("--weights", type=Path, help="a trained file, instead of seeded weights")
    parser.add_argument("--name", default="camvid", help="prefix of the trained cases' files")
    parser.add_argument("--whole", action="store_true", help="whole tensors, not samples")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write = write_whole if args.whole else write_samples
    for prefix, plan, model, mean, std in _cases(args.weights, args.name):
        for height, width in SIZES_HW:
            path = args.out / f"{prefix}_{plan.lower()}_{height}x{width}.safetensors"
            metadata = {
                "format": "1",
                "weights": prefix,
                "plan": plan,
                "height": str(height),
                "width": str(width),
                "classes": str(model.classifier.out_channels),
            }
            write(path, trace(model, (height, width), mean, std), metadata)
            print(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")


def _cases(weights: Path | None, name: str) -> Iterator[tuple[str, Plan, ECMNet, Tensor, Tensor]]:
    if weights is not None:
        model, plan, mean, std = trained_model(weights)
        yield name, plan, model, mean, std
        return
    plans: tuple[Plan, ...] = ("A", "B")
    for plan in plans:
        three = torch.ones(3, dtype=torch.float64)
        yield "seeded", plan, seeded_model(plan), 128 * three, 64 * three


def _tensors(model: ECMNet) -> list[tuple[str, Tensor]]:
    state = model.state_dict()
    return [(n, t) for n, t in state.items() if not n.endswith("num_batches_tracked")]


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore", over="ignore")
    main()
