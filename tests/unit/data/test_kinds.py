"""Pictures of several kinds of defects."""

from __future__ import annotations

from pathlib import Path

import pytest

from weakspot.data.classes import class_names, kinds_of, target_of, targets_of
from weakspot.errors import WeakspotError
from weakspot.types import Sample


def labelled(label: str) -> Sample:
    return Sample(Path("x.png"), label)


def test_a_semicolon_separates_kinds() -> None:
    assert kinds_of(labelled("crack; hole;crack;")) == ["crack", "hole"]
    assert kinds_of(labelled("good")) == ["good"]
    assert kinds_of(labelled(";")) == [";"]
    with pytest.raises(WeakspotError, match=r"x\.png is labelled 'good;crack': good and a defect; keep one of them"):
        kinds_of(labelled("good;crack"))


def test_classes_are_the_kinds_and_an_answer_is_right_that_names_one() -> None:
    samples = [labelled(label) for label in ("good", "hole", "hole;crack", "scratch;dent")]
    names = class_names(samples, "multiclass")
    assert names == ["good", "crack", "dent", "hole", "scratch"]
    assert class_names(samples, "binary") == ["good", "anomaly"]
    assert [targets_of(sample, names) for sample in samples] == [[0], [3], [3, 1], [4, 2]]
    assert [target_of(sample, names) for sample in samples] == [0, 3, 3, 4]
    assert [target_of(samples[2], names, called) for called in ("crack", "hole", "dent", "good")] == [1, 3, 3, 3]
    assert [targets_of(sample, ["good", "anomaly"]) for sample in samples] == [[0], [1], [1], [1]]
    assert target_of(samples[2], ["good", "hole;crack"]) == 1  # a model of before knows the label as it stands
    with pytest.raises(WeakspotError, match=r"x\.png: defect type 'dent' is not one of good, scratch"):
        targets_of(samples[3], ["good", "scratch"])
