"""Readers of public data sets whose defects stand in a table, in text files or in JSON, as their makers ship them.

What is marked there is drawn as a mask into the user's cache folder, see :mod:`weakspot.data.made_masks`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from weakspot.data.folders import good_first, images_of_class
from weakspot.data.images import is_image
from weakspot.data.made_masks import made_mask, picture_size
from weakspot.data.public_trees import located
from weakspot.data.registry import reader
from weakspot.data.rle import decode_starts
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, BoolArray, Sample, Size, Subset
from weakspot.utils.files import shown
from weakspot.utils.untrusted import MOST_ANNOTATIONS, read_json

_MOST_CELL = 2**26
"""Characters of a cell with run lengths; the longest real one has about 20,000."""


@reader("severstal")
def read_severstal(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read Severstal's steel sheets from Kaggle: ``train_images`` and the run lengths in ``train.csv``.

    The defect type is ``defect_1`` … ``defect_4``, or ``several`` where an image has more than one; an image without
    run lengths is Good. The table comes with the columns ImageId, ClassId, EncodedPixels, or with ImageId_ClassId and
    EncodedPixels; both are read. Images of Kaggle's test have no labels and are left out.

    Args:
        root: the folder with ``train.csv`` and ``train_images``.
        subset: a folder in it; None where `root` holds them.
        good_class: not used, as an image without run lengths is Good.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is another one, an image of the table is not there, or its run lengths do not fit.
    """
    base = located(root, subset, "severstal")
    table = base / "train.csv"
    runs = _severstal_runs(table)
    images = {image.name: image for image in images_of_class(base / "train_images")}
    if left := sorted(set(runs) - set(images)):
        raise WeakspotError(f"{shown(table)}: {left[0]} is not in {shown(base / 'train_images')}; get it anew")
    samples = []
    for name, image in images.items():
        of_image = runs.get(name)
        if of_image is None:
            samples.append(Sample(image, GOOD))
            continue
        defect = f"defect_{next(iter(of_image))}" if len(of_image) == 1 else "several"
        samples.append(Sample(image, defect, mask=_severstal_mask(image, list(of_image.values()), table)))
    return good_first(samples, base)


def _severstal_runs(table: Path) -> dict[str, dict[str, str]]:
    """Run lengths by image and class, of what is marked at all."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    before = csv.field_size_limit(_MOST_CELL)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if "EncodedPixels" not in (rows.fieldnames or ()):
                raise ValueError("it has others")
            for row in rows:
                name, number, pixels = _severstal_row(row)
                if pixels:
                    found[name][number] = pixels
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:  # a row may be too short
        expected = "ImageId,ClassId,EncodedPixels"
        raise WeakspotError(f"{shown(table)}: expected the columns {expected} ({error}); get it anew") from error
    finally:
        csv.field_size_limit(before)
    return found


def _severstal_row(row: dict[str, str]) -> tuple[str, str, str]:
    if "ImageId_ClassId" in row:
        name, _, number = row["ImageId_ClassId"].rpartition("_")
    else:
        name, number = row["ImageId"], row["ClassId"]
    return name, number, (row["EncodedPixels"] or "").strip()


def _severstal_mask(image: Path, runs: list[str], table: Path) -> Path:
    size = picture_size(image)

    def draw() -> BoolArray:
        try:
            return np.asarray(np.logical_or.reduce([decode_starts(text, size) for text in runs]))
        except ValueError as error:
            raise WeakspotError(f"{shown(table)}: {image.name} has {error}; get it anew") from error

    return made_mask(f"starts {size} {' | '.join(runs)}".encode(), draw)


@reader("deeppcb")
def read_deeppcb(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read DeepPCB: ``group00041/00041/00041000_test.jpg`` and ``…_temp.jpg``, boxes in ``group00041/00041_not``.

    The template is Good, the tested image defective; the two are a group. Boxes are drawn as filled masks, so boxes
    that overlap are one region. ``trainval.txt`` and ``test.txt`` are the published split.

    Args:
        root: the repository, or the folder ``PCBData`` in it.
        subset: a folder in it; None where `root` holds them.
        good_class: not used, as the templates are Good.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is another one, or a file that a list names is not there or damaged.
    """
    base = located(root, subset, "deeppcb")
    samples = []
    lists: tuple[tuple[str, Subset], ...] = (("trainval.txt", "train"), ("test.txt", "test"))
    for name, published in lists:
        for number, line in enumerate(_text(base / name).splitlines(), start=1):
            if line.strip():
                samples += _deeppcb_pair(base, line.split(), f"{shown(base / name)} line {number}", published)
    return good_first(samples, base)


def _deeppcb_pair(base: Path, words: list[str], where: str, published: Subset) -> list[Sample]:
    """The template and the tested image of a line such as ``group/00041/00041000.jpg group/00041_not/00041000.txt``."""
    if len(words) != 2 or any(".." in Path(word).parts or Path(word).is_absolute() for word in words):
        raise WeakspotError(f"{where}: expected an image and its boxes, two paths; get it anew")
    image, boxes = base / words[0], base / words[1]
    template, tested = (image.with_name(f"{image.stem}_{kind}{image.suffix}") for kind in ("temp", "test"))
    for file in (template, tested, boxes):
        if not file.is_file():
            raise WeakspotError(f"{where}: {shown(file)} does not exist; get it anew")
    group, mask = image.stem, _mask_of_boxes(tested, boxes)
    return [
        Sample(template, GOOD, group=group, published=published),
        Sample(tested, "defect", mask=mask, group=group, published=published),
    ]


def _mask_of_boxes(image: Path, boxes: Path) -> Path:
    """A mask of the boxes in a file with ``x0 y0 x1 y1 type`` on each line."""
    size, text = picture_size(image), _text(boxes)

    def draw() -> BoolArray:
        mask = np.zeros(size, dtype=bool)
        for line in text.splitlines():
            if line.strip():
                try:
                    x0, y0, x1, y1 = (int(word) for word in re.split(r"[\s,]+", line.strip())[:4])
                except ValueError as error:
                    raise WeakspotError(f"{shown(boxes)}: {line!r} is no box x0 y0 x1 y1 type; get it anew") from error
                mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        return mask

    return made_mask(f"boxes {size} {text}".encode(), draw)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise WeakspotError(f"{shown(file)}: cannot be read ({error}); get it anew") from error


@reader("bsdata")
def read_bsdata(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read BSData: ``data/01_200907232354_560000_000_crop_1.jpg`` and polygons in ``label/…json``.

    An image is defective (``pitting``) where there are polygons or where its name ends with 1, as its makers say; the
    names of many images with polygons end with 2. Images of one place on the spindle (``560000_000``) over time show
    the same wear and are a group.

    Args:
        root: the repository.
        subset: a folder in it; None where `root` holds ``data`` and ``label``.
        good_class: not used, as Good images have no polygons.

    Returns:
        A sample for each image, Good first; one without polygons has no mask.

    Raises:
        WeakspotError: when the tree is another one, or a label has no image or is damaged.
    """
    base = located(root, subset, "bsdata")
    images = {path.stem: path for path in sorted((base / "data").iterdir()) if is_image(path)}
    labels = {path.stem: path for path in sorted((base / "label").glob("*.json"))}
    if left := sorted(set(labels) - set(images)):
        raise WeakspotError(f"{shown(labels[left[0]])} has no image in {shown(base / 'data')}; get it anew")
    samples = []
    for stem, image in images.items():
        mask = _mask_of_polygons(image, labels[stem]) if stem in labels else None
        defect = "pitting" if mask is not None or stem.endswith("_crop_1") else GOOD
        place = re.search(r"_(\d+_\d+)_crop_[12]$", stem)
        samples.append(Sample(image, defect, mask=mask, group=place and place.group(1)))
    return good_first(samples, base)


def _mask_of_polygons(image: Path, label: Path) -> Path | None:
    """A mask of labelme's polygons; None where there are none."""
    try:
        shapes = [_corners(shape) for shape in read_json(label, MOST_ANNOTATIONS)["shapes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeakspotError(f"{shown(label)}: cannot be read as labelme's polygons ({error}); get it anew") from error
    if not shapes:
        return None
    size = picture_size(image)
    return made_mask(f"polygons {size} {json.dumps(shapes)}".encode(), lambda: _filled(shapes, size))


def _corners(shape: dict[str, Any]) -> list[list[float]]:
    points = np.asarray(shape["points"], dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not (np.abs(points) < 1e6).all():
        raise ValueError(f"a shape of {len(points)} points")
    corners: list[list[float]] = points.tolist()
    return corners


def _filled(shapes: list[list[list[float]]], size: Size) -> BoolArray:
    canvas = np.zeros(size, dtype=np.uint8)
    for corners in shapes:  # each for itself: together, what two of them share would be left out
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    return canvas > 0
