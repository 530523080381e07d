"""The twin against its committed fixtures, its parameter budget, and its export."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ecmnet_training.classes import CAMVID
from ecmnet_training.export import (
    WeightsHeader,
    read_labeller,
    read_weights,
    with_score,
    write_weights,
)
from ecmnet_training.generator import bits, fnv1a64, sample_positions
from ecmnet_training.goldens import seeded_model, trace
from ecmnet_training.model import ECMNet, Plan, parameter_count
from ecmnet_training.msau import MSAU

GOLDENS = Path(__file__).parents[2] / "tests/fixtures/goldens"


def made_header(logit_offsets: dict[str, float] | None = None) -> WeightsHeader:
    return WeightsHeader(
        "B", CAMVID, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (8, 8), "made", "made", "x", 0.0, "nothing",
        logit_offsets=logit_offsets or {},
    )  # fmt: skip


def test_eleven_classes_fit_the_budget() -> None:
    assert parameter_count(ECMNet(11)) == 871_308


def test_one_depthwise_convolution_in_training_equals_the_three_of_inference() -> None:
    torch.manual_seed(0)
    msau = MSAU(16).double()
    t = torch.randn(2, 8, 9, 11, dtype=torch.float64)
    training = msau.train()._three_sizes(t)
    inference = msau.eval()._three_sizes(t)
    # The same products in another order.
    assert (training - inference).abs().max() < 1e-14


def test_the_generator_gives_its_documented_values() -> None:
    assert fnv1a64("image") == 0x2AB612888528489A
    expected = [0xB1178FC3F9B00095, 0xF2C8E9091799E73E, 0xA19BE686F2450840]
    assert bits("image", 3).tolist() == expected


@pytest.mark.parametrize("plan", ["A", "B"])
def test_the_twin_reproduces_its_fixture(plan: Plan) -> None:
    path = GOLDENS / f"seeded_{plan.lower()}_357x481.safetensors"
    three = torch.ones(3, dtype=torch.float64)
    traced = trace(seeded_model(plan), (357, 481), 128 * three, 64 * three)
    with safe_open(path, "np") as file:
        table = json.loads(file.metadata()["intermediates"])
        assert [row["name"] for row in table] == list(traced)
        for row in table:
            value = traced[row["name"]]
            assert list(value.shape) == row["shape"], row["name"]
            flat = value.flatten().numpy()
            samples = file.get_tensor(row["name"]) * (row["max_abs"] / 32767)
            error = np.abs(flat[sample_positions(row["name"], flat.size)] - samples).max()
            # Half a step of the 16-bit storage, and a little for f64 sums in another order.
            assert error <= row["max_abs"] * (0.5 / 32767 + 1e-9), row["name"]


def test_weights_and_header_survive_a_round_trip(tmp_path: Path) -> None:
    header = WeightsHeader(
        plan="B",
        classes=CAMVID,
        mean=(99.6, 103.3, 105.6),
        std=(75.6, 77.8, 76.7),
        train_size=(360, 480),
        dataset="made",
        licence="Apache-2.0",
        commit="0000000",
        miou=0.5,
        miou_on="nothing",
        temperature=1.3,
        logit_offsets={"Road": -0.75},
    )
    network = ECMNet(len(CAMVID), "B").eval()
    write_weights(tmp_path / "w.safetensors", network.state_dict(), header)
    (tmp_path / "plain").touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("w.safetensors", "plain")}
    assert len(modes) == 1, "who may read the file is not the umask's choice"
    again, read = read_weights(tmp_path / "w.safetensors")
    assert read == header
    image = torch.randn(1, 3, 61, 83, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(image), again(image))


def test_a_header_without_offsets_names_none_and_a_wrong_one_is_refused() -> None:
    header = made_header()
    metadata = header.to_metadata()
    assert "logit_offsets" not in metadata
    assert WeightsHeader.from_metadata(metadata).logit_offsets == {}
    for text, said in {
        '{"Lawn": -0.5}': "'Lawn', which is not in classes",
        '{"Road": NaN}': "nan for 'Road'",
        '{"Road": -1001}': "-1001 for 'Road', not a number from -1000 to 1000",
        '{"Road": "1"}': "'1' for 'Road'",
        "[1]": "not a JSON object",
        "{": "Expecting property name",
    }.items():
        with pytest.raises(ValueError, match=re.escape(said)):
            WeightsHeader.from_metadata(metadata | {"logit_offsets": text})


def test_a_labellers_logits_are_the_networks_moved_by_its_offsets(tmp_path: Path) -> None:
    header = made_header({"Road": -0.75, "Sky": 2.0})
    network = seeded_model("B").float()
    write_weights(tmp_path / "w.safetensors", network.state_dict(), header)
    labeller, read = read_labeller(tmp_path / "w.safetensors")
    assert read == header
    image = torch.randn(1, 3, 61, 83, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        moved = labeller(image) - network(image)
    expected = torch.zeros(11)
    expected[CAMVID.names.index("Road")], expected[CAMVID.names.index("Sky")] = -0.75, 2.0
    # Two f32 sums in another order.
    assert (moved - expected[:, None, None]).abs().max() < 1e-4
    assert network.classifier.bias is None, "the network itself stays as it was"


def test_what_folds_found_is_written_and_what_is_not_given_stays(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    network = seeded_model("B").float()
    write_weights(path, network.state_dict(), made_header({"Road": -0.75}))
    with_score(path, miou=0.5, miou_on="folds", commit="abc", temperature=1.4)
    rewritten, header = read_weights(path)
    state = rewritten.state_dict()
    expected = {"miou": 0.5, "miou_on": "folds", "commit": "abc", "temperature": 1.4}
    assert header == dataclasses.replace(made_header({"Road": -0.75}), **expected)
    with_score(path, miou=0.5, miou_on="folds", commit="abc", logit_offsets={"Road": -0.5})
    assert read_weights(path)[1] == dataclasses.replace(header, logit_offsets={"Road": -0.5})
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_a_missing_metadata_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plan"):
        WeightsHeader.from_metadata({"format": "1"})
