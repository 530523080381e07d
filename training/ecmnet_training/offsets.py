"""How far to move the drivable classes' logits, so that fewer obstacles are called road.

Every offset of `OFFSETS` is scored on the same frames; the best one is the farthest from 0 that
costs less than `MOST_MIOU_LOST`.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .classes import ClassTable
from .data import SegmentationSet
from .evaluate import Normalisation, confusion_from_ids, report, sums_of
from .road import component_counts, free_space_report, obstacle_ids, road_iou

OFFSETS = (0.0, -0.25, -0.5, -0.75, -1.0, -1.25, -1.5)
MOST_MIOU_LOST = 0.002


@dataclass
class OffsetSweep:
    """Counts for each of `OFFSETS`; those of several folds add up.

    `confusion` i64 `[offsets, classes, classes]`; `components` i64 `[offsets, classes, 3]`, as
    `road.RoadScore` has them.
    """

    confusion: NDArray[np.int64]
    components: NDArray[np.int64]

    def __add__(self, other: "OffsetSweep") -> "OffsetSweep":
        return OffsetSweep(self.confusion + other.confusion, self.components + other.components)

    def miou(self, offset: float, classes: ClassTable) -> float:
        """mIoU at one of `OFFSETS`, a fraction."""
        return float(report(self.confusion[OFFSETS.index(offset)], classes, 0)["miou"])

    def best(self, classes: ClassTable) -> float:
        """The offset farthest from 0 that costs less than `MOST_MIOU_LOST`."""
        without = self.miou(0.0, classes)
        lost = {offset: without - self.miou(offset, classes) for offset in OFFSETS}
        return min(offset for offset in OFFSETS if lost[offset] < MOST_MIOU_LOST)

    def rows(self, classes: ClassTable) -> list[dict[str, object]]:
        """For each offset `offset, miou, road_iou`, fractions, and `false_free_space` of all
        obstacles as `road.road_report` has it."""
        obstacles = obstacle_ids(classes)
        road = np.isin(classes.names, classes.drivable)
        rows = []
        for i, offset in enumerate(OFFSETS):
            called = self.confusion[i, obstacles]
            pixels = np.array([called.sum(), called[:, road].sum()])
            components = self.components[i, obstacles].sum(0)
            rows.append(
                {
                    "offset": offset,
                    "miou": self.miou(offset, classes),
                    "road_iou": road_iou(self.confusion[i], classes),
                    "false_free_space": free_space_report(pixels, components),
                }
            )
        return rows


def sweep_of(
    network: nn.Module, frames: SegmentationSet, norm: Normalisation, *, batch: int = 8
) -> OffsetSweep:
    """Each of `OFFSETS` added to the logits of all drivable classes, on the same frames."""
    measure = partial(sweep_from_logits, classes=frames.classes)
    return sums_of(network, frames, norm, [measure], batch=batch)[0]


def sweep_from_logits(labels: Tensor, logits: Tensor, classes: ClassTable) -> OffsetSweep:
    """`sweep_of` of one batch as `evaluate.logits_of` has it."""
    road = np.isin(classes.names, classes.drivable)
    n = len(OFFSETS)
    confusion = np.zeros((n, len(classes), len(classes)), np.int64)
    components = np.zeros((n, len(classes), 3), np.int64)
    moved = torch.from_numpy(road).to(logits)[:, None, None]
    predicted = torch.stack([(logits + offset * moved).argmax(1) for offset in OFFSETS])
    for i, ids in enumerate(predicted):
        confusion[i] += confusion_from_ids(labels, ids, classes)
    called_road = torch.from_numpy(road).to(predicted.device)[predicted].cpu().numpy()
    truth = labels.to(torch.uint8).cpu().numpy()
    for frame, of_frame in enumerate(truth):
        components += component_counts(of_frame, called_road[:, frame], classes)
    return OffsetSweep(confusion, components)


def table(rows: list[dict[str, object]]) -> str:
    """`OffsetSweep.rows` as lines of percentages, which a terminal shows."""

    def percent(value: float | None) -> str:
        return f"{'-':>7}" if value is None else f"{100 * value:7.3f}"

    lines = ["offset    mIoU  of obstacles called road: pixels, components a tenth, half"]
    for row in rows:
        shares = (row["false_free_space"][k] for k in ("called_road", "a_tenth_road", "half_road"))
        figures = " ".join(percent(value) for value in (row["miou"], *shares))
        lines.append(f"{row['offset']:6.2f} {figures}")
    return "\n".join(lines)
