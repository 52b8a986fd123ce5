"""Layers by their names, with what they give."""

from __future__ import annotations

import torch
from helpers.networks import Deep, Small, batch
from torch.nn import functional
from torchvision import models

from weakspot.heatmaps.layers import list_layers
from weakspot.heatmaps.network import Logits
from weakspot.models.network import CamNet


def test_layers_are_listed_with_output_and_use() -> None:
    layers = list_layers(Deep(), batch())
    assert [(layer.name, layer.kind, layer.shape, layer.usable) for layer in layers][:2] == [
        ("body", "Conv2d", (4, 22, 30), True),
        ("squeeze", "Conv2d", (5, 1, 1), False),
    ]
    assert layers.by_name["body"].parameters == 3 * 4 * 9 + 4
    assert layers.resolve(None, None) == "body"  # the deepest convolution has one cell
    small = list_layers(Small(), batch())
    assert small.resolve(None, None) == "last"
    assert small.resolve(None, "conv") == "late"
    assert small.resolve("early", "relu") == small.resolve("early", None) == "first"


def test_the_deepest_convolution_of_residual_networks_is_meant_with_its_sum() -> None:
    network = models.resnet18(weights=None).eval()
    images = batch(1)
    layer = list_layers(network, functional.interpolate(images, (64, 96))).resolve(None, None)
    assert layer == "layer4.1.relu"
    fused = list_layers(network, functional.interpolate(images, (64, 96))).activation_of
    assert "layer4.1.conv1" not in fused  # its ReLU runs again later, and is looked at there


def test_vgg_layers_have_their_usual_names() -> None:
    layers = list_layers(Logits(CamNet("vgg16").eval()), torch.zeros(1, 3, 32, 32))
    assert layers.by_name["tail.28"].also == "conv5_3"
    assert layers.resolve("conv4_3", None) == "stem.22"
    assert layers.by_name["tail.28"].trained
    assert not layers.by_name["stem.21"].trained
