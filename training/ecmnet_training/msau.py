"""MSAU: multi-scale attention on a skip, eqs 5-9 of the paper."""

import torch
from torch import Tensor, nn

from .layers import BN_EPS, conv, conv_act


class MSAU(nn.Module):
    """`[b, c, h, w] -> [b, c, h, w]`. One instance serves the three skips."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = conv_act(channels, half, 1)
        self.dw = nn.ModuleList(conv(half, half, k, depthwise=True) for k in (3, 5, 7))
        self.gate = conv(half, half, 7, bias=True)
        self.expand = conv(half, channels, 1, bias=True)
        self.ba = _branch(channels)
        self.bm = _branch(channels)

    def forward(self, x: Tensor) -> Tensor:
        t = self.reduce(x)
        x1 = self.dw[0](t) + self.dw[1](t) + self.dw[2](t)
        x2 = self.expand(x1 * torch.sigmoid(self.gate(x1.mean(2, keepdim=True))))
        x3 = self.ba[1](self.ba[0](x).mean((2, 3), keepdim=True))
        x4 = self.bm[1](self.bm[0](x).amax((2, 3), keepdim=True))
        return x + x2 * (x3 + x4)


def _branch(channels: int) -> nn.ModuleList:
    half = channels // 2
    return nn.ModuleList(
        [
            nn.Sequential(conv(channels, channels, 3), nn.BatchNorm2d(channels, eps=BN_EPS)),
            nn.Sequential(
                conv(channels, half, 1, bias=True), nn.ReLU(), conv(half, channels, 1, bias=True)
            ),
        ]
    )
