"""MSAU's norms with their poolings, fused, against autograd of the plain formulas in f64."""

import copy
import os

import pytest
import torch
from torch import nn

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from against_autograd import assert_equal_with_gradients  # noqa: E402

from ecmnet_training.layers import BN_EPS  # noqa: E402
from ecmnet_training.pooled_norm_triton import pooled_norms  # noqa: E402


@pytest.mark.parametrize("size", [(5, 7), (31, 37)])
def test_the_pooled_norms_and_their_gradients_equal_autograd(size: tuple[int, int]) -> None:
    torch.manual_seed(size[0])
    b, half = 35, 8
    norms = nn.ModuleList(nn.BatchNorm2d(half, eps=BN_EPS) for _ in range(2))
    with torch.no_grad():
        for parameter in norms.parameters():
            parameter.normal_()  # scales of both signs
    exact = copy.deepcopy(norms).double()
    norms.to(DEVICE)
    z = torch.randn(b, 2 * half, *size, dtype=torch.float64) + 0.5
    dm = torch.randn(b, 2 * half, dtype=torch.float64)
    given, single = z.clone().requires_grad_(), z.float().to(DEVICE).requires_grad_()
    of_mean, of_max = (norm(part) for norm, part in zip(exact, given.chunk(2, 1), strict=True))
    expected = torch.cat([of_mean.mean((2, 3)), of_max.amax((2, 3))], dim=1)
    got = pooled_norms(single, *norms)
    expected.backward(dm)
    got.backward(dm.float().to(DEVICE))

    pairs = {"output": (got, expected), "input": (single.grad, given.grad)}
    # f32 sums of some ten thousand values.
    assert_equal_with_gradients(norms, exact, pairs, within=5e-6)
