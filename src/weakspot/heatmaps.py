"""Which map of a forward pass is looked at: a class's own, or its margin over Good."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]


def class_map(maps: Maps, index: int) -> Maps:
    """The class activation map of one class, ``(height, width)``, raw.

    The seed's ``relative`` rule uses it. A softmax's single class has no absolute zero: a constant can be added to
    every class without changing a probability.

    Args:
        maps: ``(classes, height, width)`` of one image.
        index: the class; 0 is Good.
    """
    selected: Maps = maps[index]
    return selected


def margin_map(maps: Maps, index: int) -> Maps:
    """Class minus Good, ``(height, width)``, in logit units: zero where a place speaks for neither.

    Everything absolute, calibrated or compared between images uses it.

    Args:
        maps: ``(classes, height, width)`` of one image.
        index: the class; 0 is Good, whose margin over itself is zero everywhere.
    """
    margin: Maps = maps[index] - maps[0]
    return margin
