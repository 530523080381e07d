"""A training run's configuration: a TOML file, which may extend another one, every key checked."""

import dataclasses
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .model import Plan


@dataclass(frozen=True)
class DataConfig:
    """Which loader, the size `[h, w]` the network trains at, and what the model card must say.

    CamVid's frames keep their own size in memory and are resized with each picture's random crop.
    """

    kind: Literal["camvid", "cityscapes", "pairs"]
    size: tuple[int, int]
    dataset: str
    licence: str
    classes: str = "folder"
    """For pairs: the class table `camvid` or `cityscapes`, or the folder's `classes.json`."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW; linear warm-up, then poly or cosine decay to zero; EMA of weights and statistics."""

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    warmup_steps: int
    schedule: Literal["poly", "cosine"]
    ema_decay: float
    decay_vectors: bool = True
    """Whether weight decay also acts on biases, norms and slopes."""
    mixed_in: int = 0
    """How many pictures of each batch come from a second data set; `epochs` count the first's."""
    even_seconds: bool = False
    """CamVid's clips: whether each second of a drive weighs the same, whatever its frame rate."""


@dataclass(frozen=True)
class StrongConfig:
    """Harsher changes for a `share` of the pictures; a pair is (how often among them, how much)."""

    share: float = 0.0
    dim: tuple[float, float] = (0.0, 0.0)
    """Brightness times 1 less up to so much."""
    flat: tuple[float, float] = (0.0, 0.0)
    """Contrast times 1 less up to so much."""
    grey: float = 0.0
    shuffle: float = 0.0
    """How often the channels change places."""
    tone: tuple[float, float] = (0.0, 0.0)
    """Share by which the low frequencies take on another picture's mean and deviation."""
    shadow: tuple[float, float] = (0.0, 0.0)
    """Largest share of the light that a straight band of shadow takes."""
    posterise: tuple[float, float] = (0.0, 0.0)
    """Widest step of the values."""
    blur: tuple[float, float] = (0.0, 0.0)
    """Largest deviation of a Gaussian, pixels, at most 3."""
    filter: tuple[float, float] = (0.0, 0.0)
    """Largest norm of a random 5x5 filter without sum, added to the picture's own."""
    noise: tuple[float, float] = (0.0, 0.0)
    """Largest deviation of white noise in grains of 1 to 4 pixels."""
    holes: tuple[float, float] = (0.0, 0.0)
    """Longest side of the holes of a regular grid, as a share of its cells."""

    def __post_init__(self) -> None:
        if self.blur[1] > 3:
            raise ValueError(f"strong.blur reaches {self.blur[1]} pixels; at most 3 are possible")


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes; 0 or equal ends switch one off. Colours are on 0-255."""

    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 0.0
    rotate_deg: float = 0.0
    flip: bool = True
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue_deg: float = 0.0
    gamma: float = 0.0
    channel_gain: float = 0.0
    shade: float = 0.0
    """Strength of a smooth random light field over the picture."""
    blur_px: float = 0.0
    noise: float = 0.0
    tone: float = 0.0
    """Largest share by which half of the pictures take on another one's mean and deviation."""
    paste: float = 0.0
    """How often a picture gets a rare class's pixels (under 5 % of all) from another one."""
    cut: float = 0.0
    """How often a picture gets a rectangle, a quarter to a half of it, from another one."""
    strong: StrongConfig = field(default_factory=StrongConfig)


@dataclass(frozen=True)
class LossConfig:
    """Cross-entropy with class weights 1/ln(class_weight_offset + p); 0 means no weights."""

    class_weight_offset: float
    lovasz: float = 0.0
    auxiliary: float = 0.0
    """Weight of the extra classifiers after dec1 and dec2; they are not exported."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, apart from data path, seed and frames held out."""

    plan: Plan
    data: DataConfig
    optim: OptimConfig
    loss: LossConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def read_config(path: Path, *, size: tuple[int, int] | None = None) -> TrainConfig:
    """The configuration in a TOML file; a wrong or missing key is an error that names it.

    `extends` names a file beside it, whose values hold where this one has none. `size` is
    `data.size` where none of them has one.
    """
    content: dict[str, Any] = {}
    for part in _files_of(path):
        content = _merged(content, tomllib.loads(part.read_text()))
    content.pop("extends", None)
    if size is not None and "data" in content:
        content["data"] = {"size": size} | content["data"]
    sections = {
        "data": DataConfig,
        "optim": OptimConfig,
        "loss": LossConfig,
        "augment": AugmentConfig,
    }
    built = {}
    changes = content.get("augment", {})
    if "strong" in changes:
        strong = section(StrongConfig, changes["strong"], f"{path}: [augment.strong]")
        content["augment"] = changes | {"strong": strong}
    for key, kind in sections.items():
        if key in content:
            built[key] = section(kind, content.pop(key), f"{path}: [{key}]")
    return section(TrainConfig, content | built, str(path))


def copy_config(path: Path, out: Path) -> None:
    """Copies the file into the folder `out` as config.toml, what it extends by its own name."""
    for file in _files_of(path):
        shutil.copyfile(file, out / ("config.toml" if file == path else file.name))


def _files_of(path: Path) -> list[Path]:
    """What the file extends, one after the other, and the file itself last."""
    files = [path]
    while "extends" in (content := tomllib.loads(files[0].read_text())):
        base = files[0].with_name(content["extends"])
        if base in files:
            raise ValueError(f"{files[0]}: extends {base.name}, which extends it")
        files.insert(0, base)
    return files


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` with what it lacks of `base`, section by section."""
    merged = base | over
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            merged[key] = _merged(base[key], over[key])
    return merged


def section(kind: type, values: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    """The dataclass `kind` of a table's values; a wrong or missing key is an error with `where`."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    missing = sorted(
        name
        for name, f in known.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise ValueError(f"{where}: unknown keys {unknown}, missing keys {missing}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
