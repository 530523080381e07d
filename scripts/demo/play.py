"""Plays a bag's images to a topic at their recorded rate, stamps moved to now.

Prints a JSON line when the topic has a subscriber, then reads the wall time of the first image,
in nanoseconds, from standard input; a line a second follows, and one at the end. Stays until
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
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import Reader

READY_TIMEOUT_S = 60.0
# A serialised message starts with four bytes of encapsulation; byte 1 is 1 for little-endian.
STAMP_AT = 4


def main() -> int:
    """Exit status 0 when every image was sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bag", type=Path, required=True)
    parser.add_argument("--image-topic", required=True, help="the topic in the bag")
    parser.add_argument("--to", required=True, help="the topic to publish on")
    args = parser.parse_args()
    with Reader(args.bag) as reader:
        connection = next(c for c in reader.connections if c.topic == args.image_topic)
        messages = ((ns, raw) for _, ns, raw in reader.messages([connection]))
        return play(messages, connection.msgtype, args)


def play(messages: Iterator[tuple[int, bytes]], type_name: str, args: argparse.Namespace) -> int:
    """Publish every message when its turn has come."""
    rclpy.init()
    node = rclpy.create_node("demo_player")
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    message_type = getattr(sensor_msgs.msg, type_name.rpartition("/")[2])
    publisher = node.create_publisher(message_type, args.to, qos)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline:
            print(f"no subscriber on {args.to} within {READY_TIMEOUT_S:.0f} s", file=sys.stderr)
            return 1
        rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps({"ready": True}), flush=True)
    start_ns = int(sys.stdin.readline())
    sent, first_ns, said = 0, None, time.monotonic()
    for ns, raw in messages:
        first_ns = ns if first_ns is None else first_ns
        offset_ns = start_ns - first_ns
        time.sleep(max(0.0, (ns + offset_ns - time.time_ns()) / 1e9))
        publisher.publish(restamped(raw, offset_ns))
        sent += 1
        if time.monotonic() - said >= 1.0:
            said = time.monotonic()
            print(json.dumps({"sent": sent, "done": False}), flush=True)
    print(json.dumps({"sent": sent, "done": True}), flush=True)
    # The last images are still on their way to the node: stay until they are acknowledged.
    publisher.wait_for_all_acked()
    sys.stdin.read()
    rclpy.try_shutdown()
    return 0


def restamped(raw: bytes, offset_ns: int) -> bytes:
    """The serialised message with its header's stamp moved by `offset_ns`."""
    form = "<iI" if raw[1] == 1 else ">iI"
    sec, nanosec = struct.unpack_from(form, raw, STAMP_AT)
    message = bytearray(raw)
    moved = divmod(sec * 10**9 + nanosec + offset_ns, 10**9)
    struct.pack_into(form, message, STAMP_AT, *moved)
    return bytes(message)


if __name__ == "__main__":
    sys.exit(main())
