"""Transforms as a planner has them: what /tf and /tf_static told, at a stamp or the newest."""

import threading

import numpy as np
from geometry_msgs.msg import Transform
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


class TfTree:
    """The tree of frames. A drive has a pose for every image: stamps between are not asked for."""

    def __init__(self, node: Node, arrival: threading.Condition) -> None:
        self.arrival = arrival
        self.parents: dict[str, str] = {}
        self.moving: dict[str, dict[int, np.ndarray]] = {}
        self.static: dict[str, np.ndarray] = {}
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(TFMessage, "/tf", self._take, QoSProfile(depth=100))
        node.create_subscription(TFMessage, "/tf_static", self._take_static, latched)

    def _take(self, message: TFMessage) -> None:
        with self.arrival:
            self.arrival.notify_all()
            for edge in message.transforms:
                self.parents[edge.child_frame_id] = edge.header.frame_id
                poses = self.moving.setdefault(edge.child_frame_id, {})
                poses[stamp_ns(edge.header.stamp)] = matrix(edge.transform)

    def _take_static(self, message: TFMessage) -> None:
        with self.arrival:
            self.arrival.notify_all()
            for edge in message.transforms:
                self.parents[edge.child_frame_id] = edge.header.frame_id
                self.static[edge.child_frame_id] = matrix(edge.transform)

    def between(self, target: str, source: str, at_ns: int | None = None) -> np.ndarray:
        """The transform of points of `source` to `target`, 4 x 4; the newest without a stamp.

        Raises LookupError where there is none.
        """
        with self.arrival:
            in_root = [self._in_root(frame, at_ns) for frame in (target, source)]
        (target_root, target_pose), (source_root, source_pose) = in_root
        if target_root != source_root:
            raise LookupError(f"{target} and {source} are not connected")
        return np.linalg.inv(target_pose) @ source_pose

    def is_known(self, target: str, source: str, at_ns: int | None = None) -> bool:
        """Whether there is a transform of points of `source` to `target`."""
        try:
            self.between(target, source, at_ns)
        except LookupError:
            return False
        return True

    def _in_root(self, frame: str, at_ns: int | None) -> tuple[str, np.ndarray]:
        pose = np.eye(4)
        while frame in self.parents:
            pose = self._pose(frame, at_ns) @ pose
            frame = self.parents[frame]
        return frame, pose

    def _pose(self, frame: str, at_ns: int | None) -> np.ndarray:
        if frame in self.static:
            return self.static[frame]
        poses = self.moving[frame]
        at_ns = max(poses) if at_ns is None else at_ns
        if at_ns not in poses:
            raise LookupError(f"no pose of {frame} at {at_ns}")
        return poses[at_ns]


def matrix(transform: Transform) -> np.ndarray:
    """A transform as 4 x 4."""
    t, q = transform.translation, transform.rotation
    x, y, z, w = np.array([q.x, q.y, q.z, q.w]) / np.linalg.norm([q.x, q.y, q.z, q.w])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), t.x],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), t.y],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), t.z],
            [0, 0, 0, 1],
        ]
    )


def moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Points `[n, 3]` in another frame."""
    return points @ transform[:3, :3].T + transform[:3, 3]


def stamp_ns(stamp: object) -> int:
    """A stamp as nanoseconds."""
    return stamp.sec * 10**9 + stamp.nanosec
