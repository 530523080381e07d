"""Bilinear enlargement to exactly twice the size (half-pixel centres), on a GPU.

    y[2i] = 1/4 x[i - 1] + 3/4 x[i],   y[2i + 1] = 3/4 x[i] + 1/4 x[i + 1]   along each axis

Beyond the edge x is its last value. Tensors are rows `[p, c]` of channels-last pictures, sums f32.
The gradient is gathered: each x is in four lines and four columns of y.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles_triton import launch, line_tiles, place_of_tile

_TILE = 2048


def doubled(x: Tensor) -> Tensor:
    """`[b, c, h, w] -> [b, c, 2h, 2w]` of x's dtype; c is a power of two."""
    return _Doubled.apply(x.contiguous(memory_format=torch.channels_last))


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # noqa: ANN001
        b, c, h, w = x.shape
        y = torch.empty(
            b, c, 2 * h, 2 * w, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
        pixels, tiles, warps = line_tiles(y.shape, _TILE)
        launch(_forward, tiles, x, y, tiles, h, w, C=c, R=pixels, num_warps=warps)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:  # noqa: ANN001
        dy = dy.contiguous(memory_format=torch.channels_last)
        b, c, h, w = dy.shape
        dx = torch.empty(
            b, c, h // 2, w // 2, dtype=dy.dtype, device=dy.device,
            memory_format=torch.channels_last,
        )  # fmt: skip
        pixels, tiles, warps = line_tiles(dx.shape, _TILE)
        launch(_backward, tiles, dy, dx, tiles, *dx.shape[2:], C=c, R=pixels, num_warps=warps)
        return dx


@triton.jit(do_not_specialize=["tiles", "height", "width"])
def _forward(x_ptr, y_ptr, tiles, height, width, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)[None, :]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, 2 * width, R)
        image, y = line // (2 * height), line % (2 * height)
        sum_ = tl.zeros((R, C), tl.float32)
        for k in tl.static_range(4):
            # The own pixel, then the neighbour on the side where the fine one lies.
            at_y = y // 2 + (k // 2) * (y % 2 * 2 - 1)
            at_x = column // 2 + (k % 2) * (column % 2 * 2 - 1)
            at_y = tl.minimum(tl.maximum(at_y, 0), height - 1)
            at_x = tl.minimum(tl.maximum(at_x, 0), width - 1)
            row = (image * height + at_y).to(tl.int64) * width + at_x
            ok = (column < 2 * width)[:, None]
            x = tl.load(x_ptr + row[:, None] * C + c, mask=ok, other=0.0)
            sum_ += (0.25 if k // 2 else 0.75) * (0.25 if k % 2 else 0.75) * x.to(tl.float32)
        at = (line * 2 * width).to(tl.int64) * C + column[:, None] * C + c
        ok = (column < 2 * width)[:, None]
        tl.store(y_ptr + at, sum_.to(y_ptr.dtype.element_ty), mask=ok)


@triton.jit
def _share(place, k: tl.constexpr, length):  # noqa: ANN001, ANN202
    """The share that x at `place` has in the k-th of the four y around it, at 2 place + k - 1."""
    share = 0.25 if k % 3 == 0 else 0.75
    if k == 1:
        return tl.where(place == 0, 1.0, share)
    if k == 2:
        return tl.where(place == length - 1, 1.0, share)
    return tl.where((2 * place + k - 1 >= 0) & (2 * place + k - 1 < 2 * length), share, 0.0)


@triton.jit(do_not_specialize=["tiles", "height", "width"])
def _backward(dy_ptr, dx_ptr, tiles, height, width, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)[None, :]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        image, y = line // height, line % height
        sum_ = tl.zeros((R, C), tl.float32)
        for ky in tl.static_range(4):
            share_y = _share(y, ky, height)
            for kx in tl.static_range(4):
                share = share_y * _share(column, kx, width)
                row = (image * 2 * height + 2 * y + ky - 1).to(tl.int64) * 2 * width
                at = (row + 2 * column + kx - 1)[:, None] * C + c
                ok = (column < width) & (share > 0)
                dy = tl.load(dy_ptr + at, mask=ok[:, None], other=0.0)
                sum_ += share[:, None] * dy.to(tl.float32)
        at = (line * width).to(tl.int64) * C + column[:, None] * C + c
        tl.store(dx_ptr + at, sum_.to(dx_ptr.dtype.element_ty), mask=(column < width)[:, None])
