"""A peer that makes a costmap of a grid as nav2_costmap_2d's StaticLayer does.

Its rules: the grid comes reliably, and latched where `map_subscribe_transient_local` says so, by
which a volatile publisher would never match. A grid without a frame, with no cells, of another
length, with a side over 32767, a resolution below 1e-6 or an orientation that is no unit quaternion
is refused. -1 is unknown, 99 inscribed, the costmap's `lethal_cost_threshold` and more lethal; what
is less is free, unless `trinary_costmap` is false: then it is in proportion. In a rolling costmap
the grid is placed by the newest transform, whatever its stamp, and not turned as its origin says.
It overwrites the layers before it, or, with `use_maximum`, the larger byte stays: unknown is 255.
"""

import math
import threading

import numpy as np
from costmap import FREE, INSCRIBED, LETHAL, UNKNOWN, Costmap
from fragment import Fragment
from graph_peer import answer_commands
from nav_msgs.msg import OccupancyGrid
from planner_peer import LATCHED, PlannerPeer
from rclpy.qos import QoSProfile
from tf_tree import moved, stamp_ns


class StaticLayer(PlannerPeer):
    """The layer's commands, beside a peer's."""

    def configure(self, *, file: str) -> None:
        """Takes up the parameters of the costmap, but does not subscribe."""
        node = Fragment.read(file, "local_costmap", "local_costmap")
        self.costmap = Costmap(node)
        name, layer = self.costmap.layer(node, "nav2_costmap_2d::StaticLayer")
        if not self.costmap.uses_maximum and self.costmap.plugins[0] != name:
            raise ValueError(f"{name} overwrites the layers before it")
        layer.declare("enabled", True)
        self.topic = layer.declare("map_topic", "map")
        is_latched = layer.declare("map_subscribe_transient_local", True)
        if layer.declare("subscribe_to_updates", False):
            raise ValueError("nobody publishes updates of the grid")
        node.check_all_taken()
        self.qos = LATCHED if is_latched else QoSProfile(depth=1)
        self.grid: OccupancyGrid | None = None
        self.grid_came = threading.Event()

    def activate(self) -> None:
        """Subscribes."""
        self.node.create_subscription(OccupancyGrid, self.topic, self._take, self.qos)

    def _take(self, grid: OccupancyGrid) -> None:
        refusal = fault_of(grid)
        if refusal:
            raise ValueError(f"Received map message is malformed: {refusal}")
        with self.arrival:
            self.grid = grid
            self.arrival.notify_all()

    def update(self, *, at_ns: int, timeout_s: float) -> dict | None:
        """Lays the grid of a stamp into the costmap and returns it; None where it does not come."""
        costmap = self.costmap

        def is_there() -> bool:
            is_newest = self.grid is not None and stamp_ns(self.grid.header.stamp) == at_ns
            return is_newest and self.tf.is_known(costmap.frame, costmap.base_frame, at_ns)

        with self.arrival:
            if not self.arrival.wait_for(is_there, timeout_s):
                return None
            grid = self.grid
        costmap.follow(self.tf.between(costmap.frame, costmap.base_frame)[:3, 3])
        costs, is_told = self._costs_in_window(grid)
        # Layers are laid over one another anew each time, this one first.
        costmap.cells[:] = costmap.unseen
        over = np.maximum(costs, costmap.cells) if costmap.uses_maximum else costs
        costmap.cells[is_told] = over[is_told]
        return costmap.told()

    def _costs_in_window(self, grid: OccupancyGrid) -> tuple[np.ndarray, np.ndarray]:
        costmap = self.costmap
        info = grid.info
        costs = self._costs(np.array(grid.data, np.int8)).reshape(info.height, info.width)
        places = costmap.centres().reshape(-1, 2)
        places = np.concatenate([places, np.zeros((len(places), 1))], axis=1)
        places = moved(places, self.tf.between(grid.header.frame_id, costmap.frame))
        origin = [info.origin.position.x, info.origin.position.y]
        at = np.floor((places[:, :2] - origin) / info.resolution).astype(int)
        inside = ((at >= 0) & (at < [info.width, info.height])).all(axis=1)
        window = np.full(len(places), UNKNOWN, np.uint8)
        window[inside] = costs[at[inside, 1], at[inside, 0]]
        shape = (costmap.height, costmap.width)
        return window.reshape(shape), inside.reshape(shape)

    def _costs(self, values: np.ndarray) -> np.ndarray:
        costmap = self.costmap
        values = values.astype(np.uint8).astype(int)
        costs = (values / costmap.lethal_threshold * LETHAL).astype(int)
        if costmap.is_trinary:
            costs[:] = FREE
        costs[values >= costmap.lethal_threshold] = LETHAL
        costs[values == 99] = INSCRIBED
        costs[values == 255] = UNKNOWN if costmap.tracks_unknown else FREE
        return costs.astype(np.uint8)


def fault_of(grid: OccupancyGrid) -> str | None:
    """Why a grid is refused."""
    info, q = grid.info, grid.info.origin.orientation
    if not grid.header.frame_id:
        return "no frame"
    if not info.resolution >= 1e-6:
        return f"resolution {info.resolution}"
    if not (0 < info.width <= 32767 and 0 < info.height <= 32767):
        return f"{info.width} x {info.height} cells"
    if len(grid.data) != info.width * info.height:
        return f"{len(grid.data)} values of {info.width} x {info.height} cells"
    if not math.isclose(q.x**2 + q.y**2 + q.z**2 + q.w**2, 1.0, abs_tol=1e-3):
        return f"orientation {q}"
    return None


if __name__ == "__main__":
    answer_commands(StaticLayer)
