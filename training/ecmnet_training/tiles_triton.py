"""How the fused kernels share a picture: tiles of one line, programs that walk over them.

Tensors are rows `[p, c]` of channels-last pictures. A tile within a line needs no division a pixel
to know its place, and whether a neighbouring line is in the picture is one question a tile.
"""

from typing import Any

import torch
import triton
import triton.language as tl

# Over fewer pixels than these a GPU's matrix units do not sum; interpreted, any number works.
LEAST_SUMMED = 16

_FIRST_GUESS = 528
_MOST_WARPS = 24
_resident: dict[tuple[object, ...], int] = {}


def launch(kernel: Any, tiles: int, *args: object, planes: int = 1, **constants: object) -> None:  # noqa: ANN401
    """Runs `kernel` with as many programs as the GPU holds at once, each for every n-th tile.

    More would wait for the first ones to end, and each has to work out its channels' terms. What
    fits is known once the kernel is compiled, so its first run is a guess. The grid is
    (n / planes, planes).
    """
    key = (kernel, planes, *sorted(constants.items()))
    programs = _resident.get(key, _FIRST_GUESS)
    compiled = kernel[(min(tiles, max(programs // planes, 1)), planes)](*args, **constants)
    if key not in _resident and getattr(compiled, "n_regs", None):
        _resident[key] = _resident_programs(compiled)


def _resident_programs(compiled: Any) -> int:  # noqa: ANN401
    """How many programs of a compiled kernel the GPU has registers and shared memory for."""
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
    warps = compiled.metadata.num_warps
    by_registers = gpu.regs_per_multiprocessor // (-(-compiled.n_regs // 8) * 8 * 32 * warps)
    shared = compiled.metadata.shared + 1024
    by_shared = gpu.shared_memory_per_multiprocessor // shared
    each = max(min(by_registers, by_shared, _MOST_WARPS // warps), 1)
    return each * gpu.multi_processor_count


def line_tiles(shape: torch.Size, elements: int, least: int = 1) -> tuple[int, int, int]:
    """(pixels of a tile, tiles in all, warps) for tiles that are pieces of `[b, c, h, w]`'s lines.

    `elements` is how many values a tile of a wide picture has; a thread holds eight or more. A
    narrow picture's has `least` pixels, `LEAST_SUMMED` where a product sums over them.
    """
    b, c, h, w = shape
    pixels = min(elements // c, max(triton.next_power_of_2(w), least))
    return pixels, b * h * triton.cdiv(w, pixels), min(max(pixels * c // 256, 1), 4)


@triton.jit
def place_of_tile(tile, width, R: tl.constexpr):  # noqa: ANN001, ANN201
    """(line, columns `[R]`) of a tile of `line_tiles`; lines count through all pictures."""
    tiles = tl.cdiv(width, R)
    return tile // tiles, tile % tiles * R + tl.arange(0, R)


@triton.jit
def moved_pixels(line, x, move, height, width, ALONG_HEIGHT: tl.constexpr):  # noqa: ANN001, ANN201
    """(rows of the pixels `move` places along the axis, which of them are in the picture)."""
    if ALONG_HEIGHT:
        y = line % height + move
        return (line + move) * width + x, (x < width) & (y >= 0) & (y < height)
    return line * width + x + move, (x < width) & (x + move >= 0) & (x + move < width)
