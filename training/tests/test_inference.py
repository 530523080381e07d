"""The deployed forms compute what the network computes."""

import pytest
import torch

from ecmnet_training.goldens import seeded_model
from ecmnet_training.inference import DeployedECMNet, Depthwise, Form
from ecmnet_training.layers import bilinear

MEAN, STD = 128 * torch.ones(3), 64 * torch.ones(3)


def made_image(height: int, width: int) -> torch.Tensor:
    return torch.randint(
        256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("depthwise", ["convolution", "shifts"])
def test_each_form_gives_the_networks_logits(depthwise: Depthwise) -> None:
    image = made_image(45, 70)
    network = seeded_model("A").float()
    x = ((image.permute(2, 0, 1)[None] - 128.0) / 64.0).contiguous()
    deployed = DeployedECMNet(network, MEAN, STD, Form(torch.float32, depthwise))
    with torch.inference_mode():
        expected = network.coarse_logits(x)
        got = deployed.network.coarse_logits(x)
        # f32 sums in another order, through some 130 layers.
        assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
        ids = deployed(image)
    top = bilinear(expected, (45, 70)).topk(2, dim=1).values[0]
    clear = top[0] - top[1] > 1e-3 * expected.abs().max()
    assert ids.shape == (45, 70) and ids.dtype == torch.uint8
    assert torch.equal(ids[clear].long(), bilinear(expected, (45, 70)).argmax(1)[0][clear])
    assert clear.float().mean() > 0.9


def test_the_scan_stays_in_f32_in_half_precision() -> None:
    network = seeded_model("A").float()
    deployed = DeployedECMNet(network, MEAN, STD, Form(torch.bfloat16, "shifts"))
    kept = {n: p for n, p in deployed.network.named_parameters() if p.dtype == torch.float32}
    assert {name.split("ss2d.")[1] for name in kept} == {
        "x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds",
        "out_norm.weight", "out_norm.bias",
    }  # fmt: skip
    own = dict(network.named_parameters())
    assert all(torch.equal(own[name], parameter) for name, parameter in kept.items())
    image = made_image(33, 40)
    with torch.inference_mode():
        assert deployed(image).shape == (33, 40)
