"""What a planner sees of the road, on masks small enough to count by hand."""

import numpy as np
import pytest

from ecmnet_training.classes import CAMVID, CITYSCAPES, ClassTable
from ecmnet_training.road import RoadScore, component_ids, obstacle_ids, road_report, road_score

BUILDING, ROAD, PAVEMENT, CAR, VOID = 1, 3, 4, 8, 11


def report_of(truth: np.ndarray, predicted: np.ndarray) -> dict:
    score = road_score(truth.astype(np.uint8), predicted.astype(np.uint8), CAMVID)
    return road_report(score, CAMVID)


def lane(left: int, right: int, *, rows: int = 4, width: int = 20) -> np.ndarray:
    """Road from column `left` to before `right`, pavement beside it, `[1, rows, width]`."""
    row = np.where((np.arange(width) >= left) & (np.arange(width) < right), ROAD, PAVEMENT)
    return np.tile(row, (1, rows, 1))


def test_a_shifted_edge_is_as_far_off_as_it_was_shifted() -> None:
    truth, predicted = lane(5, 15), lane(8, 15)
    result = report_of(truth, predicted)
    assert result["iou"] == 7 / 10
    # Both ways, in each of four rows: left edges 3 off, right ones 0.
    assert result["boundary"]["edges"] == 16
    assert (result["boundary"]["median_px"], result["boundary"]["p95_px"]) == (0, 3)
    predicted[0, 2] = lane(9, 17)[0, 2]
    by_row = report_of(truth, predicted)["boundary"]["by_row"]
    assert by_row["p95_px"] == [3, 3, 4, 3] and by_row["median_px"] == [0, 0, 2, 0]


def test_a_left_edge_is_not_measured_to_a_right_one() -> None:
    # The prediction's right edge lies on the true left one; its left edge is 4 away from that.
    result = report_of(lane(10, 16), lane(6, 10))
    assert result["boundary"]["median_px"] == 4 and result["boundary"]["p95_px"] == 6


def test_road_not_found_counts_as_the_whole_width() -> None:
    result = report_of(lane(5, 15), lane(0, 0))
    assert result["boundary"]["median_px"] == 20 and result["iou"] == 0


def test_edges_beside_void_and_at_the_border_do_not_count() -> None:
    truth, predicted = lane(0, 20), lane(0, 20)
    assert report_of(truth, predicted)["boundary"] == {
        "edges": 0, "median_px": None, "p95_px": None,
        "by_band": [{"rows": [i, i + 1], "edges": 0, "median_px": None, "p95_px": None}
                    for i in range(4)],
        "by_row": {"edges": [0] * 4, "median_px": [None] * 4, "p95_px": [None] * 4},
    }  # fmt: skip
    truth[:, :, :6] = VOID
    predicted[:, :, :3] = PAVEMENT
    result = report_of(truth, predicted)
    assert result["boundary"]["edges"] == 0 and result["iou"] == 1
    predicted[:, :, :9] = PAVEMENT
    result = report_of(truth, predicted)
    assert result["boundary"]["edges"] == 4 and result["boundary"]["median_px"] == 3


def test_an_obstacle_called_road_is_reported_by_pixel_and_by_component() -> None:
    truth = np.tile(lane(0, 20), (1, 5, 1))
    truth[0, 0:4, 2:8] = CAR  # 24 pixels
    truth[0, 8:12, 2:8] = CAR  # 24 pixels
    truth[0, 8:10, 12:20] = BUILDING  # 16 pixels
    truth[0, 19, 0] = CAR  # too small to be a component
    predicted = truth.copy()
    predicted[0, 0:4, 2:8] = ROAD
    predicted[0, 8, 2:5] = ROAD
    predicted[0, 8, 12] = ROAD
    free = report_of(truth, predicted)["false_free_space"]
    car, building = free["by_class"]["Car"], free["by_class"]["Building"]
    assert car == {
        "pixels": 49, "called_road": 27 / 49, "components": 2,
        "a_tenth_road": 1.0, "half_road": 0.5,
    }  # fmt: skip
    assert building["called_road"] == 1 / 16 and building["a_tenth_road"] == 0
    assert free["all"]["pixels"] == 65 and free["all"]["half_road"] == 1 / 3
    assert free["by_class"]["Pole"]["called_road"] is None


def test_what_lies_flat_is_no_obstacle() -> None:
    names = [CAMVID.names[i] for i in obstacle_ids(CAMVID)]
    assert names == [
        "Building", "Pole", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ]  # fmt: skip
    kept = {CITYSCAPES.names[i] for i in obstacle_ids(CITYSCAPES)}
    assert set(CITYSCAPES.names) - kept == {"road", "sidewalk", "terrain", "sky"}
    own = ClassTable(("Track", "Rock"), ((0, 0, 0), (1, 1, 1)), 9, ("Track",))
    assert obstacle_ids(own) == [1]


def test_scores_of_parts_add_up_to_the_score_of_all() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 12, (4, 6, 8)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    predicted = rng.integers(0, 11, (4, 6, 8)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    whole = road_score(truth, predicted, CAMVID)
    parts = RoadScore.zero(CAMVID, (24, 32))
    for i in range(4):
        parts = parts + road_score(truth[i : i + 1], predicted[i : i + 1], CAMVID)
    assert road_report(whole, CAMVID) == road_report(parts, CAMVID)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (23, 31)])
def test_components_are_those_of_a_flood_fill(size: tuple[int, int]) -> None:
    labels = np.random.default_rng(size[0]).integers(0, 3, size).astype(np.uint8)
    found = component_ids(labels)
    flooded = np.full(size, -1)
    for start in np.ndindex(size):
        if flooded[start] >= 0:
            continue
        number, stack = flooded.max() + 1, [start]
        flooded[start] = number
        while stack:
            y, x = stack.pop()
            for ny, nx in np.ndindex(3, 3):
                there = (y + ny - 1, x + nx - 1)
                inside = 0 <= there[0] < size[0] and 0 <= there[1] < size[1]
                if inside and flooded[there] < 0 and labels[there] == labels[start]:
                    flooded[there] = number
                    stack.append(there)
    pairs = set(zip(found.ravel().tolist(), flooded.ravel().tolist(), strict=True))
    assert len(pairs) == found.max() + 1 == flooded.max() + 1
