"""Whole drives held out in turn, on tiny made frames on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecmnet_training import folds, offsets, robustness
from ecmnet_training.export import read_weights

CONFIG = """plan = "B"
[data]
kind = "pairs"
size = [32, 48]
dataset = "made"
licence = "Apache-2.0"
classes = "camvid"
[optim]
epochs = 16
batch = 2
lr = 5e-3
weight_decay = 0.02
warmup_steps = 1
schedule = "poly"
ema_decay = 0.8
[loss]
class_weight_offset = 1.1
"""


def test_weights_that_folds_keep_are_judged_on_their_own_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    for i, name in enumerate(("d1_0", "d1_1", "d2_0", "d2_1", "d2_2")):
        label = np.where(np.arange(32)[:, None] < 12 + i, 0, 3) * np.ones((1, 48))
        label[16:24, 8 + i : 16 + i] = 8
        Image.fromarray(label.astype(np.uint8)).save(tmp_path / f"{name}_labels.png")
        image = np.repeat(label[..., None] * 40 + 50, 3, axis=2)
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{name}.png")
        lines.append(f"{name}.png {name}_labels.png\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    (tmp_path / "tiny.toml").write_text(CONFIG)
    out, kept = tmp_path / "results.json", tmp_path / "kept"
    command = ["folds", "--config", str(tmp_path / "tiny.toml"), "--seeds", "7", "--device", "cpu"]
    command += ["--folds", "d1", "d2", "--data", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*command, "--keep", str(kept)])
    # A network so little trained loses more with each offset than one is ever allowed to.
    monkeypatch.setattr(offsets, "MOST_MIOU_LOST", 1.0)
    folds.main()
    (result,) = json.loads(out.read_text())["results"]
    assert result["pooled"]["frames"] == 5
    assert result["road"]["iou"] == pytest.approx(result["pooled"]["iou"]["Road"])
    rows = {row["offset"]: row for row in result["offsets"]["sweep"]}
    assert rows[0.0]["miou"] == pytest.approx(result["pooled"]["miou"])
    assert rows[0.0]["road_iou"] == pytest.approx(result["road"]["iou"])
    assert rows[0.0]["false_free_space"] == result["road"]["false_free_space"]["all"]
    chosen = rows[result["offsets"]["chosen"]["Road"]]
    assert chosen["offset"] < 0 and chosen["miou"] < rows[0.0]["miou"]
    paths = [kept / f"tiny_7_{fold}.safetensors" for fold in ("d1", "d2")]
    for path, fold in zip(paths, ("d1", "d2"), strict=True):
        _, header = read_weights(path)
        assert header.held_out() == (fold,)
        assert header.miou == pytest.approx(result["offsets"]["folds"][fold])
        assert header.logit_offsets == result["offsets"]["chosen"]
        assert header.temperature == result["calibration"]["temperature"]

    judged = tmp_path / "robustness.json"
    command = ["robustness", "--data", str(tmp_path), "--kind", "pairs", "--device", "cpu"]
    command += ["--kinds", "jpeg", "--severities", "1", "--json", str(judged), "--weights"]
    monkeypatch.setattr("sys.argv", [*command, *map(str, paths)])
    robustness.main()
    clean = json.loads(judged.read_text())["weights"]["clean"]
    assert clean["miou"] == pytest.approx(chosen["miou"]) and clean["miou"] > 0.1
    assert clean["road_iou"] == pytest.approx(chosen["road_iou"])
