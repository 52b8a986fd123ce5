"""A model run on imitated defects whose place is known, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weakspot.data.images import inspect_image
from weakspot.data.imitations import imitation_name
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.errors import WeakspotError
from weakspot.models.feature_cache import view_features
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.training import imitated
from weakspot.training.imitated import EACH, imitated_outputs, true_boxes


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng, paths = np.random.default_rng(0), []
    for n in range(5):
        paths.append(tmp_path / f"{n}.png")
        Image.fromarray(rng.integers(90, 120, (60, 90, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def model() -> Model:
    torch.manual_seed(0)
    return Model(CamNet("tiny").eval())


def test_boxes_of_a_mask_in_pixels_of_the_picture() -> None:
    """A picture of 60 × 90 at an input of 64 × 96: rows × 60 / 64, columns × 90 / 96, rounded outwards."""
    mask = np.zeros((64, 96), dtype=bool)
    mask[11:33, 32:64] = True
    assert true_boxes(mask, (60, 90), Preprocess((64, 96), "caffe")).tolist() == [[30, 10, 60, 31]]
    nothing = np.zeros((64, 96), dtype=bool)
    assert true_boxes(nothing, (60, 90), Preprocess((64, 96), "caffe")).shape == (0, 4)


def test_a_border_round_the_picture_is_no_part_of_it() -> None:
    """At an input of 64 × 64 the picture fills rows 10 to 52."""
    preprocess = Preprocess((64, 64), "caffe", "keep_ratio")
    assert preprocess.content((60, 90)) == (slice(10, 53), slice(0, 64))
    mask = np.zeros((64, 64), dtype=bool)
    mask[21:32, 22:42] = True  # rows × 60 / 43, columns × 90 / 64
    mask[:5] = True  # of the border
    assert true_boxes(mask, (60, 90), preprocess).tolist() == [[30, 15, 60, 31]]


@pytest.mark.usefixtures("tiny")
def test_the_border_round_a_picture_stays_as_it_is(pictures: list[Path]) -> None:
    """In what trust is calibrated on and in what evidence heads are trained on."""
    preprocess = Preprocess((64, 64), "caffe", "keep_ratio")
    image = inspect_image(pictures[0])
    (plain,) = view_features(model().network, [ImageView(image)], preprocess, None, [])
    named = [ImageView(image, imitation_name(n)) for n in range(30)]
    trained_on = list(view_features(model().network, named, preprocess, None, []))
    border = np.ones((64, 64), dtype=bool)
    border[10:53] = False
    calibrated_on = [one.pixels for one in imitated._imitations([image], preprocess)]
    for pixels in (*calibrated_on, *[one.pixels for one in trained_on]):
        np.testing.assert_array_equal(pixels[:, border], plain.pixels[:, border])
        assert not np.array_equal(pixels, plain.pixels)
    assert all(one.mask is not None and one.mask.any() and not one.mask[border].any() for one in trained_on)


@pytest.mark.usefixtures("tiny")
def test_every_picture_gets_its_imitations_and_they_are_always_the_same(pictures: list[Path]) -> None:
    images, preprocess = [inspect_image(path) for path in pictures], Preprocess((64, 96), "caffe")
    seen: list[tuple[int, int]] = []
    first = imitated_outputs(model(), images, preprocess, progress=lambda done, total: seen.append((done, total)))
    again = imitated_outputs(model(), images, preprocess, flip_tta=True)
    assert first is not None
    assert again is not None
    assert len(first) == len(first.outputs) == EACH * len(images)
    assert seen[-1] == (EACH * len(images), EACH * len(images))
    assert first.outputs.paths[::EACH] == pictures
    np.testing.assert_array_equal(first.outputs.logits, again.outputs.logits)
    assert all(np.array_equal(a, b) for a, b in zip(first.boxes, again.boxes, strict=True))
    assert (first.outputs.flipped, again.outputs.flipped is None) == (None, False)
    for boxes in first.boxes:
        assert len(boxes)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [90, 60]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.usefixtures("tiny")
def test_many_pictures_are_thinned_out_and_none_gives_nothing(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, preprocess = [inspect_image(path) for path in pictures], Preprocess((64, 96), "caffe")
    few = imitated_outputs(model(), images, preprocess, most=2)
    assert few is not None
    assert [path.name for path in few.outputs.paths] == [*["0.png"] * EACH, *["4.png"] * EACH]
    assert imitated_outputs(model(), [], preprocess) is None
    nothing = np.zeros((0, 4), dtype=np.int64)
    monkeypatch.setattr(imitated, "true_boxes", lambda *_: nothing)  # no imitation can be seen
    assert imitated_outputs(model(), images, preprocess) is None


@pytest.mark.usefixtures("tiny")
def test_it_is_kept_and_damage_is_one_line(pictures: list[Path], tmp_path: Path) -> None:
    store = imitated_outputs(model(), [inspect_image(path) for path in pictures], Preprocess((64, 96), "caffe"))
    assert store is not None
    path = tmp_path / "imitations.npz"
    LocatedOutputs.join([store, store]).save(path)
    read = LocatedOutputs.load(path)
    assert len(read) == 2 * len(store)
    assert all(np.array_equal(a, b) for a, b in zip(read.boxes, [*store.boxes, *store.boxes], strict=True))
    np.testing.assert_array_equal(read.outputs.maps[: len(store)], store.outputs.maps)
    for content, why in (({"boxes": []}, "do not belong together"), ({"boxes": [["x"]]}, "damaged"), ([], "damaged")):
        path.with_suffix(".json").write_text(json.dumps(content))
        with pytest.raises(WeakspotError, match=why):
            LocatedOutputs.load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeakspotError, match="train again"):
        LocatedOutputs.load(path)
