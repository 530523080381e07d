"""EDAB's pointwise ends on a GPU: the two gates with their sum, and the residual with the shuffle.

    gated:    y = u + l a[b, c] + g sigmoid(r[b, h, c] + q[b, w, c])
    shuffled: y = shuffle(x + residual): the even channels, then the odd ones

Tensors are channels-last rows `[p, c]`, c a power of two.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .norm_triton import blocks_for


def gated_sum(u: Tensor, local: Tensor, wide: Tensor, a: Tensor, r: Tensor, q: Tensor) -> Tensor:
    """u, local, wide `[b, c, h, w]`; a `[b, c]`; r `[b, h, c]` and q `[b, w, c]` before sigmoid."""
    layout = torch.channels_last
    u, local, wide = (t.contiguous(memory_format=layout) for t in (u, local, wide))
    return _GatedSum.apply(u, local, wide, a.contiguous(), r.contiguous(), q.contiguous())


def shuffled_sum(x: Tensor, residual: Tensor) -> Tensor:
    """shuffle(x + residual), both `[b, c, h, w]`."""
    layout = torch.channels_last
    return _ShuffledSum.apply(
        x.contiguous(memory_format=layout), residual.contiguous(memory_format=layout)
    )


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        u: Tensor,
        local: Tensor,
        wide: Tensor,
        a: Tensor,
        r: Tensor,
        q: Tensor,
    ) -> Tensor:
        _, channels, height, width = u.shape
        rows = u.numel() // channels
        tile_rows, _ = blocks_for(rows, channels)
        y = torch.empty_like(u)
        _gated[(triton.cdiv(rows, tile_rows),)](
            u, local, wide, a, r, q, y, rows, height, width, C=channels, R=tile_rows
        )
        ctx.save_for_backward(local, wide, a, r, q)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN001
        local, wide, a, r, q = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        _, channels, height, width = local.shape
        rows = local.numel() // channels
        tile_rows, _ = blocks_for(rows, channels)
        dlocal, dwide, for_a, for_gate = (torch.empty_like(local) for _ in range(4))
        _gated_gradient[(triton.cdiv(rows, tile_rows),)](
            dy, local, wide, a, r, q, dlocal, dwide, for_a, for_gate,
            rows, height, width, C=channels, R=tile_rows,
        )  # fmt: skip
        da = for_a.sum((2, 3), dtype=torch.float32).to(a.dtype)
        dr = for_gate.sum(3, dtype=torch.float32).transpose(1, 2).to(r.dtype)
        dq = for_gate.sum(2, dtype=torch.float32).transpose(1, 2).to(q.dtype)
        return dy, dlocal, dwide, da, dr, dq


class _ShuffledSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, residual: Tensor) -> Tensor:  # noqa: ANN001
        channels = x.shape[1]
        rows = x.numel() // channels
        tile_rows, _ = blocks_for(rows, channels)
        y = torch.empty_like(x)
        grid = (triton.cdiv(rows, tile_rows),)
        _shuffled[grid](x, residual, y, rows, C=channels, R=tile_rows)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN001
        dy = dy.contiguous(memory_format=torch.channels_last)
        channels = dy.shape[1]
        rows = dy.numel() // channels
        tile_rows, _ = blocks_for(rows, channels)
        dx = torch.empty_like(dy)
        _unshuffled[(triton.cdiv(rows, tile_rows),)](dy, dx, rows, C=channels, R=tile_rows)
        return dx, dx


@triton.jit(do_not_specialize=["rows", "height", "width"])
def _gated(  # noqa: ANN202
    u_ptr, l_ptr, g_ptr, a_ptr, r_ptr, q_ptr, y_ptr, rows, height, width,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = (p < rows)[:, None]
    at = p[:, None] * C + c[None, :]
    line = p // width
    image = line // height
    column = image * width + p % width
    u = tl.load(u_ptr + at, mask=ok, other=0.0).to(tl.float32)
    local = tl.load(l_ptr + at, mask=ok, other=0.0).to(tl.float32)
    wide = tl.load(g_ptr + at, mask=ok, other=0.0).to(tl.float32)
    a = tl.load(a_ptr + image[:, None] * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
    r = tl.load(r_ptr + line[:, None] * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
    q = tl.load(q_ptr + column[:, None] * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
    y = u + local * a + wide * tl.sigmoid(r + q)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["rows", "height", "width"])
def _gated_gradient(  # noqa: ANN202
    dy_ptr, l_ptr, g_ptr, a_ptr, r_ptr, q_ptr,  # noqa: ANN001
    dl_ptr, dg_ptr, for_a_ptr, for_gate_ptr, rows, height, width,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = (p < rows)[:, None]
    at = p[:, None] * C + c[None, :]
    line = p // width
    image = line // height
    column = image * width + p % width
    dy = tl.load(dy_ptr + at, mask=ok, other=0.0).to(tl.float32)
    local = tl.load(l_ptr + at, mask=ok, other=0.0).to(tl.float32)
    wide = tl.load(g_ptr + at, mask=ok, other=0.0).to(tl.float32)
    a = tl.load(a_ptr + image[:, None] * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
    r = tl.load(r_ptr + line[:, None] * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
    q = tl.load(q_ptr + column[:, None] * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
    gate = tl.sigmoid(r + q)
    kind = dl_ptr.dtype.element_ty
    tl.store(dl_ptr + at, (dy * a).to(kind), mask=ok)
    tl.store(dg_ptr + at, (dy * gate).to(kind), mask=ok)
    tl.store(for_a_ptr + at, (dy * local).to(kind), mask=ok)
    tl.store(for_gate_ptr + at, (dy * wide * gate * (1 - gate)).to(kind), mask=ok)


@triton.jit(do_not_specialize=["rows"])
def _shuffled(x_ptr, residual_ptr, y_ptr, rows, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)
    source = tl.where(c < C // 2, 2 * c, 2 * c - C + 1)
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = (p < rows)[:, None]
    at = p[:, None] * C + source[None, :]
    x = tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32)
    residual = tl.load(residual_ptr + at, mask=ok, other=0.0).to(tl.float32)
    out = y_ptr + p[:, None] * C + c[None, :]
    tl.store(out, (x + residual).to(y_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["rows"])
def _unshuffled(dy_ptr, dx_ptr, rows, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)
    source = c // 2 + (c % 2) * (C // 2)
    p = tl.program_id(0) * R + tl.arange(0, R)
    ok = (p < rows)[:, None]
    dy = tl.load(dy_ptr + p[:, None] * C + source[None, :], mask=ok, other=0.0)
    tl.store(dx_ptr + p[:, None] * C + c[None, :], dy, mask=ok)
