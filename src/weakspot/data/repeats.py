"""What is said about photographs of the same part: what is certain, what is possible, and what was compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from weakspot.data.near_duplicates import NearDuplicates
from weakspot.types import Sample

TURNED = "turned photographs of one part are not found: name parts"
"""What the search cannot do, and the way out; how to name them differs from verb to verb."""


def certain_words(found: NearDuplicates) -> str:
    """How many images certainly show a part again, in half a sentence; empty where none does."""
    if not found.pairs:
        return ""
    parts = "one part" if found.n_groups == 1 else f"one of {found.n_groups} parts"
    return f"{found.repeated} of {found.images} images show {parts} several times (their surface agrees in fine detail)"


def possible_words(found: NearDuplicates) -> str:
    """How many pairs may show the same part, in half a sentence; empty where none may."""
    if not found.possible:
        return ""
    pairs = "1 pair looks" if len(found.possible) == 1 else f"{len(found.possible)} pairs look"
    return (
        f"{pairs} alike and may show the same part or only the same pose (alike when small, but no surface detail "
        "that other look-alikes lack)"
    )


def in_both_classes(samples: Sequence[Sample], found: NearDuplicates) -> int:
    """How many parts that were photographed several times have pictures that are Good and pictures that are not.

    Args:
        samples: the images that were searched, in order.
        found: what was found among them; only certain pairs count.
    """
    labels: dict[int, set[bool]] = defaultdict(set)
    for sample, group in zip(samples, found.groups(), strict=True):
        labels[group].add(sample.is_good)
    return sum(len(both) == 2 for both in labels.values())


def paired_words(samples: Sequence[Sample], found: NearDuplicates) -> str:
    """How many parts stand in both classes and what that is good for, in half a sentence; empty where none does.

    Args:
        samples: the images that were searched, in order.
        found: what was found among them.
    """
    both = in_both_classes(samples, found)
    if not both:
        return ""
    parts = f"{both} of {found.n_groups} parts {'has' if both == 1 else 'have'}"
    return (
        f"{parts} Good and defective photographs: a paired comparison (weakspot compare) sees there what the defect "
        "alone changes"
    )
