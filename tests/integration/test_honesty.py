"""Nothing of the test subset can reach what is fitted, calibrated or chosen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.runs import FEW_STEPS, TINY, train_config
from PIL import Image

from weakspot.commands.train import train
from weakspot.data.images import inspect_image
from weakspot.runs.folder import RunFolder
from weakspot.training import prepare as plan
from weakspot.training.dataset import Data, index_and_split
from weakspot.training.evidence import fit

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]

CALIBRATED = ("split.val_size=0.4", "boxes.threshold=-2", "decision.recall=0.8")


def poisoned(data: Data, folder: Path) -> Data:
    """The same split; of every test image the pixels are noise, the label is the other one, and the mask is gone."""
    samples, infos, targets = list(data.samples), list(data.infos), list(data.targets)
    folder.mkdir()
    for i in data.indices("test"):
        path = folder / f"{i}.png"
        noise = np.random.default_rng(i).integers(0, 255, (infos[i].height, infos[i].width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        defect = "good" if targets[i] else "hole"
        samples[i] = replace(samples[i], path=path, defect=defect, mask=None)
        infos[i], targets[i] = inspect_image(path), 1 - targets[i]
    return replace(data, samples=samples, infos=infos, targets=targets)


def trained(fabric: Path, name: str, overrides: tuple[str, ...], change: Callable[[Data], Data]) -> RunFolder:
    command = [
        f"data.root={fabric}", "data.subset=fabric", overrides[0], *TINY, *overrides[1:], f"name={name}",
        "cache.enabled=false", "reuse=false",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "index_and_split", lambda *args: change(index_and_split(*args)))
        return train(train_config(*command))


def fitted(run: RunFolder) -> dict[str, Any]:
    """Everything that decides something: the tensors, and of the description all but where the data were."""
    meta = json.loads((run.bundle / "model.json").read_text())
    held_out = [run.calibration, run.imitations, run.validation]
    return {
        "tensors": hashlib.sha256((run.bundle / "model.safetensors").read_bytes()).hexdigest(),
        "held out": [hashlib.sha256(path.read_bytes()).hexdigest() for path in held_out if path.is_file()],
        **{key: meta[key] for key in ("boxes", "decision", "thresholds", "trust", "classes", "preprocess", "evidence")},
        "epochs": [epoch["train/loss"] for epoch in run.read_identity()["train"]["history"]],
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=plain_cam", "trainer.stop_at_accuracy=0.6"),
        ("experiment=recommended", *FEW_STEPS, *CALIBRATED),
        ("experiment=recommended", *FEW_STEPS, "split.val_size=0", "boxes.threshold=-2"),
    ],
    ids=["plain class activation maps", "recommended", "cross-fitted"],
)
def test_a_poisoned_test_part_changes_nothing_that_is_fitted(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    clean = trained(fabric, "clean", overrides, lambda data: data)
    poison = trained(fabric, "poison", overrides, lambda data: poisoned(data, tmp_path / "noise"))
    assert fitted(poison) == fitted(clean)
    accuracy = [run.read_metrics()["test"]["classification"]["accuracy"] for run in (clean, poison)]
    assert accuracy[0]["n"] == accuracy[1]["n"]
    assert clean.predictions.read_text() != poison.predictions.read_text()  # the poison was there


def outlined(fabric: Path, file: Path, overrides: tuple[str, ...]) -> Path:
    """COCO: a box on every other defect picture of the training subset, and one label corrected."""
    config = train_config(f"data.root={fabric}", "data.subset=fabric", overrides[0], *TINY, *overrides[1:])
    data = index_and_split(config.data, config.split, None)
    defects = [i for i in data.indices("train") if data.targets[i] != 0]
    images = [
        {
            "id": n,
            "file_name": data.samples[i].path.relative_to(fabric / "fabric").as_posix(),
            "height": data.infos[i].height,
            "width": data.infos[i].width,
            **({"weakspot_label": "Good"} if n == 0 else {}),
        }
        for n, i in enumerate(defects[::2])
    ]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [8, 8, 40, 30]} for n in range(1, len(images))]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "anomaly"}]}))
    return file


def test_nothing_of_the_test_subset_reaches_what_learns_from_annotations(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ("experiment=recommended", *FEW_STEPS, "refine.correction_steps=3", *CALIBRATED)
    labels_only = trained(fabric, "labels", overrides, lambda data: data)
    file = outlined(fabric, tmp_path / "drawn.json", overrides)
    drawn = (*overrides, f"data.annotations={file}")
    clean = trained(fabric, "clean", drawn, lambda data: data)
    poison = trained(fabric, "poison", drawn, lambda data: poisoned(data, tmp_path / "noise"))
    assert fitted(poison) == fitted(clean)
    assert fitted(clean)["tensors"] != fitted(labels_only)["tensors"]
    learnt_from = clean.read_metrics()["data"]["learnt_from"]
    assert learnt_from["boxes"] == learnt_from["pictures"] > 0
    assert learnt_from["corrected_labels"] == 1
    assert json.loads((clean.bundle / "model.json").read_text())["learnt_from"] == learnt_from
    assert "learnt_from" not in json.loads((labels_only.bundle / "model.json").read_text())
    head = clean.report.read_text(encoding="utf-8")
    assert f"learnt from {learnt_from['boxes']} boxes" in head


def test_learning_on_top_of_a_labels_only_run_is_learning_from_the_start(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("experiment=recommended", *FEW_STEPS, "refine.correction_steps=3", *CALIBRATED)
    base = [f"data.root={fabric}", "data.subset=fabric", overrides[0], *TINY, *overrides[1:], "cache.enabled=false"]
    for name in ("here", "there", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    alone = train(train_config(*base, "data.use_masks=train"))
    alone = RunFolder(alone.path.absolute())
    monkeypatch.chdir(tmp_path / "there")  # where nothing of it is found
    labels_only = RunFolder(train(train_config(*base)).path.absolute())
    assert "training on 26 images" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_train", lambda *_: pytest.fail("trained again"))
        on_top = RunFolder(train(train_config(*base, "data.use_masks=train")).path.absolute())
        monkeypatch.chdir(tmp_path / "elsewhere")  # and a run that was corrected itself knows what labels taught it
        on_top_again = train(train_config(*base, "data.use_masks=train"), on_top)
    assert "training goes on from what is there already: about" in capsys.readouterr().err
    assert fitted(on_top) == fitted(alone) == fitted(on_top_again)
    assert fitted(on_top)["tensors"] != fitted(labels_only)["tensors"]
