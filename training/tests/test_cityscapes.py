"""The Cityscapes recipe from made files in the data set's layout to scored weights, on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecmnet_training import evaluate, train
from ecmnet_training.classes import CITYSCAPES
from ecmnet_training.export import read_weights

RECIPE = Path(__file__).parents[1] / "configs" / "cityscapes.toml"
SKY, BUILDING, ROAD, CAR, EGO = 23, 11, 7, 26, 1


def made_street(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture 64x128 and its label ids: sky, houses, road, a car elsewhere in each, a bonnet."""
    ids = np.full((64, 128), SKY, np.uint8)
    ids[12:32] = BUILDING
    ids[32:] = ROAD
    ids[26:44, 10 + 20 * number : 34 + 20 * number] = CAR
    ids[60:] = EGO
    colours = np.zeros((256, 3))
    for place, colour in {
        SKY: (150, 180, 220), BUILDING: (130, 100, 80), ROAD: (90, 90, 95), CAR: (20, 20, 120),
        EGO: (10, 10, 10),
    }.items():  # fmt: skip
        colours[place] = colour
    noise = np.random.default_rng(number).normal(0, 6, (64, 128, 3))
    return np.clip(colours[ids] + noise, 0, 255).astype(np.uint8), ids


def made_cityscapes(root: Path) -> None:
    """Two cities to train on, two frames each, and one with two frames to score."""
    cities = {"train/aa": (0, 1), "train/bb": (2, 3), "val/cc": (4, 1)}
    for place, numbers in cities.items():
        for n in numbers:
            image, ids = made_street(n)
            stem = f"{Path(place).name}_{n:06}_000019"
            for kind, name, values in (
                ("leftImg8bit", f"{stem}_leftImg8bit.png", image),
                ("gtFine", f"{stem}_gtFine_labelIds.png", ids),
            ):
                path = root / kind / place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)


def test_the_recipe_goes_from_files_to_scored_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "cityscapes", tmp_path / "run"
    made_cityscapes(data)
    config = tmp_path / "small.toml"
    text = RECIPE.read_text()
    for line, small in (
        ("size = [512, 1024]", "size = [32, 64]"),
        ("epochs = 300", "epochs = 30"),
        ("batch = 16", "batch = 4"),
        ("warmup_steps = 300", "warmup_steps = 2"),
        ("ema_decay = 0.999", "ema_decay = 0.9"),
        ("lr = 1.5e-3", "lr = 5e-3"),
    ):
        assert text.count(line) == 1, line
        text = text.replace(line, small)
    config.write_text(text)
    command = ["train", "--config", str(config), "--data", str(data), "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*command, "--device", "cpu"])
    train.main()
    weights = out / "weights.safetensors"
    _, header = read_weights(weights)
    assert header.classes == CITYSCAPES and header.train_size == (32, 64)
    assert header.licence.startswith("research-only")

    scores = tmp_path / "scores.json"
    command = ["evaluate", "--weights", str(weights), "--data", str(data), "--json", str(scores)]
    monkeypatch.setattr("sys.argv", [*command, "--kind", "cityscapes"])
    evaluate.main()
    result = json.loads(scores.read_text())
    assert result["frames"] == 2, "val, not train"
    assert set(result["iou"]) == set(CITYSCAPES.names) and result["iou"]["train"] is None
    # Chance would give the road at most 0.45, its share of the picture.
    assert result["road"]["iou"] > 0.6 and result["iou"]["road"] == result["road"]["iou"]
    assert len(result["road"]["boundary"]["by_row"]["p95_px"]) == 32
    assert result["road"]["false_free_space"]["by_class"]["car"]["components"] == 2
    shown = json.loads(capsys.readouterr().out.split("safetensors\n")[-1])
    assert "by_row" not in shown["road"]["boundary"]

    monkeypatch.setattr("sys.argv", [*command, "--kind", "cityscapes", "--enlarge", "1.5"])
    evaluate.main()
    enlarged = json.loads(scores.read_text())
    assert enlarged["frames"] == 2 and enlarged["road"]["iou"] != result["road"]["iou"]
    # The same scene, half as large again: other pixels of the edges, the same road.
    assert abs(enlarged["road"]["iou"] - result["road"]["iou"]) < 0.3


def test_a_folder_without_the_layout_is_named(tmp_path: Path) -> None:
    from ecmnet_training.data import load_cityscapes

    with pytest.raises(FileNotFoundError, match="leftImg8bit/train"):
        load_cityscapes(tmp_path, "train", (32, 64))
