"""Connected regions of a mask: their boxes, sizes, labels and outlines."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import BoolArray, Size


def region_outlines(mask: BoolArray, size: Size) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Polygons round the 8-connected regions of a mask; holes are not left out.

    Args:
        mask: ``(h, w)``.
        size: ``(height, width)`` of the original image.

    Returns:
        A polygon for each region, of ``(x, y)`` corners between the original image's pixels: a single pixel has four.
    """
    # Twice as large, a pixel is two wide and its contour runs through both: their outer edges are known then.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    corners = (np.rint((contour[:, 0] + 1) // 2 * scale).astype(int) for contour in contours)
    return tuple(tuple((int(x), int(y)) for x, y in polygon) for polygon in corners)


def label_regions(hot: BoolArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Find the 8-connected regions of a mask.

    Args:
        hot: shape ``(h, w)``.

    Returns:
        Half-open boxes ``(k, 4)``, their numbers of pixels ``(k,)``, and labels ``(h, w)``: 0 for background, i + 1
        for the pixels of region i.
    """
    labels = np.zeros(hot.shape, np.int32)
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    if not len(rows):
        return np.zeros((0, 4), np.int64), np.zeros(0, np.int64), labels
    # Only the part that holds something: most masks are nearly empty.
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    _, found, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(hot[part], dtype=np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    labels[part] = found
    regions = np.asarray(stats[1:], dtype=np.int64)
    x, y = regions[:, cv2.CC_STAT_LEFT] + columns[0], regions[:, cv2.CC_STAT_TOP] + rows[0]
    width, height = regions[:, cv2.CC_STAT_WIDTH], regions[:, cv2.CC_STAT_HEIGHT]
    return np.stack([x, y, x + width, y + height], axis=1), regions[:, cv2.CC_STAT_AREA], labels
