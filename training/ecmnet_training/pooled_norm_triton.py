"""Batch norm in training mode and the poolings of whole pictures behind it, on a GPU.

    n = gamma (z - mean) rstd + beta,   m[b, c] = mean_p(n) in the first half of the channels,
                                                  max_p(n) in the second

n is a line of z, so m takes of each picture only z's mean, or its largest value (its smallest where
gamma < 0), and n is never written: one pass over z forward, and a backward one that writes dz. A
maximum's gradient goes to the first pixel that has it. Tensors are rows `[p, c]` of channels-last
pictures, c a power of two, at most 2^31 values a picture; sums are f32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layers import BN_EPS

_TILE = 1024
_TILES_EACH = 16
_PICTURES = 32
_PLACES = tl.constexpr(1 << 31)


def pooled_norms(
    z: Tensor, mean_norm: torch.nn.BatchNorm2d, max_norm: torch.nn.BatchNorm2d
) -> Tensor:
    """m `[b, c]` f32 of z `[b, c, h, w]`, each norm for half of the channels.

    Moves the norms' running statistics.
    """
    norms = (mean_norm, max_norm)
    return _PooledNorms.apply(
        z.contiguous(memory_format=torch.channels_last),
        [t for norm in norms for t in (norm.running_mean, norm.running_var)],
        mean_norm.momentum,
        *(norm.weight for norm in norms),
        *(norm.bias for norm in norms),
    )


class _PooledNorms(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        z: Tensor,
        running: list[Tensor],
        momentum: float,
        *small: Tensor,
    ) -> Tensor:
        b, c, h, w = z.shape
        params = torch.cat(small)
        zeros = torch.zeros(2, b, c, dtype=torch.int64, device=z.device)
        peaks, sums = zeros[0], zeros[1].view(torch.float32)
        _read[_grid(z)](
            z, params, sums, peaks, h * w, C=c, R=_TILE // c, TILES=_TILES_EACH, num_warps=4
        )
        moments = params.new_empty(2, c)
        hats, m = params.new_empty(b, c), params.new_empty(b, c)
        _finish[(1,)](
            sums, peaks, params, moments, hats, m, *running, b, h * w, BN_EPS, momentum,
            C=c, N=_PICTURES, num_warps=4,
        )  # fmt: skip
        ctx.save_for_backward(z, params, peaks, moments, hats)
        return m

    @staticmethod
    def backward(ctx, dm: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        z, params, peaks, moments, hats = ctx.saved_tensors
        b, c, h, w = z.shape
        dm = dm.contiguous()
        grads, dz = torch.empty_like(params), torch.empty_like(z)
        _sum_gradients[(1,)](dm, hats, grads, b, C=c, N=_PICTURES, num_warps=4)
        _gradient[_grid(z)](
            z, dm, params, peaks, moments, grads, dz, h * w, 1.0 / (b * h * w),
            C=c, R=_TILE // c, TILES=_TILES_EACH, num_warps=4,
        )  # fmt: skip
        return dz, None, None, *grads.chunk(4)


def _grid(z: Tensor) -> tuple[int, int]:
    """Programs of a picture, pictures."""
    b, c, h, w = z.shape
    return triton.cdiv(h * w, _TILE // c * _TILES_EACH), b


@triton.jit(do_not_specialize=["pixels"])
def _read(  # noqa: ANN202
    z_ptr, params_ptr, sums_ptr, peaks_ptr, pixels,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Adds to a picture's sums of z and z^2 `[2, c]`, and raises its `peaks` `[c]`: see `_peak`."""
    c = tl.arange(0, C)
    image = tl.program_id(1)
    z_ptr += image.to(tl.int64) * pixels * C
    sign = tl.where(tl.load(params_ptr + c) < 0, -1.0, 1.0)[None, :]
    first = tl.zeros((R, C), tl.float32)
    second = first
    best = tl.full((R, C), float("-inf"), tl.float32)
    place = tl.zeros((R, C), tl.int32)
    for tile in range(tl.program_id(0) * TILES, tl.program_id(0) * TILES + TILES):
        p = (tile * R + tl.arange(0, R))[:, None]
        ok = p < pixels
        z = tl.load(z_ptr + p * C + c[None, :], mask=ok, other=0.0).to(tl.float32)
        first += z
        second += z * z
        value = tl.where(ok, sign * z, float("-inf"))
        place = tl.where(value > best, p, place)
        best = tl.maximum(value, best)
    tl.atomic_add(sums_ptr + image * 2 * C + c, tl.sum(first, 0), sem="relaxed")
    tl.atomic_add(sums_ptr + image * 2 * C + C + c, tl.sum(second, 0), sem="relaxed")
    # Integers in the floats' order, then those of which the first place is the largest.
    order = best.to(tl.int32, bitcast=True)
    order = tl.where(order < 0, order ^ 0x7FFFFFFF, order).to(tl.int64) + _PLACES
    peak = order * _PLACES + (_PLACES - 1 - place)
    tl.atomic_max(peaks_ptr + image * C + c, tl.max(peak, 0), sem="relaxed")


@triton.jit
def _peak(peaks):  # noqa: ANN001, ANN202
    """(largest value of gamma's sign times z, its pixel)."""
    order = (peaks // _PLACES - _PLACES).to(tl.int32)
    bits = tl.where(order < 0, order ^ 0x7FFFFFFF, order)
    return bits.to(tl.float32, bitcast=True), _PLACES - 1 - peaks % _PLACES


@triton.jit
def _move(running_ptr, c, own, value, momentum):  # noqa: ANN001, ANN202
    old = tl.load(running_ptr + c, mask=own, other=0.0)
    tl.store(running_ptr + c, old + momentum * (value - old), mask=own)


@triton.jit(do_not_specialize=["batch", "pixels"])
def _finish(  # noqa: ANN202
    sums_ptr, peaks_ptr, params_ptr, moments_ptr, hats_ptr, m_ptr,  # noqa: ANN001
    mean0_ptr, var0_ptr, mean1_ptr, var1_ptr, batch, pixels, eps, momentum,  # noqa: ANN001
    C: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Mean and rstd, the running statistics, and of each picture m and its (m - beta) / gamma."""
    c = tl.arange(0, C)
    first = tl.zeros((N, C), tl.float32)
    second = first
    for begin in range(0, batch, N):
        b = (begin + tl.arange(0, N))[:, None]
        at = sums_ptr + b * 2 * C + c[None, :]
        first += tl.load(at, mask=b < batch, other=0.0)
        second += tl.load(at + C, mask=b < batch, other=0.0)
    rows = batch * pixels
    share = 1.0 / rows
    mean = tl.sum(first, 0) * share
    variance = tl.maximum(tl.sum(second, 0) * share - mean * mean, 0.0)
    rstd = 1.0 / tl.sqrt(variance + eps)
    tl.store(moments_ptr + c, mean)
    tl.store(moments_ptr + C + c, rstd)
    unbiased = variance * (rows / (rows - 1.0))
    _move(mean0_ptr, c, c < C // 2, mean, momentum)
    _move(var0_ptr, c, c < C // 2, unbiased, momentum)
    _move(mean1_ptr - C // 2, c, c >= C // 2, mean, momentum)
    _move(var1_ptr - C // 2, c, c >= C // 2, unbiased, momentum)
    gamma, beta = tl.load(params_ptr + c)[None, :], tl.load(params_ptr + C + c)[None, :]
    for begin in range(0, batch, N):
        b = (begin + tl.arange(0, N))[:, None]
        at = b * C + c[None, :]
        of_picture = tl.load(sums_ptr + b * 2 * C + c[None, :], mask=b < batch, other=0.0) / pixels
        largest, _ = _peak(tl.load(peaks_ptr + at, mask=b < batch, other=0))
        largest = tl.where(gamma < 0, -largest, largest)
        hat = tl.where(c[None, :] < C // 2, of_picture, largest) - mean[None, :]
        hat *= rstd[None, :]
        tl.store(hats_ptr + at, hat, mask=b < batch)
        tl.store(m_ptr + at, gamma * hat + beta, mask=b < batch)


@triton.jit(do_not_specialize=["batch"])
def _sum_gradients(dm_ptr, hats_ptr, grads_ptr, batch, C: tl.constexpr, N: tl.constexpr):  # noqa: ANN001, ANN202
    """Those of gamma and beta `[2, c]`: a picture's pixels share dm, all at the same hat's mean."""
    c = tl.arange(0, C)
    of_gamma = tl.zeros((N, C), tl.float32)
    of_beta = of_gamma
    for begin in range(0, batch, N):
        b = (begin + tl.arange(0, N))[:, None]
        dm = tl.load(dm_ptr + b * C + c[None, :], mask=b < batch, other=0.0)
        of_gamma += dm * tl.load(hats_ptr + b * C + c[None, :], mask=b < batch, other=0.0)
        of_beta += dm
    tl.store(grads_ptr + c, tl.sum(of_gamma, 0))
    tl.store(grads_ptr + C + c, tl.sum(of_beta, 0))


@triton.jit(do_not_specialize=["pixels", "share"])
def _gradient(  # noqa: ANN202
    z_ptr, dm_ptr, params_ptr, peaks_ptr, moments_ptr, grads_ptr, dz_ptr, pixels, share,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """dz = gamma rstd (dn - mean(dn) - n_hat mean(dn n_hat)); `share` is 1 / all pixels."""
    c = tl.arange(0, C)[None, :]
    image = tl.program_id(1)
    z_ptr += image.to(tl.int64) * pixels * C
    dz_ptr += image.to(tl.int64) * pixels * C
    mean, rstd = tl.load(moments_ptr + c), tl.load(moments_ptr + C + c)
    scale = tl.load(params_ptr + c) * rstd
    of_z = scale * rstd * tl.load(grads_ptr + c) * share
    constant = of_z * mean - scale * tl.load(grads_ptr + C + c) * share
    dm = tl.load(dm_ptr + image * C + c) * scale
    pooled = c < C // 2
    constant += tl.where(pooled, dm / pixels, 0.0)
    _, place = _peak(tl.load(peaks_ptr + image * C + c))
    place = tl.where(pooled, -1, place).to(tl.int32)
    for tile in range(tl.program_id(0) * TILES, tl.program_id(0) * TILES + TILES):
        p = (tile * R + tl.arange(0, R))[:, None]
        z = tl.load(z_ptr + p * C + c, mask=p < pixels, other=0.0).to(tl.float32)
        dz = constant - of_z * z + tl.where(p == place, dm, 0.0)
        tl.store(dz_ptr + p * C + c, dz.to(dz_ptr.dtype.element_ty), mask=p < pixels)
