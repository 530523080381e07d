"""Whole drives held out in turn, on tiny made frames on the CPU."""

import json
from pathlib import Path

import pytest
from made_drives import RECIPE, write_drives

from ecmnet_training import folds, offsets, robustness
from ecmnet_training.export import read_weights


def test_weights_that_folds_keep_are_judged_on_their_own_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_drives(tmp_path, ("d1_0", "d1_1", "d2_0", "d2_1", "d2_2"))
    (tmp_path / "tiny.toml").write_text(RECIPE)
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
