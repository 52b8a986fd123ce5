"""Which sizes the training pictures had, and the remark on others."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakspot.data.picture_sizes import OtherSizes, PictureSizes, in_one_sentence

sides = st.integers(1, 5000)


@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=8))
def test_every_picture_of_the_set_fits_and_a_file_holds_all(sizes: list[tuple[int, int]]) -> None:
    found = PictureSizes.of(sizes)
    assert all(found.fits(size) for size in sizes)
    assert found.usual in sizes
    assert PictureSizes.from_dict(json.loads(json.dumps(asdict(found)))) == found


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((200, 300), True), ((220, 330), True), ((249, 374), True), ((160, 240), True),
        ((400, 600), False), ((100, 150), False), ((300, 200), False), ((200, 240), False), ((200, 360), False),
    ],
)  # fmt: skip
def test_larger_smaller_and_otherwise_shaped_pictures_do_not_fit(size: tuple[int, int], fits: bool) -> None:
    assert PictureSizes.of([(200, 300)] * 3).fits(size) == fits


def test_the_remark_names_both_sizes_and_counts() -> None:
    sizes = OtherSizes(PictureSizes.of([(200, 300), (200, 300), (210, 300)]))
    assert sizes.remark is None
    assert [sizes.add(Path(name), size) for name, size in (
        ("a.png", (200, 300)), ("broken.png", (0, 0)), ("b.png", (480, 640)), ("c.png", (480, 640)),
    )] == [False, False, True, False]  # fmt: skip
    assert sizes.remark is not None
    assert sizes.remark.startswith("2 of 3 pictures have another size or shape")
    assert "b.png: 480×640 pixels, height × width; in training 200×300" in sizes.remark


def test_a_model_of_an_earlier_version_says_nothing() -> None:
    sizes = OtherSizes(None)
    assert not sizes.add(Path("a.png"), (480, 640))
    assert sizes.remark is None


def test_one_picture_in_a_sentence() -> None:
    said = in_one_sentence((480, 640), PictureSizes.of([(200, 300)]))
    assert said == "another size or shape than in training: 480×640 pixels, height × width, in place of 200×300"


@pytest.mark.parametrize(
    "damage", [{"usual": [1]}, {"usual": None}, {"heights": "ab"}, {"ratios": [0, 1]}, {"more": [1, 2]}]
)
def test_anything_else_in_a_bundle_is_an_error(damage: dict[str, object]) -> None:
    values = {**asdict(PictureSizes.of([(200, 300)])), **damage}
    with pytest.raises(ValueError, match="not the sizes of pictures"):
        PictureSizes.from_dict(values)
