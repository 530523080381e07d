"""Cross-entropy at the labels' size of logits that are S times smaller, without enlarging them.

    loss = sum_p w[t_p] (-log softmax(up(z))_p[t_p]) / sum_p w[t_p]

up is bilinear with half-pixel centres, p runs over labelled pixels. One kernel gives both sums and
the gradient of z: a program owns `R` coarse pixels, visits the 2S x 2S fine ones that each has a
share in, and does their softmax anew. z `[p, k]` is f32, channels last, k <= 16.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE_ROWS = 64
_CLASSES = 16


def scale_of(coarse: Tensor, labels: Tensor) -> int | None:
    """S, if the labels' size is a whole and even multiple of the logits', and classes fit."""
    (h, w), (fine_h, fine_w) = coarse.shape[2:], labels.shape[1:]
    scale = fine_h // h
    fits = scale % 2 == 0 and (fine_h, fine_w) == (scale * h, scale * w)
    return scale if fits and coarse.shape[1] <= _CLASSES else None


def enlarged_cross_entropy(
    coarse: Tensor, labels: Tensor, weights: Tensor, *, ignore_id: int
) -> Tensor:
    """The loss of `coarse` `[b, k, h, w]` f32 against `labels` `[b, S h, S w]` i64."""
    coarse = coarse.contiguous(memory_format=torch.channels_last)
    return _CrossEntropy.apply(coarse, labels.contiguous(), weights, ignore_id)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, coarse: Tensor, labels: Tensor, weights: Tensor, ignore_id: int) -> Tensor:  # noqa: ANN001
        b, k, h, w = coarse.shape
        sums = torch.zeros(2, device=coarse.device)
        gradient = torch.empty_like(coarse)
        scale = labels.shape[1] // h
        _losses[(triton.cdiv(b * h * w, _TILE_ROWS),)](
            coarse, labels, weights, gradient, sums, b * h * w, h, w, ignore_id,
            K=k, KP=_CLASSES, S=scale, R=_TILE_ROWS,
        )  # fmt: skip
        ctx.save_for_backward(gradient, sums)
        return sums[0] / sums[1]

    @staticmethod
    def backward(ctx, dloss: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN001
        gradient, sums = ctx.saved_tensors
        return gradient * (dloss / sums[1]), None, None, None


@triton.jit
def _neighbours(fine, length, S: tl.constexpr):  # noqa: ANN001, ANN202
    """(lower coarse place, upper one, the upper one's share) of fine places."""
    at = tl.maximum((fine + 0.5) / S - 0.5, 0.0)
    low = tl.minimum(at.to(tl.int32), length - 1)
    return low, tl.minimum(low + 1, length - 1), at - low


@triton.jit(do_not_specialize=["rows", "height", "width"])
def _losses(  # noqa: ANN202
    z_ptr, labels_ptr, weights_ptr, dz_ptr, sums_ptr, rows, height, width, ignore_id,  # noqa: ANN001
    K: tl.constexpr, KP: tl.constexpr, S: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * R + tl.arange(0, R)
    k = tl.arange(0, KP)[None, :]
    image = p // (height * width)
    line, column = (p // width) % height, p % width
    first = image * height * width
    dz = tl.zeros((R, KP), tl.float32)
    loss = tl.zeros((R,), tl.float32)
    total = tl.zeros((R,), tl.float32)
    for oy in range(2 * S):
        y = S * line - S // 2 + oy
        y0, y1, up_y = _neighbours(y, height, S)
        share_y = tl.where(y0 == line, 1 - up_y, 0.0) + tl.where(y1 == line, up_y, 0.0)
        for ox in range(2 * S):
            x = S * column - S // 2 + ox
            x0, x1, up_x = _neighbours(x, width, S)
            share_x = tl.where(x0 == column, 1 - up_x, 0.0) + tl.where(x1 == column, up_x, 0.0)
            inside = (p < rows) & (y >= 0) & (y < S * height) & (x >= 0) & (x < S * width)
            ok = inside[:, None] & (k < K)
            label_at = (image.to(tl.int64) * S * height + y) * S * width + x
            label = tl.load(labels_ptr + label_at, mask=inside, other=ignore_id)
            counted = inside & (label != ignore_id)
            weight = tl.load(weights_ptr + label, mask=counted, other=0.0)
            above, below = first + y0 * width, first + y1 * width
            z00 = tl.load(z_ptr + (above + x0)[:, None] * K + k, mask=ok, other=0.0)
            z01 = tl.load(z_ptr + (above + x1)[:, None] * K + k, mask=ok, other=0.0)
            z10 = tl.load(z_ptr + (below + x0)[:, None] * K + k, mask=ok, other=0.0)
            z11 = tl.load(z_ptr + (below + x1)[:, None] * K + k, mask=ok, other=0.0)
            z0 = z00 + up_x[:, None] * (z01 - z00)
            z1 = z10 + up_x[:, None] * (z11 - z10)
            z = tl.where(k < K, z0 + up_y[:, None] * (z1 - z0), float("-inf"))
            z = z - tl.max(z, 1)[:, None]
            powers = tl.exp(z)
            norm = tl.sum(powers, 1)
            is_label = k == label[:, None]
            gradient = powers / norm[:, None] - tl.where(is_label, 1.0, 0.0)
            dz += (share_y * share_x * weight)[:, None] * gradient
            own = (y // S == line) & (x // S == column) & counted
            of_label = tl.sum(tl.where(is_label, z, 0.0), 1)
            loss += tl.where(own, weight * (tl.log(norm) - of_label), 0.0)
            total += tl.where(own, weight, 0.0)
    tl.store(dz_ptr + p[:, None] * K + k, dz, mask=(p < rows)[:, None] & (k < K))
    tl.atomic_add(sums_ptr, tl.sum(loss, 0), sem="relaxed")
    tl.atomic_add(sums_ptr + 1, tl.sum(total, 0), sem="relaxed")
