"""Collects the node's masks, maps their stamps back to the bag's, and scores them as they come.

Reads from standard input how many nanoseconds the stamps were moved by, and stops when it closes.
Writes `masks` (a bag with the masks on /label_mask) and `latency.csv` into --out, and with --ground
`drivable_area.jpg`. Prints one JSON line a second and one at the end.
"""

import argparse
import csv
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from ground import Ground
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from stamps import stamp_ns
from vision_msgs.msg import LabelInfo

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE_TYPE = "sensor_msgs/msg/Image"


class Truth:
    """The labels of a bag by their stamps, and the confusion matrix of the masks against them."""

    def __init__(self, bag: Path, topic: str) -> None:
        self.labels: dict[int, np.ndarray] = {}
        self.matrix = np.zeros((256, 256), np.int64)
        if not topic:
            return
        with Reader(bag) as reader:
            for connection, _, raw in reader.messages():
                if connection.topic == topic:
                    message = TYPES.deserialize_cdr(raw, connection.msgtype)
                    rows = message.data.reshape(message.height, message.step)
                    self.labels[stamp_ns(message.header.stamp)] = rows[:, : message.width]

    def add(self, stamp: int, mask: np.ndarray) -> None:
        """Count a mask against the labels of the same stamp, if there are any."""
        labels = self.labels.get(stamp)
        if labels is None or labels.shape != mask.shape:
            return
        pairs = labels.astype(np.int64).ravel() * 256 + mask.ravel()
        self.matrix += np.bincount(pairs, minlength=65536).reshape(256, 256)

    def miou(self, classes: int) -> float | None:
        """Mean IoU over the classes that are in the truth or in the masks; None before any."""
        matrix = self.matrix[:classes, :classes]
        hits = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - hits
        present = union > 0
        return float((hits[present] / union[present]).mean()) if present.any() else None


class Collector:
    """The subscriptions, and what has come through them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.truth = Truth(args.bag, args.labels_topic)
        self.offset_ns = 0
        self.classes = 0
        self.latencies_ms: list[tuple[int, float]] = []
        self.diagnostics: dict[str, str] = {}
        self.writer = Writer(args.out / "masks", version=9, storage_plugin=StoragePlugin.MCAP)
        self.writer.open()
        self.connection = self.writer.add_connection("/label_mask", IMAGE_TYPE, typestore=TYPES)
        self.node = rclpy.create_node("demo_collector")
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        subscribe = self.node.create_subscription
        subscribe(Image, f"{args.node}/label_mask", self.on_mask, reliable)
        subscribe(LabelInfo, f"{args.node}/label_info", self.on_label_info, latched)
        subscribe(DiagnosticArray, "/diagnostics", self.on_diagnostics, reliable)
        self.ground = Ground(self.node, args.node) if args.ground else None

    def on_label_info(self, message: LabelInfo) -> None:
        """Learn how many classes there are."""
        self.classes = len(message.class_map)

    def on_mask(self, message: Image) -> None:
        """Score a mask and write it down under the stamp that its image has in the bag."""
        now_ns = time.time_ns()
        sent_ns = stamp_ns(message.header.stamp)
        stamp = sent_ns - self.offset_ns
        self.latencies_ms.append((stamp, (now_ns - sent_ns) / 1e6))
        data = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        mask = data[:, : message.width]
        self.truth.add(stamp, mask)
        types = TYPES.types
        sec, nanosec = divmod(stamp, 10**9)
        time_type = types["builtin_interfaces/msg/Time"]
        header = types["std_msgs/msg/Header"](
            stamp=time_type(sec=sec, nanosec=nanosec), frame_id=message.header.frame_id
        )
        recorded = types[IMAGE_TYPE](
            header=header,
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            is_bigendian=0,
            step=message.width,
            data=np.ascontiguousarray(mask).ravel(),
        )
        self.writer.write(self.connection, stamp, TYPES.serialize_cdr(recorded, IMAGE_TYPE))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep the node's own account."""
        for status in message.status:
            if status.name.startswith(f"{self.args.node}:"):
                self.diagnostics = {pair.key: pair.value for pair in status.values}

    def report(self, *, done: bool) -> None:
        """Print where things stand as one JSON line."""
        latencies = [latency for _, latency in self.latencies_ms[-100:]]
        counts = ("received", "segmented", "dropped", "unwatched", "rejected")
        line = {
            "masked": len(self.latencies_ms),
            "latency_ms": float(np.median(latencies)) if latencies else None,
            "miou": self.truth.miou(self.classes),
            "node": {key: int(self.diagnostics.get(key, 0)) for key in counts},
            "ready": bool(self.diagnostics),
            "done": done,
        }
        print(json.dumps(line), flush=True)

    def close(self) -> None:
        """Finish the bag, write the latencies and the picture."""
        self.writer.close()
        if self.ground:
            self.ground.save(self.args.out / "drivable_area.jpg")
        with (self.args.out / "latency.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["stamp_ns", "latency_ms"])
            rows.writerows((stamp, f"{latency:.3f}") for stamp, latency in self.latencies_ms)


def main() -> int:
    """Collect until standard input closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bag", type=Path, required=True)
    parser.add_argument(
        "--labels-topic", default="", help="the labels in the bag, if there are any"
    )
    parser.add_argument("--node", required=True, help="the node's fully qualified name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ground", action="store_true", help="draw the drivable area")
    args = parser.parse_args()
    rclpy.init()
    collector = Collector(args)
    closed = threading.Event()
    threading.Thread(target=follow_input, args=(collector, closed), daemon=True).start()
    said = time.monotonic()
    try:
        while not closed.is_set():
            rclpy.spin_once(collector.node, timeout_sec=0.05)
            if time.monotonic() - said >= 1.0:
                said = time.monotonic()
                collector.report(done=False)
    except ExternalShutdownException:
        return 1
    finally:
        collector.close()
    collector.report(done=True)
    rclpy.try_shutdown()
    return 0


def follow_input(collector: Collector, closed: threading.Event) -> None:
    """Take the stamps' offset from standard input, then wait for it to close."""
    for line in sys.stdin:
        collector.offset_ns = int(line)
    closed.set()


if __name__ == "__main__":
    sys.exit(main())
