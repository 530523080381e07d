"""The classifier and the losses of its logits as one function, on a GPU.

    z = W y,   loss = cross-entropy at the labels' size + lovasz Lovász-Softmax

The logits and their gradient lie as f32 planes, one a class, as both losses read them; nothing is
padded, copied or added up in between. The losses' kernels write the gradient in the forward pass,
so the backward pass is one kernel, of which a program owns tiles of `R` pixels of a picture.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from .cross_entropy_triton import CLASSES, write_cross_entropy
from .lovasz_triton import add_lovasz
from .tiles_triton import launch

_TILE = 128


def fits(features: Tensor, classifier: nn.Conv2d, labels: Tensor) -> bool:
    """Whether `class_loss` can take these."""
    c, h, w = features.shape[1:]
    scale = labels.shape[1] // h
    return (
        scale % 2 == 0
        and labels.shape[1:] == (scale * h, scale * w)
        and classifier.bias is None
        and classifier.out_channels <= CLASSES
        and c == 16
    )


def class_loss(
    y: Tensor,
    weight: Tensor,
    labels: Tensor,
    coarse_labels: Tensor,
    class_weights: Tensor,
    *,
    lovasz: float,
    ignore_id: int,
) -> Tensor:
    """The loss of the logits of y `[b, c, h, w]`, with W `[k, c, 1, 1]`; c = 16, k at most 16.

    `labels` are `[b, S h, S w]`, S even; `coarse_labels` those of every second logit; i64.
    """
    y = y.contiguous(memory_format=torch.channels_last)
    return _ClassLoss.apply(
        y, weight, labels.contiguous(), coarse_labels.contiguous(), class_weights, lovasz, ignore_id
    )


class _ClassLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,  # noqa: ANN001
        y: Tensor,
        weight: Tensor,
        labels: Tensor,
        coarse_labels: Tensor,
        class_weights: Tensor,
        lovasz: float,
        ignore_id: int,
    ) -> Tensor:
        b, c, h, w = y.shape
        k = len(weight)
        z = torch.empty(b, k, h, w, device=y.device)
        dz = torch.empty_like(z)
        sums = torch.zeros(3, device=y.device)
        tiles = b * triton.cdiv(h * w, _TILE)
        launch(_logits, tiles, y, weight, z, tiles, h * w, C=c, K=k, KP=CLASSES, R=_TILE)
        write_cross_entropy(z, labels, class_weights, dz, sums, ignore_id=ignore_id)
        if lovasz > 0:
            add_lovasz(z, coarse_labels, dz, sums, share=lovasz, ignore_id=ignore_id)
        ctx.save_for_backward(y, weight, dz, sums)
        return sums[0] / sums[1] + lovasz * sums[2]

    @staticmethod
    def backward(ctx, dloss: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN001
        y, weight, dz, sums = ctx.saved_tensors
        b, c, h, w = y.shape
        dy, dweight = torch.empty_like(y), torch.zeros_like(weight)
        tiles = b * triton.cdiv(h * w, _TILE)
        launch(
            _logits_backward, tiles,
            dz, dloss / sums[1], y, weight, dy, dweight, tiles, h * w,
            C=c, K=len(weight), KP=CLASSES, R=_TILE,
        )  # fmt: skip
        return dy, dweight, None, None, None, None, None


@triton.jit
def _places(tile, pixels, C: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, R: tl.constexpr):  # noqa: ANN001, ANN202
    """Of a tile's pixels: places in y `[R, C]` and z `[R, KP]`, which are there, and both."""
    tiles = tl.cdiv(pixels, R)
    image, p = (tile // tiles).to(tl.int64), tile % tiles * R + tl.arange(0, R)
    ok = (p < pixels)[:, None]
    k = tl.arange(0, KP)[None, :]
    y_at = (image * pixels + p[:, None]) * C + tl.arange(0, C)[None, :]
    return y_at, image * K * pixels + k * pixels + p[:, None], ok, ok & (k < K)


@triton.jit(do_not_specialize=["tiles", "pixels"])
def _logits(  # noqa: ANN202
    y_ptr, w_ptr, z_ptr, tiles, pixels,  # noqa: ANN001
    C: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    c, k = tl.arange(0, C)[:, None], tl.arange(0, KP)[None, :]
    w = tl.load(w_ptr + k * C + c, mask=k < K, other=0.0).to(y_ptr.dtype.element_ty)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        y_at, z_at, y_ok, z_ok = _places(tile, pixels, C, K, KP, R)
        y = tl.load(y_ptr + y_at, mask=y_ok, other=0.0)
        tl.store(z_ptr + z_at, tl.dot(y, w, input_precision="ieee"), mask=z_ok)


@triton.jit(do_not_specialize=["tiles", "pixels"])
def _logits_backward(  # noqa: ANN202
    dz_ptr, scale_ptr, y_ptr, w_ptr, dy_ptr, dw_ptr, tiles, pixels,  # noqa: ANN001
    C: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    kind = y_ptr.dtype.element_ty
    c, k = tl.arange(0, C)[None, :], tl.arange(0, KP)[:, None]
    w = tl.load(w_ptr + k * C + c, mask=k < K, other=0.0).to(kind)
    scale = tl.load(scale_ptr)
    dw = tl.zeros((KP, C), tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        y_at, z_at, y_ok, z_ok = _places(tile, pixels, C, K, KP, R)
        dz = (tl.load(dz_ptr + z_at, mask=z_ok, other=0.0) * scale).to(kind)
        y = tl.load(y_ptr + y_at, mask=y_ok, other=0.0)
        dy = tl.dot(dz, w, input_precision="ieee")
        tl.store(dy_ptr + y_at, dy.to(kind), mask=y_ok)
        dw = tl.dot(tl.trans(dz), y, dw, input_precision="ieee")
    tl.atomic_add(dw_ptr + k * C + c, dw, mask=k < K, sem="relaxed")
