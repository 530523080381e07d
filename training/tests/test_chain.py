"""Chains of recipes, on tiny made frames on the CPU."""

from pathlib import Path

import pytest
import torch
from made_drives import RECIPE, write_drives

from ecmnet_training import chain
from ecmnet_training.config import read_config
from ecmnet_training.export import read_weights

CHAINS = Path(__file__).parents[1] / "chains"
CHAIN = """average = ["short", "large"]
train_size = [48, 64]
[[parts]]
name = "long"
runs = [{ recipe = "tiny.toml", seed = 0 }]
[[parts]]
name = "short"
runs = [{ recipe = "tiny.toml", seed = 1 }, { recipe = "mixed.toml", seed = 1 }]
[[parts]]
name = "large"
runs = [{ recipe = "large.toml", seed = 2 }, { recipe = "tiny.toml", seed = 3 }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five frames of two drives, three recipes and a chain."""
    write_drives(tmp_path, ("d1_0", "d1_1", "d1_2", "d2_0", "d2_1"))
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("epochs = 16", "epochs = 2"))
    (tmp_path / "mixed.toml").write_text('extends = "tiny.toml"\n[optim]\nmixed_in = 1\n')
    (tmp_path / "large.toml").write_text('extends = "tiny.toml"\n[data]\nsize = [48, 64]\n')
    (tmp_path / "chain.toml").write_text(CHAIN)
    return tmp_path


def run(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    command = ["chain", "--chain", str(folder / "chain.toml"), "--data", str(folder)]
    command += ["--second", str(folder), "--out", str(out), "--device", "cpu", "--commit", "abc"]
    monkeypatch.setattr("sys.argv", [*command, *more])
    chain.main()


def mean(paths: list[Path]) -> dict[str, torch.Tensor]:
    states = [read_weights(path)[0].state_dict() for path in paths]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).float()
        for name, tensor in states[0].items()
        if tensor.is_floating_point()
    }


def test_each_part_begins_with_the_average_of_the_one_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = {}
    train_part = chain.train_part

    def watched(runs: dict, *args: object, start: dict | None, **more: object) -> None:
        starts[next(iter(runs)).stem.split("-")[0]] = start
        train_part(runs, *args, start=start, **more)

    monkeypatch.setattr(chain, "train_part", watched)
    out = folder / "out"
    run(folder, out, monkeypatch, "--hold-out", "d2")
    short = [out / "short-tiny-1.safetensors", out / "short-mixed-1.safetensors"]
    large = [out / "large-large-2.safetensors", out / "large-tiny-3.safetensors"]
    long = out / "long-tiny-0.safetensors"
    assert starts["long"] is None
    for part, before in (("short", [long]), ("large", short)):
        for name, tensor in mean(before).items():
            assert torch.allclose(starts[part][name], tensor, atol=1e-7), name
    network, header = read_weights(out / "weights.safetensors")
    for name, tensor in mean([*short, *large]).items():
        assert torch.allclose(network.state_dict()[name], tensor, atol=1e-7), name
    assert header.train_size == (48, 64) and header.commit == "abc"
    assert header.miou_on == "held out: d2" and header.miou > 0
    assert read_weights(short[0])[1].train_size == (32, 48)

    # Parts that lie there are not trained again, and no part goes on from other frames' weights.
    starts.clear()
    large[0].unlink()
    run(folder, out, monkeypatch, "--hold-out", "d2")
    assert list(starts) == ["large"]
    with pytest.raises(SystemExit, match=r"long-tiny-0\.safetensors held out \('d2',\), not noth"):
        run(folder, out, monkeypatch)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('average = ["short", "large"]', 'average = ["none"]', r"average of \['none'\], parts are"),
        ('name = "large"', 'name = "short"', "parts of one name"),
        ('recipe = "mixed.toml"', 'recipe = "tiny.toml"', "part short has a run twice"),
        ("seed = 2", "sed = 2", r"part 3: a run: unknown keys \['sed'\], missing keys \['seed'\]"),
        ("train_size = [48, 64]", "", r"missing keys \['train_size'\]"),
        (CHAIN.splitlines()[-1], "runs = []", "part 3 has no runs"),
    ],
)
def test_a_chain_with_an_error_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "chain.toml"
    assert CHAIN.count(old) == 1
    path.write_text(CHAIN.replace(old, new))
    with pytest.raises(ValueError, match=message):
        chain.read_chain(path)


def test_the_committed_chains_name_recipes_that_can_be_read() -> None:
    chains = sorted(CHAINS.glob("*.toml"))
    assert [path.stem for path in chains] == ["camvid"]
    for path in chains:
        read = chain.read_chain(path)
        for part in read.parts:
            for one in part.runs:
                assert read_config(path.parent / one.recipe).optim.epochs > 0
