"""Pictures that a caller names, one or many."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakspot.data.loading import each_source, load_images
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def test_a_folder_without_pictures_is_an_error_and_not_nothing(tmp_path: Path) -> None:
    first = picture(tmp_path / "full" / "a.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no picture")
    why = re.escape(f"{empty} holds no images (png, jpg, jpeg, bmp, tif, tiff, webp)")
    for named in (empty, str(empty), [empty], [first, empty]):
        with pytest.raises(WeakspotError, match=why):
            list(each_source(named))
    with pytest.raises(WeakspotError, match=why):
        list(load_images(each_source(empty), Preprocess((32, 32), "torchvision")))


def test_one_or_many_and_folders_are_opened(tmp_path: Path) -> None:
    second, first = picture(tmp_path / "full" / "b" / "b.png"), picture(tmp_path / "full" / "a.png")
    array = np.zeros((4, 4), np.uint8)
    assert list(each_source(tmp_path / "full")) == [first, second]
    assert list(each_source(str(first))) == [str(first)]
    assert list(each_source([array, tmp_path / "full"]))[1:] == [first, second]
    assert list(each_source([])) == []
