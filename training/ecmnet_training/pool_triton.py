"""Maximum of 2x2 pixels (the last line or column alone where there is an odd one), on a GPU.

Tensors are rows `[p, c]` of channels-last pictures. The gradient goes to the first of equal maxima,
as PyTorch's does, found anew from the input.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles_triton import launch, line_tiles, place_of_tile

_TILE = 2048


def max_pool_2x2(x: Tensor) -> Tensor:
    """`[b, c, h, w] -> [b, c, ceil(h / 2), ceil(w / 2)]`; c is a power of two."""
    return _MaxPool.apply(x.contiguous(memory_format=torch.channels_last))


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # noqa: ANN001
        b, c, h, w = x.shape
        y = torch.empty(
            b, c, (h + 1) // 2, (w + 1) // 2, dtype=x.dtype, device=x.device,
            memory_format=torch.channels_last,
        )  # fmt: skip
        pixels, tiles, warps = line_tiles(y.shape, _TILE)
        launch(_forward, tiles, x, y, tiles, *y.shape[2:], h, w, C=c, R=pixels, num_warps=warps)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> Tensor:  # noqa: ANN001
        (x,) = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        pixels, tiles, warps = line_tiles(dy.shape, _TILE)
        launch(
            _backward, tiles, x, dy, dx, tiles, *dy.shape[2:], *x.shape[2:],
            C=x.shape[1], R=pixels, num_warps=warps,
        )  # fmt: skip
        return dx


_SIZES = ["tiles", "height", "width", "x_height", "x_width"]


@triton.jit
def _pixel(line, column, k: tl.constexpr, height, x_height, x_width):  # noqa: ANN001, ANN202
    """(row of the k-th of an output pixel's four, whether it lies in the picture)."""
    y, x = line % height * 2 + k // 2, column * 2 + k % 2
    row = (line // height * x_height + y).to(tl.int64) * x_width + x
    return row, (y < x_height) & (x < x_width)


@triton.jit(do_not_specialize=_SIZES)
def _forward(  # noqa: ANN202
    x_ptr, y_ptr, tiles, height, width, x_height, x_width,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)[None, :]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        largest = tl.full((R, C), float("-inf"), tl.float32)
        for k in tl.static_range(4):
            row, ok = _pixel(line, column, k, height, x_height, x_width)
            x = tl.load(x_ptr + row[:, None] * C + c, mask=ok[:, None], other=float("-inf"))
            largest = tl.maximum(largest, x.to(tl.float32))
        at = (line * width).to(tl.int64) * C + column[:, None] * C + c
        y = largest.to(y_ptr.dtype.element_ty)
        tl.store(y_ptr + at, y, mask=(column < width)[:, None])


@triton.jit(do_not_specialize=_SIZES)
def _backward(  # noqa: ANN202
    x_ptr, dy_ptr, dx_ptr, tiles, height, width, x_height, x_width,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)[None, :]
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        largest = tl.full((R, C), float("-inf"), tl.float32)
        first = tl.zeros((R, C), tl.int32)
        for k in tl.static_range(4):
            row, ok = _pixel(line, column, k, height, x_height, x_width)
            x = tl.load(x_ptr + row[:, None] * C + c, mask=ok[:, None], other=float("-inf"))
            first = tl.where(x.to(tl.float32) > largest, k, first)
            largest = tl.maximum(largest, x.to(tl.float32))
        at = (line * width).to(tl.int64) * C + column[:, None] * C + c
        dy = tl.load(dy_ptr + at, mask=(column < width)[:, None], other=0.0)
        for k in tl.static_range(4):
            row, ok = _pixel(line, column, k, height, x_height, x_width)
            dx = tl.where(first == k, dy, 0.0)
            tl.store(dx_ptr + row[:, None] * C + c, dx, mask=ok[:, None])
