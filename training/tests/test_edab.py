"""EDAB's fused training pass against autograd of the plain formulas in f64."""

import copy
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from against_autograd import assert_equal_with_gradients, distances_from_kinks  # noqa: E402

from ecmnet_training.edab import EDAB  # noqa: E402
from ecmnet_training.edab_triton import edab  # noqa: E402

# f32 moves what enters a PReLU by up to 1e-5; a value that changed sides would change gradients.
SAFE_FROM_KINK = 4e-5


def made_block(channels: int, dilation: int) -> EDAB:
    """A block with no parameter at its neutral start."""
    torch.manual_seed(channels)
    generator = torch.Generator().manual_seed(channels)
    block = EDAB(channels, dilation)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return block


@pytest.mark.parametrize(
    ("channels", "dilation", "size", "seed"),
    [(16, 2, (9, 35), 42), (64, 4, (11, 9), 57), (128, 1, (5, 7), 12)],
)
def test_the_fused_block_and_its_gradients_equal_autograd(
    channels: int, dilation: int, size: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    block = made_block(channels, dilation)
    exact = copy.deepcopy(block).double()
    block = block.to(DEVICE).to(memory_format=torch.channels_last)
    x = torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
    dy = torch.randn(x.shape, generator=generator, dtype=torch.float64)

    given, single = x.clone().requires_grad_(), x.float().to(DEVICE).requires_grad_()
    distances = distances_from_kinks(exact)
    expected, (got, sums) = exact(given), edab(block, single, None)
    assert min(distances) > SAFE_FROM_KINK, "choose another seed"
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))

    of_output = torch.stack([expected.sum((0, 2, 3)), expected.square().sum((0, 2, 3))])
    pairs = {
        "output": (got, expected),
        "sums": (sums, of_output),
        "input": (single.grad, given.grad),
    }
    # f32 sums of a few hundred products, through eight norms.
    assert_equal_with_gradients(block, exact, pairs, within=1e-4)


def test_sums_from_the_block_before_take_the_place_of_a_pass_over_its_output() -> None:
    torch.manual_seed(0)
    blocks = [made_block(16, d).to(DEVICE) for d in (1, 2)]
    x = torch.randn(2, 16, 9, 35, device=DEVICE)
    y, sums = edab(blocks[0], x, None)
    given, without = edab(blocks[1], y, sums)[0], edab(copy.deepcopy(blocks[1]), y, None)[0]
    # Both are f32 sums of the same values, in another order.
    assert (given - without).norm() < 1e-5 * without.norm()
