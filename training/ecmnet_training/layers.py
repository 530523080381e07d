"""The small layers every block shares: convolution + batch norm + PReLU, down, up.

Tensors are `[b, c, h, w]`. Module attribute names are the tensor names of the weights file.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BN_EPS = 1e-3


class PReLU(nn.Module):
    """`x` where positive, `weight[c] * x` elsewhere; the slope is one per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        slope = self.weight.to(x.dtype).view(1, -1, 1, 1)
        return torch.where(x > 0, x, slope * x)


class BNPReLU(nn.Module):
    """PReLU(BN(x)) over the channel axis."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=BN_EPS)
        self.act = PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and self.training:
            from .norm_triton import bn_prelu

            return bn_prelu([x], self.bn, self.act.weight)
        return self.act(self.bn(x))


class DepthwiseConv(nn.Conv2d):
    """One filter per channel, stride 1, "same" padding."""


def conv(
    c_in: int,
    c_out: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    dilation: int = 1,
    depthwise: bool = False,
    bias: bool = False,
) -> nn.Conv2d:
    """A "same"-padded convolution; dilation acts only along axes whose kernel is wider than 1."""
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    dil = (dilation if kh > 1 else 1, dilation if kw > 1 else 1)
    pad = (dil[0] * (kh // 2), dil[1] * (kw // 2))
    if depthwise:
        return DepthwiseConv(
            c_in, c_out, (kh, kw), stride, pad, dilation=dil, groups=c_in, bias=bias
        )
    return nn.Conv2d(c_in, c_out, (kh, kw), stride, pad, dilation=dil, bias=bias)


def conv_act(
    c_in: int,
    c_out: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    dilation: int = 1,
    depthwise: bool = False,
) -> nn.Sequential:
    """Convolution without bias, then BNPReLU."""
    return nn.Sequential(
        conv(c_in, c_out, kernel, stride=stride, dilation=dilation, depthwise=depthwise),
        BNPReLU(c_out),
    )


class Down(nn.Module):
    """Halves the size (rounding up): a stride-2 3x3 beside a 2x2 max pool when channels grow."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.keeps_input = c_in < c_out
        self.conv = conv(c_in, c_out - c_in if self.keeps_input else c_out, 3, stride=2)
        self.act = BNPReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if not self.keeps_input:
            return self.act(y)
        if x.is_cuda and self.training:
            from .norm_triton import bn_prelu
            from .pool_triton import max_pool_2x2

            return bn_prelu([y, max_pool_2x2(x)], self.act.bn, self.act.act.weight)
        return self.act(torch.cat([y, F.max_pool2d(x, 2, 2, ceil_mode=True)], dim=1))


def bilinear(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """`x` resized with half-pixel centres (align_corners=False)."""
    return F.interpolate(x, size=size_hw, mode="bilinear", align_corners=False)


class Up(nn.Module):
    """Bilinear to the skip's size, then conv_act 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_act(channels, channels, 3)

    def forward(self, x: Tensor, size_hw: tuple[int, int]) -> Tensor:
        if x.is_cuda and self.training and size_hw == (2 * x.shape[2], 2 * x.shape[3]):
            from .double_triton import doubled

            return self.conv(doubled(x))
        return self.conv(bilinear(x, size_hw))
