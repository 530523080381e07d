"""Lovász-Softmax without sorting, on a GPU.

    loss = mean over the classes present of sum_i e_i w_i,   e_i = |truth_i - softmax(z)_i|

w_i is the step that the Jaccard loss makes at pixel i when the pixels come in descending order of
their errors. Here errors of one bin, 1/256 of an octave, count as equal: with F, B pixels of the
class and of others in front of the bin, f, b in it and G of the class in all, each of those gets
the mean of its steps over the orders,

    w_f = (1 / (G + B) + 1 / (G + B + b)) / 2,   w_b = (G - F - f / 2) / ((G + B) (G + B + b))

which add up to the bin's step. So the loss is that of errors rounded to nine bits, up to the
rounding, at the cost of counting. z is f32, one plane a class, k <= 16. Every second logit of every
second line takes part; a program owns `R` neighbours of a line, one a thread, of which the odd ones
rest: so a thread holds all classes of its pixel.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .cross_entropy_triton import CLASSES

_BINS = 4096
"""16 octaves: errors under 2^-16 are in the last bin."""
_TILE = 32
_BLOCKS = 132 * 16


def add_lovasz(
    z: Tensor, labels: Tensor, dz: Tensor, sums: Tensor, *, share: float, ignore_id: int
) -> None:
    """Adds the loss of `z` `[b, k, h, w]` to `sums[2]`, `share sums[1]` times its gradient to dz.

    `labels` `[b, h / 2, w / 2]` (rounded up) i64 are those of the logits that take part.
    """
    b, k, h, w = z.shape
    counts = torch.zeros(k, 2 * _BINS, dtype=torch.int32, device=z.device)
    steps, totals = z.new_empty(k, 2 * _BINS), z.new_empty(k)
    tiles = b * labels.shape[1] * triton.cdiv(w, _TILE)
    blocks = min(tiles, _BLOCKS)
    sizes = (tiles, blocks, h, w, ignore_id)
    constants = {"BINS": _BINS, "K": k, "KP": CLASSES, "R": _TILE, "num_warps": 1}
    _count[(blocks,)](z, labels, counts, *sizes, **constants)
    _write_steps[(k,)](counts, steps, totals, BINS=_BINS, num_warps=8)
    _add_gradient[(blocks,)](z, labels, steps, totals, dz, sums, share, *sizes, **constants)


_SIZES = ["tiles", "blocks", "height", "width", "ignore_id"]


@triton.jit
def _errors(  # noqa: ANN202
    z_ptr, labels_ptr, tile, height, width, ignore_id,  # noqa: ANN001
    BINS: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """A tile's (softmax, truth, errors, bins, which of them count, places of the logits)."""
    tiles, lines = tl.cdiv(width, R), (height + 1) // 2
    x = tile % tiles * R + tl.arange(0, R)
    line = tile // tiles
    there = (x < width) & (x % 2 == 0)
    label_at = line * ((width + 1) // 2) + x // 2
    label = tl.load(labels_ptr + label_at, mask=there, other=ignore_id)
    k = tl.arange(0, KP)[:, None]
    counted = (k < K) & (there & (label != ignore_id))[None, :]
    first = ((line // lines).to(tl.int64) * K * height + line % lines * 2) * width
    at = first + k * (height * width) + x[None, :]
    z = tl.load(z_ptr + at, mask=counted, other=0.0)
    z = tl.where(k < K, z, float("-inf"))
    powers = tl.exp(z - tl.max(z, 0)[None, :])
    share = powers / tl.sum(powers, 0)[None, :]
    truth = k == label[None, :]
    error = tl.abs(tl.where(truth, 1.0, 0.0) - share)
    # A float's upper bits: exponent, then eight of the fraction's. The largest are in bin 0.
    bin_ = (0x3F800000 - error.to(tl.int32, bitcast=True)) >> 15
    return share, truth, error, tl.minimum(tl.maximum(bin_, 0), BINS - 1), counted, at


@triton.jit(do_not_specialize=_SIZES)
def _count(  # noqa: ANN202
    z_ptr, labels_ptr, counts_ptr, tiles, blocks, height, width, ignore_id,  # noqa: ANN001
    BINS: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Adds to the numbers, of each class and bin, of other pixels and of its own."""
    k = tl.arange(0, KP)
    own, others = tl.zeros((KP,), tl.int32), tl.zeros((KP,), tl.int32)
    for tile in range(tl.program_id(0), tiles, blocks):
        _, truth, _, bin_, counted, _ = _errors(
            z_ptr, labels_ptr, tile, height, width, ignore_id, BINS, K, KP, R
        )
        at = counts_ptr + 2 * (k[:, None] * BINS + bin_) + truth.to(tl.int32)
        # Most pixels of a trained network are in the last bin; they would wait for each other.
        last = bin_ == BINS - 1
        tl.atomic_add(at, 1, mask=counted & (bin_ < BINS - 1), sem="relaxed")
        own += tl.sum((counted & last & truth).to(tl.int32), 1)
        others += tl.sum((counted & last & (truth == 0)).to(tl.int32), 1)
    at = counts_ptr + 2 * (k * BINS + BINS - 1)
    tl.atomic_add(at, others, mask=others > 0, sem="relaxed")
    tl.atomic_add(at + 1, own, mask=own > 0, sem="relaxed")


@triton.jit
def _write_steps(counts_ptr, steps_ptr, totals_ptr, BINS: tl.constexpr):  # noqa: ANN001, ANN202
    """Of a class: w of each bin, of others and of its own, and G."""
    at = tl.program_id(0) * 2 * BINS + 2 * tl.arange(0, BINS)
    b, f = tl.load(counts_ptr + at).to(tl.float32), tl.load(counts_ptr + at + 1).to(tl.float32)
    # Counts below 2^24 are exact.
    before_b, before_f = tl.cumsum(b, 0) - b, tl.cumsum(f, 0) - f
    total = tl.sum(f, 0)
    first = tl.maximum(total + before_b, 1.0)
    last = tl.maximum(total + before_b + b, 1.0)
    tl.store(steps_ptr + at, (total - before_f - 0.5 * f) / (first * last))
    tl.store(steps_ptr + at + 1, 0.5 * (1.0 / first + 1.0 / last))
    tl.store(totals_ptr + tl.program_id(0), total)


@triton.jit(do_not_specialize=_SIZES)
def _add_gradient(  # noqa: ANN202
    z_ptr, labels_ptr, steps_ptr, totals_ptr, dz_ptr, sums_ptr, scale,  # noqa: ANN001
    tiles, blocks, height, width, ignore_id,  # noqa: ANN001
    BINS: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    k = tl.arange(0, KP)[:, None]
    total = tl.load(totals_ptr + k, mask=k < K, other=0.0)
    present = tl.where(total > 0, 1.0, 0.0)
    present = present / tl.maximum(tl.sum(present, 0), 1.0)[None, :]
    scale *= tl.load(sums_ptr + 1)
    loss = tl.zeros((R,), tl.float32)
    for tile in range(tl.program_id(0), tiles, blocks):
        share, truth, error, bin_, counted, at = _errors(
            z_ptr, labels_ptr, tile, height, width, ignore_id, BINS, K, KP, R
        )
        step_at = steps_ptr + 2 * (k * BINS + bin_) + truth.to(tl.int32)
        step = tl.load(step_at, mask=counted, other=0.0) * present
        loss += tl.sum(error * step, 0)
        step = tl.where(truth, -step, step)
        gradient = share * (step - tl.sum(share * step, 0)[None, :])
        dz = tl.load(dz_ptr + at, mask=counted, other=0.0)
        tl.store(dz_ptr + at, dz + scale * gradient, mask=counted)
    tl.atomic_add(sums_ptr + 2, tl.sum(loss, 0), sem="relaxed")
