"""One training run as a step that never waits for the host.

On a GPU the data set lies in its memory as bytes, the whole step (batch, augmentation, network,
gradients, AdamW, EMA) is recorded in one CUDA graph, and everything that changes from step to step
is read from tensors by a step counter on the device. Several runs can share a GPU:
each has its own stream.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import augment, mixing
from .config import TrainConfig
from .data import SegmentationSet
from .losses import SegmentationLoss, class_weights
from .model import ECMNet

_EAGER_STEPS = 3
_RARE = 0.05
"""A class with a smaller share of all pixels than this is rare."""


@dataclass(frozen=True)
class DeviceFrames:
    """Images `[n, 3, h, w]` and labels `[n, h, w]`, u8, on a device, where runs can share them."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, parts: Sequence[SegmentationSet], device: torch.device) -> "DeviceFrames":
        """The frames of the sets, one set after the other."""
        count, own = sum(len(part) for part in parts), parts[0]
        images = torch.empty(count, *own.images.shape[1:], dtype=torch.uint8, device=device)
        labels = torch.empty(count, *own.labels.shape[1:], dtype=torch.uint8, device=device)
        first = 0
        for part in parts:
            images[first : first + len(part)] = part.images
            labels[first : first + len(part)] = part.labels
            first += len(part)
        return cls(images, labels)


class Trainer:
    """The state of one run. `step()` trains on one batch; `network()` is the averaged network."""

    def __init__(
        self,
        config: TrainConfig,
        frames: SegmentationSet,
        *,
        seed: int,
        device: torch.device,
        start: dict[str, Tensor] | None = None,
        second: SegmentationSet | None = None,
        shared: DeviceFrames | None = None,
    ) -> None:
        """`start` are tensors to begin with, `second` the data set of `optim.mixed_in`, its frames
        of the size of `frames`. The network trains at the configuration's size, whatever theirs.
        `shared` holds the frames of both, one after the other, where runs share them.
        """
        if len(frames) < config.optim.batch:
            raise ValueError(f"{len(frames)} frames are fewer than a batch ({config.optim.batch})")
        if (second is None) != (config.optim.mixed_in == 0):
            raise ValueError("optim.mixed_in and a second data set belong together")
        if device.type == "cuda":
            # The scan's projections; everything else runs in bf16 or in kernels of its own.
            torch.set_float32_matmul_precision("high")
        self.config, self.device = config, device
        self.ignore_id = frames.classes.ignore_id
        torch.manual_seed(seed)
        weights = class_weights(frames.class_frequencies(), config.loss.class_weight_offset)
        network = ECMNet(len(frames.classes), config.plan)
        if start is not None:
            network.load_state_dict(start)
        self.model = SegmentationLoss(
            network, config.loss, class_weights=weights, ignore_id=self.ignore_id
        ).to(device)
        if device.type == "cuda":
            self.model = self.model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model.network).eval().requires_grad_(False)
        parts = [frames] if second is None else [frames, second]
        held = shared or DeviceFrames.of(parts, device)
        if len(held.images) < sum(len(part) for part in parts):
            raise ValueError(f"{len(held.images)} shared frames are fewer than the run's")
        self.images, self.labels = held.images, held.labels
        self._rare = (frames.class_frequencies() < _RARE).to(device)
        self.mean, self.std = channel_statistics(frames.images)
        self._mean, self._std = self.mean.to(device), self.std.to(device)
        self.steps_per_epoch = len(frames) // (config.optim.batch - config.optim.mixed_in)
        self.total_steps = self.steps_per_epoch * config.optim.epochs
        order = _batch_order(frames, config, seed)
        if second is not None:
            shape = (len(order), config.optim.mixed_in)
            generator = torch.Generator().manual_seed(seed + 1)
            mixed_in = torch.randint(len(second), shape, generator=generator) + len(frames)
            order = torch.cat([order, mixed_in], dim=1)
            # Neighbours in a batch lend each other classes and tones.
            order = order.gather(1, torch.rand(order.shape, generator=generator).argsort(1))
        self._order = order.to(device)
        self._lr_at = _learning_rates(config, self.total_steps).to(device)
        self._lr = self._lr_at[0].clone()
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._loss_sum = torch.zeros((), device=device)
        self._rng = torch.Generator(device).manual_seed(seed)
        self._optimizer = self._make_optimizer()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self.steps_done = self._loss_from = 0

    def step(self) -> None:
        """Trains on the next batch; on a GPU it returns as soon as the work is queued."""
        with self._on_stream():
            if self._graph is not None:
                self._graph.replay()
            elif self._stream is None or self.steps_done < _EAGER_STEPS:
                self._train_on_batch()
            else:
                self._record()
        self.steps_done += 1

    def take_mean_loss(self) -> float:
        """The mean loss of the steps since the last call, 0 without one; waits for them."""
        with self._on_stream():
            mean = self._loss_sum.item() / max(self.steps_done - self._loss_from, 1)
            self._loss_sum.zero_()
        self._loss_from = self.steps_done
        return mean

    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self._lr_at[min(self.steps_done, self.total_steps - 1)].item()

    def network(self) -> ECMNet:
        """The averaged network, in f32 and evaluation mode."""
        if self._stream is not None:
            self._stream.synchronize()
        return self.average

    def state_dict(self) -> dict[str, object]:
        """All that a resumed run needs, for `torch.save`."""
        if self._stream is not None:
            self._stream.synchronize()
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rng": self._rng.get_state(),
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continues where `state_dict` was taken; call it before the first step."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr
        self._rng.set_state(state["rng"].cpu())
        self.steps_done = self._loss_from = state["steps_done"]
        self._step.fill_(self.steps_done)

    def _record(self) -> None:
        """Records one step in a graph and runs it."""
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._rng)
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._train_on_batch()
        self._graph = graph
        graph.replay()

    def _train_on_batch(self) -> None:
        rows = self._order.index_select(0, self._step)[0]
        self._lr.copy_(self._lr_at.index_select(0, self._step)[0])
        draws = augment.draw(self.config.augment, len(rows), self.config.data.size, self._rng)
        with torch.no_grad():
            images, labels = self._mix(*self._augmented(draws, rows))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._stream is not None):
            loss = self.model(images, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._update_average()
        self._loss_sum += loss.detach()
        self._step += 1

    def _augmented(self, draws: augment.Draws, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The frames `rows`, changed and normalised, and their labels."""
        if self._stream is not None:
            from .augment_triton import augmented_batch

            return augmented_batch(
                self.config.augment, draws, rows, self.images, self.labels,
                size_hw=self.config.data.size, mean=self._mean, std=self._std,
                ignore_id=self.ignore_id,
            )  # fmt: skip
        images, labels = augment.apply(
            self.config.augment,
            draws,
            self.images.index_select(0, rows),
            self.labels.index_select(0, rows),
            size_hw=self.config.data.size,
            mean=self._mean,
            ignore_id=self.ignore_id,
        )
        return (images - self._mean.view(1, 3, 1, 1)) / self._std.view(1, 3, 1, 1), labels

    def _mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        change = self.config.augment
        if change.cut > 0:
            u = torch.rand(len(labels), 5, generator=self._rng, device=self.device)
            images, labels = mixing.paste_boxes(images, labels, mixing.boxes_of(u, change.cut))
        if change.tone == 0 and change.paste == 0:
            return images, labels
        shape = (len(labels), len(self._rare) + 2)
        u = torch.rand(shape, generator=self._rng, device=self.device)
        if change.tone > 0:
            images = mixing.move_tone(images, change.tone * u[:, -1] * (u[:, -2] < 0.5))
        if change.paste > 0:
            chosen = self._rare & (u[:, :-2] < change.paste)
            images, labels = mixing.paste_classes(images, labels, chosen, ignore_id=self.ignore_id)
        return images, labels

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = self.config.optim.ema_decay
        kept = ((1.0 + self._step) / (10.0 + self._step)).clamp(max=decay)[0]
        averaged, current = [], []
        sources = self.model.network.state_dict(keep_vars=True)
        for name, tensor in self.average.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                averaged.append(tensor)
                current.append(sources[name].detach())
        torch._foreach_mul_(averaged, kept)
        torch._foreach_add_(averaged, torch._foreach_mul(current, 1 - kept))

    def _make_optimizer(self) -> torch.optim.Optimizer:
        optim = self.config.optim
        decayed, plain = [], []
        for parameter in self.model.parameters():
            if optim.decay_vectors or parameter.ndim > 1:
                decayed.append(parameter)
            else:
                plain.append(parameter)
        groups = [{"params": decayed, "weight_decay": optim.weight_decay}]
        if plain:
            groups.append({"params": plain, "weight_decay": 0.0})
        on_gpu = self.device.type == "cuda"
        return torch.optim.AdamW(groups, lr=self._lr, fused=on_gpu, capturable=on_gpu)

    @contextlib.contextmanager
    def _on_stream(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std `[3]` of u8 images `[n, 3, h, w]`, on 0-255, to three decimals."""
    counts = torch.stack(
        [torch.bincount(images[:, c].flatten(), minlength=256) for c in range(3)]
    ).double()
    shares = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64)
    mean = shares @ levels
    std = (shares @ levels**2 - mean**2).sqrt()
    return (mean * 1000).round().div(1000).float(), (std * 1000).round().div(1000).float()


def _batch_order(frames: SegmentationSet, config: TrainConfig, seed: int) -> Tensor:
    """Frame indices `[steps, own part of the batch]`, each epoch's tail dropped.

    An epoch is a new permutation, or as many draws of frames, the frames of one second of a drive
    sharing the weight of one.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(frames)
    batch = config.optim.batch - config.optim.mixed_in
    kept = count // batch * batch
    if config.optim.even_seconds:
        weights = 1.0 / frames.seconds()
        draws = kept * config.optim.epochs
        return torch.multinomial(weights, draws, replacement=True, generator=generator).view(
            -1, batch
        )
    epochs = [
        torch.randperm(count, generator=generator)[:kept].view(-1, batch)
        for _ in range(config.optim.epochs)
    ]
    return torch.cat(epochs)


def _learning_rates(config: TrainConfig, steps: int) -> Tensor:
    optim = config.optim
    warmup = min(optim.warmup_steps, steps)
    t = torch.arange(steps, dtype=torch.float64)
    left = ((t - warmup) / max(steps - warmup, 1)).clamp(0, 1)
    decay = (
        (1 - left) ** 0.9 if optim.schedule == "poly" else 0.5 * (1 + torch.cos(torch.pi * left))
    )
    ramp = ((t + 1) / max(warmup, 1)).clamp(max=1)
    return (optim.lr * ramp * decay).float()
