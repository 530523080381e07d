"""Cross-entropy at the labels' size of logits that are S times smaller, without enlarging them.

    loss = sum_p w[t_p] (-log softmax(up(z))_p[t_p]) / sum_p w[t_p]

up is bilinear with half-pixel centres, p runs over labelled pixels. One kernel gives both sums and
the gradient of z: a program owns tiles of `R` coarse pixels of a line, one a thread, visits the
2S x 2S fine ones that each has a share in, and does their softmax anew. z is f32, one plane a
class, k <= 16, so that a thread holds all classes of its pixel and its neighbours read beside it.
"""

import triton
import triton.language as tl
from torch import Tensor

_TILE_ROWS = 32
_MAX_BLOCKS = 132 * 16
CLASSES = 16


def write_cross_entropy(
    z: Tensor, labels: Tensor, weights: Tensor, dz: Tensor, sums: Tensor, *, ignore_id: int
) -> None:
    """Adds both sums of `z` `[b, k, h, w]` f32 against `labels` `[b, S h, S w]` i64 to `sums`.

    Writes dz, the first one's gradient.
    """
    b, k, h, w = z.shape
    blocks = min(b * h * triton.cdiv(w, _TILE_ROWS), _MAX_BLOCKS)
    _losses[(blocks,)](
        z, labels, weights, dz, sums, b * h, blocks, h, w, ignore_id,
        K=k, KP=CLASSES, S=labels.shape[1] // h, R=_TILE_ROWS, num_warps=1,
    )  # fmt: skip


@triton.jit(do_not_specialize=["lines", "blocks", "height", "width"])
def _losses(  # noqa: ANN202
    z_ptr, labels_ptr, weights_ptr, dz_ptr, sums_ptr, lines, blocks, height, width, ignore_id,  # noqa: ANN001
    K: tl.constexpr, KP: tl.constexpr, S: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    k = tl.arange(0, KP)[:, None]
    loss = tl.zeros((R,), tl.float32)
    total = tl.zeros((R,), tl.float32)
    tiles = tl.cdiv(width, R)
    for tile in range(tl.program_id(0), lines * tiles, blocks):
        image, line = tile // tiles // height, tile // tiles % height
        x = tile % tiles * R + tl.arange(0, R)
        ok = (k < K) & (x < width)[None, :]
        at = k * (height * width) + x[None, :]
        z_ptrs = z_ptr + image.to(tl.int64) * K * height * width + at
        own = tl.load(z_ptrs + line * width, mask=ok, other=0.0)
        dz = tl.zeros((KP, R), tl.float32)
        # The four quarters around the pixel; each lies between it and three others.
        for quarter in range(4):
            step_y, step_x = 2 * (quarter // 2) - 1, 2 * (quarter % 2) - 1
            there_y = (line + step_y >= 0) & (line + step_y < height)
            there_x = (x + step_x >= 0) & (x + step_x < width)
            over = tl.where(there_y, line + step_y, line) * width
            side = tl.load(z_ptrs + line * width + step_x, mask=ok & there_x[None, :], other=0.0)
            side = tl.where(there_x[None, :], side, own)
            above = tl.load(z_ptrs + over, mask=ok, other=0.0)
            corner = tl.load(z_ptrs + over + step_x, mask=ok & there_x[None, :], other=0.0)
            corner = tl.where(there_x[None, :], corner, above)
            for fine in tl.static_range(S * S):
                # The fine pixel's distance from the own one, in coarse pixels.
                off_y, off_x = (fine // S + 0.5) / S, (fine % S + 0.5) / S
                out_y, out_x = fine // S, fine % S
                fine_y = S * line + tl.where(step_y > 0, S // 2 + out_y, S // 2 - 1 - out_y)
                fine_x = S * x + tl.where(step_x > 0, S // 2 + out_x, S // 2 - 1 - out_x)
                inside = (x < width) & (fine_y >= 0) & (fine_y < S * height)
                inside = inside & (fine_x >= 0) & (fine_x < S * width)
                label_at = (image.to(tl.int64) * S * height + fine_y) * S * width + fine_x
                label = tl.load(labels_ptr + label_at, mask=inside, other=ignore_id)
                counted = inside & (label != ignore_id)
                weight = tl.load(weights_ptr + label, mask=counted, other=0.0)
                near = own + off_x * (side - own)
                far = above + off_x * (corner - above)
                z = tl.where(k < K, near + off_y * (far - near), float("-inf"))
                z = z - tl.max(z, 0)[None, :]
                powers = tl.exp(z)
                norm = tl.sum(powers, 0)
                share = weight * tl.where(there_y, 1 - off_y, 1.0)
                share = share * tl.where(there_x, 1 - off_x, 1.0)
                is_label = k == label[None, :]
                dz += (share / norm)[None, :] * powers - tl.where(is_label, share[None, :], 0.0)
                if (out_y < S // 2) and (out_x < S // 2):
                    of_label = tl.sum(tl.where(is_label, z, 0.0), 0)
                    loss += tl.where(counted, weight * (tl.log(norm) - of_label), 0.0)
                    total += weight
        dz_ptrs = dz_ptr + image.to(tl.int64) * K * height * width + at + line * width
        tl.store(dz_ptrs, dz, mask=ok)
    tl.atomic_add(sums_ptr, tl.sum(loss, 0), sem="relaxed")
    tl.atomic_add(sums_ptr + 1, tl.sum(total, 0), sem="relaxed")
