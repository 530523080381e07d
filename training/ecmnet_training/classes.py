"""Class tables: what each label id means, how it is drawn, and which ids are drivable."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassTable:
    """Names and RGB colours in id order; pixels with `ignore_id` are never trained on or scored."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_id: int
    drivable: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


CAMVID = ClassTable(
    names=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
        "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222),
        (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    ignore_id=11,
    drivable=("Road",),
)  # fmt: skip

# (label id of the data set's files, name, colour); every other id is ignored.
_CITYSCAPES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)

CITYSCAPES = ClassTable(
    names=tuple(name for _, name, _ in _CITYSCAPES),
    palette=tuple(colour for _, _, colour in _CITYSCAPES),
    ignore_id=255,
    drivable=("road",),
)


TABLES = {"camvid": CAMVID, "cityscapes": CITYSCAPES}


def cityscapes_class_from_label_id() -> NDArray[np.uint8]:
    """A 256-entry table from `*_labelIds.png` values to class ids, 255 where ignored."""
    table = np.full(256, CITYSCAPES.ignore_id, np.uint8)
    for class_id, (label_id, _, _) in enumerate(_CITYSCAPES):
        table[label_id] = class_id
    return table


def read_class_table(path: Path) -> ClassTable:
    """A `classes.json`: `classes` [{id, name, rgb, ignore}], `ignore_id`, optional `drivable`."""
    content = json.loads(path.read_text())
    used = sorted((c for c in content["classes"] if not c.get("ignore")), key=lambda c: c["id"])
    if [c["id"] for c in used] != list(range(len(used))):
        raise ValueError(f"{path}: class ids must be 0..{len(used) - 1} without gaps")
    names = tuple(c["name"] for c in used)
    drivable = tuple(content.get("drivable", [n for n in names if n.lower() == "road"]))
    return ClassTable(
        names, tuple(tuple(c["rgb"]) for c in used), int(content["ignore_id"]), drivable
    )
