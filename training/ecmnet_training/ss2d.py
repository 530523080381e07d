"""SS2D: VMamba's four-way selective scan over an image."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import DepthwiseConv
from .scan import DIRECTIONS, selective_scan

Record = Callable[[str, Tensor], None]


def ignore(_name: str, _value: Tensor) -> None:
    """The recorder of a forward pass that nobody traces."""


class SS2D(nn.Module):
    """`[b, h, w, dim] -> [b, h, w, dim]`.

    Directions k = 0..3: row-major, column-major, and both reversed. The scan runs in f32 (f64 for
    f64 input) whatever the surrounding dtype.
    """

    def __init__(self, dim: int, *, state: int = 16, expand: int = 2) -> None:
        super().__init__()
        d, r = expand * dim, math.ceil(dim / 16)
        self.channels, self.state, self.rank = d, state, r
        self.in_proj = nn.Linear(dim, 2 * d, bias=False)
        self.conv2d = DepthwiseConv(d, d, 3, padding=1, groups=d, bias=True)
        bound = d**-0.5
        self.x_proj_weight = nn.Parameter(
            torch.empty(DIRECTIONS, r + 2 * state, d).uniform_(-bound, bound)
        )
        self.dt_projs_weight = nn.Parameter(
            torch.empty(DIRECTIONS, d, r).uniform_(-(r**-0.5), r**-0.5)
        )
        span = torch.empty(DIRECTIONS, d).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.dt_projs_bias = nn.Parameter(span + torch.log(-torch.expm1(-span)))
        self.A_logs = nn.Parameter(
            torch.log(torch.arange(1, state + 1.0)).repeat(DIRECTIONS * d, 1)
        )
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * d))
        self.out_norm = nn.LayerNorm(d)
        self.out_proj = nn.Linear(d, dim, bias=False)
        self.selective_scan = selective_scan

    def forward(self, x: Tensor, record: Record = ignore) -> Tensor:
        projected = self.in_proj(x)
        record("in_proj", projected.permute(0, 3, 1, 2))
        x, z = projected.chunk(2, dim=-1)
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2)))
        record("conv2d", x)
        y = self.scan_four_ways(x)
        record("scan", y)
        y = self.out_norm(y.permute(0, 2, 3, 1))
        record("out_norm", y.permute(0, 3, 1, 2))
        return self.out_proj(y.to(z.dtype) * F.silu(z))

    def scan_four_ways(self, x: Tensor) -> Tensor:
        """The four scans of `x` `[b, d, h, w]`, summed at each pixel; same shape, f32 or f64."""
        b, d, h, w = x.shape
        if x.is_cuda and self.training:
            return self._scan_in_one_kernel(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            two = torch.stack([x.flatten(2), x.transpose(2, 3).flatten(2)], dim=1)
            u = torch.cat([two, two.flip(-1)], dim=1)  # [b, k, d, l]
            projected = self.x_proj_weight @ u
            dt, B, C = projected.split([self.rank, self.state, self.state], dim=2)
            dt = self.dt_projs_weight @ dt
            delta = F.softplus(dt + self.dt_projs_bias[..., None])
            A = -torch.exp(self.A_logs).view(DIRECTIONS, d, self.state)
            y = self.selective_scan(u, delta, A=A, B=B, C=C, D=self.Ds.view(DIRECTIONS, d))
            y = y[:, :2] + y[:, 2:].flip(-1)
            rows = y[:, 0].reshape(b, d, h, w)
            columns = y[:, 1].reshape(b, d, w, h).transpose(2, 3)
            return rows + columns

    def _scan_in_one_kernel(self, x: Tensor) -> Tensor:
        """The same of `[b, h, w, d]`, on a GPU, with gradients."""
        from .four_way_triton import four_way_scan

        b, h, w, d = x.shape
        with torch.autocast(x.device.type, enabled=False):
            # A product a picture, so that the weights' gradient is a sum over pictures of small
            # products; one long one is too few for a GPU.
            weight = self.x_proj_weight.view(-1, d).t().expand(b, -1, -1)
            projected = torch.bmm(x.reshape(b, h * w, d).float(), weight)
            return four_way_scan(
                x,
                projected,
                dt_weight=self.dt_projs_weight,
                dt_bias=self.dt_projs_bias,
                A=-torch.exp(self.A_logs).view(DIRECTIONS, d, self.state),
                D=self.Ds.view(DIRECTIONS, d),
            )
