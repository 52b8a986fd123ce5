"""The rules of a training run, resolved from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from weakspot.config.rules import BoxRule
from weakspot.config.schema import DataConfig, ModelConfig, RefineConfig, SplitConfig, TrainerConfig
from weakspot.data.preprocess import Resizing
from weakspot.models.feature_cache import FeatureCache
from weakspot.training.lightning_module import OptimizerFactory
from weakspot.types import Size


@dataclass(frozen=True)
class TrainingRules:
    """Settings of a training run that were checked; :func:`weakspot.commands.resolve.resolve` makes them.

    Attributes:
        data: which images there are, and how they are labelled.
        split: which of them are held out.
        model: network, weights and loss.
        optimizer: makes the optimiser from the parameters.
        input_size: ``(height, width)`` of the network's input in pixels; None where the pictures decide.
        resize: how an image is brought to that size.
        heatmap: method of the maps that boxes are drawn round.
        flip_tta: whether the mirrored image is run too (flip test-time augmentation).
        refine: training of the evidence heads.
        boxes: from maps to boxes.
        trainer: how long and on which device to train.
        cache: of the frozen layers' features; None where it is switched off.
        seed: decides every draw but the split's.
    """

    data: DataConfig
    split: SplitConfig
    model: ModelConfig
    optimizer: OptimizerFactory
    input_size: Size | None
    resize: Resizing
    heatmap: str
    flip_tta: bool
    refine: RefineConfig
    boxes: BoxRule
    trainer: TrainerConfig
    cache: FeatureCache | None
    seed: int

    @property
    def has_heads(self) -> bool:
        """Whether evidence heads are trained."""
        return self.refine.method != "none"
