"""The changes of augment.py for a whole batch in three kernels, on a GPU.

1. sample: the affine crop of bytes, bilinear (labels nearest), then brightness and channel gains;
   each image's sum of grey.  2. colours: tone, order of the channels, contrast, saturation, hue,
   light field, shadow, gamma, steps of the values.  3. wide blur, columns then rows, of the images
   that have one.  4. finish: filter, noise, holes, and the network's normalisation.

`numbers` is f32 `[b, 57]`, one row an image, in the order of `_numbers`. A program owns `R` pixels
of one image. What strong.py does is left out where STRONG is false.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from . import augment, strong
from .config import AugmentConfig

_TILE = 512
_NUMBERS = 57


def augmented_batch(
    config: AugmentConfig,
    draws: augment.Draws,
    rows: Tensor,
    images: Tensor,
    labels: Tensor,
    *,
    size_hw: tuple[int, int],
    mean: Tensor,
    std: Tensor,
    ignore_id: int,
) -> tuple[Tensor, Tensor]:
    """Normalised pictures `[b, 3, h, w]`, channels last, f32, and labels `[b, h, w]`, i64.

    `size_hw` is `(h, w)`. `images` u8 `[n, 3, y, x]` and `labels` u8 `[n, y, x]` are the whole data
    set, of any one size, `rows` `[b]` the batch's places in it.
    """
    b, (h, w) = len(rows), size_hw
    harsh = draws.strong is not None
    amounts = augment.amounts_of(config, draws)
    numbers = _numbers(config, draws, amounts, images.shape)
    x = torch.empty(b, 3, h, w, device=images.device)
    y = torch.empty(b, h, w, dtype=torch.int64, device=images.device)
    grey = torch.zeros(b, device=images.device)
    grid = (triton.cdiv(h * w, _TILE), b)
    _sample[grid](
        rows, images, labels, numbers, mean, x, y, grey, h, w, *images.shape[2:], ignore_id,
        N=_NUMBERS, R=_TILE,
    )  # fmt: skip
    field = tone = x
    if config.shade > 0:
        field = F.interpolate(draws.shade, (h, w), mode="bicubic", align_corners=False)
    if harsh:
        tone = strong.tone_change(x, amounts.tone)
    coloured = torch.empty_like(x)
    _colour[grid](
        x, field, tone, numbers, grey, coloured, h, w,
        SHADE=config.shade > 0, GAMMA=config.gamma > 0, STRONG=harsh, N=_NUMBERS, R=_TILE,
    )  # fmt: skip
    if harsh and config.strong.blur[1] > 0:
        # `x` is free again: it holds the blurred columns.
        for source, target, along_rows in ((coloured, x, False), (x, coloured, True)):
            _blur[grid](
                source, numbers, target, h, w,
                ROWS=along_rows, REACH=strong.BLUR_REACH, N=_NUMBERS, R=_TILE,
            )  # fmt: skip
    noise = x if draws.noise is None else draws.noise
    finished = torch.empty_like(x, memory_format=torch.channels_last)
    _finish[grid](
        coloured, noise, numbers, mean, std, finished, h, w,
        FILTER=config.blur_px > 0 or harsh, NOISE=draws.noise is not None, STRONG=harsh,
        N=_NUMBERS, R=_TILE,
    )  # fmt: skip
    return finished, y


def _numbers(
    config: AugmentConfig, draws: augment.Draws, amounts: strong.Amounts, shape: torch.Size
) -> Tensor:
    """From place 0: six of the affine map; 6: brightness x gain (3); 9: contrast, saturation, cos
    and sin of the hue, shade, gamma's power; 15: the filter (25); 40: noise and its grain; 42: the
    channels' order (3); 45: step; 46: shadow (6); 52: holes (4); 56: wide blur."""
    u = draws.uniform

    def around_one(columns: Tensor, strength: float) -> Tensor:
        return 1 + strength * (2 * columns - 1)

    angle = math.radians(config.hue_deg) * (2 * u[:, 9:10] - 1)
    brightness = around_one(u[:, 6:7], config.brightness) * amounts.brightness[:, None]
    parts = [
        augment.affine(config, u, shape).flatten(1),
        brightness * around_one(u[:, 12:15], config.channel_gain),
        around_one(u[:, 7:8], config.contrast) * amounts.contrast[:, None],
        around_one(u[:, 8:9], config.saturation) * amounts.saturation[:, None],
        torch.cos(angle),
        torch.sin(angle) / math.sqrt(3),
        config.shade * u[:, 15:16],
        torch.exp(config.gamma * (2 * u[:, 10:11] - 1)),
        augment.kernel_of(config, draws, amounts).flatten(1),
        config.noise * u[:, 16:17] ** 2 + amounts.noise[:, None],
        amounts.grain[:, None],
        amounts.order,
        amounts.step[:, None],
        amounts.shadow,
        amounts.holes,
        amounts.blur[:, None],
    ]
    return torch.cat(parts, dim=1)


_SIZES = ["height", "width"]


@triton.jit(do_not_specialize=[*_SIZES, "from_height", "from_width"])
def _sample(  # noqa: ANN202
    rows_ptr, images_ptr, labels_ptr, numbers_ptr, mean_ptr, x_ptr, y_ptr, grey_ptr,  # noqa: ANN001
    height, width, from_height, from_width, ignore_id,  # noqa: ANN001
    N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    row = tl.load(rows_ptr + image)
    numbers_ptr += image * N
    pixels = height * width
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = p < pixels
    across = (2 * (p % width) + 1.0) / width - 1
    down = (2 * (p // width) + 1.0) / height - 1
    at_x = tl.load(numbers_ptr) * across + tl.load(numbers_ptr + 1) * down
    at_y = tl.load(numbers_ptr + 3) * across + tl.load(numbers_ptr + 4) * down
    at_x = ((at_x + tl.load(numbers_ptr + 2) + 1) * from_width - 1) / 2
    at_y = ((at_y + tl.load(numbers_ptr + 5) + 1) * from_height - 1) / 2
    source_pixels = from_height * from_width

    near_x, near_y = tl.floor(at_x + 0.5).to(tl.int32), tl.floor(at_y + 0.5).to(tl.int32)
    inside = ok & (near_x >= 0) & (near_x < from_width) & (near_y >= 0) & (near_y < from_height)
    from_label = labels_ptr + row * source_pixels + near_y * from_width + near_x
    label = tl.load(from_label, mask=inside, other=0)
    label = tl.where(inside, label.to(tl.int64), ignore_id)
    out = image.to(tl.int64) * pixels + p
    tl.store(y_ptr + out, label, mask=ok)

    x0, y0 = tl.floor(at_x).to(tl.int32), tl.floor(at_y).to(tl.int32)
    part_x, part_y = at_x - x0, at_y - y0
    grey = tl.zeros((R,), tl.float32)
    for c in tl.static_range(3):
        centre = tl.load(mean_ptr + c)
        value = tl.zeros((R,), tl.float32)
        for dy in tl.static_range(2):
            for dx in tl.static_range(2):
                xi, yi = x0 + dx, y0 + dy
                there = ok & (xi >= 0) & (xi < from_width) & (yi >= 0) & (yi < from_height)
                source = images_ptr + (row * 3 + c) * source_pixels + yi * from_width + xi
                byte = tl.load(source, mask=there, other=0).to(tl.float32)
                share_x = part_x if dx == 1 else 1 - part_x
                share_y = part_y if dy == 1 else 1 - part_y
                value += tl.where(there, byte - centre, 0.0) * share_x * share_y
        value = (value + centre) * tl.load(numbers_ptr + 6 + c)
        tl.store(x_ptr + (image.to(tl.int64) * 3 + c) * pixels + p, value, mask=ok)
        luma = 0.299 if c == 0 else (0.587 if c == 1 else 0.114)
        grey += luma * value
    tl.atomic_add(grey_ptr + image, tl.sum(tl.where(ok, grey, 0.0), 0), sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def _colour(  # noqa: ANN202
    x_ptr, field_ptr, tone_ptr, numbers_ptr, grey_ptr, y_ptr, height, width,  # noqa: ANN001
    SHADE: tl.constexpr, GAMMA: tl.constexpr, STRONG: tl.constexpr,
    N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    numbers_ptr += image * N
    pixels = height * width
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = p < pixels
    level = tl.load(grey_ptr + image) / pixels
    at = image.to(tl.int64) * 3 * pixels + p
    contrast = tl.load(numbers_ptr + 9)
    at_r, at_g, at_b = at, at + pixels, at + 2 * pixels
    if STRONG:
        at_r = at + tl.load(numbers_ptr + 42).to(tl.int32) * pixels
        at_g = at + tl.load(numbers_ptr + 43).to(tl.int32) * pixels
        at_b = at + tl.load(numbers_ptr + 44).to(tl.int32) * pixels
    r = tl.load(x_ptr + at_r, mask=ok, other=0.0)
    g = tl.load(x_ptr + at_g, mask=ok, other=0.0)
    b = tl.load(x_ptr + at_b, mask=ok, other=0.0)
    if STRONG:
        r += tl.load(tone_ptr + at_r, mask=ok, other=0.0)
        g += tl.load(tone_ptr + at_g, mask=ok, other=0.0)
        b += tl.load(tone_ptr + at_b, mask=ok, other=0.0)
    r = (r - level) * contrast + level
    g = (g - level) * contrast + level
    b = (b - level) * contrast + level
    grey = 0.299 * r + 0.587 * g + 0.114 * b
    saturation = tl.load(numbers_ptr + 10)
    r = (r - grey) * saturation + grey
    g = (g - grey) * saturation + grey
    b = (b - grey) * saturation + grey
    # The hue turns about the grey axis: x' = m + (x - m) cos + (next - previous) sin / sqrt(3).
    cos, sin = tl.load(numbers_ptr + 11), tl.load(numbers_ptr + 12)
    m = (r + g + b) / 3
    light = tl.zeros((R,), tl.float32) + 1.0
    if SHADE:
        field = tl.load(field_ptr + image.to(tl.int64) * pixels + p, mask=ok, other=0.0)
        light = tl.exp(tl.load(numbers_ptr + 13) * field)
    if STRONG:
        across = (2 * (p % width) + 1.0) / width - 1
        down = (2 * (p // width) + 1.0) / height - 1
        along = tl.load(numbers_ptr + 46) * across + tl.load(numbers_ptr + 47) * down
        steepness = tl.load(numbers_ptr + 50)
        inside = tl.sigmoid((along - tl.load(numbers_ptr + 48)) * steepness)
        inside *= tl.sigmoid((tl.load(numbers_ptr + 49) - along) * steepness)
        light *= 1 - tl.load(numbers_ptr + 51) * inside
    power = tl.load(numbers_ptr + 14)
    for c in tl.static_range(3):
        own = r if c == 0 else (g if c == 1 else b)
        side = (g - b) if c == 0 else ((b - r) if c == 1 else (r - g))
        value = (m + (own - m) * cos + side * sin) * light
        if GAMMA:
            share = tl.minimum(tl.maximum(value, 0.0), 255.0) / 255 + 1e-4
            value = 255 * tl.exp2(power * tl.log2(share))
        if STRONG:
            step = tl.load(numbers_ptr + 45)
            stepped = (tl.floor(value / tl.maximum(step, 1.0)) + 0.5) * step
            value = tl.where(step > 0, stepped, value)
        tl.store(y_ptr + at + c * pixels, value, mask=ok)


@triton.jit(do_not_specialize=_SIZES)
def _blur(  # noqa: ANN202
    x_ptr, numbers_ptr, y_ptr, height, width,  # noqa: ANN001
    ROWS: tl.constexpr, REACH: tl.constexpr, N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    sigma = tl.load(numbers_ptr + image * N + 56)
    if sigma > 0:
        pixels = height * width
        p = tl.program_id(0) * R + tl.arange(0, R)
        ok = p < pixels
        column, line = p % width, p // width
        scale = -0.5 / (sigma * sigma)
        for c in tl.static_range(3):
            plane = (image.to(tl.int64) * 3 + c) * pixels
            value = tl.zeros((R,), tl.float32)
            total = 0.0
            for i in tl.static_range(-REACH, REACH + 1):
                tap = tl.exp(scale * (i * i))
                xi, yi = column, line
                if ROWS:
                    xi = tl.minimum(tl.maximum(column + i, 0), width - 1)
                else:
                    yi = tl.minimum(tl.maximum(line + i, 0), height - 1)
                value += tap * tl.load(x_ptr + plane + yi * width + xi, mask=ok, other=0.0)
                total += tap
            tl.store(y_ptr + plane + p, value / total, mask=ok)


@triton.jit(do_not_specialize=_SIZES)
def _finish(  # noqa: ANN202
    x_ptr, noise_ptr, numbers_ptr, mean_ptr, std_ptr, y_ptr, height, width,  # noqa: ANN001
    FILTER: tl.constexpr, NOISE: tl.constexpr, STRONG: tl.constexpr,
    N: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    numbers_ptr += image * N
    pixels = height * width
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = p < pixels
    column, line = p % width, p // width
    grain_at = p
    hole = p < 0
    if STRONG:
        grain = tl.load(numbers_ptr + 41).to(tl.int32)
        grain_at = line // grain * width + column // grain
        cell = tl.load(numbers_ptr + 52).to(tl.int32)
        side = tl.load(numbers_ptr + 55).to(tl.int32)
        hole = (column + tl.load(numbers_ptr + 53).to(tl.int32)) % cell < side
        hole &= (line + tl.load(numbers_ptr + 54).to(tl.int32)) % cell < side
    for c in tl.static_range(3):
        plane = (image.to(tl.int64) * 3 + c) * pixels
        value = tl.zeros((R,), tl.float32)
        if FILTER:
            for i in tl.static_range(5):
                yi = tl.minimum(tl.maximum(line + i - 2, 0), height - 1)
                for j in tl.static_range(5):
                    xi = tl.minimum(tl.maximum(column + j - 2, 0), width - 1)
                    tap = tl.load(numbers_ptr + 15 + 5 * i + j)
                    value += tap * tl.load(x_ptr + plane + yi * width + xi, mask=ok, other=0.0)
        else:
            value = tl.load(x_ptr + plane + p, mask=ok, other=0.0)
        if NOISE:
            noise = tl.load(noise_ptr + plane + grain_at, mask=ok, other=0.0)
            value += noise * tl.load(numbers_ptr + 40)
        value = tl.minimum(tl.maximum(value, 0.0), 255.0)
        centre = tl.load(mean_ptr + c)
        value = tl.where(hole, 0.0, (value - centre) / tl.load(std_ptr + c))
        tl.store(y_ptr + (image.to(tl.int64) * pixels + p) * 3 + c, value, mask=ok)
