"""The loss without enlarged logits against autograd of the plain formulas in f64."""

import os

import pytest
import torch
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training.cross_entropy_triton import enlarged_cross_entropy, scale_of  # noqa: E402
from ecmnet_training.layers import bilinear  # noqa: E402


@pytest.mark.parametrize("scale", [2, 4])
def test_loss_and_gradient_equal_those_of_enlarged_logits(scale: int) -> None:
    rng = torch.Generator().manual_seed(0)
    coarse = 3 * torch.randn(2, 11, 5, 7, generator=rng, dtype=torch.float64)
    labels = torch.randint(0, 12, (2, 5 * scale, 7 * scale), generator=rng)
    weights = torch.rand(11, generator=rng, dtype=torch.float64) + 0.5
    exact = coarse.clone().requires_grad_()
    single = coarse.float().to(DEVICE).requires_grad_()
    assert scale_of(single, labels) == scale
    expected = F.cross_entropy(
        bilinear(exact, labels.shape[1:]), labels, weight=weights, ignore_index=11
    )
    got = enlarged_cross_entropy(
        single, labels.to(DEVICE), weights.float().to(DEVICE), ignore_id=11
    )
    (3 * expected).backward()
    (3 * got).backward()
    assert torch.isclose(got.detach().cpu().double(), expected.detach(), rtol=1e-6)
    # f32 sums of up to 64 shares.
    assert (single.grad.cpu().double() - exact.grad).norm() < 2e-6 * exact.grad.norm()


def test_sizes_that_are_no_even_multiple_are_left_to_the_plain_form() -> None:
    labels = torch.zeros(1, 45, 60, dtype=torch.int64)
    assert scale_of(torch.zeros(1, 11, 23, 30), labels) is None
    assert scale_of(torch.zeros(1, 11, 15, 20), labels) is None
