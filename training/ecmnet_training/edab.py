"""EDAB: the encoder's and decoder's block, eqs 1-4 of the paper."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import BNPReLU, conv, conv_act


class ChannelAttention(nn.Module):
    """sigmoid(conv1d_k3 over the channels of GAP(x)), zero-padded, no bias: a gate `[b, c]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), dtype=_sum_dtype(x))
        return torch.sigmoid(self.conv(pooled[:, None])[:, 0])


class DirectionAttention(nn.Module):
    """The gate sigmoid(W_h mean_w(x) + W_w mean_h(x)), before its sigmoid, as two strips.

    [W_h | W_w] is one bias-free 1x1, 2c -> c. A 1x1 convolution commutes with broadcasting, so it
    runs on the strips only: `[b, h, c]` and `[b, w, c]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        w_h, w_w = self.conv.weight[:, :, 0, 0].chunk(2, dim=1)
        rows = x.mean(3, dtype=_sum_dtype(x)).transpose(1, 2)
        columns = x.mean(2, dtype=_sum_dtype(x)).transpose(1, 2)
        return F.linear(rows, w_h), F.linear(columns, w_w)


class EDAB(nn.Module):
    """Local and dilated depthwise branches on half the channels, two attentions, residual, shuffle.

    `[b, c, h, w] -> [b, c, h, w]`; the output's channels are interleaved: even ones, then odd ones.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        half = channels // 2
        self.pre = BNPReLU(channels)
        self.reduce = conv(channels, half, 1)
        self.up1 = conv_act(half, half, (3, 1))
        self.up2 = conv_act(half, half, (1, 3))
        self.l1 = conv_act(half, half, (3, 1), depthwise=True)
        self.l2 = conv_act(half, half, (1, 3), depthwise=True)
        self.ca = ChannelAttention()
        self.g1 = conv_act(half, half, (3, 1), dilation=dilation, depthwise=True)
        self.g2 = conv_act(half, half, (1, 3), dilation=dilation, depthwise=True)
        self.dda = DirectionAttention(half)
        self.mid = BNPReLU(half)
        self.expand = conv(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_sums(x, None)[0]

    def with_sums(self, x: Tensor, sums: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The output and, in training on a GPU, what the next block's first norm needs of it.

        `sums` is what the block before has returned beside x.
        """
        if x.is_cuda and self.training:
            from .edab_triton import edab

            return edab(self, x, sums)
        return self._plain(x), None

    def _plain(self, x: Tensor) -> Tensor:
        u = self.up2(self.up1(self.reduce(self.pre(x))))
        local = self.l2(self.l1(u))
        wide = self.g2(self.g1(u))
        rows, columns = self.dda(wide)
        gate = torch.sigmoid(rows.transpose(1, 2)[..., None] + columns.transpose(1, 2)[:, :, None])
        y = self.expand(self.mid(u + local * self.ca(local)[..., None, None] + wide * gate)) + x
        return torch.cat([y[:, 0::2], y[:, 1::2]], dim=1)


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
