"""Random crops, scales, flips and photometric changes, for a whole batch on its device.

All random numbers are drawn first (`draw`), so that the rest (`apply`) is a pure function of
tensors with fixed shapes: it can be compiled and recorded in a CUDA graph.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import AugmentConfig

_LUMA = (0.299, 0.587, 0.114)
_SHADE_CELLS = (4, 5)
_BLUR_TAPS = 2


@dataclass(frozen=True)
class Draws:
    """Uniform numbers `[b, 17]`, the light field's nodes `[b, 1, 4, 5]`, pixel noise or None."""

    uniform: Tensor
    shade: Tensor
    noise: Tensor | None


def draw(
    config: AugmentConfig, batch: int, size_hw: tuple[int, int], rng: torch.Generator
) -> Draws:
    """The random numbers of one batch, from `rng`, on its device."""
    device = rng.device
    uniform = torch.rand(batch, 17, generator=rng, device=device)
    shade = torch.randn(batch, 1, *_SHADE_CELLS, generator=rng, device=device)
    noise = None
    if config.noise > 0:
        noise = torch.randn(batch, 3, *size_hw, generator=rng, device=device)
    return Draws(uniform, shade, noise)


def apply(
    config: AugmentConfig,
    draws: Draws,
    images: Tensor,
    labels: Tensor,
    *,
    mean: Tensor,
    ignore_id: int,
) -> tuple[Tensor, Tensor]:
    """u8 images `[b, 3, h, w]` and labels `[b, h, w]` -> f32 images on 0-255, i64 labels.

    What lies outside the source picture is `mean` `[3]` with the label `ignore_id`.
    """
    u = draws.uniform
    grid = F.affine_grid(affine(config, u, images.shape), list(images.shape), align_corners=False)
    centre = mean.view(1, 3, 1, 1)
    x = F.grid_sample(images.float() - centre, grid, mode="bilinear", align_corners=False) + centre
    # Label 0 is outside the picture, so ids are moved up by one.
    moved = F.grid_sample(
        labels[:, None].float() + 1, grid, mode="nearest", align_corners=False
    ).long()[:, 0]
    y = torch.where(moved == 0, ignore_id, moved - 1)
    return _photometric(config, draws, x), y


def affine(config: AugmentConfig, u: Tensor, shape: torch.Size) -> Tensor:
    """`[b, 2, 3]`: output coordinates in [-1, 1] -> source coordinates in [-1, 1]."""
    lo, hi = (math.log(s) for s in config.scale)
    scale = torch.exp(lo + (hi - lo) * u[:, 0])
    stretch = torch.exp(config.aspect * (u[:, 1] - 0.5))
    inv_x, inv_y = 1 / (scale * stretch), stretch / scale
    sign = torch.where((u[:, 2] < 0.5) & config.flip, -1.0, 1.0)
    angle = math.radians(config.rotate_deg) * (2 * u[:, 3] - 1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    ratio = shape[2] / shape[3]
    # Enlarged: the crop lies inside the picture. Shrunk: the picture lies inside the crop.
    move_x = (1 - inv_x).abs() * (2 * u[:, 4] - 1)
    move_y = (1 - inv_y).abs() * (2 * u[:, 5] - 1)
    row_x = torch.stack([sign * inv_x * cos, -inv_x * sin * ratio, move_x], dim=1)
    row_y = torch.stack([sign * inv_y * sin / ratio, inv_y * cos, move_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def _photometric(config: AugmentConfig, draws: Draws, x: Tensor) -> Tensor:
    u = draws.uniform

    def around_one(column: int, strength: float) -> Tensor:
        return (1 + strength * (2 * u[:, column] - 1)).view(-1, 1, 1, 1)

    if config.brightness > 0:
        x = x * around_one(6, config.brightness)
    if config.channel_gain > 0:
        x = x * (1 + config.channel_gain * (2 * u[:, 12:15] - 1)).view(-1, 3, 1, 1)
    if config.contrast > 0:
        level = _grey(x).mean((2, 3), keepdim=True)
        x = (x - level) * around_one(7, config.contrast) + level
    if config.saturation > 0:
        grey = _grey(x)
        x = (x - grey) * around_one(8, config.saturation) + grey
    if config.hue_deg > 0:
        x = _turn_hue(x, math.radians(config.hue_deg) * (2 * u[:, 9] - 1))
    if config.shade > 0:
        field = F.interpolate(draws.shade, x.shape[2:], mode="bicubic", align_corners=False)
        x = x * torch.exp(config.shade * u[:, 15].view(-1, 1, 1, 1) * field)
    if config.gamma > 0:
        power = torch.exp(config.gamma * (2 * u[:, 10] - 1)).view(-1, 1, 1, 1)
        x = 255 * (x.clamp(0, 255) / 255 + 1e-4) ** power
    if config.blur_px > 0:
        x = _blur(x, config.blur_px * (2 * u[:, 11] - 1).clamp(min=0))
    if draws.noise is not None:
        x = x + draws.noise * (config.noise * u[:, 16] ** 2).view(-1, 1, 1, 1)
    return x.clamp(0, 255)


def _grey(x: Tensor) -> Tensor:
    return sum(share * x[:, i : i + 1] for i, share in enumerate(_LUMA))


def _turn_hue(x: Tensor, angle: Tensor) -> Tensor:
    """Rotates colour by `angle` `[b]` about the grey axis; greys stay."""
    cos, sin = torch.cos(angle).view(-1, 1, 1, 1), torch.sin(angle).view(-1, 1, 1, 1)
    mean = x.mean(1, keepdim=True)
    side = (x.roll(-1, 1) - x.roll(1, 1)) / math.sqrt(3)
    return mean + (x - mean) * cos + side * sin


def blur_taps(sigma: Tensor) -> Tensor:
    """A Gaussian's weights `[b, 5]` for each `sigma` `[b]` in pixels."""
    offsets = torch.arange(-_BLUR_TAPS, _BLUR_TAPS + 1, device=sigma.device)
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    return taps / taps.sum(1, keepdim=True)


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    """A separable Gaussian of five taps, one `sigma` `[b]` in pixels for each image."""
    taps = blur_taps(sigma).view(len(sigma), -1, 1, 1, 1)
    h, w = x.shape[2:]
    padded = F.pad(x, (0, 0, _BLUR_TAPS, _BLUR_TAPS), mode="replicate")
    x = sum(taps[:, i] * padded[:, :, i : i + h] for i in range(2 * _BLUR_TAPS + 1))
    padded = F.pad(x, (_BLUR_TAPS, _BLUR_TAPS, 0, 0), mode="replicate")
    return sum(taps[:, i] * padded[:, :, :, i : i + w] for i in range(2 * _BLUR_TAPS + 1))
