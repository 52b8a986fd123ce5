"""Choose the size of the network's input from the shapes of the pictures (``data.image_size=auto``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from weakspot.types import Size

PIXELS = 320 * 320
"""About so many pixels does the network see of many pictures, whatever the shape: time and memory go by them."""

MANY, LARGEST_SHARE = 1000, 1.6
"""So many pictures are many; of fewer it sees more pixels in proportion, but at most so many times more."""

MULTIPLE = 32
"""Both sides are multiples of this, so that every depth of the network has whole cells."""

LONGEST = 4.0
"""The longer side is at most so many times the shorter one."""


def choose_input_size(sizes: Sequence[Size]) -> Size:
    """Choose the input size that keeps the usual shape of the pictures and has about :func:`pixel_budget` pixels.

    Args:
        sizes: ``(height, width)`` of each picture to learn from, in pixels; at least one.

    Returns:
        ``(height, width)``, multiples of :data:`MULTIPLE`: the size that is nearest to the median ratio of height to
        width, where a third more or fewer pixels count half as much as a shape that is a third too long.

    Examples:
        >>> choose_input_size([(1024, 1024)] * 1000)
        (320, 320)
        >>> choose_input_size([(1024, 1024)] * 100)
        (416, 416)
        >>> choose_input_size([(500, 1259)] * 300)
        (256, 640)
    """
    limit, pixels = math.log(LONGEST), pixel_budget(sizes)
    wanted = float(np.clip(np.median(np.log([height / width for height, width in sizes])), -limit, limit))
    sides = range(MULTIPLE, math.ceil(math.sqrt(pixels * LONGEST)) + MULTIPLE, MULTIPLE)

    def misfit(size: Size) -> float:
        height, width = size
        return abs(math.log(height / width) - wanted) + abs(math.log(height * width / pixels)) / 2

    return min(product(sides, sides), key=misfit)


def pixel_budget(sizes: Sequence[Size]) -> float:
    """How many pixels the network sees: the fewer pictures there are, the more of each, but not more than it has.

    Args:
        sizes: ``(height, width)`` of each picture to learn from, in pixels; at least one.

    Returns:
        :data:`PIXELS` to :data:`LARGEST_SHARE` times that.

    Examples:
        >>> [round(pixel_budget([(1000, 1000)] * n) / PIXELS, 2) for n in (100, 800, 2000)]
        [1.6, 1.25, 1.0]
        >>> pixel_budget([(200, 300)] * 100) == PIXELS
        True
    """
    own = float(np.median([height * width for height, width in sizes]))
    most = PIXELS * min(LARGEST_SHARE, max(1.0, MANY / len(sizes)))
    return min(most, max(PIXELS, own))
