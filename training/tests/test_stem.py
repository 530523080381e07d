"""The first layer's fused training pass against autograd of the plain formulas in f64."""

import copy
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from against_autograd import assert_equal_with_gradients, distances_from_kinks  # noqa: E402

from ecmnet_training.layers import conv_act  # noqa: E402
from ecmnet_training.stem_triton import stem_layer  # noqa: E402

# f32 moves what enters a PReLU by up to 1e-5; a value that changed sides would change gradients.
SAFE_FROM_KINK = 1e-5


@pytest.mark.parametrize(("stride", "size", "seed"), [(1, (6, 21), 3), (2, (9, 14), 0)])
def test_the_fused_layer_and_its_gradients_equal_autograd(
    stride: int, size: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    layer = conv_act(3, 32, 3, stride=stride)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    exact = copy.deepcopy(layer).double()
    layer = layer.to(DEVICE).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    distances = distances_from_kinks(exact)
    expected = exact(images)
    got = stem_layer(images.float().to(DEVICE), layer, torch.float32)
    assert min(distances) > SAFE_FROM_KINK, "choose another seed"
    dy = torch.randn(expected.shape, dtype=torch.float64)
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))

    pairs = {"output": (got, expected)}
    # f32 sums of a few hundred products, through one norm.
    assert_equal_with_gradients(layer, exact, pairs, within=2e-5)
