"""Random crops, scales, flips and photometric changes, for a whole batch on its device.

All random numbers are drawn first (`draw`), so that the rest (`apply`) is a pure function of
tensors with fixed shapes: it can be compiled and recorded in a CUDA graph.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from . import strong
from .config import AugmentConfig, StrongConfig

_LUMA = (0.299, 0.587, 0.114)
_SHADE_CELLS = (4, 5)
_BLUR_REACH = strong.FILTER_SIDE // 2


@dataclass(frozen=True)
class Draws:
    """Uniform numbers `[b, 17]`, the light field's nodes `[b, 1, 4, 5]`, pixel noise or None, and
    uniform numbers `[b, strong.DRAWS]` of the strong changes, None without any."""

    uniform: Tensor
    shade: Tensor
    noise: Tensor | None
    strong: Tensor | None


def draw(
    config: AugmentConfig, batch: int, size_hw: tuple[int, int], rng: torch.Generator
) -> Draws:
    """The random numbers of one batch, from `rng`, on its device."""
    device = rng.device
    uniform = torch.rand(batch, 17, generator=rng, device=device)
    shade = torch.randn(batch, 1, *_SHADE_CELLS, generator=rng, device=device)
    noise = extra = None
    if config.noise > 0 or config.strong.noise[1] > 0:
        noise = torch.randn(batch, 3, *size_hw, generator=rng, device=device)
    if config.strong.share > 0:
        extra = torch.rand(batch, strong.DRAWS, generator=rng, device=device)
    return Draws(uniform, shade, noise, extra)


def apply(
    config: AugmentConfig,
    draws: Draws,
    images: Tensor,
    labels: Tensor,
    *,
    size_hw: tuple[int, int],
    mean: Tensor,
    ignore_id: int,
) -> tuple[Tensor, Tensor]:
    """u8 images `[b, 3, h, w]` and labels `[b, h, w]`, of any one size -> f32 images on 0-255 and
    i64 labels of `size_hw`.

    What lies outside the source picture is `mean` `[3]` with the label `ignore_id`.
    """
    u = draws.uniform
    shape = [*images.shape[:2], *size_hw]
    grid = F.affine_grid(affine(config, u, images.shape), shape, align_corners=False)
    centre = mean.view(1, 3, 1, 1)
    x = F.grid_sample(images.float() - centre, grid, mode="bilinear", align_corners=False) + centre
    # Label 0 is outside the picture, so ids are moved up by one.
    moved = F.grid_sample(
        labels[:, None].float() + 1, grid, mode="nearest", align_corners=False
    ).long()[:, 0]
    y = torch.where(moved == 0, ignore_id, moved - 1)
    return _photometric(config, draws, x, mean), y


def affine(config: AugmentConfig, u: Tensor, shape: torch.Size) -> Tensor:
    """`[b, 2, 3]`: output coordinates in [-1, 1] -> coordinates in [-1, 1] of a source of `shape`
    `[.., h, w]`."""
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


def amounts_of(config: AugmentConfig, draws: Draws) -> strong.Amounts:
    """The strong changes' amounts, all neutral without any."""
    if draws.strong is None:
        return _neutral_amounts(config.strong, len(draws.uniform), draws.uniform.device)
    return strong.amounts(config.strong, draws.strong)


# Never dropped: a recorded step reads them at each replay.
@functools.cache
def _neutral_amounts(config: StrongConfig, batch: int, device: torch.device) -> strong.Amounts:
    amounts = strong.amounts(config, torch.zeros(batch, strong.DRAWS, device=device))
    if device.type == "cuda":
        # Runs on other streams take the same ones.
        torch.cuda.synchronize(device)
    return amounts


def kernel_of(config: AugmentConfig, draws: Draws, amounts: strong.Amounts) -> Tensor:
    """Each picture's 5x5 filter `[b, 5, 5]`: the blur's Gaussian and the random part."""
    taps = blur_taps(config.blur_px * (2 * draws.uniform[:, 11] - 1).clamp(min=0))
    return taps[:, :, None] * taps[:, None] + amounts.filter


def blur_taps(sigma: Tensor) -> Tensor:
    """A Gaussian's weights `[b, 5]` for each `sigma` `[b]` in pixels."""
    offsets = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=sigma.device)
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    return taps / taps.sum(1, keepdim=True)


def _photometric(config: AugmentConfig, draws: Draws, x: Tensor, mean: Tensor) -> Tensor:
    u, amounts, size_hw = draws.uniform, amounts_of(config, draws), x.shape[2:]

    def around_one(column: int, strength: float) -> Tensor:
        return 1 + strength * (2 * u[:, column] - 1)

    def each(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    x = x * each(around_one(6, config.brightness) * amounts.brightness)
    x = x * (1 + config.channel_gain * (2 * u[:, 12:15] - 1)).view(-1, 3, 1, 1)
    level = _grey(x).mean((2, 3), keepdim=True)
    if draws.strong is not None:
        x = x + strong.tone_change(x, amounts.tone)
        x = x.gather(1, amounts.order.long().view(-1, 3, 1, 1).expand_as(x))
    x = (x - level) * each(around_one(7, config.contrast) * amounts.contrast) + level
    grey = _grey(x)
    x = (x - grey) * each(around_one(8, config.saturation) * amounts.saturation) + grey
    x = _turn_hue(x, math.radians(config.hue_deg) * (2 * u[:, 9] - 1))
    if config.shade > 0:
        field = F.interpolate(draws.shade, size_hw, mode="bicubic", align_corners=False)
        x = x * torch.exp(config.shade * each(u[:, 15]) * field)
    x = x * strong.light_under(amounts.shadow, size_hw)
    if config.gamma > 0:
        power = each(torch.exp(config.gamma * (2 * u[:, 10] - 1)))
        x = 255 * (x.clamp(0, 255) / 255 + 1e-4) ** power
    x = strong.posterised(x, amounts.step)
    if config.strong.blur[1] > 0:
        x = strong.widely_blurred(x, amounts.blur)
    x = _filtered(x, kernel_of(config, draws, amounts))
    if draws.noise is not None:
        deviation = config.noise * u[:, 16] ** 2 + amounts.noise
        x = x + strong.grained(draws.noise, amounts.grain) * each(deviation)
    x = torch.where(strong.hole_mask(amounts.holes, size_hw), mean.view(1, 3, 1, 1), x)
    return x.clamp(0, 255)


def _grey(x: Tensor) -> Tensor:
    return sum(share * x[:, i : i + 1] for i, share in enumerate(_LUMA))


def _turn_hue(x: Tensor, angle: Tensor) -> Tensor:
    """Rotates colour by `angle` `[b]` about the grey axis; greys stay."""
    cos, sin = torch.cos(angle).view(-1, 1, 1, 1), torch.sin(angle).view(-1, 1, 1, 1)
    mean = x.mean(1, keepdim=True)
    side = (x.roll(-1, 1) - x.roll(1, 1)) / math.sqrt(3)
    return mean + (x - mean) * cos + side * sin


def _filtered(x: Tensor, kernels: Tensor) -> Tensor:
    """Each picture under its own of `kernels` `[b, 5, 5]`, edges repeated."""
    h, w = x.shape[2:]
    reach = _BLUR_REACH
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    side = range(2 * reach + 1)
    return sum(
        kernels[:, i, j, None, None, None] * padded[:, :, i : i + h, j : j + w]
        for i in side
        for j in side
    )
