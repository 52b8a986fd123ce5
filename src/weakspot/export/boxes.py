"""Predicted boxes in the formats of annotation tools and detectors: one function for each format.

To add one, write a function ``(exported, folder, pictures)`` that returns in words what it wrote, and decorate it with
``@box_format("its name")``.
"""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from weakspot._version import __version__
from weakspot.data.annotations import LABELSTUDIO_CLASS, NOT_CORRECTED
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.export.source import Exported, Pictures, place_heatmaps, place_picture
from weakspot.export.yolo import write_yolo
from weakspot.postprocess.prediction_files import HEATMAPS
from weakspot.types import GOOD, Box, Prediction
from weakspot.utils.files import atomic_path, write_json, write_text
from weakspot.utils.spreadsheet import inert, inert_path

BoxFormat = Callable[[Exported, Path, Pictures], str]

BOX_FORMATS: dict[str, BoxFormat] = {"yolo": write_yolo}
"""The formats by name."""


def box_format(name: str) -> Callable[[BoxFormat], BoxFormat]:
    """Register a function as the writer of a format."""

    def register(function: BoxFormat) -> BoxFormat:
        BOX_FORMATS[name] = function
        return function

    return register


def write_boxes(exported: Exported, name: str, folder: Path, pictures: Pictures) -> str:
    """Write predictions into `folder` in the format called `name`, all of them or nothing.

    Args:
        exported: the predictions.
        name: a key of :data:`BOX_FORMATS`.
        folder: made if missing; must hold nothing.
        pictures: whether to ``copy`` or ``link`` the pictures beside their annotations.

    Returns:
        In a sentence, what is in it.

    Raises:
        WeakspotError: for an unknown format, or a folder that holds something.
    """
    if name not in BOX_FORMATS:
        raise WeakspotError(
            f"--format {name} is unknown{did_you_mean(name, BOX_FORMATS)}; choose: {', '.join(sorted(BOX_FORMATS))}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeakspotError(f"{folder} already holds something; choose another --output")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        return BOX_FORMATS[name](exported, temporary, pictures)


@box_format("coco")
def write_coco(exported: Exported, folder: Path, pictures: Pictures) -> str:
    """COCO's object detection JSON, ``annotations.json``, with pictures in ``images/`` where they are wanted.

    Heat maps that lie beside the predictions go to ``heatmaps/``, for FiftyOne.

    Boxes are ``[x, y, width, height]`` in pixels (https://cocodataset.org/#format-data). ``score`` is 0…1;
    ``attributes`` hold the log-odds it comes from and the trust. ``segmentation`` holds ``boxes.outlines`` where the
    run has them. Identifiers start at 1, since pycocotools takes a match with annotation 0 for none.

    Args:
        exported: the predictions, with a portable name for every picture.
        folder: gets ``annotations.json``, ``images/`` and ``heatmaps/``.
        pictures: ``copy``, ``link`` or ``none``.

    Returns:
        What was written, in words.

    Raises:
        WeakspotError: as :func:`~weakspot.export.source.place_picture`.
    """
    categories = {name: number for number, name in enumerate(exported.classes, start=1)}
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for image_id, (name, prediction) in enumerate(exported, start=1):
        size = {"height": prediction.height, "width": prediction.width}
        images.append({"id": image_id, "file_name": name, **size})
        for box in prediction.boxes:
            annotations.append(_coco_annotation(len(annotations) + 1, image_id, categories[box.label], box))
        place_picture(prediction.path, folder / "images" / name, pictures)
    content = {
        "info": {"description": f"Boxes by {exported.model}, {NOT_CORRECTED}", "version": __version__},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()],
    }
    write_json(folder / "annotations.json", content)
    return exported.summary + _with_heatmaps(len(place_heatmaps(exported, folder / HEATMAPS)))


def _with_heatmaps(count: int) -> str:
    return f", {count} heat maps" if count else ""


def _coco_annotation(number: int, image_id: int, category: int, box: Box) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0],
        "area": box.area,
        "iscrowd": 0,
        "segmentation": [[v for corner in polygon for v in corner] for polygon in box.outlines],
        "score": box.confidence,
        "attributes": {"log_odds": box.score, "trust": box.trust},
    }


@box_format("voc")
def write_voc(exported: Exported, folder: Path, pictures: Pictures) -> str:
    """Pascal VOC XML: ``Annotations/``, the list ``ImageSets/Main/default.txt``, pictures in ``JPEGImages/``.

    VOC's coordinates count from 1 and name the last pixel inside (Everingham et al., "The PASCAL VOC Challenge 2012
    Development Kit"): a half-open box ``[x0, x1)`` is ``xmin = x0 + 1``, ``xmax = x1``.

    Args:
        exported: the predictions, with a portable name for every picture.
        folder: gets ``Annotations/``, ``ImageSets/`` and ``JPEGImages/``.
        pictures: ``copy``, ``link`` or ``none``.

    Returns:
        What was written, in words.

    Raises:
        WeakspotError: when two pictures differ in their extension only, and as
            :func:`~weakspot.export.source.place_picture`.
    """
    stems = []
    for name, prediction in exported:
        root = ET.Element("annotation")
        for tag, text in (("folder", "JPEGImages"), ("filename", name)):
            ET.SubElement(root, tag).text = text
        ET.SubElement(ET.SubElement(root, "source"), "database").text = exported.model
        size = ET.SubElement(root, "size")
        for tag, value in (("width", prediction.width), ("height", prediction.height), ("depth", 3)):
            ET.SubElement(size, tag).text = str(value)
        ET.SubElement(root, "segmented").text = "0"
        for box in prediction.boxes:
            _voc_object(root, box)
        ET.indent(root)
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in stems:
            raise WeakspotError(f"{prediction.path}: two pictures differ in their extension only; VOC cannot hold both")
        stems.append(stem)
        write_text(folder / "Annotations" / f"{stem}.xml", ET.tostring(root, encoding="unicode") + "\n")
        place_picture(prediction.path, folder / "JPEGImages" / name, pictures)
    write_text(folder / "ImageSets" / "Main" / "default.txt", "".join(f"{stem}\n" for stem in stems))
    return exported.summary


def _voc_object(root: ET.Element, box: Box) -> None:
    item = ET.SubElement(root, "object")
    for tag, text in (("name", box.label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
        ET.SubElement(item, tag).text = text
    corners = ET.SubElement(item, "bndbox")
    for tag, value in (("xmin", box.x0 + 1), ("ymin", box.y0 + 1), ("xmax", box.x1), ("ymax", box.y1)):
        ET.SubElement(corners, tag).text = str(value)
    ET.SubElement(item, "score").text = f"{box.confidence:.6f}"


@box_format("labelstudio")
def write_labelstudio(exported: Exported, folder: Path, pictures: Pictures) -> str:
    """Label Studio: ``tasks.json`` with predictions to correct, and ``label_config.xml``, the set-up for them.

    Coordinates are percent of the picture (https://labelstud.io/guide/predictions). Pictures are looked for in Label
    Studio's local storage, which must lie below its document root: in ``images/``, with `folder` as the root, or, where
    they are not placed there, in the folder that all of them lie in, with the folder above it as the root. Heat maps
    that lie beside the predictions go to ``images/heatmaps/`` where pictures are placed, and are shown below them.

    Args:
        exported: the predictions, with a portable name for every picture.
        folder: gets ``tasks.json``, ``label_config.xml`` and ``images/``.
        pictures: ``copy``, ``link`` or ``none``.

    Returns:
        What was written, in words.

    Raises:
        WeakspotError: as :func:`~weakspot.export.source.place_picture`.
    """
    tasks = list[dict[str, Any]]()
    heatmaps = place_heatmaps(exported, folder / "images" / HEATMAPS) if pictures != "none" else {}
    storage = "images" if pictures != "none" else exported.common_folder.name
    for name, prediction in exported:
        results = [_choice(prediction), *(_rectangle(n, box, prediction) for n, box in enumerate(prediction.boxes))]
        tasks.append(
            {
                "data": {"image": _stored(f"{storage}/{name}"), "file": name},
                "predictions": [{"model_version": exported.model, "score": prediction.probability, "result": results}],
            }
        )
        if heatmaps:  # the set-up shows one for every task
            shown = f"{storage}/{HEATMAPS}/{heatmaps[name]}" if name in heatmaps else f"{storage}/{name}"
            tasks[-1]["data"]["heatmap"] = _stored(shown)
        place_picture(prediction.path, folder / "images" / name, pictures)
    write_json(folder / "tasks.json", tasks)
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image")
    rectangles = ET.SubElement(view, "RectangleLabels", name="label", toName="image")
    for label in exported.classes:
        ET.SubElement(rectangles, "Label", value=label)
    choices = ET.SubElement(view, "Choices", name=LABELSTUDIO_CLASS, toName="image", choice="single")
    for label in (GOOD, *exported.classes):
        ET.SubElement(choices, "Choice", value=label)
    if heatmaps:
        ET.SubElement(view, "Header", value="Where the model sees a defect (white)")
        ET.SubElement(view, "Image", name="heatmap", value="$heatmap")
    ET.indent(view)
    write_text(folder / "label_config.xml", ET.tostring(view, encoding="unicode") + "\n")
    return exported.summary + _with_heatmaps(len(heatmaps))


def _stored(path: str) -> str:
    """The address of a file in Label Studio's local storage."""
    return f"/data/local-files/?d={quote(path)}"


def _rectangle(number: int, box: Box, prediction: Prediction) -> dict[str, Any]:
    across, down = 100 / prediction.width, 100 / prediction.height
    return {
        "id": f"box{number}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": prediction.width,
        "original_height": prediction.height,
        "image_rotation": 0,
        "value": {
            "x": box.x0 * across,
            "y": box.y0 * down,
            "width": (box.x1 - box.x0) * across,
            "height": (box.y1 - box.y0) * down,
            "rotation": 0,
            "rectanglelabels": [box.label],
        },
        "score": box.confidence,
    }


def _choice(prediction: Prediction) -> dict[str, Any]:
    return {
        "id": "class",
        "type": "choices",
        "from_name": LABELSTUDIO_CLASS,
        "to_name": "image",
        "value": {"choices": [prediction.label]},
        "score": next(one.confidence for one in prediction.classes if one.name == prediction.label),
    }


@box_format("csv")
def write_csv(exported: Exported, folder: Path, pictures: Pictures) -> str:
    """Write ``boxes.csv``, a line for each box: name, size, half-open pixel corners, class, score 0…1, log-odds, trust.

    Args:
        exported: the predictions, with a portable name for every picture.
        folder: gets ``boxes.csv`` and ``images/``.
        pictures: ``copy``, ``link`` or ``none``.

    Returns:
        What was written, in words.

    Raises:
        WeakspotError: as :func:`~weakspot.export.source.place_picture`.
    """
    with atomic_path(folder / "boxes.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "width", "height", "x0", "y0", "x1", "y1", "label", "score", "log_odds", "trust"))
        for name, prediction in exported:
            place_picture(prediction.path, folder / "images" / name, pictures)
            for box in prediction.boxes:
                size = (prediction.width, prediction.height)
                rows.writerow(
                    (inert_path(name), *size, *box.xyxy, inert(box.label), box.confidence, box.score, box.trust)
                )
    return exported.summary
