"""A backbone to test with."""

from __future__ import annotations

from torch import nn

from weakspot.models.backbones import FREEZE_POINT, Backbone


def tiny_backbone() -> Backbone:
    """Two convolutions instead of thirteen: the same cut, a thousandth of the cost."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    tail = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
    return Backbone(stem, tail, channels=16, smallest=8, taps={"early": 2}, pyramid=("early", FREEZE_POINT))
