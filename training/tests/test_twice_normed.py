"""Two norms with PReLU on top of each other, fused, against autograd in f64."""

import copy
import os

import pytest
import torch
from torch import nn

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from against_autograd import assert_equal_with_gradients, distances_from_kinks  # noqa: E402

from ecmnet_training.layers import BNPReLU  # noqa: E402
from ecmnet_training.twice_normed_triton import twice_normed  # noqa: E402

# f32 moves what enters a PReLU by up to 1e-5; a value that changed sides would change gradients.
SAFE_FROM_KINK = 1e-5


@pytest.mark.parametrize(("channels", "size", "seed"), [(16, (7, 9), 0), (32, (11, 13), 3)])
def test_both_norms_and_their_gradients_equal_autograd(
    channels: int, size: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    layers = nn.Sequential(BNPReLU(channels), BNPReLU(channels))
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    exact = copy.deepcopy(layers).double()
    layers = layers.to(DEVICE)
    x = torch.randn(2, channels, *size, dtype=torch.float64) + 0.5
    dy = torch.randn(x.shape, dtype=torch.float64)
    given, single = x.clone().requires_grad_(), x.float().to(DEVICE).requires_grad_()
    distances = distances_from_kinks(exact)
    expected, got = exact(given), twice_normed(single, *layers)
    assert min(distances) > SAFE_FROM_KINK, "choose another seed"
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))

    pairs = {"output": (got, expected), "input": (single.grad, given.grad)}
    # f32 sums of a few hundred products, through two norms.
    assert_equal_with_gradients(layers, exact, pairs, within=2e-5)
