"""Road as a planner sees it: its IoU, its edges row by row, and obstacles called road.

Road is every drivable class of the table together. All counts are sums over frames, so that those
of several folds add up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .classes import ClassTable

_NO_OBSTACLES = {"sky", "road", "pavement", "sidewalk", "terrain", "ground", "grass", "void"}
_LEAST_PIXELS = 16
"""Components smaller than this are not counted."""
_BANDS = 12


@dataclass
class RoadScore:
    """Counts over frames of one size.

    `overlap` i64 `[2]`: pixels of the intersection and of the union. `edges` i64 `[h, w + 1]`: how
    many edges of a row lie so many pixels from the other mask's, w where it has none. `obstacles`
    i64 `[classes, 2]`: pixels, and those called road. `components` i64 `[classes, 3]`: connected
    pixels of one class, those of which a tenth is called road, and those of which half is.
    """

    overlap: NDArray[np.int64]
    edges: NDArray[np.int64]
    obstacles: NDArray[np.int64]
    components: NDArray[np.int64]

    @classmethod
    def zero(cls, classes: ClassTable, size_hw: tuple[int, int]) -> "RoadScore":
        """The score of no frame."""
        h, w = size_hw
        shapes = ((2,), (h, w + 1), (len(classes), 2), (len(classes), 3))
        return cls(*(np.zeros(shape, np.int64) for shape in shapes))

    def __add__(self, other: "RoadScore") -> "RoadScore":
        return RoadScore(
            self.overlap + other.overlap,
            self.edges + other.edges,
            self.obstacles + other.obstacles,
            self.components + other.components,
        )


def road_score(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: ClassTable
) -> RoadScore:
    """The score of frames: class ids `[b, h, w]`, truth with ignore_id, which is never counted."""
    score = RoadScore.zero(classes, truth.shape[1:])
    drivable = [classes.names.index(name) for name in classes.drivable]
    known = truth != classes.ignore_id
    true_road, seen_road = np.isin(truth, drivable) & known, np.isin(predicted, drivable)
    score.overlap[0] = (true_road & seen_road).sum()
    score.overlap[1] = ((true_road | seen_road) & known).sum()
    score.edges += _edge_distances(true_road, seen_road, known)
    score.edges += _edge_distances(seen_road, true_road, known)
    for class_id in obstacle_ids(classes):
        there = truth == class_id
        score.obstacles[class_id] = there.sum(), (there & seen_road).sum()
    for labels, road in zip(truth, seen_road, strict=True):
        score.components += component_counts(labels, road[None], classes)[0]
    return score


def component_counts(
    labels: NDArray[np.uint8], roads: NDArray[np.bool_], classes: ClassTable
) -> NDArray[np.int64]:
    """`RoadScore.components` of one frame's labels `[h, w]` for each of n masks of what is called
    road, `[n, h, w]`: `[n, classes, 3]`."""
    ids = component_ids(labels).ravel()
    pixels = np.bincount(ids)
    class_id = np.zeros(len(pixels), np.int64)
    class_id[ids] = labels.ravel()
    kept = np.isin(class_id, obstacle_ids(classes)) & (pixels >= _LEAST_PIXELS)
    counts = np.zeros((len(roads), len(classes), 3), np.int64)
    for of_mask, road in zip(counts, roads, strict=True):
        share = np.bincount(ids, weights=road.ravel())[kept] / pixels[kept]
        for column, least in enumerate((0.0, 0.1, 0.5)):
            np.add.at(of_mask[:, column], class_id[kept][share >= least], 1)
    return counts


def road_iou(confusion: NDArray[np.int64], classes: ClassTable) -> float:
    """The IoU of all drivable classes taken as one, a fraction; 0 where there is none."""
    road = np.isin(classes.names, classes.drivable)
    hits = confusion[np.ix_(road, road)].sum()
    return float(hits / max(confusion[road].sum() + confusion[:, road].sum() - hits, 1))


def obstacle_ids(classes: ClassTable) -> list[int]:
    """What stands in the way: every class but the drivable ones, the sky, and other flat ground."""
    flat = _NO_OBSTACLES | {name.lower() for name in classes.drivable}
    return [i for i, name in enumerate(classes.names) if name.lower() not in flat]


def road_report(score: RoadScore, classes: ClassTable) -> dict[str, object]:
    """The score in words: fractions, pixels; null where there is nothing to count.

    `boundary.by_row` has a median and a 95th percentile for every row of the picture.
    """
    ids = obstacle_ids(classes)
    h = len(score.edges)
    bands = [(h * i // _BANDS, h * (i + 1) // _BANDS) for i in range(_BANDS)]
    rows = [_boundary(row) for row in score.edges]
    return {
        "iou": _share(score.overlap[0], score.overlap[1]),
        "boundary": _boundary(score.edges.sum(0))
        | {
            "by_band": [
                {"rows": [a, b]} | _boundary(score.edges[a:b].sum(0)) for a, b in bands if a < b
            ],
            "by_row": {key: [row[key] for row in rows] for key in rows[0]},
        },
        "false_free_space": {
            "all": free_space_report(score.obstacles[ids].sum(0), score.components[ids].sum(0)),
            "by_class": {
                classes.names[i]: free_space_report(score.obstacles[i], score.components[i])
                for i in ids
            },
        },
    }


def free_space_report(
    pixels: NDArray[np.int64], components: NDArray[np.int64]
) -> dict[str, object]:
    """`RoadScore.obstacles` `[2]` and `components` `[3]` of some classes in words: how many there
    are, and the fractions called road; null where there is nothing to count."""
    count, a_tenth, half = (int(n) for n in components)
    return {
        "pixels": int(pixels[0]),
        "called_road": _share(pixels[1], pixels[0]),
        "components": count,
        "a_tenth_road": _share(a_tenth, count),
        "half_road": _share(half, count),
    }


def component_ids(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A number for each 8-connected region of equal labels `[h, w]`: regions 0, 1, 2, ..."""
    h, w = labels.shape
    starts = np.ones((h, w), bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    runs = (np.cumsum(starts) - 1).reshape(h, w)
    count = int(runs[-1, -1]) + 1
    pairs = []
    for shift in (-1, 0, 1):
        above = slice(max(shift, 0), w + min(shift, 0))
        below = slice(max(-shift, 0), w + min(-shift, 0))
        touching = labels[:-1, above] == labels[1:, below]
        # One number for a pair of runs: sorting rows of two takes ten times as long.
        pairs.append(runs[:-1, above][touching] * count + runs[1:, below][touching])
    a, b = np.divmod(np.unique(np.concatenate(pairs)), count)
    root = np.arange(count)
    while (root[a] != root[b]).any():
        # The larger root of each pair hangs itself under the smaller; then all paths are shortened.
        np.minimum.at(root, np.maximum(root[a], root[b]), np.minimum(root[a], root[b]))
        while (root != root[root]).any():
            root = root[root]
    return np.unique(root, return_inverse=True)[1][runs]


def _edge_distances(
    of: NDArray[np.bool_], to: NDArray[np.bool_], known: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """For each edge of the masks `of` in its row, how far the nearest one of `to` is, `[h, w + 1]`.

    Left edges go with left ones, right with right. An edge counts if both of its sides are known;
    those of `to` lie anywhere, at the picture's border too.
    """
    h, w = of.shape[1:]
    counts = np.zeros((h, w + 1), np.int64)
    sides_known = known[:, :, :-1] & known[:, :, 1:]
    place = np.arange(w + 1)
    padded = np.pad(to, ((0, 0), (0, 0), (1, 1)))
    for inside in (True, False):
        target = (padded[:, :, 1:] == inside) & (padded[:, :, :-1] != inside)
        before = np.maximum.accumulate(np.where(target, place, -w), axis=2)
        after = np.minimum.accumulate(np.where(target, place, 2 * w)[:, :, ::-1], axis=2)
        nearest = np.minimum(place - before, after[:, :, ::-1] - place).clip(max=w)
        edge = (of[:, :, 1:] == inside) & (of[:, :, :-1] != inside) & sides_known
        row = np.nonzero(edge)[1]
        np.add.at(counts, (row, nearest[:, :, 1:w][edge]), 1)
    return counts


def _boundary(counts: NDArray[np.int64]) -> dict[str, object]:
    total = int(counts.sum())
    reached = np.cumsum(counts)

    def quantile(q: float) -> int | None:
        return int(np.searchsorted(reached, q * total)) if total else None

    return {"edges": total, "median_px": quantile(0.5), "p95_px": quantile(0.95)}


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
