"""What each kind of training's work costs: all are timed once, small, on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from weakspot.data.imitations import imitation_name, named_imitation
from weakspot.models.evidence import EvidenceNet
from weakspot.models.network import CamNet
from weakspot.training.evidence.bank import Bank, TrainingBank
from weakspot.training.evidence.fit import check_sizes, projected_channels
from weakspot.training.evidence.heads import EACH, HeadTrainer
from weakspot.types import Size
from weakspot.utils import console

DECODING = 0.01
"""Seconds that reading a picture, or its features, takes besides the network."""


@dataclass(frozen=True)
class Costs:
    """Seconds that each kind of work takes on this machine.

    Attributes:
        stem: an image through the frozen layers, read from disk before.
        tail: an image through the trained layers, forward and backward.
        imitating: to imitate a defect on an image, and to compute its features.
        location_step, mask_step: an optimiser step of the evidence heads; 0 without them.
    """

    stem: float
    tail: float
    imitating: float = 0.0
    location_step: float = 0.0
    mask_step: float = 0.0

    @property
    def location(self) -> float:
        """The location head on an image."""
        return self.location_step / (3 * 2.25 * EACH)  # two kinds of whole images and windows, forward and backward

    @property
    def answer(self) -> float:
        """All trained parts on an image whose features are known, read from disk before."""
        return self.tail / 3 + self.location + self.mask_step / (3 * EACH) + DECODING


def measure_costs(network: CamNet, size: Size, batch_size: int, *, heads: bool) -> Costs:
    """Time every kind of work once, on blank pictures. Nothing is changed by it.

    Args:
        network: on the device it will be trained on.
        size: ``(height, width)`` of the network's input.
        batch_size: of the classifier's training.
        heads: whether evidence heads are trained.

    Raises:
        WeakspotError: when evidence heads cannot be trained on features of these sizes.
    """
    device, training = next(network.parameters()).device, network.training
    network.eval()  # blank pictures must not become statistics of batch normalisation
    one = torch.zeros((1, 3, *size), device=device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        features = network.forward_taps(one, tuple(network.taps))
    stem = _seconds(device, lambda: network.forward_taps(one, tuple(network.taps))) + DECODING
    batch = network.forward_stem(one).repeat(batch_size, 1, 1, 1)
    tail = _seconds(device, lambda: _backward(network, batch)) / batch_size
    network.zero_grad(set_to_none=True)
    network.train(training)
    if not heads:
        return Costs(stem, tail)
    location, mask = _step_seconds(network, [features[tap].shape for tap in network.pyramid], size)
    return Costs(stem, tail, stem + _imitating(size), location, mask)


def _backward(network: CamNet, features: torch.Tensor) -> None:
    network.forward_tail(features).logits.sum().backward()  # type: ignore[no-untyped-call]


def _seconds(device: torch.device, run: Callable[[], object], times: int = 2) -> float:
    """Mean of a few runs, but for the first, which pays for warming up."""
    taken = []
    for _ in range(times + 1):
        _wait(device)
        start = time.monotonic()
        run()
        _wait(device)
        taken.append(time.monotonic() - start)
    return float(np.mean(taken[1:]))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # kernels run on by themselves


def _imitating(size: Size) -> float:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    numbers = range(8)  # different shapes take different times
    start = time.monotonic()
    for number in numbers:
        named_imitation(image, "0" * 64, imitation_name(number))
    return (time.monotonic() - start) / len(numbers)


def _step_seconds(network: CamNet, shapes: Sequence[torch.Size], size: Size) -> tuple[float, float]:
    """Seconds of an optimiser step of the location head, and of the mask head, on blank pictures."""
    device = next(network.parameters()).device
    sizes = [(shape[2], shape[3]) for shape in shapes]
    check_sizes(sizes, size)
    narrow = projected_channels([shape[1] for shape in shapes])
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        net = EvidenceNet(network.pyramid, [(shape[1], c) for shape, c in zip(shapes, narrow, strict=True)]).to(device)
        bank = Bank(Path(folder), 2, narrow, sizes, size)
        masks = np.zeros((1, 2 * sizes[0][0], 2 * sizes[0][1]), np.float32)
        masks[:, : sizes[0][0], : sizes[0][1]] = 1
        trainer = HeadTrainer(net, TrainingBank(bank, [0], [1], [0], masks), 1e-4, 0)
        few, more = 2, 5
        found = []
        for fit in (trainer.fit_location, trainer.fit_mask):
            times = []
            for steps in (few, few, more):
                start = time.monotonic()
                with console.no_progress():
                    fit(steps)
                _wait(device)
                times.append(time.monotonic() - start)
            found.append(max(1e-6, (times[2] - times[1]) / (more - few)))
    return found[0], found[1]
