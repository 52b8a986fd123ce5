"""Pixels of a region of interest: finding the foreground of a plain background, and filling what lies outside."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import BoolArray, ImageArray

FOREGROUND_SIDE = 256
"""Longest side in pixels of the copy that the foreground is looked for in."""

MARGIN = 0.02
"""The foreground is widened by this share of the longest side, so that a defect at its rim lies inside."""

LEAST_FOREGROUND, MOST_FOREGROUND = 0.01, 0.9
"""Shares of a picture that a foreground may take up."""

MOST_AT_BORDER = 0.25
"""Share of the outermost pixels that may belong to the foreground; with more the background is not all round."""

SEPARATION = 3.0
"""Foreground and background must differ by this many times the spread of the background."""


SMOOTHINGS = 12
"""Rounds of averaging over neighbours that smooth the rim of what was filled."""


def foreground(image: ImageArray) -> BoolArray | str:
    """Find what stands before a plain background.

    The colour of the background is the median of the picture's outermost pixels; what differs from it is separated by
    Otsu's threshold ("A Threshold Selection Method from Gray-Level Histograms", 1979). The convex hull of each large
    piece counts, widened by :data:`MARGIN`, so that a notch in its outline lies inside.

    Args:
        image: uint8 RGB ``(height, width, 3)``.

    Returns:
        The foreground ``(height, width)``; or in words why there is none that can be told from the background.
    """
    height, width = image.shape[:2]
    scale = min(1.0, FOREGROUND_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1).astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    rim = _rim(lab.shape[:2])
    distance = np.linalg.norm(lab - np.median(lab[rim], axis=0), axis=2)
    scaled = np.clip(distance * np.float32(255 / max(1e-6, float(distance.max()))), 0, 255).astype(np.uint8)
    _, otsu = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    hot = otsu.astype(bool)
    if hot[rim].mean() > MOST_AT_BORDER:
        return "its border does not show a plain background all round"
    share = float(hot.mean())
    if not LEAST_FOREGROUND <= share <= MOST_FOREGROUND:
        return f"{share:.1%} of it differ from the background"
    spread = float(np.quantile(distance[~hot], 0.9))
    if float(np.median(distance[hot])) < SEPARATION * max(spread, 1.0):
        return "nothing in it stands out clearly from the background"
    whole = cv2.resize(_hulls(otsu), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(whole, dtype=bool)


def _rim(shape: tuple[int, ...]) -> BoolArray:
    """The outermost pixels of a picture, a fortieth of its shorter side wide."""
    rim = np.ones(shape, dtype=bool)
    wide = max(1, min(shape) // 40)
    rim[wide:-wide, wide:-wide] = False
    return rim


def _hulls(hot: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The convex hulls of the large pieces of a mask, widened: uint8 0 or 1."""
    outlines, _ = cv2.findContours(hot.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    areas = [cv2.contourArea(outline) for outline in outlines]
    large = [outline for outline, area in zip(outlines, areas, strict=True) if area >= 0.05 * max(areas)]
    filled = np.zeros(hot.shape, np.uint8)
    for outline in large:
        cv2.fillConvexPoly(filled, cv2.convexHull(outline), 1)
    wide = max(1, round(MARGIN * max(hot.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * wide + 1, 2 * wide + 1))
    return np.asarray(cv2.dilate(filled, kernel), np.uint8)


def fill_outside(image: ImageArray, region: BoolArray) -> ImageArray:
    """Replace what lies outside a region by a smooth continuation of what lies inside, so that there is no edge to see.

    Nothing outside has any effect on the result. This is the push-pull interpolation of Gortler et al., "The Lumigraph"
    (SIGGRAPH 1996): averages over ever larger neighbourhoods, of inside pixels only, fill what is farther away.

    Args:
        image: uint8 RGB ``(h, w, 3)``.
        region: ``(h, w)``, what counts; at least one pixel.

    Returns:
        uint8 ``(h, w, 3)``; inside the region it is `image`, pixel by pixel.
    """
    if region.all():
        return image
    weights: list[npt.NDArray[Any]] = [region.astype(np.float32)]
    colours: list[npt.NDArray[Any]] = [image * weights[0][..., None]]
    while max(weights[-1].shape) > 1:
        weights.append(cv2.pyrDown(weights[-1]).reshape(*(-(-side // 2) for side in weights[-1].shape)))
        colours.append(cv2.pyrDown(colours[-1]).reshape(*weights[-1].shape, 3))
    filled = colours[-1] / np.maximum(weights[-1], 1e-9)[..., None]
    for colour, weight in zip(colours[-2::-1], weights[-2::-1], strict=True):
        coarse = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(colour.shape)
        missing = (1 - np.minimum(weight, 1))[..., None]
        filled = colour + missing * coarse
    original = image.astype(np.float32)
    for _ in range(SMOOTHINGS):  # what is filled takes on the values at the rim of what is not
        filled = cv2.blur(np.where(region[..., None], original, filled), (3, 3))
    result = np.rint(np.clip(filled, 0, 255)).astype(np.uint8)
    result[region] = image[region]
    return np.asarray(result, np.uint8)
