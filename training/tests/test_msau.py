"""MSAU's fused training pass against autograd of the plain formulas in f64."""

import copy
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from against_autograd import assert_equal_with_gradients  # noqa: E402

from ecmnet_training.msau import MSAU  # noqa: E402


@pytest.mark.parametrize("size", [(10, 5), (12, 34), (3, 131)])
def test_the_fused_module_and_its_gradients_equal_autograd(size: tuple[int, int]) -> None:
    torch.manual_seed(size[0])
    module = MSAU(16)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    exact = copy.deepcopy(module).double()
    module = module.to(DEVICE).to(memory_format=torch.channels_last)
    x = torch.randn(3, 16, *size, dtype=torch.float64)
    dy = torch.randn(x.shape, dtype=torch.float64)
    given, single = x.clone().requires_grad_(), x.float().to(DEVICE).requires_grad_()
    expected, got = exact(given), module._in_few_kernels(single)
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))

    pairs = {"output": (got, expected), "input": (single.grad, given.grad)}
    # f32 sums of a few hundred products, through two norms.
    assert_equal_with_gradients(module, exact, pairs, within=2e-5, least=1e-1)
