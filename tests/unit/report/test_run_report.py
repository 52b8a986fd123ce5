"""What the report is made of, and its page, without a browser."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.reports import HOSTILE_CLASSES, HOSTILE_FILES, Made, evaluated, make_data, make_meta, make_report
from helpers.runs import train_config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from weakspot.cli import main as cli
from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.evaluation.measure import measure
from weakspot.evaluation.records import Leakage, MetricsRecord
from weakspot.evaluation.schema import Alarm, Controls, Measurement, PartialResult, Resolution
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.evaluation.thresholds import undecided_boxes
from weakspot.evaluation.truth import Truth
from weakspot.metrics import Estimate, best_iou
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.postprocess.predictions import make_prediction
from weakspot.report.advice import Here, Step, advice, pooled_advice
from weakspot.report.checks import checks
from weakspot.report.first_screen import bars, strip
from weakspot.report.lab import Lab, make_lab
from weakspot.report.page import as_json, inlined
from weakspot.report.pictures import Album, outlines, small_map, thumbnail_side, thumbnails
from weakspot.report.run_report import read_evaluated, write_report
from weakspot.report.verdict import (
    BOX_GRADES,
    CLASS_GRADES,
    Case,
    closest,
    failures,
    grade,
    headline,
    larger_sample,
    threshold_advice,
)
from weakspot.runs.folder import RunFolder
from weakspot.types import Prediction

RULES = {
    "relative": BoxRule(),
    "components": BoxRule("components", threshold=0.4, merge=0.5),
    "absolute": BoxRule("components", threshold_kind="absolute", threshold=2.0),
    "scores": BoxRule("components", threshold_kind="absolute", threshold=1.0, min_score=2.0, merge=0.5),
    "nothing": BoxRule("components", threshold_kind="absolute", threshold=1.0, min_score=float("inf")),
}


class Page(HTMLParser):
    """Text, tags and data of a page, read as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.data: Any = None
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open == "script" and self.tags[-1][1].get("type") == "application/json":
            self.data = json.loads(data)
        elif self._open not in ("script", "style"):
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_data(tmp_path_factory.mktemp("pictures") / "data", 24)


@pytest.fixture(scope="module")
def run(binary: Made, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_report(tmp_path_factory.mktemp("run"), binary, BoxRule(), binary.samples[0].path.parents[1])


def lab_of(made: Made, rule: BoxRule) -> tuple[Lab, Truth, list[Prediction]]:
    meta = make_meta(made.classes, rule)
    predictions = [
        make_prediction(path, (80, 128), made.store[i], meta.classes, meta.preprocess, rule, meta.decision)
        for i, path in enumerate(made.store.paths)
    ]
    truth = Truth.read(made.samples, made.store.sizes)
    return make_lab(made.store, predictions, truth, meta), truth, predictions


# --- the threshold lab --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("refined", [False, True])
def test_the_lab_draws_what_is_drawn_anywhere(tmp_path: Path, name: str, refined: bool) -> None:
    rule = RULES[name]
    if refined and rule.threshold_kind == "relative":
        rule = replace(rule, threshold_kind="absolute")
    made = make_data(tmp_path / "data", 12, refined=refined)
    lab, truth, predictions = lab_of(made, rule)
    meta = make_meta(made.classes, rule)
    assert lab.key == ("min_score" if rule.min_score is not None else "threshold")
    assert lab.steps == sorted(set(lab.steps))
    assert lab.steps[lab.in_use] == (rule.threshold if rule.min_score is None else rule.min_score)
    assert 2 <= len(lab.steps) <= 41
    for step in {0, lab.in_use, len(lab.steps) // 2, len(lab.steps) - 1}:
        moved = replace(rule, **{lab.key: lab.steps[step]})
        for i, image in enumerate(lab.images):
            boxes, iou = image.at_step(step)
            assert sorted(boxes_array(boxes).tolist()) == sorted(
                boxes_array(undecided_boxes(made.store, i, meta.preprocess, moved)).tolist()
            )
            expected = best_iou(boxes_array(boxes)[:3], truth.boxes[i].astype(float))
            assert iou is None if np.isnan(expected) else iou == pytest.approx(expected)
    for image, prediction in zip(lab.images, predictions, strict=True):
        if prediction.label != "good":
            assert image.at_step(lab.in_use)[0] == list(prediction.boxes)
            known = {box.xyxy: box.trust for box in image.at_step(lab.in_use)[0]}
            assert known == {box.xyxy: box.trust for box in prediction.boxes}


def test_the_labs_measures_in_use_are_those_of_the_evaluation(binary: Made) -> None:
    for name in ("relative", "scores"):
        lab, _, predictions = lab_of(binary, RULES[name])
        subset = EvaluatedSubset.predict(binary.samples, binary.store, make_meta(binary.classes, RULES[name]))
        here, found = lab.curve[lab.in_use], measure([subset]).test.localisation
        assert found is not None
        for key in ("max_box_acc_v2", "mean_iou", "box_accuracy_30", "box_accuracy_50", "box_accuracy_70"):
            assert here[key] == pytest.approx(getattr(found, key).value)
        assert here["false_per_100"] == pytest.approx(found.false_boxes_per_100_good)
        assert here["false_per_100_before"] == pytest.approx(found.before_decision.false_boxes_per_100_good)
        assert here["boxes"] == sum(len(prediction.boxes) for prediction in predictions)


def test_a_lab_of_a_score_trusts_boxes_at_every_step_and_that_of_a_threshold_only_its_own(binary: Made) -> None:
    scores = [box for image in lab_of(binary, RULES["scores"])[0].images for box in image.boxes]
    assert scores
    assert not any(np.isnan(box.trust) for box in scores)
    relative = [box for image in lab_of(binary, RULES["relative"])[0].images for box in image.boxes]
    assert any(np.isnan(box.trust) for box in relative)


def test_drawing_at_many_steps_in_any_order_is_drawing_at_each(binary: Made) -> None:
    rule, output, size = RULES["scores"], binary.store[1], (80, 128)
    steps = [3.0, -9.0, 2.0, 99.0, 5.5]
    drawn = Drawing(output, 1, size, size, rule).boxes_at("min_score", steps, "hole")
    for step, boxes in zip(steps, drawn, strict=True):
        assert boxes == Drawing(output, 1, size, size, replace(rule, min_score=step)).boxes("hole")


# --- pictures -----------------------------------------------------------------------------------------------------


def test_a_small_map_keeps_its_range_and_a_flat_one_is_no_nan() -> None:
    small = small_map(np.array([[-1.0, 3.0, 1.0]], np.float32))
    assert (small.low, small.high) == (-1.0, 3.0)
    assert small.url.startswith("data:image/png;base64,")
    flat = small_map(np.full((4, 5), 2.0, np.float32))
    assert (flat.low, flat.high) == (2.0, 2.0)
    big = small_map(np.zeros((300, 100), np.float32))
    assert len(big.url) < 400


def test_outlines_lie_in_pixels_of_the_original_image() -> None:
    mask = np.zeros((400, 900), bool)
    mask[100:200, 300:600] = True
    (polygon,) = outlines(mask, 90)
    xs, ys = np.array(polygon).T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (300, 600, 100, 200)
    assert outlines(np.zeros((4, 4), bool), 90) == []


def test_thumbnails_beyond_the_budget_lie_beside_the_page_whole_or_not_at_all(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with Album(page, budget=100) as album:
        urls = [album.add(i, bytes(60)) for i in range(3)]
        assert album.add(3, b"") is None
    assert [url is not None and url.startswith("data:image/jpeg;base64,") for url in urls] == [True, False, False]
    assert sorted(path.name for path in (tmp_path / "report_files").iterdir()) == ["1.jpg", "2.jpg"]
    with pytest.raises(TypeError), Album(page, budget=0) as album:
        [album.add(number, content) for number, content in ((7, bytes(5)), (8, "nonsense"))]  # type: ignore[arg-type]
    assert sorted(path.name for path in (tmp_path / "report_files").iterdir()) == ["1.jpg", "2.jpg"]
    with Album(page) as album:
        album.add(0, bytes(60))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_an_image_that_went_away_leaves_a_gap_and_no_error(tmp_path: Path) -> None:
    Image.new("RGB", (50, 20)).save(tmp_path / "a.png")
    there, gone = thumbnails([tmp_path / "a.png", tmp_path / "b.png"], 10)
    assert there.startswith(b"\xff\xd8")
    assert gone == b""
    assert thumbnail_side(20) > thumbnail_side(900) > thumbnail_side(5000)


# --- words --------------------------------------------------------------------------------------------------------


def test_words_for_numbers() -> None:
    assert [grade(v, CLASS_GRADES) for v in (1.0, 0.95, 0.9, 0.7, 0.5, math.nan)] == [
        "very good", "very good", "good", "fair", "weak", "not measured",
    ]  # fmt: skip
    assert grade(0.3, BOX_GRADES) == "fair"


def test_failures_are_ordered_by_what_they_cost() -> None:
    cases = [
        *[Case("good", "good")] * 96, *[Case("good", "false alarm", close=True)] * 4,
        *[Case("crack", "missed", 0.0)] * 2, *[Case("crack", "found", 0.9)] * 3,
        *[Case("hole", "found", 0.2, off="too large")] * 1, *[Case("hole", "found", 0.6)] * 4,
    ]  # fmt: skip
    found = failures(cases)
    assert [(f.title, f.count, f.of) for f in found] == [
        ("crack: called Good", 2, 5), ("hole: found, but no box fits", 1, 5),
        ("Good pictures called defective", 4, 100),
    ]  # fmt: skip
    assert [f.cost for f in found] == pytest.approx([0.2, 0.1, 0.04])
    assert found[0].why == "none is a close call"
    assert found[1].why == "1 too large"
    assert found[2].why == "all close calls"
    some = [Case("good", "false alarm"), Case("good", "false alarm", close=True)]
    assert failures(some)[0].why == "1 close call, the other further off"
    assert failures([*some, *some])[0].why == "2 close calls, the others further off"
    assert found[1].show == {"defect": "hole", "outcome": "found", "box": "off"}
    assert failures([]) == []
    assert failures([Case("good", "good")]) == []


def test_where_nothing_fails_the_closest_calls_are_shown() -> None:
    cases = [
        Case("good", "good", probability=0.1), Case("good", "good", probability=0.4),
        Case("crack", "found", 0.9, probability=0.7), Case("crack", "found", 0.6, probability=0.9),
    ]  # fmt: skip
    assert not failures(cases)
    called = [("Good, and most like a defect", 1), ("a defect, and most like Good", 2), ("its box fits least", 3)]
    assert closest(cases) == called
    assert closest(cases[:1]) == [("Good, and most like a defect", 0)]
    assert closest([cases[2]]) == [("a defect, and most like Good", 0)]  # and not once more for its box
    assert closest([]) == []


def test_a_report_without_a_failure_shows_the_closest_calls(binary: Made, tmp_path: Path) -> None:
    some = slice(1, 24, 7)  # two hits, and two Good images without a false alarm
    made = Made(binary.samples[some], binary.store.rows(some), binary.classes)
    run = make_report(tmp_path, made, BoxRule("components", threshold=0.5, merge=0.5), made.samples[0].path.parents[1])
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.data["failures"] == []
    said = [word for word in page.words if word in ("Good, and most like a defect", "its box fits least")]
    assert len(said) == 2
    examples = [int(tag["data-example"] or -1) for _, tag in page.tags if "data-example" in tag]
    known = [page.data["images"][i]["defect"] for i in examples]
    assert known == ["good", "hole", "hole"]
    assert run.metrics.is_file()


def with_test(measured: Measurement, **known: Any) -> Measurement:
    return replace(measured, test=replace(measured.test, **known))


def test_the_verdict_says_what_the_numbers_say(run: RunFolder) -> None:
    record = MetricsRecord.read(run.metrics)
    measured = record.measurement
    classes, boxes = measured.test.classification, measured.test.localisation
    assert boxes is not None
    sentences = headline(measured)
    (good, false), (missed, found) = classes.confusion_matrix.counts
    assert f"{found} of {found + missed} defective pictures" in sentences["classes"]
    assert f"{false} of {good + false} Good ones" in sentences["classes"]
    assert f"on {round(boxes.box_accuracy_50.value * boxes.n)} of {boxes.n} defective" in sentences["boxes"]
    poor = replace(boxes, max_box_acc_v2=replace(boxes.max_box_acc_v2, value=0.1, low=0.0))
    older = replace(measured, controls=replace(measured.controls, told_apart=None, boxes_beaten=None))
    assert "not proven to be better than" in headline(with_test(older, localisation=poor))["boxes"]
    luck = replace(classes, balanced_accuracy=replace(classes.balanced_accuracy, value=0.6, low=0.45))
    assert "not proven to be better than guessing" in headline(with_test(older, classification=luck))["classes"]
    bare = with_test(measured, localisation=None)
    assert "no defect image has a mask" in headline(bare)["boxes"]
    assert "Without masks" in threshold_advice(replace(record, measurement=bare), "threshold")


def test_the_verdict_follows_from_the_controls(run: RunFolder) -> None:
    """The page never says yes and no of one question, whatever the intervals say."""
    measured = MetricsRecord.read(run.metrics).measurement
    for yes in (True, False):
        controls = replace(measured.controls, told_apart=yes, boxes_beaten=yes)
        one = replace(measured, controls=controls)
        meanings = " ".join(check.meaning for check in checks(one))
        assert ("not proven to be better than guessing" in headline(one)["classes"]) != yes
        assert ("the classes are told apart." in meanings) == yes
        assert ("not proven to be better than" in headline(one)["boxes"]) != yes
        assert ("beat all of them" in meanings) == yes


def test_the_verdict_warns_where_the_classes_differ_in_more_than_the_defect(run: RunFolder) -> None:
    measured = MetricsRecord.read(run.metrics).measurement
    plain = replace(measured, alarms=[Alarm("x", "y", "z", {"goes_with": "confidence"})])
    assert "more than the defect" not in headline(plain)["classes"]
    spoilt_ = replace(measured, alarms=[Alarm("x", "y", "z", {"goes_with": "label"})])
    assert "more than the defect" in headline(spoilt_)["classes"]


LEAKAGE = Leakage(images=24, repeated=9, groups=2, limit=0.8, usual=0.1, held_out_of_trained_groups=7)


def spoilt(record: MetricsRecord, alarm: Alarm) -> MetricsRecord:
    """The same numbers with an alarm, and with test images whose part was trained on."""
    measured = replace(record.measurement, alarms=[alarm])
    return replace(record, measurement=measured, split=replace(record.split, leakage=LEAKAGE))


HERE = Here(Path("outputs/my run"), Path("/somewhere/my run"), train_config("data.root=photos", "data=folder"))


def texts(steps: list[Step]) -> list[str]:
    """What the steps say; each has a command to copy."""
    assert all(step.command.startswith("weakspot ") for step in steps)
    return [step.text for step in steps]


def test_advice_starts_with_what_spoils_the_numbers(run: RunFolder) -> None:
    record = spoilt(MetricsRecord.read(run.metrics), Alarm("x", "y", "look at the light"))
    steps = advice(record, 3, HERE)
    first, second, *_ = texts(steps)
    assert first == "Look at the light. Until the alarms are gone believe no number here."
    assert "7 test pictures show the same part as a training picture" in second
    assert steps[-1].command == "weakspot predict 'outputs/my run' new_photos --output results"


def test_advice_gives_each_cure_once_and_no_more_than_two(run: RunFolder) -> None:
    cures = ("change the light", "change the light", "name the groups", "look at the overlays")
    record = MetricsRecord.read(run.metrics)
    record = replace(record, measurement=replace(record.measurement, alarms=[Alarm("x", "y", cure) for cure in cures]))
    steps = texts(advice(record, 0, HERE))
    assert steps[:2] == ["Change the light.", "Name the groups. Until the alarms are gone believe no number here."]
    assert not any("overlays" in step for step in steps)


def test_two_cures_with_one_command_are_one_step(run: RunFolder) -> None:
    record = MetricsRecord.read(run.metrics)
    causes = (("photograph in one light", "light"), ("focus as before", "focus"), ("leave that place out", "place"))
    alarms = [Alarm("x", "y", do, {"cause": cause}) for do, cause in causes]
    steps = advice(replace(record, measurement=replace(record.measurement, alarms=alarms)), 0, HERE)
    assert [step.command.split()[1] for step in steps[:2]] == ["train", "roi"]
    assert steps[0].text == "Photograph in one light."


def test_no_cross_validation_is_advised_where_annotations_are_learnt_from(run: RunFolder) -> None:
    record = MetricsRecord.read(run.metrics)
    assert any("cv=5" in step.command for step in advice(record, 0, HERE))
    drawn = replace(HERE, config=train_config("data.root=photos", "data=folder", "data.annotations=a.json"))
    assert not any("cv=5" in step.command for step in advice(record, 0, drawn))


def test_an_alarm_of_the_confidence_alone_names_the_training_that_cures_it(run: RunFolder) -> None:
    record = MetricsRecord.read(run.metrics)
    alarm = Alarm("x", "y", "train in other lights", {"goes_with": "confidence", "cause": "place"})
    (first, *_) = advice(spoilt(record, alarm), 0, HERE)
    assert first.command == HERE.again("trainer.augment=photometric")
    assert "hold for pictures like these" in first.text
    assert "believe no number" not in first.text
    label = Alarm("z", "y", "leave that place out", {"goes_with": "label", "cause": "place"})
    both = replace(record, measurement=replace(record.measurement, alarms=[alarm, label]))
    assert "believe no number" in advice(both, 0, HERE)[1].text


def test_what_to_do_next_names_no_set_up_twice(run: RunFolder) -> None:
    record = MetricsRecord.read(run.metrics)
    test = record.measurement.test
    assert test.localisation is not None
    coarse = replace(test.localisation, resolution=Resolution(16.0, 40.0, Estimate(0.9, 20, 0.7, 1.0)))
    alarms = [
        Alarm("a", "y", "use the class, not the boxes (experiment=recommended draws better ones)"),
        Alarm("b", "y", "photograph both classes in the same session"),
        Alarm("c", "y", "save both classes by the same program"),
    ]
    for raised in (alarms, []):
        measured = replace(with_test(record.measurement, localisation=coarse), alarms=raised)
        steps = texts(advice(replace(record, measurement=measured), 3, HERE))
        assert sum("experiment=recommended" in step for step in steps) == 1
        assert len(steps) == len(set(steps))
        assert sum("Until the alarms are gone" in step for step in steps) == bool(raised)


@pytest.mark.parametrize(
    ("false_alarms", "command", "words"),
    [
        ({"2": 0.2, "5": 0.4}, "weakspot evaluate 'outputs/my run' decision.miss=5", "calls 40% of the Good ones"),
        ({"2": 0.2, "5": 0.9}, "weakspot evaluate 'outputs/my run' decision.miss=2", "calls 20% of the Good ones"),
        ({"2": 0.7, "5": 1.0}, "weakspot review 'outputs/my run'", "Another threshold would not help"),
        ({}, "weakspot evaluate 'outputs/my run' decision.miss=5", "what that comes to is not known beforehand"),
    ],
)
def test_a_dearer_miss_is_advised_with_what_it_costs(
    run: RunFolder, false_alarms: dict[str, float], command: str, words: str
) -> None:
    record = MetricsRecord.read(run.metrics)
    dearer = {
        miss: {"recall": {"value": 0.9}, "false_alarm_rate": {"value": value}} for miss, value in false_alarms.items()
    }
    decision = {**record.thresholds["decision"], "if_a_miss_costs": dearer}
    record = replace(record, thresholds={**record.thresholds, "decision": decision})
    held = replace(HERE, config=train_config("data.root=photos", "data=folder", "split.val_size=0.2"))
    (step,) = [step for step in advice(record, 0, held) if "defects are missed" in step.text]
    assert step.command == command
    assert words in step.text


def test_a_second_figure_of_more_pictures_stands_beside_the_first(run: RunFolder) -> None:
    record = MetricsRecord.read(run.metrics)
    shares = {"recall": {"value": 0.5625, "n": 32}, "false_alarm_rate": {"value": 0.25, "n": 48}}
    decision = {**record.thresholds["decision"], "held_out": shares}
    known = replace(record, thresholds={**record.thresholds, "decision": decision})
    few = replace(known, split=replace(known.split, n_test=20, n_val=0))
    assert "18 of 32 defective ones are called defective and 12 of 48 Good ones too" in larger_sample(few)
    assert "balanced accuracy of 0.66" in larger_sample(few)
    assert "80 training pictures, each judged by a model that was trained without it" in larger_sample(few)
    assert "80 validation pictures" in larger_sample(replace(few, split=replace(few.split, n_val=80)))
    assert larger_sample(replace(few, split=replace(few.split, n_test=80))) == ""
    assert larger_sample(replace(few, thresholds={**record.thresholds, "decision": {}})) == ""
    assert bars(few.measurement, larger_sample(few))[0].says.endswith("balanced accuracy of 0.66.")


def test_a_command_is_that_of_this_very_run(run: RunFolder) -> None:
    record, measured = MetricsRecord.read(run.metrics), MetricsRecord.read(run.metrics).measurement
    again = "weakspot train '--config-path=/somewhere/my run' --config-name=config output=null "
    cures = {
        "light": f"{again}trainer.augment=photometric",
        "place": "weakspot roi photos --output roi.json",
        "size": "weakspot check photos --alarms alarms",
    }
    for cause, command in cures.items():
        alarms = [Alarm("x", "y", "mend it", {"cause": cause})]
        raised = replace(record, measurement=replace(measured, alarms=alarms))
        assert advice(raised, 0, HERE)[0].command == command
    leaking = replace(record, split=replace(record.split, leakage=LEAKAGE))
    assert advice(leaking, 0, HERE)[0].command == f"{again}split.near_duplicates=together"
    steps = {step.text.split(".")[0]: step.command for step in advice(record, 2, HERE)}
    missed = next(command for text, command in steps.items() if "defects are missed" in text)
    assert missed == f"{again}split.val_size=0.15 decision.miss=5"  # without a validation subset nothing can be fitted
    five = next(command for text, command in steps.items() if text.startswith("One split"))
    assert five == "weakspot train '--config-path=/somewhere/my run' --config-name=config output=null cv=5"
    asked = replace(HERE, doubtful=Path("photos/NG/a b.png"))
    assert "weakspot explain 'outputs/my run' 'photos/NG/a b.png'" in [s.command for s in advice(record, 2, asked)]
    bare = replace(record, measurement=with_test(measured, localisation=None))
    assert any("weakspot export boxes" in step.command for step in advice(bare, 0, HERE))


def test_a_cross_validation_is_trained_again_as_one_and_once_to_be_used(run: RunFolder) -> None:
    here = replace(HERE, run=Path("outputs/cv3"), folds=3)
    record = spoilt(MetricsRecord.read(run.metrics), Alarm("x", "y", "z", {"cause": "light"}))
    steps = pooled_advice(record, here)
    start = "weakspot train '--config-path=/somewhere/my run' --config-name=config"
    whole = "split.folds=null split.fold=null"
    assert steps[0].command == f"{start} output=null {whole} cv=3 trainer.augment=photometric"
    assert steps[-2].command == f"{start} output=null {whole}"
    assert steps[-1].command == "weakspot compare outputs/cv3 OTHER"


# --- the first screen ---------------------------------------------------------------------------------------------


def test_the_two_bars_show_the_numbers_of_metrics_json_beside_what_a_guess_reaches(run: RunFolder) -> None:
    measured = MetricsRecord.read(run.metrics).measurement
    classes, boxes = bars(measured)
    found = measured.test.localisation
    assert found is not None
    assert classes.estimate == measured.test.classification.balanced_accuracy
    assert boxes.estimate == found.max_box_acc_v2
    shuffled = measured.controls.shuffled_labels
    assert shuffled is not None
    assert (classes.baseline, classes.guess) == (shuffled.value, "with shuffled labels")
    assert boxes.baseline == max(control.max_box_acc_v2.value for control in measured.controls.boxes.values())
    assert f"V2: {found.max_box_acc_v2.value:.3f}, 95 % interval" in boxes.words
    bare = replace(with_test(measured, localisation=None), controls=Controls())
    classes, boxes = bars(bare)
    assert (classes.baseline, classes.guess) == (0.5, "guessing")
    assert (boxes.estimate, boxes.baseline) == (None, None)
    assert boxes.words == "Boxes: not measured"
    assert boxes.says == "Not measured, as no defect image has a mask."


def test_the_strip_counts_all_alarms_and_names_two(run: RunFolder) -> None:
    record = replace(MetricsRecord.read(run.metrics))
    calm = replace(record, measurement=replace(record.measurement, alarms=[], notes=[]))
    assert strip(replace(calm, split=replace(calm.split, leakage=None))).count == 0
    assert not strip(replace(calm, split=replace(calm.split, leakage=None))).remarks
    alarms = [Alarm(f"number {n}", "y", "z", {"what": "it is darker"} if n == 0 else {}) for n in range(3)]
    found = strip(replace(record, measurement=replace(record.measurement, alarms=alarms)))
    assert (found.count, found.words) == (3, "It is darker; number 1; and 1 more")
    found = strip(spoilt(record, alarms[0]))
    assert (found.count, found.words) == (2, "7 test pictures show a part that was trained on; it is darker")


def test_several_defects_most_of_which_get_no_box_are_a_way_to_fail() -> None:
    cases = [
        Case("good", "good"),
        Case("crack", "found", 0.9, bare=0.5),
        Case("crack", "found", 0.9, bare=0.6),
        Case("hole", "found", 0.8, bare=0.8),
        Case("hole", "missed", 0.0, bare=1.0, probability=0.2),
        Case("hole", "missed", 0.0, probability=0.1),
        Case("hole", "found", 0.9),
    ]
    second, first = failures(cases)
    assert (second.title, second.count, second.of) == ("Several defects, and most of them get no box", 2, 3)
    assert (second.show, second.worst) == ({"outcome": "found", "box": "few"}, 3)
    assert second.cost == pytest.approx(2 / 6)
    assert second.why == "in such a picture 70% of them, on average"
    assert (first.title, first.count, first.worst) == ("hole: called Good", 2, 5)


def test_how_many_boxes_fit_is_counted_over_pictures_with_a_mask() -> None:
    cases = [Case("hole", "found", 0.1, off="too small"), Case("hole", "found"), Case("hole", "found")]
    (failure,) = failures(cases)
    assert (failure.title, failure.count, failure.of) == ("hole: found, but no box fits", 1, 1)


def test_the_costliest_ways_show_different_pictures_where_they_can() -> None:
    cases = [
        Case("hole", "found", 0.1, off="too small", bare=0.9),
        Case("hole", "found", 0.2, off="too small"),
        Case("crack", "found", 0.0, off="elsewhere"),
    ]
    found = failures(cases)
    assert {failure.title: (failure.bad, failure.worst) for failure in found} == {
        "hole: found, but no box fits": ((0, 1), 1),
        "Several defects, and most of them get no box": ((0,), 0),
        "crack: found, but no box fits": ((2,), 2),
    }
    (only,) = failures([Case("good", "false alarm", probability=0.7), Case("good", "false alarm", probability=0.9)])
    assert (only.bad, only.worst) == ((1, 0), 1)


# --- the page -----------------------------------------------------------------------------------------------------


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), lambda inner: st.lists(inner, max_size=3)))
@settings(max_examples=25, deadline=None)
def test_data_in_a_page_cannot_leave_its_element(value: Any) -> None:
    text = as_json(value)
    assert not set(text) & set("<>&")
    assert json.loads(text) == value


def test_infinity_and_nan_become_null() -> None:
    assert as_json({"a": float("nan"), "b": [float("inf")]}) == '{"a":null,"b":[null]}'


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Made]:
    root = tmp_path_factory.mktemp("hostile <b>&'")
    made = make_data(root / "data", 24, classes=HOSTILE_CLASSES, names=HOSTILE_FILES)
    return make_report(root / "run", made, RULES["scores"], root / "data"), made


@pytest.mark.slow
def test_names_of_files_and_classes_are_text(hostile: tuple[RunFolder, Made]) -> None:
    run, made = hostile
    text = run.report.read_text(encoding="utf-8")
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not [attributes for tag, attributes in page.tags if {"onclick", "onerror"} & set(attributes)]
    assert "b" not in {tag for tag, _ in page.tags}
    names = {Path(image["name"]).name for image in page.data["images"]}
    assert set(HOSTILE_FILES) <= names
    words = " ".join(page.words)
    for name in HOSTILE_CLASSES:
        assert name in words
    for button in (json.loads(a["data-show"] or "") for tag, a in page.tags if "data-show" in a):
        assert set(button) <= {"outcome", "defect", "target", "label", "box"}
    assert len(page.data["images"]) == len(made.samples)


def test_nothing_is_asked_of_the_network(run: RunFolder) -> None:
    text = run.report.read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        for key in ("src", "href", "action"):
            value = attributes.get(key) or ""
            assert not value.startswith(("http", "//")), (tag, value)
    assert not re.findall(r"@import|url\(", text)
    assert "default-src 'none'" in text
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.data["images"])


def test_the_page_has_every_section_and_the_numbers_of_metrics_json(run: RunFolder) -> None:
    page, metrics = Page(run.report.read_text(encoding="utf-8")), run.read_metrics()
    words = " ".join(" ".join(page.words).split())
    for title in (
        "How good is it?",
        "Where does it fail?",
        "What to do next",
        "The numbers",
        "Which threshold?",
        "How good are the boxes?",
        "Reproduce",
    ):
        assert title in words
    for estimate in (
        metrics["test"]["classification"]["balanced_accuracy"],
        metrics["test"]["localisation"]["max_box_acc_v2"],
    ):
        assert f"{estimate['value']:.3f}" in words
        assert f"{estimate['low']:.3f} – {estimate['high']:.3f}" in words
    assert metrics["split"]["hash"] in words
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(attributes.get("alt") for attributes in images)
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    inputs = [
        attributes for tag, attributes in page.tags if tag == "input" and attributes.get("id") in ("step", "step2")
    ]
    assert len(inputs) == 2
    assert {attributes["id"] for attributes in inputs} <= labelled


def test_records_say_what_the_predictions_say(run: RunFolder, binary: Made) -> None:
    data = Page(run.report.read_text(encoding="utf-8")).data
    for image, prediction, sample in zip(
        data["images"], read_predictions(run.predictions), binary.samples, strict=True
    ):
        assert (image["h"], image["w"]) == (prediction.height, prediction.width)
        called_good = prediction.label == "good"
        right, wrong = ("good", "false alarm") if sample.is_good else ("missed", "found")
        assert image["outcome"] == (right if called_good else wrong)
        assert bool(image["truth"]) == (sample.mask is not None)
        in_use = [entry for entry in image["at"] if entry[0] <= data["lab"]["inUse"]][-1]
        if prediction.label != "good":
            assert [image["boxes"][k][:4] for k in in_use[1]] == [list(box.xyxy) for box in prediction.boxes]


@pytest.mark.slow
def test_without_masks_and_with_one_kind_of_image_there_is_still_a_page(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", 12)
    bare = replace(made, samples=[replace(sample, mask=None) for sample in made.samples])
    page = Page(make_report(tmp_path / "a", bare, BoxRule(), tmp_path).report.read_text())
    words = " ".join(page.words)
    assert page.data["lab"]["masks"] is False  # which makes the script write "no masks", not "0 (0 %)"
    assert {step["judged"] for step in page.data["lab"]["curve"]} == {0}
    assert "no defect image has a mask" in words
    assert "How good are the boxes?" not in words
    for name, start in (("good", 0), ("defects", 1)):
        store = replace(
            made.store, paths=made.store.paths[start::2], sizes=made.store.sizes[start::2],
            logits=made.store.logits[start::2], maps=made.store.maps[start::2],
        )  # fmt: skip
        some = Made(made.samples[start::2], store, made.classes)
        report = make_report(tmp_path / name, some, RULES["scores"], tmp_path).report
        assert "Not measured" in report.read_text(encoding="utf-8")


def test_alarms_and_parts_trained_on_stand_in_the_head(run: RunFolder, binary: Made, tmp_path: Path) -> None:
    before = evaluated(binary, run, BoxRule(), tmp_path / "changed")
    test = before.record.measurement.test
    assert test.localisation is not None
    never_seen = PartialResult(
        replace(test.classification, balanced_accuracy=Estimate(0.123, 5, 0.0, 1.0)),
        replace(test.localisation, max_box_acc_v2=Estimate(0.456, 5, 0.0, 1.0)),
    )
    record = spoilt(before.record, Alarm("the light", "it differs", "look"))
    record = replace(record, measurement=with_test(record.measurement, other_groups=never_seen))
    page = Page(write_report(replace(before, record=record)).read_text(encoding="utf-8"))
    words = " ".join(" ".join(page.words).split())
    for text in ("only parts never seen", "0.123 (n = 5)", "0.456 (n = 5)", "7 test pictures", "Alarm: the light."):
        assert text in words, text


def test_an_unknown_resolution_is_no_sentence(run: RunFolder, binary: Made, tmp_path: Path) -> None:
    """As a cross-validation of version 0.1 left it."""
    before = evaluated(binary, run, BoxRule(), tmp_path / "unknown")
    test = before.record.measurement.test
    assert test.localisation is not None
    unknown = with_test(before.record.measurement, localisation=replace(test.localisation, resolution=Resolution()))
    page = Page(write_report(replace(before, record=replace(before.record, measurement=unknown))).read_text("utf-8"))
    assert "nan" not in " ".join(page.words).split()


def test_all_alarms_are_folded_into_one_strip(run: RunFolder, binary: Made, tmp_path: Path) -> None:
    before = evaluated(binary, run, BoxRule(), tmp_path / "folded")
    alarms = [Alarm(f"alarm number {n}", "it differs", "look") for n in range(5)]
    record = replace(before.record, measurement=replace(before.record.measurement, alarms=alarms))
    text = write_report(replace(before, record=record)).read_text(encoding="utf-8")
    assert text.count('<details class="alarms') == 1
    head, folded = text.split("Alarm number 0; alarm number 1; and 3 more.</summary>")
    assert "5 alarms." in head
    folded = folded[: folded.index('<div class="first">')]
    assert [n for n in range(5) if f"Alarm: alarm number {n}." in folded] == [0, 1, 2, 3, 4]
    quiet = replace(before.record, measurement=replace(before.record.measurement, alarms=[], notes=[]))
    assert '<details class="alarms' not in write_report(replace(before, record=quiet)).read_text(encoding="utf-8")


def test_an_alarm_shows_its_picture_and_folds_its_numbers(run: RunFolder, binary: Made, tmp_path: Path) -> None:
    before = evaluated(binary, run, BoxRule(), tmp_path / "pictured")
    before.folder.figures.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(before.folder.figures / "alarm_1.png")
    alarms = [
        Alarm("with numbers", "it differs", "look", {"what": "pictures are darker", "picture": "alarm_1.png"}),
        Alarm("without one", "it differs", "look", {"picture": "gone.png"}),
    ]
    measured = replace(before.record.measurement, alarms=alarms, notes=["the defect shows there"])
    text = write_report(replace(before, record=replace(before.record, measurement=measured))).read_text("utf-8")
    assert "Alarm: Pictures are darker." in text
    assert text.count("a red line marks where they differ") == 1
    assert text.index("Alarm: Pictures are darker.") < text.index("With numbers.")
    assert "No alarm: the defect shows there." in text


# --- colours and scripts ------------------------------------------------------------------------------------------


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two ``#rgb`` or ``#rrggbb`` colours."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_text_lines_and_edges_can_be_told_from_what_is_behind_them() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    style = str(inlined("page.css"))
    schemes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert len(schemes) == 3  # light, dark, print
    for scheme in schemes:
        for back in (scheme["back"], scheme["band"]):
            for name in ("text", "faint", "link", "warn"):
                assert contrast(scheme[name], back) >= 4.5, (name, scheme)
        for name in ("edge", *(f"c{i}" for i in range(1, 7))):
            assert contrast(scheme[name], scheme["back"]) >= 3, (name, scheme)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed; the browser tests run the same script")
def test_the_script_finds_the_boxes_of_a_step_as_python_does(binary: Made) -> None:
    lab = lab_of(binary, RULES["scores"])[0]
    images = [
        {"at": image.at, "boxes": [list(box.xyxy) for box in image.boxes], "truth": [[0, 0, 1, 1]], "outcome": "found"}
        for image in lab.images
    ]
    script = f"""{inlined("choose.js")}
    const images = {json.dumps(images)};
    const steps = {json.dumps(list(range(len(lab.steps))))};
    console.log(JSON.stringify(images.map((image) => steps.map((step) => atStep(image, step)))));"""
    answer = json.loads(subprocess.run(["node", "-e", script], capture_output=True, check=True, text=True).stdout)  # noqa: S607
    for image, steps in zip(lab.images, answer, strict=True):
        for step, at in enumerate(steps):
            boxes, iou = image.at_step(step)
            assert at == {"boxes": [list(box.xyxy) for box in boxes], "iou": iou}


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"metrics.json is missing or damaged"):
        read_evaluated(tmp_path)
    assert "report" in {command.name or command.callback.__name__ for command in cli.app.registered_commands}
