"""The launch file under the real `ros2 launch`: profiles, and new starts of a lost node.

Its own target, `make test-launch`: it needs a sourced ROS 2, for no package registry carries
launch_ros, and a node that was built with the feature `inject-faults`. The fault needs no GPU.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

CHECKOUT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")
PACKAGE = "ecmnet_ros"
PROFILES = ("nav2_semantic", "nav2_obstacle", "nav2_static", "collision_monitor", "autoware")
# What the contract gives from the end of the one process to the first mask of the next.
MASK_WITHIN_S = 3.0
# How long anything else may take before the test gives up.
DEADLINE_S = 60.0
# The frame that the GPU is lost at, of every process.
LOST_AT = 5


class Launch:
    """`ros2 launch` of the package as colcon would install it, and the lines that it writes."""

    def __init__(self, prefix: Path, *arguments: str, **variables: str) -> None:
        ros2 = shutil.which("ros2")
        assert ros2, "there is no ros2 on the PATH: source a ROS 2 that has ros2launch"
        paths = f"{prefix}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}"
        weights = CHECKOUT / "models" / "ecmnet_world.safetensors"
        command = [ros2, "launch", PACKAGE, "segment.launch.py", f"weights:={weights}"]
        self.process = subprocess.Popen(
            [*command, "device:=cpu", "camera:=/front/image_raw", *arguments],
            env=dict(os.environ, AMENT_PREFIX_PATH=paths, PYTHONUNBUFFERED="1", **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[tuple[float, str]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append((time.time(), line.rstrip()))

    def written(self) -> str:
        """All lines so far."""
        return "\n".join(line for _, line in self.lines)

    def found(self, pattern: str) -> list[tuple[float, re.Match[str]]]:
        """When each line came that has this in it, and the match."""
        tried = [(at, re.search(pattern, line)) for at, line in self.lines]
        return [(at, match) for at, match in tried if match]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An ament prefix with the package's launch file and node."""
    for folder in ("launch", "config", "models"):
        shutil.copytree(CHECKOUT / folder, tmp_path / "share" / PACKAGE / folder)
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    programs = tmp_path / "lib" / PACKAGE
    index.mkdir(parents=True)
    programs.mkdir(parents=True)
    (index / PACKAGE).touch()
    (programs / "ecmnet_node").symlink_to(TARGET / "debug" / "ecmnet_node")
    return tmp_path


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Node]:
    """A node that publishes an image every 0.1 s, in a domain that no other test uses."""
    for domain in range(1, 101):
        # The same files as the Rust tests hold.
        held = (Path(tempfile.gettempdir()) / f"ecmnet_test_domain_{domain}").open("w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            held.close()
    else:
        pytest.fail("every ROS domain from 1 to 100 is in use by a test")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("HOME", str(tmp_path))
    rclpy.init()
    node = rclpy.create_node("camera")
    images = node.create_publisher(Image, "/front/image_raw", QoSProfile(depth=10))
    image = Image(height=96, width=128, encoding="rgb8", step=384, data=bytes(96 * 384))

    def publish() -> None:
        image.header.stamp = node.get_clock().now().to_msg()
        images.publish(image)

    node.create_timer(0.1, publish)
    yield node
    rclpy.shutdown()
    held.close()


def spin_until(node: Node, is_so: Callable[[], object], launch: Launch) -> None:
    """Let the camera run until something is so."""
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < DEADLINE_S, launch.written()
        rclpy.spin_once(node, timeout_sec=0.02)


def seconds(message: Image) -> float:
    """An image's stamp."""
    return message.header.stamp.sec + message.header.stamp.nanosec / 1e9


def test_a_node_whose_gpu_is_lost_is_started_again_and_masks_new_images(
    prefix: Path, camera: Node
) -> None:
    masks: list[tuple[float, float]] = []
    camera.create_subscription(
        Image,
        "/ecmnet/label_mask",
        lambda mask: masks.append((time.time(), seconds(mask))),
        QoSProfile(depth=10),
    )
    launch = Launch(prefix, ECMNET_FAULT=f"lost@{LOST_AT}")
    try:
        # The next process is lost, too: twice shows that the second start is watched as the first.
        spin_until(camera, lambda: len(launch.found("exit code 3")) == 2, launch)
        died = [at for at, _ in launch.found("exit code 3")]
        spin_until(camera, lambda: masks[-1][0] > died[1], launch)
    finally:
        launch.process.send_signal(signal.SIGINT)
        status = launch.process.wait(DEADLINE_S)
    for at in died:
        came, stamp = next(mask for mask in masks if mask[0] > at)
        print(f"first mask {came - at:.2f} s after the end")
        assert came - at < MASK_WITHIN_S, launch.written()
        assert stamp > at, "the first mask is of an image from before"
    assert status == 0, launch.written()


def test_a_node_without_autostart_waits_for_a_lifecycle_manager(prefix: Path, camera: Node) -> None:
    masks: list[Image] = []
    camera.create_subscription(Image, "/ecmnet/label_mask", masks.append, QoSProfile(depth=10))
    change = camera.create_client(ChangeState, "/ecmnet/change_state")
    launch = Launch(prefix, "autostart:=false")
    try:
        spin_until(camera, lambda: launch.found("waits for a lifecycle manager"), launch)
        spin_until(camera, change.service_is_ready, launch)
        assert not launch.found("outputs: "), launch.written()
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert not masks, "a mask of a node that is not active"
            request = ChangeState.Request(transition=Transition(id=transition))
            answer = change.call_async(request)
            spin_until(camera, answer.done, launch)
            assert answer.result().success, launch.written()
        spin_until(camera, lambda: masks, launch)
        # The arguments win over the parameter file: `device: auto` would tell why it took the CPU.
        assert launch.found(r"device: cpu \([^)]*\), f32"), launch.written()
    finally:
        launch.process.send_signal(signal.SIGINT)
        status = launch.process.wait(DEADLINE_S)
    assert status == 0, launch.written()


def test_a_node_that_ends_for_another_reason_ends_the_launch(prefix: Path, camera: Node) -> None:
    launch = Launch(prefix)
    try:
        spin_until(camera, lambda: launch.found("outputs: "), launch)
        ((_, started),) = launch.found(r"process started with pid \[(\d+)\]")
        os.kill(int(started[1]), signal.SIGKILL)
        launch.process.wait(DEADLINE_S)
    finally:
        launch.process.kill()
    assert len(launch.found("process started")) == 1, launch.written()


def test_the_node_gets_the_enclave_that_is_named(prefix: Path, camera: Node) -> None:
    launch = Launch(prefix, "enclave:=/ecmnet")
    try:
        spin_until(camera, lambda: launch.found("outputs: "), launch)
        ((_, started),) = launch.found(r"process started with pid \[(\d+)\]")
        words = Path(f"/proc/{started[1]}/cmdline").read_text().split("\0")
        assert words[words.index("--enclave") + 1] == "/ecmnet", words
    finally:
        launch.process.send_signal(signal.SIGINT)
        launch.process.wait(DEADLINE_S)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_sets_its_parameters_and_names(prefix: Path, camera: Node, profile: str) -> None:
    folder = CHECKOUT / "config" / "profiles"
    wanted = parameters_of(folder / f"{profile}.param.yaml")
    rules = yaml.safe_load((folder / "remappings.yaml").read_text())[profile]
    names = [name.replace("{name}", "") for name in rules]
    topics = [name.replace("{name}", "").replace("{camera}", "0") for name in rules.values()]
    with launched(Launch(prefix, f"profile:={profile}")) as launch:
        spin_until(camera, lambda: launch.found("outputs: "), launch)
        assert parameters(camera, list(wanted), launch) == wanted
        for topic in topics:
            topic = topic if topic.startswith("/") else f"/{topic}"
            spin_until(camera, lambda name=topic: publishers(camera, name) == ["ecmnet"], launch)
        assert not [name for name in names if publishers(camera, name.replace("~", "/ecmnet"))]


def test_the_users_parameter_file_wins_over_the_profile_and_arguments_over_both(
    prefix: Path, camera: Node, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters: {costmap.width: 200, device: auto, threads: 1}\n")
    arguments = ("profile:=nav2_semantic", f"params_file:={own}", "device:=cpu")
    with launched(Launch(prefix, *arguments)) as launch:
        spin_until(camera, lambda: launch.found("outputs: "), launch)
        expected = {
            "device": "cpu",
            "costmap.width": 200,
            "threads": 1,
            "costmap.max_rate_hz": 10.0,
            "points.z_m": 0.3,
        }
        assert parameters(camera, list(expected), launch) == expected


def test_the_number_in_the_cameras_name_is_the_number_of_autowares_mask(
    prefix: Path, camera: Node
) -> None:
    topic = "/sensing/camera/camera3/image_rect_color"
    with launched(Launch(prefix, "profile:=autoware", f"camera:={topic}")) as launch:
        mask = "/perception/object_recognition/detection/mask3"
        spin_until(camera, lambda: publishers(camera, mask) == ["ecmnet"], launch)


@pytest.mark.parametrize(
    ("profile", "topics"),
    [
        ("nav2_semantic", ("/segmentation/front/mask", "/segmentation/left/points")),
        ("nav2_obstacle", ("/segmentation/obstacle_points", "/segmentation/drivable_points")),
        ("autoware", [f"/perception/object_recognition/detection/mask{n}" for n in (0, 5)]),
    ],
)
def test_several_cameras_have_names_of_their_own_in_a_profile(
    prefix: Path, camera: Node, profile: str, topics: tuple[str, ...]
) -> None:
    cameras = {"front": "/front/image_raw", "left": "/sensing/camera/camera5/image_raw"}
    pairs = " ".join(f"{name}={topic}" for name, topic in cameras.items())
    with launched(Launch(prefix, f"profile:={profile}", f"cameras:={pairs}")) as launch:
        spin_until(camera, lambda: launch.found("outputs: "), launch)
        assert parameters(camera, ["cameras"], launch) == {"cameras": list(cameras)}
        for topic in topics:
            spin_until(camera, lambda name=topic: publishers(camera, name) == ["ecmnet"], launch)
        spin_until(camera, lambda: readers(camera, cameras["front"]) == {"ecmnet"}, launch)


def test_cameras_without_topics_end_the_launch(prefix: Path, camera: Node) -> None:
    launch = Launch(prefix, "cameras:=front left")
    assert launch.process.wait(DEADLINE_S) == 1
    launch.reader.join(DEADLINE_S)
    assert launch.found("'front left' is no list of NAME=TOPIC for cameras"), launch.written()


def test_two_cameras_of_one_name_are_refused_by_the_node(prefix: Path, camera: Node) -> None:
    launch = Launch(prefix, "cameras:=front=/front/image_raw front=/left/image_raw")
    launch.process.wait(DEADLINE_S)
    launch.reader.join(DEADLINE_S)
    assert launch.found("two cameras are named 'front'"), launch.written()


@pytest.mark.parametrize(
    ("topic", "kind"),
    [("/rear/image_raw", Image), ("/rear/image_raw/compressed", CompressedImage)],
)
def test_camera_info_is_found_beside_the_images(
    prefix: Path, camera: Node, topic: str, kind: type
) -> None:
    camera.create_publisher(kind, topic, QoSProfile(depth=10))
    with launched(Launch(prefix, "profile:=nav2_static", f"camera:={topic}")) as launch:
        spin_until(camera, lambda: readers(camera, topic) == {"ecmnet"}, launch)
        spin_until(camera, lambda: readers(camera, "/rear/camera_info") == {"ecmnet"}, launch)


def test_a_profile_that_is_none_ends_the_launch_and_the_error_lists_them(
    prefix: Path, camera: Node
) -> None:
    launch = Launch(prefix, "profile:=nav2")
    assert launch.process.wait(DEADLINE_S) == 1
    launch.reader.join(DEADLINE_S)
    ((_, error),) = launch.found(r'Caught exception.*"profile" provided value "nav2".*')
    assert all(f"'{profile}'" in error[0] for profile in PROFILES), error[0]
    assert not launch.found("process started")


@contextlib.contextmanager
def launched(launch: Launch) -> Iterator[Launch]:
    """A launch that is ended as by Ctrl-C, and must end well."""
    try:
        yield launch
    finally:
        launch.process.send_signal(signal.SIGINT)
        status = launch.process.wait(DEADLINE_S)
    assert status == 0, launch.written()


def parameters_of(file: Path) -> dict[str, object]:
    """A parameter file's values by name."""
    return yaml.safe_load(file.read_text())["/**"]["ros__parameters"]


def parameters(node: Node, names: list[str], launch: Launch) -> dict[str, object]:
    """Values of the launched node's parameters."""
    client = node.create_client(GetParameters, "/ecmnet/get_parameters")
    spin_until(node, client.service_is_ready, launch)
    answer = client.call_async(GetParameters.Request(names=names))
    spin_until(node, answer.done, launch)
    values = [parameter_value_to_python(value) for value in answer.result().values]
    return dict(zip(names, values, strict=True))


def publishers(node: Node, topic: str) -> list[str]:
    """Names of the nodes that publish a topic."""
    return [endpoint.node_name for endpoint in node.get_publishers_info_by_topic(topic)]


def readers(node: Node, topic: str) -> set[str]:
    """Names of the nodes that subscribe to a topic, some of them twice while QoS is matched."""
    return {endpoint.node_name for endpoint in node.get_subscriptions_info_by_topic(topic)}
