"""Choose the size of the network's input from the shapes of the pictures (``data.image_size=auto``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from weakspot.types import Size

PIXELS = 320 * 320
"""About so many pixels does the network see, whatever the shape: they are what time and memory go by."""

MULTIPLE = 32
"""Both sides are multiples of this, so that every depth of the network has whole cells."""

LONGEST = 4.0
"""The longer side is at most so many times the shorter one."""


def choose_input_size(sizes: Sequence[Size]) -> Size:
    """Choose the input size that keeps the usual shape of the pictures and has about :data:`PIXELS` pixels.

    Args:
        sizes: ``(height, width)`` of each picture, in pixels; at least one.

    Returns:
        ``(height, width)``, multiples of :data:`MULTIPLE`: the size that is nearest to the median ratio of height to
        width, where a third more or fewer pixels count half as much as a shape that is a third too long.

    Examples:
        >>> choose_input_size([(1024, 1024)])
        (320, 320)
        >>> choose_input_size([(500, 1259)])
        (192, 480)
    """
    limit = math.log(LONGEST)
    wanted = float(np.clip(np.median(np.log([height / width for height, width in sizes])), -limit, limit))
    sides = range(MULTIPLE, math.ceil(math.sqrt(PIXELS * LONGEST)) + MULTIPLE, MULTIPLE)

    def misfit(size: Size) -> float:
        height, width = size
        return abs(math.log(height / width) - wanted) + abs(math.log(height * width / PIXELS)) / 2

    return min(product(sides, sides), key=misfit)
