"""Scores weights on labelled frames, as `ecmnet eval` does.

    python -m ecmnet_training.evaluate --weights FILE --data PATH [--kind camvid] [--only PREFIX]
        [--enlarge 1.5]

One confusion matrix over all pixels, ignore_id dropped. A class absent from truth and prediction
has no IoU (null) and does not enter the mean. Beside it what a planner sees of the road (road.py);
its figures for every single row are in the `--json` file alone.
"""

import argparse
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .classes import TABLES, ClassTable
from .config import DataConfig
from .data import SegmentationSet, load
from .export import WeightsHeader, read_labeller
from .layers import bilinear
from .road import RoadScore, road_report, road_score

Measure = Callable[[Tensor, Tensor], Any]
"""Of a batch's labels and logits, as `logits_of` has them; what it returns adds up with `+`."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and std `[3]` on 0-255, RGB, and the size `[h, w]` the network sees."""

    mean: Tensor
    std: Tensor
    size_hw: tuple[int, int]


@torch.inference_mode()
def logits_of(
    network: nn.Module, frames: SegmentationSet, norm: Normalisation, *, batch: int = 8
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of true class ids, i64 `[b, h, w]`, and logits `[b, classes, h, w]`, on the network's
    device.

    The network runs in f32 at `norm`'s size, its logits are resized to the labels'.
    """
    device = next(network.parameters()).device
    mean, std = (t.to(device).view(1, 3, 1, 1) for t in (norm.mean, norm.std))
    for start in range(0, len(frames), batch):
        images = frames.images[start : start + batch].to(device).float()
        labels = frames.labels[start : start + batch].to(device).long()
        if images.shape[2:] != norm.size_hw:
            images = bilinear(images, norm.size_hw)
        logits = network((images - mean) / std)
        if logits.shape[2:] != labels.shape[1:]:
            logits = bilinear(logits, labels.shape[1:])
        yield labels, logits


def sums_of(
    network: nn.Module,
    frames: SegmentationSet,
    norm: Normalisation,
    measures: Sequence[Measure],
    *,
    batch: int = 8,
) -> list[Any]:
    """What each of `measures` says of all frames, one at least, from one pass of the network."""
    sums: list[Any] = []
    for labels, logits in logits_of(network, frames, norm, batch=batch):
        found = [measure(labels, logits) for measure in measures]
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
    return sums


def confusion_of(
    network: nn.Module, frames: SegmentationSet, norm: Normalisation, *, batch: int = 8
) -> NDArray[np.int64]:
    """`[classes, classes]` pixel counts: rows truth, columns prediction."""
    measure = partial(confusion_from_logits, classes=frames.classes)
    return sums_of(network, frames, norm, [measure], batch=batch)[0]


def scores_of(
    network: nn.Module, frames: SegmentationSet, norm: Normalisation, *, batch: int = 8
) -> tuple[NDArray[np.int64], RoadScore]:
    """The confusion matrix, and what a planner sees of the road, from one pass."""
    measures = [
        partial(measure, classes=frames.classes)
        for measure in (confusion_from_logits, road_from_logits)
    ]
    confusion, road = sums_of(network, frames, norm, measures, batch=batch)
    return confusion, road


def confusion_from_logits(labels: Tensor, logits: Tensor, classes: ClassTable) -> NDArray[np.int64]:
    """`confusion_of` of one batch as `logits_of` has it."""
    return confusion_from_ids(labels, logits.argmax(1), classes)


def road_from_logits(labels: Tensor, logits: Tensor, classes: ClassTable) -> RoadScore:
    """What a planner sees of the road in one batch as `logits_of` has it."""
    masks = (t.to(torch.uint8).cpu().numpy() for t in (labels, logits.argmax(1)))
    return road_score(*masks, classes)


def confusion_from_ids(labels: Tensor, predicted: Tensor, classes: ClassTable) -> NDArray[np.int64]:
    """`[classes, classes]` pixel counts, rows truth, of class ids, both i64 `[b, h, w]`."""
    kept = labels != classes.ignore_id
    pairs = labels[kept] * len(classes) + predicted[kept]
    counts = torch.bincount(pairs, minlength=len(classes) ** 2)
    return counts.view(len(classes), len(classes)).cpu().numpy()


def iou_from_confusion(confusion: NDArray[np.int64]) -> list[float | None]:
    """IoU of each class as a fraction; None where neither truth nor prediction has it."""
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return [float(h / u) if u else None for h, u in zip(hits, union, strict=True)]


def report(confusion: NDArray[np.int64], classes: ClassTable, frames: int) -> dict[str, object]:
    """`frames, miou, iou{class}, pixel_accuracy`, fractions; the names `ecmnet eval` uses."""
    iou = iou_from_confusion(confusion)
    present = [value for value in iou if value is not None]
    return {
        "frames": frames,
        "miou": float(np.mean(present)) if present else None,
        "iou": dict(zip(classes.names, iou, strict=True)),
        "pixel_accuracy": float(np.trace(confusion) / max(confusion.sum(), 1)),
    }


def frames_for(
    header: WeightsHeader, data: Path, *, kind: str, split: str = "train"
) -> SegmentationSet:
    """The labelled frames at `data` at the size the weights were trained at.

    Classes other than the weights' are an error; `split` is Cityscapes'.
    """
    classes = next((n for n, t in TABLES.items() if t.names == header.classes.names), "folder")
    frames = load(DataConfig(kind, header.train_size, "", "", classes), data, split=split)
    if frames.classes.names != header.classes.names:
        raise SystemExit(f"{data} has classes {frames.classes.names}, not the weights'")
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a weights file on labelled frames.")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kind", default="camvid", choices=["camvid", "cityscapes", "pairs"])
    parser.add_argument("--split", default="val", help="of Cityscapes: train or val")
    parser.add_argument("--only", nargs="*", default=[], help="prefixes of frame names to score")
    parser.add_argument(
        "--enlarge", type=float, default=1.0, help="the network's input, times this"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, header = read_labeller(args.weights)
    frames = frames_for(header, args.data, kind=args.kind, split=args.split)
    if args.only:
        frames = frames.split(args.only)[1]
    size_hw = tuple(round(args.enlarge * n) for n in header.train_size)
    norm = Normalisation(torch.tensor(header.mean), torch.tensor(header.std), size_hw)
    confusion, road = scores_of(network.to(device).eval(), frames, norm)
    result = report(confusion, frames.classes, len(frames))
    result["road"] = road_report(road, frames.classes)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    shown = copy.deepcopy(result)
    del shown["road"]["boundary"]["by_row"]
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
