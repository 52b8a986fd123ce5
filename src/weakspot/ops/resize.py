"""Resize a map, and scale it to 0…1."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import FloatArray, Size

_FLAT = 8 * float(np.finfo(np.float32).eps)


def upsample(map_: FloatArray, size: Size) -> npt.NDArray[np.float32]:
    """Resize a map bilinearly with half-pixel centres.

    Equal, but for float32 rounding (1e-5 of the map's range), to ``torch.nn.functional.interpolate(mode="bilinear",
    align_corners=False)``, larger or smaller (without smoothing first).

    Args:
        map_: shape ``(map height, map width)``, any range.
        size: ``(height, width)`` wanted.

    Returns:
        float32 of shape `size`, within the range of `map_`; NaN spreads to its neighbours.

    Raises:
        ValueError: when `map_` is not two-dimensional or something is empty.

    Examples:
        >>> upsample(np.array([[0, 4]], np.float32), (2, 4))
        array([[0., 1., 3., 4.],
               [0., 1., 3., 4.]], dtype=float32)
    """
    source = np.ascontiguousarray(two_dimensional(map_, "map"), dtype=np.float32)
    height, width = checked_size(size)
    return np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def scale_min_max(map_: FloatArray) -> npt.NDArray[np.float64] | None:
    """Scale a map to 0…1 by its own minimum and maximum.

    Only the relative threshold needs this: afterwards every map peaks at 1, so nothing can be compared between images.

    Args:
        map_: finite, shape ``(h, w)``.

    Returns:
        float64 of the same shape, minimum 0 and maximum 1; None for a flat map, that is one whose range is no more
        than float32 rounding (a constant that was resized is not exactly constant).

    Raises:
        ValueError: when `map_` is not two-dimensional or empty.
    """
    values = np.asarray(two_dimensional(map_, "map"), dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return None
    return (values - low) / (high - low)


def two_dimensional(map_: FloatArray, name: str) -> FloatArray:
    """The map itself, found to be a non-empty ``(height, width)`` array.

    Args:
        map_: what should be one.
        name: what to call it in the error.

    Raises:
        ValueError: when it is not.
    """
    array = np.asarray(map_)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"the {name} must have shape (height, width) and not be empty, not {array.shape}")
    return array


def checked_size(size: Size) -> Size:
    """``(height, width)`` as plain integers.

    Raises:
        ValueError: when a side is below 1.
    """
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise ValueError(f"size must be (height, width) of at least (1, 1), not {size}")
    return height, width
