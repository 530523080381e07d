"""Judges recipes on whole drives held out, several runs side by side on one GPU.

    python -m ecmnet_training.folds --config A.toml B.toml --data PATH --out results.json

Each (recipe, seed) is trained once per fold without that fold's frames and scored on them. The
recipe's IoU comes from one confusion matrix summed over the folds, what a planner sees of the road
from the pixels of all folds together, and so do the offset of the drivable classes' logits
(offsets.py) and, with that offset in place, the temperature; all other figures are without it.
`--keep FOLDER` writes each run's weights with both, for `robustness` to judge.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import operator
import time
from pathlib import Path

import numpy as np
import torch

from .calibration import reliability_of
from .config import read_config
from .data import SegmentationSet, load, load_second
from .evaluate import confusion_from_logits, report, road_from_logits, sums_of
from .export import start_of, write_weights
from .model import with_offsets
from .offsets import sweep_from_logits, table
from .road import road_report
from .train import header_of, norm_of, train_together
from .trainer import Trainer

CAMVID_FOLDS = ("0001TP", "0006R0", "0016E5")


def main() -> None:
    args = _arguments()
    device = torch.device(args.device)
    started = time.monotonic()
    runs = []
    for path, seed, fold in itertools.product(args.config, args.seeds, args.folds):
        config = read_config(path)
        frames = load(config.data, args.data)
        kept, held_out = frames.split([fold])
        trainer = Trainer(
            config,
            kept,
            seed=seed,
            device=device,
            start=start_of(args.start, frames),
            second=load_second(args.second if config.optim.mixed_in else None, frames),
        )
        runs.append((path.stem, seed, fold, trainer, held_out))
        trainer.step()
    train_together([trainer for *_, trainer, _ in runs])
    seconds = time.monotonic() - started

    results = []
    for (recipe, seed), rows in itertools.groupby(runs, key=lambda run: run[:2]):
        group = list(rows)
        results.append({"recipe": recipe, "seed": seed} | pooled_scores([r[2:] for r in group]))
        pooled, fit = results[-1]["pooled"], results[-1]["calibration"]
        print(f"{recipe} seed {seed}: pooled mIoU {pooled['miou']:.4f}, calibration {fit}")
        offsets = results[-1]["offsets"]
        print(table(offsets["sweep"]), f"chosen: {offsets['chosen'] or 'none'}", sep="\n")
        for _, _, fold, trainer, held_out in group if args.keep else ():
            score = {"miou": offsets["folds"][fold]}
            header = header_of(
                trainer, trainer.config, held_out,
                score=score, held_out=[fold], commit=args.commit,
            )  # fmt: skip
            header = dataclasses.replace(
                header, temperature=fit["temperature"], logit_offsets=offsets["chosen"]
            )
            path = args.keep / f"{recipe}_{seed}_{fold}.safetensors"
            write_weights(path, trainer.network().state_dict(), header)
    summary = {"seconds": seconds, "results": results}
    args.out.write_text(json.dumps(summary) + "\n")


def pooled_scores(runs: list[tuple[str, Trainer, SegmentationSet]]) -> dict[str, object]:
    """mIoU of each fold, scores of their summed confusion matrix, the offset of the road's logits,
    and with it temperature and error."""
    classes = runs[0][2].classes
    folds, confusions, roads, sweeps = {}, [], [], {}
    for fold, trainer, held_out in runs:
        measures = [
            functools.partial(measure, classes=classes)
            for measure in (confusion_from_logits, road_from_logits, sweep_from_logits)
        ]
        confusion, road, sweeps[fold] = sums_of(
            trainer.network(), held_out, norm_of(trainer), measures
        )
        confusions.append(confusion)
        roads.append(road)
        folds[fold] = report(confusions[-1], classes, len(held_out))["miou"]
    confusion = np.sum(confusions, axis=0)
    sweep = functools.reduce(operator.add, sweeps.values())
    offset = sweep.best(classes)
    chosen = dict.fromkeys(classes.drivable, offset) if offset else {}
    reliability = functools.reduce(
        operator.add,
        (
            reliability_of(
                with_offsets(trainer.network(), chosen, classes), held_out, norm_of(trainer)
            )
            for _, trainer, held_out in runs
        ),
    )
    temperature = reliability.best_temperature()
    return {
        "folds": folds,
        "road": road_report(functools.reduce(operator.add, roads), classes),
        "pooled": report(confusion, classes, sum(len(h) for *_, h in runs)),
        "confusion": confusion.tolist(),
        "calibration": {
            "temperature": temperature,
            "error": reliability.calibration_error(temperature),
            "error_without": reliability.calibration_error(1.0),
        },
        "offsets": {
            "chosen": chosen,
            "folds": {fold: own.miou(offset, classes) for fold, own in sweeps.items()},
            "sweep": sweep.rows(classes),
        },
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score recipes on drives held out.")
    parser.add_argument("--config", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--folds", nargs="+", default=list(CAMVID_FOLDS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights that every run begins with")
    parser.add_argument("--second", type=Path, help="folder of pairs for optim.mixed_in")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="folder for each run's weights")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--commit", default="unknown", help="written into the weights' metadata")
    return parser.parse_args()


if __name__ == "__main__":
    main()
