"""Weights files: safetensors with the metadata that the node and the command line read."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from .classes import ClassTable
from .data import SegmentationSet
from .model import ECMNet, Plan, with_offsets

FORMAT = "1"
HELD_OUT = "held out: "
"""Begins `miou_on` where the score is that of frames, named by prefixes, kept out of training."""


MOST_LOGIT_OFFSET = 1000.0
"""The largest magnitude that the node reads."""


@dataclass(frozen=True)
class WeightsHeader:
    """The metadata of a weights file. `mean` and `std` are RGB on 0-255, `train_size` `[h, w]`.

    `logit_offsets` are added to the logits of the classes named before they are compared, and
    `temperature` divides the sums before softmax.
    """

    plan: Plan
    classes: ClassTable
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train_size: tuple[int, int]
    dataset: str
    licence: str
    commit: str
    miou: float
    miou_on: str
    temperature: float = 1.0
    logit_offsets: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, offset in self.logit_offsets.items():
            if name not in self.classes.names:
                raise ValueError(f"logit_offsets has {name!r}, which is not in classes")
            if not isinstance(offset, int | float) or not abs(offset) <= MOST_LOGIT_OFFSET:
                raise ValueError(
                    f"logit_offsets has {offset!r} for {name!r}, "
                    f"not a number from {-MOST_LOGIT_OFFSET:g} to {MOST_LOGIT_OFFSET:g}"
                )

    def to_metadata(self) -> dict[str, str]:
        """The file's string map; lists as JSON."""
        offsets = {"logit_offsets": json.dumps(self.logit_offsets)} if self.logit_offsets else {}
        return {
            "format": FORMAT,
            "arch": "ecmnet",
            "plan": self.plan,
            "classes": json.dumps(self.classes.names),
            "palette": json.dumps(self.classes.palette),
            "ignore_id": str(self.classes.ignore_id),
            "drivable": json.dumps(self.classes.drivable),
            "colour_order": "rgb",
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "train_size": json.dumps(self.train_size),
            "temperature": repr(self.temperature),
            "dataset": self.dataset,
            "licence": self.licence,
            "commit": self.commit,
            "miou": repr(self.miou),
            "miou_on": self.miou_on,
        } | offsets

    def held_out(self) -> tuple[str, ...]:
        """Prefixes of the frames that training never saw; none where the file names none."""
        if not self.miou_on.startswith(HELD_OUT):
            return ()
        return tuple(self.miou_on.removeprefix(HELD_OUT).split(", "))

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "WeightsHeader":
        """The inverse of `to_metadata`; a missing key is an error that names it."""
        try:
            if metadata["format"] != FORMAT:
                raise ValueError(f"format is {metadata['format']!r}, this program reads {FORMAT}")
            return cls(
                plan=metadata["plan"],
                classes=ClassTable(
                    tuple(json.loads(metadata["classes"])),
                    tuple(tuple(c) for c in json.loads(metadata["palette"])),
                    int(metadata["ignore_id"]),
                    tuple(json.loads(metadata["drivable"])),
                ),
                mean=tuple(json.loads(metadata["mean"])),
                std=tuple(json.loads(metadata["std"])),
                train_size=tuple(json.loads(metadata["train_size"])),
                dataset=metadata["dataset"],
                licence=metadata["licence"],
                commit=metadata["commit"],
                miou=float(metadata["miou"]),
                miou_on=metadata["miou_on"],
                temperature=float(metadata.get("temperature", "1")),
                logit_offsets=_object_from_json("logit_offsets", metadata),
            )
        except KeyError as error:
            raise ValueError(f"the weights' metadata lack {error}") from error


def write_weights(path: Path, state: dict[str, Tensor], header: WeightsHeader) -> None:
    """One f32 safetensors file with the network's tensors (batch counters left out)."""
    tensors = {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # save_file would leave a file that nobody but its owner may read.
    path.write_bytes(save(tensors, header.to_metadata()))


def read_weights(path: Path) -> tuple[ECMNet, WeightsHeader]:
    """The network in f32 and the file's header; a tensor too many or too few is an error."""
    with safe_open(path, "pt") as file:
        header = WeightsHeader.from_metadata(file.metadata() or {})
    network = ECMNet(len(header.classes), header.plan)
    missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: missing tensors {missing}, unexpected ones {unexpected}")
    return network.eval(), header


def read_labeller(path: Path) -> tuple[ECMNet, WeightsHeader]:
    """As `read_weights`, for labels: the logits have the header's offsets in them."""
    network, header = read_weights(path)
    return with_offsets(network, header.logit_offsets, header.classes), header


def start_of(path: Path | None, frames: SegmentationSet) -> dict[str, Tensor] | None:
    """The tensors of a weights file of either plan for frames of its classes; None without one."""
    if path is None:
        return None
    network, header = read_weights(path)
    if header.classes.names != frames.classes.names:
        raise ValueError(f"{path} knows {header.classes.names}, not {frames.classes.names}")
    return network.state_dict()


def with_score(
    path: Path,
    *,
    miou: float,
    miou_on: str,
    commit: str,
    temperature: float | None = None,
    logit_offsets: dict[str, float] | None = None,
) -> None:
    """Rewrites the file's score and commit, and what folds chose of temperature and offsets where
    given: they are known only after the export."""
    network, header = read_weights(path)
    chosen = {"temperature": temperature, "logit_offsets": logit_offsets}
    given = {key: value for key, value in chosen.items() if value is not None}
    changed = dataclasses.replace(header, miou=miou, miou_on=miou_on, commit=commit, **given)
    write_weights(path, network.state_dict(), changed)


def _object_from_json(key: str, metadata: dict[str, str]) -> dict[str, object]:
    value = json.loads(metadata.get(key, "{}"))
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {metadata[key]!r}, not a JSON object")
    return value
