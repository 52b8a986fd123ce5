"""Other backbones than VGG16: the same contract, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.runs import train_config
from torch import nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from weakspot.commands import train as pipeline
from weakspot.config.hydra_app import compose, conf_dir
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.models.backbones import BACKBONES, FREEZE_POINT
from weakspot.models.bundle_meta import read_meta
from weakspot.models.network import CamNet
from weakspot.models.timm_networks import LITE
from weakspot.models.weights import load_weights
from weakspot.postprocess.prediction_files import read_predictions

OTHERS = {
    "resnet18": ("layer4", ["layer1", "layer2", "layer3"]),
    "resnet50": ("layer4", ["layer1", "layer2", "layer3"]),
    "convnext_tiny": ("features.7", ["features.1", "features.3", "features.5"]),
    "efficientnet_b0": ("features.8", ["features.2", "features.3", "features.5"]),
}
"""Where torchvision has the last feature map, and what lies at the taps."""


def test_every_backbone_has_a_yaml_and_a_test() -> None:
    assert set(BACKBONES) == {"vgg16", *OTHERS, *LITE}
    files = {path.stem for path in (conf_dir() / "model").glob("*.yaml")}
    assert files - {"_base", "timm", "auto"} == set(BACKBONES)
    for name in BACKBONES:
        assert compose("train", [f"model={name}"]).model.backbone == name
    named = compose("train", ["model=timm", "model.backbone=timm:vit_small_patch16_dinov3.lvd1689m"])
    assert named.model.backbone == "timm:vit_small_patch16_dinov3.lvd1689m"


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_the_cut_network_computes_what_torchvisions_does(name: str) -> None:
    torch.manual_seed(0)
    whole = models.get_model(name, weights=None).eval()
    network = CamNet(name).eval()
    last, taps = OTHERS[name]
    network.load_pretrained({key: value for key, value in whole.state_dict().items() if not _of_classifier(key)})
    images = torch.randn(2, 3, 64, 96)
    expected = create_feature_extractor(whole, [last, *taps])(images)
    features = network.forward_taps(images, network.pyramid)
    assert network.pyramid[-1] == FREEZE_POINT
    for tap, node in zip(network.pyramid, taps, strict=True):
        torch.testing.assert_close(features[tap], expected[node])
    strides = [96 // features[tap].shape[-1] for tap in network.pyramid]
    assert strides == [4, 8, 16]
    output = network.forward_tail(features[FREEZE_POINT])
    maps = torch.einsum("kc,bchw->bkhw", network.head.weight, expected[last])
    torch.testing.assert_close(output.maps, maps, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(output.logits, maps.mean(dim=(2, 3)) + network.head.bias, rtol=1e-3, atol=1e-5)


def _of_classifier(key: str) -> bool:
    return key.startswith(("fc.", "classifier."))


@pytest.mark.parametrize("name", [*sorted(OTHERS), "efficientnet_lite0", "timm:test_resnet", "timm:test_vit2"])
def test_training_leaves_the_frozen_part_as_it_is(name: str) -> None:
    network = CamNet(name).train()
    before = {key: value.clone() for key, value in network.stem.state_dict().items()}
    network(torch.randn(2, 3, 64, 64)).logits.sum().backward()
    assert not any(module.training for module in network.stem.modules())
    assert any(module.training for module in network.tail.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.stem.state_dict().items())
    assert all(p.grad is None for p in network.stem.parameters())
    assert any(p.grad is not None for p in network.tail.parameters())


def test_weights_from_a_file_and_from_another_network(tmp_path: Path) -> None:
    whole = models.resnet18(weights=None)
    torch.save(whole.state_dict(), tmp_path / "resnet18.pth")
    weights = load_weights(str(tmp_path / "resnet18.pth"), "torchvision", "resnet18")
    assert not any(key.startswith("fc.") for key in weights.state)
    network = CamNet("resnet18")
    network.load_pretrained(weights.state)
    assert torch.equal(network.stem[0].weight, whole.conv1.weight)
    with pytest.raises(RuntimeError, match="unexpected"):
        CamNet("resnet18").load_pretrained({"0.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="Missing key"):
        CamNet("resnet18").load_pretrained({})


def test_without_a_download_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeakspotError, match=r"model\.backbone=resnet18: .*model\.weights=/path/to/resnet18\.pth"):
        load_weights("auto", None, "resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "timm:test_vit2"])
def test_a_refined_run_on_another_network(
    name: str, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ["model=timm", f"model.backbone={name}"] if name.startswith("timm:") else [f"model={name}"]
    command = [
        *chosen, f"data.root={fabric}", "data.subset=fabric", "experiment=recommended", "model.weights=none",
        "model.preprocess=inception",
        "data.image_size=64", "trainer.max_epochs=1", "trainer.accelerator=cpu", "split.val_size=0.3",
        "refine.imitations=6", "refine.location_steps=2", "refine.mask_steps=2", "refine.location_refit_steps=1",
        "boxes.threshold=-5",
    ]  # fmt: skip
    run = pipeline.train(train_config(*command))
    meta = read_meta(run.path / "bundle")
    assert (meta.backbone, meta.preprocess.mode) == (name, "inception")
    known = read_predictions(run.predictions)
    again = list(Localizer.load(run.path, "cpu").predict([p.path for p in known]))
    assert [p.probability for p in again] == pytest.approx([p.probability for p in known], abs=2e-2)
    with pytest.raises(WeakspotError, match=r"data\.resize=tile needs model\.backbone=vgg16"):
        pipeline.train(train_config(*command, "data.resize=tile"))


def test_a_tail_without_batch_statistics_takes_a_single_image() -> None:
    """The last batch of an epoch may hold one image."""
    for name in OTHERS:
        output = CamNet(name).train()(torch.randn(1, 3, 64, 64))
        assert torch.isfinite(output.logits).all()
        assert isinstance(output.logits, torch.Tensor)
        assert nn.functional.softmax(output.logits, dim=1).sum().item() == pytest.approx(1)
