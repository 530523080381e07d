"""Harsher changes for some of the pictures, as plain formulas.

`amounts` turns uniform numbers into each picture's amounts, neutral ones for the pictures that are
left alone. augment.py and augment_triton.py apply them in the same places.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import StrongConfig

DRAWS = 56
"""Uniform numbers that a picture needs."""
BLUR_REACH = 7
FILTER_SIDE = 5
_CHANGES = (
    "dim", "flat", "grey", "shuffle", "tone", "shadow",
    "posterise", "blur", "filter", "noise", "holes",
)  # fmt: skip
_FREE = 1 + 2 * len(_CHANGES)
_FILTER = DRAWS - FILTER_SIDE**2
_TONE_CELLS = (12, 16)
_TONE_EVERY = 4


@dataclass(frozen=True)
class Amounts:
    """One row for each picture, f32.

    `brightness, contrast, saturation` `[b]` are factors; `order` `[b, 3]` says which channel each
    one takes; `tone` `[b]` is a share; `step` `[b]` that of the values, 0 for none; `blur` and
    `noise` `[b]` deviations; `grain` `[b]` pixels; `filter` `[b, 5, 5]` what the filter adds.
    `shadow` `[b, 6]`: the band's normal (2), where it begins and ends along it, how steep its edges
    are (the picture's half width is 1), the share of light that it takes.
    `holes` `[b, 4]`: in pixels the side of the grid's cells, its place (2), the side of a hole.
    """

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    order: Tensor
    tone: Tensor
    shadow: Tensor
    step: Tensor
    blur: Tensor
    filter: Tensor
    noise: Tensor
    grain: Tensor
    holes: Tensor


def amounts(config: StrongConfig, u: Tensor) -> Amounts:
    """Each picture's amounts from uniform numbers `u` `[b, DRAWS]`."""
    chosen = u[:, 0] < config.share

    def happens(change: str, often: float) -> Tensor:
        return (chosen & (u[:, 1 + 2 * _CHANGES.index(change)] < often)).to(u.dtype)

    def amount(change: str) -> Tensor:
        often, most = getattr(config, change)
        # What happens at all is to be seen: a third of the most at least.
        share = (1 + 2 * u[:, 2 + 2 * _CHANGES.index(change)]) / 3
        return happens(change, often) * most * share

    shuffled = (happens("shuffle", config.shuffle) * (1 + 5 * u[:, _FREE])).floor()[:, None]
    channel = torch.arange(3, device=u.device)
    order = torch.where(shuffled < 3, shuffled + channel, shuffled - channel) % 3
    angle = 2 * math.pi * u[:, _FREE + 1]
    begin = -1.2 + 1.8 * u[:, _FREE + 2]
    end = begin + 0.2 + 1.4 * u[:, _FREE + 3]
    steepness = torch.exp(math.log(5) + math.log(12) * u[:, _FREE + 4])
    cell = (16 + 33 * u[:, _FREE + 5]).floor()
    place = (cell[:, None] * u[:, _FREE + 6 : _FREE + 8]).floor()
    weights = 2 * u[:, _FILTER:] - 1
    weights = weights - weights.mean(1, keepdim=True)
    weights = weights * (amount("filter") / weights.norm(dim=1).clamp(min=1e-6))[:, None]
    grain = 1 + happens("noise", config.noise[0]) * (4 * u[:, _FREE + 8]).floor()
    shadow = (torch.cos(angle), torch.sin(angle), begin, end, steepness, amount("shadow"))
    holes = (cell, place[:, 0], place[:, 1], (cell * amount("holes")).round())
    return Amounts(
        brightness=1 - amount("dim"),
        contrast=1 - amount("flat"),
        saturation=1 - happens("grey", config.grey),
        order=order,
        tone=amount("tone"),
        shadow=torch.stack(shadow, dim=1),
        step=amount("posterise"),
        blur=amount("blur"),
        filter=weights.view(-1, FILTER_SIDE, FILTER_SIDE),
        noise=amount("noise"),
        grain=grain,
        holes=torch.stack(holes, dim=1),
    )


def tone_change(x: Tensor, share: Tensor) -> Tensor:
    """What moves each picture's low frequencies to the next one's mean and deviation by `share`.

    x `[b, 3, h, w]`; to be added to it. The last picture's next one is the first.
    """
    low = F.adaptive_avg_pool2d(x[:, :, ::_TONE_EVERY, ::_TONE_EVERY], _TONE_CELLS)
    std, mean = torch.std_mean(low, dim=(2, 3), keepdim=True)
    # A picture that is almost flat would otherwise have its noise blown up.
    ratio = (std.roll(-1, 0) / std.clamp(min=1e-3)).clamp(0.5, 2.0)
    change = (ratio - 1) * (low - mean) + mean.roll(-1, 0) - mean
    change = change * share.view(-1, 1, 1, 1)
    return F.interpolate(change, x.shape[2:], mode="bilinear", align_corners=False)


def light_under(shadow: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The factor `[b, 1, h, w]` of `Amounts.shadow`."""
    (h, w), device = size_hw, shadow.device
    across = (2 * torch.arange(w, device=device) + 1.0) / w - 1
    down = (2 * torch.arange(h, device=device) + 1.0) / h - 1
    normal_x, normal_y, begin, end, steepness, dark = shadow.view(-1, 6, 1, 1).unbind(1)
    along = normal_x * across + normal_y * down[:, None]
    inside = torch.sigmoid((along - begin) * steepness) * torch.sigmoid((end - along) * steepness)
    return (1 - dark * inside)[:, None]


def posterised(x: Tensor, step: Tensor) -> Tensor:
    """Values in the middle of steps of `step` `[b]`; left alone where it is 0."""
    step = step.view(-1, 1, 1, 1)
    return torch.where(step > 0, ((x / step.clamp(min=1)).floor() + 0.5) * step, x)


def widely_blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of 15 taps, `sigma` `[b]` pixels; left alone where it is 0."""
    offsets = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=x.device)
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.1)[:, None]) ** 2)
    taps = (taps / taps.sum(1, keepdim=True))[:, :, None, None, None]
    h, w = x.shape[2:]
    padded = F.pad(x, (0, 0, BLUR_REACH, BLUR_REACH), mode="replicate")
    y = sum(taps[:, i] * padded[:, :, i : i + h] for i in range(len(offsets)))
    padded = F.pad(y, (BLUR_REACH, BLUR_REACH, 0, 0), mode="replicate")
    y = sum(taps[:, i] * padded[:, :, :, i : i + w] for i in range(len(offsets)))
    return torch.where(sigma.view(-1, 1, 1, 1) > 0, y, x)


def grained(noise: Tensor, grain: Tensor) -> Tensor:
    """Noise `[b, 3, h, w]` whose values fill squares of `grain` `[b]` pixels."""
    h, w = noise.shape[2:]
    grain = grain.long().view(-1, 1, 1)
    rows = torch.arange(h, device=noise.device)[:, None] // grain
    columns = torch.arange(w, device=noise.device) // grain
    places = (rows * w + columns).flatten(1)[:, None].expand(-1, 3, -1)
    return noise.flatten(2).gather(2, places).view_as(noise)


def hole_mask(holes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Where the grid's holes are, bool `[b, 1, h, w]`."""
    cell, left, top, side = holes.view(-1, 4, 1, 1).unbind(1)
    rows = torch.arange(size_hw[0], device=holes.device)[:, None]
    columns = torch.arange(size_hw[1], device=holes.device)
    return (((rows + top) % cell < side) & ((columns + left) % cell < side))[:, None]
