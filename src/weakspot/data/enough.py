"""Whether the training pictures show enough parts to leave some of each class out in turn."""

from __future__ import annotations

from collections.abc import Sequence

from weakspot.errors import WeakspotError
from weakspot.types import Sample, Subset

FEWEST = 2
"""Parts of every class that cross-fitting takes: one to leave out, and one to train on meanwhile."""


def rarest_parts(samples: Sequence[Sample], subsets: Sequence[Subset], targets: Sequence[int]) -> int:
    """Number of parts that the training images of the rarest class show.

    Args:
        samples: of the data set, with the groups that they belong to.
        subsets: subset of each.
        targets: class number of each.
    """
    parts: dict[int, set[str]] = {}
    for i, (sample, subset, target) in enumerate(zip(samples, subsets, targets, strict=True)):
        if subset == "train":
            parts.setdefault(target, set()).add(sample.group or f"image {i}")
    return min(len(of_class) for of_class in parts.values())


def check_enough(rarest: int) -> None:
    """Refuse to set thresholds on training images of which there are too few.

    Args:
        rarest: from :func:`rarest_parts`.

    Raises:
        WeakspotError: when a class shows fewer than :data:`FEWEST` parts.
    """
    if rarest < FEWEST:
        raise WeakspotError(
            f"boxes.threshold_kind=calibrated: without a validation subset it takes {FEWEST} training images of every "
            f"class that do not show the same part, and there is {rarest} beside the test images; add images, or set "
            "boxes.threshold_kind=absolute"
        )
