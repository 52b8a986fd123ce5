"""Runs from end to end on a tiny backbone and generated pictures."""

from __future__ import annotations

import csv
import html
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.runs import ALL_ANOMALY, assert_same, evaluate_config, metrics_of, settings, train
from PIL import Image

from weakspot.commands.evaluate import evaluate
from weakspot.commands.predict import predict
from weakspot.commands.train import train as run_train
from weakspot.data import synthetic
from weakspot.data.images import list_images
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle_meta import FORMAT
from weakspot.report.run_report import read_evaluated
from weakspot.runs import folder as runs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]

THIS_FORMAT = f'"format": {FORMAT}'.encode()


@pytest.mark.parametrize("augment", ["none", "flips"])
def test_with_and_without_the_cache_training_is_the_same(fabric: Path, here: Path, augment: str) -> None:
    views = f"trainer.augment={augment}"
    cached = train(fabric, "cache.precision=float32", "output=cached", views)
    plain = train(fabric, "cache.enabled=false", "output=plain", views)
    first, second = metrics_of(cached), metrics_of(plain)
    assert first["test"]["classification"]["confusion_matrix"] == second["test"]["classification"]["confusion_matrix"]
    losses = [[epoch["train/loss"] for epoch in m["train"]["history"]] for m in (first, second)]
    assert np.allclose(*losses, rtol=1e-4)
    half = metrics_of(train(fabric, "output=half", views))
    assert np.allclose(losses[1], [epoch["train/loss"] for epoch in half["train"]["history"]], rtol=5e-3)


def test_the_same_command_twice_gives_the_same_numbers(fabric: Path, here: Path) -> None:
    runs = [train(fabric, f"output={name}", "reuse=false") for name in ("a", "b")]
    assert_same(*runs)


def test_another_threshold_does_not_fit_again(fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(fabric)
    monkeypatch.setattr("weakspot.commands.train.fit_and_infer", lambda *args: pytest.fail("fitted again"))
    second = train(fabric, "boxes.threshold=0.4", "boxes.method=components")
    assert second.path != first.path
    assert metrics_of(second)["thresholds"]["boxes"]["value"] == 0.4
    assert metrics_of(first)["test"]["classification"] == metrics_of(second)["test"]["classification"]
    assert Localizer.load(second.path).rule.threshold == 0.4
    assert Localizer.load(first.path).rule.threshold == 0.7


def test_an_interrupted_run_goes_on_from_its_last_epoch(
    fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weakspot.training import lightning_fit as fit_module

    whole = metrics_of(train(fabric, "output=whole", "reuse=false"))
    end = fit_module.History.on_train_epoch_end

    def die_in_second_epoch(self: Any, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("power cut")
        end(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(fit_module.History, "on_train_epoch_end", die_in_second_epoch)
        with pytest.raises(RuntimeError, match="power cut"):
            train(fabric, "output=broken", "reuse=false")
    assert not Path("broken/metrics.json").exists()
    resumed = metrics_of(train(fabric, "output=broken", "reuse=false"))
    assert [e["epoch"] for e in resumed["train"]["history"]] == [1, 2, 3]
    for mine, undisturbed in zip(resumed["train"]["history"], whole["train"]["history"], strict=True):
        assert mine["train/loss"] == pytest.approx(undisturbed["train/loss"], rel=1e-5)
    assert resumed["test"] == whole["test"]


def test_an_output_folder_with_something_else_is_left_alone(fabric: Path, here: Path) -> None:
    train(fabric, "output=a")
    with pytest.raises(WeakspotError, match="output=a already holds something else"):
        train(fabric, "output=a", "boxes.threshold=0.5")
    Path("b").mkdir()
    (Path("b") / "letter.txt").write_text("mine")
    with pytest.raises(WeakspotError, match="output=b already holds"):
        train(fabric, "output=b")
    assert [p.name for p in Path("b").iterdir()] == ["letter.txt"]


def test_evaluate_on_other_images_but_never_on_training_images(fabric: Path, here: Path) -> None:
    from weakspot.data import synthetic

    run = train(fabric, "output=run")
    synthetic.generate(Path("fresh"), "fabric", seed=9, good=4, defect=1, size=(96, 128))
    for number, path in enumerate(list_images(Path("fresh/fabric/test"))):
        folder = Path("other", ("OK", "scratched")[number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}.png")
    overrides = ["run=run", "data=folder", "data.root=other", "data.good_class=OK"]
    content = metrics_of(evaluate(evaluate_config(*overrides)))
    assert content["data"]["n_test_per_defect"] == {"good": 3, "scratched": 3}
    assert "localisation" not in content["test"]
    assert "n_train" not in content["split"]
    with run.split.open(newline="") as file:
        trained = next(row["path"] for row in csv.DictReader(file) if row["subset"] == "train")
    Path("other/OK/bad.png").touch()
    for _ in range(2):  # an evaluation that failed leaves a folder that may be used again
        with pytest.raises(WeakspotError, match=r"bad\.png"):
            evaluate(evaluate_config(*overrides, "boxes.threshold=0.6"))
    Path("other/OK/bad.png").unlink()
    evaluate(evaluate_config(*overrides, "boxes.threshold=0.6"))
    shutil.copy(fabric / trained, "other/OK/again.png")
    with pytest.raises(WeakspotError, match=r"1 of these images were trained on, other/OK/again\.png"):
        evaluate(evaluate_config(*overrides))
    Path("other/OK/again.png").unlink()
    with pytest.raises(WeakspotError, match="output=run is the run itself"):
        evaluate(evaluate_config(*overrides, "output=run"))
    grouped = metrics_of(evaluate(evaluate_config(*overrides, 'data.group="^[A-Za-z]+"')))
    assert (grouped["test"]["groups"], content["test"]["groups"]) == (2, 6)
    with pytest.raises(WeakspotError, match=r"data\.group=tile fits no image"):
        evaluate(evaluate_config(*overrides, "data.group=tile"))
    with pytest.raises(WeakspotError, match=r"data\.image_size=320: the run.s model was trained with data\."):
        evaluate(evaluate_config(*overrides, "data.image_size=320"))


def test_defect_types_as_classes(fabric: Path, here: Path) -> None:
    run = train(fabric, "data.task=multiclass", "model.class_weights=balanced")
    names = ["good", *sorted(p.name for p in (fabric / "fabric" / "test").iterdir() if p.name != "good")]
    assert metrics_of(run)["test"]["classification"]["confusion_matrix"]["labels"] == names
    for prediction in Localizer.load(run.path).predict(list_images(fabric)[:4]):
        confidences = [c.confidence for c in prediction.classes]
        assert sorted(c.name for c in prediction.classes) == sorted(names)
        assert confidences == sorted(confidences, reverse=True)
        assert sum(confidences) == pytest.approx(1)


def test_predictions_do_not_depend_on_the_batch_or_the_kind_of_image(fabric: Path, here: Path) -> None:
    localizer = Localizer.load(train(fabric, "boxes.method=components", *ALL_ANOMALY).path)
    paths = list_images(fabric)[:7]
    alone = [next(localizer.predict(path)) for path in paths]
    for together in (
        list(localizer.predict(paths, batch_size=7)),
        list(localizer.predict([np.asarray(Image.open(path)) for path in paths], batch_size=3)),
        list(localizer.predict((Image.open(path) for path in paths), batch_size=2)),
    ):
        for one, other in zip(alone, together, strict=True):
            assert [b.xyxy for b in one.boxes] == [b.xyxy for b in other.boxes]
            assert one.probability == pytest.approx(other.probability, abs=1e-6)
    assert any(p.boxes for p in alone)


def test_a_fifty_megapixel_image_gets_boxes_in_its_own_pixels(fabric: Path, here: Path) -> None:
    localizer = Localizer.load(train(fabric, *ALL_ANOMALY).path)
    image = np.random.default_rng(0).integers(0, 255, (50, 100, 3), np.uint8)
    large = np.repeat(np.repeat(image, 100, axis=0), 100, axis=1)
    (prediction,) = localizer.with_rule(threshold=0.01).predict(large)
    (box,) = prediction.boxes
    assert prediction.size == (5000, 10000)
    assert (box.x1 - box.x0, box.y1 - box.y0) > (5000, 2500)
    assert (box.x1, box.y1) <= (10000, 5000)


def test_a_one_pixel_image_is_an_answer_not_a_crash(fabric: Path, here: Path) -> None:
    localizer = Localizer.load(train(fabric, *ALL_ANOMALY).path)
    (prediction,) = localizer.predict(np.full((1, 1, 3), 200, np.uint8))
    assert prediction.size == (1, 1)
    assert [box.xyxy for box in prediction.boxes] in ([], [(0, 0, 1, 1)])


def test_a_truncated_pil_image_does_not_end_the_stream(fabric: Path, here: Path) -> None:
    localizer = Localizer.load(train(fabric).path)
    whole = list_images(fabric / "fabric" / "train")[0]
    Path("cut.png").write_bytes(whole.read_bytes()[:2000])
    results = list(localizer.predict([Image.open("cut.png"), whole]))
    assert [p.status for p in results] == ["error", "ok"]


def test_a_device_that_is_not_there_is_one_line(fabric: Path, here: Path) -> None:
    run = train(fabric)
    with pytest.raises(WeakspotError, match="device nonsense is unknown; choose auto, cpu or cuda"):
        Localizer.load(run.path, device="nonsense")


def test_predict_does_not_write_into_a_run(fabric: Path, here: Path) -> None:
    run = train(fabric)
    with pytest.raises(WeakspotError, match="is a run folder"):
        list(predict(Localizer.load(run.path), list_images(fabric)[:1], run.path))
    Path("mine").mkdir()
    Path("mine/letter.txt").touch()
    config = evaluate_config(f"run={run.path}", "output=mine")
    with pytest.raises(WeakspotError, match="output=mine already holds something else"):
        evaluate(config)
    with pytest.raises(WeakspotError, match="batch_size=0"):
        list(Localizer.load(run.path).predict([], batch_size=0))
    other = train(fabric, "boxes.threshold=0.5")
    config = evaluate_config(f"run={run.path}", f"output={other.path}")
    with pytest.raises(WeakspotError, match="is another run"):
        evaluate(config)


def test_the_page_of_an_evaluation_elsewhere_says_how_to_make_it_again(fabric: Path, here: Path) -> None:
    run = train(fabric, *ALL_ANOMALY)
    changes = ["decision.miss=5", "boxes.threshold=0.3"]
    other = evaluate(evaluate_config(f"run={run.path}", "output=else where", *changes))
    page = html.unescape(other.report.read_text())
    assert f"weakspot evaluate run={run.path.resolve()} boxes.threshold=0.3 decision.miss=5" in page
    assert read_evaluated(Path("else where")).subset.meta.boxes.threshold == 0.3
    again = evaluate(evaluate_config(f"run={run.path}", "output=again", *other.evaluated()[1]))  # type: ignore[index]
    assert metrics_of(again)["test"] == metrics_of(other)["test"]
    other.evaluation.write_text("[]")  # damaged: as if nothing had been kept
    assert other.evaluated() == (other.path.parent.parent, [])
    of_others = ["data=mvtec", "data.root=more", "data.subset=fabric"]
    synthetic.ensure(Path("more"), "fabric", seed=5, good=8, defect=2, size=(96, 128))
    more = evaluate(evaluate_config(f"run={run.path}", *of_others))
    assert more.evaluated() == (run.path.resolve(), of_others)


def test_a_run_cut_off_after_its_last_epoch_is_not_trained_further(
    fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = ("trainer.stop_at_accuracy=0.01", "reuse=false")  # reached in the first epoch
    whole = metrics_of(train(fabric, "output=whole", *stop))
    assert len(whole["train"]["history"]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(
            "weakspot.commands.train.save_bundle", lambda *args: (_ for _ in ()).throw(RuntimeError("power cut"))
        )
        with pytest.raises(RuntimeError, match="power cut"):
            train(fabric, "output=broken", *stop)
    resumed = metrics_of(train(fabric, "output=broken", *stop))
    assert [e["epoch"] for e in resumed["train"]["history"]] == [1]
    assert resumed["test"] == whole["test"]
    again = metrics_of(train(fabric, "output=whole", *stop))  # reuse=false: from the start, not one epoch more
    assert [e["epoch"] for e in again["train"]["history"]] == [1]


def test_other_masks_are_another_run_of_the_same_fit(fabric: Path, here: Path) -> None:
    shutil.copytree(fabric, "data")
    first = train(Path("data"))
    shutil.rmtree("data/fabric/ground_truth")
    second = train(Path("data"))
    assert second.path != first.path
    assert second.read_identity()["fit"] == first.read_identity()["fit"]
    assert "localisation" not in metrics_of(second)["test"]


def test_exact_copies_across_parts_are_counted_and_said(
    fabric: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(fabric, "data")
    good = list_images(Path("data/fabric/train/good"))
    for path in good:
        shutil.copy(path, path.with_name(f"copy{path.name}"))
    assert metrics_of(train(Path("data")))["split"]["identical_across_subsets"] == 0  # kept on one side
    run = train(Path("data"), "split.near_duplicates=report")
    count = metrics_of(run)["split"]["identical_across_subsets"]
    assert count > 0
    assert f"{count} held-out images are exact copies" in capsys.readouterr().err
    assert metrics_of(train(fabric))["split"]["identical_across_subsets"] == 0


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.safetensors", lambda c: c[:-10], "is damaged"),
        ("model.safetensors", lambda c: c[:-10] + b"0123456789", "is damaged"),
        ("model.json", lambda c: c[:-10], "cannot be used"),
        ("model.json", lambda c: c.replace(b'"classes"', b'"klasses"'), "key is missing or unknown"),
        ("model.json", lambda c: c.replace(THIS_FORMAT, b'"format": 99'), "format 99, .* upgrade weakspot"),
        ("model.json", lambda c: c.replace(THIS_FORMAT, b'"format": "1"'), "no format number"),
        ("model.json", lambda c: b"[]", "cannot be used"),
    ],
)
def test_a_damaged_bundle_is_refused(fabric: Path, here: Path, file: str, damage: Any, message: str) -> None:
    run = train(fabric, "output=run")
    path = run.bundle / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeakspotError, match=message) as caught:
        Localizer.load("run")
    assert file in str(caught.value)
    with pytest.raises(WeakspotError, match="does not exist"):
        Localizer.load("nowhere")


def test_the_test_subset_does_not_depend_on_the_experiment(fabric: Path, here: Path) -> None:
    def test_subset(*overrides: str) -> list[str]:
        with train(fabric, *overrides).split.open(newline="") as file:
            return [row["path"] for row in csv.DictReader(file) if row["subset"] == "test"]

    usual = test_subset()
    assert test_subset("split.val_size=0.3", "seed=7", "trainer.max_epochs=1") == usual
    assert test_subset("split.seed=7") != usual
    folds = [test_subset("split.folds=3", f"split.fold={k}", "trainer.max_epochs=1") for k in range(3)]
    images = [str(path.relative_to(fabric)) for path in list_images(fabric) if "ground_truth" not in path.parts]
    assert sorted(folds[0] + folds[1] + folds[2]) == sorted(images)


def test_bad_data_is_refused_before_training(fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weakspot.commands.train.fit_and_infer", lambda *args: pytest.fail("trained on bad data"))
    for name, spoil in {
        "truncated": lambda root: _truncate(list_images(root / "fabric" / "train")[3]),
        "text": lambda root: list_images(root / "fabric" / "train")[3].write_text("not a picture"),
        "mask": lambda root: Image.new("L", (5, 5)).save(list_images(root / "fabric" / "ground_truth")[0]),
        "label": lambda root: shutil.copy(
            list_images(root / "fabric" / "train")[0], list_images(root / "fabric" / "test" / "hole")[0]
        ),
    }.items():
        shutil.copytree(fabric, name)
        spoil(Path(name))
        with pytest.raises(WeakspotError, match=f"{name}/fabric") as caught:
            run_train(settings(Path(name)))
        assert "\n" not in str(caught.value)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_fits_are_found_by_what_they_compute_not_by_name(fabric: Path, here: Path) -> None:
    run = train(fabric, "name=first")
    fit = run.read_identity()["fit"]
    shutil.copytree(fabric, "moved")
    moved = train(Path("moved"), "name=second")
    assert moved.read_identity()["fit"] == fit
    assert moved.read_identity()["fitted_by"] == str(run.path)
    assert runs.find_fit("00000000", run) is None


def test_a_run_evaluated_in_place_is_no_longer_taken_for_the_run_it_was(fabric: Path, here: Path) -> None:
    first = train(fabric)
    evaluate(evaluate_config(f"output={first.path}", "boxes.threshold=0.3"))
    assert Localizer.load(first.path).rule.threshold == 0.3
    assert metrics_of(first)["run"] == first.read_identity()["run"]
    again = train(fabric)
    assert again.path != first.path
    assert metrics_of(again)["thresholds"]["boxes"]["value"] == 0.7


def test_the_fit_depends_on_what_changes_the_network_s_input(fabric: Path, here: Path) -> None:
    fits = {
        train(fabric, *overrides, "trainer.max_epochs=1").read_identity()["fit"]
        for overrides in (
            (),
            ("data.image_size=[64,96]",),
            ("model.preprocess=caffe",),
            ("data.image_size=[64,80]",),
            ("seed=1",),
        )
    }
    assert len(fits) == 4
