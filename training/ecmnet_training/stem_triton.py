"""The network's first layer in training mode, 3x3 convolution, batch norm and PReLU, on a GPU.

    y[p, o] = sum_k sum_i w[o, i, k] image[s p + k, i],   a = PReLU(BN(y))

k runs over the nine neighbours, zero outside the picture. A library pads the three channels to
eight first; here a pixel's 27 values are one row of a matrix. The norm's sums are taken by the
kernel that writes y, and the gradient goes through the norm where the weights' gradient is summed.
Layout and formulas are those of norm_formulas.py; the images are f32, channels last, rounded to
y's dtype.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from .layers import BN_EPS
from .norm_formulas import (
    activated,
    add_gradients,
    add_stats,
    backward_terms_of,
    move_running,
    rows_summed,
    sum_all,
    terms_of,
    threads_sums,
    through_activation,
    through_norm,
)
from .tiles_triton import LEAST_SUMMED, launch, line_tiles, place_of_tile

_TILE = 4096


def stem_layer(images: Tensor, layer: nn.Sequential, dtype: torch.dtype) -> Tensor:
    """a `[b, c, h / s, w / s]` in `dtype` of f32 `images` `[b, 3, h, w]`; moves running statistics.

    `layer` is a `conv_act`; the images get no gradient.
    """
    conv, act = layer
    images = images.contiguous(memory_format=torch.channels_last)
    return _StemLayer.apply(
        images, conv.stride[0], dtype, act.bn.running_mean, act.bn.running_var, act.bn.momentum,
        conv.weight, act.bn.weight, act.bn.bias, act.act.weight,
    )  # fmt: skip


class _StemLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        images: Tensor,
        stride: int,
        dtype: torch.dtype,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        weight: Tensor,
        *small: Tensor,
    ) -> Tensor:
        b, _, height, width = images.shape
        c = weight.shape[0]
        size = (b, c, (height - 1) // stride + 1, (width - 1) // stride + 1)
        params = torch.stack(small)
        stats = params.new_zeros(2, c)
        y, a = (
            torch.empty(size, dtype=dtype, device=images.device, memory_format=torch.channels_last)
            for _ in range(2)
        )
        pixels, tiles, warps = line_tiles(y.shape, _TILE, LEAST_SUMMED)
        launch(
            _convolve, tiles, images, weight, y, stats, tiles, *y.shape[2:], height, width,
            *weight.stride(), S=stride, C=c, R=pixels, ROWS=rows_summed(pixels),
            num_warps=warps, num_stages=1,
        )  # fmt: skip
        rows, tile_rows = y.numel() // c, _TILE // c
        launch(
            _activate, triton.cdiv(rows, tile_rows), y, params, stats, a, rows, BN_EPS,
            C=c, R=tile_rows,
        )  # fmt: skip
        move_running[(1,)](stats, running_mean, running_var, rows, momentum, C=c, CP=c)
        ctx.stride = stride
        ctx.save_for_backward(images, y, params, stats, weight)
        return a

    @staticmethod
    def backward(ctx, da: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        images, y, params, stats, weight = ctx.saved_tensors
        da = da.contiguous(memory_format=torch.channels_last)
        c = y.shape[1]
        rows, tile_rows = y.numel() // c, _TILE // c
        grads, dweight = torch.zeros_like(params), torch.zeros_like(weight)
        launch(
            _norm_sums, triton.cdiv(rows, tile_rows), da, y, params, stats, grads, rows, BN_EPS,
            C=c, R=tile_rows,
        )  # fmt: skip
        pixels, tiles, warps = line_tiles(y.shape, _TILE, LEAST_SUMMED)
        launch(
            _weight_gradient, tiles, da, y, params, stats, grads, images, dweight,
            tiles, rows, *y.shape[2:], *images.shape[2:], BN_EPS,
            *weight.stride(), S=ctx.stride, C=c, R=pixels, num_warps=warps, num_stages=1,
        )  # fmt: skip
        return None, None, None, None, None, None, dweight, *grads


_SIZES = ["tiles", "rows", "height", "width", "image_height", "image_width"]


@triton.jit(do_not_specialize=_SIZES)
def _activate(  # noqa: ANN202
    y_ptr, params_ptr, stats_ptr, a_ptr, rows, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)[None, :]
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c, c < C, rows, eps, C)
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        p = tile * R + tl.arange(0, R)
        at = p.to(tl.int64)[:, None] * C + c
        ok = (p < rows)[:, None]
        y = tl.load(y_ptr + at, mask=ok, other=0.0)
        a = activated(y, scale, shift, slope)
        tl.store(a_ptr + at, a.to(a_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=_SIZES)
def _norm_sums(  # noqa: ANN202
    da_ptr, y_ptr, params_ptr, stats_ptr, grads_ptr, rows, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    c2 = c[None, :]
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c2, c2 < C, rows, eps, C)
    of_dz = tl.zeros((R, C), tl.float32)
    of_dz_y, of_slope = of_dz, of_dz
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        p = tile * R + tl.arange(0, R)
        at = p.to(tl.int64)[:, None] * C + c2
        ok = (p < rows)[:, None]
        da = tl.load(da_ptr + at, mask=ok, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + at, mask=ok, other=0.0)
        # Rows beyond the last have da = 0.
        dz, dz_y, for_slope = through_activation(da, y, scale, shift, slope)
        of_dz += dz
        of_dz_y += dz_y
        of_slope += for_slope
    add_gradients(
        grads_ptr, stats_ptr, c, c < C,
        tl.sum(of_dz, 0), tl.sum(of_dz_y, 0), tl.sum(of_slope, 0), rows, eps, C,
    )  # fmt: skip


@triton.jit
def _neighbourhood(  # noqa: ANN202
    image_ptr, line, column, height, width, image_height, image_width,  # noqa: ANN001
    S: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """The 27 values around each pixel of the tile, `[R, 32]`: tap after tap, three channels."""
    k = tl.arange(0, 32)[None, :]
    y = line % height * S + k // 9 - 1
    x = column[:, None] * S + k // 3 % 3 - 1
    ok = (k < 27) & (column < width)[:, None]
    ok = ok & (y >= 0) & (y < image_height) & (x >= 0) & (x < image_width)
    image_ptr += (line // height).to(tl.int64) * image_height * image_width * 3
    return tl.load(image_ptr + (y * image_width + x) * 3 + k % 3, mask=ok, other=0.0)


@triton.jit
def _places(w_ptr, w_o, w_i, w_y, w_x, k, o):  # noqa: ANN001, ANN202
    """Places of w for the 32 values of `_neighbourhood` and outputs `o`."""
    return w_ptr + k % 3 * w_i + k // 9 * w_y + k // 3 % 3 * w_x + o * w_o


@triton.jit(do_not_specialize=_SIZES)
def _convolve(  # noqa: ANN202
    image_ptr, w_ptr, y_ptr, stats_ptr, tiles,  # noqa: ANN001
    height, width, image_height, image_width,  # noqa: ANN001
    W_O: tl.constexpr, W_I: tl.constexpr, W_Y: tl.constexpr, W_X: tl.constexpr,
    S: tl.constexpr, C: tl.constexpr, R: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    kind = y_ptr.dtype.element_ty
    k, o = tl.arange(0, 32)[:, None], tl.arange(0, C)
    w_ptrs = _places(w_ptr, W_O, W_I, W_Y, W_X, k, o[None, :])
    w = tl.load(w_ptrs, mask=(k < 27) & (o < C)[None, :], other=0.0).to(kind)
    first = tl.zeros((R // ROWS, 8, C), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        a = _neighbourhood(image_ptr, line, column, height, width, image_height, image_width, S, R)
        y = tl.dot(a.to(kind), w, input_precision="ieee")
        ok = (column < width)[:, None]
        at = (line * width).to(tl.int64) * C + column[:, None] * C + o[None, :]
        tl.store(y_ptr + at, y.to(kind), mask=ok)
        kept = tl.where(ok, y, 0.0)
        first += threads_sums(kept, ROWS)
        second += threads_sums(kept * kept, ROWS)
    add_stats(stats_ptr, o, o < C, sum_all(first), sum_all(second), C)


@triton.jit(do_not_specialize=_SIZES)
def _weight_gradient(  # noqa: ANN202
    da_ptr, y_ptr, params_ptr, stats_ptr, grads_ptr, image_ptr, dw_ptr,  # noqa: ANN001
    tiles, rows, height, width, image_height, image_width, eps,  # noqa: ANN001
    W_O: tl.constexpr, W_I: tl.constexpr, W_Y: tl.constexpr, W_X: tl.constexpr,
    S: tl.constexpr, C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """From the gradient of a, through its norm, that of w."""
    kind = y_ptr.dtype.element_ty
    k, o = tl.arange(0, 32)[:, None], tl.arange(0, C)[None, :]
    scale, shift, slope, of_y, constant = backward_terms_of(
        params_ptr, stats_ptr, grads_ptr, o, o < C, rows, eps, C
    )
    dw = tl.zeros((32, C), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        a = _neighbourhood(image_ptr, line, column, height, width, image_height, image_width, S, R)
        at = (line * width).to(tl.int64) * C + column[:, None] * C + o
        ok = (column < width)[:, None]
        da = tl.load(da_ptr + at, mask=ok, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + at, mask=ok, other=0.0)
        # Pixels beyond the line's end have a = 0.
        g = through_norm(da, y, scale, shift, slope, of_y, constant).to(kind)
        dw = tl.dot(tl.trans(a.to(kind)), g, dw, input_precision="ieee")
    dw_ptrs = _places(dw_ptr, W_O, W_I, W_Y, W_X, k, o)
    tl.atomic_add(dw_ptrs, dw, mask=(k < 27) & (o < C), sem="relaxed")
