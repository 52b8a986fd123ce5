"""The benchmark of how far boxes reach, on outputs made by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.reports import make_meta

sys.path.append(str(ROOT / "benchmarks"))

from box_margin import v2_at

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.models.output_store import OutputStore
from weakspot.types import ModelOutput


@pytest.mark.parametrize(("margin", "v2"), [(0.0, 1 / 3), (0.1, 2 / 3), (0.25, 1.0)])
def test_boxes_that_are_too_small_fit_better_the_further_they_reach(margin: float, v2: float) -> None:
    logits = np.full((40, 60), -5.0, np.float16)
    logits[14:26, 20:40] = (
        5.0  # 12 × 20 pixels of a defect of 18 × 30: IoU 0.44; 0.62 with a tenth more, 1 with a quarter
    )
    output = ModelOutput(np.array([0.0, 9.0], np.float32), np.zeros((2, 4, 6), np.float32), logits, logits)
    sizes = np.array([[40, 60], [40, 60]])
    outputs = OutputStore.of([Path("a.png"), Path("b.png")], sizes, [output, output], np.zeros(2, np.float32))
    truth = [np.array([[15.0, 11.0, 45.0, 29.0]]), np.zeros((0, 4))]  # the second has no mask, and does not count
    rule = BoxRule("components", "absolute", 0.0, min_score=99.0)
    meta = replace(make_meta(["good", "anomaly"], rule), preprocess=Preprocess((40, 60), "caffe"))
    assert v2_at(margin, outputs, truth, meta) == pytest.approx(v2)
