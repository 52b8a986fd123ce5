"""Boxes of plain class activation maps have a score in 0…1 that ranks, although their margins are far from log-odds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.prediction_files import from_record, to_record
from weakspot.postprocess.predictions import NOT_FINITE, make_prediction
from weakspot.types import Box, ModelOutput, Prediction
from weakspot.utils.files import jsonable

CLASSES = ("good", "anomaly")


def predicted(logit: float, peak: float, heads: bool = False) -> Prediction:
    """A picture of 32 × 48 pixels with one hot place, whose margin there is `peak`."""
    maps = np.zeros((2, 4, 6), np.float32)
    maps[1, 1:3, 2:4] = peak
    of_heads = {"mask_logits": maps[1] - 1, "location_logits": maps[1] - 1} if heads else {}
    output = ModelOutput(np.array([0, logit], np.float32), maps, **of_heads)
    preprocess = Preprocess((32, 48), "caffe")
    return make_prediction(Path("a.png"), (32, 48), output, CLASSES, preprocess, BoxRule(), Decision())


def test_the_score_that_is_exported_tells_pictures_apart() -> None:
    surer, less_sure = predicted(3.0, 120.0).boxes[0], predicted(0.5, 118.5).boxes[0]
    assert 0 < less_sure.confidence < surer.confidence < 1
    assert (surer.score, less_sure.score) == (120.0, 118.5), "the margins that thresholds are in stay as they are"
    assert surer.probability == surer.confidence
    assert surer.confidence < 1 / (1 + math.exp(-3.0)), "no surer than its picture"


def test_a_score_in_log_odds_is_its_logistic_function() -> None:
    (box,) = predicted(3.0, 2.0, heads=True).boxes
    assert math.isnan(box.probability)
    assert box.confidence == pytest.approx(1 / (1 + math.exp(-box.score)))


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_no_prediction(logit: float) -> None:
    """They were called Good, with status ok and probabilities of NaN."""
    found = predicted(logit, 2.0)
    assert (found.status, found.label, found.classes, found.boxes) == ("error", "", (), ())
    assert found.message == f"a.png: {NOT_FINITE}"
    assert (found.size, found.output, math.isnan(found.probability)) == ((32, 48), None, True)


def test_it_is_written_and_read_and_older_files_have_none() -> None:
    prediction = predicted(1.0, 50.0)
    record = json.loads(json.dumps(jsonable(to_record(prediction))))
    assert record["boxes"][0]["probability"] == pytest.approx(prediction.boxes[0].confidence)
    assert from_record(record).boxes[0].confidence == pytest.approx(prediction.boxes[0].confidence)
    del record["boxes"][0]["probability"]
    assert from_record(record).boxes[0].confidence == 1.0
    assert "probability" not in to_record(Prediction(Path("a"), boxes=(Box(0, 0, 1, 1),)))["boxes"][0]
