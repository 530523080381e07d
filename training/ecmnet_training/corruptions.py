"""Two lists of what may happen to a picture: one for training, one kept for judging.

`TRAINING` names every change that augmentation may make; `HELD_OUT` are the corruptions that
robustness is measured under. Nothing of the second may enter the first. `CORRUPTIONS.md` says where
each definition comes from and how the two lists differ.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from .weather import dirty_lens, focal_px, foggy, rainy

Picture = NDArray[np.uint8]
"""RGB `[h, w, 3]`."""

SEVERITIES = (1, 2, 3)
_PIXELS_WIDE = 480
"""Lengths in pixels are those of a picture this wide and grow with the width."""

TRAINING = {
    "scale": "crop of a larger or smaller picture",
    "aspect": "stretch",
    "rotate_deg": "turn in the picture's plane, 3 degrees at most",
    "flip": "mirror image",
    "brightness": "factor on all channels",
    "contrast": "factor about the picture's mean",
    "saturation": "factor about grey",
    "hue_deg": "turn of colour about grey",
    "gamma": "power of the values",
    "channel_gain": "factor on each channel",
    "shade": "smooth field of light, a factor",
    "blur_px": "Gaussian blur of five taps",
    "noise": "white Gaussian noise, the same in dark and light",
    "tone": "mean and deviation of another picture",
    "paste": "pixels of a rare class from another picture",
    "cut": "rectangle of another picture",
    "strong.dim": "factor on all channels",
    "strong.flat": "factor about the picture's mean",
    "strong.grey": "no colour",
    "strong.shuffle": "channels in another order",
    "strong.tone": "mean and deviation of another picture's low frequencies",
    "strong.shadow": "band of less light, a factor",
    "strong.posterise": "few values",
    "strong.blur": "Gaussian blur of 15 taps",
    "strong.filter": "random 5x5 filter whose weights' sum stays one",
    "strong.noise": "white Gaussian noise in grains of 1 to 4 pixels",
    "strong.holes": "squares of a regular grid in the mean colour",
}
"""Names of the fields of `AugmentConfig` and `StrongConfig`, all that a recipe can ask for."""


@dataclass(frozen=True)
class Corruption:
    """A way to damage a frame; `strengths` are those of severities 1, 2 and 3, in `unit`."""

    name: str
    strengths: tuple[float, float, float]
    unit: str
    apply: Callable[[Picture, float, Generator], Picture]


def corrupted(
    image: Picture,
    label: NDArray[np.uint8],
    corruption: Corruption,
    *,
    severity: int,
    seed: int,
    frame: str,
    ignore_id: int,
) -> tuple[Picture, NDArray[np.uint8]]:
    """The frame named `frame` under `corruption`: new arrays, the same for the same arguments.

    label `[h, w]`; only `tilt` moves it, and what then lies outside the picture is `ignore_id`.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity} is none of {SEVERITIES}")
    strength = corruption.strengths[severity - 1]
    # Without the severity, so that a worse fog is the same fog, thicker.
    rng = np.random.default_rng([seed, zlib.crc32(f"{corruption.name} {frame}".encode())])
    if corruption is TILT:
        return _tilted(image, label, strength, rng, ignore_id)
    return corruption.apply(image, strength, rng), label.copy()


def defocused(image: Picture, radius_px: float, rng: Generator) -> Picture:
    """The picture through a lens out of focus: the mean over a disc."""
    radius = radius_px * image.shape[1] / _PIXELS_WIDE
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # A pixel at the rim counts by how much of it lies inside.
    return _filtered(image, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def motion_blurred(image: Picture, length_px: float, rng: Generator) -> Picture:
    """The picture moved during the exposure along a line at up to 45 degrees from level."""
    length = length_px * image.shape[1] / _PIXELS_WIDE
    angle = np.radians(rng.uniform(-45, 45))
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    along = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    rows = np.rint(reach + along * np.sin(angle)).astype(int)
    columns = np.rint(reach + along * np.cos(angle)).astype(int)
    np.add.at(kernel, (rows, columns), 1)
    return _filtered(image, kernel)


def shot_noisy(image: Picture, photons: float, rng: Generator) -> Picture:
    """Photon noise where white is `photons` photons: relatively stronger in the dark."""
    return _bytes(rng.poisson(image / 255 * photons) / photons * 255)


def impulse_noisy(image: Picture, share: float, rng: Generator) -> Picture:
    """Salt and pepper: `share` of all values become 0 or 255."""
    u = rng.random(image.shape)
    return np.where(u < share / 2, 0, np.where(u > 1 - share / 2, 255, image)).astype(np.uint8)


def underexposed(image: Picture, stops: float, rng: Generator) -> Picture:
    """A night exposure, `stops` darker: half of them amplified again, photon and read noise too.

    In linear light; white at full exposure is 8,000 electrons, read noise 4 electrons.
    """
    electrons = _linear(image) * 8000 * 2.0**-stops
    read = rng.poisson(electrons) + rng.normal(0, 4, image.shape)
    return _display(read / 8000 * 2.0 ** (stops / 2))


def jpeg_encoded(image: Picture, quality: float, rng: Generator) -> Picture:
    """The picture as JPEG of that quality, chroma at half resolution, decoded again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality), subsampling="4:2:0")
    with Image.open(file) as decoded:
        return np.array(decoded.convert("RGB"))


def tilted_view(image: Picture, roll_deg: float, rng: Generator) -> Picture:
    """The picture of a camera rolled by `roll_deg` and pitched by half of it, to either side."""
    return _tilted(image, np.zeros(image.shape[:2], np.uint8), roll_deg, rng, 255)[0]


TILT = Corruption("tilt", (6, 9, 12), "degrees of roll, half as many of pitch", tilted_view)

HELD_OUT = (
    Corruption("defocus", (3, 4, 6), "pixels, radius", defocused),
    Corruption("motion blur", (9, 17, 25), "pixels, length", motion_blurred),
    Corruption("shot noise", (60, 25, 12), "photons at white", shot_noisy),
    Corruption("impulse noise", (0.03, 0.06, 0.09), "share of values", impulse_noisy),
    Corruption("fog", (300, 150, 75), "metres of visibility", foggy),
    Corruption("rain", (10, 40, 100), "mm/h", rainy),
    Corruption("low light", (2, 4, 6), "stops", underexposed),
    Corruption("jpeg", (25, 15, 7), "quality", jpeg_encoded),
    Corruption("lens dirt", (0.05, 0.12, 0.25), "share of the lens", dirty_lens),
    TILT,
)


def _tilted(
    image: Picture, label: NDArray[np.uint8], roll_deg: float, rng: Generator, ignore_id: int
) -> tuple[Picture, NDArray[np.uint8]]:
    h, w = label.shape
    roll, pitch = np.radians(roll_deg * rng.choice([-1, 1])), np.radians(roll_deg / 2)
    pitch *= rng.choice([-1, 1])
    cr, sr, cp, sp = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    camera = np.array([[focal_px(w), 0, w / 2], [0, focal_px(w), h / 2], [0, 0, 1]])
    source_from_output = camera @ turn @ np.linalg.inv(camera)
    numbers = (source_from_output / source_from_output[2, 2]).flatten()[:8].tolist()
    perspective, by = Image.Transform.PERSPECTIVE, Image.Resampling
    outside = tuple(int(v) for v in image.mean((0, 1)))
    view = Image.fromarray(image).transform(
        (w, h), perspective, numbers, by.BILINEAR, fillcolor=outside
    )
    moved = Image.fromarray(label).transform(
        (w, h), perspective, numbers, by.NEAREST, fillcolor=ignore_id
    )
    return np.array(view), np.array(moved)


def _filtered(image: Picture, kernel: NDArray[np.float64]) -> Picture:
    """Each channel's weighted mean under `kernel` (odd sides), the border reflected."""
    ky, kx = kernel.shape
    weights = torch.from_numpy(kernel / kernel.sum()).float()[None, None]
    x = torch.from_numpy(image).permute(2, 0, 1)[:, None].float()
    x = F.pad(x, (kx // 2, kx // 2, ky // 2, ky // 2), mode="reflect")
    return _bytes(F.conv2d(x, weights)[:, 0].permute(1, 2, 0).numpy())


def _linear(image: Picture) -> NDArray[np.float64]:
    """Light in [0, 1] from sRGB bytes (IEC 61966-2-1)."""
    v = image / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _display(light: NDArray[np.float64]) -> Picture:
    v = np.clip(light, 0, 1)
    return _bytes(255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055))


def _bytes(values: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
