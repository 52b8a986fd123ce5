"""Pictures of near-duplicates, side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from weakspot.data.images import inspect_images, list_images
from weakspot.data.near_duplicates import find_near_duplicates
from weakspot.report.pairs import write_pairs
from weakspot.types import GOOD, Sample


def test_the_picture_of_pairs(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "metal" / "train" / "good", tmp_path / "good")
    paths = list_images(tmp_path / "good")
    found = find_near_duplicates(inspect_images(paths))
    write_pairs(tmp_path / "pairs.png", [Sample(path, GOOD) for path in paths], found)
    with Image.open(tmp_path / "pairs.png") as picture:
        assert min(picture.size) > 200
