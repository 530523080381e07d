"""Dense 1x1, 3x1 and 1x3 convolutions with the batch norm and PReLU in front of them, on a GPU.

    y[p, o] = sum_k sum_i w[o, i, k] a[p + (k - taps/2) step, i],   a = PReLU(BN(x)) or x

a is zero outside the picture; `step` is one row or one column. The products run in the pictures'
dtype with f32 sums. `Norm` tensors are laid out as in norm_formulas.py, channels are padded to 16
for the matrix units. A program owns tiles of `R` pixels of a line, all channels.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layers import BN_EPS
from .norm_formulas import (
    activated,
    add_gradients,
    add_stats,
    backward_terms_of,
    rows_summed,
    sum_all,
    terms_of,
    threads_sums,
    through_activation,
    through_norm,
)
from .tiles_triton import LEAST_SUMMED, launch, moved_pixels, place_of_tile


@dataclass(frozen=True)
class Norm:
    """One layer's `params` `[3, c]`, `stats` `[2, c]`; in the backward pass `grads` `[3, c]`."""

    params: Tensor
    stats: Tensor
    grads: Tensor | None = None


def convolve(
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    *,
    norm: Norm | None = None,
    y_stats: Tensor | None = None,
    residual: Tensor | None = None,
) -> None:
    """Writes y `[b, o, h, w]` and adds its sums to `y_stats`.

    With `residual` `[b, o, h, w]`: y = shuffle(y + residual), the even channels, then the odd ones.
    """
    c_in, c_out = x.shape[1], y.shape[1]
    pixels, tiles, sizes, weights_at = _geometry(x, weight, _tile_pixels(c_in, c_out, False))
    launch(
        _forward, tiles,
        x, norm.params if norm else x, norm.stats if norm else x, weight,
        x if residual is None else residual, y, x if y_stats is None else y_stats,
        tiles, *sizes, BN_EPS, **weights_at,
        CI=c_in, CO=c_out, CIP=max(c_in, 16), COP=max(c_out, 16), R=pixels,
        NORM=norm is not None, STATS=y_stats is not None, SHUFFLE=residual is not None,
        ROWS=rows_summed(pixels), num_warps=4, num_stages=1 if c_in * c_out >= 4096 else 2,
    )  # fmt: skip


def convolve_backward(
    dy: Tensor,
    weight: Tensor,
    x: Tensor,
    *,
    dx: Tensor,
    dweight: Tensor,
    norm: Norm | None = None,
    y: Tensor | None = None,
    y_norm: Norm | None = None,
    shuffled: bool = False,
) -> None:
    """Writes dx, the gradient of a; adds to `dweight` (`weight`'s strides) and `norm.grads`.

    `dy` is the gradient of y, or, with `y` and `y_norm`, that of PReLU(BN(y)), or, with
    `shuffled`, that of the shuffled y.
    """
    c_in, c_out = x.shape[1], dy.shape[1]
    pixels, tiles, sizes, weights_at = _geometry(x, weight, _tile_pixels(c_in, c_out, True))
    none = dx
    launch(
        _backward, tiles,
        dy, none if y is None else y,
        y_norm.params if y_norm else none, y_norm.stats if y_norm else none,
        y_norm.grads if y_norm else none,
        weight, x, norm.params if norm else none, norm.stats if norm else none,
        dx, norm.grads if norm else none, dweight,
        tiles, *sizes, BN_EPS, **weights_at,
        CI=c_in, CO=c_out, CIP=max(c_in, 16), COP=max(c_out, 16), R=pixels,
        NORM=norm is not None, Y_NORM=y_norm is not None, SHUFFLE=shuffled,
        ROWS=rows_summed(pixels), num_warps=4, num_stages=1 if c_in * c_out >= 4096 else 2,
    )  # fmt: skip


def _geometry(
    x: Tensor, weight: Tensor, pixels: int
) -> tuple[int, int, tuple[int, int, int], dict[str, int | bool]]:
    """Pixels of a tile, tiles, (rows, height, width), and how the weight lies."""
    b, channels, height, width = x.shape
    pixels = min(pixels, max(triton.next_power_of_2(width), LEAST_SUMMED))
    tiles = b * height * triton.cdiv(width, pixels)
    along_height = weight.shape[2] > 1
    layout = {
        "W_O": weight.stride(0),
        "W_I": weight.stride(1),
        "W_K": weight.stride(2 if along_height else 3),
        "TAPS": weight.shape[2] * weight.shape[3],
        "ALONG_HEIGHT": along_height,
    }
    return pixels, tiles, (x.numel() // channels, height, width), layout


def _tile_pixels(c_in: int, c_out: int, backward: bool) -> int:
    if c_in * c_out >= 2048:
        return 32 if backward or c_out >= 128 else 64
    return 64 if c_in * c_out > 256 else 128


_SIZES = ["tiles", "rows", "height", "width"]


@triton.jit
def _unshuffled(c, C: tl.constexpr):  # noqa: ANN001, ANN202
    """The channel that the shuffle moves to place `c`."""
    return tl.where(c < C // 2, 2 * c, 2 * c - C + 1)


@triton.jit
def _input_of_tap(  # noqa: ANN202
    x_ptr, line, column, move, height, width, ci,  # noqa: ANN001
    scale, shift, slope,  # noqa: ANN001
    CI: tl.constexpr, NORM: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
):  # fmt: skip
    """a `[R, CIP]` at `move` steps from the tile's pixels."""
    p, inside = moved_pixels(line, column, move, height, width, ALONG_HEIGHT)
    ok = inside[:, None] & (ci < CI)[None, :]
    x = tl.load(x_ptr + p[:, None] * CI + ci[None, :], mask=ok, other=0.0)
    if NORM:
        x = tl.where(ok, activated(x, scale, shift, slope), 0.0).to(x.dtype)
    return x


@triton.jit(do_not_specialize=_SIZES)
def _forward(  # noqa: ANN202
    x_ptr, params_ptr, stats_ptr, w_ptr, residual_ptr, y_ptr, y_stats_ptr,  # noqa: ANN001
    tiles, rows, height, width, eps,  # noqa: ANN001
    W_O: tl.constexpr, W_I: tl.constexpr, W_K: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
    CI: tl.constexpr, CO: tl.constexpr, CIP: tl.constexpr, COP: tl.constexpr,
    TAPS: tl.constexpr, R: tl.constexpr,
    NORM: tl.constexpr, STATS: tl.constexpr, SHUFFLE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    kind = y_ptr.dtype.element_ty
    ci, co = tl.arange(0, CIP), tl.arange(0, COP)
    source = co
    if SHUFFLE:
        source = _unshuffled(co, CO)
    w_ptrs = w_ptr + ci[:, None] * W_I + source[None, :] * W_O
    w_ok = (ci < CI)[:, None] & (co < CO)[None, :]
    w0 = tl.load(w_ptrs, mask=w_ok, other=0.0).to(kind)
    if TAPS == 3:
        w1 = tl.load(w_ptrs + W_K, mask=w_ok, other=0.0).to(kind)
        w2 = tl.load(w_ptrs + 2 * W_K, mask=w_ok, other=0.0).to(kind)
    scale = tl.zeros((1, CIP), tl.float32)
    shift, slope = scale, scale
    if NORM:
        scale, shift, slope = terms_of(
            params_ptr, stats_ptr, ci[None, :], (ci < CI)[None, :], rows, eps, CI
        )
    first = tl.zeros((R // ROWS, 8, COP), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        p = line * width + column
        y = tl.zeros((R, COP), tl.float32)
        if TAPS == 3:
            a = _input_of_tap(
                x_ptr, line, column, -1, height, width, ci, scale, shift, slope,
                CI, NORM, ALONG_HEIGHT,
            )  # fmt: skip
            y = tl.dot(a, w0, y, input_precision="ieee")
        a = _input_of_tap(
            x_ptr, line, column, 0, height, width, ci, scale, shift, slope,
            CI, NORM, ALONG_HEIGHT,
        )  # fmt: skip
        if TAPS == 3:
            y = tl.dot(a, w1, y, input_precision="ieee")
            a = _input_of_tap(
                x_ptr, line, column, 1, height, width, ci, scale, shift, slope,
                CI, NORM, ALONG_HEIGHT,
            )  # fmt: skip
            y = tl.dot(a, w2, y, input_precision="ieee")
        else:
            y = tl.dot(a, w0, y, input_precision="ieee")
        ok = (column < width)[:, None] & (co < CO)[None, :]
        if SHUFFLE:
            at = p[:, None] * CO + co[None, :]
            residual = tl.load(residual_ptr + at, mask=ok, other=0.0)
            pairs = tl.reshape(residual, (R, CO // 2, 2))
            y += tl.reshape(tl.permute(pairs, (0, 2, 1)), (R, CO)).to(tl.float32)
        tl.store(y_ptr + p[:, None] * CO + co[None, :], y.to(kind), mask=ok)
        if STATS:
            kept = tl.where(ok, y, 0.0)
            first += threads_sums(kept, ROWS)
            second += threads_sums(kept * kept, ROWS)
    if STATS:
        add_stats(y_stats_ptr, co, co < CO, sum_all(first), sum_all(second), CO)


@triton.jit
def _gradient_of_tap(  # noqa: ANN202
    dy_ptr, y_ptr, line, column, move, height, width, co,  # noqa: ANN001
    scale, shift, slope, of_x, constant,  # noqa: ANN001
    CO: tl.constexpr, Y_NORM: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
):  # fmt: skip
    """The gradient of y `[R, COP]` at `move` steps from the tile's pixels."""
    p, inside = moved_pixels(line, column, move, height, width, ALONG_HEIGHT)
    ok = inside[:, None] & (co < CO)[None, :]
    at = p[:, None] * CO + co[None, :]
    g = tl.load(dy_ptr + at, mask=ok, other=0.0)
    if Y_NORM:
        y = tl.load(y_ptr + at, mask=ok, other=0.0)
        dy = through_norm(g.to(tl.float32), y, scale, shift, slope, of_x, constant)
        g = tl.where(ok, dy, 0.0).to(g.dtype)
    return g


@triton.jit(do_not_specialize=_SIZES)
def _backward(  # noqa: ANN202
    dy_ptr, y_ptr, y_params_ptr, y_stats_ptr, y_grads_ptr,  # noqa: ANN001
    w_ptr, x_ptr, params_ptr, stats_ptr, dx_ptr, grads_ptr, dw_ptr,  # noqa: ANN001
    tiles, rows, height, width, eps,  # noqa: ANN001
    W_O: tl.constexpr, W_I: tl.constexpr, W_K: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
    CI: tl.constexpr, CO: tl.constexpr, CIP: tl.constexpr, COP: tl.constexpr,
    TAPS: tl.constexpr, R: tl.constexpr,
    NORM: tl.constexpr, Y_NORM: tl.constexpr, SHUFFLE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    kind = dx_ptr.dtype.element_ty
    ci, co = tl.arange(0, CIP), tl.arange(0, COP)
    source = co
    if SHUFFLE:
        source = _unshuffled(co, CO)
    # w `[COP, CIP]` for dx = g w; dw `[CIP, COP]` = a^T g.
    w_ptrs = w_ptr + source[:, None] * W_O + ci[None, :] * W_I
    w_ok = (co < CO)[:, None] & (ci < CI)[None, :]
    w0 = tl.load(w_ptrs, mask=w_ok, other=0.0).to(kind)
    dw0 = tl.zeros((CIP, COP), tl.float32)
    if TAPS == 3:
        w1 = tl.load(w_ptrs + W_K, mask=w_ok, other=0.0).to(kind)
        w2 = tl.load(w_ptrs + 2 * W_K, mask=w_ok, other=0.0).to(kind)
        dw1 = tl.zeros((CIP, COP), tl.float32)
        dw2 = tl.zeros((CIP, COP), tl.float32)
    scale = tl.zeros((1, CIP), tl.float32)
    shift, slope = scale, scale
    if NORM:
        scale, shift, slope = terms_of(
            params_ptr, stats_ptr, ci[None, :], (ci < CI)[None, :], rows, eps, CI
        )
    y_scale = tl.zeros((1, COP), tl.float32)
    y_shift, y_slope, of_y, constant = y_scale, y_scale, y_scale, y_scale
    if Y_NORM:
        y_scale, y_shift, y_slope, of_y, constant = backward_terms_of(
            y_params_ptr, y_stats_ptr, y_grads_ptr, co[None, :], (co < CO)[None, :], rows, eps, CO
        )
    of_dz = tl.zeros((R // ROWS, 8, CIP), tl.float32)
    of_dz_x, of_slope = of_dz, of_dz
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        p = line * width + column
        ok = (column < width)[:, None] & (ci < CI)[None, :]
        x = tl.load(x_ptr + p[:, None] * CI + ci[None, :], mask=ok, other=0.0)
        a = x
        if NORM:
            a = tl.where(ok, activated(x, scale, shift, slope), 0.0).to(kind)
        a = tl.trans(a)
        dx = tl.zeros((R, CIP), tl.float32)
        if TAPS == 3:
            g = _gradient_of_tap(
                dy_ptr, y_ptr, line, column, 1, height, width, co,
                y_scale, y_shift, y_slope, of_y, constant, CO, Y_NORM, ALONG_HEIGHT,
            )  # fmt: skip
            dx = tl.dot(g, w0, dx, input_precision="ieee")
            dw0 = tl.dot(a, g, dw0, input_precision="ieee")
        g = _gradient_of_tap(
            dy_ptr, y_ptr, line, column, 0, height, width, co,
            y_scale, y_shift, y_slope, of_y, constant, CO, Y_NORM, ALONG_HEIGHT,
        )  # fmt: skip
        if TAPS == 3:
            dx = tl.dot(g, w1, dx, input_precision="ieee")
            dw1 = tl.dot(a, g, dw1, input_precision="ieee")
            g = _gradient_of_tap(
                dy_ptr, y_ptr, line, column, -1, height, width, co,
                y_scale, y_shift, y_slope, of_y, constant, CO, Y_NORM, ALONG_HEIGHT,
            )  # fmt: skip
            dx = tl.dot(g, w2, dx, input_precision="ieee")
            dw2 = tl.dot(a, g, dw2, input_precision="ieee")
        else:
            dx = tl.dot(g, w0, dx, input_precision="ieee")
            dw0 = tl.dot(a, g, dw0, input_precision="ieee")
        tl.store(dx_ptr + p[:, None] * CI + ci[None, :], dx.to(kind), mask=ok)
        if NORM:
            # Rows and channels beyond the picture have dx = 0.
            dz, dz_x, for_slope = through_activation(dx, x, scale, shift, slope)
            of_dz += threads_sums(dz, ROWS)
            of_dz_x += threads_sums(dz_x, ROWS)
            of_slope += threads_sums(for_slope, ROWS)
    if NORM:
        add_gradients(
            grads_ptr, stats_ptr, ci, ci < CI,
            sum_all(of_dz), sum_all(of_dz_x), sum_all(of_slope), rows, eps, CI,
        )  # fmt: skip
    dw_ptrs = dw_ptr + ci[:, None] * W_I + source[None, :] * W_O
    dw_ok = (ci < CI)[:, None] & (co < CO)[None, :]
    tl.atomic_add(dw_ptrs, dw0, mask=dw_ok, sem="relaxed")
    if TAPS == 3:
        tl.atomic_add(dw_ptrs + W_K, dw1, mask=dw_ok, sem="relaxed")
        tl.atomic_add(dw_ptrs + 2 * W_K, dw2, mask=dw_ok, sem="relaxed")


def empty_like_rows(x: Tensor, channels: int) -> Tensor:
    """An uninitialised channels-last `[b, channels, h, w]` of x's size and dtype."""
    b, _, h, w = x.shape
    layout = torch.channels_last
    return torch.empty(b, channels, h, w, dtype=x.dtype, device=x.device, memory_format=layout)
