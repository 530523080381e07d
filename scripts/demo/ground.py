"""What the node says of the ground, drawn: overlay and, from above, grid, points and outline."""

import math
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PolygonStamped, Transform
from nav_msgs.msg import OccupancyGrid
from PIL import Image as Picture
from PIL import ImageDraw
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from stamps import stamp_ns
from tf2_msgs.msg import TFMessage

OUTPUTS = {
    "overlay": Image,
    "drivable_area": OccupancyGrid,
    "obstacle_points": PointCloud2,
    "drivable_points": PointCloud2,
    "drivable_boundary": PolygonStamped,
}
HEIGHT = 720
# Seen from above: the vehicle drives up, this far from the lower edge.
METRES_HIGH, METRES_BEHIND = 30.0, 3.0
PIXELS_PER_METRE = HEIGHT / METRES_HIGH
UNKNOWN_COLOUR, FREE_COLOUR = (58, 63, 70), (64, 128, 74)
COST_COLOUR, LETHAL_COLOUR = (186, 138, 52), (122, 44, 44)
MARK_COLOUR, CLEAR_COLOUR = (255, 92, 72), (120, 200, 130)
OUTLINE_COLOUR, VEHICLE_COLOUR = (250, 224, 90), (235, 240, 246)


class Ground:
    """Keeps the outputs of the newest frame that has all of them, and the vehicle's pose then."""

    def __init__(self, node: Node, name: str) -> None:
        self.frames: dict[int, dict] = {}
        self.poses: dict[int, Transform] = {}
        self.whole: dict | None = None
        reliable = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        for output, type_ in OUTPUTS.items():
            node.create_subscription(
                type_, f"{name}/{output}", lambda m, output=output: self.keep(output, m), reliable
            )
        tf = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        tf.durability = DurabilityPolicy.VOLATILE
        node.create_subscription(TFMessage, "/tf", self.keep_pose, tf)

    def keep(self, output: str, message: object) -> None:
        """Keep a message with the others of its frame."""
        ns = stamp_ns(message.header.stamp)
        frame = self.frames.setdefault(ns, {})
        frame[output] = message
        if len(frame) == len(OUTPUTS) and ns in self.poses:
            self.whole = frame | {"pose": self.poses[ns]}
        # Most frames never are whole: the overlay is rarer than the others.
        for old in [other for other in self.frames if other < ns - 10**9]:
            del self.frames[old]

    def keep_pose(self, message: TFMessage) -> None:
        """Keep where the vehicle was."""
        for transform in message.transforms:
            if transform.child_frame_id == "base_link":
                self.poses[stamp_ns(transform.header.stamp)] = transform.transform

    def save(self, path: Path) -> None:
        """Write the picture, if a frame had everything."""
        if self.whole:
            drawn(self.whole).save(path, quality=88)


def drawn(frame: dict) -> Picture.Image:
    """The overlay and, beside it, the ground from above."""
    message = frame["overlay"]
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * 3].reshape(message.height, message.width, 3)
    overlay = Picture.fromarray(pixels)
    overlay = overlay.resize((HEIGHT * message.width // message.height, HEIGHT))
    above = from_above(frame)
    both = Picture.new("RGB", (overlay.width + 8 + above.width, HEIGHT), (255, 255, 255))
    both.paste(overlay, (0, 0))
    both.paste(above, (overlay.width + 8, 0))
    return both


def from_above(frame: dict) -> Picture.Image:
    """Grid, points, outline and the vehicle, which drives up."""
    view = View(frame["pose"])
    picture = Picture.fromarray(view.cells(frame["drivable_area"]))
    draw = ImageDraw.Draw(picture)
    clouds = (("drivable_points", CLEAR_COLOUR, 0.8), ("obstacle_points", MARK_COLOUR, 1.6))
    for output, colour, radius in clouds:
        for x, y in view.pixels(xy_of_cloud(frame[output])):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    corners = np.array([(p.x, p.y) for p in frame["drivable_boundary"].polygon.points])
    if len(corners):
        line = [tuple(corner) for corner in view.pixels(corners)]
        draw.line([*line, line[0]], fill=OUTLINE_COLOUR, width=2)
    # As long and as wide as a car; base_link is under its rear axle.
    car = np.array([(3.6, 0.9), (3.6, -0.9), (-0.9, -0.9), (-0.9, 0.9)])
    draw.polygon([tuple(c) for c in view.pixels(view.in_odom(car))], fill=VEHICLE_COLOUR)
    return picture


class View:
    """From odom to pixels and back, for a vehicle that drives up."""

    def __init__(self, pose: Transform) -> None:
        rotation = pose.rotation
        yaw = math.atan2(
            2.0 * (rotation.w * rotation.z + rotation.x * rotation.y),
            1.0 - 2.0 * (rotation.y**2 + rotation.z**2),
        )
        self.at = np.array([pose.translation.x, pose.translation.y])
        self.axes = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        self.width = round(HEIGHT * 0.75)

    def in_odom(self, in_base: np.ndarray) -> np.ndarray:
        """Points [n, 2] of the vehicle's frame in odom, metres."""
        return in_base @ self.axes.T + self.at

    def pixels(self, in_odom: np.ndarray) -> np.ndarray:
        """Points [n, 2] of odom as x and y in the picture."""
        ahead, left = ((in_odom - self.at) @ self.axes).T
        x = self.width / 2 - left * PIXELS_PER_METRE
        y = HEIGHT - (ahead + METRES_BEHIND) * PIXELS_PER_METRE
        return np.stack([x, y], axis=1)

    def cells(self, grid: OccupancyGrid) -> np.ndarray:
        """The grid's colours, [height, width, 3]."""
        y, x = np.mgrid[:HEIGHT, : self.width] + 0.5
        ahead = (HEIGHT - y) / PIXELS_PER_METRE - METRES_BEHIND
        left = (self.width / 2 - x) / PIXELS_PER_METRE
        at = self.in_odom(np.stack([ahead.ravel(), left.ravel()], axis=1))
        info = grid.info
        origin = np.array([info.origin.position.x, info.origin.position.y])
        column, row = np.floor((at - origin) / info.resolution).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < info.width) & (row < info.height)
        values = np.full(len(at), -1)
        cells = np.array(grid.data, np.int8).reshape(info.height, info.width)
        values[inside] = cells[row[inside], column[inside]]
        colours = np.empty((len(at), 3))
        colours[values < 0] = UNKNOWN_COLOUR
        colours[values == 0] = FREE_COLOUR
        colours[values > 0] = COST_COLOUR
        colours[values == 100] = LETHAL_COLOUR
        return colours.reshape(HEIGHT, self.width, 3).astype(np.uint8)


def xy_of_cloud(cloud: PointCloud2) -> np.ndarray:
    """Points [n, 2] of a cloud whose x, y and z are float32 and come first."""
    bytes_ = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)
    return np.ascontiguousarray(bytes_[:, :8]).view(np.float32).reshape(-1, 2)
