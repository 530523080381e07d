"""The two small networks behind MSAU's poolings and their sum, on a GPU, in f32.

    q[b] = sum_j (W2_j relu(W1_j m_j[b] + b1_j) + b2_j),   j = 0, 1

m is `[b, 2c]`, m_0 its first half. `params` are both networks' W1 `[h, c]`, b1, W2 `[c, h]`, b2,
flat, one network behind the other; gradients lie alike. A program owns `N` pictures; backward, one
network. c is 16, h at most 16.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

_PICTURES = 32


def squeezed(m: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
    """q `[b, c]` of m `[b, 2c]`; each network is a 1x1 convolution, ReLU and another one."""
    layers = (first[0], first[2], second[0], second[2])
    return _Squeezed.apply(m, *(t for layer in layers for t in (layer.weight, layer.bias)))


class _Squeezed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, m: Tensor, *small: Tensor) -> Tensor:  # noqa: ANN001
        c, hidden = small[2].shape[:2]
        params = torch.cat([t.flatten() for t in small])
        q = m.new_empty(len(m), c)
        grid = (triton.cdiv(len(m), _PICTURES),)
        _forward[grid](m, params, q, len(m), C=c, H=hidden, N=_PICTURES, num_warps=4)
        ctx.save_for_backward(m, params, *small)
        return q

    @staticmethod
    def backward(ctx, dq: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN001
        m, params, *small = ctx.saved_tensors
        c, hidden = small[2].shape[:2]
        dm, grads = torch.empty_like(m), torch.empty_like(params)
        _backward[(2,)](
            m, params, dq.contiguous(), dm, grads, len(m), C=c, H=hidden, N=_PICTURES, num_warps=4
        )
        parts = grads.split([t.numel() for t in small])
        return dm, *(part.view(t.shape) for part, t in zip(parts, small, strict=True))


@triton.jit
def _places(C: tl.constexpr, H: tl.constexpr):  # noqa: ANN202
    """Of one network's: W1 `[C, 16]` and W2 `[16, C]` transposed, b1, and which are there."""
    c, h = tl.arange(0, C), tl.arange(0, 16)
    w1 = h[None, :] * C + c[:, None]
    w2 = H * C + H + c[None, :] * H + h[:, None]
    return w1, H * C + h, w2, H * C + H + C * H + c, h < H


@triton.jit
def _hidden(m_ptr, params_ptr, b, batch, network, C: tl.constexpr, H: tl.constexpr):  # noqa: ANN001, ANN202
    """(m_j, relu(W1 m_j + b1), W2) of the pictures `b`."""
    w1_at, b1_at, w2_at, _, there = _places(C, H)
    c = tl.arange(0, C)
    m = tl.load(m_ptr + b * 2 * C + network * C + c[None, :], mask=b < batch, other=0.0)
    w1 = tl.load(params_ptr + w1_at, mask=there[None, :], other=0.0)
    b1 = tl.load(params_ptr + b1_at, mask=there, other=0.0)[None, :]
    w2 = tl.load(params_ptr + w2_at, mask=there[:, None], other=0.0)
    return m, tl.maximum(tl.dot(m, w1, input_precision="ieee") + b1, 0.0), w1, w2


@triton.jit(do_not_specialize=["batch"])
def _forward(  # noqa: ANN202
    m_ptr, params_ptr, q_ptr, batch,  # noqa: ANN001
    C: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    b = (tl.program_id(0) * N + tl.arange(0, N))[:, None]
    c = tl.arange(0, C)
    _, _, _, b2_at, _ = _places(C, H)
    q = tl.zeros((N, C), tl.float32)
    for network in tl.static_range(2):
        own_ptr = params_ptr + network * (2 * H * C + H + C)
        _, hidden, _, w2 = _hidden(m_ptr, own_ptr, b, batch, network, C, H)
        q += tl.dot(hidden, w2, input_precision="ieee") + tl.load(own_ptr + b2_at)[None, :]
    tl.store(q_ptr + b * C + c[None, :], q, mask=b < batch)


@triton.jit(do_not_specialize=["batch"])
def _backward(  # noqa: ANN202
    m_ptr, params_ptr, dq_ptr, dm_ptr, grads_ptr, batch,  # noqa: ANN001
    C: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    network = tl.program_id(0)
    params_ptr += network * (2 * H * C + H + C)
    grads_ptr += network * (2 * H * C + H + C)
    c = tl.arange(0, C)
    dw1 = tl.zeros((C, 16), tl.float32)
    dw2 = tl.zeros((16, C), tl.float32)
    db1 = tl.zeros((16,), tl.float32)
    db2 = tl.zeros((C,), tl.float32)
    for begin in range(0, batch, N):
        b = (begin + tl.arange(0, N))[:, None]
        m, hidden, w1, w2 = _hidden(m_ptr, params_ptr, b, batch, network, C, H)
        dq = tl.load(dq_ptr + b * C + c[None, :], mask=b < batch, other=0.0)
        dw2 += tl.dot(tl.trans(hidden), dq, input_precision="ieee")
        dhidden = tl.dot(dq, tl.trans(w2), input_precision="ieee")
        dhidden = tl.where(hidden > 0, dhidden, 0.0)
        dw1 += tl.dot(tl.trans(m), dhidden, input_precision="ieee")
        db1 += tl.sum(dhidden, 0)
        db2 += tl.sum(dq, 0)
        dm = tl.dot(dhidden, tl.trans(w1), input_precision="ieee")
        tl.store(dm_ptr + b * 2 * C + network * C + c[None, :], dm, mask=b < batch)
    w1_at, b1_at, w2_at, b2_at, there = _places(C, H)
    tl.store(grads_ptr + w1_at, dw1, mask=there[None, :])
    tl.store(grads_ptr + b1_at, db1, mask=there)
    tl.store(grads_ptr + w2_at, dw2, mask=there[:, None])
    tl.store(grads_ptr + b2_at, db2)
