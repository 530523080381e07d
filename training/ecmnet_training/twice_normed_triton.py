"""Two batch norms with PReLU on top of each other, in training mode, on a GPU.

    a = PReLU(BN(x)),   y = PReLU(BN'(a))

a never lies in memory: each pass over x works it out anew. Layout and formulas are those of
norm_formulas.py, c is a power of two. Sums that depend on each other take a pass each: two and one
that writes y forward, two and one that writes dx backward.
"""

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from .channel_sums_triton import add_sums
from .layers import BN_EPS
from .norm_formulas import (
    activated,
    add_gradients,
    add_stats,
    backward_terms_of,
    move_running,
    terms_of,
    through_activation,
    through_norm,
)
from .tiles_triton import launch

if TYPE_CHECKING:
    from .layers import BNPReLU

_TILE = 2048


def twice_normed(x: Tensor, first: "BNPReLU", second: "BNPReLU") -> Tensor:
    """y `[b, c, h, w]` with the batch's statistics; moves the running ones."""
    return _TwiceNormed.apply(
        x.contiguous(memory_format=torch.channels_last),
        [(m.bn.running_mean, m.bn.running_var, m.bn.momentum) for m in (first, second)],
        *(t for m in (first, second) for t in (m.bn.weight, m.bn.bias, m.act.weight)),
    )


class _TwiceNormed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        x: Tensor,
        running: list[tuple[Tensor, Tensor, float]],
        *small: Tensor,
    ) -> Tensor:
        c = x.shape[1]
        rows = x.numel() // c
        params = torch.stack(small)
        stats = params.new_zeros(4, c)
        y = torch.empty_like(x)
        add_sums(x, stats)
        _launch(_sums_behind, rows, x, params, stats, C=c)
        _launch(_apply, rows, x, params, stats, y, C=c)
        for of_norm, (mean, variance, momentum) in zip(stats.split(2), running, strict=True):
            move_running[(1,)](of_norm, mean, variance, rows, momentum, C=c, CP=c)
        ctx.save_for_backward(x, params, stats)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        x, params, stats = ctx.saved_tensors
        c = x.shape[1]
        rows = x.numel() // c
        dy = dy.contiguous(memory_format=torch.channels_last)
        grads, dx = torch.zeros_like(params), torch.empty_like(x)
        _launch(_gradient_sums, rows, dy, x, params, stats, grads, SECOND=True, C=c)
        _launch(_gradient_sums, rows, dy, x, params, stats, grads, SECOND=False, C=c)
        _launch(_input_gradient, rows, dy, x, params, stats, grads, dx, C=c)
        return dx, None, *grads


def _launch(kernel: triton.JITFunction, rows: int, *tensors: Tensor, C: int, **more: bool) -> None:
    tile_rows = _TILE // C
    launch(kernel, triton.cdiv(rows, tile_rows), *tensors, rows, BN_EPS, C=C, R=tile_rows, **more)


@triton.jit
def _load(ptr, tile, rows, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    """(a tile's values, zero beyond the last row, their places, which are there)."""
    p = (tile * R + tl.arange(0, R))[:, None]
    at = p.to(tl.int64) * C + tl.arange(0, C)[None, :]
    return tl.load(ptr + at, mask=p < rows, other=0.0), at, p < rows


@triton.jit(do_not_specialize=["rows"])
def _sums_behind(x_ptr, params_ptr, stats_ptr, rows, eps, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    """Those of a."""
    c = tl.arange(0, C)
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c[None, :], c[None, :] < C, rows, eps, C)
    first = tl.zeros((R, C), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        x, _, ok = _load(x_ptr, tile, rows, C, R)
        a = tl.where(ok, activated(x, scale, shift, slope), 0.0)
        first += a
        second += a * a
    add_stats(stats_ptr + 2 * C, c, c < C, tl.sum(first, 0), tl.sum(second, 0), C)


@triton.jit(do_not_specialize=["rows"])
def _apply(x_ptr, params_ptr, stats_ptr, y_ptr, rows, eps, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)[None, :]
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c, c < C, rows, eps, C)
    scale2, shift2, slope2 = terms_of(params_ptr + 3 * C, stats_ptr + 2 * C, c, c < C, rows, eps, C)
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        x, at, ok = _load(x_ptr, tile, rows, C, R)
        y = activated(activated(x, scale, shift, slope), scale2, shift2, slope2)
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["rows"])
def _gradient_sums(  # noqa: ANN202
    dy_ptr, x_ptr, params_ptr, stats_ptr, grads_ptr, rows, eps,  # noqa: ANN001
    SECOND: tl.constexpr, C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Adds to the gradients of the second norm, or, from those, to the first one's."""
    c = tl.arange(0, C)
    c2 = c[None, :]
    params2_ptr, stats2_ptr, grads2_ptr = params_ptr + 3 * C, stats_ptr + 2 * C, grads_ptr + 3 * C
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c2, c2 < C, rows, eps, C)
    scale2, shift2, slope2, of_a, constant = backward_terms_of(
        params2_ptr, stats2_ptr, grads2_ptr, c2, c2 < C, rows, eps, C
    )
    of_dz = tl.zeros((R, C), tl.float32)
    of_dz_x, of_slope = of_dz, of_dz
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        dy, _, ok = _load(dy_ptr, tile, rows, C, R)
        x, _, _ = _load(x_ptr, tile, rows, C, R)
        a = activated(x, scale, shift, slope)
        if SECOND:
            # Rows beyond the last have dy = 0.
            dz, dz_x, for_slope = through_activation(dy.to(tl.float32), a, scale2, shift2, slope2)
        else:
            da = through_norm(dy.to(tl.float32), a, scale2, shift2, slope2, of_a, constant)
            da = tl.where(ok, da, 0.0)
            dz, dz_x, for_slope = through_activation(da, x, scale, shift, slope)
        of_dz += dz
        of_dz_x += dz_x
        of_slope += for_slope
    sums = (tl.sum(of_dz, 0), tl.sum(of_dz_x, 0), tl.sum(of_slope, 0))
    if SECOND:
        add_gradients(grads2_ptr, stats2_ptr, c, c < C, sums[0], sums[1], sums[2], rows, eps, C)
    else:
        add_gradients(grads_ptr, stats_ptr, c, c < C, sums[0], sums[1], sums[2], rows, eps, C)


@triton.jit(do_not_specialize=["rows"])
def _input_gradient(  # noqa: ANN202
    dy_ptr, x_ptr, params_ptr, stats_ptr, grads_ptr, dx_ptr, rows, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)[None, :]
    scale, shift, slope, of_x, constant = backward_terms_of(
        params_ptr, stats_ptr, grads_ptr, c, c < C, rows, eps, C
    )
    scale2, shift2, slope2, of_a, constant2 = backward_terms_of(
        params_ptr + 3 * C, stats_ptr + 2 * C, grads_ptr + 3 * C, c, c < C, rows, eps, C
    )
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        dy, at, ok = _load(dy_ptr, tile, rows, C, R)
        x, _, _ = _load(x_ptr, tile, rows, C, R)
        a = activated(x, scale, shift, slope)
        da = through_norm(dy.to(tl.float32), a, scale2, shift2, slope2, of_a, constant2)
        dx = through_norm(da, x, scale, shift, slope, of_x, constant)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=ok)
