"""Makes what ``tests/data/bundles/<format>/`` keeps: a bundle of this format, a picture, and its prediction.

To be run once for a new format, never for one that is there: ``python tests/helpers/keep_bundle.py``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs this file by itself

import weakspot.training.evidence.fit as fitting
from helpers.paths import BUNDLES
from weakspot.commands.train import train
from weakspot.config.hydra_app import compose
from weakspot.config.schema import TrainConfig, typed
from weakspot.data import synthetic
from weakspot.inference.localizer import Localizer
from weakspot.models import backbones
from weakspot.models.backbones import FREEZE_POINT, Backbone
from weakspot.models.bundle_meta import FORMAT
from weakspot.models.evidence import EvidenceNet
from weakspot.postprocess.prediction_files import write_predictions

SETTINGS = (
    "experiment=recommended", "data.subset=fabric", "model.backbone=kept", "model.weights=none",
    "data.image_size=[64,96]",
    "trainer.max_epochs=4", "trainer.accelerator=cpu", "model.class_weights=[1,3]", "model.optimizer.lr=0.005",
    "refine.imitations=64", "refine.location_steps=120", "refine.mask_steps=120", "refine.location_refit_steps=40",
    "boxes.threshold=0", "boxes.false_boxes=60", "boxes.outlines=true", "split.val_size=0.3", "decision.recall=0.9",
    "data.root=data", "output=run",
)  # fmt: skip


def kept_backbone() -> Backbone:
    """The smallest there can be; it must never change, or the bundles kept are of no use."""
    from torch import nn

    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    tail = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
    return Backbone(stem, tail, channels=16, smallest=8, taps={"early": 2}, pyramid=("early", FREEZE_POINT))


def main() -> None:
    """Train, and keep."""
    target = BUNDLES / str(FORMAT)
    if target.exists():
        raise SystemExit(f"{target} is kept for ever")
    backbones.BACKBONES["kept"] = kept_backbone
    fitting.EvidenceNet = functools.partial(EvidenceNet, location_width=16, mask_width=16)  # type: ignore[misc, assignment]
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        os.environ["XDG_CACHE_HOME"] = scratch
        synthetic.generate(Path("data"), "fabric", seed=1, good=200, defect=12, size=(96, 128))
        run = train(typed(compose("train", SETTINGS), TrainConfig))
        localizer = Localizer.load(run.path)
        pictures = sorted(Path("data/fabric/test").glob("[!g]*/*.png"))
        # The one with the surest box.
        best = max(
            localizer.predict(pictures), key=lambda found: max((box.score for box in found.boxes), default=-99.0)
        )
        shutil.copytree(run.bundle, target / "bundle")
        shutil.copy(best.path, target / "picture.png")
    with contextlib.chdir(target):
        write_predictions(Path(), Localizer.load("bundle").predict("picture.png"))
    (target / "predictions.csv").unlink()


if __name__ == "__main__":
    main()
