"""Depthwise 3x1 and 1x3 convolutions with dilation, fused, on a GPU.

    y[p, c] = sum_k w[c, k] x[p + (k - 1) step, c],   zero outside the picture

Tensors are channels-last rows `[p, c]`, c a power of two. `step` is dilation rows or columns. The
backward pass is one kernel: dx from three shifted reads of dy, and with the same reads the partial
sums of dw_k = sum_p x[p] dy[p - (k - 1) step].
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .norm_triton import blocks_for, total


def depthwise_three(x: Tensor, weight: Tensor, *, dilation: tuple[int, ...]) -> Tensor:
    """`[b, c, h, w]` with `weight` `[c, 1, 3, 1]` or `[c, 1, 1, 3]`, "same" padding, no bias."""
    along_height = weight.shape[2] == 3
    x = x.contiguous(memory_format=torch.channels_last)
    return _DepthwiseThree.apply(x, weight, along_height, dilation[0 if along_height else 1])


class _DepthwiseThree(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, along_height: bool, dilation: int) -> Tensor:  # noqa: ANN001
        _, channels, height, width = x.shape
        rows = x.numel() // channels
        tile_rows, _ = blocks_for(rows, channels)
        ctx.axis = (width, height) if along_height else (1, width)
        ctx.dilation = dilation
        ctx.save_for_backward(x, weight)
        y = torch.empty_like(x)
        _forward[(triton.cdiv(rows, tile_rows),)](
            x, weight, y, rows, *ctx.axis, dilation, C=channels, R=tile_rows
        )
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        x, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        channels = x.shape[1]
        rows = x.numel() // channels
        tile_rows, blocks = blocks_for(rows, channels)
        dx = torch.empty_like(x)
        partial = x.new_empty(blocks, 3, channels, dtype=torch.float32)
        _backward[(blocks,)](
            x, dy, weight, dx, partial, rows, blocks, *ctx.axis, ctx.dilation,
            C=channels, R=tile_rows,
        )  # fmt: skip
        return dx, total(partial).t().reshape(weight.shape), None, None


@triton.jit(do_not_specialize=["rows", "stride", "length", "dilation"])
def _forward(  # noqa: ANN202
    x_ptr, w_ptr, y_ptr, rows, stride, length, dilation,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    p = tl.program_id(0) * R + tl.arange(0, R)
    at = p[:, None] * C + c[None, :]
    ok = p < rows
    place = (p // stride) % length
    y = tl.zeros((R, C), tl.float32)
    for k in tl.static_range(3):
        shift = (k - 1) * dilation
        inside = ok & (place + shift >= 0) & (place + shift < length)
        x = tl.load(x_ptr + at + shift * stride * C, mask=inside[:, None], other=0.0)
        y += x.to(tl.float32) * tl.load(w_ptr + c * 3 + k)[None, :]
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=ok[:, None])


@triton.jit(do_not_specialize=["rows", "blocks", "stride", "length", "dilation"])
def _backward(  # noqa: ANN202
    x_ptr, dy_ptr, w_ptr, dx_ptr, partial_ptr,  # noqa: ANN001
    rows, blocks, stride, length, dilation,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    w0, w1, w2 = tl.load(w_ptr + c * 3), tl.load(w_ptr + c * 3 + 1), tl.load(w_ptr + c * 3 + 2)
    dw0 = tl.zeros((R, C), tl.float32)
    dw1 = tl.zeros((R, C), tl.float32)
    dw2 = tl.zeros((R, C), tl.float32)
    step = dilation * stride * C
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), blocks):
        p = tile * R + tl.arange(0, R)
        at = p[:, None] * C + c[None, :]
        ok = p < rows
        place = (p // stride) % length
        after = ok & (place + dilation < length)
        before = ok & (place - dilation >= 0)
        x = tl.load(x_ptr + at, mask=ok[:, None], other=0.0).to(tl.float32)
        dy0 = tl.load(dy_ptr + at + step, mask=after[:, None], other=0.0).to(tl.float32)
        dy1 = tl.load(dy_ptr + at, mask=ok[:, None], other=0.0).to(tl.float32)
        dy2 = tl.load(dy_ptr + at - step, mask=before[:, None], other=0.0).to(tl.float32)
        dx = dy0 * w0[None, :] + dy1 * w1[None, :] + dy2 * w2[None, :]
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=ok[:, None])
        dw0 += x * dy0
        dw1 += x * dy1
        dw2 += x * dy2
    out = partial_ptr + tl.program_id(0) * 3 * C + c
    tl.store(out, tl.sum(dw0, 0))
    tl.store(out + C, tl.sum(dw1, 0))
    tl.store(out + 2 * C, tl.sum(dw2, 0))
