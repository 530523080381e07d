"""MSAU's gate and the sum behind it in training mode, on a GPU.

    out = x + (E (t g) + e) q,   g = sigmoid(gate(mean over lines of t))

x and out are `[b, c, h, w]`, t has half the channels, q is `[b, c]`. g has one value a column
`[b, w, c / 2]`; the gate is a convolution along it, of which only the middle line of weights acts.
Pictures are channels-last rows, sums f32. A program walks along `LINES` lines of one picture's
columns and holds what it sums over them in registers. c is at most 16, so that all channels,
padded, are one side of the matrix units.
"""

from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from .tiles_triton import LEAST_SUMMED

_LINES = 9
_WIDEST = 64
_GATE_COLUMNS = 32
_CHANNELS = 16


def gated_sum(x: Tensor, t: Tensor, q: Tensor, gate: nn.Conv2d, expand: nn.Conv2d) -> Tensor:
    """out `[b, c, h, w]` in x's dtype."""
    rows = torch.channels_last
    x, t = x.contiguous(memory_format=rows), t.contiguous(memory_format=rows)
    if x.shape[1] > _CHANNELS or t.dtype != x.dtype:
        raise ValueError(f"{x.shape[1]} channels ({_CHANNELS} at most) of {x.dtype}, {t.dtype}")
    return _GatedSum.apply(x, t, q, gate.weight, gate.bias, expand.weight, expand.bias)


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, t: Tensor, q: Tensor, *weights: Tensor) -> Tensor:  # noqa: ANN001
        b, c, h, w = x.shape
        half = t.shape[1]
        grid, gate_grid, sizes = _grids(x)
        gate_w, gate_b, expand_w, expand_b = weights
        sums, gates = q.new_zeros(b, w, half), q.new_empty(b, w, half)
        out = torch.empty_like(x)
        _sum_columns[grid](t, sums, h, w, C=half, CP=_CHANNELS, **sizes)
        _gate[gate_grid](
            sums, gate_w, gate_b, gates, h, w, **_along_columns(gate_w),
            C=half, CP=_CHANNELS, R=_GATE_COLUMNS,
        )  # fmt: skip
        _expand[grid](
            x, t, gates, q, expand_w, expand_b, out, h, w,
            C=half, CP=_CHANNELS, CO=c, COP=_CHANNELS, **sizes,
        )  # fmt: skip
        ctx.save_for_backward(t, q, sums, gates, *weights)
        return out

    @staticmethod
    def backward(ctx, dout: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN001
        t, q, sums, gates, *weights = ctx.saved_tensors
        gate_w, _, expand_w, expand_b = weights
        dout = dout.contiguous(memory_format=torch.channels_last)
        _, c, h, w = dout.shape
        half = t.shape[1]
        grid, gate_grid, sizes = _grids(dout)
        dq, dgates, *dweights = _zeros_like(q, gates, *weights)
        dgate_w, dgate_b, dexpand_w, dexpand_b = dweights
        dt, dcolumns = torch.empty_like(t), torch.empty_like(gates)
        _expand_backward[grid](
            dout, t, gates, q, expand_w, expand_b, dt, dgates, dq, dexpand_w, dexpand_b, h, w,
            C=half, CP=_CHANNELS, CO=c, COP=_CHANNELS, **sizes, num_stages=2,
        )  # fmt: skip
        _gate_backward[gate_grid](
            dgates, gates, sums, gate_w, dcolumns, dgate_w, dgate_b, h, w,
            **_along_columns(gate_w), C=half, CP=_CHANNELS, R=_GATE_COLUMNS,
        )  # fmt: skip
        dt += dcolumns.transpose(1, 2)[:, :, None]
        return dout, dt, dq, *dweights


def _grids(x: Tensor) -> tuple[tuple[int, int, int], tuple[int, int], dict[str, int]]:
    """Programs (along the height, along the width, pictures), those of the gates, tile sizes."""
    b, _, h, w = x.shape
    columns = min(max(triton.next_power_of_2(w), LEAST_SUMMED), _WIDEST)
    tiles = triton.cdiv(w, columns)
    gate_grid = (triton.cdiv(w, _GATE_COLUMNS), b)
    return (triton.cdiv(h, _LINES), tiles, b), gate_grid, {"R": columns, "LINES": _LINES}


def _along_columns(weight: Tensor) -> dict[str, int]:
    """How the gate's middle line of weights lies."""
    return {
        "W_O": weight.stride(0),
        "W_I": weight.stride(1),
        "W_X": weight.stride(3),
        "W_FIRST": weight.shape[2] // 2 * weight.stride(2),
        "TAPS": weight.shape[3],
    }


def _zeros_like(*tensors: Tensor) -> list[Tensor]:
    """Zeros of each one's shape and strides, all in one tensor."""
    places = list(accumulate((-(-t.numel() // 4) * 4 for t in tensors), initial=0))
    zeros = tensors[0].new_zeros(places[-1])
    return [
        zeros.as_strided(t.shape, t.stride(), at) for t, at in zip(tensors, places, strict=False)
    ]


_SIZES = ["height", "width"]


@triton.jit
def _columns(R: tl.constexpr):  # noqa: ANN202
    """(columns `[R, 1]` of a program whose second place is theirs, its picture)."""
    return (tl.program_id(1) * R + tl.arange(0, R))[:, None], tl.program_id(2).to(tl.int64)


@triton.jit(do_not_specialize=_SIZES)
def _sum_columns(  # noqa: ANN202
    t_ptr, sums_ptr, height, width,  # noqa: ANN001
    C: tl.constexpr, CP: tl.constexpr, R: tl.constexpr, LINES: tl.constexpr,
):  # fmt: skip
    x, image = _columns(R)
    c = tl.arange(0, CP)[None, :]
    ok = (x < width) & (c < C)
    first = tl.program_id(0) * LINES
    total = tl.zeros((R, CP), tl.float32)
    for line in range(first, tl.minimum(first + LINES, height)):
        at = ((image * height + line) * width + x) * C + c
        total += tl.load(t_ptr + at, mask=ok, other=0.0).to(tl.float32)
    tl.atomic_add(sums_ptr + (image * width + x) * C + c, total, mask=ok, sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def _gate(  # noqa: ANN202
    sums_ptr, w_ptr, bias_ptr, gates_ptr, height, width,  # noqa: ANN001
    W_O: tl.constexpr, W_I: tl.constexpr, W_X: tl.constexpr, W_FIRST: tl.constexpr,
    TAPS: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    x = (tl.program_id(0) * R + tl.arange(0, R))[:, None]
    first = tl.program_id(1).to(tl.int64) * width
    i, o = tl.arange(0, CP)[:, None], tl.arange(0, CP)[None, :]
    a = tl.zeros((R, CP), tl.float32) + tl.load(bias_ptr + o, mask=o < C, other=0.0)
    for k in tl.static_range(TAPS):
        near = x + k - TAPS // 2
        ok = (near >= 0) & (near < width) & (o < C)
        mean = tl.load(sums_ptr + (first + near) * C + o, mask=ok, other=0.0) / height
        w_at = W_FIRST + o * W_O + i * W_I + k * W_X
        w = tl.load(w_ptr + w_at, mask=(i < C) & (o < C), other=0.0)
        a = tl.dot(mean, w, a, input_precision="ieee")
    ok = (x < width) & (o < C)
    tl.store(gates_ptr + (first + x) * C + o, tl.sigmoid(a), mask=ok)


@triton.jit
def _before_sigmoid(dgates_ptr, gates_ptr, at, ok):  # noqa: ANN001, ANN202
    g = tl.load(gates_ptr + at, mask=ok, other=0.0)
    return tl.load(dgates_ptr + at, mask=ok, other=0.0) * g * (1.0 - g)


@triton.jit(do_not_specialize=_SIZES)
def _gate_backward(  # noqa: ANN202
    dgates_ptr, gates_ptr, sums_ptr, w_ptr, dcolumns_ptr, dw_ptr, dbias_ptr,  # noqa: ANN001
    height, width,  # noqa: ANN001
    W_O: tl.constexpr, W_I: tl.constexpr, W_X: tl.constexpr, W_FIRST: tl.constexpr,
    TAPS: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Writes `dcolumns`, the gradient of each t of a column by way of its mean."""
    x = (tl.program_id(0) * R + tl.arange(0, R))[:, None]
    first = tl.program_id(1).to(tl.int64) * width
    i, o = tl.arange(0, CP)[:, None], tl.arange(0, CP)[None, :]
    inside = (i < C) & (o < C)
    da = _before_sigmoid(dgates_ptr, gates_ptr, (first + x) * C + o, (x < width) & (o < C))
    c = tl.arange(0, CP)
    tl.atomic_add(dbias_ptr + c, tl.sum(da, 0), mask=c < C, sem="relaxed")
    dmean = tl.zeros((R, CP), tl.float32)
    for k in tl.static_range(TAPS):
        near = x + k - TAPS // 2
        ok = (near >= 0) & (near < width) & (o < C)
        mean = tl.load(sums_ptr + (first + near) * C + o, mask=ok, other=0.0) / height
        dw = tl.dot(tl.trans(mean), da, input_precision="ieee")
        dw_at = W_FIRST + o * W_O + i * W_I + k * W_X
        tl.atomic_add(dw_ptr + dw_at, dw, mask=inside, sem="relaxed")
        near = x - k + TAPS // 2
        ok = (near >= 0) & (near < width) & (o < C)
        there = _before_sigmoid(dgates_ptr, gates_ptr, (first + near) * C + o, ok)
        # Here lines are outputs, columns inputs.
        w_at = W_FIRST + i * W_O + o * W_I + k * W_X
        w = tl.load(w_ptr + w_at, mask=inside, other=0.0)
        dmean = tl.dot(there, w, dmean, input_precision="ieee")
    tl.store(dcolumns_ptr + (first + x) * C + o, dmean / height, mask=(x < width) & (o < C))


@triton.jit(do_not_specialize=_SIZES)
def _expand(  # noqa: ANN202
    x_ptr, t_ptr, gates_ptr, q_ptr, w_ptr, bias_ptr, out_ptr, height, width,  # noqa: ANN001
    C: tl.constexpr, CP: tl.constexpr, CO: tl.constexpr, COP: tl.constexpr,
    R: tl.constexpr, LINES: tl.constexpr,
):  # fmt: skip
    kind = out_ptr.dtype.element_ty
    x, image = _columns(R)
    c, o = tl.arange(0, CP)[None, :], tl.arange(0, COP)[None, :]
    i = tl.arange(0, CP)[:, None]
    w = tl.load(w_ptr + o * C + i, mask=(i < C) & (o < CO), other=0.0).to(kind)
    bias = tl.load(bias_ptr + o, mask=o < CO, other=0.0)
    q = tl.load(q_ptr + image * CO + o, mask=o < CO, other=0.0)
    t_ok, ok = (x < width) & (c < C), (x < width) & (o < CO)
    gate = tl.load(gates_ptr + (image * width + x) * C + c, mask=t_ok, other=0.0)
    first = tl.program_id(0) * LINES
    for line in range(first, tl.minimum(first + LINES, height)):
        p = (image * height + line) * width + x
        t = tl.load(t_ptr + p * C + c, mask=t_ok, other=0.0)
        y = tl.dot((t.to(tl.float32) * gate).to(kind), w, input_precision="ieee") + bias
        out = tl.load(x_ptr + p * CO + o, mask=ok, other=0.0).to(tl.float32) + y * q
        tl.store(out_ptr + p * CO + o, out.to(kind), mask=ok)


@triton.jit(do_not_specialize=_SIZES)
def _expand_backward(  # noqa: ANN202
    dout_ptr, t_ptr, gates_ptr, q_ptr, w_ptr, bias_ptr,  # noqa: ANN001
    dt_ptr, dgates_ptr, dq_ptr, dw_ptr, dbias_ptr, height, width,  # noqa: ANN001
    C: tl.constexpr, CP: tl.constexpr, CO: tl.constexpr, COP: tl.constexpr,
    R: tl.constexpr, LINES: tl.constexpr,
):  # fmt: skip
    """Writes t's gradient by way of the product with g, without that by way of g."""
    kind = dt_ptr.dtype.element_ty
    x, image = _columns(R)
    c, o = tl.arange(0, CP)[None, :], tl.arange(0, COP)[None, :]
    i = tl.arange(0, CP)[:, None]
    w_at, inside = o * C + i, (i < C) & (o < CO)
    w = tl.load(w_ptr + w_at, mask=inside, other=0.0).to(kind)
    bias = tl.load(bias_ptr + o, mask=o < CO, other=0.0)
    q = tl.load(q_ptr + image * CO + o, mask=o < CO, other=0.0)
    t_ok, ok = (x < width) & (c < C), (x < width) & (o < CO)
    gate_at = (image * width + x) * C + c
    gate = tl.load(gates_ptr + gate_at, mask=t_ok, other=0.0)
    dgate = tl.zeros((R, CP), tl.float32)
    dq = tl.zeros((R, COP), tl.float32)
    dbias = dq
    dw = tl.zeros((CP, COP), tl.float32)
    first = tl.program_id(0) * LINES
    for line in range(first, tl.minimum(first + LINES, height)):
        p = (image * height + line) * width + x
        t = tl.load(t_ptr + p * C + c, mask=t_ok, other=0.0).to(tl.float32)
        dout = tl.load(dout_ptr + p * CO + o, mask=ok, other=0.0).to(tl.float32)
        gated = (t * gate).to(kind)
        dq += dout * (tl.dot(gated, w, input_precision="ieee") + bias)
        dy = dout * q
        dbias += dy
        dy = dy.to(kind)
        dw = tl.dot(tl.trans(gated), dy, dw, input_precision="ieee")
        dgated = tl.dot(dy, tl.trans(w), input_precision="ieee")
        dgate += dgated * t
        tl.store(dt_ptr + p * C + c, (dgated * gate).to(kind), mask=t_ok)
    tl.atomic_add(dgates_ptr + gate_at, dgate, mask=t_ok, sem="relaxed")
    o = tl.arange(0, COP)
    tl.atomic_add(dq_ptr + image * CO + o, tl.sum(dq, 0), mask=o < CO, sem="relaxed")
    tl.atomic_add(dbias_ptr + o, tl.sum(dbias, 0), mask=o < CO, sem="relaxed")
    tl.atomic_add(dw_ptr + w_at, dw, mask=inside, sem="relaxed")
