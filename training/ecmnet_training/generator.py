"""Weights and images that any language can make again, bit for bit, from names and indices.

The parity fixtures rest on this: no big file is committed, both sides generate the same values.
`bits(name, i)` is SplitMix64's i-th output with the FNV-1a hash of `name` as its seed.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def fnv1a64(name: str) -> int:
    """The 64-bit FNV-1a hash of the UTF-8 bytes of `name`."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & _MASK
    return h


def bits(name: str, count: int) -> NDArray[np.uint64]:
    """The first `count` 64-bit values of the stream called `name`."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(fnv1a64(name))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name: str, count: int, lo: float, hi: float) -> NDArray[np.float32]:
    """`lo + (hi - lo) * u`, u = the top 24 bits / 2^24; computed in f64, rounded once to f32."""
    u = (bits(name, count) >> np.uint64(40)).astype(np.float64) / 16777216.0
    return (lo + (hi - lo) * u).astype(np.float32)


def weight_range(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """The interval of the tensor's values. Wide enough that no tensor is without effect."""
    # The two batch norms of MSAU's 3x3 branches are called ".0.1" rather than ".bn".
    norms = ("bn", ".0.1", "norm")
    fixed = [
        (("running_mean",), 0.3, -0.3),
        (("running_var",), 1.5, 0.5),
        (tuple(f"{n}.weight" for n in norms), 1.4, 0.6),
        (tuple(f"{n}.bias" for n in norms), 0.3, -0.3),
        (("A_logs",), 2.75, 0.0),
        (("Ds",), 1.5, 0.5),
        (("dt_projs_bias",), -1.0, -5.0),
    ]
    if name.endswith("act.weight") and len(shape) == 1:
        return -0.1, 0.4
    for suffixes, hi, lo in fixed:
        if name.endswith(suffixes):
            return lo, hi
    if name.endswith("bias"):
        return -0.2, 0.2
    a = _weight_bound(name, shape)
    return -a, a


def seeded_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """An f32 tensor for each name, from the name and shape alone."""
    return {
        name: torch.from_numpy(
            uniform(name, math.prod(shape), *weight_range(name, shape)).reshape(shape)
        )
        for name, shape in shapes.items()
    }


def seeded_image(height: int, width: int) -> NDArray[np.uint8]:
    """`[h, w, 3]` RGB: ramps that wrap, plus 6 bits of noise."""
    noise = (bits("image", height * width * 3) & np.uint64(63)).astype(np.int64)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    ramps = ((x * (c + 1) * 5) >> 3) + ((y * (3 - c) * 7) >> 3)
    return ((ramps + noise.reshape(height, width, 3)) & 255).astype(np.uint8)


def sample_positions(name: str, numel: int, limit: int = 4096) -> NDArray[np.int64]:
    """Flat indices at which a fixture keeps the tensor `name`: all, or `limit` seeded ones."""
    if numel <= limit:
        return np.arange(numel)
    return (bits(f"samples:{name}", limit) % np.uint64(numel)).astype(np.int64)


def _weight_bound(name: str, shape: tuple[int, ...]) -> float:
    if name.endswith("x_proj_weight"):
        return math.sqrt(3.0 / 96.0)
    if name.endswith("dt_projs_weight"):
        return 1.0 / math.sqrt(3.0)
    fan_in = float(math.prod(shape[1:]))
    if name.endswith("expand.weight") and not name.startswith("msau."):
        # A quarter of the usual variance, or 45 residual blocks in a row would blow up.
        return math.sqrt(0.75 / fan_in)
    return math.sqrt(3.0 / fan_in)
