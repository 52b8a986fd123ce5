"""weakspot explain and summary, ImageNet mode, and runs whose maps are made by another method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from torch import nn

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.explain import subjects
from weakspot.explain.explanation import (
    EVIDENCE,
    Explanation,
    evidence_by_region,
    explain,
    hot_boxes,
    smallest_change,
)
from weakspot.heatmaps.subject import Answer, Subject
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.familiarity import UNLIKE
from weakspot.report.explained import classes_in_words, jet_overlay, parts_in_words, write_explanation
from weakspot.types import Box, ClassConfidence, ImageArray, Prediction

# --- what a model says, and what would change it, on a model made by hand ------------------------------------------


def brightness(images: Sequence[ImageArray], preprocess: Preprocess) -> list[Answer]:
    """Class 1 where more than 30 pixels are bright: a model that anyone can see through."""
    bright = [float((image[..., 0] > 200).sum()) for image in images]
    return [Answer(int(n > 30), softmax([0.0, (n - 30) / 50])) for n in bright]


def two_spots() -> tuple[Subject, ImageArray, np.ndarray]:
    image = np.full((40, 60, 3), 100, np.uint8)
    image[5:15, 8:18] = 250  # 100 bright pixels
    image[30:34, 40:44] = 250  # 16
    map_ = np.zeros((40, 60), np.float32)
    map_[5:15, 8:18], map_[30:34, 40:44] = 4.0, 3.0
    subject = Subject(nn.Identity(), ["good", "anomaly"], Preprocess((40, 64), "caffe"), brightness)
    return subject, image, map_


def test_evidence_of_a_region_is_what_the_model_says_without_it() -> None:
    subject, image, map_ = two_spots()
    donor = np.full((40, 60, 3), 100, np.uint8)
    first, second = evidence_by_region(subject, image, map_, 1, donor)
    assert (first.box.xyxy, second.box.xyxy) == ((8, 5, 18, 15), (40, 30, 44, 34))
    assert first.share == pytest.approx(400 / 448)
    assert first.confidence == pytest.approx(float(softmax([0, (16 - 30) / 50])[1]))
    assert (first.label, second.label) == ("good", "anomaly")


def test_the_evidence_of_the_boxes_explains_a_defect_and_the_classifiers_map_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, image, map_ = two_spots()
    Image.fromarray(image).save(tmp_path / "a.png")
    asked = []

    def of_classifier(*given: object) -> np.ndarray:
        asked.append(given[-2])
        return np.zeros((1, 40, 60), np.float32)

    monkeypatch.setattr(Subject, "pixels", lambda *_: None)
    monkeypatch.setattr(Subject, "maps", of_classifier)
    monkeypatch.setattr(Subject, "over_picture", lambda _, map_, image: map_)
    subject = replace(plain, evidence=lambda image, preprocess: map_[::2, ::2] / 4)
    found = explain(subject, tmp_path / "a.png", EVIDENCE)
    assert (found.method, found.target, asked) == (EVIDENCE, "anomaly", [])
    assert [region.box.xyxy for region in found.regions][:1] == [(8, 6, 18, 16)]  # in cells of two pixels
    assert found.change is not None
    assert found.to_dict()["heatmap"]["method"] == EVIDENCE
    assert write_explanation(tmp_path / "why.png", found) is None
    assert np.asarray(Image.open(tmp_path / "why.png")).std() > 10
    for one, target in ((subject, "good"), (plain, "anomaly")):  # evidence is of defects; and without any
        assert explain(one, tmp_path / "a.png", EVIDENCE, target).method == "cam"
    assert asked == ["cam", "cam"]


def test_the_smallest_change_leaves_out_what_is_not_needed() -> None:
    subject, image, map_ = two_spots()
    donor = np.full((40, 60, 3), 100, np.uint8)
    map_[30:34, 40:44] = 4.0  # as hot as the one that matters
    change = smallest_change(subject, image, map_, 1, donor)
    assert change is not None
    assert [box.xyxy for box in change.boxes] == [(8, 5, 18, 15)]
    assert change.area == pytest.approx(100 / 2400)
    assert change.label == "good"
    assert (change.picture[30:34, 40:44] == 250).all()
    assert smallest_change(subject, image, map_[::-1], 1, donor) is None  # looks at the wrong places


def subject_that_predicts(given: Sequence[Prediction], monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The subject of a run whose model says what is given, whatever it is shown."""
    localizer = SimpleNamespace(
        meta=SimpleNamespace(classes=["good", "anomaly"], preprocess=Preprocess((40, 64), "caffe")),
        model=SimpleNamespace(network=nn.Identity(), evidence=None, statistics=None),
    )
    localizer.with_preprocess = lambda _: SimpleNamespace(predict=lambda images: given[: len(images)])
    monkeypatch.setattr(Localizer, "load", lambda *_: localizer)
    monkeypatch.setattr(subjects, "Logits", lambda network: network)
    return subjects.subject_of_run(Path("run"))


def test_a_picture_that_cannot_be_predicted_is_not_explained_and_the_reason_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A picture of another shape than the shared region of interest ended in KeyError: 'good'."""
    why = "a.png is 40×60 and the region of interest 80×60; draw one for it"
    subject = subject_that_predicts([Prediction(Path("a.png"), status="error", message=why)], monkeypatch)
    with pytest.raises(WeakspotError, match=why):
        subject.ask([np.zeros((40, 60, 3), np.uint8)])


def test_a_picture_that_is_unlike_training_is_explained_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """`predict` said so of a meadow that a model of metal was shown; `explain` explained it as any other."""
    order = (ClassConfidence("anomaly", 0.9), ClassConfidence("good", 0.1))
    plain = Prediction(Path("a.png"), height=40, width=60, label="anomaly", classes=order)
    subject = subject_that_predicts([plain, replace(plain, unlike_training=True)], monkeypatch)
    usual, strange = subject.ask([np.zeros((40, 60, 3), np.uint8)] * 2)
    assert (usual.label, usual.remark) == (1, "")
    assert strange.remark == f"it is {UNLIKE}: do not believe its class before you have looked"


@pytest.mark.parametrize("map_", [np.zeros((4, 6)), -np.ones((4, 6))])
def test_a_map_without_anything_positive_has_no_regions(map_: np.ndarray) -> None:
    assert hot_boxes(map_.astype(np.float32), 0.5) == []


def test_regions_of_one_pixel_and_at_the_edge() -> None:
    map_ = np.zeros((4, 6), np.float32)
    map_[0, 0], map_[2:, 4:] = 1, 2
    assert hot_boxes(map_, 0.5) == [(Box(4, 2, 6, 4), 8 / 9), (Box(0, 0, 1, 1), 1 / 9)]


def test_classes_go_by_name_or_id_in_any_number() -> None:
    subject = Subject(nn.Identity(), ["good", "Crack", "7", "hole"], Preprocess((32, 32), "caffe"), brightness)
    assert [subject.class_id(name) for name in ("crack", "3", "7", "0")] == [1, 3, 2, 0]
    with pytest.raises(WeakspotError, match=r"class hol does .*did you mean 'hole'\?\).*good \(0\), Crack \(1\), 7"):
        subject.class_id("hol")
    with pytest.raises(WeakspotError, match="class 4 does not exist"):
        subject.class_id("4")


def test_a_class_that_is_not_the_likeliest_is_decided_for_with_a_word() -> None:
    empty = np.zeros((4, 6), np.float32)
    said = Explanation(
        Path("a.png"), np.zeros((4, 6, 3), np.uint8), (("good", 0, 0.546), ("anomaly", 1, 0.454)), 1, "anomaly", 1,
        "cam", "", empty, empty, (), None, 0.0,
    )  # fmt: skip
    first, second, why = classes_in_words(said)
    assert first.endswith("good (0)")
    assert second.endswith("<- decided")
    assert why == "the likeliest is not decided for: the threshold was set on held-out pictures"
    assert len(classes_in_words(replace(said, decided=0))) == 2
    assert parts_in_words(said) == []
    of_parts = replace(said, part_log_odds={"classifier": 2.06, "location": -0.3})
    (line,) = parts_in_words(of_parts)
    assert line == "log-odds of a defect: classifier +2.1, location -0.3; their mean makes the class"
    assert of_parts.to_dict()["part_log_odds"] == {"classifier": 2.06, "location": -0.3}


def test_the_jet_overlay_is_the_tutorial_s() -> None:
    rng = np.random.default_rng(0)
    image, map_ = rng.integers(0, 255, (12, 20, 3), dtype=np.uint8), rng.normal(size=(12, 20))
    heat = np.maximum(map_, 0) / np.max(map_)  # the tutorial, line by line
    colours = mpl.colormaps["jet"](np.arange(256))[:, :3]
    superimposed = colours[np.uint8(255 * heat)] * 255 * 0.4 + image
    superimposed = superimposed - superimposed.min()  # keras.utils.array_to_img
    wanted = (superimposed / superimposed.max() * 255).astype(np.uint8)
    assert np.abs(jet_overlay(image, map_).astype(int) - wanted).max() <= 1
    assert jet_overlay(image, np.zeros((12, 20))).shape == image.shape
