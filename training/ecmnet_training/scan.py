"""The selective scan: the plain loop that defines it, and the choice of a faster one.

    s_t = exp(delta_t A) s_{t-1} + delta_t u_t B_t,   y_t = C_t . s_t + D u_t

Shapes: u, delta `[b, k, d, l]`; A `[k, d, n]` (negative); B, C `[b, k, n, l]`; D `[k, d]`.
"""

import torch
from torch import Tensor

DIRECTIONS = 4
"""SS2D's: row-major, column-major, and both reversed."""


def selective_scan(
    u: Tensor, delta: Tensor, *, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """y `[b, k, d, l]`: the Triton kernel for f32 on a GPU, the plain loop everywhere else."""
    if u.is_cuda and u.dtype == torch.float32:
        from .scan_triton import selective_scan_triton

        return selective_scan_triton(u, delta, A, B, C, D)[0]
    return selective_scan_loop(u, delta, A=A, B=B, C=C, D=D)


def selective_scan_loop(
    u: Tensor, delta: Tensor, *, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """The specification, one step at a time; any dtype, any device, differentiable by autograd."""
    state = u.new_zeros(*u.shape[:3], A.shape[-1])
    outputs = []
    for t in range(u.shape[-1]):
        dt = delta[..., t, None]
        state = torch.exp(dt * A) * state + dt * u[..., t, None] * B[..., None, :, t]
        outputs.append((state * C[..., None, :, t]).sum(-1))
    return torch.stack(outputs, dim=-1) + D[..., None] * u
