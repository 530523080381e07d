"""How soon after an image its mask comes to an rclpy peer, beside an echo: what of that is DDS.

    scripts/ros_python scripts/bench_latency.py target/release/ecmnet_node \
        target/release/examples/latency_echo [--rates 30 60 120] [--seconds 10] [-p NAME:=VALUE]

At each rate first the echo, then the node: one image again and again with a new stamp, the
time from its publication to the arrival of the mask with that stamp, images without a mask, and the
CPU time of the process beside it. The Fast DDS profile of `config/` belongs on both sides
(`FASTRTPS_DEFAULT_PROFILES_FILE`).
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import rclpy
from bench_start import camera_image, message_from_image, node_command, node_parser, start_rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

FIRST_WITHIN_S = 60.0
LAST_WITHIN_S = 1.0
TURN_S = 0.002


class Peer(Node):
    """Publishes images and times their masks."""

    def __init__(self, image: np.ndarray, masks: str) -> None:
        super().__init__("bench_peer")
        self.message = message_from_image(image)
        self.publisher = self.create_publisher(Image, "/image", QoSProfile(depth=10))
        self.create_subscription(Image, masks, self.on_mask, QoSProfile(depth=10))
        self.sent: dict[tuple[int, int], float] = {}
        self.latencies_ms: list[float] = []

    def send(self) -> None:
        """Publishes the image with a new stamp."""
        self.message.header.stamp = stamp = self.get_clock().now().to_msg()
        self.sent[stamp.sec, stamp.nanosec] = time.monotonic()
        self.publisher.publish(self.message)

    def on_mask(self, mask: Image) -> None:
        """Notes how long the mask took."""
        came = time.monotonic()
        sent = self.sent.pop((mask.header.stamp.sec, mask.header.stamp.nanosec), None)
        if sent is not None:
            self.latencies_ms.append(1e3 * (came - sent))


def measure(peer: Peer, pid: int, *, rate_hz: float, seconds: float) -> str:
    """A row of the table, once masks come."""
    executor = SingleThreadedExecutor()
    executor.add_node(peer)
    start = time.monotonic()
    while not peer.latencies_ms:
        if time.monotonic() - start > FIRST_WITHIN_S:
            raise SystemExit(f"no mask within {FIRST_WITHIN_S:.0f} s")
        peer.send()
        executor.spin_once(timeout_sec=0.1)
    spin_until(executor, time.monotonic() + 0.5)
    peer.sent.clear()
    peer.latencies_ms.clear()

    images = round(rate_hz * seconds)
    start, cpu_before_s = time.monotonic(), cpu_seconds(pid)
    for image in range(images):
        spin_until(executor, start + image / rate_hz)
        peer.send()
    took_s, cpu_s = time.monotonic() - start, cpu_seconds(pid) - cpu_before_s
    last = time.monotonic()
    while peer.sent and time.monotonic() - last < LAST_WITHIN_S:
        executor.spin_once(timeout_sec=TURN_S)
    if not peer.latencies_ms:
        raise SystemExit("no mask came")
    p50, p95, p99, most = np.percentile(peer.latencies_ms, [50, 95, 99, 100])
    return (
        f"{p50:.2f} ms | {p95:.2f} | {p99:.2f} | {most:.2f} | {len(peer.sent)} of {images} "
        f"| {100 * cpu_s / took_s:.0f} %"
    )


def spin_until(executor: SingleThreadedExecutor, end: float) -> None:
    """Lets masks arrive until `end`."""
    while (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=min(left, TURN_S))


def cpu_seconds(pid: int) -> float:
    """The CPU time that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # User and system time are fields 14 and 15 of proc_pid_stat(5); the first here is the third.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prints a table."""
    parser = node_parser(__doc__.splitlines()[0])
    parser.add_argument("echo", type=Path, help="the latency_echo executable")
    parser.add_argument("--rates", type=float, nargs="+", default=[30.0, 60.0, 120.0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of images that count")
    options = parser.parse_args()
    image = camera_image(options)
    processes = {
        "echo": ([options.echo.resolve()], "/latency_echo/label_mask"),
        "node": (node_command(options), "/ecmnet/label_mask"),
    }
    start_rclpy()
    print("| | rate | p50 | p95 | p99 | max | without a mask | CPU, of a core |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for rate_hz in options.rates:
        for name, (command, masks) in processes.items():
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                peer = Peer(image, masks)
                try:
                    row = measure(peer, process.pid, rate_hz=rate_hz, seconds=options.seconds)
                finally:
                    peer.destroy_node()
                    process.send_signal(signal.SIGINT)
            print(f"| {name} | {rate_hz:g} Hz | {row} |", flush=True)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
