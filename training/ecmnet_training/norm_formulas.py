"""What the fused kernels share: batch norm with PReLU as they compute it, and how they tile.

    x_hat = (x - mean) rstd,   z = gamma x_hat + beta,   y = z where z > 0, slope z elsewhere

Tensors are rows `[p, c]` of a channels-last picture, p = b h w. A layer's `params` are f32
`[3, c]`: gamma, beta, slope; its `stats` `[2, c]`: the batch's sums of x and of x^2; its `grads`,
laid out as `params`: the sums of dz x_hat, of dz, and of dy z where z <= 0. The kernel that writes
a tensor adds up its sums in f32; the kernels that read it turn them into mean and rstd themselves.
"""

from typing import Any

import torch
import triton
import triton.language as tl

_FIRST_GUESS = 528
_MOST_PER_PROCESSOR = 6
_resident: dict[tuple[object, ...], int] = {}


def launch(kernel: Any, tiles: int, *args: object, planes: int = 1, **constants: object) -> None:  # noqa: ANN401
    """Runs `kernel` with as many programs as the GPU holds at once; each walks over every n-th tile.

    More would wait for the first ones to end, and each begins with its channels' terms. What fits is
    known once the kernel is compiled, so its first run is a guess. Programs are (n / planes, planes).
    """
    key = (kernel, planes, *sorted(constants.items()))
    programs = _resident.get(key, _FIRST_GUESS)
    compiled = kernel[(min(tiles, max(programs // planes, 1)), planes)](*args, **constants)
    if key not in _resident and getattr(compiled, "n_regs", None):
        _resident[key] = _resident_programs(compiled)


def _resident_programs(compiled: Any) -> int:  # noqa: ANN401
    """How many programs of a compiled kernel the current GPU holds, by registers and shared memory."""
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
    warps = compiled.metadata.num_warps
    by_registers = gpu.regs_per_multiprocessor // (-(-compiled.n_regs // 8) * 8 * 32 * warps)
    shared = compiled.metadata.shared + 1024
    by_shared = gpu.shared_memory_per_multiprocessor // shared
    each = max(min(by_registers, by_shared, _MOST_PER_PROCESSOR), 1)
    return each * gpu.multi_processor_count


def line_tiles(shape: torch.Size, elements: int) -> tuple[int, int, int]:
    """(pixels of a tile, tiles in all, warps) where a tile is a piece of one line of `[b, c, h, w]`.

    `elements` is how many values a tile of a wide picture has; a thread holds eight.
    """
    b, c, h, w = shape
    pixels = min(elements // c, triton.next_power_of_2(w))
    return pixels, b * h * triton.cdiv(w, pixels), min(max(pixels * c // 256, 1), 4)


@triton.jit
def place_of_tile(tile, width, R: tl.constexpr):  # noqa: ANN001, ANN201
    """(line, columns `[R]`) of a tile of `line_tiles`; lines count through all pictures."""
    tiles = tl.cdiv(width, R)
    return tile // tiles, tile % tiles * R + tl.arange(0, R)


@triton.jit
def moved_pixels(line, x, move, height, width, ALONG_HEIGHT: tl.constexpr):  # noqa: ANN001, ANN201
    """(rows of the pixels `move` places along the axis, which of them are in the picture)."""
    if ALONG_HEIGHT:
        y = line % height + move
        return (line + move) * width + x, (x < width) & (y >= 0) & (y < height)
    return line * width + x + move, (x < width) & (x + move >= 0) & (x + move < width)


@triton.jit
def moments_of(stats_ptr, c, ok, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """(mean, rstd) of the channels `c`; every thread does this for its own channels, so: cheaply."""
    share = 1.0 / rows
    mean = tl.load(stats_ptr + c, mask=ok, other=0.0) * share
    second = tl.load(stats_ptr + C + c, mask=ok, other=0.0) * share
    return mean, tl.rsqrt(tl.maximum(second - mean * mean, 0.0) + eps)


@triton.jit
def terms_of(params_ptr, stats_ptr, c, ok, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """(scale, shift, slope) of the channels `c`, each of `c`'s shape: z = scale x + shift."""
    mean, rstd = moments_of(stats_ptr, c, ok, rows, eps, C)
    scale = tl.load(params_ptr + c, mask=ok, other=0.0) * rstd
    shift = tl.load(params_ptr + C + c, mask=ok, other=0.0) - mean * scale
    return scale, shift, tl.load(params_ptr + 2 * C + c, mask=ok, other=0.0)


@triton.jit
def backward_terms_of(params_ptr, stats_ptr, grads_ptr, c, ok, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """(scale, shift, slope, of_x, constant): dx = scale dz - of_x x + constant.

    That is gamma rstd (dz - mean(dz) - x_hat mean(dz x_hat)), sorted by what changes from pixel to
    pixel.
    """
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c, ok, rows, eps, C)
    mean, rstd = moments_of(stats_ptr, c, ok, rows, eps, C)
    share = 1.0 / rows
    mean_product = tl.load(grads_ptr + c, mask=ok, other=0.0) * share
    mean_dz = tl.load(grads_ptr + C + c, mask=ok, other=0.0) * share
    of_x = scale * rstd * mean_product
    return scale, shift, slope, of_x, of_x * mean - scale * mean_dz


@triton.jit
def activated(x, scale, shift, slope):  # noqa: ANN001, ANN201
    """y in f32."""
    z = scale * x.to(tl.float32) + shift
    return tl.where(z > 0, z, slope * z)


@triton.jit
def through_activation(dy, x, scale, shift, slope):  # noqa: ANN001, ANN201
    """(dz, dz x, dy z where z <= 0) of the gradient `dy`; `add_gradients` takes their sums."""
    x = x.to(tl.float32)
    z = scale * x + shift
    dz = tl.where(z > 0, dy, slope * dy)
    return dz, dz * x, tl.where(z > 0, 0.0, dy * z)


@triton.jit
def through_norm(dy, x, scale, shift, slope, of_x, constant):  # noqa: ANN001, ANN201
    """dx from the gradient of y."""
    x = x.to(tl.float32)
    dz = tl.where(scale * x + shift > 0, dy, slope * dy)
    return scale * dz - of_x * x + constant


@triton.jit
def add_gradients(grads_ptr, stats_ptr, c, ok, dz, dz_x, slope, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """Adds a program's sums of dz, dz x and the slope's share to the layer's gradients."""
    mean, rstd = moments_of(stats_ptr, c, ok, rows, eps, C)
    tl.atomic_add(grads_ptr + c, rstd * (dz_x - mean * dz), mask=ok, sem="relaxed")
    tl.atomic_add(grads_ptr + C + c, dz, mask=ok, sem="relaxed")
    tl.atomic_add(grads_ptr + 2 * C + c, slope, mask=ok, sem="relaxed")


@triton.jit
def add_stats(stats_ptr, c, ok, first, second, C: tl.constexpr):  # noqa: ANN001, ANN201
    """Adds a program's sums of a tensor and of its square to the `stats` of the norm behind it."""
    tl.atomic_add(stats_ptr + c, first, mask=ok, sem="relaxed")
    tl.atomic_add(stats_ptr + C + c, second, mask=ok, sem="relaxed")
