"""Changes of a batch that take something from its other pictures."""

import torch
from torch import Tensor


def paste_classes(
    images: Tensor, labels: Tensor, chosen: Tensor, *, ignore_id: int
) -> tuple[Tensor, Tensor]:
    """Each picture gets the pixels of its `chosen` classes from the picture before it (ClassMix).

    images `[b, 3, h, w]`, labels `[b, h, w]` i64, chosen bool `[b, classes]`. Ignored pixels are
    never pasted.
    """
    b, classes = chosen.shape
    other = labels.roll(1, 0)
    table = torch.zeros(b, classes + 1, dtype=torch.bool, device=labels.device)
    table[:, :classes] = chosen
    places = torch.where(other == ignore_id, classes, other).flatten(1)
    pasted = table.gather(1, places).view_as(labels)
    return (
        torch.where(pasted[:, None], images.roll(1, 0), images),
        torch.where(pasted, other, labels),
    )


def boxes_of(u: Tensor, often: float) -> Tensor:
    """Boxes `[b, 4]` (top, left, bottom, right, as shares of the picture) of u `[b, 5]`, 0 to 1.

    A share `often` of them cover a quarter to a half of the picture, the others nothing.
    """
    area = 0.25 + 0.25 * u[:, 1]
    stretch = 2 ** (u[:, 2] - 0.5)
    size = torch.stack([area.sqrt() * stretch, area.sqrt() / stretch], dim=1)
    start = u[:, 3:5] * (1 - size)
    return torch.cat([start, start + size], dim=1) * (u[:, :1] < often)


def paste_boxes(images: Tensor, labels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Each picture gets what the picture before it has in its box, at the same place (CutMix).

    images `[b, 3, h, w]`, labels `[b, h, w]`, boxes `[b, 4]` as `boxes_of` has them.
    """
    inside = [
        (centres >= boxes[:, i, None]) & (centres < boxes[:, i + 2, None])
        for i, centres in enumerate(
            (torch.arange(n, device=boxes.device) + 0.5) / n for n in labels.shape[1:]
        )
    ]
    pasted = inside[0][:, :, None] & inside[1][:, None]
    return (
        torch.where(pasted[:, None], images.roll(1, 0), images),
        torch.where(pasted, labels.roll(1, 0), labels),
    )


def move_tone(images: Tensor, share: Tensor) -> Tensor:
    """Moves each picture's mean and deviation by `share` `[b]` towards those of the one after it.

    images `[b, 3, h, w]`; mean and standard deviation are each channel's own.
    """
    share = share.view(-1, 1, 1, 1)
    std, mean = torch.std_mean(images, dim=(2, 3), keepdim=True)
    std = std.clamp(min=1e-3)
    new_mean = mean + share * (mean.roll(-1, 0) - mean)
    new_std = std + share * (std.roll(-1, 0) - std)
    return (images - mean) * (new_std / std) + new_mean
