"""What corrections say of a run, counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from weakspot.serve.review_store import Mark, QueuedPicture, Review
from weakspot.serve.review_summary import summarize
from weakspot.types import Box


def picture(given: str | None, *boxes: tuple[int, int, int, int], predicted: str = "anomaly") -> QueuedPicture:
    found = tuple(Box(*corners, score=1.0) for corners in boxes)
    return QueuedPicture("a.png", Path("a.png"), (100, 200), given, predicted, 0.7, found, "why")


def review(label: str, *boxes: tuple[int, int, int, int], version: int, state: str = "reviewed") -> Review:
    return Review(label, tuple(Mark(*corners, "anomaly") for corners in boxes), state, version)  # type: ignore[arg-type]


TEN, TWENTY, FAR = (0, 0, 10, 10), (20, 0, 40, 20), (100, 50, 120, 90)


def test_boxes_and_labels_are_counted() -> None:
    pictures = [
        picture("anomaly", TEN, TWENTY),  # one right, one deleted
        picture("good", FAR),  # Good after all: its box was wrong
        picture("anomaly", TEN),  # a wrong label
        picture("anomaly"),  # a box was missing
        picture("anomaly", FAR),  # moved a little: right
        picture("anomaly", FAR),  # not confirmed
    ]
    reviews = [
        review("anomaly", TEN, version=1),
        review("good", version=2),
        review("good", version=3),
        review("anomaly", TWENTY, version=4),
        review("anomaly", (101, 50, 121, 90), version=5),
        review("anomaly", TEN, version=6, state="draft"),
    ]
    found = summarize(pictures, reviews)
    assert (found.total, found.reviewed, found.drafts, found.boxes) == (6, 5, 1, 3)
    assert (found.precision.n, found.precision.value) == (5, pytest.approx(2 / 5))
    assert found.precision.low == pytest.approx(0.0527, abs=1e-4)  # Clopper and Pearson's table, 2 of 5
    assert found.precision.high == pytest.approx(0.8534, abs=1e-4)
    assert (found.labels.n, found.labels.value) == (5, pytest.approx(1 / 5))
    assert found.corrected == 3
    assert found.calm == 1


@pytest.mark.parametrize(("overlap", "right"), [(4, 0), (5, 1)])
def test_a_box_is_right_from_an_overlap_of_three_tenths(overlap: int, right: int) -> None:
    shown, true = (0, 0, 10, 10), (10 - overlap, 0, 20 - overlap, 10)  # 4/16 = 0.25, 5/15 = 0.33
    found = summarize([picture("anomaly", shown)], [review("anomaly", true, version=1)])
    assert found.precision.value == right
    assert found.corrected == 1 - right


def test_a_drawn_box_counts_for_one_shown_box() -> None:
    found = summarize([picture("anomaly", TEN, (0, 0, 10, 9))], [review("anomaly", TEN, version=1)])
    assert (found.precision.value, found.precision.n) == (0.5, 2)


def test_more_hardly_helps_after_thirty_six_without_a_correction() -> None:
    """One minus the 36th root of 0.025 is 0.0974: at most that share of the others needs a correction."""
    pictures = [picture("anomaly", TEN)] * 60
    for count, enough in ((0, False), (35, False), (36, True)):
        reviews = [review("anomaly", TEN, version=i + 1) for i in range(count)]
        todo = [review("anomaly", TEN, version=0, state="todo")] * (60 - count)
        found = summarize(pictures, reviews + todo)
        assert (found.calm, found.enough) == (count, enough)
        assert found.remaining == pytest.approx(1 - 0.025 ** (1 / count) if count else 1.0)


def test_a_correction_starts_the_count_again_in_the_order_of_saving() -> None:
    pictures = [picture("anomaly", TEN)] * 4
    reviews = [review("anomaly", TEN, version=v) for v in (4, 3, 1)]
    found = summarize(pictures, [*reviews, review("good", version=2)])
    assert (found.calm, found.corrected) == (2, 1)


def test_earlier_rounds_say_nothing_of_this_run() -> None:
    found = summarize(
        [picture("anomaly", TEN)] * 2, [review("good", version=1), review("anomaly", TEN, version=2)], since=1
    )
    assert (found.reviewed, found.fresh, found.labels.n, found.precision.n, found.corrected) == (2, 1, 1, 1, 0)


def test_without_a_known_label_none_was_wrong() -> None:
    found = summarize([picture(None, TEN)], [review("anomaly", TEN, version=1)])
    assert found.labels.n == 0
    assert math.isnan(found.labels.value)
    assert found.corrected == 0


def test_a_defect_confirmed_without_a_box_needed_a_correction() -> None:
    found = summarize([picture("anomaly")], [review("anomaly", version=1, state="labelled")])
    assert (found.reviewed, found.corrected, found.precision.n) == (1, 1, 0)
