"""Averages of weights files."""

import dataclasses
from pathlib import Path

import pytest
import torch
from made_drives import write_drives

from ecmnet_training import average
from ecmnet_training.classes import CAMVID
from ecmnet_training.data import load_pairs
from ecmnet_training.evaluate import Normalisation, confusion_of, report
from ecmnet_training.export import WeightsHeader, read_weights, write_weights
from ecmnet_training.model import ECMNet

HEADER = WeightsHeader(
    plan="B", classes=CAMVID, mean=(99.0, 98.0, 97.0), std=(60.0, 61.0, 62.0), train_size=(32, 48),
    dataset="made", licence="Apache-2.0", commit="c0ffee", miou=0.5, miou_on="held out: d2",
    temperature=1.4, logit_offsets={"Road": -0.5},
)  # fmt: skip


def written(path: Path, seed: int, **changes: object) -> dict[str, torch.Tensor]:
    """A file of random weights and statistics; its tensors."""
    torch.manual_seed(seed)
    network = ECMNet(len(CAMVID), "B")
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    write_weights(path, network.state_dict(), dataclasses.replace(HEADER, **changes))
    return network.state_dict()


def test_every_tensor_is_the_mean_and_the_score_is_the_averages_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_drives(tmp_path, ("d1_0", "d2_0", "d2_1"))
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    states = [written(path, seed) for seed, path in enumerate(paths)]
    out = tmp_path / "average.safetensors"
    command = ["average", "--weights", *map(str, paths), "--out", str(out), "--commit", "abc"]
    command += ["--data", str(tmp_path), "--kind", "pairs"]
    monkeypatch.setattr("sys.argv", command)
    average.main()
    network, header = read_weights(out)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            expected = (states[0][name] + states[1][name] + states[2][name]) / 3
            # f32 sums in another order.
            assert torch.allclose(tensor, expected, atol=1e-6), name
    frames = load_pairs(tmp_path, classes="camvid").split(["d2"])[1]
    norm = Normalisation(torch.tensor(HEADER.mean), torch.tensor(HEADER.std), (32, 48))
    miou = report(confusion_of(network, frames, norm), CAMVID, 2)["miou"]
    assert header == dataclasses.replace(
        HEADER, commit="abc", miou=round(miou, 4), temperature=1.0, logit_offsets={}
    )


def test_an_average_of_one_file_is_that_file(tmp_path: Path) -> None:
    state = written(tmp_path / "a.safetensors", 0)
    network, header = average.read_average([tmp_path / "a.safetensors"])
    assert all(torch.equal(state[n], t) for n, t in network.state_dict().items())
    assert header.miou_on == "not measured" and header.held_out() == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"plan": "A"}, "plan"),
        ({"mean": (99.0, 98.0, 97.5)}, "mean"),
        ({"miou_on": "held out: d1"}, "frames held out"),
        ({"licence": "other"}, "licence"),
        (
            {"classes": dataclasses.replace(CAMVID, names=tuple(reversed(CAMVID.names))),
             "logit_offsets": {}},
            "classes",
        ),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    written(paths[0], 0)
    written(paths[1], 1, **changes)
    with pytest.raises(ValueError, match=f"^{named}: .*a.safetensors has .*b.safetensors has"):
        average.read_average(paths)


def test_tensors_that_only_one_has_are_named() -> None:
    with pytest.raises(ValueError, match="in one shape: w, v"):
        average.averaged_state([{"w": torch.zeros(2)}, {"w": torch.zeros(3), "v": torch.zeros(1)}])


def test_weights_with_a_drive_held_out_are_not_averaged_without_a_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "a.safetensors", tmp_path / "out.safetensors"
    written(path, 0)
    monkeypatch.setattr("sys.argv", ["average", "--weights", str(path), "--out", str(out)])
    with pytest.raises(SystemExit, match="held out d2"):
        average.main()
    assert not out.exists()


def test_files_trained_at_different_sizes_need_the_averages_own_size(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    written(paths[0], 0)
    written(paths[1], 1, train_size=(48, 72))
    with pytest.raises(ValueError, match="train_size"):
        average.read_average(paths)
    assert average.read_average(paths, (48, 72))[1].train_size == (48, 72)
