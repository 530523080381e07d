"""Averages weights files, tensor by tensor.

    python -m ecmnet_training.average --weights A.safetensors B.safetensors --out FILE [--data PATH]
        [--train-size HxW]

Runs that went on from the same weights (with other seeds, or by other recipes) lie close enough
together for their average to be a network, often a better one; runs begun apart do not. The norms'
statistics are averaged like everything else. Where the files name frames held out of training,
`--data` is needed: the average is scored on them. Files of networks trained at different sizes need
`--train-size`, the size that the average is to run at. Temperature and offsets are left out, as
they were fitted for the parts.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .data import SegmentationSet
from .evaluate import Normalisation, confusion_of, frames_for, report
from .export import HELD_OUT, WeightsHeader, read_weights, write_weights
from .model import ECMNet


def averaged_state(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor, in its own dtype; counters are the first state's.

    States without the same tensors in the same shapes are an error.
    """
    first, *others = states
    for other in others:
        unlike = [n for n in first if n not in other or other[n].shape != first[n].shape]
        unlike += [name for name in other if name not in first]
        if unlike:
            raise ValueError(f"tensors that not all have in one shape: {', '.join(unlike)}")
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in first.items()
    }


def read_average(
    paths: Sequence[Path], train_size: tuple[int, int] | None = None
) -> tuple[ECMNet, WeightsHeader]:
    """The files' average, and the first one's header without what was measured on its own tensors.

    Files that differ in what the header must say of all of them are an error that names it; with
    `train_size` `[h, w]` given, it stands for the files' own sizes.
    """
    read = [(path, *read_weights(path)) for path in paths]
    if train_size is not None:
        read = [(p, n, dataclasses.replace(h, train_size=train_size)) for p, n, h in read]
    (first, network, header), *others = read
    for path, _, other in others:
        for what in ("plan", "classes", "mean", "std", "train_size", "dataset", "licence"):
            _refuse_unlike(what, (first, getattr(header, what)), (path, getattr(other, what)))
        _refuse_unlike("frames held out", (first, header.held_out()), (path, other.held_out()))
    network.load_state_dict(averaged_state([part.state_dict() for _, part, _ in read]))
    return network, dataclasses.replace(
        header, miou=0.0, miou_on="not measured", temperature=1.0, logit_offsets={}
    )


def scored(
    network: ECMNet, header: WeightsHeader, frames: SegmentationSet, held_out: Sequence[str]
) -> WeightsHeader:
    """The header with the network's score on `frames`, whose names begin with one of `held_out`."""
    norm = Normalisation(torch.tensor(header.mean), torch.tensor(header.std), header.train_size)
    miou = report(confusion_of(network, frames, norm), frames.classes, len(frames))["miou"]
    miou_on = HELD_OUT + ", ".join(held_out)
    return dataclasses.replace(header, miou=round(miou, 4), miou_on=miou_on)


def main() -> None:
    args = _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, header = read_average(args.weights, args.train_size)
    held_out = read_weights(args.weights[0])[1].held_out()
    if held_out:
        if args.data is None:
            raise SystemExit(f"these weights held out {', '.join(held_out)}: give --data to score")
        frames = frames_for(header, args.data, kind=args.kind).split(held_out)[1]
        header = scored(network.to(device), header, frames, held_out)
    header = dataclasses.replace(header, commit=args.commit)
    write_weights(args.out, network.state_dict(), header)
    print(f"wrote {args.out}: {len(args.weights)} files, mIoU {header.miou} ({header.miou_on})")


def _refuse_unlike(what: str, mine: tuple[Path, object], other: tuple[Path, object]) -> None:
    if mine[1] != other[1]:
        raise ValueError(f"{what}: {mine[0]} has {mine[1]}, {other[0]} has {other[1]}")


def _size(text: str) -> tuple[int, int]:
    height, width = (int(number) for number in text.split("x"))
    return height, width


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Average weights that went on from one start.")
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="the frames held out are scored from here")
    parser.add_argument("--kind", default="camvid", choices=["camvid", "cityscapes", "pairs"])
    parser.add_argument("--train-size", type=_size, metavar="HxW", help="of the average")
    parser.add_argument("--commit", default="unknown", help="written into the weights' metadata")
    return parser.parse_args()


if __name__ == "__main__":
    main()
