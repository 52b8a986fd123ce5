"""Defect types as classes, from whatever tells them apart to the boxes: the whole workflow on small pictures."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import evaluate_config, metrics_of, tiny_run, train_config
from rich.console import Console
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score

from weakspot.commands.cross_validate import cross_validate
from weakspot.commands.evaluate import evaluate
from weakspot.commands.predict import predict
from weakspot.commands.resolve import resolve
from weakspot.commands.train import train
from weakspot.config.rules import BoxRule
from weakspot.config.schema import TrainConfig
from weakspot.data.preprocess import Preprocess
from weakspot.data.splits import write_split
from weakspot.errors import WeakspotError
from weakspot.evaluation.comparison import compare
from weakspot.evaluation.pooled import runs_of
from weakspot.evaluation.records import MetricsRecord
from weakspot.inference.localizer import Localizer
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.decision import Decision, fit_scaling
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.postprocess.predictions import make_prediction
from weakspot.postprocess.review import doubts
from weakspot.report.figures import training_figure
from weakspot.report.tables import class_tables, comparison_table, pooled_table
from weakspot.runs.folder import RunFolder
from weakspot.training.dataset import Data, index_and_split
from weakspot.training.prepare import prepare
from weakspot.training.stages import examples_of
from weakspot.types import ModelOutput, Prediction

pytestmark = [pytest.mark.slow, pytest.mark.figures, pytest.mark.usefixtures("tiny")]

TINY = (*tiny_run(epochs=2), "data.task=multiclass", "model.class_weights=balanced")


def settings(*overrides: str) -> TrainConfig:
    return train_config(*TINY, *overrides)


def indexed(config: TrainConfig) -> Data:
    return index_and_split(config.data, config.split)


def types(fabric: Path) -> list[str]:
    return ["good", *sorted(p.name for p in (fabric / "fabric" / "ground_truth").iterdir())]


def subset_of(run: RunFolder) -> dict[str, str]:
    with run.split.open(newline="") as file:
        return {row["path"]: row["subset"] for row in csv.DictReader(file)}


def test_labels_from_file_names_and_from_a_table_are_the_same(fabric: Path, here: Path) -> None:
    first = indexed(settings(f"data.root={fabric}", "data.subset=fabric", "split.val_size=0.2"))
    names, rows = Path("names"), ["path,label,subset,mask"]
    for number, (sample, part) in enumerate(zip(first.samples, first.subsets, strict=True)):
        name, mask = Path("pictures", f"{sample.defect}_{number:03d}.png"), f"masks/{number}.png" if sample.mask else ""
        for source, target in ((sample.path, name), (sample.mask, Path(mask))):
            if source:
                (names / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, names / target)
        rows.append(f"{name},{sample.defect},{part},{mask}")
    (names / "manifest.csv").write_text("\n".join(rows))
    second = indexed(settings("data=manifest", "data.root=names"))
    assert first.classes == second.classes == types(fabric)
    assert (second.subsets, second.targets) == (first.subsets, first.targets)
    assert (second.data_hash, second.truth_hash) == (first.data_hash, first.truth_hash)
    calibrated = settings("data=manifest", "data.root=names", "boxes=calibrated")
    prepared = prepare(resolve(calibrated))
    assert not prepared.crossfits  # its own validation subset serves, whatever split.val_size says
    without = replace(prepared.data, subsets=["train"] * len(second.subsets))
    assert replace(prepared, data=without).crossfits
    write_split(Path("split.csv"), second.samples, second.subsets, second.root)
    by_name = ("data=filename", "data.root=names", "data.subset=pictures")
    third = indexed(settings(*by_name, "split.file=split.csv", "split.val_size=0.4"))
    assert (third.split_hash, third.data_hash, third.targets) == (second.split_hash, first.data_hash, first.targets)
    with pytest.raises(WeakspotError, match="cannot cut data whose subsets are given"):
        indexed(settings("data=manifest", "data.root=names", "split.folds=2", "split.fold=0"))
    write_split(Path("other.csv"), first.samples, first.subsets, first.root)
    with pytest.raises(WeakspotError, match=r"other\.csv line 2: .* is no image of this data set"):
        indexed(settings(*by_name, "split.file=other.csv"))


def test_a_type_without_a_training_image_gets_a_warning(fabric: Path, here: Path) -> None:
    data = indexed(settings(f"data.root={fabric}", "data.subset=fabric"))
    hole = [i for i, sample in enumerate(data.samples) if sample.defect == "hole"]
    parts = ["test" if i in hole else part for i, part in enumerate(data.subsets)]
    write_split(Path("split.csv"), data.samples, parts, data.root)
    assert not any("warning" in sentence for sentence in data.warnings)
    without = indexed(settings(f"data.root={fabric}", "data.subset=fabric", "split.file=split.csv"))
    assert without.warnings == ("warning: no training image is of class 'hole'; it will not be recognised",)


def test_pictures_of_several_kinds_are_learnt_once_for_each_and_right_by_one(fabric: Path, here: Path) -> None:
    first = indexed(settings(f"data.root={fabric}", "data.subset=fabric"))
    rows = ["path,label,subset,mask"]
    for sample, part in zip(first.samples, first.subsets, strict=True):
        label = "hole;stain" if sample.defect == "cut" else sample.defect
        rows.append(f"{sample.path},{label},{part},{sample.mask or ''}")
    Path("manifest.csv").write_text("\n".join(rows))
    config = settings("data=manifest", "data.root=.", "data.options.outside=true", "output=run", "split.val_size=0")
    prepared = prepare(resolve(config))
    data = prepared.data
    assert data.classes == [name for name in types(fabric) if name != "cut"]
    both = [data.classes.index(name) for name in ("hole", "stain")]
    several = [i for i in data.indices("train") if len(data.kinds(i)) == 2]
    assert several
    assert all(data.kinds(i) == both for i in several)
    examples = examples_of(prepared)
    assert len(examples["train"]) == len(data.indices("train")) + len(several)
    assert len(examples["test"]) == len(data.indices("test"))
    record = MetricsRecord.read(train(config).metrics).measurement
    tested = [i for i in data.indices("test") if len(data.kinds(i)) == 2]
    assert tested
    predictions = {p.path.name: p for p in read_predictions(Path("run/predictions.jsonl"))}
    for i in tested:
        found = predictions[data.samples[i].path.name]
        assert found.target == (found.label if found.label in ("hole", "stain") else "hole")
    assert record.test.localisation is not None
    assert record.test.localisation.per_class is not None
    assert "hole;stain" not in record.test.localisation.per_class
    assert record.test.classification.recall_per_defect["hole;stain"].n == len(tested)


# --- hand-made maps -----------------------------------------------------------------------------------------------

NAMES = ["good", "crack", "hole"]


def three_classes(logits: list[float]) -> ModelOutput:
    """Crack is hot in the top left cell, hole in the bottom right ones; Good is hotter than either at the top right."""
    maps = np.zeros((3, 2, 4), np.float32)
    maps[0, 0, 3], maps[1, 0, 0], maps[1, 0, 3], maps[2, 1, 2:] = 9.0, 4.0, 5.0, 6.0
    return ModelOutput(np.array(logits, np.float32), maps)


def predicted(logits: list[float], kind: str, threshold: float, decision: Decision | None = None) -> Prediction:
    rule = BoxRule("components", kind, threshold)  # type: ignore[arg-type]
    size, preprocess = (32, 64), Preprocess((32, 64), "torchvision")
    return make_prediction(Path("x.png"), size, three_classes(logits), NAMES, preprocess, rule, decision or Decision())


def test_boxes_go_round_the_predicted_type_and_carry_its_name() -> None:
    crack, hole = (predicted(logits, "absolute", 3.0) for logits in ([0, 3, 1], [0, 1, 3]))
    assert (crack.label, hole.label) == ("crack", "hole")
    (crack_box,), (hole_box,) = crack.boxes, hole.boxes
    assert (crack_box.label, hole_box.label) == ("crack", "hole")
    assert crack_box.x1 <= 16  # the margin over Good: not the top right, where Good is hotter
    assert crack_box.y1 <= 16
    assert (hole_box.x1, hole_box.y1) == (64, 32)
    assert hole_box.x0 >= 24
    assert (crack_box.score, hole_box.score) == (4.0, 6.0)
    assert 0 <= crack_box.trust <= 1
    plain = predicted([0, 3, 1], "relative", 0.7)  # a relative threshold looks at the type's own map, the seed's rule
    assert max(box.x1 for box in plain.boxes) == 64
    assert not predicted([3, 1, 1], "absolute", 0.0).boxes
    assert [c.name for c in hole.classes] == ["hole", "crack", "good"]


def test_a_threshold_is_about_good_or_not_and_the_type_is_the_likeliest() -> None:
    logits = [1.0, 0.5, 0.8]  # Good is the likeliest class, and less likely than not
    assert predicted(logits, "absolute", 3.0).label == "good"
    cautious = predicted(logits, "absolute", 3.0, Decision(threshold=0.5))
    assert cautious.label == "hole"
    assert cautious.boxes[0].label == "hole"
    assert cautious.probability == pytest.approx(1 - np.exp(1) / np.exp(logits).sum())
    assert doubts(cautious, Decision(threshold=0.5)) is not None


def test_temperature_and_bias_of_many_classes_are_those_of_the_best_likelihood_of_good_or_not() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (3000, 4))
    targets = np.array([rng.choice(4, p=row) for row in softmax(honest, axis=1)])
    spoilt = 3 * (honest - [0, 2.5, 2.5, 2.5])
    temperature, bias = fit_scaling(spoilt, targets)
    assert (temperature, bias) == (pytest.approx(3, rel=0.1), pytest.approx(2.5, abs=0.15))
    grid = np.geomspace(1, 9, 400)
    of_good = [Decision(float(t), bias=bias).probabilities(spoilt)[:, 0] for t in grid]
    losses = [log_loss(targets == 0, good) for good in of_good]
    assert temperature == pytest.approx(grid[int(np.argmin(losses))], rel=0.03)


# --- whole runs ---------------------------------------------------------------------------------------------------

SEES_DEFECTS = ("model.class_weights=[1,1000,1000,1000,1000,1000]", "model.optimizer.lr=0.01")


@pytest.fixture(scope="module")
def folds(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation with a class for each type, for all that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        from helpers.backbones import tiny_backbone

        from weakspot.models import backbones

        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        patch.chdir(tmp_path_factory.mktemp("classes"))
        overrides = (f"data.root={fabric}", "data.subset=fabric", "cv=2", "split.val_size=0.3", *SEES_DEFECTS)
        return cross_validate(settings(*overrides)).resolve()


def test_a_run_measures_every_class(folds: Path, fabric: Path) -> None:
    run = runs_of(folds)[0]
    content, predictions = metrics_of(run), read_predictions(run.predictions)
    names = types(fabric)
    truth, decided = [names.index(p.target or "") for p in predictions], [names.index(p.label) for p in predictions]
    scores = np.array([[{c.name: c.confidence for c in p.classes}[name] for name in names] for p in predictions])
    classification = content["test"]["classification"]
    assert classification["confusion_matrix"]["counts"] == confusion_matrix(truth, decided, labels=range(6)).tolist()
    for k in (1, 2, 5):
        expected = 1 - top_k_accuracy_score(truth, scores, k=k, labels=range(6))
        assert classification["top_k_error"][str(k)]["value"] == pytest.approx(expected)
    assert {name: row["n"] for name, row in classification["per_class"].items()} == Counter(
        p.target for p in predictions
    )
    collapsed = balanced_accuracy_score(np.array(truth) > 0, np.array(decided) > 0)
    assert content["test"]["good_or_not"]["balanced_accuracy"]["value"] == pytest.approx(collapsed)
    assert all(box.label == p.label for p in predictions for box in p.boxes)
    assert {p.label for p in predictions if p.boxes} - {"good"}
    history = content["train"]["history"]
    measures = {f"{part}/{name}" for part in ("train", "val") for name in ("loss", "balanced_accuracy")}
    assert all(measures <= epoch.keys() for epoch in history)
    figure = training_figure(history)
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    assert list(lines["validation subset"]) == [epoch["val/balanced_accuracy"] for epoch in history]
    assert (run.figures / "training.png").stat().st_size > 0
    assert not training_figure([{"epoch": 1}]).axes[0].lines  # a run of long ago may have logged less


def test_folds_are_pooled_class_by_class_and_compared(folds: Path, fabric: Path) -> None:
    content, predictions = (
        json.loads((folds / "metrics.json").read_text()),
        read_predictions(folds / "predictions.jsonl"),
    )
    names, classification = types(fabric), content["test"]["classification"]
    truth, decided = [p.target for p in predictions], [p.label for p in predictions]
    assert classification["confusion_matrix"]["counts"] == confusion_matrix(truth, decided, labels=names).tolist()
    expected = balanced_accuracy_score(truth, decided)
    assert classification["balanced_accuracy"]["value"] == pytest.approx(expected)
    itself = compare(folds, folds)
    assert itself.classes == names
    assert itself.differences["balanced_accuracy"].first == pytest.approx(expected)
    collapsed = balanced_accuracy_score([t == "good" for t in truth], [s == "good" for s in decided])
    assert itself.differences["good_or_not"].first == pytest.approx(collapsed)
    text = Console(width=200, record=True)
    record = MetricsRecord.read(folds / "metrics.json")
    tables = class_tables(record.measurement.test.classification)
    text.print(comparison_table(itself), *tables, pooled_table(record, "all"))
    shown = text.export_text()
    assert "balanced accuracy, Good or not" in shown
    assert f"classes: {', '.join(names)}" in " ".join(shown.split())


def test_other_labelled_images_from_a_table(folds: Path, fabric: Path, here: Path) -> None:
    run = runs_of(folds)[0]
    held_out = [name for name, part in subset_of(run).items() if part == "test"]
    rows = [json.dumps({"path": str(fabric / name), "label": Path(name).parent.name}) for name in held_out]
    Path("more.jsonl").write_text("\n".join(rows))
    overrides = [f"run={run.path}", "output=other", "data=manifest", "data.root=.", "data.options.file=more.jsonl"]
    with pytest.raises(WeakspotError, match=r"more\.jsonl line 1: .* lies outside"):
        evaluate(evaluate_config(*overrides))
    other = evaluate(evaluate_config(*overrides, "data.options.outside=true"))
    measured, usual = (metrics_of(each)["test"]["classification"] for each in (other, run))
    assert measured["confusion_matrix"] == usual["confusion_matrix"]
    assert not (other.figures / "training.png").exists()  # it was not trained on these


def test_a_run_with_types_and_one_without_are_compared_by_good_or_not(
    folds: Path, fabric: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed_run = runs_of(folds)[0].path
    monkeypatch.chdir(folds.parents[3])
    overrides = (f"data.root={fabric}", "data.subset=fabric", "split.folds=2", "split.fold=0", "split.val_size=0.3")
    plain = train(settings(*overrides, "data.task=binary"))
    found = compare(typed_run, plain.path)
    assert found.classes == ["good", "anomaly"]
    assert set(found.differences) == {"balanced_accuracy", "max_box_acc_v2"}
    for path, value in ((typed_run, found.differences["balanced_accuracy"].first), (plain.path, None)):
        predictions = read_predictions(path / "predictions.jsonl")
        score = balanced_accuracy_score(
            [p.target == "good" for p in predictions], [p.label == "good" for p in predictions]
        )
        assert (value if value is not None else found.differences["balanced_accuracy"].second) == pytest.approx(score)


def test_bare_images_get_types_and_boxes(folds: Path, fabric: Path, here: Path) -> None:
    """No label is needed to predict, and what was saved with the model is what prepares the image."""
    run = runs_of(folds)[0]
    own = read_predictions(run.predictions)
    for number, prediction in enumerate(own):
        shutil.copy(prediction.path, f"{number:03d}.png")
    localizer = Localizer.load(run.bundle)
    assert localizer.meta.preprocess.image_size == (64, 96)
    results = list(predict(localizer, sorted(Path().glob("*.png")), Path("out")))
    assert [(p.label, [box.label for box in p.boxes]) for p in results] == [
        (p.label, [box.label for box in p.boxes]) for p in own
    ]
    assert all(p.target is None for p in results)
    assert len(results[0].classes) == 6


def test_refinement_finds_places_and_the_classifier_names_the_type(fabric: Path, here: Path) -> None:
    few = ("refine.imitations=8", "refine.location_steps=4", "refine.mask_steps=4", "refine.location_refit_steps=2")
    overrides = ("experiment=recommended", *few, "boxes.threshold=-2", "boxes.false_boxes=100", "decision.miss=9")
    run = train(
        settings(f"data.root={fabric}", "data.subset=fabric", "split.val_size=0.3", *overrides, *TINY, *SEES_DEFECTS)
    )
    predictions = read_predictions(run.predictions)
    store = OutputStore.load(run.maps)
    assert store.mask_logits is not None
    assert store.logits.shape == (len(predictions), 6)
    assert any(p.boxes for p in predictions)
    for i, prediction in enumerate(predictions):
        if prediction.label != "good":
            assert prediction.label == types(fabric)[store[i].likeliest_defect]
        assert all(box.label == prediction.label for box in prediction.boxes)
