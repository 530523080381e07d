"""Class-weighted cross-entropy, Lovász-Softmax, and the two on the network's outputs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import LossConfig
from .layers import bilinear, conv
from .model import WIDTHS, ECMNet

_RUN = 1024


class SegmentationLoss(nn.Module):
    """The network with its loss: normalised images and labels in, one number out.

    The auxiliary classifiers live here, not in the network, so an export cannot contain them.
    """

    def __init__(
        self, network: ECMNet, config: LossConfig, *, class_weights: Tensor, ignore_id: int
    ) -> None:
        super().__init__()
        self.network, self.config, self.ignore_id = network, config, ignore_id
        self.register_buffer("class_weights", class_weights.float())
        count = 2 if config.auxiliary > 0 else 0
        heads = (conv(WIDTHS[3], len(class_weights), 1) for _ in range(count))
        self.auxiliary = nn.ModuleList(heads)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features, dec2, dec1 = self.network.last_features(images)
        return self._of_classes(features, labels) + self._of_decoder(dec2, dec1, labels)

    def _of_classes(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of the network's logits, at half the size of `labels` or less."""
        h, w = features.shape[2:]
        # Every second coarse logit is plenty for Lovász: it ranks errors over the whole batch.
        there = _labels_at(labels, ((h + 1) // 2, (w + 1) // 2))
        classifier = self.network.classifier
        if features.is_cuda:
            from .class_loss_triton import class_loss, fits

            if fits(features, classifier, labels):
                return class_loss(
                    features, classifier.weight, labels, there, self.class_weights,
                    lovasz=self.config.lovasz, ignore_id=self.ignore_id,
                )  # fmt: skip
        logits = classifier(features).float()
        loss = self._cross_entropy(bilinear(logits, labels.shape[1:]), labels)
        if self.config.lovasz == 0:
            return loss
        ranked = lovasz_softmax(logits[:, :, ::2, ::2], there, ignore_id=self.ignore_id)
        return loss + self.config.lovasz * ranked

    def _of_decoder(self, dec2: Tensor, dec1: Tensor, labels: Tensor) -> Tensor:
        """The auxiliary classifiers' share."""
        loss = torch.zeros((), device=labels.device)
        for head, features in zip(self.auxiliary, (dec2, dec1), strict=False):
            logits = head(features).float()
            there = _labels_at(labels, logits.shape[2:])
            loss = loss + self.config.auxiliary * self._cross_entropy(logits, there)
        return loss

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, labels, weight=self.class_weights, ignore_index=self.ignore_id
        )


def class_weights(frequencies: Tensor, offset: float) -> Tensor:
    """1 / ln(offset + p) for each class's share p; all ones where `offset` is 0."""
    if offset == 0:
        return torch.ones_like(frequencies)
    return 1 / torch.log(offset + frequencies)


def lovasz_softmax(logits: Tensor, labels: Tensor, *, ignore_id: int) -> Tensor:
    """Lovász-Softmax (Berman et al. 2018) over the batch, mean over the classes present.

    logits `[b, c, h, w]`, labels `[b, h, w]`. Ignored pixels get error 0 and belong to no class,
    so they sort last and change nothing; shapes stay fixed.
    """
    classes = logits.shape[1]
    probabilities = logits.softmax(1).transpose(0, 1).flatten(1)  # [c, b*h*w]
    flat = labels.flatten()
    valid = flat != ignore_id
    truth = (flat[None] == torch.arange(classes, device=logits.device)[:, None]).float()
    errors = (truth - probabilities).abs() * valid
    errors, order = errors.sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    total = truth.sum(1, keepdim=True)
    found = _running_sum(truth)
    ranks = torch.arange(1, truth.shape[1] + 1, device=truth.device)
    intersection = total - found
    union = total + ranks - found
    jaccard = 1 - intersection / union
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    present = (total[:, 0] > 0).float()
    return ((errors * steps).sum(1) * present).sum() / present.sum().clamp(min=1)


def _running_sum(x: Tensor) -> Tensor:
    """`x.cumsum(1)` of `[c, n]` in two levels: a GPU sums one row of a cumsum with one block."""
    padding = -x.shape[1] % _RUN
    runs = F.pad(x, (0, padding)).view(len(x), -1, _RUN).cumsum(2)
    before = runs[..., -1].cumsum(1) - runs[..., -1]
    return (runs + before[..., None]).flatten(1)[:, : x.shape[1]]


def _labels_at(labels: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Labels at the centres of a coarser grid's cells."""
    h, w = labels.shape[1:]
    rows = ((torch.arange(size_hw[0], device=labels.device) + 0.5) * h / size_hw[0]).long()
    columns = ((torch.arange(size_hw[1], device=labels.device) + 0.5) * w / size_hw[1]).long()
    return labels[:, rows][:, :, columns]
