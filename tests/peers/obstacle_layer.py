"""A peer that makes a costmap of points as nav2_costmap_2d's ObstacleLayer does.

Its rules: clouds come by SensorDataQoS; each source keeps its newest cloud, in the costmap's frame,
without the points outside its heights; rays from the origin of `sensor_frame` to each point of the
clearing sources free the cells on their way; then the marking sources' points within the layer's
own heights and the source's range are lethal.
"""

import numpy as np
from costmap import FREE, LETHAL, Costmap
from fragment import Fragment
from graph_peer import answer_commands
from planner_peer import SENSOR_DATA, PlannerPeer, points_of
from sensor_msgs.msg import PointCloud2
from tf_tree import moved


class Source:
    """One of the layer's observation sources."""

    def __init__(self, source: Fragment, name: str) -> None:
        self.topic = source.declare("topic", name)
        self.sensor_frame = source.declare("sensor_frame", "")
        self.lowest = source.declare("min_obstacle_height", 0.0)
        self.highest = source.declare("max_obstacle_height", 0.0)
        self.marks = source.declare("marking", True)
        self.clears = source.declare("clearing", False)
        self.mark_range = (
            source.declare("obstacle_min_range", 0.0),
            source.declare("obstacle_max_range", 2.5),
        )
        self.clear_range = (
            source.declare("raytrace_min_range", 0.0),
            source.declare("raytrace_max_range", 3.0),
        )
        data_type = source.declare("data_type", "LaserScan")
        if data_type != "PointCloud2":
            raise ValueError(f"{name} subscribes to {data_type}, which is another type")


class ObstacleLayer(PlannerPeer):
    """The layer's commands, beside a peer's."""

    def configure(self, *, file: str) -> None:
        """Takes up the parameters of the costmap and subscribes."""
        node = Fragment.read(file, "local_costmap", "local_costmap")
        self.costmap = Costmap(node)
        _, layer = self.costmap.layer(node, "nav2_costmap_2d::ObstacleLayer")
        self.lowest = layer.declare("min_obstacle_height", 0.0)
        self.highest = layer.declare("max_obstacle_height", 2.0)
        layer.declare("enabled", True)
        layer.declare("footprint_clearing_enabled", True)
        layer.declare("combination_method", 1)
        names = layer.declare("observation_sources", "").split()
        self.sources = [Source(layer.part(name), name) for name in names]
        node.check_all_taken()
        for source in self.sources:
            self.listen(topic=source.topic, type=PointCloud2, qos=SENSOR_DATA)

    def fill(self, *, cost: int) -> None:
        """Gives every cell a cost."""
        self.costmap.cells[:] = cost
        self.costmap.unseen = cost

    def update(self, *, at_ns: int, timeout_s: float) -> dict | None:
        """Takes in the clouds of a stamp and returns the costmap; None where they do not come."""
        topics = [source.topic for source in self.sources]
        costmap = self.costmap
        frames = [source.sensor_frame for source in self.sources if source.sensor_frame]
        clouds = self.all_of(
            topics=topics,
            at_ns=at_ns,
            frame=costmap.frame,
            frames=[costmap.base_frame, *frames],
            timeout_s=timeout_s,
        )
        if clouds is None:
            return None
        costmap.follow(self.tf.between(costmap.frame, costmap.base_frame, at_ns)[:3, 3])
        seen = [self._observation(*pair, at_ns) for pair in zip(self.sources, clouds, strict=True)]
        for source, (origin, points) in zip(self.sources, seen, strict=True):
            if source.clears:
                self._clear(source, origin, points)
        for source, (origin, points) in zip(self.sources, seen, strict=True):
            if source.marks:
                self._mark(source, origin, points)
        return costmap.told()

    def _observation(
        self, source: Source, cloud: PointCloud2, at_ns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        frame = self.costmap.frame
        origin_frame = source.sensor_frame or cloud.header.frame_id
        origin = self.tf.between(frame, origin_frame, at_ns)[:3, 3]
        points = moved(points_of(cloud), self.tf.between(frame, cloud.header.frame_id, at_ns))
        return origin, points[(points[:, 2] <= source.highest) & (points[:, 2] >= source.lowest)]

    def _mark(self, source: Source, origin: np.ndarray, points: np.ndarray) -> None:
        nearest, farthest = source.mark_range
        distance = np.linalg.norm(points - origin, axis=1)
        is_high = (points[:, 2] >= self.lowest) & (points[:, 2] <= self.highest)
        at, inside = self.costmap.cells_of(points)
        at = at[inside & is_high & (distance < farthest) & (distance >= nearest)].astype(int)
        self.costmap.cells[at[:, 1], at[:, 0]] = LETHAL

    def _clear(self, source: Source, origin: np.ndarray, points: np.ndarray) -> None:
        start, starts_inside = self.costmap.cells_of(origin[None])
        if not starts_inside[0]:
            return
        ends, inside = self.costmap.cells_of(points)
        nearest, farthest = (metres / self.costmap.resolution for metres in source.clear_range)
        start = np.floor(start[0])
        for end in np.unique(np.floor(ends[inside]), axis=0):
            way = end - start
            steps = int(np.abs(way).max())
            length = np.hypot(*way)
            if length < nearest:
                continue
            share = min(1.0, farthest / length) if length else 1.0
            # One cell a step along the longer axis, as Bresenham's lines have it.
            along = np.arange(int(steps * share) + 1)[:, None] / max(steps, 1)
            on_way = np.floor(start + way * along + 0.5).astype(int)
            self.costmap.cells[on_way[:, 1], on_way[:, 0]] = FREE


if __name__ == "__main__":
    answer_commands(ObstacleLayer)
