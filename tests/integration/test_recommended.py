"""Refined, calibrated runs from end to end on a tiny backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.reports import make_meta
from helpers.runs import ALL_ANOMALY, FEW_STEPS, TINY, evaluate_config, metrics_of, train_config
from PIL import Image
from scipy.special import softmax

from weakspot.commands.evaluate import evaluate
from weakspot.commands.train import train as run_train
from weakspot.config.rules import BoxRule
from weakspot.config.schema import read_config
from weakspot.data.preprocess import Preprocess
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.evaluation.localisation import resolution
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset
from weakspot.export.model import SUFFIX, Order, export_model
from weakspot.inference.localizer import Localizer
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import combined_map, visible
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.drawing import place_scores
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.postprocess.predictions import make_prediction
from weakspot.postprocess.trust import REASONS
from weakspot.report.view import RunView
from weakspot.runs.folder import RunFolder
from weakspot.types import ModelOutput, Sample
from weakspot.utils.agenda import Agenda

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]

BOXES = ("boxes.threshold=-4", "boxes.false_boxes=60", "split.val_size=0.3", "cache.enabled=false")


def train(fabric: Path, *overrides: str, steps: tuple[str, ...] = FEW_STEPS) -> RunFolder:
    command = [
        f"data.root={fabric}", "data.subset=fabric", "experiment=recommended",
        *TINY, *ALL_ANOMALY, *steps, *BOXES, *overrides,
    ]  # fmt: skip
    return run_train(train_config(*command))


@pytest.fixture(scope="module")
def run(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One run for all that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        from helpers.backbones import tiny_backbone

        from weakspot.models import backbones

        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        patch.chdir(tmp_path_factory.mktemp("recommended"))
        return RunFolder(train(fabric).path.resolve())


def test_the_run_keeps_evidence_and_says_how_its_threshold_was_set(run: RunFolder) -> None:
    store, held_out = OutputStore.load(run.maps), OutputStore.load(run.calibration)
    assert store.mask_logits is not None
    assert store.location_logits is not None
    assert store.mask_logits.shape[1:] == (32, 48)
    assert store.location_logits.shape[1:] == (16, 24)
    content = metrics_of(run)
    calibration = content["thresholds"]["min_score"]
    assert calibration["n_good"] == len(held_out)
    assert calibration["false_boxes"] * 100 / len(held_out) <= 60
    assert "60 false boxes per 100 Good images" in calibration["origin"]
    assert content["boxes"]["threshold_kind"] == "absolute"
    assert content["boxes"]["min_score"] == calibration["value"]
    before = content["test"]["localisation"]["before_decision"]
    assert before["good_images_with_a_box"]["n"] == content["data"]["n_test_per_defect"]["good"]
    assert not (run.path / "checkpoints" / "scratch").exists()


def test_held_out_good_images_are_neither_tested_nor_trained_on(run: RunFolder, fabric: Path) -> None:
    samples, parts = read_split(run.split, fabric)
    held_out = {sample.path for sample, part in zip(samples, parts, strict=True) if part == "val" and sample.is_good}
    assert held_out
    assert {path.resolve() for path in OutputStore.load(run.calibration).paths} == {path.resolve() for path in held_out}


def test_predict_gives_the_run_s_own_boxes(run: RunFolder) -> None:
    known = read_predictions(run.predictions)
    found = list(Localizer.load(run.path, device="cpu").predict([p.path for p in known]))
    assert any(p.boxes for p in known)
    for a, b in zip(known, found, strict=True):
        assert [box.xyxy for box in a.boxes] == [box.xyxy for box in b.boxes]
        assert [box.score for box in a.boxes] == pytest.approx([box.score for box in b.boxes], abs=1e-2)


@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_a_second_look_is_the_same_in_evaluate_predict_and_exports(
    run: RunFolder, format_: str, tmp_path: Path
) -> None:
    looked = evaluate(evaluate_config(f"run={run.path}", f"output={tmp_path / 'looked'}", "flip_tta=true"))
    known, once = read_predictions(looked.predictions), read_predictions(run.predictions)
    boxes = [(a, b) for p, q in zip(known, once, strict=True) for a, b in zip(p.boxes, q.boxes, strict=True)]
    assert [a.xyxy for a, _ in boxes] == [b.xyxy for _, b in boxes]
    assert all(a.trust <= b.trust for a, b in boxes)
    assert all(a.doubt == REASONS["flip test-time augmentation"] for a, b in boxes if a.trust < b.trust)
    export_model(Order(run.path, format_, output=tmp_path / f"model{SUFFIX[format_]}"), lambda done, total: None)
    for path in (run.path, tmp_path / f"model{SUFFIX[format_]}"):
        localizer = Localizer.load(path, device="cpu").adjusted(flip_tta=True)
        found = list(localizer.predict([p.path for p in known]))
        assert [[b.xyxy for b in p.boxes] for p in found] == [[b.xyxy for b in p.boxes] for p in known]
        trusts = [[b.trust for b in p.boxes] for p in found]
        assert trusts == [pytest.approx([b.trust for b in p.boxes], abs=1e-3) for p in known]


def test_a_symmetric_picture_looks_the_same_twice(run: RunFolder) -> None:
    half = np.random.default_rng(3).integers(0, 255, (64, 40, 3), dtype=np.uint8)
    localizer = Localizer.load(run.path, device="cpu").adjusted(flip_tta=True)
    (found,) = localizer.predict(np.concatenate([half, half[:, ::-1]], axis=1))
    assert found.output is not None
    assert found.output.mask_logits is not None
    assert found.output.flipped == pytest.approx(found.output.mask_logits[:, ::-1], abs=0.02)


def test_a_run_keeps_the_second_look_that_it_was_trained_with(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finished = train(fabric, "flip_tta=true", "data.resize=keep_ratio", "data.image_size=[64,64]")
    known = read_predictions(finished.predictions)
    found = list(Localizer.load(finished.path, device="cpu").predict([p.path for p in known]))
    assert any(p.boxes for p in known)
    for a, b in zip(known, found, strict=True):
        assert [box.trust for box in a.boxes] == pytest.approx([box.trust for box in b.boxes], abs=1e-3)
    command = [f"run={finished.path}", f"output={finished.path}", "flip_tta=false"]
    in_place = evaluate_config(*command)
    with pytest.raises(WeakspotError, match="maps are never replaced"):
        evaluate(in_place)


def test_every_box_scores_enough_and_comes_in_order(run: RunFolder) -> None:
    lowest = metrics_of(run)["boxes"]["min_score"]
    for prediction in read_predictions(run.predictions):
        scores = [box.score for box in prediction.boxes]
        assert scores == sorted(scores, reverse=True)
        assert lowest is None or all(score >= lowest for score in scores)
        if prediction.label != "good" and not prediction.boxes:
            assert prediction.message == "no box: evidence below threshold"


def test_another_promise_moves_the_score_without_training(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weakspot.commands.train.fit_and_infer", lambda *args: pytest.fail("fitted again"))
    lowest = []
    for wanted in (1, 1000):
        command = [
            f"run={run.path}", "boxes.threshold_kind=calibrated", f"boxes.false_boxes={wanted}", "boxes.threshold=-9",
            f"output={tmp_path / str(wanted)}",
        ]  # fmt: skip
        target = evaluate(evaluate_config(*command))
        value = metrics_of(target)["boxes"]["min_score"]
        lowest.append(-np.inf if value is None else value)
    assert lowest[0] > lowest[1]


def test_a_run_that_takes_a_model_over_can_calibrate_it(
    run: RunFolder, fabric: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parents[3])
    monkeypatch.setattr("weakspot.commands.train.fit_and_infer", lambda *args: pytest.fail("fitted again"))
    other = train(fabric, "boxes.false_boxes=1")
    assert metrics_of(other)["thresholds"]["min_score"]["wanted_per_100"] == 1


def test_a_class_map_can_be_calibrated_too(fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = metrics_of(train(fabric, "refine=none", "boxes.threshold=0", steps=()))
    assert content["thresholds"]["min_score"]["n_good"] > 0
    assert content["model"]["backbone"] == "tiny"


def test_without_a_validation_part_scores_are_calibrated_on_images_left_out_in_turn(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    begin, begun = Agenda.begin, list[tuple[Agenda, str]]()
    monkeypatch.setattr(Agenda, "begin", lambda self, name: (begun.append((self, name)), begin(self, name))[1])
    crossfitted_run = train(fabric, "split.val_size=0")
    planned = [stage.name for stage in begun[0][0].stages]
    assert [name for _, name in begun if name in planned] == planned[:-1]  # the report has no bar
    assert "judged by one of 3 more models" in " ".join(capsys.readouterr().err.split())
    samples, parts = read_split(crossfitted_run.split, fabric)
    good = {s.path.resolve() for s, part in zip(samples, parts, strict=True) if part == "train" and s.is_good}
    held_out = OutputStore.load(crossfitted_run.calibration)
    assert len(held_out) == len(good)
    assert {path.resolve() for path in held_out.paths} == good
    thresholds = metrics_of(crossfitted_run)["thresholds"]
    assert thresholds["min_score"]["n_good"] == len(good)
    assert thresholds["decision"]["n_good"] == len(good)
    assert thresholds["decision"]["n_defect"] == parts.count("train") - len(good)
    plain = train(fabric, "split.val_size=0", "boxes.threshold_kind=absolute")  # has no such models to take over
    assert plain.read_identity()["fit"] != crossfitted_run.read_identity()["fit"]
    # The model that is kept learnt from every training image, as without calibration.
    assert np.allclose(OutputStore.load(plain.maps).logits, OutputStore.load(crossfitted_run.maps).logits, atol=1e-5)


def test_calibration_needs_enough_images(fabric: Path, tmp_path: Path) -> None:
    with pytest.raises(
        WeakspotError, match=r"2 training images of every class that do not show the same part, and there is 1"
    ):
        train(fabric, "split.val_size=0", "split.test_size=0.95", f"output={tmp_path / 'x'}")


def test_a_view_shows_refined_evidence_under_another_threshold(run: RunFolder) -> None:
    view = RunView.load(run.path)
    higher = view.with_rule(threshold=1e6)
    assert any(p.boxes for p in view.predictions)
    assert not any(p.boxes for p in higher.predictions)
    view.show([0, 1])


def test_damaged_evidence_is_refused(run: RunFolder) -> None:
    store = OutputStore.load(run.maps)
    assert store.mask_logits is not None
    broken = store.mask_logits.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(WeakspotError, match="NaN"):
        replace(store, mask_logits=broken)


def test_combined_evidence_is_the_probability_that_all_agree() -> None:
    extent, where = np.array([[0.0, 2.0]]), np.array([[0.0, -1.0]])
    logits = np.array([0.5, 1.0, -2.0], np.float32)
    sigmoid = 1 / (1 + np.exp(-np.stack([extent, where])))
    not_good = softmax(logits)[1:].sum()
    assert np.allclose(np.exp(combined_map(extent, where, logits)), sigmoid.prod(axis=0) * not_good)


def test_a_place_is_no_surer_than_its_picture_and_must_rival_the_surest() -> None:
    where = np.array([[5.0, 2.1, 1.9], [4.0, -8.0, 2.0]], np.float32)
    scores = place_scores(where, np.array([0.0, 3.0], np.float32))
    # The surer of two places that are surer than their picture comes first, by a thousandth of what they are surer.
    known = np.array([[3.002, 2.1, -np.inf], [3.001, -np.inf, 2.0]], np.float32)
    np.testing.assert_allclose(scores, known, rtol=1e-6)
    of_image = np.log(np.exp(0.5) + np.exp(1.0)) - 2.0  # two kinds of defects against Good
    highest = place_scores(where, np.array([2.0, 0.5, 1.0], np.float32)).max()
    assert highest == pytest.approx(of_image + 1e-3 * (5 - of_image))


def test_a_second_defect_that_is_as_sure_as_its_picture_gets_a_box_too() -> None:
    where = np.full((64, 96), -6, np.float32)
    where[8:24, 8:24], where[40:56, 64:80], where[8:24, 64:80] = 21.0, 9.5, 5.0  # two coins, and a stone
    said = ModelOutput(np.array([0.0, 9.0], np.float32), np.zeros((2, 4, 6), np.float32), where, where)
    rule = BoxRule("components", "absolute", 0.0)
    preprocess = Preprocess((64, 96), "caffe")
    prediction = make_prediction(Path("a.png"), (64, 96), said, ["good", "anomaly"], preprocess, rule, Decision())
    assert [box.xyxy for box in prediction.boxes] == [(8, 8, 24, 24), (64, 40, 80, 56)]
    assert [box.score for box in prediction.boxes] == pytest.approx([9.012, 9.0005])


def test_boxes_follow_the_image_inside_its_border() -> None:
    preprocess = Preprocess((64, 96), "caffe", "keep_ratio")  # a tall image fills columns 24 to 72
    size = (128, 96)
    plane = np.full((64, 96), -5, np.float32)
    plane[16:32, 36:48] = 5  # in the image: rows 32 to 64, columns 24 to 48
    plane[0:8, 0:20] = 9  # in the border: nothing
    said = ModelOutput(np.array([0.0, 3.0], np.float32), np.zeros((2, 4, 6), np.float32), plane, plane)
    rule = BoxRule("components", "absolute", 0.0)
    prediction = make_prediction(Path("a.png"), size, said, ["good", "anomaly"], preprocess, rule, Decision())
    assert [box.xyxy for box in prediction.boxes] == [(24, 32, 48, 64)]
    assert prediction.output is not None
    assert prediction.output.maps.shape == (2, 64, 48)
    squash = Preprocess((64, 96), "caffe")
    assert visible(said, size, squash) is said


@pytest.mark.parametrize("how", ["data.resize=keep_ratio", "data.resize=tile"])
def test_a_run_that_keeps_the_ratio_predicts_what_it_measured(
    how: str, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finished = train(fabric, how, "data.image_size=[64,64]")
    known = read_predictions(finished.predictions)
    images: list[Any] = [p.path for p in known]
    found = list(Localizer.load(finished.path, device="cpu").predict(images, batch_size=2))
    assert any(p.boxes for p in known)
    assert [[b.xyxy for b in p.boxes] for p in known] == [[b.xyxy for b in p.boxes] for p in found]


def test_a_tiled_run_takes_images_of_any_size(fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished = train(fabric, "data.resize=tile", "data.image_size=[64,64]", "boxes.threshold=-30")
    images: list[Any] = [np.zeros((40, 300, 3), np.uint8), np.full((131, 33, 3), 200, np.uint8)]
    localizer = Localizer.load(finished.path, device="cpu")
    assert localizer.model.network.tile == (64, 64)
    found = list(localizer.predict(images))
    assert [p.size for p in found] == [(40, 300), (131, 33)]
    assert all(box.x1 <= p.width and box.y1 <= p.height for p in found for box in p.boxes)


def test_the_smallest_defect_is_the_one_whose_box_survives_half_a_cell_on_each_side(tmp_path: Path) -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[10:20, 10:20], mask[40:60, 50:80] = 255, 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    sample = Sample(tmp_path / "a.png", "scratch", tmp_path / "mask.png")
    store = OutputStore(
        [sample.path], np.array([[80, 120]]), np.zeros((1, 2), np.float32), np.zeros((1, 2, 8, 12), np.float32),
        np.zeros(2, np.float32),
    )  # fmt: skip
    meta = replace(make_meta(["good", "scratch"], BoxRule()), preprocess=Preprocess((64, 96), "caffe"))
    found = resolution(EvaluatedImages([EvaluatedSubset.predict([sample], store, meta)]))
    assert found.cell == 10
    side = found.smallest
    assert (side / (side + 10)) ** 2 == pytest.approx(0.5)
    assert (found.smaller.value, found.smaller.n) == (1.0, 2)  # the larger one is 20 high: under 24.1


def test_a_run_of_another_version_says_so(run: RunFolder, tmp_path: Path) -> None:
    old = tmp_path / "config.yaml"
    old.write_text("refine: none\n")
    with pytest.raises(WeakspotError, match="not written by this version of weakspot"):
        read_config(old)


def test_shrinking_and_small_defects_are_warned_of(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train(fabric, "refine=none", "data.image_size=32", steps=())  # 96×128 becomes 32×32, its map 4×4
    said = " ".join(capsys.readouterr().err.split())
    assert "images of 96×128 are made 4.0 times smaller" in said
    assert "true boxes have a side under 77 px" in said  # 32 / (√2 - 1)
    assert "set data.resize=tile, or refine=segment)" in said
    train(fabric, "data.image_size=[96,128]")
    said = " ".join(capsys.readouterr().err.split())
    assert "times smaller" not in said
    assert "refine=segment" not in said  # it has that


def test_outlines_reach_the_file_and_come_back(run: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    evaluate(evaluate_config(f"run={run.path}", f"output={folder}", "boxes.outlines=true"))
    found, plain = read_predictions(folder / "predictions.jsonl"), read_predictions(run.predictions)
    assert any(p.boxes for p in found)
    for with_outlines, without in zip(found, plain, strict=True):
        for box, same in zip(with_outlines.boxes, without.boxes, strict=True):
            assert box.xyxy == same.xyxy
            assert same.outlines == ()
            corners = np.array([corner for polygon in box.outlines for corner in polygon])
            assert (*corners.min(axis=0), *corners.max(axis=0)) == box.xyxy
