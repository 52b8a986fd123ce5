"""Choose the size of the network's input from the shapes of the pictures (``data.image_size=auto``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        ``(height, width)``, multiples of :data:`MULTIPLE`: of the sizes with that many pixels the one whose shape is
        nearest to the median ratio of height to width.

    Examples:
        >>> choose_input_size([(1024, 1024)])
        (320, 320)
        >>> choose_input_size([(500, 1259)])
        (192, 512)
    """
    ratios = np.log([height / width for height, width in sizes])
    wanted = float(np.clip(np.median(ratios), -math.log(LONGEST), math.log(LONGEST)))
    height = math.sqrt(PIXELS * math.exp(wanted))
    candidates = [MULTIPLE * max(1, n + round(height / MULTIPLE)) for n in (-1, 0, 1)]
    pairs = [(h, MULTIPLE * max(1, round(PIXELS / h / MULTIPLE))) for h in candidates]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1]) - wanted))
