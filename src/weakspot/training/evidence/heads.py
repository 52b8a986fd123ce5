"""Train the evidence heads from image labels, Good images and imitated defects; see :mod:`weakspot.models.evidence`.

There are three stages. In the first the *location* head is trained: Good images are negative at every pixel; of a
defect image only the strongest places are trained to be positive (multiple-instance learning, pooled by log-sum-exp:
Pinheiro and Collobert, "From Image-level to Pixel-level Labeling", CVPR 2015); of imitated defects every pixel is
known, and windows about them are enough. In the second the *mask* head is trained on imitated defects alone, prompted
with the location head's output and with imitated prompts. In the third the location head is trained again, now with
the mask head's outlines of the defect images as pseudo-masks (self-training).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from weakspot.errors import WeakspotError
from weakspot.models.evidence import PROMPTS, EvidenceNet, Level, pool_places
from weakspot.ops.regions import label_regions
from weakspot.training.evidence.bank import Float, Mirror, TrainingBank, Window
from weakspot.training.evidence.prompts import imitate_prompt
from weakspot.training.evidence.unfinished import Stage, Unfinished
from weakspot.utils import console

LOCATION, MASK = "location head, from image labels", "mask head, from imitated defects"
LOCATION_AGAIN = "location head again, from the outlines"
"""Names of the stages, in lines of progress."""

EACH = 4
"""Images of each kind (Good, defect, imitation) in the location head's batch, and whole images in the mask head's."""

WINDOWS = 16
"""Windows in a batch of the mask head."""

PSEUDO_EVERY = 200
"""Steps after which the pseudo-masks are made anew, and what an interrupted stage goes on from is kept."""


class HeadTrainer:
    """Trains an :class:`EvidenceNet` in place.

    Args:
        net: with its projections set, on the device to train on.
        data: the images to train on.
        learning_rate: highest value of the one-cycle schedule (Smith and Topin, 2018).
        seed: decides every draw; each stage has its own stream, so that one can be repeated alone.
        folder: an unfinished stage is kept there now and then, and goes on from it; None keeps nothing.
        note: what the progress says behind the name of a stage.
    """

    def __init__(
        self,
        net: EvidenceNet,
        data: TrainingBank,
        learning_rate: float,
        seed: int,
        folder: Path | None = None,
        note: str = "",
    ) -> None:
        self.net, self.data, self.learning_rate, self.seed, self.folder = net, data, learning_rate, seed, folder
        self.device, self.note = next(net.parameters()).device, note

    def fit_location(self, steps: int) -> None:
        """Train the location head, the first stage.

        Args:
            steps: number of optimiser steps.

        Raises:
            WeakspotError: when the loss is no longer a number.
        """
        rng = np.random.default_rng([self.seed, 1])

        def loss(_: int) -> Tensor:
            batch = self._draw_images(rng)
            logits, imitated = self.net.location_logits(batch.real), self.net.location_logits(batch.imitated)
            return self._location_loss(logits, imitated, batch.masks, imitations=1.0)

        self._train(Stage(LOCATION + self.note, self._location_modules(), steps, rng), loss)

    def fit_mask(self, steps: int) -> None:
        """Train the mask head on imitated defects, the second stage.

        Args:
            steps: number of optimiser steps.

        Raises:
            WeakspotError: when the loss is no longer a number.
        """
        rng = np.random.default_rng([self.seed, 2])
        places = self._places([*self.data.good, *self.data.imitations])
        net = self.net
        modules = [net.mask_pyramid, net.pixels, net.narrow, net.fine, net.mask_out]

        def loss(_: int) -> Tensor:
            logits, masks = self._draw_windows(rng, places)
            return bce(logits, masks) + 0.5 * dice_loss(torch.sigmoid(logits), masks)

        self._train(Stage(MASK, modules, steps, rng), loss)

    def refit_location(self, steps: int) -> None:
        """Train the location head again, with pseudo-masks of the defect images, the third stage.

        Args:
            steps: number of optimiser steps.

        Raises:
            WeakspotError: when the loss is no longer a number.
        """
        rng = np.random.default_rng([self.seed, 3])
        pseudo: dict[int, tuple[Float, Float]] = {}

        def loss(step: int) -> Tensor:
            if step % PSEUDO_EVERY == 0:
                pseudo.update(self._pseudo_masks())
            batch = self._draw_images(rng)
            logits, imitated = self.net.location_logits(batch.real), self.net.location_logits(batch.imitated)
            target, known = (
                batch.mirror.flip(torch.from_numpy(np.stack([pseudo[i][k] for i in batch.defect]))[:, None]).to(
                    self.device
                )
                for k in (0, 1)
            )
            on_defects = logits[EACH:]
            pixels = (bce(on_defects, target, reduction="none") * known).mean()
            dice = dice_loss(torch.sigmoid(on_defects) * known, target * known)
            return self._location_loss(logits, imitated, batch.masks, imitations=0.5) + pixels + 0.3 * dice

        self._train(Stage(LOCATION_AGAIN + self.note, self._location_modules(), steps, rng), loss)

    def _location_modules(self) -> list[nn.Module]:
        return [self.net.location_pyramid, self.net.location_out]

    def _train(self, stage: Stage, loss: Callable[[int], Tensor]) -> None:
        """Take the steps of a stage that are left; `loss` gets the number of the step."""
        parameters = [p for module in stage.modules for p in module.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=1e-4)
        rising = 0.2 if stage.steps == 10 else 0.1  # a tenth of ten is one step, between which and itself nothing rises
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=stage.steps, pct_start=rising
        )
        unfinished = None if self.folder is None else Unfinished(self.folder, stage, optimizer, schedule)
        first = unfinished.load() if unfinished else 0
        with console.progress_bar(stage.name) as progress:
            for step in range(first, stage.steps):
                value = loss(step)
                if not torch.isfinite(value):
                    raise WeakspotError(
                        f"training the evidence heads diverged: the loss is {value.item()} in step {step + 1} "
                        f"({stage.name}); lower refine.learning_rate (finished stages are kept)"
                    )
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                progress(step + 1, stage.steps)
                if unfinished and (step + 1) % PSEUDO_EVERY == 0:
                    unfinished.save(step + 1)

    # --- location head ------------------------------------------------------------------------------------------------

    def _draw_images(self, rng: np.random.Generator) -> _LocationBatch:
        """Good and defect images, windows about imitations, and their masks at the location head's level.

        An imitation is known pixel by pixel, so that a window of it, a quarter of the work, teaches as much.
        """
        data = self.data
        good, defect = (rng.choice(pool, EACH).tolist() for pool in (data.good, data.defect))
        which = rng.integers(len(data.masks), size=EACH)
        mirror = Mirror.by_lot(rng)
        windows = [self._window(data.masks[i], rng) for i in which]
        fine = 2 * data.bank.factors[0]
        cut = np.stack([data.masks[i][window.at(fine)] for i, window in zip(which, windows, strict=True)])
        masks = torch.from_numpy(cut)[:, None].to(self.device)
        real = mirror.flip_levels(data.bank.levels(good + defect, self.device))
        imitated = mirror.flip_levels(data.bank.levels([data.imitations[i] for i in which], self.device, windows))
        return _LocationBatch(real, imitated, functional.max_pool2d(mirror.flip(masks), 2), defect, mirror)

    @staticmethod
    def _location_loss(real: Tensor, imitated: Tensor, masks: Tensor, *, imitations: float) -> Tensor:
        good = real[:EACH]
        hardest = functional.softplus(good.flatten(1).topk(min(64, good[0].numel()), dim=1).values)
        labels = torch.cat([torch.zeros(EACH), torch.ones(EACH)]).to(real.device)
        return (
            bce(good, torch.zeros_like(good))
            + 0.1 * hardest.mean()
            + 0.5 * bce(pool_places(real), labels)
            + imitations * bce(imitated, masks)
        )

    def _places(self, indices: Sequence[int]) -> dict[int, Float]:
        """The location head's probabilities for images, ``(h, w)`` 0…1 each."""
        found: dict[int, Float] = {}
        with torch.inference_mode():
            for start in range(0, len(indices), 8):
                some = indices[start : start + 8]
                maps = (
                    torch.sigmoid(self.net.location_logits(self.data.bank.levels(some, self.device)))[:, 0]
                    .cpu()
                    .numpy()
                )
                found.update(zip(some, maps, strict=True))
        return found

    def _pseudo_masks(self) -> dict[int, tuple[Float, Float]]:
        """For each defect image its outline at the location head's level, and the weights of its cells."""
        found = {}
        bank, indices = self.data.bank, list(self.data.defect)
        with torch.inference_mode():
            for start in range(0, len(indices), 8):
                some = indices[start : start + 8]
                levels = bank.levels(some, self.device)
                places = torch.sigmoid(self.net.location_logits(levels))
                mask_logits = self.net.grow(levels, bank.pixels(some, self.device), places, PROMPTS)
                outlines = functional.avg_pool2d(torch.sigmoid(mask_logits), 2)
                for i, outline, place in zip(some, outlines[:, 0].cpu(), places[:, 0].cpu(), strict=True):
                    found[i] = pseudo_mask(outline.numpy(), place.numpy())
        return found

    # --- mask head ---------------------------------------------------------------------------------------------------

    def _draw_windows(
        self, rng: np.random.Generator, places: dict[int, Float], windows_each: int = WINDOWS
    ) -> tuple[Tensor, Tensor]:
        """Logits and masks of a batch: windows about the outlines of imitations, or now and then whole images."""
        bank = self.data.bank
        whole = rng.random() < 0.3
        examples = [
            self._example(rng, places, whole=whole)
            for _ in range(windows_each * EACH // WINDOWS if whole else windows_each)
        ]
        indices, windows = [e.index for e in examples], [e.window for e in examples]
        fine = bank.factors[0]
        prompts = np.stack([e.prompt[e.window.at(fine)] for e in examples])[:, None]
        masks = np.stack([e.mask[e.window.at(2 * fine)] for e in examples])[:, None]
        mirror = Mirror.by_lot(rng)
        levels = mirror.flip_levels(bank.levels(indices, self.device, windows))
        pixels = mirror.flip(bank.pixels(indices, self.device, windows))
        prompt, mask = (mirror.flip(torch.from_numpy(array).to(self.device)) for array in (prompts, masks))
        return self.net.mask_logits(levels, pixels, prompt), mask

    def _example(self, rng: np.random.Generator, places: dict[int, Float], *, whole: bool) -> _Example:
        data = self.data
        which = int(rng.integers(len(data.masks)))
        mask = data.masks[which]
        if rng.random() < 0.8:
            index = data.imitations[which]
            prompt = places[index] if rng.random() < 0.5 else imitate_prompt((mask > 0.5).astype(np.float32), rng)
            window = data.bank.whole if whole else self._window(mask, rng)
            return _Example(index, window, prompt, mask)
        index = int(rng.choice(data.good))
        prompt = places[index]
        if rng.random() < 0.6:  # a Good image stays empty even where the prompt says otherwise
            prompt = imitate_prompt((mask > 0.5).astype(np.float32), rng) * np.float32(rng.uniform())
        window = data.bank.whole if whole else self._window(np.zeros_like(mask), rng)
        return _Example(index, window, prompt, np.zeros_like(mask))

    def _window(self, mask: Float, rng: np.random.Generator) -> Window:
        """Half as high and wide as the image, nearly always with some of the mask in it."""
        bank = self.data.bank
        rows, columns = bank.sizes[-1]
        height, width = max(1, rows // 2), max(1, columns // 2)
        inside = np.argwhere(mask > 0.5)
        if len(inside) and rng.random() < 0.9:
            y, x = inside[rng.integers(len(inside))] // (2 * bank.factors[0])
            top, left = y - rng.integers(height), x - rng.integers(width)
        else:
            top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        return Window(int(np.clip(top, 0, rows - height)), int(np.clip(left, 0, columns - width)), height, width)


@dataclass(frozen=True)
class _Example:
    index: int
    window: Window
    prompt: Float
    mask: Float


@dataclass(frozen=True)
class _LocationBatch:
    """What a step of the location head sees, all of it mirrored: whole images, windows of imitations, their masks."""

    real: list[Level]
    imitated: list[Level]
    masks: Tensor
    defect: list[int]
    mirror: Mirror


def pseudo_mask(outline: Float, place: Float) -> tuple[Float, Float]:
    """Make the training target for the pixels of a defect image from the output of both heads.

    Args:
        outline: ``(h, w)`` 0…1, probabilities of the mask head.
        place: ``(h, w)`` 0…1, probabilities of the location head.

    Returns:
        The target 0…1: the outline in those of its regions where the location head is about as sure as at its surest
        place, zero elsewhere; and the weight of each cell: 0 where outline and place both hint at something that was
        not kept, and everywhere if nothing was kept.
    """
    _, _, regions = label_regions(outline > 0.5)
    peaks = np.zeros(int(regions.max()) + 1, np.float32)
    np.maximum.at(peaks, regions, place)
    peaks[0] = 0
    kept = (peaks >= max(0.2, 0.5 * float(place.max())))[regions]
    target = np.where(kept, outline, 0).astype(np.float32)
    doubtful = (outline > 0.2) & (place > 0.2) & ~kept
    known = np.zeros_like(target) if not kept.any() else (~doubtful).astype(np.float32)
    return target, known


def dice_loss(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Mean of 1 − Dice over the images that have something (Milletari et al., "V-Net", 3DV 2016).

    Args:
        probabilities: ``(batch, 1, H, W)``, 0…1.
        masks: of the same shape, 0…1.
    """
    axes = (1, 2, 3)
    positive = masks.sum(axes)
    loss = 1 - (2 * (probabilities * masks).sum(axes) + 1) / (probabilities.sum(axes) + positive + 1)
    has = (positive > 0).float()
    return (loss * has).sum() / has.sum().clamp(min=1)
