"""A peer that makes a costmap as kiwicampus' SemanticSegmentationLayer does.

Its rules: mask, confidence and cloud come by SensorDataQoS and belong together by their stamp;
LabelInfo is latched and must come before them. The mask has as many pixels as the cloud has points,
one byte each, and the pixel at row v and column u is at `v * width + u`. A point that is not finite
is left out, and so is one whose distance from the camera is not within the source's. Of the pixels
of a cell the one of the largest `max_cost` counts. A cell keeps its observations by class for
`tile_map_decay_time`; the class that has the most of them, or the last of those with
`dominant_priority`, gives the cost: `max_cost` with `samples_to_max_cost` observations of a mean
confidence above `mark_confidence`, else `base_cost`.
"""

from collections import defaultdict

import numpy as np
from costmap import Costmap
from fragment import Fragment
from graph_peer import answer_commands
from planner_peer import LATCHED, SENSOR_DATA, PlannerPeer, points_of
from sensor_msgs.msg import Image, PointCloud2
from tf_tree import moved
from vision_msgs.msg import LabelInfo


class ClassType:
    """The costs of some classes."""

    def __init__(self, part: Fragment) -> None:
        self.classes = part.declare("classes", [])
        self.base_cost = part.declare("base_cost", 0)
        self.max_cost = part.declare("max_cost", 0)
        self.mark_confidence = part.declare("mark_confidence", 0)
        self.samples_to_max_cost = part.declare("samples_to_max_cost", 0)
        self.is_dominant = part.declare("dominant_priority", False)
        if not self.classes:
            raise ValueError(f"no classes defined on type {part.name}")


class Tile:
    """What was observed of a cell: stamps and confidences by class."""

    def __init__(self) -> None:
        self.seen: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self.class_id = -1
        self.size = 0

    def add(self, class_id: int, observation: tuple[float, int], *, is_dominant: bool) -> None:
        """Takes in an observation; its class takes the cell over, or not."""
        self.seen[class_id].append(observation)
        if is_dominant or len(self.seen[class_id]) > self.size:
            self.seen = defaultdict(list, {class_id: self.seen[class_id]})
            self.class_id, self.size = class_id, len(self.seen[class_id])

    def forget(self, before_s: float) -> None:
        """Drops what is older."""
        for class_id, seen in list(self.seen.items()):
            self.seen[class_id] = [one for one in seen if one[0] >= before_s]
            if not self.seen[class_id]:
                del self.seen[class_id]
        if self.class_id not in self.seen:
            most = max(self.seen, key=lambda class_id: len(self.seen[class_id]), default=-1)
            self.class_id = most
        self.size = len(self.seen.get(self.class_id, []))


class SemanticLayer(PlannerPeer):
    """The layer's commands, beside a peer's."""

    def configure(self, *, file: str) -> None:
        """Takes up the parameters of the costmap and subscribes."""
        node = Fragment.read(file, "local_costmap", "local_costmap")
        self.costmap = Costmap(node)
        plugin = "semantic_segmentation_layer::SemanticSegmentationLayer"
        _, layer = self.costmap.layer(node, plugin)
        layer.declare("enabled", True)
        layer.declare("combination_method", 1)
        (name,) = layer.declare("observation_sources", "").split()
        source = layer.part(name)
        self.nearest = source.declare("min_obstacle_distance", 0.3)
        self.farthest = source.declare("max_obstacle_distance", 5.0)
        self.decay_s = source.declare("tile_map_decay_time", 5.0)
        self.by_cost = source.declare("use_cost_selection", True)
        parts = source.declare("class_types", [])
        self.types = [ClassType(source.part(name)) for name in parts]
        self.topics = [
            source.declare(f"{name}_topic", "")
            for name in ("segmentation", "confidence", "pointcloud")
        ]
        labels = source.declare("labels_topic", "")
        node.check_all_taken()
        self.type_of: dict[int, ClassType] = {}
        self.tiles: dict[tuple[int, int], Tile] = defaultdict(Tile)
        self.node.create_subscription(LabelInfo, labels, self._take_classes, LATCHED)
        for topic, type in zip(self.topics, (Image, Image, PointCloud2), strict=True):
            self.listen(topic=topic, type=type, qos=SENSOR_DATA)

    def _take_classes(self, info: LabelInfo) -> None:
        known = {name: type for type in self.types for name in type.classes}
        with self.arrival:
            self.ignored = [c.class_name for c in info.class_map if c.class_name not in known]
            self.type_of = {
                c.class_id: known[c.class_name] for c in info.class_map if c.class_name in known
            }

    def ignored_classes(self) -> list[str]:
        """The classes that are in no type, for which the layer logs a CRITICAL ERROR."""
        return self.ignored

    def update(self, *, at_ns: int, timeout_s: float) -> dict | None:
        """Takes in the messages of a stamp and returns the costmap; None where they do not come."""
        costmap = self.costmap
        messages = self.all_of(
            topics=self.topics,
            at_ns=at_ns,
            frame=costmap.frame,
            frames=[costmap.base_frame],
            timeout_s=timeout_s,
        )
        if messages is None or not self.type_of:
            return None
        self._observe(*messages, at_ns)
        costmap.follow(self.tf.between(costmap.frame, costmap.base_frame, at_ns)[:3, 3])
        self._lay_costs(at_ns / 1e9)
        return costmap.told()

    def _observe(self, mask: Image, confidence: Image, cloud: PointCloud2, at_ns: int) -> None:
        points = points_of(cloud)
        # The layer checks no more than how many pixels the mask has, and would read the rest wrong.
        for image in (mask, confidence):
            layout = image.encoding, image.step, image.width, image.height
            if layout != ("mono8", cloud.width, cloud.width, cloud.height):
                raise ValueError(f"an image of {layout}, a cloud {cloud.width}x{cloud.height}")
        in_frame = self.tf.between(self.costmap.frame, cloud.header.frame_id, at_ns)
        places = moved(points, in_frame)
        distance = np.linalg.norm(places - in_frame[:3, 3], axis=1)
        is_kept = np.isfinite(places[:, 2])
        is_kept &= (distance < self.farthest) & (distance > self.nearest)
        (kept,) = np.nonzero(is_kept)
        indices = np.floor(places[kept, :2] / self.costmap.resolution).astype(int)
        best: dict[tuple[int, int], int] = {}
        for pixel, index in zip(kept.tolist(), map(tuple, indices.tolist()), strict=True):
            rival = best.get(index)
            if rival is None or self._rank(mask, confidence, pixel) > self._rank(
                mask, confidence, rival
            ):
                best[index] = pixel
        for index, pixel in best.items():
            class_id = mask.data[pixel]
            if class_id in self.type_of:
                observation = (at_ns / 1e9, confidence.data[pixel])
                dominant = self.type_of[class_id].is_dominant
                self.tiles[index].add(class_id, observation, is_dominant=dominant)

    def _rank(self, mask: Image, confidence: Image, pixel: int) -> int:
        if not self.by_cost:
            return confidence.data[pixel]
        type = self.type_of.get(mask.data[pixel])
        return type.max_cost if type else 0

    def _lay_costs(self, now_s: float) -> None:
        # A cell whose tile is gone keeps its cost.
        for index, tile in list(self.tiles.items()):
            tile.forget(now_s - self.decay_s)
            if not tile.size:
                del self.tiles[index]
                continue
            middle = (np.array([index]) + 0.5) * self.costmap.resolution
            at, inside = self.costmap.cells_of(middle)
            if not inside[0]:
                continue
            type = self.type_of[tile.class_id]
            mean = sum(sure for _, sure in tile.seen[tile.class_id]) / tile.size
            is_sure = tile.size >= type.samples_to_max_cost and mean > type.mark_confidence
            column, row = at[0].astype(int)
            self.costmap.cells[row, column] = type.max_cost if is_sure else type.base_cost


if __name__ == "__main__":
    answer_commands(SemanticLayer)
