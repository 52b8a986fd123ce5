"""Backbones: convolutional networks cut at the point up to which they are frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import nn
from torchvision import models
from torchvision.models import vgg

FREEZE_POINT = "stem"
"""The tap at the freeze point: what the trained tail is fed with."""


@dataclass(frozen=True)
class Backbone:
    """A convolutional network cut in two at the freeze point.

    Attributes:
        stem: the frozen part, from ``(batch, 3, H, W)`` to features.
        tail: the trained part, up to the last feature map; no pooling after it.
        channels: number of channels of the tail's output.
        smallest: smallest image side (pixels) that leaves at least one map cell.
        taps: finer features inside the stem, by name: the number of its layers that come before each. The next layer
            must not work in place.
        pyramid: taps that the evidence network uses, fine to coarse; the last may be :data:`FREEZE_POINT`.
        layer_names: names of the layers of stem and tail in the uncut network's state; empty where they are numbered.
        tileable: whether the stem can be run over tiles: it has plain convolutions and pools, and no layer that depends
            on the whole image.
    """

    stem: nn.Sequential
    tail: nn.Sequential
    channels: int
    smallest: int
    taps: Mapping[str, int] = field(default_factory=dict)
    pyramid: tuple[str, ...] = (FREEZE_POINT,)
    layer_names: tuple[str, ...] = ()
    tileable: bool = True


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
}
"""Backbones by their name in ``model.backbone``. A new one is one function here and one yaml."""
