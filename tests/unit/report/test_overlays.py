"""What a picture shows: quiet where there is nothing, boxes where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from weakspot.postprocess.familiarity import UNLIKE
from weakspot.postprocess.prediction_files import UniqueNames
from weakspot.report import overlays
from weakspot.report.overlays import (
    BOX_COLOUR,
    MASK_COLOUR,
    TRUST_COLOURS,
    blend,
    captioned,
    draw,
    overlay,
    verdict_words,
    with_legend,
    write_heatmap,
    write_overlay,
)
from weakspot.types import Box, ClassConfidence, Level, ModelOutput, Prediction

IMAGE = np.full((60, 90, 3), 128, np.uint8)
MAPS = np.stack([np.zeros((4, 6)), np.arange(24.0).reshape(4, 6)]).astype(np.float32)
OUTPUT = ModelOutput(np.array([0.0, 1.0], np.float32), MAPS)
ORDER = (ClassConfidence("anomaly", 0.9), ClassConfidence("good", 0.1))


def predicted(label: str, *boxes: Box) -> Prediction:
    return Prediction(
        Path("a.png"),
        height=60,
        width=90,
        label=label,
        classes=ORDER,
        boxes=boxes,
        output=OUTPUT,
    )


def test_a_good_part_is_shown_as_it_is() -> None:
    assert np.array_equal(overlay(IMAGE, predicted("good")), IMAGE)
    assert not np.array_equal(overlay(IMAGE, predicted("anomaly")), IMAGE)


def test_a_flat_map_and_the_coldest_place_leave_the_picture_alone() -> None:
    assert np.array_equal(blend(IMAGE, np.full((4, 6), 3.0)), IMAGE)
    assert np.array_equal(blend(IMAGE, MAPS[1])[0, 0], IMAGE[0, 0])


def test_the_frame_lies_on_the_box_and_inside_the_picture() -> None:
    shown = overlay(IMAGE, predicted("anomaly", Box(20, 30, 50, 55)))
    for y, x in ((30, 30), (54, 30), (40, 20), (40, 49)):
        assert tuple(shown[y, x]) == BOX_COLOUR
    assert shown.shape == IMAGE.shape
    assert overlay(np.zeros((1, 1, 3), np.uint8), predicted("good")).shape == (1, 1, 3)


@given(
    st.lists(st.sampled_from(["a/x.png", "b/x.png", "b/X.png", "c/x.jpg", f"d/{'ü' * 240}.png", f"e/{'ü' * 240}1.png"]))
)
def test_names_are_unique_and_short(paths: list[str]) -> None:
    names = UniqueNames()
    given_names = [names(Path(path)) for path in paths]
    assert len({name.casefold() for name in given_names}) == len(paths)
    assert all(len(name.encode()) <= 255 for name in given_names)


def test_a_heat_map_is_a_grey_picture_of_the_images_shape(tmp_path: Path) -> None:
    logits = np.array([-40.0, 40.0], np.float32)  # surely defective, so that the map is that of place and pixel
    maps = np.array([[[0, 0, 0, 0]], [[0, 1, 2, 4]]], np.float32)
    pixels = np.array([[-40.0, -40.0, 40.0, 0.0]], np.float32)
    plain = ModelOutput(logits, maps)
    heads = plain._replace(mask_logits=pixels, location_logits=np.full((1, 4), 40.0, np.float32))
    for output, values in ((heads, [0, 0, 255, 128]), (plain, [0, 64, 128, 255])):
        write_heatmap(tmp_path / "x.png", Prediction(Path("a.png"), height=1, width=4, output=output))
        shown = np.asarray(Image.open(tmp_path / "x.png"))
        assert shown.dtype == np.uint8
        np.testing.assert_allclose(shown, [values], atol=1)
    write_heatmap(tmp_path / "large.png", Prediction(Path("a.png"), height=1000, width=2048, output=plain))
    assert Image.open(tmp_path / "large.png").size == (512, 250)
    write_heatmap(tmp_path / "none.png", Prediction(Path("a.png"), status="error", message="damaged"))
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("level", ["green", "amber", "red"])
def test_the_frame_has_the_colour_of_its_trust(level: Level) -> None:
    shown = overlay(IMAGE, predicted("anomaly", Box(20, 30, 50, 55, trust=0.5, level=level)))
    assert tuple(shown[54, 30]) == TRUST_COLOURS[level]
    assert len({BOX_COLOUR, MASK_COLOUR, *TRUST_COLOURS.values()}) == 5


def test_below_boxes_stands_what_the_colours_mean(tmp_path: Path) -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    shown = with_legend(picture)
    assert np.array_equal(shown[:200], picture)
    for colour in TRUST_COLOURS.values():
        assert (shown[200:] == colour).all(axis=2).any()
    narrow = np.zeros((60, 90, 3), np.uint8)
    assert np.array_equal(with_legend(narrow), narrow)
    whole = Prediction(Path("a.png"), height=200, width=300, label="anomaly", classes=ORDER, boxes=(Box(0, 0, 9, 9),))
    for name, prediction in (("with.jpg", whole), ("without.jpg", replace(whole, boxes=()))):
        write_overlay(tmp_path / name, picture, prediction)
    sizes = {Image.open(tmp_path / name).size for name in ("with.jpg", "without.jpg")}
    assert len(sizes) == 1  # a folder of them can be flicked through
    assert sizes.pop()[1] > 220


def test_the_verdict_stands_above_every_picture() -> None:
    called = replace(predicted("anomaly"), probability=0.777)
    assert verdict_words(called) == "called anomaly; probability of a defect 78%; no box: evidence below threshold"
    boxed = replace(called, boxes=(Box(0, 0, 9, 9),))
    assert verdict_words(boxed) == "called anomaly; probability of a defect 78%"
    good = replace(predicted("good"), probability=0.1, unlike_training=True)
    assert verdict_words(good) == f"called good; probability of a defect 10%; {UNLIKE}"
    assert verdict_words(replace(boxed, label="Riß")).startswith("called Ri?;")
    assert verdict_words(Prediction(Path("a.png"), status="error", height=9, width=9)) == "not predicted"
    shown = captioned(IMAGE, good)
    assert shown.shape[0] > IMAGE.shape[0]
    assert (shown[: shown.shape[0] - IMAGE.shape[0]] > 100).any()


def test_a_box_says_how_far_it_can_be_trusted_and_not_two_percentages() -> None:
    drawn = []
    plain, trusted = Box(20, 30, 50, 55, 3.0), Box(20, 30, 50, 55, 3.0, trust=0.4, level="red")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlays, "_caption", lambda canvas, text, *rest: drawn.append(text))
        for box in (plain, trusted):
            draw(IMAGE, (box,), (60, 90))
    assert drawn == ["anomaly, 95%", "anomaly, trust 40%"]
