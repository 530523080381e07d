"""The road's offset, on logits made so that each offset's labels can be counted by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ecmnet_training.classes import CAMVID
from ecmnet_training.data import SegmentationSet
from ecmnet_training.evaluate import Normalisation, confusion_of, scores_of
from ecmnet_training.offsets import MOST_MIOU_LOST, OFFSETS, OffsetSweep, sweep_of, table

ROAD, CAR, VOID = 3, 8, 11
NORM = Normalisation(torch.zeros(3), torch.ones(3), (6, 20))


class LeadOfRoad(nn.Module):
    """The red byte, in eighths, is by how much the road's logit is above the car's."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.full((len(x), len(CAMVID), *x.shape[2:]), -9.0)
        logits[:, CAR] = 0.0
        logits[:, ROAD] = x[:, 0] / 8 - 1 + self.offset
        return logits


def made_frames() -> SegmentationSet:
    """Cars beside road; leads of up to 3 on the road, of -1 to 1 on the cars; some void."""
    rng = np.random.default_rng(0)
    labels = np.full((3, 6, 20), ROAD, np.uint8)
    labels[:, :, :7] = CAR
    labels[:, :, 18:] = VOID
    lead = np.where(
        labels == CAR, rng.integers(0, 17, labels.shape), rng.integers(9, 33, labels.shape)
    )
    images = torch.from_numpy(lead.astype(np.uint8))[:, None].repeat(1, 3, 1, 1)
    return SegmentationSet(images, torch.from_numpy(labels), ("a", "b", "c"), CAMVID)


def test_each_row_is_what_the_network_with_that_offset_scores() -> None:
    frames = made_frames()
    sweep = sweep_of(LeadOfRoad(), frames, NORM, batch=2)
    rows = sweep.rows(CAMVID)
    assert [row["offset"] for row in rows] == list(OFFSETS)
    for i, offset in enumerate(OFFSETS):
        confusion, road = scores_of(LeadOfRoad(offset), frames, NORM)
        assert (sweep.confusion[i] == confusion).all()
        assert (sweep.components[i] == road.components).all()
        assert rows[i]["road_iou"] == road.overlap[0] / road.overlap[1]
        free = rows[i]["false_free_space"]
        assert free["called_road"] == road.obstacles[CAR, 1] / road.obstacles[CAR, 0]
        assert free["components"] == 3 and free["pixels"] == 3 * 6 * 7
    called = [row["false_free_space"]["called_road"] for row in rows]
    assert called == sorted(called, reverse=True) and called[0] > 0.4 and called[-1] == 0


def test_folds_add_up() -> None:
    frames = made_frames()
    parts = [sweep_of(LeadOfRoad(), f, NORM) for f in frames.split(["b"])]
    whole, summed = sweep_of(LeadOfRoad(), frames, NORM), parts[0] + parts[1]
    assert (whole.confusion == summed.confusion).all()
    assert (whole.components == summed.components).all()
    assert (whole.confusion[0] == confusion_of(LeadOfRoad(), frames, NORM)).all()


@pytest.mark.parametrize(("lost", "best"), [(0.0019, -0.75), (0.0021, -0.5), (-0.05, -0.75)])
def test_the_best_offset_is_the_farthest_that_costs_less_than_the_limit(
    lost: float, best: float
) -> None:
    assert MOST_MIOU_LOST == 0.002
    pixels = 10**6
    confusion = np.zeros((len(OFFSETS), len(CAMVID), len(CAMVID)), np.int64)
    for of_offset, miou in zip(confusion, (0.4, 0.4, 0.4, 0.4 - lost, 0.3, 0.3, 0.3), strict=True):
        # Of two classes one is never right, so that the other's IoU is twice the mean.
        hits = round(2 * miou * pixels)
        of_offset[ROAD, [ROAD, CAR]] = hits, pixels - hits
    components = np.zeros((len(OFFSETS), len(CAMVID), 3), np.int64)
    assert OffsetSweep(confusion, components).best(CAMVID) == best


def test_the_table_has_a_line_an_offset_and_a_dash_where_nothing_was_counted() -> None:
    frames = made_frames()
    lines = table(sweep_of(LeadOfRoad(), frames, NORM).rows(CAMVID)).splitlines()
    assert len(lines) == 1 + len(OFFSETS) and lines[2].startswith(" -0.25 ")
    frames.labels[frames.labels == CAR] = VOID
    lines = table(sweep_of(LeadOfRoad(), frames, NORM).rows(CAMVID)).splitlines()
    assert lines[1].split()[2:] == ["-", "-", "-"]
