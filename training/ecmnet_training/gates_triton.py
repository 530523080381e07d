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
    blocks_for,
    terms_of,
    through_activation,
    through_norm,
)

_TILE = 2048
_TILE_BACK = 1024
_STRIP_TILE = 32
_TALL = 8


def strips_count(batch: int, height: int, width: int) -> int:
    """Rows of a `strips` tensor."""
    return batch * (height + width + 1)


def sum_strips(pair: Tensor, norm: Norm, sums: Tensor) -> None:
    """Adds the sums of l and g, from their raw `pair` `[2, b, c, h, w]`, to `sums`."""
    b, c, h, w = pair.shape[1:]
    wide = _wide(c)
    tiles = triton.cdiv(h, _TALL) * triton.cdiv(w, wide)
    _sum_strips[(b * tiles,)](
        pair, norm.params, norm.stats, sums, b, h, w, BN_EPS, C=c, TH=_TALL, TW=wide, num_warps=4
    )


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
    _, c, h, w = s.shape
    rows = s.numel() // c
    tile_rows = _TILE // c
    blocks = blocks_for(rows, tile_rows)
    _gated_sum[(blocks,)](
        base, base_norm.params, base_norm.stats, pair, norm.params, norm.stats, gates, s, stats,
        rows, blocks, h, w, BN_EPS, C=c, R=tile_rows, num_warps=4,
    )  # fmt: skip


def gates_gradient(
    dmid: Tensor, s: Tensor, mid: Norm, pair: Tensor, norm: Norm, gates: Tensor, *,
    ds: Tensor, dgates: Tensor,
) -> None:  # fmt: skip
    """From `dmid`, the gradient of PReLU(BN(s)): writes that of s, adds to those of r, q and a."""
    b, c, h, w = s.shape
    wide = _wide(c)
    tiles = triton.cdiv(h, _TALL) * triton.cdiv(w, wide)
    _gates_gradient[(b * tiles,)](
        dmid, s, mid.params, mid.stats, mid.grads, pair, norm.params, norm.stats, gates,
        ds, dgates, b, h, w, BN_EPS, C=c, TH=_TALL, TW=wide, num_warps=4,
    )  # fmt: skip


def gated_sum_backward(
    ds: Tensor, pair: Tensor, norm: Norm, gates: Tensor, dsums: Tensor, dpair: Tensor
) -> None:
    """Writes the gradients of l and g, `[2, b, c, h, w]`; adds to `norm.grads`."""
    _, c, h, w = ds.shape
    rows = ds.numel() // c
    tile_rows = _TILE_BACK // c
    blocks = blocks_for(rows, tile_rows)
    _gated_sum_backward[(blocks,)](
        ds, pair, norm.params, norm.stats, norm.grads, gates, dsums, dpair,
        rows, blocks, h, w, BN_EPS, C=c, R=tile_rows, num_warps=4,
    )  # fmt: skip


def _wide(channels: int) -> int:
    return _TILE // channels // _TALL


def _strip_programs(size: tuple[int, int, int]) -> int:
    b, h, w = size
    return sum(triton.cdiv(count, _STRIP_TILE) for count in (b * h, b * w, b))


_SIZES = ["rows", "blocks", "batch", "height", "width"]


@triton.jit
def _place_of_tile(batch, height, width, TH: tl.constexpr, TW: tl.constexpr):  # noqa: ANN001, ANN202
    """(image, its rows `[TH]`, its columns `[TW]`) of this program."""
    tiles_x = tl.cdiv(width, TW)
    tiles = tl.cdiv(height, TH) * tiles_x
    tile = tl.program_id(0) % tiles
    y = tile // tiles_x * TH + tl.arange(0, TH)
    x = tile % tiles_x * TW + tl.arange(0, TW)
    return tl.program_id(0) // tiles, y, x


@triton.jit
def _add_strips(  # noqa: ANN202
    strips_ptr, image, y, x, batch, height, width, c, direction, channel,  # noqa: ANN001
    C: tl.constexpr,
):  # fmt: skip
    """Adds `direction` `[TH, TW, C]` to its rows and columns, `channel` to its image."""
    at = (image * height + y)[:, None] * C + c[None, :]
    tl.atomic_add(strips_ptr + at, tl.sum(direction, 1), mask=(y < height)[:, None], sem="relaxed")
    at = (batch * height + image * width + x)[:, None] * C + c[None, :]
    tl.atomic_add(strips_ptr + at, tl.sum(direction, 0), mask=(x < width)[:, None], sem="relaxed")
    at = (batch * (height + width) + image) * C + c
    tl.atomic_add(strips_ptr + at, tl.sum(tl.sum(channel, 0), 0), sem="relaxed")


@triton.jit(do_not_specialize=_SIZES)
def _sum_strips(  # noqa: ANN202
    pair_ptr, params_ptr, stats_ptr, sums_ptr, batch, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    image, y, x = _place_of_tile(batch, height, width, TH, TW)
    rows = batch * height * width
    ok = (y < height)[:, None, None] & (x < width)[None, :, None]
    p = (image * height + y)[:, None] * width + x[None, :]
    at = p[:, :, None] * C + c[None, None, :]
    c3 = c[None, None, :]
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c3, c3 < C, rows, eps, C)
    local = tl.load(pair_ptr + at, mask=ok, other=0.0)
    local = tl.where(ok, activated(local, scale, shift, slope), 0.0)
    scale, shift, slope = terms_of(params_ptr + 3 * C, stats_ptr + 2 * C, c3, c3 < C, rows, eps, C)
    wide = tl.load(pair_ptr + rows.to(tl.int64) * C + at, mask=ok, other=0.0)
    wide = tl.where(ok, activated(wide, scale, shift, slope), 0.0)
    _add_strips(sums_ptr, image, y, x, batch, height, width, c, wide, local, C)


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
def _gates_of_rows(gates_ptr, p, ok, batch, height, width, c, C: tl.constexpr):  # noqa: ANN001, ANN202
    """(a, sigmoid(r + q)) at the rows `p`; also the places of their strips."""
    line = p // width
    image = line // height
    r_at = line[:, None] * C + c[None, :]
    q_at = (batch * height + image * width + p % width)[:, None] * C + c[None, :]
    a_at = (batch * (height + width) + image)[:, None] * C + c[None, :]
    r = tl.load(gates_ptr + r_at, mask=ok, other=0.0)
    q = tl.load(gates_ptr + q_at, mask=ok, other=0.0)
    a = tl.load(gates_ptr + a_at, mask=ok, other=0.0)
    return a, tl.sigmoid(r + q), r_at, q_at, a_at


@triton.jit(do_not_specialize=_SIZES)
def _gated_sum(  # noqa: ANN202
    base_ptr, base_params_ptr, base_stats_ptr, pair_ptr, params_ptr, stats_ptr,  # noqa: ANN001
    gates_ptr, s_ptr, s_stats_ptr, rows, blocks, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    c2 = c[None, :]
    batch = rows // (height * width)
    b_scale, b_shift, b_slope = terms_of(base_params_ptr, base_stats_ptr, c2, c2 < C, rows, eps, C)
    l_scale, l_shift, l_slope = terms_of(params_ptr, stats_ptr, c2, c2 < C, rows, eps, C)
    g_scale, g_shift, g_slope = terms_of(
        params_ptr + 3 * C, stats_ptr + 2 * C, c2, c2 < C, rows, eps, C
    )
    wide_ptr = pair_ptr + rows.to(tl.int64) * C
    first = tl.zeros((R, C), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), blocks):
        p = tile * R + tl.arange(0, R)
        ok = (p < rows)[:, None]
        at = p[:, None] * C + c[None, :]
        a, gate, _, _, _ = _gates_of_rows(gates_ptr, p, ok, batch, height, width, c, C)
        s = activated(tl.load(base_ptr + at, mask=ok, other=0.0), b_scale, b_shift, b_slope)
        s += a * activated(tl.load(pair_ptr + at, mask=ok, other=0.0), l_scale, l_shift, l_slope)
        s += gate * activated(tl.load(wide_ptr + at, mask=ok, other=0.0), g_scale, g_shift, g_slope)
        s = s.to(s_ptr.dtype.element_ty)
        tl.store(s_ptr + at, s, mask=ok)
        kept = tl.where(ok, s.to(tl.float32), 0.0)
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
    c = tl.arange(0, C)
    c3 = c[None, None, :]
    image, y, x = _place_of_tile(batch, height, width, TH, TW)
    rows = batch * height * width
    ok = (y < height)[:, None, None] & (x < width)[None, :, None]
    p = (image * height + y)[:, None] * width + x[None, :]
    at = p[:, :, None] * C + c3
    scale, shift, slope, of_s, constant = backward_terms_of(
        mid_params_ptr, mid_stats_ptr, mid_grads_ptr, c3, c3 < C, rows, eps, C
    )
    dmid = tl.load(dmid_ptr + at, mask=ok, other=0.0).to(tl.float32)
    s = tl.load(s_ptr + at, mask=ok, other=0.0)
    ds = through_norm(dmid, s, scale, shift, slope, of_s, constant)
    ds = tl.where(ok, ds, 0.0)
    tl.store(ds_ptr + at, ds.to(ds_ptr.dtype.element_ty), mask=ok)
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c3, c3 < C, rows, eps, C)
    local = tl.load(pair_ptr + at, mask=ok, other=0.0)
    for_a = ds * activated(local, scale, shift, slope)
    scale, shift, slope = terms_of(params_ptr + 3 * C, stats_ptr + 2 * C, c3, c3 < C, rows, eps, C)
    wide = tl.load(pair_ptr + rows.to(tl.int64) * C + at, mask=ok, other=0.0)
    r_at = (image * height + y)[:, None, None] * C + c3
    q_at = (batch * height + image * width + x)[None, :, None] * C + c3
    r = tl.load(gates_ptr + r_at, mask=(y < height)[:, None, None], other=0.0)
    q = tl.load(gates_ptr + q_at, mask=(x < width)[None, :, None], other=0.0)
    gate = tl.sigmoid(r + q)
    for_gate = ds * activated(wide, scale, shift, slope) * gate * (1.0 - gate)
    _add_strips(dgates_ptr, image, y, x, batch, height, width, c, for_gate, for_a, C)


@triton.jit(do_not_specialize=_SIZES)
def _gated_sum_backward(  # noqa: ANN202
    ds_ptr, pair_ptr, params_ptr, stats_ptr, grads_ptr, gates_ptr, dsums_ptr, dpair_ptr,  # noqa: ANN001
    rows, blocks, height, width, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c = tl.arange(0, C)
    c2 = c[None, :]
    batch = rows // (height * width)
    l_scale, l_shift, l_slope = terms_of(params_ptr, stats_ptr, c2, c2 < C, rows, eps, C)
    g_scale, g_shift, g_slope = terms_of(
        params_ptr + 3 * C, stats_ptr + 2 * C, c2, c2 < C, rows, eps, C
    )
    kind = dpair_ptr.dtype.element_ty
    plane = rows.to(tl.int64) * C
    l_dz = tl.zeros((R, C), tl.float32)
    l_dz_x, l_slopes, g_dz, g_dz_x, g_slopes = l_dz, l_dz, l_dz, l_dz, l_dz
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), blocks):
        p = tile * R + tl.arange(0, R)
        ok = (p < rows)[:, None]
        at = p[:, None] * C + c[None, :]
        a, gate, r_at, q_at, a_at = _gates_of_rows(gates_ptr, p, ok, batch, height, width, c, C)
        ds = tl.load(ds_ptr + at, mask=ok, other=0.0).to(tl.float32)
        dlocal = ds * a + tl.load(dsums_ptr + a_at, mask=ok, other=0.0)
        tl.store(dpair_ptr + at, dlocal.to(kind), mask=ok)
        local = tl.load(pair_ptr + at, mask=ok, other=0.0)
        # Rows beyond the last have dlocal = 0.
        dz, dz_x, for_slope = through_activation(dlocal, local, l_scale, l_shift, l_slope)
        l_dz += dz
        l_dz_x += dz_x
        l_slopes += for_slope
        dwide = ds * gate + tl.load(dsums_ptr + r_at, mask=ok, other=0.0)
        dwide += tl.load(dsums_ptr + q_at, mask=ok, other=0.0)
        tl.store(dpair_ptr + plane + at, dwide.to(kind), mask=ok)
        wide = tl.load(pair_ptr + plane + at, mask=ok, other=0.0)
        # Rows beyond the last have dwide = 0.
        dz, dz_x, for_slope = through_activation(dwide, wide, g_scale, g_shift, g_slope)
        g_dz += dz
        g_dz_x += dz_x
        g_slopes += for_slope
    add_gradients(
        grads_ptr, stats_ptr, c, c < C,
        tl.sum(l_dz, 0), tl.sum(l_dz_x, 0), tl.sum(l_slopes, 0), rows, eps, C,
    )  # fmt: skip
    add_gradients(
        grads_ptr + 3 * C, stats_ptr + 2 * C, c, c < C,
        tl.sum(g_dz, 0), tl.sum(g_dz_x, 0), tl.sum(g_slopes, 0), rows, eps, C,
    )  # fmt: skip
