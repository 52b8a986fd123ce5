"""Photographs of the same part are found, and stay on one side of a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from helpers.parts import parts_config
from helpers.real import REAL_DATA, needs_data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from weakspot.data import synthetic
from weakspot.data.images import ImageInfo, inspect_images, list_images
from weakspot.data.near_duplicates import LEAST, NearDuplicates, find_near_duplicates
from weakspot.data.shifts import agreement
from weakspot.training.dataset import index_and_split

Float = npt.NDArray[np.float32]


def noise(seed: int, *shape: int) -> Float:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- agreement ----------------------------------------------------------------------------------------------------


def test_agreement_of_a_picture_with_itself_shifted_cropped_turned_down_and_of_others() -> None:
    a = noise(0, 40, 60)
    assert agreement(a, a) == pytest.approx(1, abs=1e-5)
    assert agreement(a, 0.3 * a) == pytest.approx(1, abs=1e-5)
    assert agreement(a, -a) < 0.5
    assert agreement(a, a[7:, :50]) == pytest.approx(1, abs=1e-5)
    assert agreement(a[5:], a[:-5]) == pytest.approx(1, abs=1e-5)
    assert agreement(a, noise(1, 40, 60)) < 0.3


def test_without_detail_nothing_agrees() -> None:
    flat = np.zeros((20, 20), np.float32)
    assert agreement(flat, flat) == 0
    assert agreement(flat, noise(0, 20, 20)) == 0
    assert agreement(np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)) == 0


def test_the_same_picture_at_another_resolution_agrees() -> None:
    large = cv2.GaussianBlur(noise(2, 120, 160), (0, 0), 4)
    small = cv2.resize(large, (80, 60), interpolation=cv2.INTER_AREA)
    assert agreement(large, small) > 0.99
    assert agreement(small, large) > 0.99


def by_hand(a: Float, b: Float) -> float:
    best, smaller = [], min(a.size, b.size)
    for dy in range(-b.shape[0] + 1, a.shape[0]):
        for dx in range(-b.shape[1] + 1, a.shape[1]):
            one = a[max(0, dy) : b.shape[0] + dy, max(0, dx) : b.shape[1] + dx].astype(np.float64)
            other = b[max(0, -dy) : a.shape[0] - dy, max(0, -dx) : a.shape[1] - dx].astype(np.float64)
            energy = np.sqrt((one**2).sum() * (other**2).sum())
            if one.size >= 0.5 * smaller and energy > 1e-3 * one.size:
                best.append((one * other).sum() / energy)
    return max([0.0, *best])


# Sides that are not another's multiple: nothing is taken for the same picture at another resolution.
@given(
    arrays(np.float32, (5, 7), elements=st.floats(-3, 3, width=16)),
    arrays(np.float32, (7, 4), elements=st.floats(-3, 3, width=16)),
)
def test_agreement_equals_the_formula_worked_out_shift_by_shift(a: Float, b: Float) -> None:
    assert agreement(a, b) == pytest.approx(by_hand(a, b), abs=1e-3)


# --- search -------------------------------------------------------------------------------------------------------


def test_every_part_is_found_again_and_none_is_invented(parts: Path) -> None:
    paths = list_images(parts / "metal" / "train") + list_images(parts / "metal" / "test")
    found = find_near_duplicates(inspect_images(paths))
    stems = [f"{path.parent}/{path.stem.split('_again')[0]}" for path in paths]
    groups = found.groups()
    together = {(a, b) for a in range(len(paths)) for b in range(a) if groups[a] == groups[b]}
    assert together == {(a, b) for a in range(len(paths)) for b in range(a) if stems[a] == stems[b]}
    repeated = {stem for stem in stems if stems.count(stem) == 3}
    assert (found.repeated, found.n_groups) == (3 * len(repeated), len(repeated))
    assert found.images == len(paths)
    assert found.limit >= LEAST > found.usual


@pytest.mark.slow
@pytest.mark.parametrize("subset", ["brushed_metal", "fabric", "gear"])
def test_different_parts_of_one_kind_are_no_near_duplicates(tmp_path: Path, subset: str) -> None:
    folder = synthetic.generate(tmp_path, subset, seed=5, good=40, defect=3, size=(128, 128))
    assert (
        find_near_duplicates(inspect_images(list_images(folder / "train") + list_images(folder / "test"))).pairs == []
    )


def test_few_images_flat_images_and_copies(tmp_path: Path) -> None:
    assert find_near_duplicates([]).pairs == []
    for name, value in (("a", 10), ("b", 10), ("c", 200)):
        Image.new("L", (20, 20), value).save(tmp_path / f"{name}.png")
    infos = inspect_images(list_images(tmp_path))
    assert find_near_duplicates(infos[:1]).groups() == [0]
    found = find_near_duplicates(infos)
    assert found.pairs == [(0, 1, 1.0)]  # the same bytes, though there is no detail to compare
    assert found.groups() == [0, 0, 1]


def test_pictures_that_all_look_the_same_are_possible_and_form_no_group(tmp_path: Path) -> None:
    """One object, always in the same place: its edges agree in every pair, and nothing tells one part from the next."""
    structure = cv2.GaussianBlur(noise(0, 96, 96), (0, 0), 1.5) * 300 + 128
    for k in range(24):
        folder = tmp_path / "metal" / ("train/good" if k < 16 else "test/dent")
        folder.mkdir(parents=True, exist_ok=True)
        grain = np.random.default_rng(k).normal(0, 3, (96, 96))
        Image.fromarray(np.clip(structure + grain, 0, 255).astype(np.uint8)).save(folder / f"{k}.png")
    paths = list_images(tmp_path / "metal")
    found = find_near_duplicates(inspect_images(paths))
    assert (found.pairs, found.n_groups, found.repeated) == ([], 0, 0)
    assert len(found.possible) > 24
    config = parts_config(tmp_path)
    data = index_and_split(config.data, config.split)
    assert not any(data.near_training_image)
    (remark,) = data.warnings
    assert remark.startswith("near-duplicates: ")
    assert "may show the same part or only the same pose" in remark
    assert "not grouped" in remark


def test_where_most_images_would_be_one_part_nothing_is_grouped(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_one(images: Sequence[ImageInfo], _: object) -> NearDuplicates:
        return NearDuplicates([(0, k, 0.9) for k in range(1, len(images))], 0.5, 0.1, len(images))

    monkeypatch.setattr("weakspot.training.dataset.near_duplicates", all_one)
    config = parts_config(parts)
    data = index_and_split(config.data, config.split)
    assert data.near_duplicates is None
    (warning,) = data.warnings
    assert warning.startswith("warning: ")
    assert "cannot tell one part from another" in warning


def test_parts_that_share_their_shape_are_told_apart_by_their_surface(tmp_path: Path) -> None:
    """Half of the detail is the same in all pictures; photographs of the same part agree in the other half too."""
    shape = cv2.GaussianBlur(noise(0, 96, 96), (0, 0), 1.5) * 300
    for k in range(30):
        surface = cv2.GaussianBlur(noise(k + 1, 96, 96), (0, 0), 1.5) * 300
        for j in range(1 + (k < 5)):
            grain = np.random.default_rng(100 * k + j).normal(0, 3, (96, 96))
            picture = np.clip((shape + surface) * (1 - 0.2 * j) + 128 + grain, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / f"{k:02d}_{j}.png")
    paths = list_images(tmp_path)
    found = find_near_duplicates(inspect_images(paths))
    assert 0.3 < found.usual < 0.7
    pairs = {(paths[a].name[:2], paths[b].name[:2]) for a, b, _ in found.pairs}
    assert pairs == {(f"{k:02d}", f"{k:02d}") for k in range(5)}


def test_groups_links_and_counts() -> None:
    found = NearDuplicates([(0, 1, 0.9), (1, 2, 0.8), (0, 2, 0.6), (4, 5, 0.7)], 0.5, 0.1, 6)
    assert found.groups() == [0, 0, 0, 1, 2, 2]
    assert [pair[:2] for pair in found.links()] == [(4, 5), (1, 2), (0, 1)]
    assert [pair[2] for pair in found.links()] == pytest.approx([0.7, 0.8, 0.9])
    assert (found.repeated, found.n_groups) == (5, 2)
    assert NearDuplicates.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    older = {name: value for name, value in found.to_dict().items() if name != "possible"}
    assert NearDuplicates.from_dict(older) == found
    possible = replace(found, possible=[(0, 3, 0.55)])
    assert NearDuplicates.from_dict(json.loads(json.dumps(possible.to_dict()))) == possible
    assert possible.groups() == found.groups()
    assert possible.any
    assert not NearDuplicates([], 0.5, 0.1, 6).any


@needs_data
def test_the_same_tile_under_several_exposures_is_found() -> None:
    names = [
        "crack/exp1_num_249594", "crack/exp3_num_249637", "crack/exp4_num_249762",
        "fray/exp2_num_136286", "fray/exp4_num_136676",
    ]  # fmt: skip
    others = [path for path in list_images(REAL_DATA / "test") if "249" not in path.name and "136" not in path.name]
    paths = [REAL_DATA / "test" / f"{name}.jpg" for name in names] + others[::13]
    groups = find_near_duplicates(inspect_images(paths)).groups()
    assert groups[:5] == [0, 0, 0, 1, 1]
    assert not {0, 1} & set(groups[5:])


# --- in a run -----------------------------------------------------------------------------------------------------
