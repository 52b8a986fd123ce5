"""The number and the colour of a box are explained in the same words everywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from helpers.reports import Made, evaluated, make_data, make_meta, make_report

from weakspot.config.rules import BoxRule
from weakspot.evaluation.truth import Truth
from weakspot.postprocess.predictions import make_prediction
from weakspot.postprocess.trust import MEANING
from weakspot.report import lab as lab_module
from weakspot.report.lab import make_lab
from weakspot.report.overlays import LEGEND
from weakspot.report.run_report import write_report
from weakspot.types import Box

WHY = "nothing is green: a promise takes 32 held-out Good images on which some box could be drawn, and there are 6"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_data(tmp_path_factory.mktemp("pictures") / "data", 12)


@pytest.mark.parametrize(
    ("trust", "wanted"),
    [
        ({"value": None, "origin": WHY}, f"its colour says what is proven. Here {WHY}."),
        ({"value": 0.9312, "origin": "with 80%"}, "green: proven on held-out pictures, from trust 93.1 % on"),
    ],
    ids=["nothing is green", "some may be"],
)
def test_the_report_says_why_a_box_of_high_trust_is_not_green(
    made: Made, tmp_path: Path, trust: dict[str, object], wanted: str
) -> None:
    root = made.samples[0].path.parents[1]
    before = evaluated(made, make_report(tmp_path / "run", made, BoxRule(), root), BoxRule(), tmp_path / "changed")
    record = replace(before.record, thresholds={**before.record.thresholds, "trust": trust})
    page = write_report(replace(before, record=record)).read_text(encoding="utf-8")
    words = " ".join(re.sub(r"<[^>]+>", "", page).split())
    assert wanted in words
    assert f"amber: more likely right than wrong, but {MEANING['amber']}" in words


def test_overlays_and_the_services_page_use_the_same_words() -> None:
    service = files("weakspot.serve").joinpath("page.html").read_text(encoding="utf-8")
    for name, words in MEANING.items():
        assert LEGEND[name] == f"{name}: {words}"
        assert f"{name}: {words}</span>" in service


def test_a_step_of_the_slider_trusts_no_picture_that_is_unlike_those_of_training(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = BoxRule("components", threshold_kind="absolute", threshold=1.0, min_score=2.0, merge=0.5)
    meta = make_meta(made.classes, rule)
    plain = [
        make_prediction(path, (80, 128), made.store[i], meta.classes, meta.preprocess, rule, meta.decision)
        for i, path in enumerate(made.store.paths)
    ]
    strange = [replace(prediction, unlike_training=True, boxes=()) for prediction in plain]
    sure = Box(1, 1, 20, 20, trust=0.98, level="green")
    monkeypatch.setattr(lab_module.Drawing, "boxes_at", lambda drawing, key, steps, *_: [[sure] for _ in steps])
    truth = Truth.read(made.samples, made.store.sizes)
    for predictions, level in ((plain, "green"), (strange, "amber")):
        drawn = [box for image in make_lab(made.store, predictions, truth, meta).images for box in image.boxes]
        redrawn = [box for box in drawn if box.xyxy == sure.xyxy]
        assert redrawn
        assert {box.level for box in redrawn} == {level}
        assert np.max([box.trust for box in redrawn]) == (0.98 if level == "green" else 0.5)
