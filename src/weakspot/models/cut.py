"""A network cut at the point up to which it is frozen: what every backbone is described by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from weakspot.errors import WeakspotError

PREFIX = "timm:"
"""What stands before the name of a network of timm in ``model.backbone``."""

PROBE = 64
"""Side (pixels) of the square picture that a network is tried on."""

FREEZE_POINT = "stem"
"""The tap at the freeze point: what the trained tail is fed with."""


@dataclass(frozen=True)
class Backbone:
    """A network cut in two at the freeze point.

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
        prefix: number of tokens of a vision transformer that stand for no place (class token, registers). Between its
            layers they lie in rows above the map (:mod:`weakspot.models.tokens`); taps other than the freeze point
            are without them.
    """

    stem: nn.Sequential
    tail: nn.Sequential
    channels: int
    smallest: int
    taps: Mapping[str, int] = field(default_factory=dict)
    pyramid: tuple[str, ...] = (FREEZE_POINT,)
    layer_names: tuple[str, ...] = ()
    tileable: bool = True
    prefix: int = 0


def no_cut(name: str, reason: str) -> WeakspotError:
    """The error for a network that cannot be cut.

    Args:
        name: as timm lists it.
        reason: the end of a sentence, such as ``it is no chain of layers``.
    """
    return WeakspotError(
        f"model.backbone={PREFIX}{name} cannot be cut into frozen and trained layers: {reason}; "
        "choose another network of timm"
    )


def probe(side: int = PROBE) -> Tensor:
    """A picture of noise, ``(1, 3, side, side)``, always the same; the state of torch's generator stays."""
    return torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
