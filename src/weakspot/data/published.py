"""The split that the makers of a public data set publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weakspot.errors import WeakspotError
from weakspot.types import Sample
from weakspot.utils.files import shown

PUBLISHED = "published"
"""Stands for it in the place of a split file: ``split.file=published``."""


def as_published(samples: Sequence[Sample]) -> list[Sample]:
    """The samples in the subsets that the makers of their data set put them into.

    Args:
        samples: of the data set.

    Raises:
        WeakspotError: when they are in none, or not all of them are in one.
    """
    without = [sample for sample in samples if sample.published is None]
    if len(without) == len(samples):
        raise WeakspotError(
            f"split.file={PUBLISHED}: this data set comes with no split that has defects in training; leave it out"
        )
    if without:
        raise WeakspotError(
            f"split.file={PUBLISHED}: {len(without)} of {len(samples)} images are in no published subset, "
            f"{shown(without[0].path)} for one; leave it out, or get the data set anew"
        )
    return [replace(sample, subset=sample.published) for sample in samples]
