"""What the peers that stand for planners share: transforms, clouds, and messages by their stamp."""

import threading

import numpy as np
from graph_peer import GraphPeer
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from tf_tree import TfTree, stamp_ns

# rclcpp's SensorDataQoS with the depth that costmap layers give it.
SENSOR_DATA = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class PlannerPeer(GraphPeer):
    """A peer that keeps what comes on its topics until it is asked for."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)
        self.arrival = threading.Condition()
        self.tf = TfTree(self.node, self.arrival)
        self.messages: dict[str, dict[int, object]] = {}

    def listen(self, *, topic: str, type: type, qos: QoSProfile) -> None:
        """Subscribes as the planner does."""
        kept = self.messages.setdefault(topic, {})

        def keep(message: object) -> None:
            with self.arrival:
                kept[stamp_ns(message.header.stamp)] = message
                self.arrival.notify_all()

        self.node.create_subscription(type, topic, keep, qos)

    def has_place(self, *, target: str, source: str, at_ns: int) -> bool:
        """Whether the place of a frame in another one is known."""
        return self.tf.is_known(target, source, at_ns)

    def all_of(
        self, *, topics: list[str], at_ns: int, frame: str, frames: list[str], timeout_s: float
    ) -> list | None:
        """The message of this very stamp on each topic; None where one does not come.

        As with tf2's message filter their frames' places in `frame` are known then, and those of
        `frames`.
        """
        kept = [self.messages[topic] for topic in topics]

        def is_there() -> bool:
            messages = [messages.get(at_ns) for messages in kept]
            if not all(messages):
                return False
            known = [message.header.frame_id for message in messages] + frames
            return all(self.tf.is_known(frame, source, at_ns) for source in known)

        with self.arrival:
            is_so = self.arrival.wait_for(is_there, timeout_s)
            return [messages[at_ns] for messages in kept] if is_so else None


def points_of(cloud: PointCloud2) -> np.ndarray:
    """x, y and z of a cloud's points, `[height * width, 3]`, wherever its fields say they are."""
    fields = {field.name: field for field in cloud.fields}
    names = ["x", "y", "z"]
    assert all(fields[name].datatype == PointField.FLOAT32 for name in names), cloud.fields
    assert cloud.row_step == cloud.width * cloud.point_step
    layout = {
        "names": names,
        "formats": [">f4" if cloud.is_bigendian else "<f4"] * 3,
        "offsets": [fields[name].offset for name in names],
        "itemsize": cloud.point_step,
    }
    points = np.frombuffer(cloud.data, dtype=np.dtype(layout))
    assert len(points) == cloud.width * cloud.height
    return np.stack([points[name] for name in names], axis=1).astype(np.float64)
