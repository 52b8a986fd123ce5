"""Does the confidence in a defect fall when its boxes are painted over? If not, the boxes are no evidence for it.

What is erased is replaced by the same place of a Good training picture, fitted to its surroundings. Erasing boxes of
the same sizes elsewhere in the picture is the control, so that damage done by the painting itself does not count:
occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014) with a control.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import logit

from weakspot.config.schema import read_config
from weakspot.data.images import read_image
from weakspot.data.splits import read_split
from weakspot.evaluation.schema import Erasure
from weakspot.inference.localizer import Localizer
from weakspot.metrics.paired import paired_difference
from weakspot.runs.folder import RunFolder
from weakspot.types import GOOD, BoolArray, Box, ImageArray, Prediction, Sample
from weakspot.utils import console

MOST = 40
"""Images that are painted over, drawn by lot."""

_TRIES = 200

WITHIN = 0.9
"""Share of a place that must lie in the region of interest: what is erased outside it has no effect."""


def measure_erasure(
    run: RunFolder, samples: Sequence[Sample], predictions: Sequence[Prediction], device: str = "auto"
) -> Erasure | None:
    """Erase the boxes of images that were called defective, or boxes as large elsewhere, and run the model again.

    Args:
        run: needs a bundle, a configuration and a split.
        samples: of the run's test subset.
        predictions: of the same images, in the same order.
        device: as for :meth:`Localizer.load`.

    Returns:
        How far the log-odds of a defect fall in both cases; None where no image was called defective.
    """
    called = [pair for pair in zip(samples, predictions, strict=True) if pair[1].label != GOOD]
    if not called:
        return None
    rng = np.random.default_rng(0)
    localizer = Localizer.load(run.path, device).adjusted(flip_tta=False)  # no box is drawn
    good = good_training_images(run)
    drops: list[tuple[float, float]] = []
    groups: list[str] = []
    chosen = [called[i] for i in rng.permutation(len(called))[:MOST]]
    with console.progress_bar("erasing boxes") as progress:
        for done, (sample, prediction) in enumerate(chosen, start=1):
            image = read_image(sample.path)
            within = localizer.for_picture(image, sample.path)
            elsewhere = other_places(prediction, rng, within.region_of(image))
            if elsewhere:
                donor = read_image(good[int(rng.integers(len(good)))].path)
                drops.append(_drops(within, image, prediction, elsewhere, donor))
                groups.append(sample.group or str(sample.path))
            progress(done, len(chosen))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    control, boxes = np.array(drops, np.float64).reshape(-1, 2).T
    members = [numbers[group] for group in groups]
    difference = paired_difference(control, boxes, members, np.zeros(len(drops)), shares=False)
    return Erasure(difference, len(drops), len(chosen) - len(drops))


def good_training_images(run: RunFolder) -> list[Sample]:
    """Read which Good images a run was trained on.

    Raises:
        WeakspotError: when the run's configuration or split is missing.
    """
    samples, subsets = read_split(run.split, Path(read_config(run.config).data.root or "."))
    return [sample for sample, subset in zip(samples, subsets, strict=True) if subset == "train" and sample.is_good]


def _drops(
    localizer: Localizer, image: ImageArray, prediction: Prediction, elsewhere: Sequence[Box], donor: ImageArray
) -> tuple[float, float]:
    """Fall of the log-odds: erasing elsewhere, erasing the boxes."""
    pictures = [image, erase(image, elsewhere, donor), erase(image, prediction.boxes, donor)]
    odds = [float(logit(np.clip(p.probability, 1e-7, 1 - 1e-7))) for p in localizer.predict(pictures)]
    return odds[0] - odds[1], odds[0] - odds[2]


def other_places(prediction: Prediction, rng: np.random.Generator, region: BoolArray | None = None) -> list[Box]:
    """Draw as many boxes of the same sizes that touch none of the predicted boxes.

    Args:
        prediction: its boxes, and the size of its image.
        rng: draws the places.
        region: ``(height, width)`` of the image, where it counts; a place lies in it, but for a tenth; None: all.

    Returns:
        One box for each predicted box, in pixels of the original image; no box at all where one of them finds no room.
    """
    found = []
    for box in prediction.boxes:
        height, width = box.y1 - box.y0, box.x1 - box.x0
        for _ in range(_TRIES):
            x = int(rng.integers(prediction.width - width + 1))
            y = int(rng.integers(prediction.height - height + 1))
            place = Box(x, y, x + width, y + height)
            inside = region is None or region[y : y + height, x : x + width].mean() >= WITHIN
            if inside and not any(_touch(place, other) for other in prediction.boxes):
                found.append(place)
                break
        else:
            return []
    return found


def _touch(a: Box, b: Box) -> bool:
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


def erase(image: ImageArray, boxes: Sequence[Box], donor: ImageArray) -> ImageArray:
    """Replace boxes by the same places of another picture.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        boxes: what to replace, in pixels of `image`.
        donor: uint8 RGB of any size; its brightness and colour are fitted to what surrounds each box, and the seam is
            soft.

    Returns:
        uint8 ``(H, W, 3)``; unchanged but in and next to the boxes.
    """
    height, width = image.shape[:2]
    source = cv2.resize(donor, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    result = image.astype(np.float32)
    for box in boxes:
        margin = max(2, round(0.1 * max(box.x1 - box.x0, box.y1 - box.y0)))
        inside = np.zeros((height, width), np.float32)
        inside[box.y0 : box.y1, box.x0 : box.x1] = 1
        near = np.zeros((height, width), dtype=bool)
        near[max(0, box.y0 - margin) : box.y1 + margin, max(0, box.x0 - margin) : box.x1 + margin] = True
        ring = near & (inside == 0)
        shift: npt.NDArray[Any] = (result[ring] - source[ring]).mean(axis=0) if ring.any() else np.zeros(3)
        blend = np.maximum(inside, cv2.GaussianBlur(inside, (0, 0), margin / 2) * near)[..., None]
        result = result + blend * (source + shift.astype(np.float32) - result)
    return np.asarray(np.clip(np.rint(result), 0, 255), np.uint8)
