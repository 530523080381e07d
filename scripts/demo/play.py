"""Plays a bag's images to a topic at their recorded rate, stamps moved to now.

With --ground their camera_info goes beside them, and transforms to /tf and /tf_static.

Prints a JSON line when the topic has a subscriber, then reads from standard input by how many
nanoseconds stamps are moved; a line a second follows, and one at the end. Stays until
standard input closes.
"""

import argparse
import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import rclpy
import sensor_msgs.msg
import tf2_msgs.msg
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import Reader
from stamps import stamp_ns
from tf2_msgs.msg import TFMessage

READY_TIMEOUT_S = 60.0
# A serialised message starts with four bytes of encapsulation; byte 1 is 1 for little-endian.
STAMP_AT = 4
TRANSFORMS = ("/tf", "/tf_static")


def main() -> int:
    """Exit status 0 when every image was sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bag", type=Path, required=True)
    parser.add_argument("--image-topic", required=True, help="the topic in the bag")
    parser.add_argument("--to", required=True, help="the topic to publish on")
    parser.add_argument("--ground", action="store_true", help="play calibration and poses, too")
    args = parser.parse_args()
    topics = {args.image_topic: args.to}
    if args.ground:
        topics |= {camera_info_beside(args.image_topic): camera_info_beside(args.to)}
        topics |= {topic: topic for topic in TRANSFORMS}
    with Reader(args.bag) as reader:
        connections = [c for c in reader.connections if c.topic in topics]
        messages = ((topics[c.topic], ns, raw) for c, ns, raw in reader.messages(connections))
        types = {topics[c.topic]: message_type(c.msgtype) for c in connections}
        return play(messages, types, images=args.to)


def play(messages: Iterator[tuple[str, int, bytes]], types: dict[str, type], *, images: str) -> int:
    """Publish every message when its turn has come; `images` is the topic that is counted."""
    rclpy.init()
    node = rclpy.create_node("demo_player")
    publishers = {
        topic: node.create_publisher(type_, topic, profile(topic)) for topic, type_ in types.items()
    }
    deadline = time.monotonic() + READY_TIMEOUT_S
    while publishers[images].get_subscription_count() == 0:
        if time.monotonic() > deadline:
            print(f"no subscriber on {images} within {READY_TIMEOUT_S:.0f} s", file=sys.stderr)
            return 1
        rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps({"ready": True}), flush=True)
    offset_ns = int(sys.stdin.readline())
    sent, said = 0, time.monotonic()
    for topic, ns, raw in messages:
        time.sleep(max(0.0, (ns + offset_ns - time.time_ns()) / 1e9))
        publishers[topic].publish(restamped(raw, offset_ns, type_=types[topic]))
        sent += topic == images
        if time.monotonic() - said >= 1.0:
            said = time.monotonic()
            print(json.dumps({"sent": sent, "done": False}), flush=True)
    print(json.dumps({"sent": sent, "done": True}), flush=True)
    # The last images are still on their way to the node: stay until they are acknowledged.
    publishers[images].wait_for_all_acked()
    sys.stdin.read()
    rclpy.try_shutdown()
    return 0


def restamped(raw: bytes, offset_ns: int, *, type_: type) -> bytes:
    """The serialised message with its stamps moved by `offset_ns`."""
    if type_ is TFMessage:
        message = deserialize_message(raw, TFMessage)
        for transform in message.transforms:
            stamp = transform.header.stamp
            stamp.sec, stamp.nanosec = divmod(stamp_ns(stamp) + offset_ns, 10**9)
        return serialize_message(message)
    form = "<iI" if raw[1] == 1 else ">iI"
    sec, nanosec = struct.unpack_from(form, raw, STAMP_AT)
    message = bytearray(raw)
    moved = divmod(sec * 10**9 + nanosec + offset_ns, 10**9)
    struct.pack_into(form, message, STAMP_AT, *moved)
    return bytes(message)


def profile(topic: str) -> QoSProfile:
    """How a topic is published: what is latched in ROS is latched here."""
    reliable = QoSProfile(depth=100 if topic == "/tf" else 10)
    reliable.reliability = ReliabilityPolicy.RELIABLE
    if topic == "/tf_static":
        reliable.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return reliable


def message_type(name: str) -> type:
    """The class of a message type that is played."""
    package = tf2_msgs.msg if name.startswith("tf2_msgs/") else sensor_msgs.msg
    return getattr(package, name.rpartition("/")[2])


def camera_info_beside(topic: str) -> str:
    """The calibration's topic beside an image's, as image_transport has it."""
    return topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"


if __name__ == "__main__":
    sys.exit(main())
