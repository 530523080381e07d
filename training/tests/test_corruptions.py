"""The two lists of changes, and that each held-out corruption is what it says."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ecmnet_training.config import AugmentConfig, StrongConfig, read_config
from ecmnet_training.corruptions import HELD_OUT, SEVERITIES, TRAINING, Corruption, corrupted
from ecmnet_training.weather import distance_m

PAGE = Path(__file__).parents[1] / "CORRUPTIONS.md"
BY_NAME = {corruption.name: corruption for corruption in HELD_OUT}
every_corruption = pytest.mark.parametrize("corruption", HELD_OUT, ids=lambda c: c.name)


def street() -> tuple[np.ndarray, np.ndarray]:
    """Sky over road with lane marks and a dark box, 72x96, and its labels."""
    image = np.full((72, 96, 3), (190, 200, 215), np.uint8)
    label = np.zeros((72, 96), np.uint8)
    image[34:], label[34:] = (95, 92, 90), 3
    image[40::8, 46:50] = 230
    image[20:44, 60:80], label[20:44, 60:80] = (30, 40, 120), 8
    return image, label


def damage(corruption: Corruption, severity: int, *, seed: int = 0, frame: str = "a") -> np.ndarray:
    image, label = street()
    return corrupted(
        image, label, corruption, severity=severity, seed=seed, frame=frame, ignore_id=11
    )[0]


def test_recipes_can_ask_for_the_training_list_and_nothing_else() -> None:
    plain, strong = (
        {field.name for field in dataclasses.fields(kind)} for kind in (AugmentConfig, StrongConfig)
    )
    assert set(TRAINING) == plain - {"strong"} | {f"strong.{n}" for n in strong - {"share"}}
    assert not set(TRAINING) & set(BY_NAME)


def test_no_recipe_turns_as_the_least_held_out_severity_or_blurs_as_the_worst() -> None:
    photographs = (360, 480)
    paths = (PAGE.parent / "configs").glob("*.toml")
    recipes = [read_config(path, size=photographs) for path in paths]
    steepest = max(recipe.augment.rotate_deg for recipe in recipes)
    assert recipes and steepest < BY_NAME["tilt"].strengths[0] / 1.9
    for recipe in recipes:
        # In pixels of the photographs, which are what is corrupted; networks may see them enlarged.
        enlarged = recipe.data.size[0] / photographs[0] if recipe.data.kind == "camvid" else 1.0
        widest = max(recipe.augment.blur_px, recipe.augment.strong.blur[1]) / enlarged
        # A disc's deviation along an axis is half its radius.
        assert widest <= BY_NAME["defocus"].strengths[1] / 2


def test_training_never_reaches_the_held_out_corruptions() -> None:
    code = (
        "import sys, ecmnet_training.train, ecmnet_training.folds, ecmnet_training.mixing\n"
        "names = ('ecmnet_training.corruptions', 'ecmnet_training.weather')\n"
        "raise SystemExit(any(name in sys.modules for name in names))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PAGE.parent, check=False)
    assert run.returncode == 0


def test_the_page_has_a_row_with_a_source_for_each_corruption() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    described = {row[0].removeprefix("| "): row for row in rows if len(row) == 5}
    assert set(BY_NAME) == set(described) - {"kind"}
    for name, row in described.items():
        assert all(cell.strip(" |") for cell in row), name


@every_corruption
def test_the_same_seed_and_frame_give_the_same_picture(corruption: Corruption) -> None:
    assert (damage(corruption, 2) == damage(corruption, 2)).all()
    if corruption.name not in ("defocus", "jpeg"):  # these two have nothing random
        others = [damage(corruption, 2, seed=seed) for seed in (1, 2)]
        others += [damage(corruption, 2, frame=frame) for frame in "bc"]
        assert any((damage(corruption, 2) != other).any() for other in others)


@every_corruption
def test_each_severity_is_worse_than_the_one_before(corruption: Corruption) -> None:
    clean = street()[0].astype(float)
    errors = [np.abs(damage(corruption, s) - clean).mean() for s in SEVERITIES]
    assert 0.3 < errors[0] < errors[1] < errors[2], errors


@every_corruption
def test_labels_stay_unless_the_camera_turns(corruption: Corruption) -> None:
    image, label = street()
    kept, before = image.copy(), label.copy()
    _, moved = corrupted(image, label, corruption, severity=3, seed=0, frame="a", ignore_id=11)
    assert (image == kept).all() and (label == before).all(), "the frame itself was changed"
    assert (moved == label).all() == (corruption.name != "tilt")


def test_a_tilted_cameras_labels_move_with_its_picture() -> None:
    _, label = street()
    image = np.repeat(label[..., None] * 20, 3, axis=2).astype(np.uint8)
    view, moved = corrupted(
        image, label, BY_NAME["tilt"], severity=2, seed=3, frame="a", ignore_id=11
    )
    inside = moved != 11
    assert 0.02 < 1 - inside.mean() < 0.3
    # Bilinear values lie between the classes along edges alone: a few pixels in a hundred.
    assert (np.abs(view[..., 0][inside] - 20.0 * moved[inside]) < 1).mean() > 0.9


def test_shot_noise_has_the_variance_of_its_photons() -> None:
    grey = np.full((200, 200, 3), 100, np.uint8)
    label = np.zeros((200, 200), np.uint8)
    noisy, _ = corrupted(
        grey, label, BY_NAME["shot noise"], severity=1, seed=0, frame="a", ignore_id=11
    )
    # 60 photons at white: 100/255 of them, deviation sqrt(23.5)/60 of white = 20.6; 120,000 draws.
    assert np.isclose(noisy.std(), 20.6, rtol=0.02) and np.isclose(noisy.mean(), 100, atol=0.5)


def test_impulses_hit_the_share_they_say() -> None:
    grey = np.full((200, 200, 3), 100, np.uint8)
    noisy, _ = corrupted(
        grey, grey[..., 0], BY_NAME["impulse noise"], severity=2, seed=0, frame="a", ignore_id=255
    )
    assert np.isclose((noisy != 100).mean(), 0.06, atol=0.003)
    assert set(np.unique(noisy)) == {0, 100, 255}


def test_fog_hides_what_is_far_and_spares_what_is_near() -> None:
    rows = np.tile(np.array([60, 140], np.uint8), 48)
    image = np.repeat(np.repeat(rows[None, :, None], 72, 0), 3, 2)
    thick, _ = corrupted(
        image, image[..., 0], BY_NAME["fog"], severity=3, seed=0, frame="a", ignore_id=255
    )
    contrast = np.ptp(thick[..., 0].astype(int)[:, :8], axis=1)
    assert contrast[-1] > 60 and contrast[33:37].max() < 10
    assert (np.diff(distance_m(72, 96)[:, 0]) <= 0).all()


def test_lens_dirt_covers_the_share_it_says() -> None:
    white = np.full((180, 240, 3), 250, np.uint8)
    for severity, share in zip(SEVERITIES, BY_NAME["lens dirt"].strengths, strict=True):
        dirty, _ = corrupted(
            white, white[..., 0], BY_NAME["lens dirt"],
            severity=severity, seed=1, frame="a", ignore_id=255,
        )  # fmt: skip
        # The last speck may go past the share by its own size: 9 % radius is 3 % of the picture.
        assert share * 0.9 < (dirty[..., 0] < 200).mean() < share + 0.08


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="severity 4"):
        damage(BY_NAME["fog"], 4)
