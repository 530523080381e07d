"""Trains one network and exports its averaged weights.

    python -m ecmnet_training.train --config configs/camvid.toml --data PATH --out runs/NAME \
        [--start WEIGHTS] [--second PAIRS]

`--start` begins with a weights file's tensors; `--second` is the folder of image pairs that
`optim.mixed_in` takes from.
The run's folder gets a copy of the configuration and of what it extends, `run.json` (seed,
versions, frames), TensorBoard events, `checkpoint.pt` and `weights.safetensors`. `--resume`
continues from the checkpoint.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from .config import TrainConfig, copy_config, read_config
from .data import SegmentationSet, load, load_second
from .evaluate import Normalisation, confusion_of, report
from .export import HELD_OUT, WeightsHeader, start_of, write_weights
from .trainer import Trainer

_LOG_EVERY_STEPS = 50
_REPORT_EVERY_S = 20.0


def main() -> None:
    args = _arguments()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    config = read_config(args.config)
    frames = load(config.data, args.data)
    kept, held_out = frames.split(args.hold_out) if args.hold_out else (frames, None)
    args.out.mkdir(parents=True, exist_ok=True)
    copy_config(args.config, args.out)
    (args.out / "run.json").write_text(json.dumps(_provenance(args, kept), indent=1) + "\n")

    trainer = Trainer(
        config,
        kept,
        seed=args.seed,
        device=device,
        start=start_of(args.start, frames),
        second=load_second(args.second, frames),
    )
    checkpoint = args.out / "checkpoint.pt"
    if args.resume:
        trainer.load_state_dict(torch.load(checkpoint, map_location=device, weights_only=True))
    run_to_end(trainer, args.out, save_every=args.save_every, held_out=held_out)
    score = score_of(trainer, held_out) if held_out is not None else None
    write_weights(
        args.out / "weights.safetensors",
        trainer.network().state_dict(),
        header_of(trainer, config, frames, score=score, held_out=args.hold_out, commit=args.commit),
    )
    if score is not None:
        print(json.dumps(score, indent=1))
    print(f"wrote {args.out / 'weights.safetensors'}")


def run_to_end(
    trainer: Trainer, out: Path, *, save_every: int, held_out: SegmentationSet | None = None
) -> None:
    """Takes the steps that are left, with events and, each `save_every` epochs, a checkpoint and
    the held-out frames' score in the folder `out`."""
    save_every *= trainer.steps_per_epoch
    with (
        SummaryWriter(str(out)) as writer,
        tqdm(
            total=trainer.total_steps, initial=trainer.steps_done, unit="step", file=sys.stderr
        ) as bar,
    ):
        while trainer.steps_done < trainer.total_steps:
            trainer.step()
            done = trainer.steps_done
            if done % _LOG_EVERY_STEPS == 0 or done == trainer.total_steps:
                loss = _finite_loss(trainer)
                writer.add_scalar("train/loss", loss, done)
                writer.add_scalar("train/learning_rate", trainer.learning_rate(), done)
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update(done - bar.n)
            if done % save_every == 0 or done == trainer.total_steps:
                torch.save(trainer.state_dict(), out / "checkpoint.pt")
                if held_out is not None:
                    miou = score_of(trainer, held_out)["miou"]
                    writer.add_scalar("held_out/miou", miou, done)


def train_together(trainers: Sequence[Trainer]) -> None:
    """Runs all to their end, a step of each in turn; on a GPU their work overlaps."""
    last_report = time.monotonic()
    while running := [t for t in trainers if t.steps_done < t.total_steps]:
        for trainer in running:
            trainer.step()
        if time.monotonic() - last_report > _REPORT_EVERY_S:
            last_report = time.monotonic()
            runs = (f"{t.steps_done}/{t.total_steps} (loss {_finite_loss(t):.3f})" for t in running)
            print("steps", *runs, flush=True)
    for trainer in trainers:
        _finite_loss(trainer)


def header_of(
    trainer: Trainer,
    config: TrainConfig,
    frames: SegmentationSet,
    *,
    score: dict[str, object] | None,
    held_out: Sequence[str],
    commit: str,
) -> WeightsHeader:
    """The metadata of a finished run; the score is 0 "not measured" when no frame is held out."""
    return WeightsHeader(
        plan=config.plan,
        classes=frames.classes,
        mean=tuple(round(v, 3) for v in trainer.mean.tolist()),
        std=tuple(round(v, 3) for v in trainer.std.tolist()),
        train_size=config.data.size,
        dataset=config.data.dataset,
        licence=config.data.licence,
        commit=commit,
        miou=float(score["miou"]) if score else 0.0,
        miou_on=f"{HELD_OUT}{', '.join(held_out)}" if score else "not measured",
    )


def norm_of(trainer: Trainer) -> Normalisation:
    """How the run's network sees its frames."""
    return Normalisation(trainer.mean, trainer.std, trainer.config.data.size)


def score_of(trainer: Trainer, held_out: SegmentationSet) -> dict[str, object]:
    confusion = confusion_of(trainer.network(), held_out, norm_of(trainer))
    return report(confusion, held_out.classes, len(held_out))


def _finite_loss(trainer: Trainer) -> float:
    loss = trainer.take_mean_loss()
    if not np.isfinite(loss):
        raise SystemExit(f"the loss is {loss} after {trainer.steps_done} steps; lower optim.lr")
    return loss


def _provenance(args: argparse.Namespace, frames: SegmentationSet) -> dict[str, object]:
    return {
        "seed": args.seed,
        "held_out": args.hold_out,
        "start": str(args.start) if args.start else None,
        "second": str(args.second) if args.second else None,
        "frames": len(frames),
        "commit": args.commit,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train ECMNet from a configuration file.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder or tar of the data set")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold-out", nargs="*", default=[], help="prefixes of frame names")
    parser.add_argument("--start", type=Path, help="weights to begin with; any plan's fit")
    parser.add_argument("--second", type=Path, help="folder of pairs for optim.mixed_in")
    parser.add_argument("--save-every", type=int, default=50, metavar="EPOCHS")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: cuda if there is one")
    parser.add_argument("--commit", default="unknown", help="written into the weights' metadata")
    return parser.parse_args()


if __name__ == "__main__":
    main()
