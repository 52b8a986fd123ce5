"""The benchmark of the location head's second training, on a tiny network."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.runs import TINY

sys.path.append(str(ROOT / "benchmarks"))

from box_margin import v2_of
from location_refit import of_folder, trained, with_refit

from weakspot.evaluation.truth import Truth


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_heads_are_trained_with_and_without_it_and_boxes_are_measured(fabric: Path, here: Path) -> None:
    few = ("refine.imitations=8", "refine.location_steps=7", "refine.mask_steps=4")
    work = of_folder(fabric / "fabric", *TINY, *few)
    twice, once = with_refit(work.run, again=True), with_refit(work.run, again=False)
    assert [run.rules.refine.location_refit_steps for run in (twice, once)] == [6, 0]
    outputs = trained(replace(work, run=once), Path("heads"))
    assert len(outputs) == len(work.samples) > 0
    truth = [boxes.astype(float) for boxes in Truth.read(work.samples, outputs.sizes).boxes]
    rule = replace(work.run.rules.boxes, threshold_kind="absolute")
    everything, nothing = (  # a box round the whole picture, and none
        v2_of(outputs, truth, work.run.preprocess, replace(rule, threshold=threshold)) for threshold in (-100.0, 100.0)
    )
    assert nothing == 0 <= everything < 1
