"""The augmentation's kernels against its plain form, and what pictures take from each other."""

import dataclasses
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")
from ecmnet_training import augment, mixing, strong  # noqa: E402
from ecmnet_training.augment_triton import augmented_batch  # noqa: E402
from ecmnet_training.config import AugmentConfig, StrongConfig  # noqa: E402

ALL = AugmentConfig(
    scale=(0.5, 2.0), aspect=0.2, rotate_deg=3.0, brightness=0.4, contrast=0.4, saturation=0.6,
    hue_deg=15.0, gamma=0.5, channel_gain=0.15, shade=0.3, blur_px=1.2, noise=10.0,
)  # fmt: skip
EVERYTHING = StrongConfig(
    share=0.8, dim=(0.7, 0.6), flat=(0.7, 0.6), grey=0.4, shuffle=0.5, tone=(0.8, 1.0),
    shadow=(0.8, 0.7), posterise=(0.7, 32.0), blur=(0.7, 2.5), filter=(0.7, 0.8),
    noise=(0.7, 30.0), holes=(0.7, 0.6),
)  # fmt: skip
ALL_STRONG = dataclasses.replace(ALL, strong=EVERYTHING)
ALONE = AugmentConfig(strong=EVERYTHING)


@pytest.mark.parametrize("size_hw", [(28, 40), (40, 64)])
@pytest.mark.parametrize("config", [ALL, ALL_STRONG, ALONE, AugmentConfig()])
def test_the_kernels_change_pictures_as_the_plain_form_does(
    config: AugmentConfig, size_hw: tuple[int, int]
) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 7, 10), dtype=torch.uint8, generator=rng)
    images = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    labels = torch.randint(0, 12, (5, 28, 40), dtype=torch.uint8, generator=rng)
    mean, std = torch.tensor([99.0, 103.0, 105.0]), torch.tensor([75.0, 77.0, 76.0])
    rows = torch.tensor([3, 0, 4, 1])
    draws = augment.draw(config, 4, size_hw, rng)
    x, y = augment.apply(
        config, draws, images[rows], labels[rows], size_hw=size_hw, mean=mean, ignore_id=11
    )
    x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)

    noise = None if draws.noise is None else draws.noise.to(DEVICE)
    harsh = None if draws.strong is None else draws.strong.to(DEVICE)
    there = augment.Draws(draws.uniform.to(DEVICE), draws.shade.to(DEVICE), noise, harsh)
    got_x, got_y = augmented_batch(
        config, there, rows.to(DEVICE), images.to(DEVICE), labels.to(DEVICE),
        size_hw=size_hw, mean=mean.to(DEVICE), std=std.to(DEVICE), ignore_id=11,
    )  # fmt: skip
    assert got_x.shape == (4, 3, *size_hw) and got_y.shape == (4, *size_hw)
    # A place halfway between two pixels may round either way.
    assert (got_y.cpu() == y).float().mean() > 0.995
    error = (got_x.cpu() - x).abs()
    # f32 places differ by 1e-6 of the picture's width: 1e-4 of a step between two pixels.
    assert error.mean() < 1e-4
    # A value between two steps may go either way.
    assert (error > 2e-2).float().mean() < (1e-3 if config.strong.posterise[1] else 1e-9)


def test_strong_changes_come_as_often_as_asked_and_leave_the_other_pictures_alone() -> None:
    u = torch.rand(4000, strong.DRAWS, generator=torch.Generator().manual_seed(0))
    got = strong.amounts(EVERYTHING, u)
    left_alone = strong.amounts(StrongConfig(), u)
    untouched = u[:, 0] >= EVERYTHING.share
    changed = {
        "dim": got.brightness < 1, "flat": got.contrast < 1, "grey": got.saturation < 1,
        "shuffle": (got.order != torch.arange(3)).any(1), "tone": got.tone > 0,
        "shadow": got.shadow[:, 5] > 0, "posterise": got.step > 0, "blur": got.blur > 0,
        "filter": got.filter.abs().amax((1, 2)) > 0, "noise": got.noise > 0,
        "holes": got.holes[:, 3] > 0,
    }  # fmt: skip
    for name, happened in changed.items():
        change = getattr(EVERYTHING, name)
        often = change if isinstance(change, float) else change[0]
        # 4,000 draws: the share's deviation is 0.008 at most.
        assert abs(happened.float().mean() - EVERYTHING.share * often) < 0.03, name
        assert not happened[untouched].any(), name
    for name in ("brightness", "contrast", "saturation"):
        assert (getattr(left_alone, name) == 1).all()
    for name, most in {"tone": 1.0, "step": 32.0, "blur": 2.5, "noise": 30.0}.items():
        values = getattr(got, name)
        assert not getattr(left_alone, name).any()
        assert most / 3 <= values[values > 0].min() and most * 0.98 < values.max() <= most
    assert got.filter.sum((1, 2)).abs().max() < 1e-5
    assert got.filter.flatten(1).norm(dim=1).max() <= 0.8 + 1e-5
    assert sorted(set(got.grain.tolist())) == [1, 2, 3, 4]
    orders = got.order[changed["shuffle"]].long()
    assert (orders.sort(1).values == torch.arange(3)).all() and len(orders.unique(dim=0)) == 5


def test_each_strong_change_is_what_it_says() -> None:
    rng = torch.Generator().manual_seed(0)
    x = 255 * torch.rand(2, 3, 12, 16, generator=rng)
    x[1] = x[1] / 4 + 20
    x = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    share = torch.tensor([1.0, 0.0])
    moved = x + strong.tone_change(x, share)
    # Smooth between the cells, so the edge's cells count a little more.
    assert (moved[0].mean((1, 2)) - x[1].mean((1, 2))).abs().max() < 2
    assert (moved[0].std((1, 2)) < 0.8 * x[0].std((1, 2))).all()
    assert torch.equal(moved[1], x[1])

    dot = torch.zeros(2, 3, 31, 31)
    dot[:, :, 15, 15] = 1.0
    blurred = strong.widely_blurred(dot, torch.tensor([2.0, 0.0]))
    offsets = torch.arange(-15.0, 16)
    # 7 of 2 px: the tail that is cut off holds 2 % of the variance.
    assert torch.isclose((blurred[0, 0].sum(0) * offsets**2).sum(), torch.tensor(4.0), rtol=0.03)
    assert torch.isclose(blurred.sum(), torch.tensor(6.0)) and torch.equal(blurred[1], dot[1])

    assert strong.posterised(x[:1], torch.tensor([32.0])).unique().tolist() == [
        16.0 + 32 * i for i in range(8)
    ]
    noise = torch.randn(1, 3, 9, 9, generator=rng)
    grains = strong.grained(noise, torch.tensor([3.0]))
    assert (grains[..., 3:6, 3:6] == grains[..., 3:4, 3:4]).all() and len(grains.unique()) == 27
    holes = strong.hole_mask(torch.tensor([[8.0, 3, 5, 4]]), (48, 64))
    assert holes.float().mean() == 0.25 and holes[0, 0, 3, 5] and not holes[0, 0, 2, 5]
    band = torch.tensor([[0.0, 1.0, -0.5, 0.5, 60.0, 0.7]])
    light = strong.light_under(band, (40, 6))[0, 0, :, 0]
    assert torch.allclose(light[[0, 39]], torch.ones(2), atol=1e-3)
    assert torch.isclose(light[20], torch.tensor(0.3), atol=1e-3)


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


def test_a_box_comes_with_its_labels_from_the_picture_before() -> None:
    labels = torch.arange(2 * 4 * 8).view(2, 4, 8)
    images = labels[:, None].repeat(1, 3, 1, 1).float()
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.0]])
    x, y = mixing.paste_boxes(images, labels, boxes)
    expected = labels.clone()
    expected[0, 1:3, 4:] = labels[1, 1:3, 4:]
    assert torch.equal(y, expected) and torch.equal(x[:, 1], expected.float())


def test_boxes_lie_in_the_picture_and_cover_a_quarter_to_a_half() -> None:
    u = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0))
    boxes = mixing.boxes_of(u, 0.3)
    there = boxes.any(1)
    # The share's deviation is 0.007.
    assert abs(there.float().mean() - 0.3) < 0.03
    sides = boxes[there, 2:] - boxes[there, :2]
    area = sides.prod(1)
    assert 0.25 - 1e-6 <= area.min() < 0.26 and 0.49 < area.max() <= 0.5 + 1e-6
    assert boxes.min() >= 0 and boxes.max() <= 1 + 1e-6 and (sides[:, 0] < sides[:, 1]).any()


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


def test_the_amounts_of_runs_without_strong_changes_are_worked_out_once() -> None:
    draws = augment.draw(ALL, 3, (28, 40), torch.Generator().manual_seed(0))
    amounts = augment.amounts_of(ALL, draws)
    assert amounts is augment.amounts_of(ALL, draws) and amounts.brightness.tolist() == [1.0] * 3
