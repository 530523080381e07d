"""SS2D's four scans of a picture and their step sizes as one kernel, forward and backward, in f32.

    delta = softplus(W_k r_k[p] + bias_k),   s = exp(delta A_k) s + delta x[p] B_k[p]
    y_k[p] = C_k[p] . s + D_k x[p],   p along direction k of ss2d.py

r, B and C of a pixel lie behind one another in `projected`, for k = 0..3. Nothing is turned or
copied: each direction has its own way from step to pixel. A program (one warp) owns `BLOCK_D`
channels of one (image, direction) and walks `STEPS` steps at a time: their values are read at once,
then the state `[d, n]` goes through them in registers. The forward pass keeps the state in front of
each such run, from which the backward pass repeats it. `BLOCK_D` and n are less than a warp's
threads, so that a vector is read anew in any layout rather than moved between threads.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .scan import DIRECTIONS

BLOCK_D = 16
STEPS = 4
_REGISTERS = 168
"""Twelve warps a multiprocessor instead of eight are worth the backward pass's spills."""
_LOG2_E = math.log2(math.e)
_LN_2 = tl.constexpr(math.log(2))


def four_way_scan(
    x: Tensor, projected: Tensor, *, dt_weight: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor
) -> Tensor:
    """The sum of y_k over the directions, `[b, h, w, d]` f32.

    x `[b, h, w, d]`; projected `[b, h w, k (rank + 2 n)]` f32; dt_weight `[k, d, rank]`; dt_bias
    and D `[k, d]`; A `[k, d, n]`, negative. h w is at most 2^20, n a power of two.
    """
    # One rank's weights behind one another; powers of two are what a GPU takes.
    dt_weight, A = dt_weight.transpose(1, 2).contiguous(), (A * _LOG2_E).contiguous()
    return _FourWayScan.apply(x.contiguous(), projected.contiguous(), dt_weight, dt_bias, A, D)


class _FourWayScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        x: Tensor,
        projected: Tensor,
        dt_weight: Tensor,
        dt_bias: Tensor,
        A: Tensor,
        D: Tensor,
    ) -> Tensor:
        b, h, w, d = x.shape
        n, rank = A.shape[2], dt_weight.shape[1]
        runs = triton.cdiv(h * w, STEPS)
        y = projected.new_empty(b, DIRECTIONS, h, w, d)
        states = projected.new_empty(b, DIRECTIONS, runs, d, n)
        _forward[(triton.cdiv(d, BLOCK_D), b * DIRECTIONS)](
            x, projected, dt_weight, dt_bias, A, D, y, states, h, w, runs,
            CHANNELS=d, N=n, RANK=rank, BD=BLOCK_D, STEPS=STEPS, K=DIRECTIONS, num_warps=1,
        )  # fmt: skip
        ctx.save_for_backward(x, projected, dt_weight, dt_bias, A, D, states)
        return y.sum(1)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN001
        x, projected, dt_weight, dt_bias, A, D, states = ctx.saved_tensors
        b, h, w, d = x.shape
        dx = projected.new_empty(b, DIRECTIONS, h, w, d)
        dprojected = torch.zeros_like(projected)
        small = [torch.zeros_like(t) for t in (dt_weight, dt_bias, A, D)]
        _backward[(triton.cdiv(d, BLOCK_D), b * DIRECTIONS)](
            x, projected, dt_weight, dt_bias, A, D, states, dy.contiguous(),
            dx, dprojected, *small, h, w, states.shape[2],
            CHANNELS=d, N=A.shape[2], RANK=dt_weight.shape[1], BD=BLOCK_D, STEPS=STEPS,
            K=DIRECTIONS, num_warps=1, maxnreg=_REGISTERS,
        )  # fmt: skip
        return dx.sum(1).to(x.dtype), dprojected, *small


_SIZES = ["height", "width", "runs"]


@triton.jit
def _pixel(step, direction, height, width):  # noqa: ANN001, ANN202
    """The pixel of a direction's `step`: rows, columns, and both from the end."""
    step = tl.where(direction < 2, step, height * width - 1 - step)
    # Exact, as a step has 20 bits at most; a division would cost as much as the scan.
    column = ((step + 0.5) * (1.0 / height)).to(tl.int32)
    return tl.where(direction % 2 == 0, step, (step - column * height) * width + column)


@triton.jit
def _softplus(x):  # noqa: ANN001, ANN202
    """(log(1 + e^x), its slope), by the series of atanh, without the rounding of 1 + e^x."""
    power = tl.exp(-tl.abs(x))
    z = power / (2.0 + power)
    z2 = z * z
    series = 1.0 / 7 + z2 * (1.0 / 9 + z2 * (1.0 / 11 + z2 * (1.0 / 13)))
    series = 1.0 + z2 * (1.0 / 3 + z2 * (1.0 / 5 + z2 * series))
    slope = tl.where(x > 0, 1.0, power) / (1.0 + power)
    return tl.maximum(x, 0.0) + 2.0 * z * series, slope


@triton.jit
def _of_direction(  # noqa: ANN202
    A_ptr, D_ptr, bias_ptr, weight_ptr, direction,  # noqa: ANN001
    CHANNELS: tl.constexpr, N: tl.constexpr, RANK: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """A `[d, n]`, D, bias, and the weights of each rank, of the program's channels."""
    c = tl.program_id(0) * BD + tl.arange(0, BD)
    dn = c[:, None] * N + tl.arange(0, N)[None, :]
    A = tl.load(A_ptr + direction * CHANNELS * N + dn, mask=c[:, None] < CHANNELS, other=0.0)
    c += direction * CHANNELS
    ok = c < (direction + 1) * CHANNELS
    weights = ()
    for r in tl.static_range(RANK):
        at = c + (direction * (RANK - 1) + r) * CHANNELS
        weights += (tl.load(weight_ptr + at, mask=ok, other=0.0),)
    D = tl.load(D_ptr + c, mask=ok, other=0.0)
    return A, D, tl.load(bias_ptr + c, mask=ok, other=0.0), weights


@triton.jit
def _inputs(  # noqa: ANN202
    x_ptr, projected_ptr, weights, bias, direction, step, height, width,  # noqa: ANN001
    CHANNELS: tl.constexpr, N: tl.constexpr, RANK: tl.constexpr, BD: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """(x, delta, its slope, B, C, pixel, whether there is one) of a step."""
    c = tl.program_id(0) * BD + tl.arange(0, BD)
    n = tl.arange(0, N)
    there = step < height * width
    pixel = _pixel(step, direction, height, width)
    x = tl.load(x_ptr + pixel * CHANNELS + c, mask=(c < CHANNELS) & there, other=0.0)
    projected_ptr += (pixel * K + direction) * (RANK + 2 * N)
    raw = bias
    for r in tl.static_range(RANK):
        raw += weights[r] * tl.load(projected_ptr + r, mask=there, other=0.0)
    # Past the end nothing moves: decay 1, input 0.
    delta, slope = _softplus(raw)
    delta = tl.where(there, delta, 0.0)
    B = tl.load(projected_ptr + RANK + n, mask=there & (n < N), other=0.0)
    C = tl.load(projected_ptr + RANK + N + n, mask=there & (n < N), other=0.0)
    return x.to(tl.float32), delta, slope, B, C, pixel, there


@triton.jit
def _run_inputs(  # noqa: ANN202
    x_ptr, projected_ptr, weights, bias, direction, first, height, width,  # noqa: ANN001
    CHANNELS: tl.constexpr, N: tl.constexpr, RANK: tl.constexpr, BD: tl.constexpr,
    STEPS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The `_inputs` of the steps from `first` on."""
    values = ()
    for i in tl.static_range(STEPS):
        step = _inputs(
            x_ptr, projected_ptr, weights, bias, direction, first + i, height, width,
            CHANNELS, N, RANK, BD, K,
        )  # fmt: skip
        values += (step,)
    return values


@triton.jit(do_not_specialize=_SIZES)
def _forward(  # noqa: ANN202
    x_ptr, projected_ptr, weight_ptr, bias_ptr, A_ptr, D_ptr, y_ptr, states_ptr,  # noqa: ANN001
    height, width, runs,  # noqa: ANN001
    CHANNELS: tl.constexpr, N: tl.constexpr, RANK: tl.constexpr, BD: tl.constexpr,
    STEPS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    plane = tl.program_id(1).to(tl.int64)
    image, direction = plane // K, tl.program_id(1) % K
    c = tl.program_id(0) * BD + tl.arange(0, BD)
    dn = c[:, None] * N + tl.arange(0, N)[None, :]
    A, D, bias, weights = _of_direction(
        A_ptr, D_ptr, bias_ptr, weight_ptr, direction, CHANNELS, N, RANK, BD
    )
    x_ptr += image * height * width * CHANNELS
    projected_ptr += image * height * width * K * (RANK + 2 * N)
    y_ptr += plane * height * width * CHANNELS
    states_ptr += plane * runs * CHANNELS * N
    state = tl.zeros((BD, N), tl.float32)
    for run in range(runs):
        tl.store(states_ptr + run * CHANNELS * N + dn, state, mask=c[:, None] < CHANNELS)
        values = _run_inputs(
            x_ptr, projected_ptr, weights, bias, direction, run * STEPS, height, width,
            CHANNELS, N, RANK, BD, STEPS, K,
        )  # fmt: skip
        for i in tl.static_range(STEPS):
            x, delta, _slope, B, C, pixel, there = values[i]
            state = tl.exp2(delta[:, None] * A) * state + (delta * x)[:, None] * B[None, :]
            y = tl.sum(state * C[None, :], 1) + D * x
            tl.store(y_ptr + pixel * CHANNELS + c, y, mask=(c < CHANNELS) & there)


@triton.jit(do_not_specialize=_SIZES)
def _backward(  # noqa: ANN202
    x_ptr, projected_ptr, weight_ptr, bias_ptr, A_ptr, D_ptr, states_ptr, dy_ptr,  # noqa: ANN001
    dx_ptr, dprojected_ptr, dweight_ptr, dbias_ptr, dA_ptr, dD_ptr,  # noqa: ANN001
    height, width, runs,  # noqa: ANN001
    CHANNELS: tl.constexpr, N: tl.constexpr, RANK: tl.constexpr, BD: tl.constexpr,
    STEPS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    plane = tl.program_id(1).to(tl.int64)
    image, direction = plane // K, tl.program_id(1) % K
    c, n = tl.program_id(0) * BD + tl.arange(0, BD), tl.arange(0, N)
    own = c < CHANNELS
    dn = c[:, None] * N + n[None, :]
    A, D, bias, weights = _of_direction(
        A_ptr, D_ptr, bias_ptr, weight_ptr, direction, CHANNELS, N, RANK, BD
    )
    x_ptr += image * height * width * CHANNELS
    dy_ptr += image * height * width * CHANNELS
    projected_ptr += image * height * width * K * (RANK + 2 * N)
    dprojected_ptr += image * height * width * K * (RANK + 2 * N)
    dx_ptr += plane * height * width * CHANNELS
    states_ptr += plane * runs * CHANNELS * N
    # The gradient of the state behind a step, before that step's own share.
    g = tl.zeros((BD, N), tl.float32)
    dA = g
    dD = tl.zeros((BD,), tl.float32)
    dbias = dD
    dweight = ()
    for _ in tl.static_range(RANK):
        dweight += (dD,)
    for back in range(runs):
        run = runs - 1 - back
        state = tl.load(states_ptr + run * CHANNELS * N + dn, mask=c[:, None] < CHANNELS, other=0.0)
        values = _run_inputs(
            x_ptr, projected_ptr, weights, bias, direction, run * STEPS, height, width,
            CHANNELS, N, RANK, BD, STEPS, K,
        )  # fmt: skip
        states = (state,)
        for i in tl.static_range(STEPS):
            x, delta, _slope, B, _C, _pixel, _there = values[i]
            state = tl.exp2(delta[:, None] * A) * state + (delta * x)[:, None] * B[None, :]
            states += (state,)
        for j in tl.static_range(STEPS):
            x, delta, slope, B, C, pixel, there = values[STEPS - 1 - j]
            ok = own & there
            at = (pixel * K + direction) * (RANK + 2 * N)
            n_ok = there & (n < N)
            dy = tl.load(dy_ptr + pixel * CHANNELS + c, mask=ok, other=0.0)
            g += dy[:, None] * C[None, :]
            dB = tl.sum(g * (delta * x)[:, None], 0)
            dC = tl.sum(states[STEPS - j] * dy[:, None], 0)
            tl.atomic_add(dprojected_ptr + at + RANK + n, dB, mask=n_ok, sem="relaxed")
            tl.atomic_add(dprojected_ptr + at + RANK + N + n, dC, mask=n_ok, sem="relaxed")
            of_input = tl.sum(g * B[None, :], 1)
            g *= tl.exp2(delta[:, None] * A)
            g_state = g * states[STEPS - 1 - j]
            dA += g_state * delta[:, None]
            dD += dy * x
            tl.store(dx_ptr + pixel * CHANNELS + c, of_input * delta + D * dy, mask=ok)
            ddelta = tl.sum(g_state * A, 1) * _LN_2 + of_input * x
            draw = tl.where(ok, ddelta * slope, 0.0)
            dbias += draw
            more = ()
            for r in tl.static_range(RANK):
                low = tl.load(projected_ptr + at + r, mask=there, other=0.0)
                more += (dweight[r] + draw * low,)
                dlow = tl.sum(draw * weights[r], 0)
                tl.atomic_add(dprojected_ptr + at + r, dlow, mask=there, sem="relaxed")
            dweight = more
    dA_ptr += direction * CHANNELS * N
    tl.atomic_add(dA_ptr + dn, dA * _LN_2, mask=c[:, None] < CHANNELS, sem="relaxed")
    of_channel = direction * CHANNELS + c
    tl.atomic_add(dD_ptr + of_channel, dD, mask=own, sem="relaxed")
    tl.atomic_add(dbias_ptr + of_channel, dbias, mask=own, sem="relaxed")
    for r in tl.static_range(RANK):
        of_rank = (direction * RANK + r) * CHANNELS + c
        tl.atomic_add(dweight_ptr + of_rank, dweight[r], mask=own, sem="relaxed")
