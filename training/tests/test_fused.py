"""Batch norm with PReLU, fused, against autograd of the plain formulas in f64."""

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


@pytest.mark.parametrize("sizes", [[16], [8, 8], [4, 4, 8]])
def test_bn_prelu_equals_torch_and_moves_the_running_statistics(sizes: list[int]) -> None:
    exact_bn, single_bn = nn.BatchNorm2d(C, eps=1e-3).double(), nn.BatchNorm2d(C, eps=1e-3)
    single_bn.to(DEVICE)

    def plain(x: Tensor, gamma: Tensor, beta: Tensor, slope: Tensor) -> Tensor:
        bn = exact_bn
        z = F.batch_norm(x, bn.running_mean, bn.running_var, gamma, beta, True, 0.1, bn.eps)
        return torch.where(z > 0, z, slope.view(1, -1, 1, 1) * z)

    def fused(x: Tensor, gamma: Tensor, beta: Tensor, slope: Tensor) -> Tensor:
        del single_bn._parameters["weight"], single_bn._parameters["bias"]
        single_bn.weight, single_bn.bias = gamma, beta
        return bn_prelu(x.split(sizes, dim=1), single_bn, slope)

    inputs = [normal(B, C, H, W) + 0.5, *(normal(C, seed=s) for s in (1, 2, 3))]
    assert_same_with_gradients(plain, fused, inputs)
    for name in ("running_mean", "running_var"):
        a, b = getattr(single_bn, name).cpu().double(), getattr(exact_bn, name)
        assert (a - b).abs().max() < 1e-6, name
