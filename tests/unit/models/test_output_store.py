"""Outputs on disk: what goes in comes out, row by row, whatever a model gives besides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weakspot.errors import WeakspotError
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import from_record, to_line, to_record
from weakspot.types import ModelOutput, Prediction
from weakspot.utils.files import jsonable

NAN = float("nan")
ROWS = np.array([[1.5, NAN, -2], [0, NAN, 4], [-1, NAN, 0.25]], np.float32)


def store_of(rows: np.ndarray | None = ROWS) -> OutputStore:
    outputs = [
        ModelOutput(np.full(2, n, np.float32), np.full((2, 2, 3), n, np.float32))._replace(
            distances=np.array([n, -n], np.float32), part_log_odds=None if rows is None else rows[n]
        )
        for n in range(3)
    ]
    return OutputStore.of([Path(f"{n}.png") for n in range(3)], np.full((3, 2), 9), outputs, np.zeros(2, np.float32))


def test_log_odds_of_parts_stay_with_their_pictures(tmp_path: Path) -> None:
    store = store_of()
    store.save(tmp_path / "maps.npz")
    joined = OutputStore.join([store.rows(slice(1, 3)), OutputStore.load(tmp_path / "maps.npz")])
    assert joined.part_log_odds is not None
    np.testing.assert_array_equal(joined.part_log_odds, ROWS[[1, 2, 0, 1, 2]])
    assert joined[1].named_log_odds == {"classifier": -1.0, "location": 0.25}
    np.testing.assert_array_equal(joined[1].distances, [2, -2])


def test_a_model_whose_classifier_decides_alone_has_none(tmp_path: Path) -> None:
    store_of(None).save(tmp_path / "maps.npz")
    again = OutputStore.load(tmp_path / "maps.npz")
    assert again.part_log_odds is None
    assert again[0].named_log_odds == {}


def test_log_odds_of_another_number_of_pictures_are_refused() -> None:
    with pytest.raises(WeakspotError, match="do not belong together"):
        replace(store_of(), part_log_odds=ROWS[:2])


def test_predictions_keep_them_in_their_file_and_old_files_are_read() -> None:
    found = Prediction(Path("a.png"), label="good", part_log_odds={"classifier": 1 / 3, "statistics": -2.0})
    record = json.loads(to_line(jsonable(to_record(found))))
    assert record["part_log_odds"] == {"classifier": 0.333333, "statistics": -2.0}
    assert from_record(record).part_log_odds == record["part_log_odds"]
    del record["part_log_odds"]
    assert from_record(record).part_log_odds == {}
    with pytest.raises(ValueError, match="part_log_odds"):
        from_record(record | {"part_log_odds": 3})


@pytest.mark.parametrize("turned", [False, True])
def test_what_not_all_stores_have_is_left_out_of_what_they_are_joined_to(turned: bool) -> None:
    looks = (np.zeros((3, 2), np.float32), np.zeros((3, 2, 2), np.uint8))
    rich, poor = replace(store_of(), looks=looks), replace(store_of(None), distances=None)
    joined = OutputStore.join([poor, rich] if turned else [rich, poor])
    assert (len(joined), joined.distances, joined.looks, joined.part_log_odds) == (6, None, None, None)
    whole = OutputStore.join([rich, rich])
    assert whole.looks is not None
    assert len(whole.looks[0]) == len(whole.looks[1]) == 6
