"""Losses that are no numbers, pictures of one colour, and as few pictures and as small batches as there can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.runs import FEW_STEPS, TINY, assert_same, metrics_of, train, train_config
from PIL import Image
from torch import nn

from weakspot.commands.train import train as run_train
from weakspot.data.images import inspect_images
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.models import backbones
from weakspot.models.backbones import Backbone
from weakspot.models.network import CamNet
from weakspot.runs.folder import RunFolder
from weakspot.training.evidence.fit import _projecting_net
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.lightning_module import ClassifierModule

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]


def epochs_of(checkpoint: Path) -> list[int]:
    saved = torch.load(checkpoint, weights_only=True)
    assert all(torch.isfinite(values).all() for values in saved["state_dict"].values())
    return [epoch["epoch"] for epoch in saved["callbacks"]["History"]["epochs"]]


def test_a_loss_that_is_no_number_names_the_batch_and_leaves_the_last_good_checkpoint(
    fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = metrics_of(train(fabric, "output=whole", "reuse=false"))
    forward = ClassifierModule.forward

    def spoilt(self: ClassifierModule, inputs: torch.Tensor) -> torch.Tensor:
        logits = forward(self, inputs)
        return logits * float("nan") if self.trainer.global_step == 6 else logits  # 44 images: 5 batches an epoch

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierModule, "forward", spoilt)
        with pytest.raises(WeakspotError, match=r"the loss is nan in epoch 2, batch 2; lower .*holds epoch 1"):
            train(fabric, "output=broken", "reuse=false")
    assert epochs_of(Path("broken/checkpoints/last.ckpt")) == [1]
    resumed = metrics_of(train(fabric, "output=broken", "reuse=false"))
    assert resumed["test"] == whole["test"]


def test_weights_spoilt_by_an_epoch_s_last_step_never_replace_the_checkpoint(
    fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(self: ClassifierModule, *args: Any) -> None:
        if self.trainer.global_step == 10:  # the last step of the second epoch
            nn.init.constant_(self.network.head.bias, float("nan"))

    monkeypatch.setattr(ClassifierModule, "on_train_batch_end", spoil)
    with pytest.raises(WeakspotError, match=r"head\.bias is not finite after epoch 2"):
        train(fabric, "output=broken")
    assert epochs_of(Path("broken/checkpoints/last.ckpt")) == [1]


def test_too_high_a_learning_rate_is_one_line(fabric: Path, here: Path) -> None:
    with pytest.raises(WeakspotError, match=r"training diverged: .* epoch \d") as error:
        train(fabric, "model.optimizer.lr=1e30", "trainer.max_epochs=5")
    assert "\n" not in str(error.value)


# --- the same again -----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_with_refinement_too(here: Path) -> None:
    for name in ("good", "bad"):
        (Path("flat") / name).mkdir(parents=True)
        for i in range(8):
            noise = np.random.default_rng([i, len(name)]).integers(0, 200, (64, 96, 3), dtype=np.uint8)
            noise[20:30, 40:60] += 50 * (name == "bad")
            Image.fromarray(noise).save(Path("flat") / name / f"{i}.png")
    same = ("experiment=recommended", *FEW_STEPS, "reuse=false", "cache.enabled=false")
    runs = [train_flat(*same, f"output={name}") for name in ("a", "b")]
    assert_same(*runs)


# --- pictures of one colour ---------------------------------------------------------------------------------------


def flat_pictures(root: Path, good: int, bad: int) -> None:
    """Pictures of one even level each; Good ones are darker, and the first is black."""
    for name, start, count in (("good", 0, good), ("bad", 100, bad)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (96, 64), (start + i,) * 3).save(root / name / f"{i}.png")


def train_flat(*overrides: str) -> RunFolder:
    command = ["data=folder", "data.root=flat", overrides[0], *TINY, "split.near_duplicates=ignore", *overrides[1:]]
    return run_train(train_config(*command))


@pytest.mark.parametrize("experiment", [("name=plain",), ("experiment=recommended", *FEW_STEPS)])
def test_flat_pictures_train_and_are_predicted_without_a_nan(here: Path, experiment: tuple[str, ...]) -> None:
    flat_pictures(Path("flat"), 8, 8)
    run = train_flat(*experiment)
    assert metrics_of(run)["test"]["classification"]["accuracy"]["n"] == 4
    Image.new("L", (96, 64)).save("black.png")
    for prediction in Localizer.load(run.path).predict(["black.png", *sorted(Path("flat/bad").iterdir())]):
        assert (prediction.status, np.isfinite(prediction.probability)) == ("ok", True)
        for box in prediction.boxes:
            assert np.isfinite([box.score, box.trust]).all()


def test_projections_of_features_that_never_change_are_finite(here: Path) -> None:
    flat_pictures(Path("flat"), 1, 1)
    (black,) = inspect_images([Path("flat/good/0.png")])
    preprocess = Preprocess((64, 96), "torchvision")
    classifier = CamNet("tiny").eval()
    for parameter in classifier.stem.parameters():  # dead: not even the border differs
        nn.init.zeros_(parameter)
    net = _projecting_net(FeatureSource(classifier, preprocess, None), [ImageView(black)] * 4, np.random.default_rng(0))
    assert all(torch.isfinite(values).all() for values in net.state_dict().values())


# --- as few as there can be ---------------------------------------------------------------------------------------


def test_two_pictures_and_a_class_too_rare_for_every_fold_are_one_line(here: Path) -> None:
    flat_pictures(Path("flat"), 1, 1)
    with pytest.raises(WeakspotError, match="1 good and 1 defect images are too few to split"):
        train_flat("name=two")
    flat_pictures(Path("rare"), 6, 2)
    Path("flat").rename("two")
    Path("rare").rename("flat")
    with pytest.raises(WeakspotError, match=r"6 good and 2 defect images are too few to split.* at least 3 of each"):
        train_flat("name=rare", "split.folds=3", "split.fold=0")


def normalised() -> Backbone:
    """A tail with batch normalisation, whose map is one cell for the smallest pictures."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=8, padding=1), nn.ReLU(), nn.MaxPool2d(4))
    tail = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    return Backbone(stem, tail, channels=16, smallest=32)


def test_a_last_batch_of_one_trains_where_the_tail_normalises(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.BACKBONES, "normalised", normalised)
    flat_pictures(Path("flat"), 8, 8)
    small = ("model.backbone=normalised", "data.image_size=32")
    run = train_flat("name=one", *small, "trainer.batch_size=11", "split.val_size=0")  # 12 to train on
    assert len(metrics_of(run)["train"]["history"]) == 3
    train_flat("name=ones", *small, "trainer.batch_size=1")


def test_a_lone_image_leaves_statistics_alone_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.BACKBONES, "normalised", normalised)
    net = CamNet("normalised").train()
    norm = net.tail[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    one = net(torch.ones(1, 3, 32, 32)).logits
    assert norm.training
    assert torch.equal(norm.running_mean, before)
    torch.testing.assert_close(one, net.eval()(torch.ones(1, 3, 32, 32)).logits)
    net.train()(torch.randn(2, 3, 32, 32))
    assert not torch.equal(norm.running_mean, before)
