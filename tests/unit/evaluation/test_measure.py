"""One subset and several folds' are measured alike."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.reports import Made, make_data, make_meta
from matplotlib.backends.backend_agg import FigureCanvasAgg

from weakspot.config.rules import BoxRule
from weakspot.data.annotated_truth import DrawnBoxes
from weakspot.data.preprocess import Preprocess
from weakspot.evaluation.measure import measure
from weakspot.evaluation.schema import Measurement
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset, size_of
from weakspot.evaluation.thresholds import sweep
from weakspot.evaluation.truth import Truth
from weakspot.metrics import best_iou
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.predictions import make_prediction
from weakspot.report.figures import gallery_figure
from weakspot.types import GOOD, Sample

RULES = {
    "relative": BoxRule(),
    "absolute": BoxRule("components", threshold_kind="absolute", threshold=2.0, merge=0.5),
    "scores": BoxRule("components", threshold_kind="absolute", threshold=1.0, min_score=2.0),
}
N = 24


def cut(made: Made, rule: BoxRule, ends: Sequence[int]) -> list[EvaluatedSubset]:
    """The images as one subset, or as several; `ends` are the first position of each and, last, their number."""
    meta = make_meta(made.classes, rule)
    return [
        EvaluatedSubset.predict(made.samples[start:end], made.store.rows(slice(start, end)), meta)
        for start, end in pairwise(ends)
    ]


def numbers(found: Measurement) -> Any:
    """All that was measured, to the last bit; undefined is None, and equal to itself."""
    return json.loads(json.dumps(found.to_dict()))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("classes", [("hole",), ("hole", "cut")])
@pytest.mark.parametrize("refined", [False, True])
def test_two_halves_come_to_what_the_whole_comes_to(
    tmp_path: Path, name: str, classes: tuple[str, ...], refined: bool
) -> None:
    rule = RULES[name]
    if refined and rule.threshold_kind == "relative":
        rule = replace(rule, threshold_kind="absolute")
    made = make_data(tmp_path / "data", N, classes=classes, refined=refined)
    whole = measure(cut(made, rule, (0, N)))
    assert whole.test.localisation is not None
    assert (whole.test.classification.accuracy.n, whole.test.localisation.n) == (N, N // 2)
    assert (whole.test.good_or_not is None) == (len(classes) == 1)
    assert numbers(measure(cut(made, rule, (0, N // 2, N)))) == numbers(whole)


def test_boxes_count_for_the_class_that_they_carry(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", N, classes=("hole", "cut"))
    (subset,) = cut(made, replace(RULES["absolute"], merge=None), (0, N))
    found = measure([subset]).test.localisation
    assert found is not None
    assert found.per_class is not None
    assert list(found.per_class) == ["hole", "cut"]
    assert sum(one.n_boxes for one in found.per_class.values()) == found.detection.n_boxes
    assert [one.n_true for one in found.per_class.values()] == [N // 4, N // 4]
    assert found.per_class["hole"].recall_30.value > 0
    swapped = [
        replace(one, boxes=tuple(replace(box, label={"hole": "cut", "cut": "hole"}[box.label]) for box in one.boxes))
        for one in subset.predictions
    ]
    wrong = measure([replace(subset, predictions=swapped)]).test.localisation
    assert wrong is not None
    assert wrong.per_class is not None
    assert wrong.detection == found.detection
    assert [one.recall_30.value for one in wrong.per_class.values()] == [0, 0]
    assert [one.n_boxes for one in wrong.per_class.values()] == [
        one.n_boxes for one in reversed(found.per_class.values())
    ]
    assert numbers(measure([subset])) == json.loads(
        json.dumps(Measurement.from_dict(measure([subset]).to_dict()).to_dict())
    )


def test_pictures_of_several_kinds_count_for_each_kind_that_is_drawn_in_them(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", N, classes=("hole", "cut"))
    # Half of each defect is drawn as its own kind, half as the other one.
    truth = Truth.read(made.samples, made.store.sizes)
    drawn = {
        made.samples[i].path: DrawnBoxes(
            np.concatenate([truth.boxes[i], truth.boxes[i] // 2 * 2 + (0, 0, 2, 2)]), ("hole", "cut")
        )
        for i in truth.with_boxes
    }
    made.samples = [sample if sample.is_good else replace(sample, defect="cut;hole") for sample in made.samples]
    (subset,) = cut(made, RULES["absolute"], (0, N))

    def per_class(kinds: Mapping[Path, DrawnBoxes] | None) -> dict[str, int]:
        found = measure([subset], kinds).test.localisation
        assert found is not None
        assert found.per_class is not None
        return {name: one.n_true for name, one in found.per_class.items()}

    assert per_class(drawn) == {"hole": N // 2, "cut": N // 2}
    assert per_class(None) == {"hole": 0, "cut": 0}  # masks do not say which of the two a region is
    nameless = {path: DrawnBoxes(one.boxes, ("hole", "anomaly")) for path, one in drawn.items()}
    assert per_class(nameless) == {"hole": 0, "cut": 0}


def test_groups_that_lie_on_both_sides_of_the_cut_stay_groups(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", N)
    # Images i and i + 12 are of one class, and of one part.
    made.samples = [replace(sample, group=f"part {i % 12}") for i, sample in enumerate(made.samples)]
    whole = measure(cut(made, RULES["relative"], (0, N)))
    assert whole.test.groups == 12
    assert numbers(measure(cut(made, RULES["relative"], (0, N // 2, N)))) == numbers(whole)


def test_pixels_do_not_depend_on_how_the_images_are_cut(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", N)
    cuts = [(0, N), (0, N // 2, N), (0, 1, 2, 3, N), tuple(range(0, N + 1, 2)), tuple(range(N + 1))]
    found = [measure(cut(made, RULES["relative"], ends)).test.localisation for ends in cuts]
    pixels = [one.pixel for one in found if one is not None]
    assert len(pixels) == len(cuts)
    assert all(pixel == pixels[0] for pixel in pixels)
    assert 0.5 < pixels[0].pixel_auroc < 1
    assert (pixels[0].n, pixels[0].n_defect_images) == (N, N // 2)


def test_without_masks_nothing_is_said_of_boxes(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", N)
    made.samples = [replace(sample, mask=None) for sample in made.samples]
    for ends in ((0, N), (0, N // 2, N)):
        found = measure(cut(made, RULES["relative"], ends))
        assert (found.test.localisation, found.curve, found.controls.boxes) == (None, None, {})
        assert found.test.other_groups is None
        assert found.test.classification.balanced_accuracy.value > 0.5
        written = found.to_dict()
        assert written["curve"] is None
        assert "localisation" not in written["test"]
        assert not {"whole_image", "centre_box", "random_box", "shuffled_boxes"} & set(written["controls"])


@pytest.mark.parametrize(("start", "kind"), [(0, "good"), (1, "hole")])
def test_with_one_kind_of_image_what_needs_both_is_unknown(tmp_path: Path, start: int, kind: str) -> None:
    made = make_data(tmp_path / "data", N)
    rows = slice(start, N, 2)
    some = Made(made.samples[rows], made.store.rows(rows), made.classes)
    assert {sample.defect for sample in some.samples} == {kind}
    found = measure(cut(some, RULES["relative"], (0, 5, N // 2)))
    assert math.isnan(found.test.classification.balanced_accuracy.value)
    assert math.isnan(found.test.classification.auroc.value)
    assert found.controls.shuffled_labels is None
    assert (found.test.localisation is None) == (kind == "good")
    if found.test.localisation is not None:
        assert math.isnan(found.test.localisation.false_boxes_per_100_good)
        assert math.isnan(found.test.localisation.before_decision.false_boxes_per_100_good)
        assert found.to_dict()["test"]["localisation"]["false_boxes_per_100_good"] is None


def test_photographs_of_a_part_are_decided_together() -> None:
    """Part a: Good, odds 1/9, 1/9 and 4/1 of a defect come to (4/81)^(1/3) = 0.37; b: a defect missed in one of two."""
    probabilities = {"a1": 0.1, "a2": 0.1, "a3": 0.8, "b1": 0.9, "b2": 0.4, "c": 0.2, "both1": 0.3, "both2": 0.9}
    defects = {"b1": "hole", "b2": "hole", "both2": "hole"}
    parts = {name: name.rstrip("0123456789") for name in probabilities}
    samples = [Sample(Path(name), defects.get(name, GOOD), group=parts[name]) for name in probabilities]
    logits = np.array([[0.0, math.log(p / (1 - p))] for p in probabilities.values()], np.float32)
    n = len(samples)
    store = OutputStore(
        [sample.path for sample in samples], np.full((n, 2), 32), logits, np.zeros((n, 2, 2, 2), np.float32),
        np.zeros(2, np.float32),
    )  # fmt: skip
    test = measure([EvaluatedSubset.predict(samples, store, make_meta(["good", "anomaly"], BoxRule()))]).test
    assert test.classification.confusion_matrix.counts == [[4, 1], [1, 2]]
    assert test.per_part is not None
    assert test.per_part.confusion_matrix.counts == [[2, 0], [0, 1]]  # the part that is in both classes is left out
    assert test.per_part.auroc.value == 1.0


def test_without_groups_there_is_no_decision_for_parts(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", N)
    assert measure(cut(made, BoxRule(), (0, N))).test.per_part is None


BORDERED = {
    "tile": Preprocess((32, 32), "torchvision", "tile"),
    "keep_ratio": Preprocess((96, 96), "torchvision", "keep_ratio"),
}


def bordered(made: Made, how: str) -> EvaluatedSubset:
    """The images by a model whose input has a border round each of them."""
    meta = replace(make_meta(made.classes, RULES["absolute"]), preprocess=BORDERED[how])
    return EvaluatedSubset.predict(made.samples, made.store, meta)


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("how", BORDERED)
def test_predictions_of_a_subset_are_those_of_single_pictures_without_their_maps(
    tmp_path: Path, how: str, refined: bool
) -> None:
    made = make_data(tmp_path / "data", N, refined=refined)
    subset = bordered(made, how)
    meta, store = subset.meta, made.store
    single = [
        make_prediction(
            path, size_of(store, i), store[i], meta.classes, meta.preprocess, meta.boxes, meta.decision,
        )
        for i, path in enumerate(store.paths)
    ]  # fmt: skip
    assert [replace(one, target=None) for one in subset.predictions] == single
    assert any(one.boxes for one in single)
    assert all(one.output is None for one in subset.predictions)
    for i, one in enumerate(single):
        assert one.output is not None
        np.testing.assert_equal(tuple(subset.with_output(i).output or ()), tuple(one.output))
    thresholds, ious = sweep(EvaluatedImages([subset]))
    truth = EvaluatedImages([subset]).truth
    known = [best_iou(boxes_array(single[i].boxes)[:3], truth.boxes[i].astype(np.float64)) for i in truth.with_boxes]
    assert ious[thresholds.tolist().index(meta.boxes.threshold)].tolist() == known


def test_a_gallery_shows_the_maps_of_a_subset(tmp_path: Path) -> None:
    made = make_data(tmp_path / "data", 4)
    subset = bordered(made, "tile")
    meta, store, shown = subset.meta, made.store, [1, 0]
    single = [
        replace(
            make_prediction(
                store.paths[i], size_of(store, i), store[i], meta.classes, meta.preprocess, meta.boxes, meta.decision
            ),
            target=subset.predictions[i].target,
        )
        for i in shown
    ]
    drawn = []
    for predictions in (single, (subset.with_output(i) for i in shown), [subset.predictions[i] for i in shown]):
        canvas = FigureCanvasAgg(gallery_figure(predictions, [made.samples[i] for i in shown]))
        canvas.draw()
        drawn.append(np.asarray(canvas.buffer_rgba()).copy())
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("refined", [False, True])
def test_a_subset_takes_as_much_memory_as_its_store(tmp_path: Path, refined: bool) -> None:
    made = make_data(tmp_path / "data", 2 * N, refined=refined)
    one = sum(map_.nbytes for map_ in bordered(made, "tile").output(0) if isinstance(map_, np.ndarray))
    stored = sum(a.nbytes for a in (made.store.maps, made.store.mask_logits) if a is not None)
    assert 2 * N * one > 30 * stored  # the outputs of all pictures, cut to them
    tracemalloc.start()
    try:
        subset = bordered(made, "tile")
        kept, most = tracemalloc.get_traced_memory()
        images = EvaluatedImages([subset])
        assert len(images.truth.boxes) == 2 * N
        tracemalloc.reset_peak()
        sweep(images)
        swept = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept < stored
    assert most < kept + 12 * one
    assert swept < stored + 12 * one
