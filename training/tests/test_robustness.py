"""Losses under corruptions, on a network whose answers are known, and the command on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ecmnet_training import robustness
from ecmnet_training.classes import CAMVID
from ecmnet_training.corruptions import HELD_OUT
from ecmnet_training.data import SegmentationSet
from ecmnet_training.export import WeightsHeader, write_weights
from ecmnet_training.model import ECMNet
from ecmnet_training.robustness import Judged, comparison, corrupted_frames, recipe_report

FOG = [kind for kind in HELD_OUT if kind.name == "fog"]
TILT = [kind for kind in HELD_OUT if kind.name == "tilt"]


class DarkIsRoad(nn.Module):
    """Calls dark pixels Road, the others Sky."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 11, *x.shape[2:])
        logits[:, 3] = 120 - x[:, 0]
        logits[:, 0] = x[:, 0] - 120
        return logits


def header(miou_on: str) -> WeightsHeader:
    return WeightsHeader(
        "A", CAMVID, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (48, 64), "made", "Apache-2.0", "x", 0.0,
        miou_on,
    )  # fmt: skip


def street(names: tuple[str, ...]) -> SegmentationSet:
    """Bright sky over a dark road."""
    labels = torch.zeros(len(names), 48, 64, dtype=torch.uint8)
    labels[:, 24:] = 3
    images = torch.where(labels == 3, 40, 220).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
    return SegmentationSet(images, labels, names, CAMVID)


def test_a_loss_is_the_clean_figure_less_the_mean_over_severities() -> None:
    judged = [Judged(DarkIsRoad(), header(""), street((name,))) for name in "ab"]
    report = recipe_report(judged, corruptions=FOG)
    assert report["frames"] == 2 and report["clean"] == {"miou": 1.0, "road_iou": 1.0}
    rows = [score["road_iou"] for score in report["corrupted"]["fog"]]
    assert rows[0] > rows[2], "thick fog turns the far road bright"
    assert np.isclose(report["lost"]["fog"]["road_iou"], 1 - np.mean(rows))
    assert report["mean_lost"] == report["lost"]["fog"]


def test_recipes_are_compared_on_the_same_pictures() -> None:
    once, again = (
        corrupted_frames(street(("a", "b")), TILT[0], severity=2, seed=5) for _ in range(2)
    )
    assert torch.equal(once.images, again.images) and torch.equal(once.labels, again.labels)
    assert (once.labels == CAMVID.ignore_id).any()


def test_half_of_the_others_loss_is_enough_and_more_is_not() -> None:
    def report(lost: float) -> dict:
        return {"mean_lost": {"road_iou": lost}}

    assert comparison(report(0.05), report(0.10))["met"]
    assert not comparison(report(0.051), report(0.10))["met"]
    assert comparison(report(0.03), report(0.12))["share"] == pytest.approx(0.25)
    nothing = comparison(report(0.0), report(0.0))
    assert nothing["share"] is None and nothing["met"]


def test_the_command_scores_each_file_on_the_frames_it_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = street(("d1_a", "d2_b", "d2_c"))
    lines = []
    for name, image, label in zip(frames.names, frames.images, frames.labels, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{name}.png")
        Image.fromarray(label.numpy()).save(tmp_path / f"{name}_labels.png")
        lines.append(f"{name}.png {name}_labels.png\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    torch.manual_seed(0)
    for name, where in (("one", "held out: d1"), ("two", "held out: d2"), ("all", "not measured")):
        state = ECMNet(len(CAMVID)).state_dict()
        write_weights(tmp_path / f"{name}.safetensors", state, header(where))
    out = tmp_path / "out.json"
    command = ["robustness", "--data", str(tmp_path), "--kind", "pairs", "--kinds", "jpeg"]
    command += ["--severities", "1", "--device", "cpu", "--json", str(out), "--weights"]
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("one", "two")]
    monkeypatch.setattr("sys.argv", [*command, *paths, "--against", *paths])
    robustness.main()
    result = json.loads(out.read_text())
    assert result["weights"]["frames"] == 3
    assert result["weights"] == result["against"], "the same files on the same pictures"
    assert "road IoU lost" in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "all.safetensors")])
    with pytest.raises(SystemExit, match="names no frames held out"):
        robustness.main()
