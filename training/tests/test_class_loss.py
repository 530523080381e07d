"""The classifier with its losses in few kernels against autograd of the plain formulas in f64."""

import os

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training.class_loss_triton import class_loss, fits  # noqa: E402
from ecmnet_training.layers import bilinear  # noqa: E402
from ecmnet_training.losses import lovasz_softmax  # noqa: E402

CLASSES, IGNORED = 11, 11
BINS_AN_OCTAVE = 256


def made_case(scale: int) -> tuple[Tensor, ...]:
    """Features, weights of the classifier, labels, coarse labels and class weights."""
    rng = torch.Generator().manual_seed(scale)
    y = torch.randn(2, 16, 5, 7, generator=rng, dtype=torch.float64)
    weight = torch.randn(CLASSES, 16, 1, 1, generator=rng, dtype=torch.float64)
    # One class is nowhere, and some pixels count for none.
    labels = torch.randint(1, 12, (2, 5 * scale, 7 * scale), generator=rng)
    there = torch.randint(1, 12, (2, 3, 4), generator=rng)
    return y, weight, labels, there, torch.rand(CLASSES, generator=rng, dtype=torch.float64) + 0.5


def loss_and_gradients(case: tuple[Tensor, ...], lovasz: float) -> tuple[Tensor, ...]:
    y, weight, labels, there, class_weights = (
        t.to(DEVICE, torch.float32 if t.is_floating_point() else t.dtype) for t in case
    )
    leaves = (y.requires_grad_(), weight.requires_grad_())
    loss = class_loss(*leaves, labels, there, class_weights, lovasz=lovasz, ignore_id=IGNORED)
    return tuple(t.cpu().double() for t in (loss.detach(), *torch.autograd.grad(3 * loss, leaves)))


def assert_near(got: tuple[Tensor, ...], expected: tuple[Tensor, ...], bound: float) -> None:
    for name, a, b in zip(("loss", "dy", "dweight"), got, expected, strict=True):
        error = (a - b.detach()).norm() / b.detach().norm()
        assert error < bound, f"{name}: {error:.1e}"


@pytest.mark.parametrize("scale", [2, 4])
def test_cross_entropy_and_its_gradients_equal_those_of_enlarged_logits(scale: int) -> None:
    case = made_case(scale)
    y, weight, labels, _, class_weights = case
    leaves = (y.clone().requires_grad_(), weight.clone().requires_grad_())
    logits = bilinear(F.conv2d(*leaves), labels.shape[1:])
    loss = F.cross_entropy(logits, labels, weight=class_weights, ignore_index=IGNORED)
    expected = (loss, *torch.autograd.grad(3 * loss, leaves))
    # f32 sums of up to 64 shares.
    assert_near(loss_and_gradients(case, 0.0), expected, 2e-6)


def test_lovasz_and_its_gradients_are_those_of_errors_in_bins() -> None:
    case = made_case(2)
    y, weight, _, there, _ = case
    leaves = (y.clone().requires_grad_(), weight.clone().requires_grad_())
    logits = F.conv2d(*leaves)[:, :, ::2, ::2]
    loss = lovasz_by_definition(logits, there)
    expected = (loss, *torch.autograd.grad(3 * loss, leaves))
    with_both, without = loss_and_gradients(case, 0.5), loss_and_gradients(case, 0.0)
    got = tuple((a - b) / 0.5 for a, b in zip(with_both, without, strict=True))
    # Differences of f32 sums.
    assert_near(got, expected, 1e-5)


def lovasz_by_definition(logits: Tensor, labels: Tensor) -> Tensor:
    """Each pixel's step is the mean over all places that it can take within its bin."""
    share = logits.softmax(1).transpose(0, 1).flatten(1)
    valid = (labels != IGNORED).flatten()
    losses = []
    for k in range(CLASSES):
        truth = (labels.flatten() == k)[valid].double()
        if truth.sum() == 0:
            continue
        errors = (truth - share[k][valid]).abs()
        mantissa, exponent = torch.frexp(errors.detach().float())
        bins = torch.floor(mantissa.double() * 2 * BINS_AN_OCTAVE) * 2.0 ** exponent.double()
        total, step = truth.sum(), torch.zeros_like(errors)
        for value in bins.unique():
            ahead, here = bins > value, bins == value
            found, others = truth[ahead].sum(), (1 - truth[ahead]).sum()
            f, b = truth[here].sum(), (1 - truth[here]).sum()
            first, last = total + others, total + others + b
            of_truth = (1 / first + 1 / last) / 2
            of_other = (total - found - f / 2) / (first * last)
            step[here] = torch.where(truth[here] > 0, of_truth, of_other)
        losses.append((errors * step).sum())
    return torch.stack(losses).mean()


def test_lovasz_in_bins_is_that_of_sorted_errors_up_to_a_bins_width() -> None:
    case = made_case(4)
    y, weight, _, there, _ = case
    leaves = (y.clone().requires_grad_(), weight.clone().requires_grad_())
    loss = lovasz_softmax(F.conv2d(*leaves)[:, :, ::2, ::2], there, ignore_id=IGNORED)
    both, without = loss_and_gradients(case, 0.5)[0], loss_and_gradients(case, 0.0)[0]
    # Pixels that changed places have errors within 1/256 of each other.
    assert abs((both - without) / 0.5 - loss.detach()) < loss.detach() / BINS_AN_OCTAVE


def test_sizes_that_are_no_even_multiple_are_left_to_the_plain_form() -> None:
    classifier = nn.Conv2d(16, CLASSES, 1, bias=False)
    labels = torch.zeros(1, 60, 80, dtype=torch.int64)
    assert fits(torch.zeros(1, 16, 30, 40), classifier, labels)
    assert not fits(torch.zeros(1, 16, 31, 40), classifier, labels)
    assert not fits(torch.zeros(1, 16, 20, 27), classifier, labels)
    assert not fits(torch.zeros(1, 8, 30, 40), classifier, labels)
