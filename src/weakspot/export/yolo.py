"""A training set in Ultralytics' YOLO layout (https://docs.ultralytics.com/datasets/detect), trainable as it is."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np

from weakspot.errors import WeakspotError
from weakspot.export.source import Exported, Pictures, count_boxes, place_picture
from weakspot.types import GOOD, Prediction
from weakspot.utils.files import write_json, write_text

VAL_SHARE = 0.2


def write_yolo(exported: Exported, folder: Path, pictures: Pictures) -> str:
    """Write ``data.yaml``, ``images/{train,val}`` and ``labels/{train,val}``, with a line for each box.

    A line is ``class cx cy w h``: number of the class, centre and size of the box as shares of the picture, 0…1. A
    detector learns that there is nothing where no box is drawn, so pictures that would teach it something wrong are
    left out (:func:`unfit`); ``left_out.json`` names them. A fifth of the pictures is for validation, drawn with a
    fixed seed among pictures with boxes and without; pictures of one group stay together.

    Args:
        exported: the predictions, with a portable name for every picture.
        folder: gets the files.
        pictures: ``copy``, ``link`` or ``none``.

    Returns:
        What was written, in words.

    Raises:
        WeakspotError: when fewer than two pictures with boxes are left, two pictures would get one name, and as
            :func:`~weakspot.export.source.place_picture`.
    """
    left_out = {name: reason for name, prediction in exported if (reason := unfit(prediction))}
    kept = [(name, prediction) for name, prediction in exported if name not in left_out]
    subsets = train_or_val(
        [prediction.boxes != () for _, prediction in kept],
        [exported.groups.get(prediction.path, name) for name, prediction in kept],
    )
    taken: set[str] = set()
    for (name, prediction), subset in zip(kept, subsets, strict=True):
        # Ultralytics finds labels by replacing "/images/" in the path: no folders below, whatever they are called.
        flat = PurePosixPath(name.replace("/", "__"))
        stem = flat.stem
        if stem in taken:
            raise WeakspotError(f"{prediction.path}: another picture would be called {stem} too; rename one of them")
        taken.add(stem)
        lines = (_line(prediction, exported.classes.index(box.label), box.xyxy) for box in prediction.boxes)
        write_text(folder / "labels" / subset / f"{stem}.txt", "".join(lines))
        place_picture(prediction.path, folder / "images" / subset / flat, pictures)
    write_json(folder / "left_out.json", left_out)
    # JSON strings are YAML strings, whatever characters are in them.
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(exported.classes))
    head = f"# {exported.model}\ntrain: images/train\nval: images/val\nnames:\n"
    write_text(folder / "data.yaml", head + names)
    counted = []
    for wanted in ("train", "val"):
        some = [prediction for (_, prediction), subset in zip(kept, subsets, strict=True) if subset == wanted]
        counted.append(f"{wanted}: {len(some)} pictures, {count_boxes(some, exported.classes)}")
    return "; ".join(counted) + f"; {len(left_out)} left out, left_out.json says why{_of_background(kept)}"


def _of_background(kept: list[tuple[str, Prediction]]) -> str:
    """What to know of pictures that are Good by the model's word alone; empty where there are none."""
    called = sum(not prediction.boxes and prediction.target is None for _, prediction in kept)
    if not called:
        return ""
    return (
        f". Pictures that only the model called good are in it as background ({called}); look through them, since a "
        "defect that was missed there teaches the detector to miss it"
    )


def unfit(prediction: Prediction) -> str:
    """Why a picture must not be trained on as it is; empty for one that may be. A known label outranks the model."""
    if prediction.label != GOOD and not prediction.boxes:
        return "called defective, but no box was drawn"
    if prediction.target is not None and (prediction.target == GOOD) != (prediction.label == GOOD):
        return f"labelled {prediction.target}, but called {prediction.label}"
    return ""


def train_or_val(with_boxes: list[bool], groups: list[str]) -> list[str]:
    """``train`` or ``val`` for every picture.

    Args:
        with_boxes: whether the picture has any.
        groups: pictures of one group go to one side.

    Raises:
        WeakspotError: when there are too few groups with boxes to have some on either side.
    """
    of_group: dict[str, bool] = {}
    for group, boxes in zip(groups, with_boxes, strict=True):
        of_group[group] = of_group.get(group, False) or boxes
    if sum(of_group.values()) < 2:
        raise WeakspotError("a YOLO training set needs at least two groups with a box, to train and to validate on")
    rng, held_out = np.random.default_rng(0), set[str]()
    for kind in (True, False):
        members = sorted(group for group, boxes in of_group.items() if boxes == kind)
        wanted = max(int(kind), round(VAL_SHARE * len(members)))
        held_out |= {members[i] for i in rng.permutation(len(members))[:wanted]}
    return ["val" if group in held_out else "train" for group in groups]


def _line(prediction: Prediction, number: int, corners: tuple[int, int, int, int]) -> str:
    x0, y0, x1, y1 = corners
    width, height = prediction.width, prediction.height
    values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{number} " + " ".join(f"{value:.9f}" for value in values) + "\n"
