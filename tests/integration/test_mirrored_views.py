"""The benchmark of mirrored views, on a tiny network."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.runs import TINY

sys.path.append(str(ROOT / "benchmarks"))

from location_refit import Work, prepared
from mirrored_views import VIEWS, auroc_of_parts, outputs_of, row_of

from weakspot.types import MODEL_PARTS


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_every_part_is_trained_and_judged_on_good_and_defective_pictures(fabric: Path, here: Path) -> None:
    few = ("refine.imitations=8", "refine.location_steps=7", "refine.mask_steps=4", "trainer.augment=null")
    run = prepared(fabric, "fabric", *TINY, *few)
    assert run.rules.trainer.augment in VIEWS
    test = run.data.indices("test")
    work = Work(run, [run.data.samples[i] for i in test], [run.data.infos[i] for i in test])
    outputs = outputs_of(work, Path("run"))
    assert outputs.part_log_odds is not None
    assert outputs.part_log_odds.shape == (len(test), len(MODEL_PARTS))

    defective = np.array([not sample.is_good for sample in work.samples])
    *parts, of_mean = auroc_of_parts(outputs, defective)
    pairs = [(a, b) for a in np.flatnonzero(defective) for b in np.flatnonzero(~defective)]
    for column, auroc in zip(
        (*outputs.part_log_odds.T, outputs.part_log_odds.mean(axis=1)), (*parts, of_mean), strict=True
    ):
        won = [float(column[a] > column[b]) + 0.5 * float(column[a] == column[b]) for a, b in pairs]
        assert auroc == pytest.approx(np.mean(won))

    figures = row_of(work, Path("run"))  # trained already, and taken over
    assert figures[:-1] == pytest.approx([*parts, of_mean])
    assert 0 <= figures[-1] <= 1
