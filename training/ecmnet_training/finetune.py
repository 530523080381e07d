"""Makes shipped weights better on frames of one's own, and says by how much.

    python -m ecmnet_training.finetune --data FOLDER --out runs/NAME --start WEIGHTS
        [--minutes M] [--hold-out PREFIX ...]

The folder holds `list.txt` (lines `image label`) and, where its classes are not those of the
weights, a `classes.json`. The network keeps the weights' size, unless the configuration has one.
Classes of the same name keep their row of the classifier and the offset of their logits, others
start anew. The last fifth of the list, or the frames of `--hold-out`, are never trained on: they
score the weights before (at their own size) and after, and fit the temperature. Beside what `train`
leaves, the run's folder gets `finetune.json` with both scores. Exit status 2: something is wrong
with what was given; 1: the masks are not better than before.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .calibration import reliability_from_logits
from .classes import read_class_table
from .config import TrainConfig, copy_config, read_config
from .data import SegmentationSet, load_pairs
from .evaluate import (
    Normalisation,
    confusion_from_logits,
    report,
    road_from_logits,
    scores_of,
    sums_of,
)
from .export import WeightsHeader, read_weights, write_weights
from .model import ECMNet, with_offsets
from .road import RoadScore, road_report
from .train import header_of, run_to_end
from .trainer import Trainer

CONFIG = Path(__file__).parents[1] / "configs" / "finetune.toml"
_TIMED_STEPS = 4
_UNTIMED_STEPS = 4
"""On a GPU the first steps run apart and the next one is recorded."""


def main() -> None:
    args = _arguments()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    started = time.monotonic()
    torch.manual_seed(args.seed)
    try:
        network, header = read_weights(args.start)
        config = read_config(args.config, size=header.train_size)
        config = dataclasses.replace(config, plan=header.plan)
        frames = own_frames(args.data, header, config)
        kept, held_out = split_frames(frames, args.hold_out, config.optim.batch)
        start, carried = carried_over(network, header, frames)
        if args.minutes is not None:
            config = within_minutes(config, kept, start, minutes=args.minutes, device=device)
    except (ValueError, OSError) as error:
        print(f"finetune: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    _announce(header, frames, kept, held_out, carried, config, args)

    args.out.mkdir(parents=True, exist_ok=True)
    copy_config(args.config, args.out)
    offsets = {name: header.logit_offsets.get(name, 0.0) for name in carried}
    offsets = {name: offset for name, offset in offsets.items() if offset}
    before = None
    if len(carried) == len(frames.classes):
        first = ECMNet(len(frames.classes), config.plan)
        first.load_state_dict(start)
        statistics = torch.tensor(header.mean), torch.tensor(header.std)
        norm = Normalisation(*statistics, header.train_size)
        first = with_offsets(first.to(device).eval(), offsets, frames.classes)
        before = _score(*scores_of(first, held_out, norm), held_out)
    trainer = Trainer(config, kept, seed=args.seed, device=device, start=start)
    run_to_end(trainer, args.out, save_every=50)
    norm = Normalisation(trainer.mean, trainer.std, config.data.size)
    labeller = with_offsets(trainer.network(), offsets, frames.classes)
    measures = [
        functools.partial(measure, classes=frames.classes)
        for measure in (confusion_from_logits, road_from_logits, reliability_from_logits)
    ]
    confusion, road, reliability = sums_of(labeller, held_out, norm, measures)
    after = _score(confusion, road, held_out)
    temperature = reliability.best_temperature()
    written = header_of(
        trainer, config, frames,
        score=after, held_out=args.hold_out, commit=args.commit,
    )  # fmt: skip
    if not args.hold_out:
        written = dataclasses.replace(written, miou_on="the last fifth of the list, not trained on")
    written = dataclasses.replace(
        written, temperature=temperature, logit_offsets=offsets, **terms(header, config)
    )
    write_weights(args.out / "weights.safetensors", trainer.network().state_dict(), written)
    result = {
        "before": before,
        "after": after,
        "temperature": temperature,
        "logit_offsets": offsets,
        "carried_classes": carried,
        "frames": {"trained_on": len(kept), "held_out": len(held_out)},
        "steps": trainer.steps_done,
        "seconds": round(time.monotonic() - started, 1),
        "device": str(device),
        "start": str(args.start),
    }
    (args.out / "finetune.json").write_text(json.dumps(result, indent=1) + "\n")
    for line in _summary(result):
        print(line)
    print(f"wrote {args.out / 'weights.safetensors'} after {result['seconds']:.0f} s")
    if before is not None and after["miou"] <= before["miou"]:
        print("the masks are NOT better: keep the weights you had", file=sys.stderr)
        raise SystemExit(1)


def own_frames(root: Path, header: WeightsHeader, config: TrainConfig) -> SegmentationSet:
    """The folder's frames at the configuration's size, with its own classes or the weights'."""
    table = header.classes
    if (root / "classes.json").is_file():
        table = read_class_table(root / "classes.json")
    frames = load_pairs(root, classes=table, size_hw=config.data.size)
    if (frames.labels == table.ignore_id).all():
        raise ValueError(f"{root}: every pixel of every label is ignored ({table.ignore_id})")
    return frames


def split_frames(
    frames: SegmentationSet, hold_out: list[str], batch: int
) -> tuple[SegmentationSet, SegmentationSet]:
    """(frames to train on, frames that only score): by prefixes, or the last fifth of the list.

    Neighbouring frames of a drive are alike, so the last ones tell more than random ones would.
    """
    kept, held_out = frames.split(hold_out) if hold_out else frames.split_last(0.2)
    if len(kept) < batch or not len(held_out):
        raise ValueError(
            f"{len(kept)} frames to train on and {len(held_out)} to score with are too few: "
            f"at least {batch} (optim.batch) and 1"
        )
    return kept, held_out


def carried_over(
    network: ECMNet, header: WeightsHeader, frames: SegmentationSet
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors to begin with for the frames' classes, and the classes whose rows were carried over.

    A class of a name that the weights do not know begins with PyTorch's initialisation.
    """
    names = frames.classes.names
    state = network.state_dict()
    fresh = ECMNet(len(names), header.plan).state_dict()["classifier.weight"]
    carried = [name for name in names if name in header.classes.names]
    for name in carried:
        row = state["classifier.weight"][header.classes.names.index(name)]
        fresh[names.index(name)] = row
    return state | {"classifier.weight": fresh}, carried


def within_minutes(
    config: TrainConfig,
    frames: SegmentationSet,
    start: dict[str, Tensor],
    *,
    minutes: float,
    device: torch.device,
) -> TrainConfig:
    """The configuration with as many epochs as fit into `minutes`, at most its own.

    Times a few steps of a run that is then thrown away.
    """
    began = time.monotonic()
    trainer = Trainer(config, frames, seed=0, device=device, start=start)
    steps = _UNTIMED_STEPS if device.type == "cuda" else 1
    for _ in range(steps):
        trainer.step()
    trainer.network()
    timed = time.monotonic()
    for _ in range(_TIMED_STEPS):
        trainer.step()
    trainer.network()
    epoch_s = (time.monotonic() - timed) / _TIMED_STEPS * trainer.steps_per_epoch
    left_s = 60 * minutes - (time.monotonic() - began)
    epochs = min(config.optim.epochs, int(left_s / epoch_s))
    if epochs < 1:
        raise ValueError(f"one epoch takes {epoch_s / 60:.1f} minutes, {minutes} do not suffice")
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, epochs=epochs))


def terms(header: WeightsHeader, config: TrainConfig) -> dict[str, str]:
    """`dataset` and `licence` of weights begun with others, whose terms come first and go on."""
    return {
        "dataset": f"{config.data.dataset}; begun with weights of: {header.dataset}",
        "licence": f"{header.licence}; frames: {config.data.licence}",
    }


def _score(
    confusion: NDArray[np.int64], road: RoadScore, frames: SegmentationSet
) -> dict[str, object]:
    score = report(confusion, frames.classes, len(frames))
    return score | {"road": road_report(road, frames.classes)}


def _announce(
    header: WeightsHeader,
    frames: SegmentationSet,
    kept: SegmentationSet,
    held_out: SegmentationSet,
    carried: list[str],
    config: TrainConfig,
    args: argparse.Namespace,
) -> None:
    print(f"start: {args.start}, plan {header.plan}, licence: {header.licence}")
    print(f"frames: {len(kept)} to train on, {len(held_out)} to score with")
    anew = [name for name in frames.classes.names if name not in carried]
    print(f"classes carried over: {', '.join(carried) or 'none'}")
    if anew:
        print(f"classes begun anew: {', '.join(anew)}; no score before, as it would mean nothing")
    shares = kept.class_frequencies()
    absent = [n for n, share in zip(frames.classes.names, shares, strict=True) if share == 0]
    if absent:
        print(f"no frame to train on has any pixel of: {', '.join(absent)}")
    was, is_now = ("x".join(map(str, size)) for size in (header.train_size, config.data.size))
    print(f"network's size: {is_now}" + ("" if was == is_now else f", the start's is {was}"))
    print(f"{config.optim.epochs} epochs", flush=True)


def _summary(result: dict[str, object]) -> list[str]:
    def figures(score: dict[str, object] | None) -> tuple[float | None, float | None]:
        return (None, None) if score is None else (score["miou"], score["road"]["iou"])

    def text(value: float | None) -> str:
        return "    -" if value is None else f"{value:.3f}"

    pairs = zip(figures(result["before"]), figures(result["after"]), strict=True)
    return [
        f"{name:9} {text(before)} -> {text(after)}"
        for name, (before, after) in zip(("mIoU", "road IoU"), pairs, strict=True)
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fine-tune weights on frames of one's own.")
    parser.add_argument("--data", type=Path, required=True, help="folder with list.txt")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--start", type=Path, required=True, help="weights to begin with")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--minutes", type=float, help="train no longer than about this")
    parser.add_argument("--hold-out", nargs="*", default=[], help="prefixes of frame names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: cuda if there is one")
    parser.add_argument("--commit", default="unknown", help="written into the weights' metadata")
    return parser.parse_args()


if __name__ == "__main__":
    main()
