"""What a person drew and corrected in pictures that are measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from weakspot.data.annotated_truth import Corrected, correct
from weakspot.data.annotations import NOT_CORRECTED
from weakspot.errors import WeakspotError
from weakspot.types import Sample

NAMES = ("good/a.png", "crack/b.png", "crack/c.png")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three pictures of 6 × 8 pixels (height × width), all different."""
    for number, name in enumerate(NAMES):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 10 * number, np.uint8)).save(path)
    return [Sample(tmp_path / "data" / name, name.split("/")[0]) for name in NAMES]


def measured_against(
    samples: list[Sample], tmp_path: Path, *images: dict[str, Any], boxes: dict[int, Any], info: str = ""
) -> Corrected:
    content = {
        "info": {"description": info},
        "images": [{"id": i, "height": 6, "width": 8, **image} for i, image in enumerate(images)],
        "categories": [{"id": 1, "name": "crack"}],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": box} for i, box in boxes.items()],
    }
    (tmp_path / "t.json").write_text(json.dumps(content))
    return correct(samples, np.array([(6, 8)] * 3), tmp_path / "t.json", tmp_path / "truth", "OK")


def test_predictions_that_nobody_looked_at_are_no_truth(samples: list[Sample], tmp_path: Path) -> None:
    b, c = {"file_name": "crack/b.png"}, {"file_name": "crack/c.png"}
    boxes = {0: [1, 1, 2, 2], 1: [1, 1, 2, 2]}
    with pytest.raises(WeakspotError, match=r"truth=.*t\.json holds no annotated picture; predictions that nobody loo"):
        measured_against(samples, tmp_path, b, c, boxes=boxes, info=f"Boxes, {NOT_CORRECTED}")
    found = measured_against(samples, tmp_path, b, {**c, "weakspot_reviewed": False}, boxes=boxes)
    assert list(found.drawn) == [samples[1].path]
    assert found.remarks == ["1 images of defects are not marked in t.json and count for the class only"]


def test_a_picture_of_another_content_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    sha256 = hashlib.sha256(samples[1].path.read_bytes()).hexdigest()
    image = {"file_name": "crack/b.png"}
    assert measured_against(samples, tmp_path, {**image, "sha256": sha256}, boxes={0: [1, 1, 2, 2]}).drawn
    with pytest.raises(WeakspotError, match=r"truth=.*b\.png is not the picture that was annotated, its content diffe"):
        measured_against(samples, tmp_path, {**image, "sha256": "0" * 64}, boxes={0: [1, 1, 2, 2]})


def test_labels_that_a_person_corrected_are_the_truth(samples: list[Sample], tmp_path: Path) -> None:
    images = [
        {"file_name": "good/a.png", "weakspot_label": "anomaly"},
        {"file_name": "crack/b.png", "weakspot_label": "ok"},
        {"file_name": "crack/c.png", "weakspot_label": "Anomaly"},
    ]
    found = measured_against(samples, tmp_path, *images, boxes={0: [1, 1, 2, 2], 2: [0, 0, 8, 6]})
    assert [sample.defect for sample in found.samples] == ["anomaly", "good", "crack"]
    assert found.drawn[samples[0].path].boxes.tolist() == [[1, 1, 3, 3]]
    assert [sample.mask is None for sample in found.samples] == [False, True, False]
    assert found.described == {"file": str(tmp_path / "t.json"), "images": 2, "boxes": 2, "corrected_labels": 2}
    assert found.remarks == ["measured against 2 labels as t.json corrects them"]
    with pytest.raises(WeakspotError, match=r"b\.png is labelled good, but a defect is marked in it"):
        measured_against(samples, tmp_path, *images, boxes={1: [1, 1, 2, 2]})


def test_a_file_of_other_pictures_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"none of the 1 annotated pictures .*, crack/a\.png for one"):
        measured_against(samples, tmp_path, {"file_name": "crack/a.png"}, boxes={})
    found = measured_against(samples, tmp_path, {"file_name": "b.png"}, {"file_name": "crack/a.png"}, boxes={})
    assert found.remarks[1:] == ["1 pictures of t.json are not measured here, crack/a.png for one"]
