"""Fog, rain and a dirty lens, for pictures of a street that come without depth.

Distance is that of a flat road below the horizon, seen by a nominal camera 1.5 m above it; what
stands above the horizon counts as 100 m away.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

_CAMERA_HEIGHT_M = 1.5
_HORIZON = 0.45
"""The horizon's row as a share of the height."""
_FARTHEST_M = 100.0
_STREAKS = 8 / (480 * 360)
"""Streaks of rain for each pixel and mm/h."""


def focal_px(width: int) -> float:
    """The nominal camera's focal length for pictures of that width (45 degrees across)."""
    return 1.2 * width


def distance_m(height: int, width: int) -> NDArray[np.float64]:
    """`[h, 1]`: the distance seen in each row, at most 100 m."""
    below = np.arange(height) + 0.5 - _HORIZON * height
    road = _CAMERA_HEIGHT_M * focal_px(width) / np.maximum(below, 1e-6)
    return np.minimum(road, _FARTHEST_M)[:, None]


def foggy(image: NDArray[np.uint8], visibility_m: float, rng: Generator) -> NDArray[np.uint8]:
    """Koschmieder's law, light fading to a bright grey; patches thinner and thicker by a third."""
    h, w = image.shape[:2]
    extinction = -np.log(0.05) / visibility_m
    patches = 1 + _smooth_field(rng, h, w, cells=(4, 6)) / 3
    airlight = rng.uniform(0.75, 0.95) * 255
    return _veiled(image, extinction * patches * distance_m(h, w), airlight)


def rainy(image: NDArray[np.uint8], rate_mm_h: float, rng: Generator) -> NDArray[np.uint8]:
    """A veil with the extinction of rain, and streaks brighter than what is behind them."""
    h, w = image.shape[:2]
    extinction_per_m = 0.312e-3 * rate_mm_h**0.67
    veiled = _veiled(image, extinction_per_m * distance_m(h, w), 0.8 * image.mean() + 40)
    slant = np.radians(rng.uniform(-20, 20))
    mask = Image.new("L", (w, h))
    pen = ImageDraw.Draw(mask)
    for _ in range(round(_STREAKS * rate_mm_h * h * w)):
        x, y = rng.uniform(-0.1, 1.1) * w, rng.uniform(-0.1, 1.1) * h
        nearness = rng.random() ** 2
        length = (0.02 + 0.12 * nearness) * h
        end = (x + length * np.sin(slant), y + length * np.cos(slant))
        opacity = round(255 * rng.uniform(0.15, 0.45))
        pen.line([(x, y), end], fill=opacity, width=1 + round(1.5 * nearness * w / 480))
    alpha = np.array(mask.filter(ImageFilter.GaussianBlur(0.6 * w / 480)))[..., None] / 255
    drops = np.minimum(0.5 * veiled.mean() + 130, 255)
    return _bytes(veiled + alpha * (drops - veiled))


def dirty_lens(image: NDArray[np.uint8], share: float, rng: Generator) -> NDArray[np.uint8]:
    """Soft specks over `share` of the picture, which stop light and add some of their own."""
    h, w = image.shape[:2]
    speck = np.zeros((h, w))
    while (speck > 0.5).mean() < share:
        radius = w * rng.uniform(0.02, 0.09)
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        mask = Image.new("L", (w, h))
        pen = ImageDraw.Draw(mask)
        for _ in range(6):
            # A speck is a few blots that run into each other.
            bx, by = rng.normal((x, y), radius / 2)
            r = radius * rng.uniform(0.3, 0.7)
            pen.ellipse([bx - r, by - r, bx + r, by + r], fill=round(255 * rng.uniform(0.6, 1)))
        soft = mask.filter(ImageFilter.GaussianBlur(0.2 * radius))
        speck = np.maximum(speck, np.array(soft) / 255)
    soil = rng.uniform(0.2, 0.6) * np.array([1.0, 0.9, 0.75]) * image.mean()
    return _bytes(image * (1 - speck[..., None]) + soil * speck[..., None])


def _veiled(
    image: NDArray[np.uint8], optical_depth: NDArray[np.float64], airlight: float
) -> NDArray[np.uint8]:
    """Koschmieder's law on the picture's values: x t + A (1 - t), t = exp(-optical depth)."""
    t = np.exp(-optical_depth)[..., None]
    return _bytes(image * t + airlight * (1 - t))


def _smooth_field(
    rng: Generator, height: int, width: int, *, cells: tuple[int, int]
) -> NDArray[np.float64]:
    """A field in [-1, 1] `[h, w]`, bicubic between random nodes."""
    nodes = Image.fromarray(rng.uniform(-1, 1, cells).astype(np.float32))
    return np.clip(np.array(nodes.resize((width, height), Image.Resampling.BICUBIC)), -1.0, 1.0)


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
