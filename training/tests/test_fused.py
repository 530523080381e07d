"""The fused GPU kernels against autograd of the plain formulas in f64."""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training.depthwise_triton import depthwise_three  # noqa: E402
from ecmnet_training.gates_triton import gated_sum, shuffled_sum  # noqa: E402
from ecmnet_training.norm_triton import bn_prelu  # noqa: E402

B, C, H, W = 2, 16, 7, 9


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_same_with_gradients(
    plain: Callable[..., Tensor], fused: Callable[..., Tensor], inputs: list[Tensor]
) -> None:
    exact = [t.clone().requires_grad_() for t in inputs]
    single = [t.float().to(DEVICE).requires_grad_() for t in inputs]
    y, got_y = plain(*exact), fused(*single)
    dy = normal(*y.shape, seed=9)
    expected = torch.autograd.grad(y, exact, dy)
    got = torch.autograd.grad(got_y, single, dy.float().to(DEVICE))
    for i, (a, b) in enumerate(zip((got_y, *got), (y, *expected), strict=True)):
        error = (a.detach().cpu().double() - b.detach()).norm() / b.detach().norm().clamp(min=1)
        # f32 sums of a few hundred products.
        assert error < 2e-6, f"value {i}: {error:.1e}"


def test_bn_prelu_equals_torch_and_moves_the_running_statistics() -> None:
    exact_bn, single_bn = nn.BatchNorm2d(C, eps=1e-3).double(), nn.BatchNorm2d(C, eps=1e-3)
    single_bn.to(DEVICE)

    def plain(x: Tensor, gamma: Tensor, beta: Tensor, slope: Tensor) -> Tensor:
        bn = exact_bn
        z = F.batch_norm(x, bn.running_mean, bn.running_var, gamma, beta, True, 0.1, bn.eps)
        return torch.where(z > 0, z, slope.view(1, -1, 1, 1) * z)

    def fused(x: Tensor, gamma: Tensor, beta: Tensor, slope: Tensor) -> Tensor:
        del single_bn._parameters["weight"], single_bn._parameters["bias"]
        single_bn.weight, single_bn.bias = gamma, beta
        return bn_prelu(x, single_bn, slope)

    inputs = [normal(B, C, H, W) + 0.5, *(normal(C, seed=s) for s in (1, 2, 3))]
    assert_same_with_gradients(plain, fused, inputs)
    for name in ("running_mean", "running_var"):
        a, b = getattr(single_bn, name).cpu().double(), getattr(exact_bn, name)
        assert (a - b).abs().max() < 1e-6, name


@pytest.mark.parametrize("kernel", [(3, 1), (1, 3)])
@pytest.mark.parametrize("dilation", [1, 2, 8])
def test_depthwise_three_equals_the_grouped_convolution(
    kernel: tuple[int, int], dilation: int
) -> None:
    spread = tuple(dilation if k == 3 else 1 for k in kernel)
    padding = tuple(d * (k // 2) for d, k in zip(spread, kernel, strict=True))

    def plain(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, padding=padding, dilation=spread, groups=C)

    def fused(x: Tensor, w: Tensor) -> Tensor:
        return depthwise_three(x, w, dilation=spread)

    assert_same_with_gradients(plain, fused, [normal(B, C, H, W), normal(C, 1, *kernel, seed=1)])


def test_gated_sum_equals_its_formula() -> None:
    def plain(u: Tensor, local: Tensor, wide: Tensor, a: Tensor, r: Tensor, q: Tensor) -> Tensor:
        gate = torch.sigmoid(r.transpose(1, 2)[..., None] + q.transpose(1, 2)[:, :, None])
        return u + local * a[..., None, None] + wide * gate

    shapes = [(B, C, H, W)] * 3 + [(B, C), (B, H, C), (B, W, C)]
    inputs = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    assert_same_with_gradients(plain, gated_sum, inputs)


def test_shuffled_sum_puts_even_channels_first() -> None:
    def plain(x: Tensor, residual: Tensor) -> Tensor:
        y = x + residual
        return torch.cat([y[:, 0::2], y[:, 1::2]], dim=1)

    assert_same_with_gradients(plain, shuffled_sum, [normal(B, C, H, W, seed=s) for s in (0, 1)])
