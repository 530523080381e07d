"""Labelled images, read whole into memory as bytes: CamVid, Cityscapes, or a folder of pairs."""

import io
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from .classes import (
    CAMVID,
    CITYSCAPES,
    TABLES,
    ClassTable,
    cityscapes_class_from_label_id,
    read_class_table,
)
from .config import DataConfig

CAMVID_TAR = "camvid_trainval.tar"
Item = TypeVar("Item")


@dataclass(frozen=True)
class SegmentationSet:
    """`images` u8 RGB `[n, 3, h, w]`, `labels` u8 `[n, h, w]` (class ids and ignore_id), names."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    classes: ClassTable

    def __len__(self) -> int:
        return len(self.names)

    def split(self, prefixes: Iterable[str]) -> tuple["SegmentationSet", "SegmentationSet"]:
        """(the frames whose name starts with none of `prefixes`, the others)."""
        prefixes = tuple(prefixes)
        held_out = np.array([name.startswith(prefixes) for name in self.names], dtype=bool)
        missing = [p for p in prefixes if not any(n.startswith(p) for n in self.names)]
        if missing:
            raise ValueError(f"no frame's name starts with {', '.join(missing)}")
        return self._rows(~held_out), self._rows(held_out)

    def split_last(self, share: float) -> tuple["SegmentationSet", "SegmentationSet"]:
        """(the first frames, the last `share` of them, at least one)."""
        last = np.arange(len(self)) >= len(self) - max(round(len(self) * share), 1)
        return self._rows(~last), self._rows(last)

    def every(self, step: int) -> "SegmentationSet":
        """Each `step`-th frame, the first among them."""
        return self._rows(np.arange(len(self)) % step == 0)

    def class_frequencies(self) -> Tensor:
        """The share of each class among labelled pixels, f64 `[classes]`."""
        counts = torch.bincount(self.labels.flatten().long(), minlength=256)[: len(self.classes)]
        return counts.double() / counts.sum()

    def seconds(self) -> Tensor:
        """How many frames fall into each frame's second of its drive, i64 `[n]`.

        CamVid's names end in `_<frame number at 30 Hz>`, some with a letter before it.
        """
        keys = []
        for name in self.names:
            drive, number = name.rsplit("_", 1)
            keys.append((drive, int(number.lstrip("f")) // 30))
        _, place, counts = np.unique(
            np.array([f"{d} {s}" for d, s in keys]), return_inverse=True, return_counts=True
        )
        return torch.from_numpy(counts[place])

    def _rows(self, keep: NDArray[np.bool_]) -> "SegmentationSet":
        rows = torch.from_numpy(np.flatnonzero(keep))
        names = tuple(name for name, kept in zip(self.names, keep, strict=True) if kept)
        return SegmentationSet(self.images[rows], self.labels[rows], names, self.classes)


def load_camvid(source: Path, splits: Iterable[str] = ("train", "val")) -> SegmentationSet:
    """CamVid in SegNet's split, from `camvid_trainval.tar`, its folder, or the unpacked folder."""
    tar = source / CAMVID_TAR if source.is_dir() else source
    if tar.is_file():
        with tarfile.open(tar) as archive:
            members = {m.name: m for m in archive.getmembers() if m.isfile()}

            def read(name: str) -> bytes:
                file = archive.extractfile(members[name])
                if file is None:
                    raise FileNotFoundError(f"{tar}: no {name}")
                return file.read()

            content = {name: read(name) for name in members}
        return _read_lists([f"{s}.txt" for s in splits], content.__getitem__, CAMVID)
    return _read_lists([f"{s}.txt" for s in splits], lambda n: (source / n).read_bytes(), CAMVID)


def load_pairs(
    root: Path, *, classes: str | ClassTable = "folder", size_hw: tuple[int, int] | None = None
) -> SegmentationSet:
    """A folder with `list.txt` (lines `image label`) and the files it names.

    `classes` is a table or a known one's name, or "folder" for the folder's own `classes.json`.
    """
    if not (root / "list.txt").is_file():
        raise FileNotFoundError(f"{root} has no list.txt with a line `image label` for each frame")
    if isinstance(classes, ClassTable):
        table = classes
    else:
        table = TABLES[classes] if classes in TABLES else read_class_table(root / "classes.json")
    return _read_lists(["list.txt"], lambda n: (root / n).read_bytes(), table, size_hw)


def load_second(root: Path | None, first: SegmentationSet) -> SegmentationSet | None:
    """The folder of pairs `root` with the classes and at the size of `first`; None without one."""
    if root is None:
        return None
    known = next((name for name, table in TABLES.items() if table == first.classes), "folder")
    second = load_pairs(root, classes=known, size_hw=tuple(first.images.shape[2:]))
    if second.classes.names != first.classes.names:
        raise ValueError(f"{root} has classes {second.classes.names}, not {first.classes.names}")
    return second


def load_cityscapes(root: Path, split: str, size_hw: tuple[int, int]) -> SegmentationSet:
    """Cityscapes' fine labels: `leftImg8bit/<split>/*/` and `gtFine/<split>/*/*_labelIds.png`."""
    images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    if not images:
        raise FileNotFoundError(f"no *_leftImg8bit.png in {root / 'leftImg8bit' / split}/*/")
    table = cityscapes_class_from_label_id()

    def load(image: Path) -> tuple[str, NDArray[np.uint8], NDArray[np.uint8]]:
        stem = image.name.removesuffix("_leftImg8bit.png")
        label = root / "gtFine" / split / image.parent.name / f"{stem}_gtFine_labelIds.png"
        ids = _label(label.read_bytes(), size_hw)
        return stem, _image(image.read_bytes(), size_hw), table[ids]

    return _gather(images, load, CITYSCAPES)


def load(config: DataConfig, source: Path, *, split: str = "train") -> SegmentationSet:
    """The labelled frames of a configuration's `[data]` at `source`; `split` is Cityscapes'."""
    if config.kind == "camvid":
        return load_camvid(source)
    if config.kind == "cityscapes":
        return load_cityscapes(source, split, config.size)
    if config.kind == "pairs":
        return load_pairs(source, classes=config.classes, size_hw=config.size)
    raise ValueError(f"data.kind is {config.kind!r}; it must be camvid, cityscapes or pairs")


def _read_lists(
    lists: list[str],
    read: Callable[[str], bytes],
    table: ClassTable,
    size_hw: tuple[int, int] | None = None,
) -> SegmentationSet:
    pairs = [line.split() for name in lists for line in read(name).decode().splitlines() if line]
    if not pairs:
        raise ValueError(f"{', '.join(lists)}: no frames")
    for pair in pairs:
        if len(pair) != 2:
            raise ValueError(f"{', '.join(lists)}: {' '.join(pair)!r} is no pair `image label`")

    def load(pair: list[str]) -> tuple[str, NDArray[np.uint8], NDArray[np.uint8]]:
        image, label = pair
        try:
            return Path(image).stem, _image(read(image), size_hw), _label(read(label), size_hw)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"the pair {image} {label} cannot be read: {error}") from error

    return _gather(pairs, load, table)


def _gather(
    items: list[Item],
    load: Callable[[Item], tuple[str, NDArray[np.uint8], NDArray[np.uint8]]],
    table: ClassTable,
) -> SegmentationSet:
    with ThreadPoolExecutor() as pool:
        rows = list(tqdm(pool.map(load, items), total=len(items), desc="reading", leave=False))
    for name, image, label in rows:
        if image.shape[:2] != label.shape:
            raise ValueError(f"{name}: image is {image.shape[:2]}, its label {label.shape}")
        wrong = label[(label >= len(table)) & (label != table.ignore_id)]
        if wrong.size:
            raise ValueError(f"{name}: label id {wrong[0]} is neither a class nor ignore_id")
    images = torch.from_numpy(np.stack([image for _, image, _ in rows]))
    labels = torch.from_numpy(np.stack([label for _, _, label in rows]))
    names = tuple(name for name, _, _ in rows)
    return SegmentationSet(images.permute(0, 3, 1, 2).contiguous(), labels, names, table)


def _image(data: bytes, size_hw: tuple[int, int] | None) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        rgb = image.convert("RGB")
        if size_hw is not None and (rgb.height, rgb.width) != size_hw:
            rgb = rgb.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
        return np.array(rgb)


def _label(data: bytes, size_hw: tuple[int, int] | None) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as label:
        if label.mode not in ("L", "P"):
            raise ValueError(f"labels must be 8-bit single-channel images, not {label.mode}")
        if size_hw is not None and (label.height, label.width) != size_hw:
            label = label.resize((size_hw[1], size_hw[0]), Image.Resampling.NEAREST)
        return np.array(label)
