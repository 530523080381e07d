"""ECMNet (arXiv 2506.08629) in PyTorch; the Rust network's twin, tensor for tensor."""

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from .classes import ClassTable
from .edab import EDAB
from .ffm import FFM
from .layers import BNPReLU, Down, Up, bilinear, conv, conv_act
from .msau import MSAU
from .ss2d import Record, ignore

Plan = Literal["A", "B"]
STEM_STRIDES: dict[Plan, tuple[int, int, int]] = {"A": (1, 1, 2), "B": (2, 1, 2)}
WIDTHS = (32, 64, 128, 16)
ENCODER_DILATIONS = (1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32)
EDGE_DILATIONS = (2, 2, 2)


class ECMNet(nn.Module):
    """`[b, 3, h, w]` normalised image -> logits `[b, classes, h, w]`, before softmax.

    `plan` sets the stem's strides: features at 1/4, 1/8, 1/16 (A) or 1/8, 1/16, 1/32 (B). The
    weights have the same names and shapes in both.
    """

    def __init__(self, classes: int, plan: Plan = "A") -> None:
        super().__init__()
        w0, w1, w2, w3 = WIDTHS
        c_in = (3, w0, w0)
        self.stem = nn.Sequential(
            *(conv_act(c, w0, 3, stride=s) for c, s in zip(c_in, STEM_STRIDES[plan], strict=True))
        )
        self.stem_act = BNPReLU(w0)
        self.down1, self.enc1, self.act1 = Down(w0, w1), _blocks(w1, EDGE_DILATIONS), BNPReLU(w1)
        self.down2, self.enc2, self.act2 = Down(w1, w2), _blocks(w2, ENCODER_DILATIONS), BNPReLU(w2)
        self.down3, self.enc3, self.act3 = Down(w2, w3), _blocks(w3, ENCODER_DILATIONS), BNPReLU(w3)
        self.line1 = conv_act(w1, w3, 3)
        self.line2 = conv_act(w2, w3, 3)
        self.line3 = conv_act(w3, w3, 3)
        self.msau = MSAU(w3)
        self.ffm = FFM(w3)
        self.dec1, self.up1 = _blocks(w3, EDGE_DILATIONS), Up(w3)
        self.dec2, self.up2 = _blocks(w3, EDGE_DILATIONS), Up(w3)
        self.dec3, self.up3 = _blocks(w3, EDGE_DILATIONS), Up(w3)
        self.classifier = conv(w3, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return bilinear(self.coarse_logits(x), x.shape[2:])

    def forward_traced(self, x: Tensor) -> dict[str, Tensor]:
        """Every named intermediate `[b, c, h, w]` in forward order; the last is `logits`.

        In training mode on a GPU those inside a fused kernel (`stem.2`) are not among them.
        """
        trace: dict[str, Tensor] = {}

        def record(name: str, value: Tensor) -> None:
            trace[name] = value

        record("logits", bilinear(self.coarse_logits(x, record), x.shape[2:]))
        return trace

    def coarse_logits(self, x: Tensor, record: Record = ignore) -> Tensor:
        """Logits at half the input's size (plan A; a quarter in B).

        The 1x1 classifier commutes with the bilinear upsampling that follows it.
        """
        return _named(record, "classifier", self.classifier(self.last_features(x, record)[0]))

    def last_features(self, x: Tensor, record: Record = ignore) -> tuple[Tensor, Tensor, Tensor]:
        """What the classifier takes, and dec2's and dec1's output."""
        x = _named(record, "stem.0", self._first_layer(x))
        x = _named(record, "stem.1", self.stem[1](x))
        f0 = _named(record, "stem_act", self._last_of_stem(x, record))
        f1 = self._stage("1", f0, record)
        f2 = self._stage("2", f1, record)
        f3 = self._stage("3", f2, record)
        l1 = _named(record, "line1", self.line1(f1))
        l2 = _named(record, "line2", self.line2(f2))
        l3 = _named(record, "line3", self.line3(f3))
        m1 = _named(record, "msau1", self.msau(l1))
        m2 = _named(record, "msau2", self.msau(l2))
        m3 = _named(record, "msau3", self.msau(l3))
        fused = self.ffm(f3, m1, m2, lambda name, value: record(f"ffm.{name}", value))
        record("ffm", fused)
        y1 = _run_blocks("dec1", self.dec1, fused + m3, record)
        y = _named(record, "up1", self.up1(y1, m2.shape[2:]))
        y2 = _run_blocks("dec2", self.dec2, y + m2, record)
        y = _named(record, "up2", self.up2(y2, m1.shape[2:]))
        y = _run_blocks("dec3", self.dec3, y + m1, record)
        y = _named(record, "up3", self.up3(y, f0.shape[2:]))
        return y, y2, y1

    def _first_layer(self, x: Tensor) -> Tensor:
        if x.is_cuda and self.training and x.dtype == torch.float32:
            from .stem_triton import stem_layer

            mixed = torch.is_autocast_enabled("cuda")
            dtype = torch.get_autocast_dtype("cuda") if mixed else torch.float32
            return stem_layer(x, self.stem[0], dtype)
        return self.stem[0](x)

    def _last_of_stem(self, x: Tensor, record: Record) -> Tensor:
        if x.is_cuda and self.training:
            from .twice_normed_triton import twice_normed

            conv, norm = self.stem[2]
            return twice_normed(conv(x), norm, self.stem_act)
        return self.stem_act(_named(record, "stem.2", self.stem[2](x)))

    def _stage(self, number: str, x: Tensor, record: Record) -> Tensor:
        x = _named(record, f"down{number}", getattr(self, f"down{number}")(x))
        x = _run_blocks(f"enc{number}", getattr(self, f"enc{number}"), x, record)
        return _named(record, f"act{number}", getattr(self, f"act{number}")(x))


def with_offsets(network: ECMNet, offsets: Mapping[str, float], classes: ClassTable) -> ECMNet:
    """A copy to whose logits of the classes named the offsets are added, as its classifier's bias.

    Bilinear shares sum to 1, so the logits at full size move by as much.
    """
    moved = copy.deepcopy(network)
    weight = moved.classifier.weight
    bias = weight.new_tensor([offsets.get(name, 0.0) for name in classes.names])
    moved.classifier.bias = nn.Parameter(bias, requires_grad=False)
    return moved


def parameter_count(model: nn.Module) -> int:
    """Trained values; running statistics not counted."""
    return sum(p.numel() for p in model.parameters())


def _blocks(channels: int, dilations: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(*(EDAB(channels, d) for d in dilations))


def _run_blocks(name: str, blocks: nn.Sequential, x: Tensor, record: Record) -> Tensor:
    sums = None
    for i, block in enumerate(blocks):
        x, sums = block.with_sums(x, sums) if blocks.training else (block(x), None)
        record(f"{name}.{i}", x)
    return x


def _named(record: Record, name: str, value: Tensor) -> Tensor:
    record(name, value)
    return value
