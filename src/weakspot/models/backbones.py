"""Backbones: convolutional networks cut at the point up to which they are frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn
from torchvision import models
from torchvision.models import vgg

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.models.cut import FREEZE_POINT, PREFIX, Backbone
from weakspot.models.timm_networks import efficientnet_lite, timm_backbone

__all__ = ["BACKBONES", "FREEZE_POINT", "Backbone", "build_backbone"]


def vgg16() -> Backbone:
    """VGG16 (Simonyan & Zisserman, 2015), frozen up to conv4_3 and its pool; without the pool after conv5_3.

    Layer names follow ``torchvision.models.vgg16().features``: stem 0…23, tail 24…29. Taps are after the ReLU.
    """
    layers = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # torchvision's own initialisation for VGG
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    taps = {"conv1_2": 4, "conv2_2": 9, "conv3_3": 16, "conv4_3": 23}
    return Backbone(
        stem=layers[:24],
        tail=layers[24:30],
        channels=512,
        smallest=16,
        taps=taps,
        pyramid=("conv3_3", "conv4_3", FREEZE_POINT),
    )


def resnet(make: Callable[[], models.ResNet], channels: int) -> Backbone:
    """ResNet (He et al., CVPR 2016), frozen up to ``layer3`` (stride 16); ``layer4`` is trained.

    Args:
        make: torchvision's function that builds the network.
        channels: number of channels of ``layer4``.
    """
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return _named(make(), names, 7, channels, taps={"layer1": 5, "layer2": 6})


def convnext_tiny() -> Backbone:
    """ConvNeXt tiny (Liu et al., CVPR 2022), frozen up to its third stage (stride 16)."""
    names = tuple(f"features.{number}" for number in range(8))
    return _named(models.convnext_tiny(), names, 6, 768, taps={"stage1": 2, "stage2": 4})


def efficientnet_b0() -> Backbone:
    """EfficientNet-B0 (Tan and Le, ICML 2019), frozen as far as its stride is 16."""
    names = tuple(f"features.{number}" for number in range(9))
    return _named(models.efficientnet_b0(), names, 6, 1280, taps={"stride4": 3, "stride8": 4})


def _named(whole: nn.Module, names: Sequence[str], frozen: int, channels: int, taps: Mapping[str, int]) -> Backbone:
    """Cut one of torchvision's networks after its first `frozen` layers."""
    layers = [whole.get_submodule(name) for name in names]
    return Backbone(
        stem=nn.Sequential(*layers[:frozen]),
        tail=nn.Sequential(*layers[frozen:]),
        channels=channels,
        smallest=32,
        taps=taps,
        pyramid=(*taps, FREEZE_POINT),
        layer_names=tuple(names),
        tileable=False,
    )


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "vgg16": vgg16,
    "resnet18": partial(resnet, models.resnet18, 512),
    "resnet50": partial(resnet, models.resnet50, 2048),
    "convnext_tiny": convnext_tiny,
    "efficientnet_b0": efficientnet_b0,
    "efficientnet_lite0": partial(efficientnet_lite, 0),
    "efficientnet_lite1": partial(efficientnet_lite, 1),
    "efficientnet_lite2": partial(efficientnet_lite, 2),
}
"""Backbones by their name in ``model.backbone``. A new one is one function here and one yaml."""


def build_backbone(name: str) -> Backbone:
    """Build a backbone with random weights.

    Args:
        name: a key of :data:`BACKBONES`, or ``timm:`` and a name that timm knows.

    Raises:
        WeakspotError: for an unknown name, a network that cannot be cut, and one of timm where timm is not installed.
    """
    if name.startswith(PREFIX):
        return timm_backbone(name.removeprefix(PREFIX))
    if name not in BACKBONES:
        raise WeakspotError(
            f"model.backbone={name} is unknown{did_you_mean(name, BACKBONES)}; "
            f"choose one of: {', '.join(BACKBONES)}, or {PREFIX}NAME for a network of timm"
        )
    return BACKBONES[name]()
