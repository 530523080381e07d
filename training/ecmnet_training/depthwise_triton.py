"""EDAB's two branches of depthwise 3x1 or 1x3 convolutions, side by side, on a GPU.

    y_j[p, c] = sum_k w_j[c, k] a_j[p + (k - 1) d_j step, c],   a_j = PReLU(BN(x_j))

j = 0 is the local branch, d = 1; j = 1 the dilated one. a is zero outside the picture; `step` is
one row or one column. x is `[2, p, c]`, or `[p, c]` where both branches read the same tensor; y is
`[2, p, c]`, weights `[2, c, 3]`, and the norms' `params`, `stats`, `grads` (norm_formulas.py) of
the two branches lie behind one another. c is a power of two. A program owns tiles of `R`
pixels of a line, all channels, of one branch, or of both where their gradients meet.
"""

import triton
import triton.language as tl
from torch import Tensor

from .dense_triton import Norm
from .layers import BN_EPS
from .norm_formulas import (
    activated,
    add_gradients,
    add_stats,
    backward_terms_of,
    terms_of,
    through_activation,
    through_norm,
)
from .tiles_triton import launch, line_tiles, moved_pixels, place_of_tile

_TILE = 2048
_TILE_BACK = 1024


def convolve_pair(
    x: Tensor,
    norm: Norm,
    weights: Tensor,
    y: Tensor,
    y_stats: Tensor,
    *,
    along_height: bool,
    dilation: int,
) -> None:
    """Writes y `[2, b, c, h, w]` from x, that or `[b, c, h, w]`; adds y's sums to `y_stats`."""
    _, _, channels, height, width = y.shape
    pixels, tiles, warps = line_tiles(y.shape[1:], _TILE)
    launch(
        _forward, tiles,
        x, norm.params, norm.stats, weights, y, y_stats,
        tiles, y[0].numel() // channels, height, width, dilation, BN_EPS,
        C=channels, R=pixels, SHARED=x.ndim == 4, ALONG_HEIGHT=along_height,
        planes=2, num_warps=warps,
    )  # fmt: skip


def convolve_pair_backward(
    dy: Tensor,
    y: Tensor,
    y_norm: Norm,
    weights: Tensor,
    x: Tensor,
    norm: Norm,
    *,
    dx: Tensor,
    dweights: Tensor,
    along_height: bool,
    dilation: int,
    other: Tensor | None = None,
) -> None:
    """From dy `[2, b, c, h, w]`, the gradient of PReLU(BN(y)), that of a, of x's shape.

    Where x is shared, `other` is a third gradient of a. Adds to `dweights` and to `norm.grads`.
    """
    _, _, channels, height, width = y.shape
    shared = other is not None
    # Four values a thread: the terms of its channels, up to 28 a channel, lie in registers.
    pixels, tiles, warps = line_tiles(y.shape[1:], _TILE_BACK // 2 if shared else _TILE_BACK)
    launch(
        _backward, tiles,
        dy, y, y_norm.params, y_norm.stats, y_norm.grads, weights,
        x, norm.params, norm.stats, other if shared else dx, dx, norm.grads, dweights,
        tiles, y[0].numel() // channels, height, width, dilation, BN_EPS,
        C=channels, R=pixels, SHARED=shared, ALONG_HEIGHT=along_height,
        planes=1 if shared else 2, num_warps=2 * warps, maxnreg=168 if shared else 128,
    )  # fmt: skip


_SIZES = ["tiles", "rows", "height", "width", "dilation"]


@triton.jit(do_not_specialize=_SIZES)
def _forward(  # noqa: ANN202
    x_ptr, params_ptr, stats_ptr, w_ptr, y_ptr, y_stats_ptr,  # noqa: ANN001
    tiles, rows, height, width, dilation, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr, SHARED: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    branch = tl.program_id(1)
    plane = branch.to(tl.int64) * rows * C
    if not SHARED:
        x_ptr += plane
        params_ptr += branch * 3 * C
        stats_ptr += branch * 2 * C
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c[None, :], c[None, :] < C, rows, eps, C)
    step = tl.where(branch == 0, 1, dilation)
    w0, w1, w2 = _taps(w_ptr + branch * 3 * C, c)
    first = tl.zeros((R, C), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        y = tl.zeros((R, C), tl.float32)
        for k in tl.static_range(3):
            p, ok = moved_pixels(line, column, (k - 1) * step, height, width, ALONG_HEIGHT)
            ok = ok[:, None]
            x = tl.load(x_ptr + p[:, None] * C + c[None, :], mask=ok, other=0.0)
            a = activated(x, scale, shift, slope)
            if k != 1:
                a = tl.where(ok, a, 0.0)
            y += a * (w0 if k == 0 else (w1 if k == 1 else w2))
        ok = (column < width)[:, None]
        at = (line * width + column)[:, None] * C + c[None, :]
        tl.store(y_ptr + plane + at, y.to(y_ptr.dtype.element_ty), mask=ok)
        kept = tl.where(ok, y, 0.0)
        first += kept
        second += kept * kept
    y_stats_ptr += branch * 2 * C
    add_stats(y_stats_ptr, c, c < C, tl.sum(first, 0), tl.sum(second, 0), C)


@triton.jit
def _taps(w_ptr, c):  # noqa: ANN001, ANN202
    """w_0, w_1, w_2 of the channels `c`, each `[1, C]`."""
    at = w_ptr + c[None, :] * 3
    return tl.load(at), tl.load(at + 1), tl.load(at + 2)


@triton.jit
def _branch_terms(  # noqa: ANN202
    y_params_ptr, y_stats_ptr, y_grads_ptr, w_ptr, rows, eps, branch,  # noqa: ANN001
    C: tl.constexpr,
):  # fmt: skip
    """What the branch's gradient needs of its channels: its norm's terms, then its weights."""
    c = tl.arange(0, C)
    terms = backward_terms_of(
        y_params_ptr + branch * 3 * C, y_stats_ptr + branch * 2 * C, y_grads_ptr + branch * 3 * C,
        c[None, :], c[None, :] < C, rows, eps, C,
    )  # fmt: skip
    return terms + _taps(w_ptr + branch * 3 * C, c)


@triton.jit
def _branch_gradient(  # noqa: ANN202
    dy_ptr, y_ptr, terms, a, line, column, rows, height, width, step, branch,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
):  # fmt: skip
    """The branch's gradient of a, and its pixels' shares of dw_0, dw_1, dw_2; all `[R, C]`."""
    c = tl.arange(0, C)
    dy_ptr += branch.to(tl.int64) * rows * C
    y_ptr += branch.to(tl.int64) * rows * C
    scale, shift, slope, of_y, constant, w0, w1, w2 = terms
    da = tl.zeros((R, C), tl.float32)
    dw0, dw1, dw2 = da, da, da
    for k in tl.static_range(3):
        p, ok = moved_pixels(line, column, (1 - k) * step, height, width, ALONG_HEIGHT)
        ok = ok[:, None]
        at = p[:, None] * C + c[None, :]
        dy = tl.load(dy_ptr + at, mask=ok, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + at, mask=ok, other=0.0)
        g = through_norm(dy, y, scale, shift, slope, of_y, constant)
        if k != 1:
            g = tl.where(ok, g, 0.0)
        if k == 0:
            da += g * w0
            dw0 = a * g
        elif k == 1:
            da += g * w1
            dw1 = a * g
        else:
            da += g * w2
            dw2 = a * g
    return da, dw0, dw1, dw2


@triton.jit
def _add_taps(dw_ptr, c, dw0, dw1, dw2):  # noqa: ANN001, ANN202
    tl.atomic_add(dw_ptr + c * 3, tl.sum(dw0, 0), sem="relaxed")
    tl.atomic_add(dw_ptr + c * 3 + 1, tl.sum(dw1, 0), sem="relaxed")
    tl.atomic_add(dw_ptr + c * 3 + 2, tl.sum(dw2, 0), sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def _backward(  # noqa: ANN202
    dy_ptr, y_ptr, y_params_ptr, y_stats_ptr, y_grads_ptr, w_ptr,  # noqa: ANN001
    x_ptr, params_ptr, stats_ptr, other_ptr, dx_ptr, grads_ptr, dw_ptr,  # noqa: ANN001
    tiles, rows, height, width, dilation, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr, SHARED: tl.constexpr, ALONG_HEIGHT: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    branch = tl.program_id(1)
    if not SHARED:
        plane = branch.to(tl.int64) * rows * C
        x_ptr += plane
        dx_ptr += plane
        params_ptr += branch * 3 * C
        stats_ptr += branch * 2 * C
        grads_ptr += branch * 3 * C
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c[None, :], c[None, :] < C, rows, eps, C)
    terms = _branch_terms(y_params_ptr, y_stats_ptr, y_grads_ptr, w_ptr, rows, eps, branch, C)
    dw0 = tl.zeros((R, C), tl.float32)
    dw1, dw2 = dw0, dw0
    if SHARED:
        wide_terms = _branch_terms(
            y_params_ptr, y_stats_ptr, y_grads_ptr, w_ptr, rows, eps, branch + 1, C
        )
        ew0, ew1, ew2 = dw0, dw0, dw0
    of_dz, of_dz_x, of_slope = dw0, dw0, dw0
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        at = (line * width + column)[:, None] * C + c[None, :]
        ok = (column < width)[:, None]
        x = tl.load(x_ptr + at, mask=ok, other=0.0)
        a = tl.where(ok, activated(x, scale, shift, slope), 0.0)
        da, e0, e1, e2 = _branch_gradient(
            dy_ptr, y_ptr, terms, a, line, column, rows, height, width,
            tl.where(branch == 0, 1, dilation), branch, C, R, ALONG_HEIGHT,
        )  # fmt: skip
        dw0, dw1, dw2 = dw0 + e0, dw1 + e1, dw2 + e2
        if SHARED:
            more, e0, e1, e2 = _branch_gradient(
                dy_ptr, y_ptr, wide_terms, a, line, column, rows, height, width,
                dilation, branch + 1, C, R, ALONG_HEIGHT,
            )  # fmt: skip
            ew0, ew1, ew2 = ew0 + e0, ew1 + e1, ew2 + e2
            da += more + tl.load(other_ptr + at, mask=ok, other=0.0).to(tl.float32)
        tl.store(dx_ptr + at, da.to(dx_ptr.dtype.element_ty), mask=ok)
        dz, dz_x, for_slope = through_activation(tl.where(ok, da, 0.0), x, scale, shift, slope)
        of_dz += dz
        of_dz_x += dz_x
        of_slope += for_slope
    add_gradients(
        grads_ptr, stats_ptr, c, c < C,
        tl.sum(of_dz, 0), tl.sum(of_dz_x, 0), tl.sum(of_slope, 0), rows, eps, C,
    )  # fmt: skip
    _add_taps(dw_ptr + branch * 3 * C, c, dw0, dw1, dw2)
    if SHARED:
        _add_taps(dw_ptr + 3 * C, c, ew0, ew1, ew2)
