"""Batch norm in training mode with the PReLU behind it, fused, on a GPU.

    z = gamma (x - mean) rstd + beta,   y = z where z > 0, slope z elsewhere

Tensors are `[p, c]` rows (a channels-last picture, p = b h w), c a power of two; sums are f32. What
lies as several tensors is normed into one, so that nobody has to join them or their gradients: `C`
are a part's channels, `ALL` those of y's rows. Each reduction is two launches: partial sums of row
blocks `[blocks, sums, c]`, then their total. Forward and backward each read x twice, once for the
sums and once to apply them.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096
MAX_BLOCKS = 264
_CHANNELS_PER_TOTAL = 8


def bn_prelu(parts: Sequence[Tensor], bn: torch.nn.BatchNorm2d, slope: Tensor) -> Tensor:
    """PReLU(BN(x)) `[b, c, h, w]` with the batch's statistics; updates the running ones.

    x are the `parts`' channels, one part's behind the other's.
    """
    parts = [x.contiguous(memory_format=torch.channels_last) for x in parts]
    return _BNPReLU.apply(
        bn.weight, bn.bias, slope, bn.running_mean, bn.running_var, bn.eps, bn.momentum, *parts
    )


def blocks_for(rows: int, channels: int) -> tuple[int, int]:
    """(rows in one tile, how many programs share the tiles)."""
    tile_rows = max(TILE // channels, 16)
    return tile_rows, min(triton.cdiv(rows, tile_rows), MAX_BLOCKS)


class _BNPReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        gamma: Tensor,
        beta: Tensor,
        slope: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        eps: float,
        momentum: float,
        *parts: Tensor,
    ) -> Tensor:
        b, _, h, w = parts[0].shape
        y = torch.empty(
            b, len(gamma), h, w, dtype=parts[0].dtype, device=gamma.device,
            memory_format=torch.channels_last,
        )  # fmt: skip
        rows = b * h * w
        moments = []
        for x, own in zip(parts, _own_channels(parts), strict=True):
            channels = x.shape[1]
            tile_rows, blocks = blocks_for(rows, channels)
            partial = x.new_empty(blocks, 2, channels, dtype=torch.float32)
            _sums[(blocks,)](x, partial, rows, blocks, C=channels, R=tile_rows)
            moments.append(x.new_empty(2, channels, dtype=torch.float32))
            per_total = min(channels, _CHANNELS_PER_TOTAL)
            _moments[(channels // per_total,)](
                partial, moments[-1], running_mean[own], running_var[own],
                blocks, rows, eps, momentum,
                C=channels, CB=per_total, NB=triton.next_power_of_2(blocks),
            )  # fmt: skip
            _apply[(triton.cdiv(rows, tile_rows),)](
                x, moments[-1], gamma[own], beta[own], slope[own], y[:, own], rows,
                C=channels, ALL=len(gamma), R=tile_rows,
            )  # fmt: skip
        ctx.save_for_backward(gamma, beta, slope, *parts, *moments)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        gamma, beta, slope, *kept = ctx.saved_tensors
        parts, moments = kept[: len(kept) // 2], kept[len(kept) // 2 :]
        dy = dy.contiguous(memory_format=torch.channels_last)
        rows = dy.numel() // len(gamma)
        sums, gradients = [], []
        for x, own_moments, own in zip(parts, moments, _own_channels(parts), strict=True):
            channels = x.shape[1]
            tile_rows, blocks = blocks_for(rows, channels)
            partial = x.new_empty(blocks, 3, channels, dtype=torch.float32)
            given = (x, dy[:, own], own_moments, gamma[own], beta[own], slope[own])
            sizes = {"C": channels, "ALL": len(gamma), "R": tile_rows}
            _gradient_sums[(blocks,)](*given, partial, rows, blocks, **sizes)
            sums.append(total(partial))
            gradients.append(torch.empty_like(x))
            grid = (triton.cdiv(rows, tile_rows),)
            _gradient[grid](*given, sums[-1], gradients[-1], rows, **sizes)
        of_all = sums[0] if len(sums) == 1 else torch.cat(sums, dim=1)
        return of_all[1], of_all[0], of_all[2], None, None, None, None, *gradients


def _own_channels(parts: Sequence[Tensor]) -> list[slice]:
    ends = list(accumulate((x.shape[1] for x in parts), initial=0))
    return [slice(*ends[i : i + 2]) for i in range(len(parts))]


def total(partial: Tensor) -> Tensor:
    """`[blocks, sums, c]` f32 -> `[sums, c]`."""
    blocks, sums, channels = partial.shape
    out = partial.new_empty(sums, channels)
    per_total = min(channels, _CHANNELS_PER_TOTAL)
    _total[(channels // per_total, sums)](
        partial, out, blocks, sums, C=channels, CB=per_total, NB=triton.next_power_of_2(blocks)
    )
    return out


@triton.jit(do_not_specialize=["rows", "blocks"])
def _sums(x_ptr, partial_ptr, rows, blocks, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)
    first = tl.zeros((R, C), tl.float32)
    second = tl.zeros((R, C), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), blocks):
        p = tile * R + tl.arange(0, R)
        x = tl.load(x_ptr + p[:, None] * C + c[None, :], mask=(p < rows)[:, None], other=0.0)
        x = x.to(tl.float32)
        first += x
        second += x * x
    out = partial_ptr + tl.program_id(0) * 2 * C + c
    tl.store(out, tl.sum(first, 0))
    tl.store(out + C, tl.sum(second, 0))


@triton.jit(do_not_specialize=["blocks", "rows"])
def _moments(  # noqa: ANN202
    partial_ptr, moments_ptr, running_mean_ptr, running_var_ptr,  # noqa: ANN001
    blocks, rows, eps, momentum,  # noqa: ANN001
    C: tl.constexpr, CB: tl.constexpr, NB: tl.constexpr,
):  # fmt: skip
    """Mean and 1/std from the partial sums; running statistics moved by `momentum`."""
    c = tl.program_id(0) * CB + tl.arange(0, CB)
    n = tl.arange(0, NB)
    at = partial_ptr + n[:, None] * 2 * C + c[None, :]
    ok = (n < blocks)[:, None]
    mean = tl.sum(tl.load(at, mask=ok, other=0.0), 0) / rows
    second = tl.sum(tl.load(at + C, mask=ok, other=0.0), 0) / rows
    var = tl.maximum(second - mean * mean, 0.0)
    tl.store(moments_ptr + c, mean)
    tl.store(moments_ptr + C + c, 1.0 / tl.sqrt(var + eps))
    old_mean, old_var = tl.load(running_mean_ptr + c), tl.load(running_var_ptr + c)
    unbiased = var * (rows / (rows - 1.0))
    tl.store(running_mean_ptr + c, old_mean + momentum * (mean - old_mean))
    tl.store(running_var_ptr + c, old_var + momentum * (unbiased - old_var))


@triton.jit(do_not_specialize=["rows"])
def _apply(  # noqa: ANN202
    x_ptr, moments_ptr, gamma_ptr, beta_ptr, slope_ptr, y_ptr, rows,  # noqa: ANN001
    C: tl.constexpr, ALL: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    p = tl.program_id(0) * R + tl.arange(0, R)
    at = p[:, None] * C + c[None, :]
    ok = (p < rows)[:, None]
    x = tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32)
    scale = tl.load(gamma_ptr + c) * tl.load(moments_ptr + C + c)
    shift = tl.load(beta_ptr + c) - tl.load(moments_ptr + c) * scale
    z = x * scale[None, :] + shift[None, :]
    y = tl.where(z > 0, z, tl.load(slope_ptr + c)[None, :] * z)
    tl.store(y_ptr + p[:, None] * ALL + c[None, :], y.to(y_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["rows", "blocks"])
def _gradient_sums(  # noqa: ANN202
    x_ptr, dy_ptr, moments_ptr, gamma_ptr, beta_ptr, slope_ptr, partial_ptr,  # noqa: ANN001
    rows, blocks,  # noqa: ANN001
    C: tl.constexpr, ALL: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Partial sums of dz, dz x_hat and the slope's gradient."""
    c = tl.arange(0, C)
    mean, rstd = tl.load(moments_ptr + c)[None, :], tl.load(moments_ptr + C + c)[None, :]
    gamma, beta = tl.load(gamma_ptr + c)[None, :], tl.load(beta_ptr + c)[None, :]
    slope = tl.load(slope_ptr + c)[None, :]
    of_dz = tl.zeros((R, C), tl.float32)
    of_product = tl.zeros((R, C), tl.float32)
    of_slope = tl.zeros((R, C), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), blocks):
        p = tile * R + tl.arange(0, R)
        at = p[:, None] * C + c[None, :]
        ok = (p < rows)[:, None]
        x_hat = (tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32) - mean) * rstd
        dy = tl.load(dy_ptr + p[:, None] * ALL + c[None, :], mask=ok, other=0.0).to(tl.float32)
        z = gamma * x_hat + beta
        dz = tl.where(z > 0, dy, slope * dy)
        of_dz += dz
        of_product += dz * x_hat
        of_slope += tl.where(z > 0, 0.0, dy * z)
    out = partial_ptr + tl.program_id(0) * 3 * C + c
    tl.store(out, tl.sum(of_dz, 0))
    tl.store(out + C, tl.sum(of_product, 0))
    tl.store(out + 2 * C, tl.sum(of_slope, 0))


@triton.jit(do_not_specialize=["rows"])
def _gradient(  # noqa: ANN202
    x_ptr, dy_ptr, moments_ptr, gamma_ptr, beta_ptr, slope_ptr, sums_ptr, dx_ptr, rows,  # noqa: ANN001
    C: tl.constexpr, ALL: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """dx = gamma rstd (dz - mean(dz) - x_hat mean(dz x_hat))."""
    c = tl.arange(0, C)
    p = tl.program_id(0) * R + tl.arange(0, R)
    at = p[:, None] * C + c[None, :]
    ok = (p < rows)[:, None]
    mean, rstd = tl.load(moments_ptr + c)[None, :], tl.load(moments_ptr + C + c)[None, :]
    gamma, beta = tl.load(gamma_ptr + c)[None, :], tl.load(beta_ptr + c)[None, :]
    slope = tl.load(slope_ptr + c)[None, :]
    x_hat = (tl.load(x_ptr + at, mask=ok, other=0.0).to(tl.float32) - mean) * rstd
    dy = tl.load(dy_ptr + p[:, None] * ALL + c[None, :], mask=ok, other=0.0).to(tl.float32)
    z = gamma * x_hat + beta
    dz = tl.where(z > 0, dy, slope * dy)
    mean_dz = tl.load(sums_ptr + c)[None, :] / rows
    mean_product = tl.load(sums_ptr + C + c)[None, :] / rows
    dx = gamma * rstd * (dz - mean_dz - x_hat * mean_product)
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["blocks", "sums"])
def _total(  # noqa: ANN202
    partial_ptr, out_ptr, blocks, sums,  # noqa: ANN001
    C: tl.constexpr, CB: tl.constexpr, NB: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0) * CB + tl.arange(0, CB)
    row = tl.program_id(1)
    n = tl.arange(0, NB)
    at = partial_ptr + (n[:, None] * sums + row) * C + c[None, :]
    values = tl.load(at, mask=(n < blocks)[:, None], other=0.0)
    tl.store(out_ptr + row * C + c, tl.sum(values, 0))
