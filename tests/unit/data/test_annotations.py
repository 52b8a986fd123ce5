"""COCO and Label Studio files, YOLO and VOC folders: nothing that is drawn is lost without a word."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weakspot.data.annotation_folders import read_annotation_folder
from weakspot.data.annotations import Annotation, read_annotations
from weakspot.errors import WeakspotError


def coco(*annotations: dict[str, Any], category: str = "crack") -> str:
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "NG/0001.png", "height": 10, "width": 20}],
            "categories": [{"id": 1, "name": category}],
            "annotations": [{"image_id": 1, "category_id": 1, **annotation} for annotation in annotations],
        }
    )


def labelstudio(kind: str, value: dict[str, Any], size: tuple[int, int] = (10, 20)) -> str:
    item = {"type": kind, "original_height": size[0], "original_width": size[1], "value": value}
    return json.dumps([{"data": {"image": "NG/0001.png"}, "annotations": [{"result": [item]}]}])


def the_annotation(tmp_path: Path, content: str | bytes) -> Annotation:
    file = tmp_path / "drawn.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    (found,) = read_annotations(file)
    return found


def test_ellipses_are_read(tmp_path: Path) -> None:
    size = (400, 200)
    value = {"x": 50, "y": 25, "radiusX": 30, "radiusY": 5, "ellipselabels": ["crack"]}  # in pixels 60 and 20
    flat = the_annotation(tmp_path, labelstudio("ellipselabels", value, size))
    assert flat.boxes == [(40, 80, 160, 120)]
    assert flat.kinds == ["crack"]
    assert flat.mask().sum() == pytest.approx(np.pi * 60 * 20, rel=0.005)
    upright = the_annotation(tmp_path, labelstudio("ellipselabels", {**value, "rotation": 90}, size))
    assert upright.boxes == [(80, 40, 120, 160)]
    y, x = np.nonzero(the_annotation(tmp_path, labelstudio("ellipselabels", {**value, "rotation": 30}, size)).mask())
    assert np.polyfit(x, y, 1)[0] > 0.3  # clockwise, as Label Studio turns: the right end is lower


@pytest.mark.parametrize("kind", ["keypointlabels", "rectangle", "bitmasklabels", "vectorlabels"])
def test_what_is_drawn_in_a_way_that_is_not_read_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(WeakspotError, match=rf"truth=.*drawn\.json: NG/0001\.png holds '{kind}', which is not read; "):
        the_annotation(tmp_path, labelstudio(kind, {"x": 1, "y": 1, "width": 1}))


def test_other_results_of_label_studio_are_no_drawings(tmp_path: Path) -> None:
    assert the_annotation(tmp_path, labelstudio("textarea", {"text": ["worn"]})).boxes == []


@pytest.mark.parametrize(
    ("outline", "box"),
    [
        ([2, 3.6, 12, 3.6, 12, 4, 2, 4], (2, 3, 12, 4)),  # between the centres of two rows
        ([2, 3.1, 12, 3.45, 12, 3.6, 2, 3.3], (2, 3, 12, 4)),  # holds pixels in its right half alone
        ([7, 1, 7, 9, 7, 9], (7, 1, 8, 9)),  # no area
        ([-5, 3.6, 12, 3.6, 12, 4, -5, 4], (0, 3, 12, 4)),
    ],
)
def test_a_hairline_is_the_box_round_its_corners(
    tmp_path: Path, outline: list[float], box: tuple[int, int, int, int]
) -> None:
    found = the_annotation(tmp_path, coco({"segmentation": [outline], "bbox": [0, 0, 1, 1]}))
    assert found.boxes == [box]
    assert found.shapes == [None]


def test_outlines_that_hold_pixels_stay_masks(tmp_path: Path) -> None:
    triangle, hairline = [2, 1, 18, 1, 10, 9], [1, 9.6, 4, 9.6, 4, 9.9, 1, 9.9]
    outside = [30, 1, 35, 1, 35, 5]
    several = [[0, 0, 3, 0, 3, 3, 0, 3], hairline]
    content = coco({"segmentation": [triangle]}, {"segmentation": several}, {"segmentation": [outside]})
    found = the_annotation(tmp_path, content)
    first, second = found.shapes
    assert first is not None
    assert second is not None
    assert found.boxes == [(3, 1, 17, 8), (0, 0, 4, 10)]
    assert second.sum() == 9 + 3  # and nothing between the two outlines


def test_an_annotation_of_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"drawn\.json: an annotation has image_id '1', and no image has this id"):
        the_annotation(tmp_path, coco({"image_id": "1", "bbox": [0, 0, 1, 1]}))


@pytest.mark.parametrize("segmentation", [[], [[]], [[1, 1, 5, 5]]])
def test_a_segmentation_that_outlines_nothing_leaves_the_box(tmp_path: Path, segmentation: list[Any]) -> None:
    assert the_annotation(tmp_path, coco({"segmentation": segmentation, "bbox": [2, 3, 4, 5]})).boxes == [(2, 3, 6, 8)]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"segmentation": [[]]}, "NG/0001.png has an object without 'bbox'"),
        ({"bbox": [0, 0, "wide", 1]}, "NG/0001.png: could not convert string to float: 'wide'"),
        (
            {"segmentation": [1, 1, 5, 1, 5, 5]},
            "NG/0001.png: a segmentation that is a list of numbers, not of polygons",
        ),
    ],
)
def test_a_damaged_object_is_named_with_its_picture(tmp_path: Path, annotation: dict[str, Any], reason: str) -> None:
    with pytest.raises(WeakspotError) as error:
        the_annotation(tmp_path, coco(annotation))
    assert str(error.value) == f"truth={tmp_path / 'drawn.json'} is damaged (ValueError: {reason}); export it again"


@pytest.mark.parametrize("name", ["good", "Good", "GOOD"])
def test_what_is_called_good_is_no_defect_in_any_letter_case(tmp_path: Path, name: str) -> None:
    assert the_annotation(tmp_path, coco({"bbox": [0, 0, 1, 1]}, category=name)).boxes == []
    value = {"x": 0, "y": 0, "width": 10, "height": 10, "rectanglelabels": [name]}
    assert the_annotation(tmp_path, labelstudio("rectanglelabels", value)).boxes == []


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    file = the_annotation(tmp_path, codecs.BOM_UTF8 + coco({"bbox": [0, 0, 1, 1]}).encode())
    assert file.boxes == [(0, 0, 1, 1)]
    folder = tmp_path / "yolo"
    folder.mkdir()
    (folder / "0001.txt").write_bytes(codecs.BOM_UTF8 + b"0 0.5 0.5 1 1\n")
    (folder / "classes.txt").write_bytes(codecs.BOM_UTF8 + b"crack\n")
    (found,) = read_annotation_folder(folder, [Path("NG/0001.png")], [(10, 20)], "truth")
    assert (found.boxes, found.kinds) == ([(0, 0, 20, 10)], ["crack"])


def test_what_macos_lays_beside_files_is_not_read(tmp_path: Path) -> None:
    size = "<size><width>20</width><height>10</height></size>"
    (tmp_path / "0001.xml").write_text(f"<annotation><filename>0001.png</filename>{size}</annotation>")
    (tmp_path / "__MACOSX").mkdir()
    for name in ("._0001.xml", "__MACOSX/0001.xml", "._0002.txt"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    found = read_annotation_folder(tmp_path, [Path("NG/0001.png")], [(10, 20)], "truth")
    assert [one.name for one in found] == ["0001.png"]
