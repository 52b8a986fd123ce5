"""How long a training run will take: every kind of work is timed once, small, on this machine, and counted."""

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

REPORTING, REPORTING_EACH = 6.0, 0.1
"""Seconds from the last output to the report, and for each test picture: thresholds, alarms, intervals, figures and the
page. For 40 of them 9.7 s were measured on one core (``weakspot train experiment=demo``, the model taken over)."""


@dataclass(frozen=True)
class Work:
    """What a run does, counted.

    Attributes:
        stem_images: images that go through the frozen layers.
        tail_images: images that go through the trained layers, forward and backward, all epochs together.
        batch_size: images in a batch of them.
        imitations: imitated defects that the evidence heads learn from; 0 without heads, as are the steps.
        location_steps, mask_steps: optimiser steps of the evidence heads.
        outputs: images whose features are known and that the finished model is run on.
        whole: images that go through the whole model.
        read_again: times that known features of a training image are read once more.
        reported: images of the report; 0 where nothing is measured.
    """

    stem_images: int
    tail_images: int
    batch_size: int
    imitations: int = 0
    location_steps: int = 0
    mask_steps: int = 0
    outputs: int = 0
    whole: int = 0
    read_again: int = 0
    reported: int = 0


def estimate_minutes(network: CamNet, size: Size, work: Work) -> float:
    """Estimate how many minutes a run takes if it trains for all epochs. Nothing is changed by it.

    Args:
        network: on the device it will be trained on.
        size: ``(height, width)`` of the network's input.
        work: what is to be done.

    Raises:
        WeakspotError: when evidence heads cannot be trained on features of these sizes.
    """
    device, training = next(network.parameters()).device, network.training
    network.eval()  # blank pictures must not become statistics of batch normalisation
    one = torch.zeros((1, 3, *size), device=device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        features = network.forward_taps(one, tuple(network.taps))
    stem = _seconds(device, lambda: network.forward_taps(one, tuple(network.taps)))
    batch = network.forward_stem(one).repeat(work.batch_size, 1, 1, 1)
    tail = _seconds(device, lambda: _backward(network, batch)) / work.batch_size
    network.zero_grad(set_to_none=True)
    network.train(training)
    total = work.stem_images * (stem + DECODING) + work.tail_images * tail
    location = mask = imitating = 0.0
    if work.imitations:
        imitating = _imitating(size)
        location, mask = _step_seconds(network, [features[tap].shape for tap in network.pyramid], size)
    total += work.imitations * (stem + imitating + DECODING)
    total += work.location_steps * location + work.mask_steps * mask
    forward = tail / 3 + location / (9 * EACH) + mask / (3 * EACH)  # a third of forward and backward; both heads
    total += work.outputs * (forward + DECODING) + work.whole * (stem + forward + imitating + DECODING)
    total += work.read_again * DECODING
    if work.reported:
        total += REPORTING + work.reported * REPORTING_EACH
    return total / 60


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
