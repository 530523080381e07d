"""Tiles of lines and the number of programs that walk over them."""

import os
from types import SimpleNamespace

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
import triton  # noqa: E402
import triton.language as tl  # noqa: E402

from ecmnet_training.dense_triton import _geometry  # noqa: E402
from ecmnet_training.msau_triton import _grids  # noqa: E402
from ecmnet_training.tiles_triton import (  # noqa: E402
    LEAST_SUMMED,
    _resident_programs,
    launch,
    line_tiles,
    moved_pixels,
    place_of_tile,
)


@triton.jit(do_not_specialize=["tiles", "height", "width"])
def _visit(count_ptr, tiles, height, width, move, ALONG_HEIGHT: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        line, column = place_of_tile(tile, width, R)
        p, ok = moved_pixels(line, column, move, height, width, ALONG_HEIGHT)
        tl.atomic_add(count_ptr + p, 1.0, mask=ok)


@pytest.mark.parametrize("along_height", [False, True])
@pytest.mark.parametrize("move", [0, 2, -1])
def test_each_pixel_is_visited_once_by_the_pixel_that_lies_so_far_from_it(
    move: int, along_height: bool
) -> None:
    b, c, h, w = 2, 64, 5, 21
    pixels, tiles, _ = line_tiles(torch.Size((b, c, h, w)), 512)
    count = torch.zeros(b, h, w, device=DEVICE)
    launch(_visit, tiles, count, tiles, h, w, move, ALONG_HEIGHT=along_height, R=pixels)
    expected = torch.zeros(b, h, w)
    axis = h if along_height else w
    places = slice(max(move, 0), axis + min(move, 0))
    expected[(slice(None), places) if along_height else (slice(None), slice(None), places)] = 1
    assert torch.equal(count.cpu(), expected)


@pytest.mark.parametrize("width", [1, 5, 7, 16, 30, 480])
def test_products_sum_over_as_many_pixels_of_a_narrow_map_as_a_gpu_wants(width: int) -> None:
    shape = torch.Size((2, 16, 3, width))
    x = torch.empty(shape, device="meta")
    weight = torch.empty(16, 16, 1, 3, device="meta")
    stem, _, _ = line_tiles(shape, 4096, LEAST_SUMMED)
    dense = _geometry(x, weight, 64)[0]
    msau = _grids(x)[2]["R"]
    assert min(stem, dense, msau) >= 16


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "each"),
    [(168, 1024, 4, 3), (255, 36864, 4, 2), (40, 65536, 4, 3), (32, 0, 1, 24), (255, 229376, 8, 1)],
)
def test_as_many_programs_run_as_registers_and_shared_memory_allow(
    monkeypatch: pytest.MonkeyPatch, registers: int, shared: int, warps: int, each: int
) -> None:
    h100 = SimpleNamespace(
        multi_processor_count=132,
        regs_per_multiprocessor=65536,
        shared_memory_per_multiprocessor=233472,
    )
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: h100)
    metadata = SimpleNamespace(num_warps=warps, shared=shared)
    compiled = SimpleNamespace(n_regs=registers, metadata=metadata)
    assert _resident_programs(compiled) == 132 * each
