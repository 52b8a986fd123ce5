"""The whole model: the classifier and, where there is refinement, the evidence network on the same features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weakspot.model.backbones import FREEZE_POINT
from weakspot.model.evidence import EvidenceNet, pool_places
from weakspot.model.network import CamNet
from weakspot.types import ImageMaps


@dataclass(frozen=True)
class Model:
    """What a bundle holds, ready to run.

    Attributes:
        network: logits and class activation maps.
        evidence: where, and how far; None without refinement.
    """

    network: CamNet
    evidence: EvidenceNet | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        """The frozen features that :meth:`answer` needs."""
        return (FREEZE_POINT,) if self.evidence is None else tuple(dict.fromkeys([*self.evidence.taps, FREEZE_POINT]))

    def __call__(self, pixels: Tensor) -> list[ImageMaps]:
        """What it says of preprocessed images ``(batch, 3, H, W)``."""
        with torch.inference_mode():
            return self.answer(self.network.forward_taps(pixels, self.taps), pixels)

    def answer(self, features: Mapping[str, Tensor], pixels: Tensor) -> list[ImageMaps]:
        """As calling it, from frozen features at :attr:`taps` that are known already."""
        with torch.inference_mode():
            output = self.network.forward_tail(features[FREEZE_POINT])
            logits, maps = output.logits.cpu().numpy(), output.maps.cpu().contiguous().numpy()
            if self.evidence is None:
                return [ImageMaps(*said) for said in zip(logits, maps, strict=True)]
            evidence = self.evidence([features[tap] for tap in self.evidence.taps], pixels)
            logits = agree(output.logits, pool_places(evidence.where[:, None])).cpu().numpy()
            extent, where = (plane.cpu().numpy().astype(np.float16) for plane in evidence)
            return [ImageMaps(*said) for said in zip(logits, maps, extent, where, strict=True)]


def agree(logits: Tensor, defect: Tensor) -> Tensor:
    """Two opinions on the same images, averaged in log-odds: the classifier's, and that of the evidence.

    They err on different images: one looks at the picture as a whole, the other at its most suspicious places.

    Args:
        logits: ``(n, classes)`` of the classifier, Good first.
        defect: ``(n,)``, log-odds of not being Good.

    Returns:
        ``(n, classes)``: the log-odds of not being Good are the mean of the two, the ratios among defect classes the
        classifier's.
    """
    odds = torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]
    return torch.cat([logits[:, :1], logits[:, 1:] + ((defect - odds) / 2)[:, None]], dim=1)
