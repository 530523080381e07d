"""The fused pooling and doubling against PyTorch's own in f64."""

import os

import pytest
import torch
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training.double_triton import doubled  # noqa: E402
from ecmnet_training.layers import bilinear  # noqa: E402
from ecmnet_training.pool_triton import max_pool_2x2  # noqa: E402


@pytest.mark.parametrize("size", [(6, 10), (5, 7)])
def test_the_pooled_values_and_their_gradient_equal_pytorch(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    # Few different values: the gradient must go to the first of equal ones.
    x = torch.randint(0, 4, (2, 16, *size), generator=generator).double().requires_grad_()
    single = x.detach().float().to(DEVICE).requires_grad_()
    expected, got = F.max_pool2d(x, 2, 2, ceil_mode=True), max_pool_2x2(single)
    dy = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))
    assert torch.equal(got.cpu().double(), expected)
    assert torch.equal(single.grad.cpu(), x.grad.float())


@pytest.mark.parametrize("size", [(5, 9), (1, 3)])
def test_the_doubled_picture_and_its_gradient_equal_pytorch(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16, *size, generator=generator, dtype=torch.float64).requires_grad_()
    single = x.detach().float().to(DEVICE).requires_grad_()
    expected, got = bilinear(x, (2 * size[0], 2 * size[1])), doubled(single)
    dy = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))
    # Sums of up to 16 products in f32.
    assert (got.cpu().double() - expected).abs().max() < 1e-6
    assert (single.grad.cpu().double() - x.grad).abs().max() < 3e-6
