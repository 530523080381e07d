"""The demo: a drive is played to the node, its masks are collected and scored as they come.

Three processes beside this one: the node, a player and a collector. Without --bag a drive of the
made world is rendered and played. Leaves a report with pictures in <out>/report.html.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from play import TRANSFORMS, camera_info_beside
from rosbags.rosbag2 import Reader

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
NODE = "/ecmnet"
IMAGE = "/demo/image"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
START_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 30.0
# The grid reaches as far ahead as the camera sees ground well. What is drawn once needs no more
# than two messages a second; of equal rates, they are of the same frames.
GROUND_PARAMETERS = ["-p", "grid.size_x_m:=36.0", "-p", "grid.size_y_m:=36.0"]
GROUND_PARAMETERS += ["-p", "grid.ahead_m:=10.0"]
for drawn in ("overlay", "obstacle_points", "drivable_points", "drivable_boundary"):
    GROUND_PARAMETERS += ["-p", f"{drawn}.max_rate_hz:=2.0"]
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class DemoError(Exception):
    """One sentence that says what to do."""


class Peer:
    """A process whose standard output is JSON lines; the last line is kept."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.last: dict = {}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.last = json.loads(line)

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def finish(self) -> dict:
        """Close its standard input, wait, and return its last line."""
        self.process.stdin.close()
        status = self.process.wait(timeout=SETTLE_TIMEOUT_S)
        self.reader.join()
        if status != 0:
            raise DemoError(f"the {self.name} ended with status {status}")
        return self.last

    def check(self) -> None:
        """Raise if it has ended."""
        if self.process.poll() is not None:
            raise DemoError(f"the {self.name} ended early with status {self.process.returncode}")


def main() -> int:
    """Exit status 0 when every frame is accounted for and the report is written."""
    args = arguments()
    try:
        bag = args.bag or made_drive(args)
        topics = Topics.of(bag, image=args.image_topic, labels=args.labels_topic)
        masks = args.out / "masks"
        shutil.rmtree(masks, ignore_errors=True)
        (args.out / "drivable_area.jpg").unlink(missing_ok=True)
        args.out.mkdir(parents=True, exist_ok=True)
        run(args, bag, topics)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--bag", type=Path, help="a rosbag2 folder or file of your own")
    parser.add_argument("--image-topic", default="", help="the images in it")
    parser.add_argument("--labels-topic", default="", help="label images in it to score against")
    parser.add_argument("--weights", type=Path, help="weights of your own")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "out" / "demo")
    parser.add_argument("--bin", type=Path, default=CHECKOUT / "target" / "release")
    parser.add_argument("--frames", type=int, default=300, help="frames of the made drive")
    parser.add_argument("--seed", type=int, default=7, help="seed of the made drive")
    args = parser.parse_args()
    if args.bag and not args.bag.exists():
        parser.error(f"{args.bag} does not exist")
    if not args.weights:
        name = "ecmnet_camvid" if args.bag else "ecmnet_world"
        args.weights = CHECKOUT / "models" / f"{name}.safetensors"
    return args


def made_drive(args: argparse.Namespace) -> Path:
    """A bag with a drive of the made world, rendered unless it is there already."""
    bag = args.out / f"drive_seed{args.seed}_{args.frames}"
    # The index is written last: a folder without one is a rendering that was stopped.
    if not (bag / "metadata.yaml").exists():
        print(f"rendering a drive of {args.frames} frames (seed {args.seed})")
        shutil.rmtree(bag, ignore_errors=True)
        call(
            [args.bin / "ecmnet", "world", "--out", bag]
            + ["--frames", str(args.frames), "--seed", str(args.seed)]
        )
    return bag


class Topics:
    """The topics of a bag that the demo uses; `labels` is empty where there are none.

    `has_ground` tells whether there are calibration and poses for a drivable area.
    """

    def __init__(self, *, image: str, labels: str, has_ground: bool, first_ns: int) -> None:
        self.image, self.labels, self.first_ns = image, labels, first_ns
        self.has_ground = has_ground

    @classmethod
    def of(cls, bag: Path, *, image: str, labels: str) -> "Topics":
        """Find the topics; labels are the mono8-like topic with 'label' in its name."""
        with Reader(bag) as reader:
            images = {c.topic: c for c in reader.connections if c.msgtype in IMAGE_TYPES}
            labels = labels or next((t for t in images if "label" in t), "")
            pictures = [t for t in images if t != labels]
            image = image or (pictures[0] if len(pictures) == 1 else "")
            for topic in filter(None, (image, labels)):
                if topic not in images:
                    raise DemoError(f"{bag} has no images on {topic}; it has {sorted(images)}")
            if not image:
                raise DemoError(f"{bag} has images on {pictures}: name one with IMAGE_TOPIC=")
            first_ns = next(ns for _, ns, _ in reader.messages([images[image]]))
            ground = {camera_info_beside(image), *TRANSFORMS}
            has_ground = ground <= {c.topic for c in reader.connections}
        return cls(image=image, labels=labels, has_ground=has_ground, first_ns=first_ns)


def run(args: argparse.Namespace, bag: Path, topics: Topics) -> None:
    """Play, collect, account, and report."""
    environment = dict(
        os.environ,
        ROS_DOMAIN_ID=str(1 + os.getpid() % 100),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        # The names of Fast DDS 2 and 3; without the profile images do not fit its shared memory.
        **dict.fromkeys(PROFILE_VARIABLES, str(CHECKOUT / "config" / "fastdds_large_images.xml")),
    )
    ground = ["--ground"] if topics.has_ground else []
    node = subprocess.Popen(
        [args.bin / "ecmnet_node", "--ros-args", "-r", f"image:={IMAGE}"]
        + ["-p", f"weights:={args.weights.resolve()}", *GROUND_PARAMETERS],
        env=environment,
    )
    peers: list[Peer] = []
    try:
        collector = Peer(
            "collector",
            [sys.executable, str(HERE / "collect.py"), "--bag", str(bag), "--node", NODE]
            + ["--out", str(args.out), "--labels-topic", topics.labels, *ground],
            environment,
        )
        peers.append(collector)
        wait_until(
            lambda: collector.last.get("ready"),
            "the node did not report on /diagnostics",
            alive=[node, collector.process],
        )
        player = Peer(
            "player",
            [sys.executable, str(HERE / "play.py"), "--bag", str(bag), "--to", IMAGE]
            + ["--image-topic", topics.image, *ground],
            environment,
        )
        peers.append(player)
        wait_until(
            lambda: player.last.get("ready"),
            f"the node did not subscribe to {IMAGE}",
            alive=[node, player.process],
        )
        # The node takes up the player's QoS within a second of seeing it.
        offset_ns = time.time_ns() + 2 * 10**9 - topics.first_ns
        collector.tell(str(offset_ns))
        player.tell(str(offset_ns))
        follow(player, collector, node)
        sent = player.finish()["sent"]
        account = collector.finish()
    finally:
        for process in [node, *(peer.process for peer in peers)]:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=10)
    report(args, bag, topics, account_for(sent, account))


def follow(player: Peer, collector: Peer, node: subprocess.Popen) -> None:
    """Show where things stand until the node has dealt with all that was sent."""
    settled, before, line = time.monotonic(), None, ""
    while True:
        time.sleep(0.5)
        player.check()
        collector.check()
        if node.poll() is not None:
            raise DemoError(f"the node ended early with status {node.returncode}")
        line = show(player.last, collector.last, line)
        counts = (player.last.get("sent"), collector.last["node"], collector.last["masked"])
        if counts != before:
            settled, before = time.monotonic(), counts
        if player.last.get("done") and time.monotonic() - settled > 3.0:
            print(end="\n" if sys.stdout.isatty() else "")
            return


def show(player: dict, collector: dict, before: str) -> str:
    """Show one line, and return it: rewritten on a terminal, elsewhere printed when it changes."""
    latency, miou = collector.get("latency_ms"), collector.get("miou")
    line = (
        f"sent {player.get('sent', 0):4}  masked {collector.get('masked', 0):4}  "
        f"dropped {collector.get('node', {}).get('dropped', 0):4}  "
        f"latency {'-' if latency is None else f'{latency:.0f}'} ms  "
        f"mIoU {'-' if miou is None else f'{miou:.3f}'}"
    )
    if sys.stdout.isatty():
        print(f"\r{line}", end="", flush=True)
    elif line != before:
        print(line, flush=True)
    return line


def account_for(sent: int, account: dict) -> str:
    """What became of every frame, in a sentence; raises if the sums do not meet."""
    node, masked = account["node"], account["masked"]
    lost_in = sent - node["received"]
    lost_out = node["segmented"] - masked
    settled = node["segmented"] + node["dropped"] + node["rejected"] + node["unwatched"]
    if settled != node["received"] or lost_in < 0 or lost_out < 0:
        raise DemoError(f"{sent} frames were sent, and the node's account does not add up: {node}")
    others = {
        "rejected": node["rejected"],
        "before anybody subscribed": node["unwatched"],
        "lost on the way to the node": lost_in,
        "lost on the way from it": lost_out,
    }
    return (
        f"{sent} frames sent = {masked} masked + {node['dropped']} dropped for newer ones"
        + "".join(f" + {count} {what}" for what, count in others.items() if count)
    )


def report(args: argparse.Namespace, bag: Path, topics: Topics, account: str) -> None:
    """Score the collected masks and write the report."""
    labels = ["--labels-topic", topics.labels] if topics.labels else []
    picture = args.out / "drivable_area.jpg"
    pictures = ["--picture", f"Drivable area={picture}"] if picture.exists() else []
    call(
        [args.bin / "ecmnet", "eval", bag, "--image-topic", topics.image, *labels]
        + ["--masks", args.out / "masks", "--latency", args.out / "latency.csv"]
        + ["--weights", args.weights, "--title", "ecmnet_ros: a drive through the node"]
        + ["--note", account, "--note", f"weights {args.weights.name}, recording {bag.name}"]
        + ["--html", args.out / "report.html", "--json", args.out / "report.json", *pictures]
    )
    if topics.has_ground and not pictures:
        print("no drivable area came; /diagnostics says why: ros2 topic echo /diagnostics")
    print(f"{account}\nreport: {args.out / 'report.html'}")


def wait_until(
    condition: Callable[[], object], failure: str, *, alive: list[subprocess.Popen]
) -> None:
    """Wait for a condition while processes live."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if any(process.poll() is not None for process in alive) or time.monotonic() > deadline:
            raise DemoError(failure)
        time.sleep(0.1)


def call(command: list) -> None:
    """Run one of the project's programs; it says itself what is wrong."""
    status = subprocess.run([str(part) for part in command], check=False).returncode
    if status != 0:
        raise DemoError(f"{Path(command[0]).name} {command[1]} ended with status {status}")


if __name__ == "__main__":
    sys.exit(main())
