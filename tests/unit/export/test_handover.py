"""What an export takes along: thresholds, region of interest and a card that says what is known, and no more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.familiar import imagined
from helpers.measurements import classification, measurement
from PIL import Image

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.data.roi import SharedRegion
from weakspot.evaluation.records import DataRecord, MetricsRecord, SplitRecord
from weakspot.evaluation.schema import Alarm
from weakspot.export.certificate import Certificate
from weakspot.export.handover import write_handover
from weakspot.metrics.intervals import proportion
from weakspot.models.bundle_meta import BundleMeta
from weakspot.postprocess.familiarity import Familiarity

META = BundleMeta(
    classes=["good", "a|b"], preprocess=Preprocess((64, 96), "torchvision"), backbone="vgg16", outputs=2,
    boxes=BoxRule(), thresholds={"boxes": {"value": 0.7, "origin": "configuration"}},
    weights={"origin": "torchvision VGG16_Weights.IMAGENET1K_V1, downloaded", "sha256": "x"}, split_hash="s",
    data_hash="d",
)  # fmt: skip
CERTIFICATE = Certificate(9, "fp32", 1e-6, 9, 9, 1e-4, {"ratio": 1.25, "machine": "m"}, {}, "hash")


def measured(run: Path, layout: str = "mvtec") -> Path:
    run.mkdir()
    found = measurement(classification(accuracy=proportion(9, 10), balanced_accuracy=proportion(8, 10)))
    alarm = Alarm("the lamp differs", "the network may go by it", "take pictures anew")
    record = MetricsRecord(
        "x", DataRecord(layout, "/home/somebody/data", "leather", "binary", ["good", "a|b"]),
        SplitRecord(n_train=70, n_val=12), replace(found, alarms=[alarm]),
    )  # fmt: skip
    record.write(run / "metrics.json")
    return run


def test_the_card_has_data_numbers_with_intervals_alarms_limits_and_licences(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    made = write_handover(model, measured(tmp_path / "run"), META, CERTIFICATE)
    assert [path.name for path in made] == ["model.onnx.thresholds.json", "model.onnx.card.json", "model.onnx.card.md"]
    card = json.loads((tmp_path / "model.onnx.card.json").read_text())
    assert card["data"]["images"] == {"train": 70, "val": 12, "test": 10}
    assert card["numbers"]["balanced_accuracy"] == {**proportion(8, 10).as_dict()}
    assert "precision" not in card["numbers"]  # it is not known
    assert card["alarms"][0]["seen"] == "the lamp differs"
    assert card["licences"]["data"] == "CC BY-NC-SA 4.0: no commercial use"
    assert card["licences"]["weights"]["licence"].startswith("torchvision has the BSD 3-Clause licence")
    assert card["familiarity"] is None
    assert "/home/somebody" not in json.dumps(card)
    page = (tmp_path / "model.onnx.card.md").read_text()
    assert "| balanced accuracy | 0.800 | 0.444 to 0.975 | 10 |" in page
    assert "- **the lamp differs**: the network may go by it. To do: take pictures anew." in page
    assert "70 pictures trained on, 12 held out for thresholds, 10 measured on" in page
    assert "It tells apart: good, a\\|b." in page
    assert "It is no safety device" in page
    assert "CC BY-NC-SA 4.0" in page
    assert "\n\n\n" not in page
    thresholds = json.loads(made[0].read_text())
    assert thresholds["thresholds"]["boxes"]["value"] == 0.7
    assert thresholds["boxes"]["method"] == META.boxes.method


@pytest.mark.parametrize(
    ("layout", "licence"), [("synthetic", "none needed"), ("visa", "CC"), ("folder", "not known to weakspot")]
)
def test_the_licence_of_the_data_is_that_of_its_layout(tmp_path: Path, layout: str, licence: str) -> None:
    write_handover(tmp_path / "m.onnx", measured(tmp_path / "run", layout), META, CERTIFICATE)
    assert licence in json.loads((tmp_path / "m.onnx.card.json").read_text())["licences"]["data"]


def test_a_bundle_alone_says_that_nothing_is_known(tmp_path: Path) -> None:
    meta = replace(META, weights={"origin": "/some/file.pth", "sha256": "x"})
    write_handover(tmp_path / "m.onnx", tmp_path, meta, CERTIFICATE)
    page = (tmp_path / "m.onnx.card.md").read_text()
    for text in ("exported from a bundle", "None were measured.", "## Alarms\n\nNot known here.", "ask where the file"):
        assert text in page, text


def test_region_of_interest_and_statistics_lie_beside_it_and_go_with_the_next_export(tmp_path: Path) -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 5:40] = True
    known = imagined(40)
    meta = replace(META, preprocess=replace(META.preprocess, roi=SharedRegion.of(mask)), familiarity=known)
    model = tmp_path / "m.onnx"
    made = write_handover(model, tmp_path, meta, replace(CERTIFICATE, same_familiarity=9, familiarity_difference=0.0))
    assert {path.name for path in made} >= {"m.onnx.roi.json", "m.onnx.roi.png", "m.onnx.familiarity.json"}
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.onnx.roi.png")) > 0, mask)
    page = (tmp_path / "m.onnx.card.md").read_text()
    assert "region of interest: shared" in page
    assert Familiarity.from_dict(json.loads((tmp_path / "m.onnx.familiarity.json").read_text())) == known
    assert "`m.onnx.familiarity.json`" in page
    assert "of pictures like the 40 held-out ones at most 2.4% are called unlike anything seen in training" in page
    assert "9 the same boxes, 9 the same familiarity." in page
    write_handover(model, tmp_path, META, CERTIFICATE)
    assert not list(tmp_path.glob("*roi*"))
    assert not list(tmp_path.glob("*familiarity*"))
