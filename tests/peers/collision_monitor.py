"""A peer that stops as nav2_collision_monitor does.

Its rules: clouds come by SensorDataQoS. A point is taken where its height, in the cloud's own
frame, is between the source's bounds and it is not nearer to that frame's origin than `min_range`;
it is moved to `base_frame_id`. With `min_points` or more inside a polygon, its action is taken.
"""

import ast

import numpy as np
from fragment import Fragment
from graph_peer import answer_commands
from planner_peer import SENSOR_DATA, PlannerPeer, points_of
from sensor_msgs.msg import PointCloud2
from tf_tree import moved


class Zone:
    """A polygon around the vehicle."""

    def __init__(self, part: Fragment) -> None:
        part.declare("enabled", True)
        part.declare("visualize", False)
        part.declare("polygon_pub_topic", "")
        kind, action = part.declare("type", ""), part.declare("action_type", "")
        if (kind, action) != ("polygon", "stop"):
            raise ValueError(f"{part.name} is a {kind} to {action}")
        self.corners = np.array(ast.literal_eval(part.declare("points", "")), float)
        self.min_points = part.declare("min_points", 4)

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which points `[n, 2]` are inside, by the crossings of a ray along y."""
        x, y = points[:, 0], points[:, 1]
        is_inside = np.zeros(len(points), bool)
        for (x0, y0), (x1, y1) in zip(self.corners, np.roll(self.corners, 1, axis=0), strict=True):
            spans = (x0 <= x) != (x1 <= x)
            if spans.any():
                at_y = y0 + (x[spans] - x0) / (x1 - x0) * (y1 - y0)
                is_inside[spans] ^= y[spans] < at_y
        return is_inside


class CollisionMonitor(PlannerPeer):
    """The monitor's commands, beside a peer's."""

    def configure(self, *, file: str) -> None:
        """Takes up the monitor's parameters and subscribes."""
        node = Fragment.read(file, "collision_monitor")
        self.base_frame = node.declare("base_frame_id", "base_footprint")
        node.declare("odom_frame_id", "odom")
        for topic in ("cmd_vel_in_topic", "cmd_vel_out_topic", "state_topic"):
            node.declare(topic, "")
        node.declare("transform_tolerance", 0.1)
        node.declare("stop_pub_timeout", 1.0)
        node.declare("source_timeout", 2.0)
        node.declare("base_shift_correction", True)
        self.zones = [Zone(node.part(name)) for name in node.declare("polygons", [])]
        (name,) = node.declare("observation_sources", [])
        source = node.part(name)
        source.declare("enabled", True)
        if source.declare("type", "scan") != "pointcloud":
            raise ValueError("obstacles come as points: an outline would be taken for obstacles")
        self.topic = source.declare("topic", "scan")
        self.heights = source.declare("min_height", 0.05), source.declare("max_height", 0.5)
        self.nearest = source.declare("min_range", 0.0)
        node.check_all_taken()
        self.listen(topic=self.topic, type=PointCloud2, qos=SENSOR_DATA)

    def corners(self) -> list:
        """Corners of the first zone, in base_frame_id."""
        return self.zones[0].corners.tolist()

    def update(self, *, at_ns: int, timeout_s: float) -> dict | None:
        """What the monitor does when the cloud of a stamp has come; None where it does not come."""
        clouds = self.all_of(
            topics=[self.topic], at_ns=at_ns, frame=self.base_frame, frames=[], timeout_s=timeout_s
        )
        if clouds is None:
            return None
        (cloud,) = clouds
        points = points_of(cloud)
        lowest, highest = self.heights
        is_taken = (points[:, 2] >= lowest) & (points[:, 2] <= highest)
        is_taken &= np.linalg.norm(points, axis=1) >= self.nearest
        in_base = moved(points, self.tf.between(self.base_frame, cloud.header.frame_id, at_ns))
        in_base = in_base[is_taken, :2]
        inside = [in_base[zone.holds(in_base)] for zone in self.zones]
        is_stopped = any(
            len(points) >= zone.min_points for points, zone in zip(inside, self.zones, strict=True)
        )
        return {"points": np.concatenate(inside).round(2).tolist(), "is_stopped": is_stopped}


if __name__ == "__main__":
    answer_commands(CollisionMonitor)
