"""Train the evidence heads once more, from what a person drew in some of the training pictures.

The heads go on from what image labels and imitated defects have taught them, so that a retraining takes minutes, and
few outlines do not undo what many labels say. Both heads learn together, prompts as at inference. Of the real pictures
in the location head's batch, :data:`DRAWN` of 10 are annotated ones, 4 are Good, 2 are defects that nobody annotated;
4 imitations come on top. The mask head learns from the same annotated pictures and from windows of imitations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from weakspot.models.evidence import PROMPTS, EvidenceNet, Level, pool_places
from weakspot.training.evidence.bank import Mirror, TrainingBank
from weakspot.training.evidence.drawn_losses import drawn_loss
from weakspot.training.evidence.heads import EACH, HeadTrainer, dice_loss
from weakspot.training.evidence.targets import Target, window_at
from weakspot.training.evidence.unfinished import Stage

CORRECTING = "both heads, from what was drawn"
"""Name of the stage, in lines of progress."""

DRAWN, OTHERS = 4, 2
"""Annotated pictures in a batch, and defects that nobody annotated."""

IMITATED_WINDOWS = 6
"""Windows of imitations, and of Good pictures, in the mask head's batch."""

GENTLE = 0.5
"""The learning rate is so many times that of the first training, as the heads know much already."""


@dataclass(frozen=True)
class DrawnBank:
    """What the correction learns from.

    Attributes:
        data: the images; its defects are those that nobody annotated, perhaps none.
        drawn: positions of the annotated images.
        targets: on the mask head's grid, one for each of `drawn`.
    """

    data: TrainingBank
    drawn: Sequence[int]
    targets: Sequence[Target]


class Corrector(HeadTrainer):
    """Trains an :class:`EvidenceNet` in place, from annotated pictures among others.

    Args:
        net: as labels and imitations have trained it, on the device to train on.
        bank: the images to train on.
        learning_rate: of the first training.
        seed: decides every draw.
        folder: an unfinished stage is kept there; None keeps nothing.
    """

    def __init__(
        self, net: EvidenceNet, bank: DrawnBank, learning_rate: float, seed: int, folder: Path | None = None
    ) -> None:
        super().__init__(net, bank.data, GENTLE * learning_rate, seed, folder)
        self.drawn, self.targets = bank.drawn, bank.targets
        self.coarse = [target.coarser() for target in bank.targets]

    def correct(self, steps: int) -> None:
        """Train both heads.

        Args:
            steps: number of optimiser steps.

        Raises:
            WeakspotError: when the loss is no longer a number.
        """
        rng, net = np.random.default_rng([self.seed, 4]), self.net
        places = self._places([*self.data.good, *self.data.imitations])
        modules = [*self._location_modules(), net.mask_pyramid, net.pixels, net.narrow, net.fine, net.mask_out]

        def loss(_: int) -> Tensor:
            which = rng.integers(len(self.drawn), size=DRAWN).tolist()
            mirror = Mirror.by_lot(rng)
            location, of_drawn = self._location(rng, which, mirror)
            imitated, masks = self._draw_windows(rng, places, IMITATED_WINDOWS)
            on_imitations = bce(imitated, masks) + 0.5 * dice_loss(torch.sigmoid(imitated), masks)
            return location + on_imitations + self._mask(rng, which, mirror, torch.sigmoid(of_drawn.detach()))

        self._train(Stage(CORRECTING, modules, steps, rng), loss)

    def _location(self, rng: np.random.Generator, which: Sequence[int], mirror: Mirror) -> tuple[Tensor, Tensor]:
        """The location head's loss, and its logits on the annotated pictures."""
        data, bank = self.data, self.data.bank
        good = rng.choice(data.good, EACH).tolist()
        others = rng.choice(data.defect, OTHERS).tolist() if len(data.defect) else []
        imitations = rng.integers(len(data.masks), size=EACH)
        every = [*good, *(self.drawn[n] for n in which), *others, *(data.imitations[i] for i in imitations)]
        logits = self.net.location_logits(mirror.flip_levels(bank.levels(every, self.device)))
        real, of_good, of_drawn = logits[: len(every) - EACH], logits[:EACH], logits[EACH : EACH + len(which)]
        labels = torch.cat([torch.zeros(EACH), torch.ones(len(real) - EACH)]).to(real.device)
        hardest = functional.softplus(of_good.flatten(1).topk(min(64, of_good[0].numel()), dim=1).values)
        masks = torch.from_numpy(data.masks[imitations])[:, None].to(self.device)
        loss = (
            bce(of_good, torch.zeros_like(of_good))
            + 0.1 * hardest.mean()
            + 0.5 * bce(pool_places(real), labels)
            + 0.5 * bce(logits[len(real) :], functional.max_pool2d(mirror.flip(masks), 2))
            + drawn_loss(of_drawn, [self.coarse[n].flipped(mirror.axes) for n in which])
        )
        return loss, of_drawn

    def _mask(self, rng: np.random.Generator, which: Sequence[int], mirror: Mirror, places: Tensor) -> Tensor:
        """The mask head's loss on the annotated pictures: whole, or windows about what was drawn.

        Args:
            rng: decides the windows.
            which: positions among the annotated pictures.
            mirror: how the batch is mirrored.
            places: ``(batch, 1, h, w)`` 0…1, the location head's probabilities, mirrored.
        """
        bank = self.data.bank
        whole = rng.random() < 0.5
        indices = [self.drawn[n] for n in which]
        windows = [bank.whole if whole else self._window(self.targets[n].marked, rng) for n in which]
        fine = bank.factors[0]
        targets = [
            window_at(window, 2 * fine, self.targets[n]).flipped(mirror.axes)
            for n, window in zip(which, windows, strict=True)
        ]
        unflipped = mirror.flip(places)  # mirrored twice is as it was
        prompts = [unflipped[i][:, *window.at(fine)] for i, window in enumerate(windows)]
        levels: list[Level] = mirror.flip_levels(bank.levels(indices, self.device, windows))
        pixels = mirror.flip(bank.pixels(indices, self.device, windows))
        logits = self.net.grow(levels, pixels, mirror.flip(torch.stack(prompts)), PROMPTS)
        colours = functional.adaptive_avg_pool2d(pixels, (logits.shape[-2], logits.shape[-1]))
        return drawn_loss(logits, targets, colours)
