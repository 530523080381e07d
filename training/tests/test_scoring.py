"""mIoU as the contract defines it, and the losses' properties."""

import numpy as np
import torch
from torch import nn

from ecmnet_training.classes import CAMVID
from ecmnet_training.data import SegmentationSet
from ecmnet_training.evaluate import (
    Normalisation,
    confusion_of,
    iou_from_confusion,
    report,
    scores_of,
)
from ecmnet_training.losses import class_weights, lovasz_softmax


class RedIsTheClass(nn.Module):
    """Predicts, at each pixel, the class that the red byte names."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(x[:, 0].long(), 11).permute(0, 3, 1, 2).float()


def test_ignored_pixels_are_dropped_and_absent_classes_are_null() -> None:
    truth = torch.tensor([[[3, 3, 3, 11], [4, 4, 3, 11]]], dtype=torch.uint8)
    predicted = torch.tensor([[[3, 3, 4, 0], [4, 4, 3, 0]]], dtype=torch.uint8)
    images = predicted[:, None].repeat(1, 3, 1, 1)
    frames = SegmentationSet(images, truth, ("a",), CAMVID)
    norm = Normalisation(torch.zeros(3), torch.ones(3), (2, 4))
    confusion = confusion_of(RedIsTheClass(), frames, norm)
    iou = iou_from_confusion(confusion)
    assert iou[3] == 3 / 4 and iou[4] == 2 / 3
    assert [i for i, value in enumerate(iou) if value is not None] == [3, 4]
    result = report(confusion, CAMVID, 1)
    assert np.isclose(result["miou"], (3 / 4 + 2 / 3) / 2)
    assert np.isclose(result["pixel_accuracy"], 5 / 6)


def test_one_pass_gives_the_confusion_matrix_and_the_road() -> None:
    labels = torch.randint(0, 12, (3, 6, 8), generator=torch.Generator().manual_seed(0))
    labels = labels.to(torch.uint8)
    images = labels.clamp(max=10)[:, None].repeat(1, 3, 1, 1)
    images[0, :, :, :4] = 3
    frames = SegmentationSet(images, labels, ("a", "b", "c"), CAMVID)
    norm = Normalisation(torch.zeros(3), torch.ones(3), (6, 8))
    confusion, road = scores_of(RedIsTheClass(), frames, norm, batch=2)
    assert (confusion == confusion_of(RedIsTheClass(), frames, norm)).all()
    assert iou_from_confusion(confusion)[3] == road.overlap[0] / road.overlap[1]
    assert road.obstacles[:, 1].sum() == confusion[[1, 2, 5, 6, 7, 8, 9, 10], 3].sum() > 0


def test_a_predicted_class_without_truth_counts_as_zero() -> None:
    confusion = np.zeros((3, 3), np.int64)
    confusion[0, 0], confusion[0, 1] = 9, 1
    assert iou_from_confusion(confusion) == [0.9, 0.0, None]


def test_class_weights_are_the_published_formula() -> None:
    weights = class_weights(torch.tensor([0.0, 0.3]).double(), 1.1)
    expected = 1 / torch.log(torch.tensor([1.1, 1.4]).double())
    assert torch.allclose(weights, expected, rtol=1e-6)


def test_lovasz_of_hard_predictions_is_one_minus_mean_iou() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, 2, 2, 9]]])
    predicted = torch.tensor([[[0, 1, 1, 1, 2, 0, 1]]])
    logits = 50.0 * nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    loss = lovasz_softmax(logits, truth, ignore_id=9)
    iou = (1 / 3 + 2 / 3 + 1 / 2) / 3
    assert np.isclose(loss.item(), 1 - iou, atol=1e-5)
