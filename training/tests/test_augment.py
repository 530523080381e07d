"""The augmentation's kernels against its plain form, and what pictures take from each other."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training import augment, mixing  # noqa: E402
from ecmnet_training.augment_triton import augmented_batch  # noqa: E402
from ecmnet_training.config import AugmentConfig  # noqa: E402

ALL = AugmentConfig(
    scale=(0.5, 2.0), aspect=0.2, rotate_deg=3.0, brightness=0.4, contrast=0.4, saturation=0.6,
    hue_deg=15.0, gamma=0.5, channel_gain=0.15, shade=0.3, blur_px=1.2, noise=10.0,
)  # fmt: skip


@pytest.mark.parametrize("config", [ALL, AugmentConfig()])
def test_the_kernels_change_pictures_as_the_plain_form_does(config: AugmentConfig) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 7, 10), dtype=torch.uint8, generator=rng)
    images = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    labels = torch.randint(0, 12, (5, 28, 40), dtype=torch.uint8, generator=rng)
    mean, std = torch.tensor([99.0, 103.0, 105.0]), torch.tensor([75.0, 77.0, 76.0])
    rows = torch.tensor([3, 0, 4, 1])
    draws = augment.draw(config, 4, (28, 40), rng)
    x, y = augment.apply(config, draws, images[rows], labels[rows], mean=mean, ignore_id=11)
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)

    noise = None if draws.noise is None else draws.noise.to(DEVICE)
    there = augment.Draws(draws.uniform.to(DEVICE), draws.shade.to(DEVICE), noise)
    got_x, got_y = augmented_batch(
        config, there, rows.to(DEVICE), images.to(DEVICE), labels.to(DEVICE),
        mean=mean.to(DEVICE), std=std.to(DEVICE), ignore_id=11,
    )  # fmt: skip
    # A place halfway between two pixels may round either way.
    assert (got_y.cpu() == y).float().mean() > 0.995
    error = (got_x.cpu() - x).abs()
    # f32 places differ by 1e-6 of the picture's width: 1e-4 of a step between two pixels.
    assert error.mean() < 1e-4 and error.max() < 2e-2


def test_pasted_classes_come_with_their_pixels_and_void_does_not() -> None:
    labels = torch.tensor([[[0, 1], [2, 2]], [[1, 11], [0, 2]]])
    images = torch.arange(2 * 3 * 4.0).view(2, 3, 2, 2)
    chosen = torch.tensor([[False, True, False], [False, False, True]])
    x, y = mixing.paste_classes(images, labels, chosen, ignore_id=11)
    assert y.tolist() == [[[1, 1], [2, 2]], [[1, 11], [2, 2]]]
    expected = images.clone()
    expected[0, :, 0, 0] = images[1, :, 0, 0]
    expected[1, :, 1, :] = images[0, :, 1, :]
    assert torch.equal(x, expected)


def test_a_full_move_of_tone_takes_the_next_pictures_mean_and_deviation() -> None:
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = images * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1) + 5
    moved = mixing.move_tone(images, torch.tensor([1.0, 0.0, 1.0]))
    for i, source in ((0, 1), (1, 1), (2, 0)):
        for a, b in zip(
            torch.std_mean(moved[i], dim=(1, 2)), torch.std_mean(images[source], dim=(1, 2)),
            strict=True,
        ):  # fmt: skip
            assert torch.allclose(a, b, atol=1e-5)
