"""The page of a cross-validation: all folds together, each by itself, and every picture."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from helpers.browsing import Watched, needs_chromium
from helpers.reports import HOSTILE_CLASSES, HOSTILE_FILES, make_data, make_folds
from PIL import Image
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.commands.cross_validate import write_pooled
from weakspot.config.rules import BoxRule
from weakspot.evaluation.pooled import runs_of
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Alarm
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.report.pooled_report import write_pooled_report
from weakspot.report.verdict import pooled_threshold

pytestmark = pytest.mark.slow


if TYPE_CHECKING:
    from playwright.sync_api import Browser

RULE = BoxRule("components", threshold_kind="absolute", threshold=1.0, min_score=5.0, merge=0.5)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pooled")
    made = make_data(root / "data", 24, classes=HOSTILE_CLASSES, names=HOSTILE_FILES)
    folder = make_folds(root / "folds", made, RULE, root / "data")
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output
    return folder


@needs_chromium
def test_every_picture_of_every_fold_is_behind_the_numbers(browser: Browser, folds: Path) -> None:
    metrics = json.loads((folds / "metrics.json").read_text())
    matrix = metrics["test"]["classification"]["confusion_matrix"]
    said = {p.path.name: p for run in runs_of(folds) for p in read_predictions(run.predictions)}
    with Watched(browser, folds / "report.html", viewport={"width": 390, "height": 800}) as open_:
        assert len(open_.names()) == len(said) == 24
        assert all(any(name in shown for shown in open_.names()) for name in HOSTILE_FILES)
        for i, counts in enumerate(matrix["counts"]):
            for j, count in enumerate(counts):
                cell = open_.page.locator(".matrix tbody tr").nth(i).locator("button").nth(j)
                cell.click()
                assert int(cell.inner_text()) == count == len(open_.names())
                assert all(said[name.split("/", 1)[1]].label == matrix["labels"][j] for name in open_.names())
        open_.page.locator("#reset").click()
        assert len(open_.boxes()) == sum(len(p.boxes) for p in said.values())
        assert open_.page.locator("#step2").count() == 0
        assert open_.page.evaluate("window.hacked") is None
        assert open_.page.evaluate("document.documentElement.scrollWidth") <= 390
        rows = open_.page.locator("#folds tbody tr")
        links = [rows.nth(k).locator("a").get_attribute("href") or "" for k in range(rows.count())]
        assert [(folds / unquote(link)).resolve() for link in links] == [run.report for run in runs_of(folds)]
        for k, fold in enumerate(metrics["folds"]):
            assert f"{fold['balanced_accuracy']['value']:.3f}" in rows.nth(k).inner_text()
            assert f"{fold['max_box_acc_v2']['value']:.3f}" in rows.nth(k).inner_text()


def test_the_verdict_is_that_of_all_folds_together(folds: Path) -> None:
    metrics = json.loads((folds / "metrics.json").read_text())
    counts = metrics["test"]["classification"]["confusion_matrix"]["counts"]
    defects = sum(map(sum, counts[1:]))
    caught = defects - sum(row[0] for row in counts[1:])
    text = (folds / "report.html").read_text(encoding="utf-8")
    assert f"It calls {caught} of {defects} defective pictures defective" in text
    assert "In use: absolute 1." in text
    assert "weakspot compare" in text
    assert "review.csv" not in text


def test_each_folds_own_smallest_score_is_named(folds: Path) -> None:
    record, scores = MetricsRecord.read(folds / "metrics.json"), (1.234, None)
    of_folds = [
        replace(fold, thresholds={"min_score": {"value": score}})
        for fold, score in zip(record.folds, scores, strict=True)
    ]
    assert "without looking at its test pictures: 1.23, none." in pooled_threshold(replace(record, folds=of_folds))


def test_a_fold_without_a_page_is_named_by_its_command_and_older_metrics_have_no_alarms(folds: Path) -> None:
    run, kept = runs_of(folds)[0], (folds / "metrics.json").read_text()
    page = run.report.read_text(encoding="utf-8")
    metrics = json.loads(kept)
    del metrics["alarms"]
    try:
        run.report.unlink()
        (folds / "metrics.json").write_text(json.dumps(metrics))
        text = write_pooled_report(folds).read_text(encoding="utf-8")
        assert f"weakspot report '{run.path}'" in html.unescape(text)  # the folder's name has a space
    finally:
        run.report.write_text(page, encoding="utf-8")
        (folds / "metrics.json").write_text(kept)


def finding(goes_with: str, cause: str, what: str, correlation: float, picture: str) -> Alarm:
    details = {"goes_with": goes_with, "cause": cause, "kind": "picture", "what": what, "correlation": correlation}
    return Alarm(f"{what}, in numbers", "why so", f"do this about the {cause}", {**details, "picture": picture})


def test_what_the_folds_found_in_the_data_stands_once_with_its_words_and_its_picture(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", 24)
    folds = make_folds(tmp_path / "folds", made, RULE, tmp_path / "data")
    runs = runs_of(folds)
    light = "defective pictures are brighter than Good ones"
    for fold, run in enumerate(runs):
        record = MetricsRecord.read(run.metrics)
        found = [finding("label", "light", light, 0.8, "alarm_1.png")]
        if fold == 1:  # this network alone follows the focus as well; it is no second finding of the light
            found += [finding("confidence", c, f"confidence rises with {c}", 0.6, "") for c in ("light", "focus")]
        notes = [f"{light}; where boxes are left out, the difference is gone", "the stain is the defect's own"]
        measurement = replace(record.measurement, alarms=[*found, *record.measurement.alarms], notes=notes)
        replace(record, measurement=measurement).write(run.metrics)
        run.figures.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), (200 * fold, 0, 0)).save(run.figures / "alarm_1.png")
    old = write_pooled_report(folds).read_text(encoding="utf-8")  # metrics.json from before it held any
    write_pooled(folds, "test", runs)
    record = MetricsRecord.read(folds / "metrics.json")
    words = [alarm.details["what"] for alarm in record.measurement.alarms if "goes_with" in alarm.details]
    assert words == [light, "confidence rises with focus"]
    assert record.measurement.notes == ["the stain is the defect's own"]
    for text in (old, write_pooled_report(folds).read_text(encoding="utf-8")):
        assert text.count(f"Alarm: D{light[1:]}.") == 1
        assert text.count("Alarm: Confidence rises with focus.") == 1
        assert "Do this about the light." in text
        assert "No alarm: the stain is the defect&#39;s own." in text
        assert "Confidence rises with light" not in text
        assert text.count('alt="Good and defective pictures beside each other') == 1


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text("[]")
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code != 0
    assert "metrics.json is missing or damaged" in str(result.exception or result.output)
