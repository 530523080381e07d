"""What weights lose under corruptions that no training has seen, on drives held out.

    python -m ecmnet_training.robustness --data PATH --weights A_*.safetensors \
        [--against PROBE_*.safetensors] [--only PREFIX] [--json FILE]

A recipe is one weights file, or one for each drive held out. Each is scored on the frames that its
metadata name as held out, or on those of `--only`, clean and under each of `corruptions.HELD_OUT`
at each severity; the files' confusion matrices are added. A loss is the clean figure less the
corrupted one, a kind's loss the mean over its severities, a recipe's the mean over kinds.
`--against` scores a second recipe on the same pictures and says what share of its loss of road IoU
the first one loses.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .corruptions import HELD_OUT, SEVERITIES, Corruption, corrupted
from .data import SegmentationSet
from .evaluate import Normalisation, confusion_of, frames_for, iou_from_confusion
from .export import WeightsHeader, read_labeller
from .model import ECMNet
from .road import road_iou

MOST_OF_THE_OTHERS_LOSS = 0.5
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Judged:
    """A network, its file's header, and the frames that it never saw."""

    network: ECMNet
    header: WeightsHeader
    frames: SegmentationSet


def recipe_report(
    judged: Sequence[Judged],
    *,
    corruptions: Sequence[Corruption] = HELD_OUT,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> dict[str, object]:
    """`clean`, `corrupted{kind: [severities]}` (each `miou, road_iou`), `lost{kind}`, `mean_lost`.

    Fractions; the files' frames are pooled.
    """
    clean = _pooled(judged, lambda frames: frames)
    progress(f"{'clean':14} {_line(clean)}")
    scores, lost = {}, {}
    for kind in corruptions:
        scores[kind.name] = []
        for severity in severities:
            score = _pooled(
                judged, lambda f, k=kind, s=severity: corrupted_frames(f, k, severity=s, seed=seed)
            )
            scores[kind.name].append({"severity": severity} | score)
            progress(f"{kind.name + ' ' + str(severity):14} {_line(score)}")
        lost[kind.name] = {
            key: clean[key] - float(np.mean([score[key] for score in scores[kind.name]]))
            for key in clean
        }
    return {
        "frames": sum(len(j.frames) for j in judged),
        "clean": clean,
        "corrupted": scores,
        "lost": lost,
        "mean_lost": {key: float(np.mean([loss[key] for loss in lost.values()])) for key in clean},
    }


def corrupted_frames(
    frames: SegmentationSet, corruption: Corruption, *, severity: int, seed: int
) -> SegmentationSet:
    """Every frame under `corruption`; the same seed gives the same pictures."""

    def damaged(i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return corrupted(
            frames.images[i].permute(1, 2, 0).numpy(), frames.labels[i].numpy(), corruption,
            severity=severity, seed=seed, frame=frames.names[i],
            ignore_id=frames.classes.ignore_id,
        )  # fmt: skip

    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(damaged, range(len(frames))))
    images = torch.from_numpy(np.stack([image for image, _ in rows])).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.stack([label for _, label in rows]))
    return SegmentationSet(images.contiguous(), labels, frames.names, frames.classes)


def comparison(report: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    """The share of `other`'s mean loss of road IoU that `report` has, and whether it is a half.

    The share is null where the other one loses nothing.
    """
    mine, others = (r["mean_lost"]["road_iou"] for r in (report, other))
    share = mine / others if others > 0 else None
    met = mine <= MOST_OF_THE_OTHERS_LOSS * others
    return {"road_iou_lost": mine, "others": others, "share": share, "met": met}


def main() -> None:
    args = _arguments()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kinds = [kind for kind in HELD_OUT if not args.kinds or kind.name in args.kinds]
    recipes = {"weights": args.weights} | ({"against": args.against} if args.against else {})
    result = {}
    for key, paths in recipes.items():
        judged = [_judged(path, args, device) for path in paths]
        print(f"{key}: {', '.join(path.name for path in paths)}", flush=True)
        result[key] = recipe_report(
            judged,
            corruptions=kinds,
            severities=args.severities,
            seed=args.seed,
            progress=lambda line: print(line, flush=True),
        )
        print("\n".join(_lost_lines(result[key])), flush=True)
    if args.against:
        result["comparison"] = comparison(result["weights"], result["against"])
        print(_comparison_line(result["comparison"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def _judged(path: Path, args: argparse.Namespace, device: torch.device) -> Judged:
    network, header = read_labeller(path)
    held_out = args.only or header.held_out()
    if not held_out:
        raise SystemExit(f"{path} names no frames held out ({header.miou_on!r}); give --only")
    frames = frames_for(header, args.data, kind=args.kind).split(held_out)[1]
    return Judged(network.to(device), header, frames.every(args.every))


def _pooled(
    judged: Iterable[Judged], change: Callable[[SegmentationSet], SegmentationSet]
) -> dict[str, float]:
    total, classes = 0, None
    for one in judged:
        classes = one.frames.classes
        size = one.header.train_size
        norm = Normalisation(torch.tensor(one.header.mean), torch.tensor(one.header.std), size)
        total = total + confusion_of(one.network, change(one.frames), norm)
    iou = [value for value in iou_from_confusion(total) if value is not None]
    return {"miou": float(np.mean(iou)), "road_iou": road_iou(total, classes)}


def _line(score: dict[str, float]) -> str:
    return f"mIoU {score['miou']:.3f}  road IoU {score['road_iou']:.3f}"


def _lost_lines(report: dict[str, object]) -> list[str]:
    rows = {**report["lost"], "mean": report["mean_lost"]}
    return [
        f"lost, {name:14} mIoU {loss['miou']:.3f}  road IoU {loss['road_iou']:.3f}"
        for name, loss in rows.items()
    ]


def _comparison_line(result: dict[str, object]) -> str:
    share = "" if result["share"] is None else f", {result['share']:.2f} of it"
    return (
        f"road IoU lost {result['road_iou_lost']:.4f}, by the other {result['others']:.4f}{share}"
        f" (at most {MOST_OF_THE_OTHERS_LOSS} wanted): {'met' if result['met'] else 'NOT met'}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score weights under held-out corruptions.")
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--against", type=Path, nargs="+", help="another recipe's, as the probe's")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kind", default="camvid", choices=["camvid", "cityscapes", "pairs"])
    parser.add_argument("--only", nargs="*", default=[], help="prefixes of frame names to score")
    parser.add_argument("--kinds", nargs="*", choices=[kind.name for kind in HELD_OUT])
    parser.add_argument("--severities", type=int, nargs="+", default=SEVERITIES, choices=SEVERITIES)
    parser.add_argument("--every", type=int, default=1, help="score each n-th frame only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: cuda if there is one")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
