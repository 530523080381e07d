"""A training run on the CPU, on tiny made frames."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ecmnet_training import train
from ecmnet_training.classes import CAMVID
from ecmnet_training.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
    copy_config,
    read_config,
)
from ecmnet_training.data import SegmentationSet
from ecmnet_training.export import read_weights
from ecmnet_training.model import ECMNet
from ecmnet_training.trainer import Trainer

CONFIGS = Path(__file__).parents[1] / "configs"
CPU = torch.device("cpu")


def tiny_config(epochs: int) -> TrainConfig:
    return TrainConfig(
        plan="A",
        data=DataConfig("pairs", (48, 64), "made", "Apache-2.0", "camvid"),
        optim=OptimConfig(epochs, 2, 1e-3, 0.02, 1, "cosine", 0.9),
        loss=LossConfig(1.1, lovasz=0.5, auxiliary=0.2),
        augment=AugmentConfig(scale=(0.5, 2.0), brightness=0.2, noise=5.0, blur_px=1.0),
    )


def tiny_frames() -> SegmentationSet:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 12, (4, 6, 8), generator=generator, dtype=torch.uint8)
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = (labels[:, None].int() * torch.tensor([5, 11, 19]).view(1, 3, 1, 1)) % 256
    return SegmentationSet(images.to(torch.uint8), labels, ("a", "b", "c", "d"), CAMVID)


def test_a_resumed_run_ends_like_one_that_was_never_stopped() -> None:
    whole = Trainer(tiny_config(2), tiny_frames(), seed=3, device=CPU)
    for _ in range(whole.total_steps):
        whole.step()
    first = Trainer(tiny_config(2), tiny_frames(), seed=3, device=CPU)
    for _ in range(2):
        first.step()
    second = Trainer(tiny_config(2), tiny_frames(), seed=4, device=CPU)
    second._order = first._order
    second.load_state_dict(first.state_dict())
    while second.steps_done < second.total_steps:
        second.step()
    expected = whole.network().state_dict()
    for name, value in second.network().state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_the_command_trains_resumes_and_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = tiny_frames()
    for name, image, label in zip(frames.names, frames.images, frames.labels, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{name}.png")
        Image.fromarray(label.numpy()).save(tmp_path / f"{name}_labels.png")
    lines = [f"{name}.png {name}_labels.png" for name in frames.names]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    config = tmp_path / "tiny.toml"
    config.write_text(
        'plan = "A"\n'
        '[data]\nkind = "pairs"\nsize = [48, 64]\ndataset = "made"\nlicence = "Apache-2.0"\n'
        'classes = "camvid"\n'
        "[optim]\nepochs = 1\nbatch = 2\nlr = 1e-3\nweight_decay = 0.02\nwarmup_steps = 1\n"
        'schedule = "poly"\nema_decay = 0.9\n'
        "[loss]\nclass_weight_offset = 1.1\n"
    )
    out = tmp_path / "run"
    arguments = ["train", "--config", str(config), "--data", str(tmp_path), "--out", str(out)]
    arguments += ["--device", "cpu", "--commit", "abc1234", "--hold-out", "d", "--save-every", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    train.main()
    monkeypatch.setattr("sys.argv", [*arguments, "--resume"])
    train.main()
    _, header = read_weights(out / "weights.safetensors")
    assert (header.commit, header.train_size, header.miou_on) == (
        "abc1234",
        (48, 64),
        "held out: d",
    )
    assert json.loads((out / "run.json").read_text())["frames"] == 3
    assert (out / "config.toml").read_text() == config.read_text()
    assert list(out.glob("events.out.tfevents.*"))
    config.write_text(config.read_text().replace("batch = 2", "batch = 3\nmixed_in = 1"))
    weights, again = out / "weights.safetensors", tmp_path / "again"
    arguments[arguments.index(str(out))] = str(again)
    extra = ["--start", str(weights), "--second", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*arguments, *extra])
    train.main()
    assert json.loads((again / "run.json").read_text())["start"] == str(weights)
    read_weights(again / "weights.safetensors")


def test_a_run_starts_from_given_weights_and_mixes_a_second_set_in() -> None:
    config = tiny_config(1)
    optim = dataclasses.replace(config.optim, batch=3, mixed_in=1)
    change = dataclasses.replace(config.augment, tone=1.0, paste=0.5, cut=0.5)
    config = dataclasses.replace(config, optim=optim, augment=change)
    start = ECMNet(len(CAMVID)).state_dict()
    trainer = Trainer(config, tiny_frames(), seed=0, device=CPU, start=start, second=tiny_frames())
    assert all(torch.equal(start[n], v) for n, v in trainer.network().state_dict().items())
    assert (trainer._order >= 4).sum(1).tolist() == [1, 1], "one of three is of the second set"
    trainer.step()
    assert np.isfinite(trainer.take_mean_loss())
    with pytest.raises(ValueError, match="mixed_in"):
        Trainer(config, tiny_frames(), seed=0, device=CPU)


def test_a_run_may_train_at_another_size_than_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(1)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, size=(72, 96)))
    trainer = Trainer(config, tiny_frames(), seed=0, device=CPU)
    seen = []
    forward = trainer.model.forward
    monkeypatch.setattr(
        trainer.model, "forward", lambda x, y: seen.append((x.shape, y.shape)) or forward(x, y)
    )
    trainer.step()
    assert seen == [((2, 3, 72, 96), (2, 72, 96))]
    assert np.isfinite(trainer.take_mean_loss())


def test_every_committed_configuration_is_valid() -> None:
    names = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    assert names == [
        "camvid", "camvid_doubled", "camvid_doubled_cut", "camvid_enlarged",
        "camvid_enlarged_half", "camvid_fast", "camvid_mixed", "camvid_robust", "camvid_scratch",
        "camvid_varied", "camvid_varied_cut", "camvid_varied_half", "cityscapes", "finetune",
        "finetune_cpu", "probe", "world", "world_varied",
    ]  # fmt: skip
    for name in names:
        size = (360, 480)
        if name == "camvid_mixed" or name.startswith("camvid_enlarged"):
            size = (544, 720)
        elif name.startswith("camvid_doubled"):
            size = (720, 960)
        elif name == "cityscapes":
            size = (512, 1024)
        # Fine-tuning has no size of its own.
        of_start = (360, 480) if name == "finetune" else None
        assert read_config(CONFIGS / f"{name}.toml", size=of_start).data.size == size
    with pytest.raises(ValueError, match=r"\[data\].*missing keys \['size'\]"):
        read_config(CONFIGS / "finetune.toml")
    assert read_config(CONFIGS / "finetune_cpu.toml", size=(544, 720)).data.size == (360, 480)


def test_a_configuration_extends_another_and_is_copied_with_it(tmp_path: Path) -> None:
    base, own, out = tmp_path / "base.toml", tmp_path / "own.toml", tmp_path / "out"
    base.write_text((CONFIGS / "camvid_mixed.toml").read_text())
    own.write_text('extends = "base.toml"\nplan = "B"\n[augment.strong]\nshare = 0.5\n')
    config, expected = read_config(own), read_config(base)
    strong = dataclasses.replace(expected.augment.strong, share=0.5)
    augment = dataclasses.replace(expected.augment, strong=strong)
    assert config == dataclasses.replace(expected, plan="B", augment=augment)
    out.mkdir()
    copy_config(own, out)
    assert read_config(out / "config.toml") == config
    base.write_text('extends = "own.toml"\n')
    with pytest.raises(ValueError, match=r"extends own\.toml, which extends it"):
        read_config(own)


def test_strong_changes_have_a_section_of_their_own(tmp_path: Path) -> None:
    text = (CONFIGS / "probe.toml").read_text()
    path = tmp_path / "strong.toml"
    path.write_text(text + "[augment.strong]\nshare = 0.3\nblur = [0.5, 2.0]\n")
    strong = read_config(path).augment.strong
    assert strong.share == 0.3 and strong.blur == (0.5, 2.0) and strong.noise == (0.0, 0.0)
    path.write_text(text + "[augment.strong]\nshare = 0.3\nblurr = [0.5, 2.0]\n")
    with pytest.raises(ValueError, match=r"\[augment.strong\].*blurr"):
        read_config(path)
    path.write_text(text + "[augment.strong]\nshare = 0.3\nblur = [0.5, 9.0]\n")
    with pytest.raises(ValueError, match="at most 3"):
        read_config(path)


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    text = (CONFIGS / "probe.toml").read_text().replace("ema_decay", "ema_dekay")
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ValueError, match="ema_dekay"):
        read_config(tmp_path / "x.toml")


def test_shrunk_pictures_are_padded_with_ignored_labels() -> None:
    from ecmnet_training import augment

    config = AugmentConfig(scale=(0.5, 0.5), flip=False)
    draws = augment.draw(config, 4, (48, 64), torch.Generator().manual_seed(0))
    frames = tiny_frames()
    labels = torch.zeros_like(frames.labels)
    images, moved = augment.apply(
        config, draws, frames.images, labels,
        size_hw=(48, 64), mean=torch.full((3,), 77.0), ignore_id=11,
    )  # fmt: skip
    inside = (moved == 0).float().mean((1, 2)).numpy()
    assert np.allclose(inside, 0.25, atol=0.02)
    assert (images.amin(1)[moved == 11] > 76).float().mean() > 0.9
