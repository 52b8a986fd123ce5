"""Overlap of boxes. A module apart from the metrics, since prediction needs it and exported models must start fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BoxArray = npt.NDArray[np.number[Any]]


def box_iou(a: BoxArray, b: BoxArray) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
        a: shape ``(n, 4)``, half-open ``[x0, y0, x1, y1]``; n may be 0.
        b: shape ``(m, 4)``, likewise; m may be 0.

    Returns:
        Shape ``(n, m)``, in 0…1.

    Raises:
        ValueError: for a wrong shape, a box without area, NaN or infinity.

    Examples:
        >>> box_iou(np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])).round(2)
        array([[1.  , 0.33, 0.  ]])
    """
    first, second = _checked_boxes(a)[:, None], _checked_boxes(b)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    overlap = np.clip(sides, 0, None).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    return np.asarray(overlap / (areas - overlap))


def _checked_boxes(boxes: BoxArray) -> npt.NDArray[np.float64]:
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise ValueError(f"boxes must be finite and of shape (n, 4), not {array.shape}")
    if not (array[:, :2] < array[:, 2:]).all():
        raise ValueError("boxes must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    return array
