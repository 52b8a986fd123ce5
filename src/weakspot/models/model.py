"""The whole model: the classifier and, with refinement, the evidence network on the same features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weakspot.data.loading import stack_pixels
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.models.backbones import FREEZE_POINT
from weakspot.models.devices import check_device
from weakspot.models.evidence import EvidenceNet, pool_places
from weakspot.models.familiarity import FamiliarityHead
from weakspot.models.network import CamNet, inference_batch_size
from weakspot.models.statistics import StatisticsHead
from weakspot.types import ModelOutput


class BatchOutput(NamedTuple):
    """The model's output for a batch; as :class:`~weakspot.types.ModelOutput`, with the batch in front."""

    logits: Tensor
    maps: Tensor
    mask_logits: Tensor | None = None
    location_logits: Tensor | None = None
    distances: Tensor | None = None
    part_log_odds: Tensor | None = None


@dataclass(frozen=True)
class Model:
    """The model of a bundle, ready to run.

    Attributes:
        network: logits and class activation maps.
        evidence: the two evidence heads; None without them.
        statistics: the statistics head; None without it.
        familiarity: distances from training pictures; None without statistics of them.
    """

    network: CamNet
    evidence: EvidenceNet | None = None
    statistics: StatisticsHead | None = None
    familiarity: FamiliarityHead | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the frozen features that :meth:`answer` needs."""
        of_heads = [tap for head in self.heads for tap in head.taps]
        return tuple(dict.fromkeys([*of_heads, FREEZE_POINT]))

    @property
    def heads(self) -> list[EvidenceNet | StatisticsHead | FamiliarityHead]:
        """What works on the frozen features beside the classifier."""
        return [head for head in (self.evidence, self.statistics, self.familiarity) if head is not None]

    def __call__(self, pixels: Tensor) -> list[ModelOutput]:
        """Run the model on preprocessed images ``(batch, 3, H, W)``; gives an output for each."""
        with torch.inference_mode():
            return self.answer(self.network.forward_taps(pixels, self.taps), pixels)

    def answer(self, features: Mapping[str, Tensor], pixels: Tensor) -> list[ModelOutput]:
        """Run the model from frozen features that are known already, without the frozen layers.

        Args:
            features: ``(batch, channels, h, w)`` by the name of each tap in :attr:`taps`.
            pixels: the same preprocessed images, ``(batch, 3, H, W)``.

        Returns:
            An output for each image, as NumPy arrays.
        """
        with torch.inference_mode():
            output = self.tensors(features, pixels)
            logits, maps = output.logits.cpu().numpy(), output.maps.cpu().contiguous().numpy()
            planes = [
                plane.cpu().numpy().astype(np.float16)
                for plane in (output.mask_logits, output.location_logits)
                if plane is not None
            ]
            found = [ModelOutput(*one) for one in zip(logits, maps, *planes, strict=True)]
            more = {"distances": output.distances, "part_log_odds": output.part_log_odds}
            rows = {name: array.cpu().numpy() for name, array in more.items() if array is not None}
            return [one._replace(**{name: rows[name][i] for name in rows}) for i, one in enumerate(found)]

    def tensors(self, features: Mapping[str, Tensor], pixels: Tensor) -> BatchOutput:
        """Run the model from frozen features and return tensors; the graph of an exported model is made of this.

        Args:
            features: ``(batch, channels, h, w)`` by the name of each tap in :attr:`taps`.
            pixels: the same preprocessed images, ``(batch, 3, H, W)``.
        """
        output = self.network.forward_tail(features[FREEZE_POINT])
        statistics = distances = location = None
        planes: tuple[Tensor | None, Tensor | None] = None, None
        if self.statistics is not None:
            statistics = self.statistics([features[tap] for tap in self.statistics.taps])
        if self.familiarity is not None:
            distances = self.familiarity([features[tap] for tap in self.familiarity.taps])
        if self.evidence is not None:
            evidence = self.evidence([features[tap] for tap in self.evidence.taps], pixels)
            location = pool_places(evidence.location_logits[:, None])
            planes = evidence.mask_logits, evidence.location_logits
        others = [one for one in (statistics, location) if one is not None]
        part_log_odds = side_by_side(output.logits, statistics, location) if others else None
        return BatchOutput(agree(output.logits, others), output.maps, *planes, distances, part_log_odds)

    # What a Localizer asks of a model, exported ones too (weakspot.inference.exported).

    @property
    def device(self) -> torch.device:
        """Device that the model runs on."""
        return self.network.head.weight.device

    def ask(self, inputs: Sequence[npt.NDArray[np.generic]]) -> list[ModelOutput]:
        """Run the model on preprocessed images, float32 ``(3, H, W)`` each, all of one size; an output for each."""
        return self(torch.from_numpy(stack_pixels(inputs)).to(self.device))  # type: ignore[arg-type]

    def batch_size(self, preprocess: Preprocess) -> int:
        """Number of images to run at once on this device."""
        return inference_batch_size(self.device, preprocess)

    def move(self, device: str) -> None:
        """Move the model to a device and put it into evaluation mode.

        Args:
            device: ``auto``, ``cpu``, ``cuda``, or any other name torch knows.

        Raises:
            WeakspotError: when there is no such device.
        """
        check_device(device)
        try:
            target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
            # Channels last is the faster layout for convolutions on CPUs and GPUs alike.
            layout = {"device": target, "memory_format": torch.channels_last}
            self.network.eval().to(**layout)  # type: ignore[call-overload]
            for head in self.heads:
                head.eval().to(**layout)  # type: ignore[call-overload]
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeakspotError(f"device {device} cannot be used ({reason}); try cpu") from error


def agree(logits: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Average what several parts say of the same images in log-odds: the classifier's, and those of the heads.

    They err on different images: the classifier judges the picture as a whole, the statistics head how its features
    are distributed, the location head its most suspicious places.

    Args:
        logits: ``(n, classes)`` of the classifier, Good first.
        others: ``(n,)`` each, log-odds of not being Good; may be empty.

    Returns:
        ``(n, classes)``: the log-odds of not being Good are the mean of all; the ratios among defect classes are the
        classifier's.
    """
    if not others:
        return logits
    odds = log_odds_of(logits)
    shift = torch.stack([odds, *others]).mean(dim=0) - odds
    return torch.cat([logits[:, :1], logits[:, 1:] + shift[:, None]], dim=1)


def log_odds_of(logits: Tensor) -> Tensor:
    """Log-odds ``(n,)`` of not being Good from logits ``(n, classes)``, Good first."""
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def side_by_side(logits: Tensor, statistics: Tensor | None, location: Tensor | None) -> Tensor:
    """What each part of a model says of the same images: what :func:`agree` averages, side by side.

    Args:
        logits: ``(n, classes)`` of the classifier, Good first.
        statistics: ``(n,)``, log-odds of not being Good; None for a model without that head.
        location: likewise.

    Returns:
        ``(n, 3)``, in the order of :data:`~weakspot.types.MODEL_PARTS`; NaN where there is none.
    """
    odds = log_odds_of(logits)
    unknown = torch.full_like(odds, torch.nan)
    return torch.stack([unknown if one is None else one for one in (odds, statistics, location)], dim=1)
