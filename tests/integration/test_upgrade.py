"""What an older weakspot has written is read for ever; what a newer one has written is refused with one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.keep_bundle import kept_backbone
from helpers.paths import BUNDLES

from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.models import network
from weakspot.models.backbones import BACKBONES
from weakspot.models.bundle_meta import FORMAT, META_FILE, read_meta
from weakspot.models.network import CamNet
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.types import Prediction

KEPT = sorted(BUNDLES.iterdir(), key=lambda path: int(path.name))


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(network.BACKBONES, "kept", kept_backbone)


def same(found: Prediction, expected: Prediction) -> None:
    """Equal but for what another processor or a newer library rounds in another way."""
    assert (found.status, found.label, found.size) == ("ok", expected.label, expected.size)
    assert found.probability == pytest.approx(expected.probability, abs=1e-3)
    assert [one.name for one in found.classes] == [one.name for one in expected.classes]
    assert len(found.boxes) == len(expected.boxes)
    for box, known in zip(found.boxes, expected.boxes, strict=True):
        assert box.xyxy == pytest.approx(known.xyxy, abs=1)
        assert (box.score, box.trust) == pytest.approx((known.score, known.trust), abs=0.02)
        assert (box.label, bool(box.outlines)) == (known.label, bool(known.outlines))


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: f"format {path.name}")
def test_a_bundle_of_every_format_there_was_says_what_it_said_then(folder: Path) -> None:
    assert json.loads((folder / "bundle" / META_FILE).read_text())["format"] == int(folder.name)
    (expected,) = read_predictions(folder / "predictions.jsonl")
    assert expected.boxes
    (found,) = Localizer.load(folder / "bundle").predict(folder / "picture.png")
    same(found, expected)


def test_this_format_is_kept() -> None:
    assert [int(path.name) for path in KEPT] == list(range(1, FORMAT + 1))


def test_a_description_from_before_later_keys_means_what_there_was_then(tmp_path: Path) -> None:
    """The first bundles knew neither calibration, evidence, nor boxes with a smallest score."""
    shutil.copytree(BUNDLES / "1" / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / META_FILE
    values = json.loads(path.read_text())
    for later in ("decision", "evidence", "heatmap"):
        del values[later]
    first = ("method", "threshold_kind", "threshold", "min_area", "max_boxes")
    values["boxes"] = {key: values["boxes"][key] for key in first}
    path.write_text(json.dumps(values))
    meta = read_meta(tmp_path / "bundle")
    assert (meta.decision, meta.evidence, meta.heatmap) == (Decision(), None, "cam")
    assert meta.boxes == BoxRule(**values["boxes"])
    (found,) = Localizer.load(tmp_path).predict(BUNDLES / "1" / "picture.png")
    assert found.status == "ok"


def test_predictions_from_before_trust_and_outlines_are_read(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text(
        '{"path": "a.png", "status": "ok", "message": "", "height": 4, "width": 5, "target": null, "label": "anomaly", '
        '"classes": [{"name": "anomaly", "confidence": 0.9}], "probability": 0.9, '
        '"boxes": [{"x0": 0, "y0": 1, "x1": 2, "y1": 3, "score": 1.5, "label": "anomaly"}]}\n'
    )
    (found,) = read_predictions(tmp_path / "predictions.jsonl")
    assert (found.boxes[0].xyxy, found.boxes[0].score, found.boxes[0].outlines) == ((0, 1, 2, 3), 1.5, ())


def test_a_newer_bundle_says_to_upgrade(tmp_path: Path) -> None:
    shutil.copytree(BUNDLES / "1" / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / META_FILE
    newer = json.loads(path.read_text()) | {"format": FORMAT + 1, "boxes": "of another kind", "more": 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(WeakspotError) as caught:
        Localizer.load(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path} cannot be used: it is of format {FORMAT + 1}, and this weakspot (")
    assert said.endswith(f"knows formats up to {FORMAT}; upgrade weakspot: pip install --upgrade weakspot")
    for none in (None, True, "1", 0):
        path.write_text(json.dumps(newer | {"format": none}))
        with pytest.raises(WeakspotError, match="no format number"):
            Localizer.load(tmp_path)


def shape_of_everything(backbone: str) -> str:
    """Hash of the names and shapes of a network's tensors."""
    with torch.device("meta"):
        state = CamNet(backbone).state_dict()
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(state.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"kept"}))
def test_tensors_keep_the_names_that_bundles_have_them_under(backbone: str) -> None:
    """A network built in another way would refuse every bundle there is; those that are kept are too small to tell."""
    known: dict[str, Any] = json.loads((BUNDLES / "1" / "networks.json").read_text())
    assert shape_of_everything(backbone) == known[backbone], "bundles of this backbone are no longer read"
