"""Fine-tuning in one command, on tiny made folders on the CPU."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ecmnet_training import finetune
from ecmnet_training.classes import CAMVID, ClassTable
from ecmnet_training.data import SegmentationSet
from ecmnet_training.export import WeightsHeader, read_weights, write_weights
from ecmnet_training.model import ECMNet

OWN = ClassTable(("Rock", "Road"), ((9, 9, 9), (128, 64, 128)), 255, ("Road",))


def made_folder(root: Path, *, frames: int, ids: tuple[int, int], void: int) -> None:
    """Road below sky or rock, edges at another row in each frame, two void columns."""
    root.mkdir()
    lines = []
    for i in range(frames):
        label = np.full((32, 48), ids[0], np.uint8)
        label[10 + i :] = ids[1]
        image = np.where(label[..., None] == ids[1], (90, 90, 95), (160, 180, 210))
        label[:, :2] = void
        noise = np.random.default_rng(i).normal(0, 8, image.shape)
        Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(root / f"{i}.png")
        Image.fromarray(label).save(root / f"{i}_labels.png")
        lines.append(f"{i}.png {i}_labels.png\n")
    (root / "list.txt").write_text("".join(lines))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Untrained weights of plan B for CamVid's classes."""
    torch.manual_seed(1)
    header = WeightsHeader(
        "B", CAMVID, (100.0, 100.0, 100.0), (60.0, 60.0, 60.0), (32, 48), "made streets",
        "research-only (made)", "x", 0.0, "not measured",
        logit_offsets={"Road": -0.0625, "Car": -0.5},
    )  # fmt: skip
    path = tmp_path / "start.safetensors"
    write_weights(path, ECMNet(len(CAMVID), "B").state_dict(), header)
    return path


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    text = finetune.CONFIG.read_text()
    for key, value in {
        "epochs": "8", "batch": "4", "lr": "5e-3", "warmup_steps": "2",
        "ema_decay": "0.8",
    }.items():  # fmt: skip
        text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert found == 1, key
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def run(monkeypatch: pytest.MonkeyPatch, **options: Path | str) -> None:
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    monkeypatch.setattr("sys.argv", ["finetune", "--device", "cpu", *words])
    finetune.main()


def test_the_command_makes_masks_better_and_says_by_how_much(
    tmp_path: Path, start: Path, small_config: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data, out = tmp_path / "own", tmp_path / "run"
    made_folder(data, frames=5, ids=(0, 3), void=CAMVID.ignore_id)
    run(monkeypatch, data=data, start=start, config=small_config, out=out)
    result = json.loads((out / "finetune.json").read_text())
    assert result["frames"] == {"trained_on": 4, "held_out": 1}
    assert result["carried_classes"] == list(CAMVID.names) and result["steps"] == 8
    assert result["after"]["miou"] > result["before"]["miou"] + 0.2
    _, header = read_weights(out / "weights.safetensors")
    assert header.plan == "B", "the start's, not the file's"
    assert header.train_size == (32, 48), "the start's"
    assert header.licence == "research-only (made); frames: the frames' own"
    assert header.temperature == result["temperature"]
    assert header.logit_offsets == result["logit_offsets"] == {"Road": -0.0625, "Car": -0.5}
    assert header.miou == result["after"]["miou"] and header.held_out() == ()
    told = capsys.readouterr().out
    assert "no frame to train on has any pixel of: Building" in told and "mIoU" in told
    assert "network's size: 32x48\n" in told

    # A size of the configuration's own holds, and what was before stays the start at its size.
    text = small_config.read_text().replace("[data]", "[data]\nsize = [48, 72]")
    small_config.write_text(text)
    sizes = []
    normalisation = finetune.Normalisation
    monkeypatch.setattr(
        finetune, "Normalisation", lambda *a: (sizes.append(a[2]), normalisation(*a))[1]
    )
    run(monkeypatch, data=data, start=start, config=small_config, out=out)
    assert sizes == [(32, 48), (48, 72)]
    assert read_weights(out / "weights.safetensors")[1].train_size == (48, 72)
    assert "network's size: 48x72, the start's is 32x48\n" in capsys.readouterr().out


def test_other_classes_start_anew_and_those_of_the_same_name_carry_over(
    tmp_path: Path, start: Path, small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "own", tmp_path / "run"
    made_folder(data, frames=6, ids=(0, 1), void=255)
    classes = [
        {"id": 0, "name": "Rock", "rgb": [9, 9, 9]},
        {"id": 1, "name": "Road", "rgb": [1, 2, 3]},
    ]
    (data / "classes.json").write_text(json.dumps({"classes": classes, "ignore_id": 255}))
    run(monkeypatch, data=data, start=start, config=small_config, out=out, **{"hold-out": "5"})
    result = json.loads((out / "finetune.json").read_text())
    assert result["before"] is None and result["carried_classes"] == ["Road"]
    # Two classes, half of the picture each: all one class is 0.25, chance 0.33.
    assert result["after"]["miou"] > 0.6
    _, header = read_weights(out / "weights.safetensors")
    assert header.classes.names == ("Rock", "Road") and header.held_out() == ("5",)
    assert header.logit_offsets == {"Road": -0.0625}, "of the classes carried over alone"


def test_a_carried_row_is_the_starts_row_and_the_rest_of_the_network_too(start: Path) -> None:
    network, header = read_weights(start)
    one = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    frames = SegmentationSet(one, one[:, 0], ("a",), OWN)
    tensors, carried = finetune.carried_over(network, header, frames)
    known = network.state_dict()
    assert carried == ["Road"] and tensors["classifier.weight"].shape == (2, 16, 1, 1)
    assert torch.equal(tensors["classifier.weight"][1], known["classifier.weight"][3])
    assert not torch.equal(tensors["classifier.weight"][0], known["classifier.weight"][0])
    assert all(torch.equal(tensors[n], v) for n, v in known.items() if n != "classifier.weight")
    ECMNet(2, "B").load_state_dict(tensors)


def test_minutes_shorten_the_schedule_and_too_few_are_refused(
    tmp_path: Path, start: Path, small_config: Path
) -> None:
    made_folder(tmp_path / "own", frames=5, ids=(0, 3), void=CAMVID.ignore_id)
    network, header = read_weights(start)
    config = finetune.read_config(small_config, size=header.train_size)
    config = dataclasses.replace(
        config, plan="B", optim=dataclasses.replace(config.optim, epochs=10**4)
    )
    frames = finetune.own_frames(tmp_path / "own", header, config)
    tensors, _ = finetune.carried_over(network, header, frames)

    def epochs(minutes: float) -> int:
        return finetune.within_minutes(
            config, frames, tensors, minutes=minutes, device=torch.device("cpu")
        ).optim.epochs

    # A step takes between 0.04 s and half a minute, whatever else the machine does.
    assert 2 < epochs(6) < 10**4
    with pytest.raises(ValueError, match="do not suffice"):
        epochs(1e-4)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no list", "has no list.txt"),
        ("three words", "is no pair"),
        ("missing label", "the pair 0.png gone.png cannot be read"),
        ("colour label", "labels must be 8-bit single-channel images, not RGB"),
        ("wrong id", "label id 77 is neither a class nor ignore_id"),
        ("all void", "every pixel of every label is ignored"),
        ("too few", "3 frames to train on and 1 to score with are too few"),
        ("no such prefix", "no frame's name starts with z"),
        ("no weights", "start.safetensors"),
    ],
)
def test_what_is_wrong_with_the_folder_is_said_in_one_line(
    fault: str, said: str, tmp_path: Path, start: Path, small_config: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = tmp_path / "own"
    ids = (11, 11) if fault == "all void" else (0, 77) if fault == "wrong id" else (0, 3)
    made_folder(data, frames=4 if fault == "too few" else 5, ids=ids, void=11)
    lines = (data / "list.txt").read_text()
    if fault == "no list":
        (data / "list.txt").unlink()
    elif fault == "three words":
        (data / "list.txt").write_text(lines + "a b c\n")
    elif fault == "missing label":
        (data / "list.txt").write_text(lines.replace("0_labels.png", "gone.png"))
    elif fault == "colour label":
        Image.new("RGB", (48, 32)).save(data / "0_labels.png")
    elif fault == "no weights":
        start.unlink()
    extra = {"hold-out": "z"} if fault == "no such prefix" else {}
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, data=data, start=start, config=small_config, out=tmp_path / "o", **extra)
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and error.startswith("finetune: ") and said in error, error
