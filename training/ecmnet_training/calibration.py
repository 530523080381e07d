"""How much a network's confidence means: temperature fitting and expected calibration error."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .classes import ClassTable
from .data import SegmentationSet
from .evaluate import Normalisation, sums_of

TEMPERATURES = tuple(np.round(np.arange(0.7, 3.01, 0.1), 1).tolist())
_BINS = 15


@dataclass
class Reliability:
    """Sums over labelled pixels for each of `TEMPERATURES`; those of several folds add up.

    `nll` `[t]`; `bins` `[t, 15, 3]`: pixels, summed confidence, correct ones.
    """

    nll: NDArray[np.float64]
    bins: NDArray[np.float64]

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(self.nll + other.nll, self.bins + other.bins)

    def best_temperature(self) -> float:
        """The temperature of least negative log-likelihood."""
        return TEMPERATURES[int(self.nll.argmin())]

    def calibration_error(self, temperature: float) -> float:
        """Expected calibration error, 15 equal bins, as a fraction."""
        bins = self.bins[TEMPERATURES.index(temperature)]
        return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / bins[:, 0].sum())


def reliability_of(
    network: nn.Module, frames: SegmentationSet, norm: Normalisation, *, batch: int = 8
) -> Reliability:
    """The network's sums on frames."""
    measure = partial(reliability_from_logits, classes=frames.classes)
    return sums_of(network, frames, norm, [measure], batch=batch)[0]


def reliability_from_logits(labels: Tensor, logits: Tensor, classes: ClassTable) -> Reliability:
    """`reliability_of` of one batch as `evaluate.logits_of` has it."""
    nll = torch.zeros(len(TEMPERATURES), dtype=torch.float64, device=logits.device)
    bins = torch.zeros(len(TEMPERATURES), _BINS, 3, dtype=torch.float64, device=logits.device)
    kept = labels != classes.ignore_id
    rows = logits.permute(0, 2, 3, 1)[kept]
    truth = labels[kept]
    correct = (rows.argmax(1) == truth).double()
    for i, temperature in enumerate(TEMPERATURES):
        scores = F.log_softmax(rows / temperature, dim=1)
        nll[i] = F.nll_loss(scores, truth, reduction="sum").double()
        confidence = scores.amax(1).exp().double()
        place = (confidence * _BINS).long().clamp(max=_BINS - 1)
        for j, values in enumerate((torch.ones_like(confidence), confidence, correct)):
            bins[i, :, j].index_add_(0, place, values)
    return Reliability(nll.cpu().numpy(), bins.cpu().numpy())
