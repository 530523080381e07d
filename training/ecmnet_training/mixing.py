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
