"""A local costmap: a window of cells that rolls with the vehicle, as its parameters say."""

import base64

import numpy as np
from fragment import Fragment

FREE, INSCRIBED, LETHAL, UNKNOWN = 0, 253, 254, 255


class Costmap:
    """The window, and what the costmap declares for its layers. Its rows lie along x."""

    def __init__(self, node: Fragment) -> None:
        self.frame = node.declare("global_frame", "map")
        self.base_frame = node.declare("robot_base_frame", "base_link")
        self.is_rolling = node.declare("rolling_window", False)
        self.resolution = node.declare("resolution", 0.1)
        self.width = int(node.declare("width", 5) / self.resolution + 0.5)
        self.height = int(node.declare("height", 5) / self.resolution + 0.5)
        self.tracks_unknown = node.declare("track_unknown_space", False)
        self.is_trinary = node.declare("trinary_costmap", True)
        self.lethal_threshold = node.declare("lethal_cost_threshold", 100)
        self.uses_maximum = node.declare("use_maximum", False)
        self.plugins = node.declare("plugins", ["static_layer", "obstacle_layer"])
        node.declare("update_frequency", 5.0)
        node.declare("transform_tolerance", 0.3)
        inflation = node.part("inflation_layer")
        inflation.declare("plugin", "")
        inflation.declare("cost_scaling_factor", 1.0)
        inflation.declare("inflation_radius", 0.55)
        if not self.is_rolling:
            raise ValueError("a local costmap rolls")
        self.origin = np.zeros(2)
        self.unseen = UNKNOWN if self.tracks_unknown else FREE
        self.cells = np.full((self.height, self.width), self.unseen, np.uint8)

    def layer(self, node: Fragment, plugin: str) -> tuple[str, Fragment]:
        """The name and the parameters of the layer of this class."""
        for name in self.plugins:
            part = node.part(name)
            if part.declare("plugin", "") == plugin:
                return name, part
        raise KeyError(f"no layer of {self.plugins} is a {plugin}")

    def follow(self, place: np.ndarray) -> None:
        """Rolls the window, by whole cells, to have a place in its middle."""
        wanted = place[:2] - self.resolution * np.array([self.width, self.height]) / 2
        steps = np.trunc((wanted - self.origin) / self.resolution).astype(int)
        rolled = np.full_like(self.cells, self.unseen)
        if (np.abs(steps) < [self.width, self.height]).all():
            rolled[self._overlap(-steps)] = self.cells[self._overlap(steps)]
        self.cells = rolled
        self.origin = self.origin + steps * self.resolution

    def _overlap(self, steps: np.ndarray) -> tuple[slice, slice]:
        columns, rows = steps
        return (
            slice(max(rows, 0), self.height + min(rows, 0)),
            slice(max(columns, 0), self.width + min(columns, 0)),
        )

    def cells_of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows of points `[n, 2+]`, as floats, and which of them are in the window."""
        at = (points[:, :2] - self.origin) / self.resolution
        inside = ((at >= 0) & (at < [self.width, self.height])).all(axis=1)
        return at, inside

    def centres(self) -> np.ndarray:
        """Middles of the cells, `[height, width, 2]`."""
        columns, rows = np.meshgrid(np.arange(self.width), np.arange(self.height))
        return self.origin + (np.stack([columns, rows], axis=2) + 0.5) * self.resolution

    def told(self) -> dict:
        """The window for the test."""
        return {
            "origin": self.origin.tolist(),
            "cell_m": self.resolution,
            "columns": self.width,
            "cells": base64.b64encode(self.cells.tobytes()).decode(),
        }
