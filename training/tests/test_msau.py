"""MSAU's fused training pass against autograd of the plain formulas in f64."""

import copy
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
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
    for name, parameter in exact.named_parameters():
        pairs[name] = (module.get_parameter(name).grad, parameter.grad)
    for name, statistic in exact.named_buffers():
        if "running" in name:
            pairs[name] = (module.get_buffer(name), statistic)
    for name, (a, b) in pairs.items():
        error = (a.detach().cpu().double() - b.detach()).norm() / b.detach().norm().clamp(min=1e-1)
        # f32 sums of a few hundred products, through two norms.
        assert error < 2e-5, f"{name}: {error:.1e}"
