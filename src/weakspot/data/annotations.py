"""Boxes and masks that a person drew, read from COCO or Label Studio files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from weakspot.data.rle import decode_brush, decode_mask
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, BoolArray, Size
from weakspot.utils.untrusted import MOST_ANNOTATIONS, MOST_PIXELS, parse_json, read_bounded

NOT_CORRECTED = "not corrected by a person"
"""How the description of a COCO file ends that holds predictions as they are; nothing learns from such a file."""

LABELSTUDIO_CLASS = "class"
"""Name of the choice of a picture's class in the set-up that ``weakspot export boxes --format labelstudio`` writes."""

ELLIPSE_CORNERS = 180
"""Corners of the polygon that stands for an ellipse; it lacks 0.02 % of the area."""


@dataclass
class Annotation:
    """What a person drew in one picture.

    Attributes:
        name: of the picture, as the file writes it.
        size: ``(height, width)`` of the picture in pixels, as the file gives it.
        boxes: half-open ``(x0, y0, x1, y1)`` in pixels, one for each drawn object.
        shapes: the same objects: a mask ``(height, width)``, or None where the object is only a box.
        kinds: the same objects: the class that the file gives each, or None where it gives none.
        label: the class that a person gave the picture; None where the file does not say.
        reviewed: whether a person looked at the picture; None where the file does not say.
        sha256: of the picture's file, hexadecimal; None where the annotation file does not give it.
    """

    name: str
    size: Size
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    shapes: list[BoolArray | None] = field(default_factory=list)
    kinds: list[str | None] = field(default_factory=list)
    label: str | None = None
    reviewed: bool | None = None
    sha256: str | None = None

    def add_box(self, x0: float, y0: float, x1: float, y1: float, kind: str | None = None) -> None:
        """Add a box, rounded to whole pixels, at least one pixel large and cut to the picture.

        Args:
            x0: left edge in pixels of the picture, fractions allowed.
            y0: upper edge.
            x1: right edge, where the first column outside the box begins.
            y1: lower edge, where the first row outside the box begins.
            kind: class of the object.
        """
        height, width = self.size
        left, top = min(max(0, round(x0)), width - 1), min(max(0, round(y0)), height - 1)
        right, bottom = min(max(left + 1, round(x1)), width), min(max(top + 1, round(y1)), height)
        self.boxes.append((left, top, right, bottom))
        self.shapes.append(None)
        self.kinds.append(kind)

    def add_mask(self, mask: BoolArray, kind: str | None = None) -> None:
        """Add a mask of the picture's size, and the box round all of it; an empty mask adds nothing."""
        if mask.shape != tuple(self.size):
            raise ValueError(f"the mask of {self.name} is {mask.shape} and the picture {tuple(self.size)}")
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            self.boxes.append((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
            self.shapes.append(mask)
            self.kinds.append(kind)

    def add_polygons(self, polygons: Sequence[npt.NDArray[np.float64]], kind: str | None = None) -> None:
        """Add the mask of one object by its outlines.

        An outline can be so thin that it holds the centres of no pixels, or only of some in a part of its length. Then
        the box round its corners is taken. What lies outside the picture altogether adds nothing.

        Args:
            polygons: as for :func:`filled`.
            kind: class of the object.

        Raises:
            ValueError: as :func:`filled`.
        """
        mask = filled(polygons, self.size)
        corners, (height, width) = np.concatenate([points.reshape(-1, 2) for points in polygons]), self.size
        first, last = corners.min(axis=0), corners.max(axis=0)
        if (last < 0).any() or (first > (width, height)).any():
            return
        sides = np.minimum(last, (width, height)) - np.maximum(first, 0)
        across, down = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
        short = not len(across) or (sides - (np.ptp(across) + 1, np.ptp(down) + 1) > np.maximum(1, sides / 4)).any()
        if short and len(polygons) == 1:
            (left, top), (right, bottom) = np.floor(first), np.ceil(last)
            self.add_box(left, top, right, bottom, kind)
            return
        for outline in polygons if short else ():  # one of them at least is thin; there is nothing between them
            part = Annotation(self.name, self.size)
            part.add_polygons([outline])
            mask |= part.mask()
        self.add_mask(mask, kind)

    def mask(self) -> BoolArray:
        """The pixels of all drawn objects, bool ``(height, width)``."""
        whole = np.zeros(self.size, dtype=bool)
        for (x0, y0, x1, y1), shape in zip(self.boxes, self.shapes, strict=True):
            if shape is None:
                whole[y0:y1, x0:x1] = True
            else:
                whole |= shape
        return whole


def read_annotations(path: Path, key: str = "truth") -> list[Annotation]:
    """Read COCO's detection JSON, or Label Studio's JSON export.

    From Label Studio, annotations are read and predictions are not; of several annotations of a task, the last one that
    was not cancelled counts.

    Args:
        path: the file.
        key: of the configuration that named it, for messages.

    Raises:
        WeakspotError: when the file is neither, or damaged, or holds an object that cannot be read or is of no picture;
            the message names it.
    """
    try:
        content = parse_json(read_bounded(path, MOST_ANNOTATIONS).decode("utf-8-sig"))  # with a byte-order mark or not
        if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
            found = list(_read_coco(content))
        elif isinstance(content, list) and content and all("data" in task for task in content):
            found = list(_read_labelstudio(content))
        else:
            raise WeakspotError(
                f"{path} is neither COCO (images, annotations, categories) nor an export of Label Studio (JSON)"
            )
    except OSError as error:
        raise WeakspotError(
            f"{key}={path} cannot be read ({error.strerror}); give a COCO or Label Studio file"
        ) from error
    except _NotReadError as error:
        raise WeakspotError(f"{key}={path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise WeakspotError(f"{key}={path} is damaged ({type(error).__name__}: {error}); export it again") from error
    if not found:
        raise nothing_annotated(path, key)
    return found


def nothing_annotated(path: Path, key: str) -> WeakspotError:
    """The error for a file with predictions alone, or with nothing.

    Args:
        path: the file.
        key: of the configuration that named it.
    """
    return WeakspotError(
        f"{key}={path} holds no annotated picture; predictions that nobody looked at do not count, correct or confirm "
        "them in a tool first"
    )


class _NotReadError(ValueError):
    """A sound file holds something that would be lost; the message says what, and the way out."""


@contextmanager
def _naming(picture: str) -> Iterator[None]:
    """Name the picture whose annotation is damaged."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{picture} has an object without {error}") from error
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"{picture}: {error}") from error


def _read_coco(content: dict[str, Any]) -> Iterator[Annotation]:
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    uncorrected = str((content.get("info") or {}).get("description", "")).endswith(NOT_CORRECTED)
    of_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in of_image:
            raise _NotReadError(
                f"an annotation has image_id {annotation['image_id']!r}, and no image has this id; export it again"
            )
        if names.get(annotation["category_id"], "").casefold() != GOOD:
            of_image[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        size = _size(image["height"], image["width"])
        found = Annotation(str(image["file_name"]), size, **_review_fields(image))
        found.reviewed = False if uncorrected and found.reviewed is None else found.reviewed
        with _naming(found.name):
            for annotation in of_image[image["id"]]:
                _add_coco(found, annotation, names.get(annotation["category_id"]))
        yield found


def _review_fields(image: dict[str, Any]) -> dict[str, Any]:
    """What a review wrote of a picture, beside COCO's own keys: its class, whether it was looked at, its hash."""
    found = {key: image.get(f"weakspot_{key}") for key in ("label", "reviewed")} | {"sha256": image.get("sha256")}
    for key, kind in (("label", str), ("reviewed", bool), ("sha256", str)):
        if not isinstance(found[key], kind | None):
            raise TypeError(f"{key} of {image['file_name']} is {found[key]!r}")
    return found


def _add_coco(found: Annotation, annotation: dict[str, Any], kind: str | None) -> None:
    """Add an object: its polygons or run lengths; its box where it has none, or none with three corners."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        outlines = [np.asarray(polygon, np.float64) for polygon in segmentation]
        if not all(outline.ndim for outline in outlines):
            raise ValueError("a segmentation that is a list of numbers, not of polygons")
        segmentation = [outline for outline in outlines if outline.size >= 6]
    if not segmentation:
        x, y, width, height = (float(v) for v in annotation["bbox"])
        found.add_box(x, y, x + width, y + height, kind)
    elif isinstance(segmentation, list):
        found.add_polygons(segmentation, kind)
    elif tuple(segmentation["size"]) != found.size:
        raise ValueError(f"a mask of {segmentation['size']} in a picture of {list(found.size)}")
    else:
        found.add_mask(decode_mask(segmentation["counts"], found.size), kind)


def _size(height: Any, width: Any) -> Size:  # noqa: ANN401 - what the file has
    size = int(height), int(width)
    if min(size) < 1 or math.prod(size) > MOST_PIXELS:
        raise ValueError(f"a picture of {size} (height, width)")
    return size


def _read_labelstudio(tasks: list[dict[str, Any]]) -> Iterator[Annotation]:
    for task in tasks:
        kept = [each for each in task.get("annotations") or [] if not each.get("was_cancelled")]
        if not kept:
            continue
        data = task["data"]
        name = str(data.get("file") or data.get("image") or next(iter(data.values()), ""))
        found: Annotation | None = None
        label = None
        for item in kept[-1]["result"]:
            if item["type"] == "choices" and item.get("from_name") == LABELSTUDIO_CLASS:
                label = str(item["value"]["choices"][0])
            if _is_defect(item, name):
                found = found or Annotation(name, _size(item["original_height"], item["original_width"]))
                kinds = item["value"].get(item["type"])
                with _naming(name):
                    _LABELSTUDIO[item["type"]](found, item["value"], str(kinds[0]) if kinds else None)
        found = found or Annotation(name, (0, 0))  # nothing marked: its size is not given
        yield replace(found, label=label, reviewed=True)


def _is_defect(item: dict[str, Any], name: str) -> bool:
    """Whether something is drawn that is not called Good; refuse what is drawn in a way that cannot be read."""
    if item["type"] in _LABELSTUDIO:
        return not any(str(kind).casefold() == GOOD for kind in item["value"].get(item["type"]) or ())
    if item["type"].removesuffix("labels") in _LABELSTUDIO_DRAWINGS:
        raise _NotReadError(
            f"{name} holds {item['type']!r}, which is not read; draw with RectangleLabels, EllipseLabels, "
            "PolygonLabels or BrushLabels"
        )
    return False


def _add_rectangle(found: Annotation, value: dict[str, Any], kind: str | None) -> None:
    """Percent of the picture; turned by ``rotation`` degrees round its top left corner, it is a polygon."""
    (height, width), angle = found.size, np.deg2rad(float(value.get("rotation") or 0))
    x, y = value["x"] * width / 100, value["y"] * height / 100
    across, down = value["width"] * width / 100, value["height"] * height / 100
    if not angle:
        return found.add_box(x, y, x + across, y + down, kind)
    right, below = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corner = np.array([x, y])
    corners = [corner, corner + across * right, corner + across * right + down * below, corner + down * below]
    return found.add_polygons([np.array(corners)], kind)


def _add_ellipse(found: Annotation, value: dict[str, Any], kind: str | None) -> None:
    """Centre and radii in percent of the picture, turned by ``rotation`` degrees round the centre."""
    scale, angle = np.array(found.size[::-1]) / 100, np.deg2rad(float(value.get("rotation") or 0))
    turn = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    along = np.column_stack([np.cos(turn), np.sin(turn)]) * (value["radiusX"], value["radiusY"]) * scale
    right, below = [np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]
    found.add_polygons([np.array([value["x"], value["y"]]) * scale + along @ np.array([right, below])], kind)


def _add_polygon(found: Annotation, value: dict[str, Any], kind: str | None) -> None:
    points = np.array(value["points"], dtype=np.float64) * np.array(found.size[::-1]) / 100
    found.add_polygons([points], kind)


def _add_brush(found: Annotation, value: dict[str, Any], kind: str | None) -> None:
    if value["format"] != "rle":
        raise ValueError(f"a brush in the format {value['format']}")
    found.add_mask(decode_brush(value["rle"], found.size) > 0, kind)


_LABELSTUDIO = {
    "rectanglelabels": _add_rectangle,
    "ellipselabels": _add_ellipse,
    "polygonlabels": _add_polygon,
    "brushlabels": _add_brush,
}
_LABELSTUDIO_DRAWINGS = ("rectangle", "ellipse", "polygon", "brush", "keypoint", "vector", "bitmask")


def filled(polygons: Sequence[npt.NDArray[np.float64]], size: Size) -> BoolArray:
    """The pixels whose centres lie in any of some polygons.

    Args:
        polygons: ``(n, 2)`` each, corners ``(x, y)`` in pixels.
        size: ``(height, width)``.

    Raises:
        ValueError: for what is no polygon, and for corners far outside the picture: pycocotools' C code takes memory
            for the whole way there.
    """
    far = 2 * max(size)
    for points in polygons:
        if points.size < 6 or points.size % 2 or not (np.abs(points) <= far).all():
            raise ValueError(f"a polygon that is none, or lies far outside a picture of {size} (height, width)")
    encoded = coco_mask.merge(coco_mask.frPyObjects([points.ravel().tolist() for points in polygons], *size))
    return np.asarray(coco_mask.decode(encoded), dtype=bool)
