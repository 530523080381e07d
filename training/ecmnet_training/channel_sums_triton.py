"""A norm's sums of a tensor that no kernel of ours has written, on a GPU."""

import triton
import triton.language as tl
from torch import Tensor

from .norm_formulas import add_stats
from .tiles_triton import launch

_TILE = 4096


def add_sums(x: Tensor, stats: Tensor) -> None:
    """Adds the sums of x `[b, c, h, w]` and of x^2 over all pixels to `stats` `[2, c]`."""
    channels = x.shape[1]
    rows = x.numel() // channels
    tile_rows = _TILE // channels
    launch(_add_sums, triton.cdiv(rows, tile_rows), x, stats, rows, C=channels, R=tile_rows)


@triton.jit(do_not_specialize=["rows"])
def _add_sums(x_ptr, stats_ptr, rows, C: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    c = tl.arange(0, C)
    first = tl.zeros((R, C), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        p = (tile * R + tl.arange(0, R))[:, None]
        x = tl.load(x_ptr + p.to(tl.int64) * C + c[None, :], mask=p < rows, other=0.0)
        x = x.to(tl.float32)
        first += x
        second += x * x
    add_stats(stats_ptr, c, c < C, tl.sum(first, 0), tl.sum(second, 0), C)
