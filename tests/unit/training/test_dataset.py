"""Samples with their groups, and the split they get."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.parts import part_of, parts_config
from PIL import Image

from weakspot.config.schema import DataConfig, TrainConfig
from weakspot.data.near_duplicates import NearDuplicates
from weakspot.errors import WeakspotError
from weakspot.training.dataset import Data, index_and_split, joined_groups, read_and_check, with_groups
from weakspot.types import GOOD, Sample


def samples(*names: str) -> list[Sample]:
    return [Sample(Path("/data") / name, GOOD) for name in names]


def split_data(config: TrainConfig, cache_folder: Path | None = None) -> Data:
    return index_and_split(config.data, config.split, cache_folder)


def test_groups_from_a_pattern() -> None:
    given_names = samples("good/part1_a.png", "good/part1_b.png", "bad/part2_a.png", "bad/other.png")
    grouped = with_groups(given_names, r"part(\d+)", Path("/data"))
    assert [sample.group for sample in grouped] == ["1", "1", "2", None]
    assert [s.group for s in with_groups(given_names, "^[a-z]+", Path("/data"))] == ["good", "good", "bad", "bad"]
    assert with_groups(given_names, None, Path("/data")) == given_names
    with pytest.raises(WeakspotError, match=r"data\.group=\( is not a regular expression"):
        with_groups(given_names, "(", Path("/data"))
    with pytest.raises(WeakspotError, match=r"data\.group=tile fits no image"):
        with_groups(given_names, "tile", Path("/data"))


def test_a_class_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    kind = os.fsdecode(b"Ri\xdf")
    for name in ("good/1.png", "good/2.png", f"{kind}/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 20, 30)).save(tmp_path / name)
    indexed = read_and_check(DataConfig("folder", str(tmp_path)))
    assert [sample.defect for sample in indexed.samples] == [GOOD, GOOD, kind]
    assert len(indexed.data_hash) == 64


def test_known_groups_and_near_duplicates_are_joined() -> None:
    near = NearDuplicates([(1, 2, 0.9)], 0.5, 0.1, 6)
    known = with_groups(samples("a1", "a2", "x", "y", "b1", "b2"), r"^([ab])\d", Path("/data"))
    groups = [sample.group for sample in joined_groups(known, near)]
    assert groups[0] == groups[1] == groups[2] is not None
    assert groups[3] is None
    assert groups[4] == groups[5] is not None
    assert groups[4] != groups[0]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("split", ["split.test_size=0.3", "split.folds=3 split.fold=1"])
def test_each_part_is_on_one_side_only(parts: Path, split: str) -> None:
    data = split_data(parts_config(parts, *split.split(), "split.val_size=0.2"))
    sides: dict[str, set[str]] = {}
    for sample, subset in zip(data.samples, data.subsets, strict=True):
        sides.setdefault(part_of(str(sample.path)), set()).add(subset)
    assert {len(side) for side in sides.values()} == {1}
    assert not any(data.near_training_image)


@pytest.mark.usefixtures("tiny")
def test_the_search_is_kept_and_a_damaged_file_is_made_anew(parts: Path, tmp_path: Path) -> None:
    config = parts_config(parts)
    first = split_data(config, tmp_path)
    (kept,) = (tmp_path / "near-duplicates").iterdir()
    assert first.near_duplicates == NearDuplicates.from_dict(json.loads(kept.read_text()))
    changed = {**json.loads(kept.read_text()), "usual": 0.25}
    kept.write_text(json.dumps(changed))
    again = split_data(config, tmp_path)
    assert again.near_duplicates is not None
    assert again.near_duplicates.usual == 0.25  # read, not searched
    kept.write_text("{")
    assert split_data(config, tmp_path).near_duplicates == first.near_duplicates


@pytest.mark.usefixtures("tiny")
def test_an_unknown_policy_is_refused(parts: Path) -> None:
    with pytest.raises(WeakspotError, match=r"split\.near_duplicates=togehter is unknown .did you mean .together"):
        split_data(parts_config(parts, "split.near_duplicates=togehter"))
