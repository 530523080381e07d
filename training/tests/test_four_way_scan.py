"""The four scans in one kernel against autograd of SS2D's plain form in f64."""

import copy
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training.ss2d import SS2D  # noqa: E402


@pytest.mark.parametrize(("dim", "size"), [(6, (3, 5)), (12, (4, 4))])
def test_the_four_scans_and_their_gradients_equal_autograd(dim: int, size: tuple[int, int]) -> None:
    """15 steps are no whole number of runs, 12 channels no whole number of blocks."""
    torch.manual_seed(dim)
    single = SS2D(dim)
    with torch.no_grad():
        for parameter in single.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    exact = copy.deepcopy(single).double()
    single.to(DEVICE)
    x = torch.randn(2, *size, 2 * dim, dtype=torch.float64)
    dy = torch.randn_like(x)
    given, got_given = x.clone().requires_grad_(), x.float().to(DEVICE).requires_grad_()
    expected = exact.scan_four_ways(given.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    got = single._scan_in_one_kernel(got_given)
    expected.backward(dy)
    got.backward(dy.float().to(DEVICE))
    pairs = {"y": (got, expected), "x": (got_given.grad, given.grad)}
    for name in ("x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds"):
        pairs[name] = (single.get_parameter(name).grad, exact.get_parameter(name).grad)
    for name, (a, b) in pairs.items():
        error = (a.detach().cpu().double() - b.detach()).norm() / b.detach().norm()
        # f32 sums of up to a thousand products.
        assert error < 5e-6, f"{name}: {error:.1e}"
