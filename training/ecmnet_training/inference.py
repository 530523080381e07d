"""The network as PyTorch runs it fastest, from a camera's bytes to class ids.

Batch norms are folded, half precision and channels_last used, every operation plain PyTorch for the
compiler to fuse; only the scan, which plain PyTorch cannot express without a loop over steps, is a
Triton kernel. `scripts/bench_cuda_vs_pytorch.py` measures it.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .edab import EDAB
from .layers import BNPReLU, DepthwiseConv, PReLU, bilinear
from .model import ECMNet
from .ss2d import SS2D

Depthwise = Literal["convolution", "shifts"]
# Of the scan, what is computed in f32 whatever the network's number type.
IN_F32 = ("x_proj_weight", "dt_projs_", "A_logs", "Ds", "out_norm")


@dataclass(frozen=True)
class Form:
    """How the same function is written: number type, and what depthwise convolutions are."""

    dtype: torch.dtype = torch.float16
    depthwise: Depthwise = "convolution"


class DeployedECMNet(nn.Module):
    """u8 RGB `[h, w, 3]` -> class ids u8 `[h, w]`; `mean` and `std` `[3]` are on 0-255."""

    def __init__(self, network: ECMNet, mean: Tensor, std: Tensor, form: Form) -> None:
        super().__init__()
        self.network = _in_form(folded(copy.deepcopy(network).float().eval()), form)
        self.dtype = form.dtype
        self.register_buffer("mean", mean.float().view(1, 3, 1, 1))
        self.register_buffer("factor", 1.0 / std.float().view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        # The permuted view of packed RGB is channels_last already.
        x = image.permute(2, 0, 1)[None].float()
        x = ((x - self.mean) * self.factor).to(self.dtype)
        logits = self.network.coarse_logits(x)
        return bilinear(logits, tuple(image.shape[:2])).argmax(1)[0].to(torch.uint8)


def folded(network: ECMNet) -> ECMNet:
    """`network` (changed in place, f32, eval): batch norms folded into the convolutions before
    them, and PReLU as torch's own."""
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential) and len(module) == 2:
            convolution, norm = module
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, BNPReLU):
                module[0] = fuse_conv_bn_eval(convolution, norm.bn)
                norm.bn = nn.Identity()
            elif isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[0] = fuse_conv_bn_eval(convolution, norm)
                module[1] = nn.Identity()
    for module in list(network.modules()):
        if isinstance(module, BNPReLU) and isinstance(module.act, PReLU):
            own = nn.PReLU(module.act.weight.numel())
            own.weight = nn.Parameter(module.act.weight.detach().clone())
            module.act = own
    return network


class PlainEDAB(nn.Module):
    """An EDAB in operations that a compiler can fuse, at any number type."""

    def __init__(self, block: EDAB) -> None:
        super().__init__()
        self.pre, self.reduce, self.up1, self.up2 = block.pre, block.reduce, block.up1, block.up2
        self.l1, self.l2, self.g1, self.g2 = block.l1, block.l2, block.g1, block.g2
        self.mid, self.expand = block.mid, block.expand
        self.over_channels = block.ca.conv
        rows, columns = block.dda.conv.weight[:, :, 0, 0].chunk(2, dim=1)
        self.rows = nn.Parameter(rows.contiguous())
        self.columns = nn.Parameter(columns.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        u = self.up2(self.up1(self.reduce(self.pre(x))))
        local = self.l2(self.l1(u))
        wide = self.g2(self.g1(u))
        pooled = local.mean((2, 3))
        by_channel = torch.sigmoid(self.over_channels(pooled[:, None])[:, 0])[..., None, None]
        rows = F.linear(wide.mean(3).transpose(1, 2), self.rows).transpose(1, 2)[..., None]
        columns = F.linear(wide.mean(2).transpose(1, 2), self.columns).transpose(1, 2)[:, :, None]
        y = u + local * by_channel + wide * torch.sigmoid(rows + columns)
        y = self.expand(self.mid(y)) + x
        return torch.cat([y[:, 0::2], y[:, 1::2]], dim=1)


class ShiftedDepthwise(nn.Module):
    """A depthwise convolution of stride 1 and "same" padding as a sum of shifted, scaled maps."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.padding, self.dilation = convolution.padding, convolution.dilation

    def forward(self, x: Tensor) -> Tensor:
        (pad_y, pad_x), (step_y, step_x) = self.padding, self.dilation
        padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y))
        height, width = x.shape[2:]
        kernel = self.weight[:, 0, :, :, None, None]
        y: Tensor | None = None if self.bias is None else self.bias[:, None, None]
        for i in range(self.weight.shape[2]):
            for j in range(self.weight.shape[3]):
                top, left = i * step_y, j * step_x
                shifted = padded[:, :, top : top + height, left : left + width] * kernel[:, i, j]
                y = shifted if y is None else y + shifted
        return y


def _in_form(network: ECMNet, form: Form) -> nn.Module:
    for name, module in list(network.named_modules()):
        if isinstance(module, EDAB):
            network.set_submodule(name, PlainEDAB(module))
    if form.depthwise == "shifts":
        for name, module in list(network.named_modules()):
            # Kernels of 25 and 49 taps are better left to a convolution.
            if isinstance(module, DepthwiseConv) and max(module.kernel_size) <= 3:
                network.set_submodule(name, ShiftedDepthwise(module))
    scan = {
        f"{name}.{own}": tensor
        for name, module in network.named_modules()
        if isinstance(module, SS2D)
        for own, tensor in module.state_dict().items()
        if own.startswith(IN_F32)
    }
    network = network.to(form.dtype, memory_format=torch.channels_last)
    for name, parameter in network.named_parameters():
        if name in scan:
            parameter.data = scan[name]
    return network.requires_grad_(False)
