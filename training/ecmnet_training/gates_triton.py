"""EDAB's two gates and the sum behind them, on a GPU.

    s = u + l a[b, c] + g sigmoid(r[b, y, c] + q[b, x, c]),   u, l, g = PReLU(BN(.)) of tensors
    a = sigmoid(sum_k v[k] mean_p(l)[b, c + k - 1])           ChannelAttention
    r = W_h mean_x(g),   q = W_w mean_y(g)                    DirectionAttention

Tensors are channels-last rows `[p, c]`, l and g the two planes of one `[2, p, c]`. A `strips`
tensor is f32 `[b h + b w + b, c]`: image rows, image columns, images. `sums` holds the sums of g,
g, l over them, `gates` r, q and a; their gradients have the same layout. c is a power of two.
"""

import triton
import triton.language as tl
from torch import Tensor

from .dense_triton import Norm
from .layers import BN_EPS
from .norm_formulas import (
    activated,
    add_gradients,
    add_stats,
    backward_terms_of,
    terms_of,
    through_activation,
    through_norm,
)
from .tiles_triton import launch, line_tiles, place_of_tile

_TILE = 2048
_TILE_BACK = 1024
_STRIP_TILE = 32
_ENOUGH_PROGRAMS = 264


def strips_count(batch: int, height: int, width: int) -> int:
    """Rows of a `strips` tensor."""
    return batch * (height + width + 1)


def sum_strips(pair: Tensor, norm: Norm, sums: Tensor) -> None:
    """Adds the sums of l and g, from their raw `pair` `[2, b, c, h, w]`, to `sums`."""
    b, c, h, w = pair.shape[1:]
    tall = _tall(b, h)
    _sum_strips[(b * triton.cdiv(h, tall),)](
        pair, norm.params, norm.stats, sums, b, h, w, BN_EPS,
        C=c, TH=tall, TW=_wide(c, w, tall), num_warps=4,
    )  # fmt: skip


def gates_from_sums(
    sums: Tensor, direction: Tensor, channel: Tensor, gates: Tensor, size: tuple[int, int, int]
) -> None:
    """Writes `gates`; `direction` is [W_h | W_w] `[c, 2c, 1, 1]`, `channel` v, `size` (b, h, w)."""
    b, h, w = size
    c = sums.shape[1]
    _gates[(_strip_programs(size),)](
        sums, direction, channel, gates, b, h, w, C=c, CP=max(c, 16), T=_STRIP_TILE, num_warps=4
    )


def gates_backward(
    dgates: Tensor,
    gates: Tensor,
    sums: Tensor,
    direction: Tensor,
    channel: Tensor,
    size: tuple[int, int, int],
    *,
    dsums: Tensor,
    ddirection: Tensor,
    dchannel: Tensor,
) -> None:
    """Writes `dsums` from the gradients of r, q and a; adds to those of the two weights."""
    b, h, w = size
    c = sums.shape[1]
    _gates_backward[(_strip_programs(size),)](
        dgates, gates, sums, direction, channel, dsums, ddirection, dchannel, b, h, w,
        C=c, CP=max(c, 16), T=_STRIP_TILE, num_warps=4,
    )  # fmt: skip


def gated_sum(
    base: Tensor, base_norm: Norm, pair: Tensor, norm: Norm, gates: Tensor, s: Tensor, stats: Tensor
) -> None:
    """Writes s `[b, c, h, w]` and adds its sums to `stats`; u comes from the raw `base`."""
    b, c, h, w = s.shape
    pixels, tiles, warps = line_tiles(s.shape, _TILE)
    launch(
        _gated_sum, tiles,
        base, base_norm.params, base_norm.stats, pair, norm.params, norm.stats, gates, s, stats,
        tiles, b, h, w, BN_EPS, C=c, R=pixels, num_warps=warps, maxnreg=168,
    )  # fmt: skip


def gates_gradient(
    dmid: Tensor, s: Tensor, mid: Norm, pair: Tensor, norm: Norm, gates: Tensor, *,
    ds: Tensor, dgates: Tensor,
) -> None:  # fmt: skip
    """From `dmid`, the gradient of PReLU(BN(s)): writes that of s, adds to those of r, q and a."""
    b, c, h, w = s.shape
    tall = _tall(b, h)
    _gates_gradient[(b * triton.cdiv(h, tall),)](
        dmid, s, mid.params, mid.stats, mid.grads, pair, norm.params, norm.stats, gates,
        ds, dgates, b, h, w, BN_EPS, C=c, TH=tall, TW=_wide(c, w, tall), num_warps=4, maxnreg=168,
    )  # fmt: skip


def gated_sum_backward(
    ds: Tensor, pair: Tensor, norm: Norm, gates: Tensor, dsums: Tensor, dpair: Tensor
) -> None:
    """Writes the gradients of l and g, `[2, b, c, h, w]`; adds to `norm.grads`."""
    b, c, h, w = ds.shape
    pixels, tiles, warps = line_tiles(ds.shape, _TILE_BACK)
    launch(
        _gated_sum_backward, tiles,
        ds, pair, norm.params, norm.stats, norm.grads, gates, dsums, dpair,
        tiles, b, h, w, BN_EPS, C=c, R=pixels, planes=2, num_warps=warps,
    )  # fmt: skip


def _tall(batch: int, height: int) -> int:
    """Lines that a program walks along at once; fewer where that would leave processors idle."""
    return 8 if batch * triton.cdiv(height, 8) >= _ENOUGH_PROGRAMS else 4


def _wide(channels: int, width: int, tall: int) -> int:
    return min(_TILE // channels // tall, triton.next_power_of_2(width))


def _strip_programs(size: tuple[int, int, int]) -> int:
    b, h, w = size
    return sum(triton.cdiv(count, _STRIP_TILE) for count in (b * h, b * w, b))


_SIZES = ["tiles", "batch", "height", "width"]


@triton.jit
def _add_strip(strips_ptr, first, at, ok, values, C: tl.constexpr):  # noqa: ANN001, ANN202
    """Adds `values` `[n, C]` to the strips `first + at`."""
    c = tl.arange(0, C)
    places = (first + at)[:, None] * C + c[None, :]
    tl.atomic_add(strips_ptr + places, values, mask=ok[:, None], sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def _sum_strips(  # noqa: ANN202
    pair_ptr, params_ptr, stats_ptr, sums_ptr, batch, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    """A program walks along `TH` lines of one picture."""
    c = tl.arange(0, C)
    c3 = c[None, None, :]
    tall = tl.cdiv(height, TH)
    image = tl.program_id(0) // tall
    y = tl.program_id(0) % tall * TH + tl.arange(0, TH)
    rows = batch * height * width
    wide_ptr = pair_ptr + rows.to(tl.int64) * C
    l_scale, l_shift, l_slope = terms_of(params_ptr, stats_ptr, c3, c3 < C, rows, eps, C)
    g_scale, g_shift, g_slope = terms_of(
        params_ptr + 3 * C, stats_ptr + 2 * C, c3, c3 < C, rows, eps, C
    )
    of_rows = tl.zeros((TH, TW, C), tl.float32)
    of_local = of_rows
    for begin in range(0, width, TW):
        x = begin + tl.arange(0, TW)
        ok = (y < height)[:, None, None] & (x < width)[None, :, None]
        at = ((image * height + y)[:, None] * width + x[None, :])[:, :, None] * C + c3
        local = tl.load(pair_ptr + at, mask=ok, other=0.0)
        of_local += tl.where(ok, activated(local, l_scale, l_shift, l_slope), 0.0)
        wide = tl.load(wide_ptr + at, mask=ok, other=0.0)
        wide = tl.where(ok, activated(wide, g_scale, g_shift, g_slope), 0.0)
        of_rows += wide
        first = batch * height + image * width
        _add_strip(sums_ptr, first, x, x < width, tl.sum(wide, 0), C)
    _add_strip(sums_ptr, image * height, y, y < height, tl.sum(of_rows, 1), C)
    at = (batch * (height + width) + image) * C + c
    tl.atomic_add(sums_ptr + at, tl.sum(tl.sum(of_local, 1), 0), sem="relaxed")


@triton.jit
def _section(batch, height, width, T: tl.constexpr):  # noqa: ANN001, ANN202
    """(0 rows, 1 columns, 2 images; first strip; strips there; first of the tile; 1/pixels)."""
    tiles_h = tl.cdiv(batch * height, T)
    tiles_w = tl.cdiv(batch * width, T)
    tile = tl.program_id(0)
    part = tl.where(tile < tiles_h, 0, tl.where(tile < tiles_h + tiles_w, 1, 2))
    before = tl.where(part == 0, 0, tl.where(part == 1, tiles_h, tiles_h + tiles_w))
    first = tl.where(part == 0, 0, tl.where(part == 1, batch * height, batch * (height + width)))
    count = tl.where(part == 0, batch * height, tl.where(part == 1, batch * width, batch))
    pixels = tl.where(part == 0, width, tl.where(part == 1, height, height * width))
    return part, first, count, (tile - before) * T, 1.0 / pixels


@triton.jit(do_not_specialize=_SIZES)
def _gates(  # noqa: ANN202
    sums_ptr, direction_ptr, channel_ptr, gates_ptr, batch, height, width,  # noqa: ANN001
    C: tl.constexpr, CP: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    ci, co = tl.arange(0, CP), tl.arange(0, CP)
    part, first, count, begin, scale = _section(batch, height, width, T)
    i = begin + tl.arange(0, T)
    at = (first + i)[:, None] * C
    ok = (i < count)[:, None] & (ci < C)[None, :]
    if part == 2:
        pooled = tl.zeros((T, CP), tl.float32)
        for k in tl.static_range(3):
            c = ci + k - 1
            near = ok & ((c >= 0) & (c < C))[None, :]
            v = tl.load(channel_ptr + k)
            pooled += v * tl.load(sums_ptr + at + c[None, :], mask=near, other=0.0)
        tl.store(gates_ptr + at + ci[None, :], tl.sigmoid(pooled * scale), mask=ok)
    else:
        means = tl.load(sums_ptr + at + ci[None, :], mask=ok, other=0.0) * scale
        w_at = co[None, :] * 2 * C + part * C + ci[:, None]
        w_ok = (co < C)[None, :] & (ci < C)[:, None]
        w = tl.load(direction_ptr + w_at, mask=w_ok, other=0.0)
        gate = tl.dot(means, w, input_precision="ieee")
        tl.store(gates_ptr + at + co[None, :], gate, mask=ok)


@triton.jit(do_not_specialize=_SIZES)
def _gates_backward(  # noqa: ANN202
    dgates_ptr, gates_ptr, sums_ptr, direction_ptr, channel_ptr,  # noqa: ANN001
    dsums_ptr, ddirection_ptr, dchannel_ptr, batch, height, width,  # noqa: ANN001
    C: tl.constexpr, CP: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    ci, co = tl.arange(0, CP), tl.arange(0, CP)
    part, first, count, begin, scale = _section(batch, height, width, T)
    i = begin + tl.arange(0, T)
    at = (first + i)[:, None] * C
    ok = (i < count)[:, None] & (ci < C)[None, :]
    means = tl.load(sums_ptr + at + ci[None, :], mask=ok, other=0.0) * scale
    if part == 2:
        dpooled = tl.zeros((T, CP), tl.float32)
        for k in tl.static_range(3):
            c = ci + 1 - k
            near = ok & ((c >= 0) & (c < C))[None, :]
            a = tl.load(gates_ptr + at + c[None, :], mask=near, other=0.0)
            da = tl.load(dgates_ptr + at + c[None, :], mask=near, other=0.0) * a * (1.0 - a)
            dpooled += da * tl.load(channel_ptr + k)
            tl.atomic_add(dchannel_ptr + k, tl.sum(tl.sum(da * means, 1), 0), sem="relaxed")
        tl.store(dsums_ptr + at + ci[None, :], dpooled * scale, mask=ok)
    else:
        dgate = tl.load(dgates_ptr + at + co[None, :], mask=ok, other=0.0)
        w_at = co[:, None] * 2 * C + part * C + ci[None, :]
        w_ok = (co < C)[:, None] & (ci < C)[None, :]
        w = tl.load(direction_ptr + w_at, mask=w_ok, other=0.0)
        dmeans = tl.dot(dgate, w, input_precision="ieee")
        tl.store(dsums_ptr + at + ci[None, :], dmeans * scale, mask=ok)
        dw = tl.dot(tl.trans(dgate), means, input_precision="ieee")
        tl.atomic_add(ddirection_ptr + w_at, dw, mask=w_ok, sem="relaxed")


@triton.jit
def _of_line(strips_ptr, line, C: tl.constexpr):  # noqa: ANN001, ANN202
    """The strip of a line, `[1, C]`."""
    return tl.load(strips_ptr + line * C + tl.arange(0, C)[None, :])


@triton.jit
def _of_columns(strips_ptr, line, x, batch, height, width, C: tl.constexpr):  # noqa: ANN001, ANN202
    """The strips of the columns `x` of a line's picture, `[R, C]`."""
    at = (batch * height + line // height * width + x)[:, None] * C + tl.arange(0, C)[None, :]
    return tl.load(strips_ptr + at, mask=(x < width)[:, None], other=0.0)


@triton.jit
def _of_picture(strips_ptr, line, batch, height, width, C: tl.constexpr):  # noqa: ANN001, ANN202
    """The strip of a line's picture, `[1, C]`."""
    at = (batch * (height + width) + line // height) * C
    return tl.load(strips_ptr + at + tl.arange(0, C)[None, :])


@triton.jit(do_not_specialize=_SIZES)
def _gated_sum(  # noqa: ANN202
    base_ptr, base_params_ptr, base_stats_ptr, pair_ptr, params_ptr, stats_ptr,  # noqa: ANN001
    gates_ptr, s_ptr, s_stats_ptr, tiles, batch, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    c2 = c[None, :]
    rows = batch * height * width
    b_scale, b_shift, b_slope = terms_of(base_params_ptr, base_stats_ptr, c2, c2 < C, rows, eps, C)
    l_scale, l_shift, l_slope = terms_of(params_ptr, stats_ptr, c2, c2 < C, rows, eps, C)
    g_scale, g_shift, g_slope = terms_of(
        params_ptr + 3 * C, stats_ptr + 2 * C, c2, c2 < C, rows, eps, C
    )
    wide_ptr = pair_ptr + rows.to(tl.int64) * C
    first = tl.zeros((R, C), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, x = place_of_tile(tile, width, R)
        ok = (x < width)[:, None]
        at = (line * width + x)[:, None] * C + c2
        r, q = (
            _of_line(gates_ptr, line, C),
            _of_columns(gates_ptr, line, x, batch, height, width, C),
        )
        a = _of_picture(gates_ptr, line, batch, height, width, C)
        s = activated(tl.load(base_ptr + at, mask=ok, other=0.0), b_scale, b_shift, b_slope)
        s += a * activated(tl.load(pair_ptr + at, mask=ok, other=0.0), l_scale, l_shift, l_slope)
        wide = activated(tl.load(wide_ptr + at, mask=ok, other=0.0), g_scale, g_shift, g_slope)
        s += tl.sigmoid(r + q) * wide
        tl.store(s_ptr + at, s.to(s_ptr.dtype.element_ty), mask=ok)
        kept = tl.where(ok, s, 0.0)
        first += kept
        second += kept * kept
    add_stats(s_stats_ptr, c, c < C, tl.sum(first, 0), tl.sum(second, 0), C)


@triton.jit(do_not_specialize=_SIZES)
def _gates_gradient(  # noqa: ANN202
    dmid_ptr, s_ptr, mid_params_ptr, mid_stats_ptr, mid_grads_ptr,  # noqa: ANN001
    pair_ptr, params_ptr, stats_ptr, gates_ptr, ds_ptr, dgates_ptr,  # noqa: ANN001
    batch, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    """A program walks along `TH` lines of one picture."""
    c = tl.arange(0, C)
    c3 = c[None, None, :]
    tall = tl.cdiv(height, TH)
    image = tl.program_id(0) // tall
    y = tl.program_id(0) % tall * TH + tl.arange(0, TH)
    rows = batch * height * width
    wide_ptr = pair_ptr + rows.to(tl.int64) * C
    columns = batch * height + image * width
    scale, shift, slope, of_s, constant = backward_terms_of(
        mid_params_ptr, mid_stats_ptr, mid_grads_ptr, c3, c3 < C, rows, eps, C
    )
    l_scale, l_shift, l_slope = terms_of(params_ptr, stats_ptr, c3, c3 < C, rows, eps, C)
    g_scale, g_shift, g_slope = terms_of(
        params_ptr + 3 * C, stats_ptr + 2 * C, c3, c3 < C, rows, eps, C
    )
    r_at = (image * height + y)[:, None, None] * C + c3
    r = tl.load(gates_ptr + r_at, mask=(y < height)[:, None, None], other=0.0)
    of_rows = tl.zeros((TH, TW, C), tl.float32)
    of_local = of_rows
    for begin in range(0, width, TW):
        x = begin + tl.arange(0, TW)
        ok = (y < height)[:, None, None] & (x < width)[None, :, None]
        at = ((image * height + y)[:, None] * width + x[None, :])[:, :, None] * C + c3
        dmid = tl.load(dmid_ptr + at, mask=ok, other=0.0).to(tl.float32)
        s = tl.load(s_ptr + at, mask=ok, other=0.0)
        ds = through_norm(dmid, s, scale, shift, slope, of_s, constant)
        ds = tl.where(ok, ds, 0.0)
        tl.store(ds_ptr + at, ds.to(ds_ptr.dtype.element_ty), mask=ok)
        local = tl.load(pair_ptr + at, mask=ok, other=0.0)
        of_local += ds * activated(local, l_scale, l_shift, l_slope)
        wide = tl.load(wide_ptr + at, mask=ok, other=0.0)
        q_at = (columns + x)[None, :, None] * C + c3
        q = tl.load(gates_ptr + q_at, mask=(x < width)[None, :, None], other=0.0)
        gate = tl.sigmoid(r + q)
        for_gate = ds * activated(wide, g_scale, g_shift, g_slope) * gate * (1.0 - gate)
        of_rows += for_gate
        _add_strip(dgates_ptr, columns, x, x < width, tl.sum(for_gate, 0), C)
    _add_strip(dgates_ptr, image * height, y, y < height, tl.sum(of_rows, 1), C)
    at = (batch * (height + width) + image) * C + c
    tl.atomic_add(dgates_ptr + at, tl.sum(tl.sum(of_local, 1), 0), sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def _gated_sum_backward(  # noqa: ANN202
    ds_ptr, pair_ptr, params_ptr, stats_ptr, grads_ptr, gates_ptr, dsums_ptr, dpair_ptr,  # noqa: ANN001
    tiles, batch, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Program (i, 0) sees to l, program (i, 1) to g."""
    c = tl.arange(0, C)
    c2 = c[None, :]
    rows = batch * height * width
    branch = tl.program_id(1)
    params_ptr += branch * 3 * C
    stats_ptr += branch * 2 * C
    grads_ptr += branch * 3 * C
    plane = branch.to(tl.int64) * rows * C
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c2, c2 < C, rows, eps, C)
    of_dz = tl.zeros((R, C), tl.float32)
    of_dz_x, of_slope = of_dz, of_dz
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, x = place_of_tile(tile, width, R)
        ok = (x < width)[:, None]
        at = (line * width + x)[:, None] * C + c2
        ds = tl.load(ds_ptr + at, mask=ok, other=0.0).to(tl.float32)
        if branch == 0:
            a = _of_picture(gates_ptr, line, batch, height, width, C)
            dy = ds * a + _of_picture(dsums_ptr, line, batch, height, width, C)
        else:
            r = _of_line(gates_ptr, line, C)
            q = _of_columns(gates_ptr, line, x, batch, height, width, C)
            dy = ds * tl.sigmoid(r + q) + _of_line(dsums_ptr, line, C)
            dy += _of_columns(dsums_ptr, line, x, batch, height, width, C)
        tl.store(dpair_ptr + plane + at, dy.to(dpair_ptr.dtype.element_ty), mask=ok)
        value = tl.load(pair_ptr + plane + at, mask=ok, other=0.0)
        dz, dz_x, for_slope = through_activation(tl.where(ok, dy, 0.0), value, scale, shift, slope)
        of_dz += dz
        of_dz_x += dz_x
        of_slope += for_slope
    add_gradients(
        grads_ptr, stats_ptr, c, c < C,
        tl.sum(of_dz, 0), tl.sum(of_dz_x, 0), tl.sum(of_slope, 0), rows, eps, C,
    )  # fmt: skip
