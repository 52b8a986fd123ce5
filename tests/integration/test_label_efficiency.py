"""The benchmark of corrections hands over exactly what the masks show, and draws the rows that it has."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from PIL import Image

from weakspot.data.corrections import read_corrections
from weakspot.data.images import inspect_images
from weakspot.types import Sample

sys.path.append(str(ROOT / "benchmarks"))
from label_efficiency import Row, as_coco, draw, gain, summary, wanted_rows


@pytest.fixture
def masked(tmp_path: Path) -> Sample:
    """A picture of 20×30 (height × width) with two regions."""
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 3:9] = mask[10:16, 20:22] = 255
    for name, array in (("a.png", np.zeros((20, 30, 3), np.uint8)), ("a_mask.png", mask)):
        Image.fromarray(array).save(tmp_path / name)
    return Sample(tmp_path / "a.png", "crack", mask=tmp_path / "a_mask.png")


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_what_is_handed_over_is_what_the_mask_shows(masked: Sample, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "drawn.json"
    file.write_text(json.dumps(as_coco([masked], kind, tmp_path)))
    found = read_corrections([masked], inspect_images([masked.path]), ["train"], [file]).drawn[0]
    assert masked.mask is not None
    truth = np.array(Image.open(masked.mask)) > 0
    np.testing.assert_array_equal(found.mask(), truth)  # both regions are boxes
    assert found.boxes == ([(3, 2, 9, 5), (20, 10, 22, 16)] if kind == "boxes" else [(3, 2, 22, 16)])
    assert all((shape is None) == (kind == "boxes") for shape in found.shapes)


def test_the_table_pairs_pictures_with_labels_only_and_the_curve_is_drawn(tmp_path: Path) -> None:
    wanted = list(wanted_rows("s", [0, 1], [0, 20, -1], ["boxes"], ["lot"], 42))
    assert [(row.fold, row.count, row.choice) for row in wanted] == [
        (fold, *rest) for fold in (0, 1) for rest in ((0, "none"), (20, "lot"), (-1, "none"))
    ]

    def found(levels: list[float]) -> dict[str, object]:
        numbers = {"max_box_acc_v2": float(np.mean(levels)), "pixel_ap": 0.5, "balanced_accuracy": 0.75}
        return {**numbers, "levels": levels, "groups": ["a", "a", "b"]}

    rows = {row: found([row.count != 0, 1.0, row.count == 20]) for row in wanted}
    assert gain([rows[wanted[0]]], [rows[wanted[2]]]).startswith("+0.333 (")
    lines = summary(rows, wanted).splitlines()
    assert [line.split("|")[4].strip() for line in lines[2:]] == ["0.333", "1.000", "0.667"]
    half = {row: rows[row] for row in wanted if row.fold == 0 and row != Row("s", 0, -1, "boxes", "none", 42)}
    draw(half, wanted, tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").width > 400
