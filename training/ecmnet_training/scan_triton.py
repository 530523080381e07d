"""The selective scan on a GPU, forward and backward, in f32.

One program owns `BLOCK_D` channels of one (image, direction) and walks the sequence in chunks of
`BLOCK_L` steps: inside a chunk a parallel associative scan over pairs (decay, input), between
chunks the state `[d, n]` in registers. The forward pass keeps the state at each chunk's start, so
the backward pass recomputes a chunk's states instead of storing all of them.

Past the end of the sequence delta = 0, which is the scan's identity (decay 1, input 0).
`selective_scan_loop` in scan.py is the reference.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_D = 2
BLOCK_L = 32
WARPS = 2


@torch.library.custom_op("ecmnet::selective_scan", mutates_args=())
def selective_scan_triton(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> tuple[Tensor, Tensor]:
    """y `[b, k, d, l]` and the states `[b, k, chunks, d, n]` at each chunk's start.

    Shapes as in scan.py, all f32; `n` must be a power of two.
    """
    return _forward(u, delta, A, B, C, D)


@selective_scan_triton.register_fake
def _(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> tuple[Tensor, Tensor]:
    b, k, d, length = u.shape
    chunks = triton.cdiv(length, BLOCK_L)
    return u.new_empty(u.shape), u.new_empty(b, k, chunks, d, A.shape[-1])


@torch.library.custom_op("ecmnet::selective_scan_backward", mutates_args=())
def selective_scan_backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    states: Tensor,
    dy: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of u, delta, A, B, C, D for the output's gradient `dy`."""
    b, k, d, length = u.shape
    n = A.shape[-1]
    u, delta, A, B, C, D, dy = (t.contiguous() for t in (u, delta, A, B, C, D, dy))
    blocks = triton.cdiv(d, BLOCK_D)
    du, ddelta = torch.empty_like(u), torch.empty_like(u)
    dA, dD = u.new_empty(b, k, d, n), u.new_empty(b, k, d)
    dB, dC = u.new_empty(blocks, b, k, n, length), u.new_empty(blocks, b, k, n, length)
    _backward_kernel[(blocks, b * k)](
        u, delta, A, B, C, D, states, dy, du, ddelta, dA, dB, dC, dD,
        k, d, length, triton.cdiv(length, BLOCK_L), b * k * n * length,
        N=n, BLOCK_D=BLOCK_D, BLOCK_L=BLOCK_L, num_warps=WARPS,
    )  # fmt: skip
    return du, ddelta, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0)


@selective_scan_backward.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    states: Tensor,
    dy: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    shapes = (u.shape, u.shape, A.shape, B.shape, B.shape, D.shape)
    du, ddelta, dA, dB, dC, dD = (u.new_empty(shape) for shape in shapes)
    return du, ddelta, dA, dB, dC, dD


def _save_inputs(ctx, inputs, output) -> None:  # noqa: ANN001
    ctx.save_for_backward(*inputs, output[1])


def _differentiate(ctx, dy: Tensor, _dstates: Tensor | None) -> tuple[Tensor, ...]:  # noqa: ANN001
    return selective_scan_backward(*ctx.saved_tensors, dy)


selective_scan_triton.register_autograd(_differentiate, setup_context=_save_inputs)


@torch.library.custom_op("ecmnet::selective_scan_tiled", mutates_args=())
def selective_scan_tiled(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    block_d: int,
    block_l: int,
    warps: int,
) -> Tensor:
    """As `selective_scan_triton`, in tiles of `block_d` channels and `block_l` steps, powers of
    two; without gradients. Few images want longer tiles than a training batch does."""
    return _forward(u, delta, A, B, C, D, (block_d, block_l, warps))[0]


@selective_scan_tiled.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    block_d: int,
    block_l: int,
    warps: int,
) -> Tensor:
    return torch.empty(u.shape, dtype=u.dtype, device=u.device)


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    tile: tuple[int, int, int] = (BLOCK_D, BLOCK_L, WARPS),
) -> tuple[Tensor, Tensor]:
    block_d, block_l, warps = tile
    u, delta, A, B, C, D = (t.contiguous() for t in (u, delta, A, B, C, D))
    b, k, d, length = u.shape
    n = A.shape[-1]
    if n & (n - 1):
        raise ValueError(f"the scan kernel needs a power of two as state size, got {n}")
    chunks = triton.cdiv(length, block_l)
    y, states = torch.empty_like(u), u.new_empty(b, k, chunks, d, n)
    _forward_kernel[(triton.cdiv(d, block_d), b * k)](
        u, delta, A, B, C, D, y, states,
        k, d, length, chunks,
        N=n, BLOCK_D=block_d, BLOCK_L=block_l, num_warps=warps,
    )  # fmt: skip
    return y, states


@triton.jit
def _after(decay_1, input_1, decay_2, input_2):  # noqa: ANN001, ANN202
    """The pair of two steps taken one after the other: s -> decay s + input."""
    return decay_1 * decay_2, decay_2 * input_1 + input_2


@triton.jit
def _forward_kernel(  # noqa: ANN202
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, y_ptr, states_ptr,  # noqa: ANN001
    k, d, length, chunks,  # noqa: ANN001
    N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_L: tl.constexpr,
):  # fmt: skip
    bk = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    row_ok = rows < d
    ns = tl.arange(0, N)
    ts = tl.arange(0, BLOCK_L)
    kd = (bk % k) * d + rows
    A = tl.load(A_ptr + kd[:, None] * N + ns[None, :], mask=row_ok[:, None], other=0.0)
    D = tl.load(D_ptr + kd, mask=row_ok, other=0.0)
    state = tl.zeros((BLOCK_D, N), tl.float32)
    for chunk in range(chunks):
        t = chunk * BLOCK_L + ts
        dl = (bk * d + rows)[:, None] * length + t[None, :]
        dl_ok = row_ok[:, None] & (t < length)[None, :]
        nl = (bk * N + ns)[:, None] * length + t[None, :]
        nl_ok = (t < length)[None, :]
        u = tl.load(u_ptr + dl, mask=dl_ok, other=0.0)
        delta = tl.load(delta_ptr + dl, mask=dl_ok, other=0.0)
        B = tl.load(B_ptr + nl, mask=nl_ok, other=0.0)
        C = tl.load(C_ptr + nl, mask=nl_ok, other=0.0)
        dn = ((bk * chunks + chunk) * d + rows)[:, None] * N + ns[None, :]
        tl.store(states_ptr + dn, state, mask=row_ok[:, None])
        decay = tl.exp(delta[:, None, :] * A[:, :, None])
        entry = (delta * u)[:, None, :] * B[None, :, :]
        decays, entries = tl.associative_scan((decay, entry), 2, _after)
        states = entries + decays * state[:, :, None]
        y = tl.sum(states * C[None, :, :], 1) + D[:, None] * u
        tl.store(y_ptr + dl, y, mask=dl_ok)
        state = tl.sum(tl.where((ts == BLOCK_L - 1)[None, None, :], states, 0.0), 2)


@triton.jit
def _backward_kernel(  # noqa: ANN202
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, states_ptr, dy_ptr,  # noqa: ANN001
    du_ptr, ddelta_ptr, dA_ptr, dB_ptr, dC_ptr, dD_ptr,  # noqa: ANN001
    k, d, length, chunks, block_stride,  # noqa: ANN001
    N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_L: tl.constexpr,
):  # fmt: skip
    bk = tl.program_id(1)
    rows = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    row_ok = rows < d
    ns = tl.arange(0, N)
    ts = tl.arange(0, BLOCK_L)
    kd = (bk % k) * d + rows
    A = tl.load(A_ptr + kd[:, None] * N + ns[None, :], mask=row_ok[:, None], other=0.0)
    D = tl.load(D_ptr + kd, mask=row_ok, other=0.0)
    # g_t, the gradient of the state: g_t = C_t dy_t + decay_{t+1} g_{t+1}
    g_next = tl.zeros((BLOCK_D, N), tl.float32)
    dA = tl.zeros((BLOCK_D, N), tl.float32)
    dD = tl.zeros((BLOCK_D,), tl.float32)
    for i in range(chunks):
        chunk = chunks - 1 - i
        t = chunk * BLOCK_L + ts
        dl = (bk * d + rows)[:, None] * length + t[None, :]
        dl_ok = row_ok[:, None] & (t < length)[None, :]
        nl = (bk * N + ns)[:, None] * length + t[None, :]
        nl_ok = (t < length)[None, :]
        u = tl.load(u_ptr + dl, mask=dl_ok, other=0.0)
        dy = tl.load(dy_ptr + dl, mask=dl_ok, other=0.0)
        delta = tl.load(delta_ptr + dl, mask=dl_ok, other=0.0)
        next_ok = row_ok[:, None] & (t + 1 < length)[None, :]
        delta_next = tl.load(delta_ptr + dl + 1, mask=next_ok, other=0.0)
        B = tl.load(B_ptr + nl, mask=nl_ok, other=0.0)
        C = tl.load(C_ptr + nl, mask=nl_ok, other=0.0)
        dn = ((bk * chunks + chunk) * d + rows)[:, None] * N + ns[None, :]
        state = tl.load(states_ptr + dn, mask=row_ok[:, None], other=0.0)

        decay = tl.exp(delta[:, None, :] * A[:, :, None])
        entry = (delta * u)[:, None, :] * B[None, :, :]
        decays, entries = tl.associative_scan((decay, entry), 2, _after)
        states = entries + decays * state[:, :, None]
        kept = states - entry  # decay_t s_{t-1}

        decay_next = tl.exp(delta_next[:, None, :] * A[:, :, None])
        from_y = C[None, :, :] * dy[:, None, :]
        reach, local = tl.associative_scan((decay_next, from_y), 2, _after, reverse=True)
        g = local + reach * g_next[:, :, None]
        g_next = tl.sum(tl.where((ts == 0)[None, None, :], g, 0.0), 2)

        g_kept = g * kept
        g_B = tl.sum(g * B[None, :, :], 1)
        tl.store(du_ptr + dl, g_B * delta + D[:, None] * dy, mask=dl_ok)
        ddelta = tl.sum(g_kept * A[:, :, None], 1) + g_B * u
        tl.store(ddelta_ptr + dl, ddelta, mask=dl_ok)
        part = tl.program_id(0).to(tl.int64) * block_stride
        tl.store(dB_ptr + part + nl, tl.sum(g * (delta * u)[:, None, :], 0), mask=nl_ok)
        tl.store(dC_ptr + part + nl, tl.sum(states * dy[:, None, :], 0), mask=nl_ok)
        dA += tl.sum(g_kept * delta[:, None, :], 2)
        dD += tl.sum(dy * u, 1)
    out = (bk * d + rows)[:, None] * N + ns[None, :]
    tl.store(dA_ptr + out, dA, mask=row_ok[:, None])
    tl.store(dD_ptr + bk * d + rows, dD, mask=row_ok)
