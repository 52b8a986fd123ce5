"""What models say of pictures that they were not trained on: joined, kept, and refused when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weakspot.errors import WeakspotError
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.output_store import OutputStore
from weakspot.training.held_out import HeldOut
from weakspot.types import ModelOutput


def store(names: list[str]) -> OutputStore:
    outputs = [ModelOutput(np.full(2, ord(n), np.float32), np.zeros((2, 2, 3), np.float32)) for n in names]
    sizes = np.array([[20, 30]] * len(names), dtype=np.int64)
    return OutputStore.of([Path(n) for n in names], sizes, outputs, np.zeros(2, np.float32))


def said_of(good: str, defects: str, *, imitated: bool = True) -> HeldOut:
    logits = np.array([[ord(n), 0] for n in good + defects], dtype=np.float32).reshape(-1, 2)
    distances = [float(ord(n)) for n in good + defects]
    boxes = [np.array([[0, 0, 1, 1]], dtype=np.int64) for _ in good]
    of_imitations = LocatedOutputs(store(list(good)), boxes) if imitated and good else None
    return HeldOut(logits, distances, store(list(good)) if good else None, of_imitations)


def test_good_pictures_of_all_models_come_first() -> None:
    joined = HeldOut.join([said_of("ab", "x"), said_of("", "yz"), said_of("c", "", imitated=False)], [2, 0, 1])
    assert joined.logits[:, 0].tolist() == [float(ord(n)) for n in "abcxyz"]
    assert joined.distances == [float(ord(n)) for n in "abcxyz"]
    assert joined.good is not None
    assert [path.name for path in joined.good.paths] == ["a", "b", "c"]
    assert joined.imitated is not None
    assert len(joined.imitated) == 2


def test_distances_are_left_out_where_one_model_knows_none() -> None:
    without = HeldOut(said_of("a", "").logits, [], store(["a"]), None)
    joined = HeldOut.join([said_of("b", "x"), without], [1, 1])
    assert joined.distances == []
    assert joined.logits[:, 0].tolist() == [float(ord(n)) for n in "bax"]


@pytest.mark.parametrize(("good", "defects"), [("ab", "x"), ("", "x")])
def test_what_is_kept_comes_back(tmp_path: Path, good: str, defects: str) -> None:
    said = said_of(good, defects)
    assert not HeldOut.is_kept(tmp_path / "new")
    said.save(tmp_path / "new")
    assert HeldOut.is_kept(tmp_path / "new")
    again = HeldOut.load(tmp_path / "new")
    assert np.array_equal(again.logits, said.logits)
    assert again.distances == said.distances
    assert (again.good is None, again.imitated is None) == (said.good is None, said.imitated is None)
    if again.good is not None and again.imitated is not None:
        assert again.good.paths == [Path(n) for n in good]
        assert [boxes.tolist() for boxes in again.imitated.boxes] == [[[0, 0, 1, 1]]] * len(good)


def test_what_a_person_drew_in_is_joined_and_kept(tmp_path: Path) -> None:
    parts = [
        replace(said_of("a", name), drawn=LocatedOutputs(store([name]), [np.array([[0, 0, number, 9]])]))
        for number, name in enumerate("xy", start=1)
    ]
    HeldOut.join([*parts, said_of("b", "z")], [1, 1, 1]).save(tmp_path)
    drawn = HeldOut.load(tmp_path).drawn
    assert drawn is not None
    assert [path.name for path in drawn.outputs.paths] == ["x", "y"]
    assert [boxes.tolist() for boxes in drawn.boxes] == [[[0, 0, 1, 9]], [[0, 0, 2, 9]]]
    assert HeldOut.join([said_of("b", "z")], [1]).drawn is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    said_of("a", "x").save(tmp_path)
    (tmp_path / "held_out.json").write_text("{}")
    with pytest.raises(WeakspotError, match=r"held_out\.json is damaged"):
        HeldOut.load(tmp_path)
