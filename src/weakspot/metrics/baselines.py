"""Boxes that do not depend on the image, which any method has to beat: ``[x0, y0, x1, y1]``, shape ``(1, 4)``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weakspot.types import Size


def centre_box(size: Size, fraction: float = 0.5) -> npt.NDArray[np.float64]:
    """Return the centred box with `fraction` (0…1) of each side of an image, shape ``(1, 4)``: a baseline to beat.

    Args:
        size: ``(height, width)`` of the image in pixels.
        fraction: share of the height and of the width, in (0, 1].

    Raises:
        ValueError: when `fraction` is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], not {fraction}")
    height, width = size
    margin = (1 - fraction) / 2
    return np.array([[margin * width, margin * height, (1 - margin) * width, (1 - margin) * height]])


def whole_image_box(size: Size) -> npt.NDArray[np.float64]:
    """Return the box of a whole image of `size` ``(height, width)``, shape ``(1, 4)``: a baseline to beat."""
    return centre_box(size, fraction=1.0)


def random_box(size: Size, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a box between two random points of an image: a baseline to beat.

    Args:
        size: ``(height, width)`` of the image in pixels.
        rng: draws the points.

    Returns:
        ``[x0, y0, x1, y1]`` in pixels, fractions among them, shape ``(1, 4)``.
    """
    height, width = size
    (x0, x1), (y0, y1) = (np.sort(rng.uniform(0, side, 2)) for side in (width, height))
    return np.array([[x0, y0, max(x1, x0 + 1e-6), max(y1, y0 + 1e-6)]])
