"""What of a picture is bare surface: where the product is, where its strong edges are, and what is fine detail."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import BoolArray

Float = npt.NDArray[np.float32]

_FINE = 1.5
_STEEP = 6.0


def fine_detail(grey: Float) -> Float:
    """What is finer than a blur of 1.5 pixels.

    Args:
        grey: ``(h, w)``, 0…255.
    """
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _FINE), np.float32)


def on_product(grey: Float) -> BoolArray | None:
    """Where a picture differs from its own border; None where that is next to nothing or nearly all of it.

    Args:
        grey: ``(h, w)``, 0…255.
    """
    height, width = grey.shape
    small = cv2.resize(grey, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    k = max(1, round(0.03 * min(small.shape)))
    border = np.concatenate([small[:k].ravel(), small[-k:].ravel(), small[:, :k].ravel(), small[:, -k:].ravel()])
    low, high = np.quantile(border, [0.03, 0.97])
    span = 0.5 * max(float(high - low), 6.0)
    outside = ((small < low - span) | (small > high + span)).astype(np.uint8)
    outside = cv2.morphologyEx(outside, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    outside = cv2.morphologyEx(outside, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    if not 0.03 < outside.mean() < 0.7:
        return None
    return np.asarray(cv2.resize(outside, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def edges(grey: Float, product: BoolArray | None) -> Float:
    """Find strong edges.

    Args:
        grey: ``(h, w)``, 0…255.
        product: from :func:`on_product`; edges are compared with what is usual there.

    Returns:
        1 on and beside them, 0 elsewhere, ``(h, w)``.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), _FINE)
    slope = cv2.magnitude(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    )
    usual = float(np.median(slope if product is None else slope[product]))
    steep = (slope > max(_STEEP * usual, 1.0)).astype(np.uint8)
    return cv2.dilate(steep, np.ones((5, 5), np.uint8)).astype(np.float32)
