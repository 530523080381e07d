"""How long the node takes from its start to its first mask, on a live ROS graph.

    scripts/ros_python scripts/bench_start.py target/release/ecmnet_node [--runs 5] [-p NAME:=VALUE]

A camera publishes one image at 30 Hz, and a reader waits for masks, before the node is started. The
time runs from the process's start to the arrival of the first mask; the steps on the way are told.
"""

import argparse
import os
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

CHECKOUT = Path(__file__).resolve().parent.parent
RATE_HZ = 30.0
PATIENCE_S = 60.0
STEPS = ("ready", "subscribed", "first mask")


class Camera(Node):
    """Publishes one image again and again; notes when somebody listens and when a mask comes."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__("bench_camera")
        self.message = message_from_image(image)
        self.publisher = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self.create_subscription(Image, "/ecmnet/label_mask", self.on_mask, 10)
        self.create_timer(1.0 / RATE_HZ, self.on_timer)
        self.reached: dict[str, float] = {}

    def on_timer(self) -> None:
        """Publishes."""
        if self.publisher.get_subscription_count():
            self.reach("subscribed")
        self.message.header.stamp = self.get_clock().now().to_msg()
        self.publisher.publish(self.message)

    def on_mask(self, _: Image) -> None:
        """Notes the first one."""
        self.reach("first mask")

    def reach(self, step: str) -> None:
        """Notes when a step was reached first."""
        self.reached.setdefault(step, time.monotonic())


def message_from_image(image: np.ndarray) -> Image:
    """`[height, width, 3]` as an rgb8 message."""
    height, width, _ = image.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.frame_id = "camera"
    message.data.frombytes(image.tobytes())
    return message


def start_once(command: list[str | Path], camera: Camera) -> dict[str, float]:
    """Seconds from the start of the node to each step."""
    executor = SingleThreadedExecutor()
    executor.add_node(camera)
    spinning = threading.Event()
    spinner = threading.Thread(target=spin, args=(executor, spinning))
    spinner.start()
    time.sleep(1.0)
    camera.reached.clear()
    start = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        reader = threading.Thread(target=read_log, args=(node, camera))
        reader.start()
        while "first mask" not in camera.reached and time.monotonic() < start + PATIENCE_S:
            time.sleep(0.005)
        node.send_signal(signal.SIGINT)
        reader.join()
    spinning.set()
    spinner.join()
    if len(camera.reached) < len(STEPS):
        raise SystemExit(f"no mask within {PATIENCE_S:.0f} s; only {sorted(camera.reached)}")
    return {step: camera.reached[step] - start for step in STEPS}


def spin(executor: SingleThreadedExecutor, ended: threading.Event) -> None:
    """Runs the camera until `ended`."""
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.1)


def read_log(node: subprocess.Popen[str], camera: Camera) -> None:
    """Empties the node's log; its start block ends with the outputs."""
    for line in node.stderr or ():
        if "outputs: " in line:
            camera.reach("ready")


def node_parser(description: str) -> argparse.ArgumentParser:
    """What `node_command` and `camera_image` need to know."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("node", type=Path, help="the ecmnet_node executable")
    parser.add_argument("--image", type=Path, default=CHECKOUT / "docs" / "world.jpg")
    parser.add_argument("--size", default="1024x512", help="WxH of the camera's image")
    parser.add_argument("--weights", default=CHECKOUT / "models" / "ecmnet_camvid.safetensors")
    parser.add_argument("-p", action="append", default=[], help="further parameter, NAME:=VALUE")
    return parser


def node_command(options: argparse.Namespace) -> list[str | Path]:
    """The node with the weights and parameters asked for."""
    command: list[str | Path] = [options.node.resolve(), "--ros-args"]
    for parameter in (f"weights:={options.weights}", *options.p):
        command += ["-p", parameter]
    return command


def camera_image(options: argparse.Namespace) -> np.ndarray:
    """The image asked for, `[height, width, 3]`, at the size asked for."""
    width, height = map(int, options.size.split("x"))
    return np.asarray(Picture.open(options.image).convert("RGB").resize((width, height)))


def start_rclpy() -> None:
    """Starts rclpy in a graph that those of other machines on the network stay out of."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Not the command line, whose `-p NAME:=VALUE` is the node's.
    rclpy.init(args=[])


def main() -> None:
    """Prints each run and the medians."""
    parser = node_parser(__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    start_rclpy()
    camera = Camera(camera_image(options))
    runs = [start_once(node_command(options), camera) for _ in range(options.runs)]
    for number, run in enumerate(runs, 1):
        print(f"run {number}: " + ", ".join(f"{step} {run[step]:.2f} s" for step in STEPS))
    medians = {step: statistics.median(run[step] for run in runs) for step in STEPS}
    print("medians: " + ", ".join(f"{step} {medians[step]:.2f} s" for step in STEPS))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
