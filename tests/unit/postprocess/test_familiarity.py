"""How familiar a picture is: conformal p-values, what is said of a low one, and what files keep of it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.familiar import imagined
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.config.rules import BoxRule
from weakspot.data.looks import LOOKS, THUMBNAIL, measure_look, shift
from weakspot.data.preprocess import Preprocess
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.familiarity import FEWEST, MEASURES, UNLIKE, Familiarity, conformal_p, packed, unpacked
from weakspot.postprocess.prediction_files import from_record, read_predictions, to_record, write_predictions
from weakspot.postprocess.predictions import distrusted, make_prediction
from weakspot.postprocess.review import doubts
from weakspot.types import Box, Look, ModelOutput, Prediction


def output(distance: float, logit: float = 4.0) -> ModelOutput:
    maps = np.zeros((2, 6, 10), np.float32)
    maps[1, 2:4, 3:6] = 5.0
    look = Look(np.zeros(len(LOOKS)), unpacked(imagined().template))
    return ModelOutput(np.array([0, logit], np.float32), maps, distances=np.array([distance], np.float32), look=look)


def predicted(
    distance: float, known: Familiarity | None, size: tuple[int, int] = (48, 80), logit: float = 4.0
) -> Prediction:
    return make_prediction(
        Path("a.png"), size, output(distance, logit), ["good", "anomaly"], Preprocess((48, 80), "torchvision"),
        BoxRule(), Decision(), familiarity=known,
    )  # fmt: skip


def test_p_values_by_hand_count_ties_against_nobody() -> None:
    held_out = np.array([0.0, 1.0, 1.0, 3.0])
    assert [conformal_p(held_out, value) for value in (-1, 1, 2, 3, 4)] == [1.0, 0.8, 0.4, 0.4, 0.2]


def test_neither_colour_nor_number_trusts_a_box_of_a_picture_that_is_unlike_all() -> None:
    doubt = f"its picture is {UNLIKE}"
    for level, trust, wanted in (("green", 0.98, 0.5), ("amber", 0.98, 0.5), ("amber", 0.5, 0.5), ("red", 0.2, 0.2)):
        box = distrusted(Box(0, 0, 9, 9, trust=trust, level=level))
        assert (box.trust, box.doubt) == (wanted, doubt)
        assert box.level == ("red" if wanted < 0.5 else "amber")
    unknown = distrusted(Box(0, 0, 9, 9))
    assert np.isnan(unknown.trust)
    assert unknown.level is None


@given(st.lists(st.integers(0, 9), min_size=2, max_size=25))
@settings(max_examples=100, deadline=None)
def test_among_exchangeable_pictures_p_is_at_most_t_for_a_share_of_at_most_t(values: list[int]) -> None:
    """Whichever of the pictures is the new one: exactly what exchangeability gives, ties and all."""
    p = np.array([conformal_p(np.sort(np.delete(np.array(values, float), i)), values[i]) for i in range(len(values))])
    for t in np.unique(p):
        assert (p <= t).mean() <= t + 1e-12


def test_an_ordinary_picture_and_one_that_is_unlike_all() -> None:
    known = imagined(150)
    usual, strange = predicted(1.0, known), predicted(30.0, known)
    assert usual.familiarity == pytest.approx((1 + 140) / 151)
    assert (usual.unlike_training, usual.message) == (False, "")
    assert (strange.familiarity, strange.unlike_training) == (1 / 151, True)
    assert strange.message == f"{UNLIKE} (familiarity 0.0066)"
    assert (strange.label, len(strange.boxes)) == ("anomaly", len(usual.boxes))
    assert {box.doubt for box in strange.boxes} == {f"its picture is {UNLIKE}"}
    assert not any(box.level == "green" for box in strange.boxes)
    found = doubts(strange, Decision())
    assert found is not None
    assert found == (1.0, f"it is {UNLIKE}")
    assert set(usual.measures) == set(MEASURES)
    assert usual.measures["distance"] == pytest.approx(1.0)
    good = predicted(30.0, known, logit=-4.0)
    assert (good.label, good.unlike_training, good.boxes) == ("good", True, ())


@pytest.mark.parametrize(
    ("held_out", "level", "promised"),
    [(FEWEST - 1, None, 0.0), (FEWEST, 1 / 20, 1 / 20), (40, 1 / 41, 1 / 41), (99, 0.01, 0.01), (150, 0.01, 1 / 151)],
)
def test_the_level_and_what_it_promises(held_out: int, level: float | None, promised: float) -> None:
    known = imagined(held_out)
    assert known.level == level
    assert known.false_alarms == pytest.approx(promised)
    assert ("too few to promise" in known.origin) == (level is None)
    assert predicted(99.0, known).unlike_training is (level is not None)


def test_a_picture_of_another_size_is_remarked_on() -> None:
    known = imagined()
    assert predicted(1.0, known, (24, 40)).message == (
        "the picture has 24×40 pixels (height × width), those of training had 48×80"
    )
    wider = replace(known, widths=(30, 80), heights=(20, 48))
    assert predicted(1.0, wider, (24, 40)).message == ""


def test_without_statistics_nothing_is_said() -> None:
    plain = predicted(30.0, None)
    assert math.isnan(plain.familiarity)
    assert (plain.unlike_training, plain.measures, plain.message) == (False, {}, "")
    known, bare = imagined(), output(30.0)._replace(distances=None)
    assert known.measures(bare) == {}
    nan = known.measures(output(float("nan")))
    assert known.p_value(nan["distance"]) == 1 / 41


def test_files_keep_it_and_old_ones_are_read(tmp_path: Path) -> None:
    found = predicted(30.0, imagined(150))
    write_predictions(tmp_path, [found])
    (again,) = read_predictions(tmp_path / "predictions.jsonl")
    assert (again.familiarity, again.unlike_training) == (found.familiarity, True)
    assert dict(again.measures) == pytest.approx(dict(found.measures), rel=1e-5)
    record = json.loads((tmp_path / "predictions.jsonl").read_text())
    (row, *_) = csv.DictReader((tmp_path / "predictions.csv").open())
    assert (row["unlike_training"], float(row["familiarity"])) == ("True", record["familiarity"])
    for key in ("familiarity", "unlike_training", "measures", "part_log_odds"):
        del record[key]
    old = from_record(record)
    assert math.isnan(old.familiarity)
    assert (old.unlike_training, old.measures, old.label) == (False, {}, "anomaly")
    with pytest.raises(ValueError, match="familiarity"):
        from_record(to_record(found) | {"familiarity": "high"})


def test_its_description_survives_json() -> None:
    known = imagined()
    assert Familiarity.from_dict(json.loads(json.dumps(known.to_dict()))) == known


@pytest.mark.parametrize(
    "spoilt",
    [
        {"taps": []}, {"ranks": [1, 2]}, {"spread": [1.0, 0.0]}, {"typical": [0.0]}, {"precision": [[1.0]]},
        {"template": "AAAA"}, {"template": "?"}, {"good": [], "defective": []}, {"good": ["x"]}, {"heights": [3]},
        {"widths": [9, 3]}, {"centre": [float("inf"), 0.0]}, {"more": 1}, {"channels": [1.5]},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_description_is_refused(spoilt: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Familiarity.from_dict(imagined().to_dict() | spoilt)


# --- looks --------------------------------------------------------------------------------------------------------


def scene(shade: int = 160) -> np.ndarray[Any, Any]:
    image = np.random.default_rng(0).integers(30, 60, (90, 120, 3)).astype(np.uint8)
    image[25:65, 30:80] = shade
    return image


def test_looks_measure_what_they_are_called() -> None:
    before = dict(zip(LOOKS, measure_look(scene()).values, strict=True))
    darker = dict(zip(LOOKS, measure_look((scene() * 0.8).astype(np.uint8)).values, strict=True))
    assert darker["brightness"] < before["brightness"] - 3
    assert darker["sharpness"] == pytest.approx(before["sharpness"], abs=0.25)
    red = scene()
    red[..., 0] = np.minimum(255, red[..., 0] + 60)
    assert dict(zip(LOOKS, measure_look(red).values, strict=True))["red_green"] > before["red_green"] + 5
    flat = np.full((40, 50, 3), 90, np.uint8)
    assert np.isfinite(measure_look(flat).values).all()


def test_only_the_region_of_interest_counts() -> None:
    region = np.zeros((90, 120), bool)
    region[30:60, 35:75] = True
    inside = measure_look(scene(160), region)
    bright_outside = scene(160)
    bright_outside[:20] = 255
    np.testing.assert_allclose(measure_look(bright_outside, region).values, inside.values)


def test_a_shift_is_measured_in_shares_of_the_picture() -> None:
    template = measure_look(scene()).thumbnail
    moved = np.roll(scene(), (0, 12), axis=(0, 1))
    across, down = shift(measure_look(moved).thumbnail, template)
    assert across == pytest.approx(0.1, abs=0.02)
    assert down == pytest.approx(0.0, abs=0.02)
    assert shift(np.zeros((THUMBNAIL, THUMBNAIL), np.uint8), template) == (0.0, 0.0)
    np.testing.assert_array_equal(unpacked(packed(template)), template)
