"""The class of each box where there are several kinds of defects: that of its region, not that of its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weakspot.ops.maps import Maps, margin_map
from weakspot.postprocess.trust import cells_of
from weakspot.types import Box, Size


def with_class(boxes: Sequence[Box], maps: Maps, classes: Sequence[str], size: Size) -> list[Box]:
    """Give each box the class whose class activation map exceeds Good's the most inside it.

    The logit of a class is the mean of its map (Zhou et al., "Learning deep features for discriminative localization",
    CVPR 2016), so that the mean inside a box is what the classifier would say of that region alone, but for its bias. A
    picture's only box keeps the class of the picture, for which everything in it speaks.

    Args:
        boxes: of one picture, with the class of the picture.
        maps: class activation maps of the picture, ``(classes, h, w)``, Good first, in logit units.
        classes: names of the classes, ``good`` first.
        size: ``(height, width)`` of the picture, in whose pixels the boxes are.

    Returns:
        The boxes, in the same order; unchanged where there is one box or one kind of defect.
    """
    if len(boxes) < 2 or len(classes) < 3:
        return list(boxes)
    margins = np.stack([margin_map(maps, index) for index in range(1, len(classes))])
    inside = [margins[:, *cells_of(margins[0], box, size)].mean(axis=(1, 2)) for box in boxes]
    return [replace(box, label=classes[1 + int(means.argmax())]) for box, means in zip(boxes, inside, strict=True)]
