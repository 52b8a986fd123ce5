"""Resolve the configuration, once, into the frozen rules that the packages below ``commands`` take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import torch

from weakspot.config.hydra_app import instantiate
from weakspot.config.schema import CacheConfig, RefineConfig, TrainConfig, TrainerConfig, one_of, with_values
from weakspot.data.preprocess import Resizing
from weakspot.data.views import AUGMENTATIONS
from weakspot.errors import WeakspotError
from weakspot.heatmaps.classes import check_heatmap
from weakspot.models.feature_cache import FeatureCache, Precision, default_cache_dir
from weakspot.models.weight_files import holds_vgg16
from weakspot.training.lightning_module import OptimizerFactory
from weakspot.training.rules import TrainingRules
from weakspot.types import Size


def resolve(config: TrainConfig) -> TrainingRules:
    """Check every setting that can be checked without the data, and make the rules.

    Args:
        config: what ``conf/train.yaml`` and its groups compose to; it stays as it is.

    Raises:
        WeakspotError: naming the key and what it may be.
    """
    check_settings(config)
    check_heatmap(config.heatmap, config.refine.method, config.data.resize)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise WeakspotError("trainer.accelerator=gpu: torch sees no GPU here; use trainer.accelerator=cpu")
    return TrainingRules(
        data=config.data,
        split=config.split,
        model=config.model,
        optimizer=make_optimizer(config.model.optimizer),
        input_size=image_size(config.data.image_size),
        resize=cast(Resizing, config.data.resize),
        heatmap=config.heatmap,
        flip_tta=config.flip_tta,
        refine=config.refine,
        boxes=config.boxes,
        trainer=config.trainer,
        cache=feature_cache(config.cache),
        seed=config.seed,
    )


RECOMMENDED_BACKBONE = "efficientnet_lite0"
"""What ``model.backbone=auto`` takes, unless VGG16 is needed."""


def with_backbone(config: TrainConfig) -> TrainConfig:
    """Choose the network where ``model.backbone=auto`` leaves the choice to the tool.

    That is :data:`RECOMMENDED_BACKBONE`, but VGG16 where ``model.weights`` names a file with its weights, and where
    ``data.resize=tile`` needs a plain stem.

    Args:
        config: what ``conf/train.yaml`` and its groups compose to.

    Returns:
        The configuration with the name of a network; `config` itself where it names one.
    """
    if config.model.backbone != "auto":
        return config
    plain = config.data.resize == "tile" or holds_vgg16(config.model.weights)
    return with_values(config, {"model.backbone": "vgg16" if plain else RECOMMENDED_BACKBONE})


def make_optimizer(setting: dict[str, Any]) -> OptimizerFactory:
    """Turn the ``model.optimizer`` node into a function from parameters to an optimiser.

    Raises:
        WeakspotError: when there is no such optimiser, or it refuses its settings.
    """
    factory = cast(OptimizerFactory, instantiate("model.optimizer", setting))
    try:
        factory([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeakspotError(f"model.optimizer={setting} cannot be made: {reason}") from error
    return factory


def feature_cache(config: CacheConfig) -> FeatureCache | None:
    """Make the feature cache; None where it is switched off.

    Raises:
        WeakspotError: for an unknown precision.
    """
    if not config.enabled:
        return None
    one_of("cache.precision", config.precision, ("float16", "float32"))
    folder = Path(config.dir).expanduser() if config.dir else default_cache_dir()
    return FeatureCache(folder, int(config.max_gb * 2**30), cast(Precision, config.precision))


def image_size(setting: Any) -> Size | None:  # noqa: ANN401 - whatever the user wrote
    """Read ``data.image_size`` as ``(height, width)``: a number is a square, a list is ``[height, width]``.

    Returns:
        The size; None for ``auto``, which the pictures decide.

    Raises:
        WeakspotError: for anything else.
    """
    if setting == "auto":
        return None
    values = [setting, setting] if isinstance(setting, int) and not isinstance(setting, bool) else setting
    if not isinstance(values, list | tuple) or len(values) != 2 or not all(isinstance(v, int) for v in values):
        raise WeakspotError(f"data.image_size={setting} must be auto, a number such as 224 or a list such as [224,320]")
    return values[0], values[1]


def check_settings(config: TrainConfig) -> None:
    """Refuse impossible numbers before any work starts.

    Raises:
        WeakspotError: naming the key and what it may be.
    """
    one_of("refine.method", config.refine.method, ("none", "segment"))
    one_of("trainer.accelerator", config.trainer.accelerator, ("auto", "cpu", "gpu"))
    one_of("trainer.logger", config.trainer.logger, ("csv", "tensorboard", "mlflow"))
    one_of("objective", config.objective, ("val/loss", "val/balanced_accuracy"))
    one_of("data.resize", config.data.resize, get_args(Resizing))
    one_of("trainer.schedule", config.trainer.schedule, ("constant", "cosine"))
    if config.trainer.augment is not None:
        one_of("trainer.augment", config.trainer.augment, tuple(AUGMENTATIONS))
    size = image_size(config.data.image_size)
    if config.trainer.augment == "turns" and (size is None or size[0] != size[1]):
        of_size = "auto" if size is None else f"{size[0]}×{size[1]}"
        raise WeakspotError(f"trainer.augment=turns needs a square data.image_size, not {of_size}; use flips")
    stop, epochs = config.trainer.stop_at_accuracy, config.trainer.max_epochs
    for key, value, fine, wanted in (
        ("trainer.batch_size", config.trainer.batch_size, config.trainer.batch_size >= 1, "at least 1"),
        ("trainer.max_epochs", epochs, epochs is None or epochs >= 1, "at least 1, or null: in proportion to the set"),
        ("trainer.stop_at_accuracy", stop, stop is None or 0 < stop <= 1, "between 0 and 1, or null"),
        ("seed", config.seed, 0 <= config.seed < 2**32, "from 0 to 2³²-1"),
        ("refine.max_images", config.refine.max_images, config.refine.max_images >= 2, "at least 2"),
        ("refine.effort", config.refine.effort, 0.05 <= config.refine.effort <= 4, "from 0.05 to 4"),
        *_of_refinement(config.refine),
        ("refine.learning_rate", config.refine.learning_rate, config.refine.learning_rate > 0, "above 0"),
        ("cache.max_gb", config.cache.max_gb, config.cache.max_gb >= 0, "at least 0"),
        ("name", config.name, bool(config.name) and Path(config.name).name == config.name, "a plain folder name"),
    ):
        if not fine:
            raise WeakspotError(f"{key}={value} must be {wanted}")
    _check_devices(config.trainer)


def _of_refinement(refine: RefineConfig) -> list[tuple[str, int, bool, str]]:
    """Numbers that may be left to the size of the set: key, value, whether it is fine, what it must be."""
    lowest = {"imitations": 1, "location_steps": 1, "mask_steps": 1, "location_refit_steps": 0, "correction_steps": 0}
    named = {key: getattr(refine, key) for key in lowest if getattr(refine, key) is not None}
    return [
        (f"refine.{key}", value, value >= lowest[key], f"at least {lowest[key]}, or null: in proportion to the set")
        for key, value in named.items()
    ]


PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""Lightning's names: single precision, or half of it where that does no harm."""


def _check_devices(trainer: TrainerConfig) -> None:
    one_of("trainer.strategy", trainer.strategy, ("auto", "ddp_spawn"))
    one_of("trainer.precision", trainer.precision, PRECISIONS)
    if trainer.devices < 1:
        raise WeakspotError(f"trainer.devices={trainer.devices} must be at least 1")
    if trainer.devices > 1 and trainer.strategy == "auto":
        raise WeakspotError(f"trainer.devices={trainer.devices} needs trainer.strategy=ddp_spawn; trainer=ddp sets it")
    if trainer.devices > trainer.batch_size:
        raise WeakspotError(
            f"trainer.batch_size={trainer.batch_size} is shared out among trainer.devices={trainer.devices}; raise it"
        )
    if trainer.precision == "16-mixed" and trainer.accelerator == "cpu":
        raise WeakspotError("trainer.precision=16-mixed needs a GPU; use bf16-mixed or 32-true on a processor")
