"""Trains a chain of recipes, in which each part's runs go on from the average of the part before.

    python -m ecmnet_training.chain --chain chains/camvid.toml --data PATH --start WEIGHTS \
        --second PAIRS --out runs/NAME [--hold-out PREFIX ...]

The chain's file names its parts in order, the runs of each (a recipe and a seed), and the parts
whose runs, averaged tensor by tensor, are `weights.safetensors`, for a network of `train_size`.
The runs of a part train side by side. `--hold-out` keeps frames out of all of them, and scores
each part's average (at its runs' size, or `train_size` where they differ) and the weights on them.
A part whose runs have all been written is not trained again.
"""

import argparse
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .average import read_average, scored
from .config import TrainConfig, read_config, section
from .data import SegmentationSet, load, load_second
from .export import WeightsHeader, read_weights, start_of, write_weights
from .model import ECMNet
from .train import header_of, score_of, train_together
from .trainer import DeviceFrames, Trainer


@dataclass(frozen=True)
class Run:
    """A recipe, as a path from the chain's file, and a seed."""

    recipe: str
    seed: int

    def name(self) -> str:
        """The recipe's name and the seed."""
        return f"{Path(self.recipe).stem}-{self.seed}"


@dataclass(frozen=True)
class Part:
    """Runs that begin with the same weights; their files bear the part's name."""

    name: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Chain:
    """Parts in order, those that the weights are the average of, and the weights' size `[h, w]`."""

    parts: tuple[Part, ...]
    average: tuple[str, ...]
    train_size: tuple[int, int]

    def runs(self) -> list[Run]:
        """Those of all parts."""
        return [run for part in self.parts for run in part.runs]


@dataclass(frozen=True)
class ChainData:
    """Frames to train on, frames that score whose names begin with `hold_out` (None: none do), the
    frames mixed in, and those trained on in the device's memory."""

    kept: SegmentationSet
    held_out: SegmentationSet | None
    hold_out: tuple[str, ...]
    second: SegmentationSet | None
    shared: DeviceFrames

    def average(
        self, files: Sequence[Path], device: torch.device, size: tuple[int, int] | None = None
    ) -> tuple[ECMNet, WeightsHeader]:
        """The files' average (for a network of `size`, or their own) with its score."""
        network, header = read_average(files, size)
        if self.held_out is not None:
            header = scored(network.to(device), header, self.held_out, self.hold_out)
        return network.cpu(), header


def read_chain(path: Path) -> Chain:
    """The chain in a TOML file; a wrong or missing key or name is an error that names it."""
    content = tomllib.loads(path.read_text())
    parts = []
    for i, table in enumerate(content.get("parts", [])):
        where = f"{path}: part {i + 1}"
        runs = [section(Run, run, f"{where}: a run") for run in table.get("runs", [])]
        if not runs:
            raise ValueError(f"{where} has no runs")
        parts.append(section(Part, table | {"runs": runs}, where))
    chain: Chain = section(Chain, content | {"parts": parts}, str(path))
    names = [part.name for part in chain.parts]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: parts of one name: {names}")
    if not chain.average or not set(chain.average) <= set(names):
        raise ValueError(f"{path}: average of {list(chain.average)}, parts are {names}")
    for part in chain.parts:
        runs = [run.name() for run in part.runs]
        if len(set(runs)) < len(runs):
            raise ValueError(f"{path}: part {part.name} has a run twice: {runs}")
    return chain


def train_part(
    runs: dict[Path, tuple[TrainConfig, int]],
    data: ChainData,
    *,
    start: dict[str, Tensor] | None,
    device: torch.device,
    commit: str,
) -> None:
    """Trains the runs (recipe and seed of each file) side by side and writes them."""
    trainers = {
        file: Trainer(
            config, data.kept, seed=seed, device=device, start=start,
            second=data.second if config.optim.mixed_in else None, shared=data.shared,
        )
        for file, (config, seed) in runs.items()
    }  # fmt: skip
    train_together(list(trainers.values()))
    for file, trainer in trainers.items():
        score = None if data.held_out is None else score_of(trainer, data.held_out)
        header = header_of(
            trainer, trainer.config, data.kept,
            score=score, held_out=data.hold_out, commit=commit,
        )  # fmt: skip
        write_weights(file, trainer.network().state_dict(), header)
        print(f"wrote {file}: mIoU {header.miou:.4f} ({header.miou_on})", flush=True)


def main() -> None:
    args = _arguments()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chain = read_chain(args.chain)
    recipes = {run: read_config(args.chain.parent / run.recipe) for run in chain.runs()}
    frames = load(next(iter(recipes.values())).data, args.data)
    kept, held_out = frames.split(args.hold_out) if args.hold_out else (frames, None)
    mixes = any(recipe.optim.mixed_in for recipe in recipes.values())
    second = load_second(args.second if mixes else None, frames)
    shared = DeviceFrames.of([kept] if second is None else [kept, second], device)
    data = ChainData(kept, held_out, tuple(args.hold_out), second, shared)
    start = start_of(args.start, frames)

    files: dict[str, list[Path]] = {}
    for part in chain.parts:
        runs = {
            args.out / f"{part.name}-{run.name()}.safetensors": (recipes[run], run.seed)
            for run in part.runs
        }
        files[part.name] = list(runs)
        if all(file.is_file() for file in runs):
            _refuse_other_frames(runs, data.hold_out)
            print(f"{part.name}: written before", flush=True)
        else:
            train_part(runs, data, start=start, device=device, commit=args.commit)
        sizes = {recipes[run].data.size for run in part.runs}
        size = chain.train_size if len(sizes) > 1 else None
        network, header = data.average(files[part.name], device, size)
        print(f"{part.name}: mIoU {header.miou:.4f} ({header.miou_on})", flush=True)
        start = network.state_dict()

    parts = [file for name in chain.average for file in files[name]]
    network, header = data.average(parts, device, chain.train_size)
    out = args.out / "weights.safetensors"
    write_weights(out, network.state_dict(), header)
    print(f"wrote {out}: {len(parts)} runs, mIoU {header.miou:.4f} ({header.miou_on})")


def _refuse_other_frames(files: Iterable[Path], hold_out: tuple[str, ...]) -> None:
    for file in files:
        held_out = read_weights(file)[1].held_out()
        if held_out != hold_out:
            raise SystemExit(
                f"{file} held out {held_out or 'nothing'}, not {hold_out or 'nothing'}"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a chain of recipes.")
    parser.add_argument("--chain", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder or tar of the data set")
    parser.add_argument("--out", type=Path, required=True, help="the weights' folder")
    parser.add_argument("--start", type=Path, help="weights that the first part begins with")
    parser.add_argument("--second", type=Path, help="folder of pairs for optim.mixed_in")
    parser.add_argument("--hold-out", nargs="*", default=[], help="prefixes of frame names")
    parser.add_argument("--device", help="cuda, cuda:1, cpu; default: cuda if there is one")
    parser.add_argument("--commit", default="unknown", help="written into the weights' metadata")
    return parser.parse_args()


if __name__ == "__main__":
    main()
