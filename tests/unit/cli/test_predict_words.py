"""What is said after a batch was predicted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from weakspot.cli.predict import _here
from weakspot.config.rules import BoxRule
from weakspot.types import Box, Prediction

FOUND = Prediction(Path("a.png"), height=9, width=9, label="anomaly", boxes=(Box(0, 0, 2, 2),))
BARE, GOOD_ONE = replace(FOUND, boxes=()), replace(FOUND, label="good", boxes=())


@pytest.mark.parametrize(
    ("rule", "predictions", "said"),
    [
        (
            BoxRule("components", min_score=1.0),
            [FOUND, BARE, BARE, GOOD_ONE],
            "2 of 3 pictures called defective have no",
        ),
        (BoxRule("components", min_score=1.0), [FOUND, GOOD_ONE], None),
        (BoxRule("components"), [BARE], None),  # nothing was above the threshold; more false boxes change nothing
    ],
)
def test_who_misses_boxes_is_told_how_to_get_more(
    rule: BoxRule,
    predictions: list[Prediction],
    said: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    localizer = SimpleNamespace(meta=SimpleNamespace(pictures=None, boxes=rule))
    _here(localizer, [one.path for one in predictions], tmp_path, iter(predictions))  # type: ignore[arg-type]
    words = " ".join(capsys.readouterr().err.split())
    assert ("have no box" in words) == (said is not None)
    assert said is None or said in words
    assert said is None or "weakspot evaluate RUN output=RUN boxes.false_boxes=20" in words
