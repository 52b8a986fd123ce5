"""What a picture looks like apart from what it shows: light, contrast, sharpness, colour, and where the part lies.

Five numbers and a thumbnail that every prediction carries, so that a change of lamp, lens or camera can be noticed
(:mod:`weakspot.drift`). They are measured on the original picture, not on the network's input, where a picture that was
shrunk is sharp again. :mod:`weakspot.data.measurements` compares far more of them, once, in a data set.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.preprocess import fit_within
from weakspot.types import BoolArray, ImageArray, Look

LOOKS = ("brightness", "contrast", "sharpness", "red_green", "blue_yellow")
"""Mean lightness, its deviation against its mean, fine detail against that deviation, and mean colour (CIE L*a*b*)."""

LONGEST = 1024
"""Longest side, in pixels, that a picture is measured at."""

THUMBNAIL = 64
"""Side of the thumbnail, in pixels."""

LEAST = 1e-3
"""Added to what is divided by or whose logarithm is taken: a picture may be of one colour."""


def measure_look(image: ImageArray, region: BoolArray | None = None) -> Look:
    """Measure a picture.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        region: bool ``(H, W)``, the pixels that count; None counts all.

    Returns:
        Lightness in 0…100; contrast and sharpness as logarithms of ratios, so that a brighter picture with the same
        content has the same ones; colours in units of L*a*b*, 0 for grey.
    """
    small = fit_within(image, LONGEST)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    light = lab[..., 0]
    kept = None if region is None else _shrunk(region, (light.shape[0], light.shape[1]))
    detail = np.abs(cv2.Laplacian(light, cv2.CV_16S))
    mean, spread = _mean_and_spread(light, kept)
    fine, _ = _mean_and_spread(detail, kept)
    values = [
        mean * 100 / 255,
        float(np.log((spread + LEAST) / (mean + LEAST))),
        float(np.log((fine + LEAST) / (spread + LEAST))),
        *(_mean_and_spread(lab[..., channel], kept)[0] - 128 for channel in (1, 2)),
    ]
    seen = light if kept is None else np.where(kept, light, np.uint8(round(mean)))
    thumbnail = cv2.resize(np.ascontiguousarray(seen), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return Look(np.array(values, dtype=np.float64), np.asarray(thumbnail, dtype=np.uint8))


def shift(thumbnail: npt.NDArray[np.uint8], template: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """How far what a picture shows lies from where it usually does.

    By phase correlation: Kuglin and Hines, "The Phase Correlation Image Alignment Method", 1975. On a surface that has
    no place of its own, such as a fabric, the result is scattered and says nothing.

    Args:
        thumbnail: of the picture, uint8 ``(THUMBNAIL, THUMBNAIL)``.
        template: mean thumbnail of usual pictures.

    Returns:
        To the right and downwards, as shares of the picture's width and height.
    """
    if np.ptp(thumbnail) == 0 or np.ptp(template) == 0:  # one colour is anywhere
        return 0.0, 0.0
    (across, down), _ = cv2.phaseCorrelate(template.astype(np.float32), thumbnail.astype(np.float32), _window())
    return float(across) / THUMBNAIL, float(down) / THUMBNAIL


@cache
def _window() -> npt.NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow((THUMBNAIL, THUMBNAIL), cv2.CV_32F))


def _shrunk(region: BoolArray, size: tuple[int, int]) -> BoolArray:
    """The region of interest at another size; all of the picture where nothing is left of it."""
    small = cv2.resize(region.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    return small if small.any() else np.ones(size, dtype=bool)


def _mean_and_spread(plane: npt.NDArray[np.generic], kept: BoolArray | None) -> tuple[float, float]:
    mask = None if kept is None else kept.astype(np.uint8)
    mean, spread = cv2.meanStdDev(np.ascontiguousarray(plane), mask=mask)
    return float(mean[0, 0]), float(spread[0, 0])
