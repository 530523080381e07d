"""The scan kernel against autograd of the plain loop in f64."""

import os

import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

triton_scan = pytest.importorskip("ecmnet_training.scan_triton")
from ecmnet_training.scan import selective_scan_loop  # noqa: E402


def scan_inputs(b: int, k: int, d: int, n: int, length: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        normal(b, k, d, length),
        torch.nn.functional.softplus(normal(b, k, d, length) - 2),
        -torch.exp(normal(k, d, n)),
        normal(b, k, n, length),
        normal(b, k, n, length),
        normal(k, d),
    ]


@pytest.mark.parametrize("length", [1, 32, 33, 70])
def test_kernel_and_its_gradients_equal_the_loop(length: int) -> None:
    exact = [t.requires_grad_() for t in scan_inputs(1, 2, 6, 16, length)]
    u, delta, A, B, C, D = exact
    y = selective_scan_loop(u, delta, A=A, B=B, C=C, D=D)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad(y, exact, dy)

    single = [t.detach().float().to(DEVICE).requires_grad_() for t in exact]
    got_y, _ = triton_scan.selective_scan_triton(*single)
    got = torch.autograd.grad(got_y, single, dy.float().to(DEVICE))
    # f32 sums of up to 100 products: a few 1e-7 each.
    for name, a, b in zip(
        ["y", "u", "delta", "A", "B", "C", "D"], (got_y, *got), (y, *expected), strict=True
    ):
        # At length 1 no state is carried and A's gradient is 0: there the bound is absolute.
        scale = b.detach().norm().clamp(min=1.0)
        error = (a.detach().cpu().double() - b.detach()).norm() / scale
        assert error < 2e-6, f"{name}: {error:.1e}"


@pytest.mark.parametrize("tile", [(1, 32, 1), (2, 64, 2), (1, 128, 4)])
def test_every_tiling_gives_the_same_scan(tile: tuple[int, int, int]) -> None:
    u, delta, A, B, C, D = scan_inputs(1, 2, 3, 16, 133)
    expected = selective_scan_loop(u, delta, A=A, B=B, C=C, D=D)
    single = [t.float().to(DEVICE) for t in (u, delta, A, B, C, D)]
    got = triton_scan.selective_scan_tiled(*single, *tile)
    # f32 sums, as above.
    assert (got.cpu().double() - expected).norm() < 2e-6 * expected.norm()
