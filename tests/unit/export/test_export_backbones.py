"""Exported models of every kind of backbone, and their heat maps. Weights are random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exports import bundle_of, quiet

from weakspot.data.images import list_images
from weakspot.export.model import SUFFIX, Order, export_model
from weakspot.heatmaps.methods import heat_maps
from weakspot.heatmaps.network import Logits
from weakspot.inference.localizer import Localizer
from weakspot.models.network import CamNet
from weakspot.models.timm_weights import from_package, lite_file

FORMATS = {
    "efficientnet_lite0": ["onnx", "openvino"],
    "timm:test_resnet": ["onnx"],
    "timm:test_vit2": ["onnx"],
}
KINDS = list(FORMATS)


def network(name: str) -> CamNet:
    """With the weights of the offline extra where it has any, since random ones amplify what a runtime rounds."""
    torch.manual_seed(2)
    made = CamNet(name).eval()
    if lite_file(name) is not None:
        found = from_package(name)
        assert found is not None
        made.load_pretrained({key: t for key, t in found.state.items() if not key.startswith("classifier.")})
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("name", "formats"), FORMATS.items())
def test_every_kind_of_backbone_is_certified(name: str, formats: list[str], fabric: Path, tmp_path: Path) -> None:
    bundle_of(tmp_path, network(name), name, (64, 96), refined=True)
    images = list_images(fabric)[::12]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for image in images:
        (folder / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    expected = list(Localizer.load(tmp_path, "cpu").predict(images))
    for format_ in formats:
        path = tmp_path / f"model{SUFFIX[format_]}"
        found = export_model(Order(tmp_path, format_, output=path, images=folder), quiet)
        assert not found.failure
        for one, other in zip(Localizer.load(path).predict(images), expected, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("method", ["cam", "grad_cam"])
def test_heat_maps_are_the_networks_own_maps(name: str, method: str) -> None:
    """With global average pooling and one dense layer Grad-CAM at the last layer is CAM up to a factor."""
    cam_net = network(name)
    images = torch.randn(2, 3, 64, 96)
    found = heat_maps(Logits(cam_net), images, torch.tensor([1, 1]), method)
    expected = cam_net(images).maps[:, 1].detach().numpy()
    assert found.shape == expected.shape
    for one, other in zip(found, expected, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999
