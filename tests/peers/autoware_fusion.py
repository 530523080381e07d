"""A peer that reads masks as Autoware's segmentation_pointcloud_fusion does.

Its rules: mask and camera_info come best effort, the newest alone. Whatever its encoding says, the
mask's data are runs of five bytes, a label id and a little-endian i32; they fill `height` rows of
`width` pixels, and nothing checks their sum. The mask is resized to camera_info's size by nearest
neighbours. A point before the camera is moved to the mask's frame at its stamp, projected, and has
the label of the pixel that it falls on; those of labels that are to be filtered are dropped.
"""

from pathlib import Path

import numpy as np
import yaml
from graph_peer import answer_commands
from planner_peer import LATCHED, PlannerPeer
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tf_tree import moved
from vision_msgs.msg import LabelInfo

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
MASK = "/perception/object_recognition/detection/mask0"
INFO = "/camera/camera_info"
# The same mask as the node has it for others.
LABELS = "/ecmnet/label_mask"

# Labels by their ids.
FUSION_LABELS = [
    "UNKNOWN",
    "BUILDING",
    "WALL",
    "OBSTACLE",
    "TRAFFIC_LIGHT",
    "TRAFFIC_SIGN",
    "PERSON",
    "VEHICLE",
    "BIKE",
    "ROAD",
    "SIDEWALK",
    "ROAD_PAINT",
    "CURBSTONE",
    "CROSSWALK",
    "VEGETATION",
    "SKY",
]


class AutowareFusion(PlannerPeer):
    """The fusion's commands, beside a peer's."""

    def configure(self, *, file: str) -> None:
        """Subscribes; `file` holds the ids that the node was given."""
        values = yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"]
        entries = (entry.rsplit("=", 1) for entry in values["autoware.label_ids"])
        self.ids = {name: int(id) for name, id in entries}
        self.names: list[str] = []
        self.listen(topic=MASK, type=Image, qos=NEWEST)
        self.listen(topic=INFO, type=CameraInfo, qos=NEWEST)
        self.listen(topic=LABELS, type=Image, qos=QoSProfile(depth=10))
        self.node.create_subscription(LabelInfo, "/ecmnet/label_info", self._name, LATCHED)

    def _name(self, info: LabelInfo) -> None:
        with self.arrival:
            self.names = [c.class_name for c in sorted(info.class_map, key=lambda c: c.class_id)]
            self.arrival.notify_all()

    def update(self, *, at_ns: int, timeout_s: float) -> dict | None:
        """Reads the mask of a stamp; None where it does not come."""
        messages = self.all_of(
            topics=[MASK, INFO, LABELS],
            at_ns=at_ns,
            frame="odom",
            frames=["base_link"],
            timeout_s=timeout_s,
        )
        if messages is None or not self.names:
            return None
        mask, self.info, labels = messages
        self.at_ns = at_ns
        self.frame = mask.header.frame_id
        own = np.array([self.ids[name] for name in self.names], np.uint8)[np.array(labels.data)]
        decoded = decode(mask)
        self.mask = resized(decoded, self.info.width, self.info.height)
        return {
            "frame_id": mask.header.frame_id,
            "encoding": mask.encoding,
            "size": [mask.width, mask.height, mask.step],
            "bytes": len(mask.data),
            "differ": int((decoded.ravel() != own).sum()),
        }

    def labels_at(self, *, points: list) -> list:
        """The labels of points of odom; null for those that are out of the picture."""
        there = moved(np.array(points, float), self.tf.between(self.frame, "odom", self.at_ns))
        pixels = projected(there, self.info)
        width, height = self.info.width, self.info.height
        is_seen = (there[:, 2] > 0) & (pixels >= 0).all(axis=1)
        is_seen &= (pixels < [width, height]).all(axis=1)
        at = np.where(is_seen[:, None], pixels, 0).astype(int)
        ids = self.mask[at[:, 1], at[:, 0]]
        return [FUSION_LABELS[id] if seen else None for id, seen in zip(ids, is_seen, strict=True)]


def decode(mask: Image) -> np.ndarray:
    """The label ids of a mask's runs, `[height, width]`."""
    runs = np.frombuffer(mask.data, np.dtype([("id", "u1"), ("length", "<i4")]))
    if runs["length"].sum() != mask.width * mask.height:
        raise ValueError(f"the runs have {runs['length'].sum()} pixels: past the mask's memory")
    return np.repeat(runs["id"], runs["length"]).reshape(mask.height, mask.width)


def resized(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """The mask at another size, by nearest neighbours."""
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    return mask[rows[:, None], columns]


def projected(points: np.ndarray, info: CameraInfo) -> np.ndarray:
    """Pixels of points of the camera's frame, with the lens of plumb_bob."""
    k1, k2, p1, p2, k3 = info.d
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([info.k[0] * u + info.k[2], info.k[4] * v + info.k[5]], axis=1)


if __name__ == "__main__":
    answer_commands(AutowareFusion)
