"""FFM: the feature fusion module, eqs 10-11 of the paper."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ss2d import SS2D, Record, ignore


class FFM(nn.Module):
    """`enc + Proj(FC2(GELU(FC1(SS2D(LN(cat(enc, pool(m1), pool(m2))))))))`, all at enc's size."""

    def __init__(self, channels: int, *, parts: int = 3, ratio: int = 4) -> None:
        super().__init__()
        dim = channels * parts
        self.norm = nn.LayerNorm(dim)
        self.ss2d = SS2D(dim)
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)
        self.proj = nn.Linear(dim, channels)

    def forward(self, enc: Tensor, m1: Tensor, m2: Tensor, record: Record = ignore) -> Tensor:
        size = enc.shape[2:]
        pooled = [F.adaptive_avg_pool2d(m, size) for m in (m1, m2)]
        x = self.norm(torch.cat([enc, *pooled], dim=1).permute(0, 2, 3, 1))
        record("norm", x.permute(0, 3, 1, 2))
        x = self.ss2d(x, lambda name, value: record(f"ss2d.{name}", value))
        record("ss2d", x.permute(0, 3, 1, 2))
        x = self.fc1(x)
        record("fc1", x.permute(0, 3, 1, 2))
        x = self.fc2(F.gelu(x))
        record("fc2", x.permute(0, 3, 1, 2))
        x = self.proj(x).permute(0, 3, 1, 2)
        record("proj", x)
        return enc + x
