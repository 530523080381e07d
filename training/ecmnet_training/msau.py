"""MSAU: multi-scale attention on a skip, eqs 5-9 of the paper."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        if x.is_cuda and self.training:
            return self._in_few_kernels(x)
        t = self.reduce(x)
        x1 = self._three_sizes(t)
        x2 = self.expand(x1 * torch.sigmoid(self.gate(x1.mean(2, keepdim=True))))
        x3 = self.ba[1](self.ba[0](x).mean((2, 3), keepdim=True))
        x4 = self.bm[1](self.bm[0](x).amax((2, 3), keepdim=True))
        return x + x2 * (x3 + x4)

    def _in_few_kernels(self, x: Tensor) -> Tensor:
        """The same on a GPU, in training mode: what lies between the convolutions is fused."""
        from .msau_triton import gated_sum
        from .pooled_norm_triton import pooled_norms
        from .squeeze_triton import squeezed

        x1 = self._three_sizes(self.reduce(x))
        (mean_conv, mean_norm), (max_conv, max_norm) = self.ba[0], self.bm[0]
        weight = torch.cat([mean_conv.weight, max_conv.weight])
        pooled = pooled_norms(F.conv2d(x, weight, padding=1), mean_norm, max_norm)
        return gated_sum(x, x1, squeezed(pooled, self.ba[1], self.bm[1]), self.gate, self.expand)

    def _three_sizes(self, t: Tensor) -> Tensor:
        """The sum of the three depthwise convolutions; in training as one of the largest size."""
        if not self.training:
            return self.dw[0](t) + self.dw[1](t) + self.dw[2](t)
        largest = self.dw[2].weight.shape[-1]
        kernel = sum(F.pad(d.weight, [(largest - d.weight.shape[-1]) // 2] * 4) for d in self.dw)
        return F.conv2d(t, kernel, padding=largest // 2, groups=t.shape[1])


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
