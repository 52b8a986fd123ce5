"""Regions of interest: what lies outside has no effect on the input, and every kind reads back as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from weakspot.data.images import inspect_images
from weakspot.data.preprocess import Preprocess, Resizing
from weakspot.data.region_pixels import fill_outside, foreground
from weakspot.data.rle import decode_mask, encode_mask
from weakspot.data.roi import PairedRegions, PlainBackground, SharedRegion, region_from_dict
from weakspot.data.roi_files import read_region, read_shared_mask, write_polygons
from weakspot.errors import WeakspotError
from weakspot.types import BoolArray, ImageArray


def noise(size: tuple[int, int], seed: int = 0) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def middle(size: tuple[int, int]) -> BoolArray:
    mask = np.zeros(size, dtype=bool)
    mask[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = True
    return mask


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_read_back(mask: BoolArray) -> None:
    assert np.array_equal(decode_mask(encode_mask(mask), (mask.shape[0], mask.shape[1])), mask)


def test_run_lengths_are_cocos() -> None:
    from pycocotools import mask as coco

    mask = np.random.default_rng(1).random((7, 5)) > 0.5
    assert np.array_equal(coco.decode(coco.frPyObjects({"counts": encode_mask(mask), "size": [7, 5]}, 7, 5)), mask)


@pytest.mark.parametrize("resizing", ["squash", "keep_ratio", "tile"])
@pytest.mark.parametrize("size", [(90, 130), (30, 44)])
def test_nothing_outside_reaches_the_input(resizing: Resizing, size: tuple[int, int]) -> None:
    region = middle(size)
    preprocess = Preprocess((64, 96), "torchvision", resizing, SharedRegion.of(region))
    first, second = noise(size), noise(size, 1)
    second[region] = first[region]
    one, inside = preprocess.resize_within(first)
    other, _ = preprocess.resize_within(second)
    assert np.array_equal(one, other)
    assert inside is not None
    assert inside.shape == one.shape[:2]
    assert inside.any()
    assert not inside.all()
    assert np.array_equal(one[inside], Preprocess((64, 96), "torchvision", resizing).resize(first)[inside])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_filling_keeps_the_inside_and_the_range(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = rng.random((height, width)) < 0.3
    region[rng.integers(height), rng.integers(width)] = True
    image = noise((height, width), seed)
    filled = fill_outside(image, region)
    assert np.array_equal(filled[region], image[region])
    low, high = image[region].min(axis=0), image[region].max(axis=0)
    assert (filled >= low).all()
    assert (filled <= high).all()


def test_filling_leaves_no_edge() -> None:
    rows, columns = np.mgrid[:80, :120]
    ramp = np.repeat((40 + columns + rows // 2).astype(np.uint8)[..., None], 3, axis=2)
    region = np.hypot(rows - 40, columns - 60) < 25
    filled = fill_outside(ramp, region).astype(int)[..., 0]
    ring = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    steps = np.abs(np.diff(filled, axis=1))
    crossing = region[:, 1:] != region[:, :-1]
    assert ring.any()
    assert steps[crossing].max() <= 8  # a constant filling of 128 would leave steps of up to 60


def test_everything_inside_changes_nothing() -> None:
    image = noise((50, 70))
    whole = SharedRegion.of(np.ones((50, 70), dtype=bool))
    for resizing in get_args(Resizing):
        plain = Preprocess((32, 64), "caffe", resizing)
        rows, columns = plain.content((50, 70))
        found = Preprocess((32, 64), "caffe", resizing, whole)(image)
        assert np.array_equal(found[:, rows, columns], plain(image)[:, rows, columns])


def test_shared_region_of_another_shape_is_refused_and_of_another_size_fits() -> None:
    region = SharedRegion.of(middle((60, 90)))
    assert region.mask(noise((120, 180))).sum() == 4 * middle((60, 90)).sum()
    with pytest.raises(WeakspotError, match=r"part.png is 90×60 .* drawn on 60×90"):
        region.mask(noise((90, 60)), Path("x/part.png"))


def test_a_region_too_small_for_the_input_is_named() -> None:
    mask = np.zeros((400, 400), dtype=bool)
    mask[3, 5] = True
    with pytest.raises(WeakspotError, match=r"nothing is left of its region of interest at 32×32"):
        Preprocess((32, 32), "caffe", roi=SharedRegion.of(mask)).resize(noise((400, 400)))


def product(place: tuple[int, int] = (60, 80), colour: int = 200) -> ImageArray:
    image = np.full((120, 160, 3), 60, np.uint8) + np.random.default_rng(0).integers(0, 6, (120, 160, 3)).astype(
        np.uint8
    )
    cv2.rectangle(image, (place[1] - 30, place[0] - 20), (place[1] + 30, place[0] + 20), (colour,) * 3, -1)
    return image


def test_foreground_of_a_plain_background() -> None:
    image = product()
    image[50:60, 50:60] = 62  # a bite out of the rim stays in the region
    found = foreground(image)
    assert not isinstance(found, str)
    assert found[40:81, 50:111].all()
    assert found.mean() < 1.4 * (41 * 61) / (120 * 160)
    assert not found[:20].any()


@pytest.mark.parametrize(
    ("image", "why"), [(noise((80, 90)), "its border"), (np.full((80, 90, 3), 9, np.uint8), "differ")]
)
def test_no_foreground_is_told(image: ImageArray, why: str) -> None:
    found = foreground(image)
    assert isinstance(found, str)
    assert why in found
    assert PlainBackground().mask(image).all()


def saved(folder: Path, names: list[str], size: tuple[int, int] = (60, 90)) -> list[Path]:
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(size, k)).save(folder / name)
    return [folder / name for name in names]


def test_masks_are_paired_by_name(tmp_path: Path) -> None:
    pictures = saved(tmp_path / "data", ["OK/1.png", "NG/1.png"])
    for k, name in enumerate(["OK/1_mask.png", "NG/1.png"]):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((60, 90), np.uint8)
        mask[10 + k : 40] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / name)
    region, remarks = read_region(str(tmp_path / "masks"), inspect_images(pictures))
    assert isinstance(region, PairedRegions)
    assert [int(region.mask(noise((60, 90)), path).sum()) for path in pictures] == [30 * 90, 29 * 90]
    assert "% of a picture" in remarks[0]
    assert region_from_dict(json.loads(json.dumps(region.to_dict()))) == region
    with pytest.raises(WeakspotError, match=r"2.png has no mask of its region of interest in .*; put one there"):
        region.mask(noise((60, 90)), tmp_path / "2.png")
    Image.fromarray(np.zeros((60, 90), np.uint8)).save(tmp_path / "masks" / "NG" / "1.png")
    with pytest.raises(WeakspotError, match=r"1.png marks no region of interest"):
        read_region(str(tmp_path / "masks"), inspect_images(pictures))


def test_one_mask_for_two_pictures_is_refused(tmp_path: Path) -> None:
    pictures = saved(tmp_path / "data", ["OK/1.png", "NG/1.png"])
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((60, 90), 255, np.uint8)).save(tmp_path / "masks" / "1.png")
    with pytest.raises(WeakspotError, match=r"1.png fits two pictures, .*OK/1.png and .*NG/1.png; lay"):
        read_region(str(tmp_path / "masks"), inspect_images(pictures))
    with pytest.raises(WeakspotError, match=r"holds no mask for .*2.png"):
        read_region(str(tmp_path / "masks"), inspect_images(saved(tmp_path / "more", ["2.png"])))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeakspotError, match=r"empty holds no masks"):
        read_region(str(tmp_path / "empty"), inspect_images(pictures))


def test_polygons_are_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "roi.json"
    write_polygons(file, [[(10, 10), (50, 10), (50, 40), (10, 40)]], (60, 90))
    mask = read_shared_mask(file)
    assert mask.shape == (60, 90)
    assert abs(int(mask.sum()) - 40 * 30) <= 80
    region, remarks = read_region(str(file), inspect_images(saved(tmp_path, ["a.png"])))
    assert region_from_dict(json.loads(json.dumps(region.to_dict()))) == region
    assert remarks == [f"region of interest: {mask.mean():.0%} of each picture, from {file}"]
    with pytest.raises(WeakspotError, match="three corners"):
        write_polygons(file, [[(1, 1), (2, 2)]], (60, 90))
    with pytest.raises(WeakspotError, match="encloses nothing"):
        write_polygons(file, [[(1, 1), (2, 2), (3, 3)]], (60, 90))


def test_wrong_files_are_one_clear_line(tmp_path: Path) -> None:
    pictures = inspect_images(saved(tmp_path, ["a.png"]))
    Image.fromarray(np.full((90, 60), 255, np.uint8)).save(tmp_path / "turned.png")
    Image.fromarray(np.zeros((60, 90), np.uint8)).save(tmp_path / "empty.png")
    (tmp_path / "broken.json").write_text("{", "utf-8")
    for name, message in (
        ("turned.png", r"turned.png is 90×60 \(height×width\) and .*a.png is 60×90; draw"),
        ("empty.png", r"empty.png marks no region of interest; paint"),
        ("missing.png", r"missing.png does not exist; give a mask"),
        ("broken.json", r"data.roi=.*broken.json is damaged"),
    ):
        with pytest.raises(WeakspotError, match=message) as caught:
            read_region(str(tmp_path / name), pictures)
        assert "\n" not in str(caught.value)


def test_auto_is_refused_with_a_reason(tmp_path: Path) -> None:
    Image.fromarray(product()).save(tmp_path / "plain.png")
    region, remarks = read_region("auto", inspect_images([tmp_path / "plain.png"]))
    assert region == PlainBackground()
    assert "the foreground, 1" in remarks[0]
    noisy = inspect_images(saved(tmp_path / "noisy", ["a.png", "b.png"]))
    with pytest.raises(WeakspotError, match=r"plain background, and 2 of 2 pictures have none \(.*a.png: "):
        read_region("auto", noisy)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "moon"}, {}, {"kind": "shared", "size": [4, 4], "counts": [1]},
        {"kind": "shared", "size": [4], "counts": []},
        {"kind": "shared", "size": [2, 2], "counts": [4]}, {"kind": "paired", "folder": 3, "sha256": ""},
        {"kind": "shared", "size": [10**9, 10**9], "counts": [10**18]},
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(WeakspotError, match="region of interest"):
        region_from_dict(values)


def test_preprocessing_reads_back_and_identity_ignores_where_masks_lie(tmp_path: Path) -> None:
    preprocess = Preprocess((64, 96), "caffe", roi=SharedRegion.of(middle((20, 30))))
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / name / "1.png")
    first, second = (Preprocess((64, 96), "caffe", roi=PairedRegions.at(tmp_path / name)) for name in ("a", "b"))
    assert first.identity() == second.identity()
    assert first.to_dict() != second.to_dict()
