"""Imitated defects: every shape and every change, what is left alone, and that the same name is the same picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.data import imitations
from weakspot.data.imitations import CHANGES, SHAPES, changeable, imitate_defect, imitation_name, named_imitation
from weakspot.data.preprocess import Preprocess
from weakspot.types import ImageArray

SIZE = (96, 144)


def picture(*, grey: bool = False, seed: int = 0) -> ImageArray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    base = 110 + 40 * np.sin(columns / 9)[..., None] + 20 * np.cos(rows / 13)[..., None] * np.array([1.0, 0.3, -0.7])
    noisy = base + rng.normal(0, 4, (*SIZE, 3))
    image = np.clip(noisy.mean(axis=2, keepdims=True).repeat(3, axis=2) if grey else noisy, 0, 255)
    return image.astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_covers_something_and_never_everything(shape: str) -> None:
    covered = [float((SHAPES[shape](SIZE, np.random.default_rng(seed)) > 0.5).mean()) for seed in range(40)]
    assert max(covered) <= 0.45
    assert sum(share > 0 for share in covered) >= 25
    opacity = SHAPES[shape](SIZE, np.random.default_rng(3))
    assert opacity.shape == SIZE
    assert opacity.min() >= 0
    assert opacity.max() <= 1 + 1e-6


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_can_be_seen_and_keeps_a_grey_picture_grey(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imitations, "CHANGES", {change: CHANGES[change]})
    monkeypatch.setattr(imitations, "SHAPES", {"band": SHAPES["band"]})
    seen = 0
    for seed in range(8):
        image = picture(grey=True)
        changed, mask = imitate_defect(image, np.random.default_rng(seed))
        assert (changed == changed[..., :1]).all()
        seen += bool(mask.any())
    assert seen >= 6


def test_a_hairline_is_thin_all_along() -> None:
    for seed in range(20):
        line = (SHAPES["hairline"]((200, 300), np.random.default_rng(seed)) > 0.5).astype(np.uint8)
        thick = cv2.erode(line, np.ones((5, 5), np.uint8), borderValue=0)
        assert thick.sum() <= 0.05 * line.sum()  # but where a branch leaves


@pytest.mark.parametrize(("size", "quarters"), [((64, 80), True), ((64, 81), False), ((160, 64), False)])
def test_pasted_texture_is_not_stretched(size: tuple[int, int], quarters: bool) -> None:
    rows = np.full((*size, 3), 100, np.float32) + 50 * (np.arange(size[0]) % 8 < 4)[:, None, None].astype(np.float32)
    turned = 0
    for seed in range(40):
        pasted = CHANGES["paste"](rows, 10.0, np.random.default_rng(seed))
        along = np.ptp(pasted, axis=1).max() < 1e-3  # the same stripes, each as wide as they were, but at the seam
        if along:
            edges = np.flatnonzero(np.abs(np.diff(pasted[:, 0, 0])) > 1)
            assert np.isin(np.diff(edges), [4, 8]).all()
        turned += not along
    assert turned > 10 if quarters else turned == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_smearing_along_the_grain_leaves_the_grain(axis: int) -> None:
    grain = np.random.default_rng(0).uniform(0, 255, SIZE[axis]).astype(np.float32)
    image = np.broadcast_to(grain[:, None, None] if axis == 0 else grain[None, :, None], (*SIZE, 3)).copy()
    smeared = CHANGES["smear"](image, 10.0, np.random.default_rng(1))
    assert np.ptp(smeared - image) < 1e-3  # moved up or down as a whole


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_mask_is_where_the_picture_changed(seed: int) -> None:
    image = picture()
    changed, mask = imitate_defect(image, np.random.default_rng(seed))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert mask.shape == SIZE
    difference = np.abs(changed.astype(int) - image.astype(int)).mean(axis=2)
    if mask.any():
        assert difference[mask].mean() > difference[~mask].mean()
    assert (difference[~mask] == 0).any()  # some of the picture is always left alone


def test_a_name_is_always_the_same_picture() -> None:
    image = picture()
    first, again = (named_imitation(image, "ab" * 32, imitation_name(3)) for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert first[1].any()
    assert not np.array_equal(first[0], named_imitation(image, "ab" * 32, imitation_name(4))[0])
    assert not np.array_equal(first[0], named_imitation(image, "cd" * 32, imitation_name(3))[0])


@pytest.mark.parametrize(
    ("size", "preprocess", "content"),
    [
        ((60, 90), Preprocess((64, 64), "caffe"), None),
        ((60, 90), Preprocess((40, 60), "caffe", "keep_ratio"), None),
        ((60, 90), Preprocess((64, 64), "caffe", "keep_ratio"), np.s_[10:53, :]),
        ((96, 144), Preprocess((64, 64), "caffe", "tile"), np.s_[:, 8:152]),
    ],
)
def test_the_border_that_keeps_the_aspect_ratio_is_not_changed(
    size: tuple[int, int], preprocess: Preprocess, content: tuple[slice, slice] | None
) -> None:
    where = changeable(None, size, preprocess)
    if content is None:
        assert where is None
        return
    assert where is not None
    wanted = np.zeros(preprocess.input_size(size), dtype=bool)
    wanted[content] = True
    np.testing.assert_array_equal(where, wanted)
    smaller = wanted & (np.arange(wanted.shape[1]) < 20)
    assert changeable(smaller, size, preprocess) is smaller


def test_a_flat_picture_gives_no_error() -> None:
    changed, mask = named_imitation(np.full((*SIZE, 3), 90, np.uint8), "00" * 32, imitation_name(0))
    assert changed.shape == (*SIZE, 3)
    assert mask.shape == SIZE


@pytest.mark.parametrize("mode", ["caffe", "torchvision"])
def test_preprocessing_can_be_taken_back(mode: str) -> None:
    preprocess = Preprocess(SIZE, mode)  # type: ignore[arg-type]
    assert np.array_equal(preprocess.denormalise(preprocess.normalise(picture())), picture())
