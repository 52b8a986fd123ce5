"""What corrections say of a run: how many of its boxes are right, how many labels are wrong, whether to go on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from weakspot.metrics.intervals import Estimate, proportion
from weakspot.ops.iou import box_iou
from weakspot.serve.review_file import CONFIRMED
from weakspot.serve.review_store import QueuedPicture, Review
from weakspot.types import GOOD

SAME_BOX = 0.3
"""Intersection over union from which a shown box counts as the one that a person confirmed or drew."""

ENOUGH = 0.1
"""More would hardly help where at most this share of the remaining pictures needs a correction."""


@dataclass(frozen=True)
class Summary:
    """What a review has come to.

    Attributes:
        total: pictures in the queue.
        reviewed: of them were looked at and confirmed.
        fresh: of those, in this round: what is said of the run comes from them alone.
        skipped: were put off.
        drafts: were changed and not confirmed.
        boxes: boxes that a person confirmed or drew.
        precision: share of the model's boxes in the pictures confirmed that are right.
        labels: share of the labels in the pictures confirmed that were wrong.
        corrected: pictures that needed a correction.
        calm: number of pictures confirmed last that needed none, one after the other.
        remaining: share of the remaining pictures that may need a correction at most, by those.
        enough: whether that is so little that more would hardly help.
    """

    total: int
    reviewed: int
    fresh: int
    skipped: int
    drafts: int
    boxes: int
    precision: Estimate
    labels: Estimate
    corrected: int
    calm: int
    remaining: float
    enough: bool


def summarize(pictures: Sequence[QueuedPicture], reviews: Sequence[Review], *, since: int = 0) -> Summary:
    """Count what was confirmed, and compare it with what was shown.

    A box is right where it overlaps one of the same class that the person left there with an intersection over union of
    at least :data:`SAME_BOX`; each counts once. A picture needed a correction where its label was changed, a shown box
    is not right, one was added, or it is defective and has no box.

    Args:
        pictures: of the queue.
        reviews: of each of them.
        since: only versions after this one say something of the run; the earlier ones it was trained on.

    Returns:
        The counts; intervals are of 95 % (Clopper and Pearson) and take boxes and pictures as independent.
    """
    done = [(p, r) for p, r in zip(pictures, reviews, strict=True) if r.state in CONFIRMED]
    fresh = sorted((pair for pair in done if pair[1].version > since), key=lambda pair: pair[1].version)
    judged = [_judge(picture, review) for picture, review in fresh]
    known = [(p, r) for p, r in fresh if p.given is not None]
    wrong_labels = sum(r.label != p.given for p, r in known)
    calm = _trailing(not one.corrected for one in judged)
    bound = proportion(0, calm).high if calm else 1.0
    return Summary(
        total=len(pictures),
        reviewed=len(done),
        fresh=len(fresh),
        skipped=sum(review.state == "skipped" for review in reviews),
        drafts=sum(review.state == "draft" for review in reviews),
        boxes=sum(len(review.boxes) for _, review in done),
        precision=proportion(sum(one.right for one in judged), sum(one.shown for one in judged)),
        labels=proportion(wrong_labels, len(known)),
        corrected=sum(one.corrected for one in judged),
        calm=calm,
        remaining=bound,
        enough=bound <= ENOUGH,
    )


@dataclass(frozen=True)
class _Judged:
    shown: int
    right: int
    corrected: bool


@lru_cache(maxsize=2**14)
def _judge(picture: QueuedPicture, review: Review) -> _Judged:
    started_good = (picture.given or picture.predicted) == GOOD
    wrong_label = review.label != (picture.given or picture.predicted)
    classes = {box.label for box in review.boxes}
    right = sum(
        _matches(
            [box.xyxy for box in picture.boxes if box.label == label],
            [box.xyxy for box in review.boxes if box.label == label],
        )
        for label in classes
    )
    # Of a picture that the data call Good the model's boxes are shown, but nobody starts from them.
    unlike = len(review.boxes) > right or (not started_good and len(picture.boxes) > right)
    return _Judged(len(picture.boxes), right, wrong_label or unlike or review.state == "labelled")


def _matches(shown: Sequence[tuple[int, ...]], true: Sequence[tuple[int, ...]]) -> int:
    """How many pairs, each box in one at most; the shown ones choose in their order, the surest first."""
    if not shown or not true:
        return 0
    overlaps, pairs = box_iou(np.array(shown), np.array(true)), 0
    for row in overlaps:
        best = int(row.argmax())
        if row[best] >= SAME_BOX:
            pairs += 1
            overlaps[:, best] = -1
    return pairs


def _trailing(values: Iterable[bool]) -> int:
    count = 0
    for value in values:
        count = count + 1 if value else 0
    return count
