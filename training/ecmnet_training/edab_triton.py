"""EDAB in training mode on a GPU: ten kernels forward, ten backward, instead of some 130 launches.

Between its kernels only raw convolution outputs lie in memory; batch norm, PReLU and the gates are
applied by whoever reads them, and their sums taken by whoever writes (norm_formulas.py). Parameters
stay f32; they are rounded to the pictures' dtype inside the kernels.
"""

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from .channel_sums_triton import add_sums
from .dense_triton import Norm, convolve, convolve_backward, empty_like_rows
from .depthwise_triton import convolve_pair, convolve_pair_backward
from .gates_triton import (
    gated_sum,
    gated_sum_backward,
    gates_backward,
    gates_from_sums,
    gates_gradient,
    strips_count,
    sum_strips,
)
from .layers import BN_EPS
from .norm_formulas import backward_terms_of, move_running, through_norm
from .tiles_triton import launch

if TYPE_CHECKING:
    from .edab import EDAB

_NORMS = ("pre", "up1", "up2", "l1", "g1", "l2", "g2", "mid")
_DEPTHWISE = ("l1", "g1", "l2", "g2")
_TILE = 2048


def edab(block: "EDAB", x: Tensor, sums: Tensor | None) -> tuple[Tensor, Tensor]:
    """The block's output for `[b, c, h, w]` with the batch's statistics; moves the running ones.

    `sums` `[2, c]` are those of x and x^2 over all pixels, if there are any; the second value
    returned are the output's.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if sums is None:
        sums = x.new_zeros(2, x.shape[1], dtype=torch.float32)
        add_sums(x, sums)
    layers = [block.pre if n == "pre" else block.mid if n == "mid" else getattr(block, n)[1]
              for n in _NORMS]  # fmt: skip
    small = [t for layer in layers for t in (layer.bn.weight, layer.bn.bias, layer.act.weight)]
    small += [getattr(block, name)[0].weight for name in _DEPTHWISE]
    running = [t for layer in layers for t in (layer.bn.running_mean, layer.bn.running_var)]
    return _EDAB.apply(
        x,
        sums,
        block.g1[0].dilation[0],
        layers[0].bn.momentum,
        running,
        block.reduce.weight,
        block.up1[0].weight,
        block.up2[0].weight,
        block.expand.weight,
        block.dda.conv.weight,
        block.ca.conv.weight,
        *small,
    )


class _Layout:
    """Where each norm's parameters, statistics and gradients lie in the block's flat tensors."""

    def __init__(self, channels: int) -> None:
        half = channels // 2
        self.sizes = [channels] + [half] * 7
        starts = [0, *accumulate(self.sizes)]
        self.start = dict(zip(_NORMS, starts, strict=False))
        self.total = starts[-1]
        self.taps = 3 * self.total

    def norm(self, name: str, params: Tensor, stats: Tensor, grads: Tensor | None = None) -> Norm:
        start = self.start[name]
        cut = None if grads is None else grads[3 * start :]
        return Norm(params[3 * start :], stats[2 * start :], cut)


class _EDAB(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        x: Tensor,
        pre_stats: Tensor,
        dilation: int,
        momentum: float,
        running: list[Tensor],
        reduce: Tensor,
        up1: Tensor,
        up2: Tensor,
        expand: Tensor,
        direction: Tensor,
        channel: Tensor,
        *small: Tensor,
    ) -> tuple[Tensor, Tensor]:
        b, channels, h, w = x.shape
        half = channels // 2
        layout = _Layout(channels)
        strips = strips_count(b, h, w)
        params = torch.cat([t.flatten() for t in small])
        zeros = params.new_zeros(2 * layout.total + strips * half)
        stats, sums = zeros[: 2 * layout.total], zeros[2 * layout.total :].view(strips, half)
        gates = torch.empty_like(sums)
        # The first norm's were given; their place takes the output's, of as many channels.
        out_sums = stats[: 2 * channels].view(2, channels)

        def norm(name: str) -> Norm:
            return layout.norm(name, params, pre_stats if name == "pre" else stats)

        def stats_of(name: str) -> Tensor:
            return norm(name).stats

        reduced, y1, y2, s = (empty_like_rows(x, half) for _ in range(4))
        first, second = (torch.empty((2, *s.shape), dtype=x.dtype, device=x.device) for _ in "12")
        out = torch.empty_like(x)
        along_h = {"along_height": True, "dilation": dilation}
        along_w = {"along_height": False, "dilation": dilation}
        l1_w, l2_w = (params[layout.taps + i * half :] for i in (0, 6))

        convolve(x, reduce, reduced, norm=norm("pre"))
        convolve(reduced, up1, y1, y_stats=stats_of("up1"))
        convolve(y1, up2, y2, norm=norm("up1"), y_stats=stats_of("up2"))
        convolve_pair(y2, norm("up2"), l1_w, first, stats_of("l1"), **along_h)
        convolve_pair(first, norm("l1"), l2_w, second, stats_of("l2"), **along_w)
        sum_strips(second, norm("l2"), sums)
        gates_from_sums(sums, direction, channel, gates, (b, h, w))
        gated_sum(y2, norm("up2"), second, norm("l2"), gates, s, stats_of("mid"))
        convolve(s, expand, out, norm=norm("mid"), residual=x, y_stats=out_sums)
        _move_running[(8,)](
            pre_stats, stats, *running, x.numel() // channels, momentum, H=half, HP=max(half, 16)
        )
        ctx.dilation = dilation
        ctx.save_for_backward(
            x, pre_stats, reduced, y1, y2, first, second, s, params, stats, sums, gates,
            reduce, up1, up2, expand, direction, channel, *small,
        )  # fmt: skip
        ctx.mark_non_differentiable(out_sums)
        return out, out_sums

    @staticmethod
    def backward(ctx, dout: Tensor, _dsums: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        (x, pre_stats, reduced, y1, y2, first, second, s, params, stats, sums, gates, *weights) = (
            ctx.saved_tensors
        )
        reduce, up1, up2, expand, direction, channel, *small = weights
        dense = weights[:6]
        dout = dout.contiguous(memory_format=torch.channels_last)
        b, channels, h, w = x.shape
        half = channels // 2
        layout = _Layout(channels)
        # One zeroed tensor for all sums: the gradients of the small parameters, those of the
        # dense weights (each begins at a multiple of four), and of the gates.
        places = [0, params.numel(), *(-(-t.numel() // 4) * 4 for t in dense), sums.numel()]
        places = list(accumulate(places))
        zeros = params.new_zeros(places[-1])
        grads = zeros[: places[1]]
        dreduce, dup1, dup2, dexpand, ddirection, dchannel = dweights = [
            zeros[at : at + t.numel()].as_strided(t.shape, t.stride(), at)
            for at, t in zip(places[1:], dense, strict=False)
        ]
        dgates = zeros[places[-2] :].view_as(sums)
        dsums = torch.empty_like(sums)

        def norm(name: str) -> Norm:
            return layout.norm(name, params, pre_stats if name == "pre" else stats, grads)

        half_map, pair = torch.empty_like(s), torch.empty_like(second)
        dmid, ds, du, dy1, dreduced = half_map, *(torch.empty_like(s) for _ in range(4))
        dpair, dfirst = pair, torch.empty_like(pair)
        dpre = torch.empty_like(x)
        along_h = {"along_height": True, "dilation": ctx.dilation}
        along_w = {"along_height": False, "dilation": ctx.dilation}
        l1_at, l2_at = (layout.taps + i * half for i in (0, 6))

        convolve_backward(
            dout, expand, s, dx=dmid, dweight=dexpand, norm=norm("mid"), shuffled=True
        )
        gates_gradient(
            dmid, s, norm("mid"), second, norm("l2"), gates, ds=ds, dgates=dgates
        )  # fmt: skip
        gates_backward(
            dgates, gates, sums, direction, channel, (b, h, w),
            dsums=dsums, ddirection=ddirection, dchannel=dchannel,
        )  # fmt: skip
        gated_sum_backward(ds, second, norm("l2"), gates, dsums, dpair)
        convolve_pair_backward(
            dpair, second, norm("l2"), params[l2_at:], first, norm("l1"),
            dx=dfirst, dweights=grads[l2_at:], **along_w,
        )  # fmt: skip
        convolve_pair_backward(
            dfirst, first, norm("l1"), params[l1_at:], y2, norm("up2"),
            dx=du, dweights=grads[l1_at:], other=ds, **along_h,
        )  # fmt: skip
        convolve_backward(
            du, up2, y1, dx=dy1, dweight=dup2, norm=norm("up1"), y=y2, y_norm=norm("up2")
        )
        convolve_backward(dy1, up1, reduced, dx=dreduced, dweight=dup1, y=y1, y_norm=norm("up1"))
        convolve_backward(dreduced, reduce, x, dx=dpre, dweight=dreduce, norm=norm("pre"))
        dx = torch.empty_like(x)
        rows = x.numel() // channels
        tile_rows = _TILE // channels
        pre = norm("pre")
        launch(
            _input_gradient, triton.cdiv(rows, tile_rows),
            dpre, dout, x, pre.params, pre.stats, pre.grads, dx, rows, BN_EPS,
            C=channels, R=tile_rows,
        )  # fmt: skip
        at, dsmall = 0, []
        for t in small:
            dsmall.append(grads[at : at + t.numel()].view(t.shape))
            at += t.numel()
        return dx, None, None, None, None, *dweights, *dsmall


@triton.jit(do_not_specialize=["rows"])
def _input_gradient(  # noqa: ANN202
    dpre_ptr, dout_ptr, x_ptr, params_ptr, stats_ptr, grads_ptr, dx_ptr, rows, eps,  # noqa: ANN001
    C: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Through the first norm, plus the residual's share, which the shuffle had moved."""
    c = tl.arange(0, C)
    c2 = c[None, :]
    scale, shift, slope, of_x, constant = backward_terms_of(
        params_ptr, stats_ptr, grads_ptr, c2, c2 < C, rows, eps, C
    )
    for tile in range(tl.program_id(0), tl.cdiv(rows, R), tl.num_programs(0)):
        p = tile * R + tl.arange(0, R)
        ok = (p < rows)[:, None]
        at = p[:, None] * C + c2
        dy = tl.load(dpre_ptr + at, mask=ok, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + at, mask=ok, other=0.0)
        dx = through_norm(dy, x, scale, shift, slope, of_x, constant)
        halves = tl.reshape(tl.load(dout_ptr + at, mask=ok, other=0.0), (R, 2, C // 2))
        dx += tl.reshape(tl.permute(halves, (0, 2, 1)), (R, C)).to(tl.float32)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize=["rows"])
def _move_running(  # noqa: ANN202
    pre_ptr, stats_ptr, m0, v0, m1, v1, m2, v2, m3, v3, m4, v4, m5, v5, m6, v6, m7, v7,  # noqa: ANN001
    rows, momentum,  # noqa: ANN001
    H: tl.constexpr, HP: tl.constexpr,
):  # fmt: skip
    """Program i moves the i-th norm's running mean and (unbiased) variance."""
    i = tl.program_id(0)
    if i == 0:
        move_running(pre_ptr, m0, v0, rows, momentum, 2 * H, 2 * HP)
    stats_ptr += 4 * H + (i - 1) * 2 * H
    if i == 1:
        move_running(stats_ptr, m1, v1, rows, momentum, H, HP)
    if i == 2:
        move_running(stats_ptr, m2, v2, rows, momentum, H, HP)
    if i == 3:
        move_running(stats_ptr, m3, v3, rows, momentum, H, HP)
    if i == 4:
        move_running(stats_ptr, m4, v4, rows, momentum, H, HP)
    if i == 5:
        move_running(stats_ptr, m5, v5, rows, momentum, H, HP)
    if i == 6:
        move_running(stats_ptr, m6, v6, rows, momentum, H, HP)
    if i == 7:
        move_running(stats_ptr, m7, v7, rows, momentum, H, HP)
