"""The schema of the configuration: every key with its type. Values and their comments live in ``conf/*.yaml``.

Hydra composes the yaml files; :func:`typed` turns the result into the dataclasses below, so that an unknown key or a
value of the wrong type is one clear error before any work starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from weakspot.data.preprocess import Resizing
from weakspot.data.views import AUGMENTATIONS
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.utils.files import write_text
from weakspot.utils.untrusted import read_plain_yaml


@dataclass
class DataConfig:
    """Which images, how they are labelled, and the size the network sees them at."""

    layout: str = MISSING
    root: str | None = None
    subset: str | None = None
    good_class: str = "good"
    group: str | None = None
    task: str = "binary"
    image_size: Any = 224
    resize: str = "squash"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class SplitConfig:
    """Which images are trained on, and which are only ever looked at to measure."""

    seed: int = 42
    test_size: float = 0.2
    val_size: float = 0.0
    folds: int | None = None
    fold: int | None = None
    near_duplicates: str = "together"
    file: str | None = None


@dataclass
class ModelConfig:
    """Network, weights, loss and optimiser."""

    backbone: str = MISSING
    outputs: int = 2
    weights: str = "auto"
    preprocess: str | None = None
    class_weights: Any = "balanced"
    optimizer: dict[str, Any] = field(default_factory=dict)


@dataclass
class BoxesConfig:
    """The rule from map to boxes; see :class:`weakspot.postprocess.boxes.BoxRule`."""

    method: str = MISSING
    threshold_kind: str = MISSING
    threshold: float = MISSING
    min_area: int = MISSING
    max_boxes: int = MISSING
    min_score: float | None = None
    merge: float | None = None
    false_boxes: float = 5.0
    outlines: bool = False


@dataclass
class BoxesChanges:
    """As :class:`BoxesConfig`; null leaves the run's own value."""

    method: str | None = None
    threshold_kind: str | None = None
    threshold: float | None = None
    min_area: int | None = None
    max_boxes: int | None = None
    min_score: float | None = None
    merge: float | None = None
    false_boxes: float | None = None
    outlines: bool | None = None


@dataclass
class DecisionConfig:
    """What to call an image; see :class:`weakspot.postprocess.decision.DecisionCosts`."""

    miss: float = 1.0
    false_alarm: float = 1.0
    recall: float | None = None


@dataclass
class DecisionChanges:
    """As :class:`DecisionConfig`; null leaves the run's own value."""

    miss: float | None = None
    false_alarm: float | None = None
    recall: float | None = None


@dataclass
class TrainerConfig:
    """How long and on what to train."""

    max_epochs: int = 10
    batch_size: int = 10
    stop_at_accuracy: float | None = 0.98
    augment: str = "none"
    schedule: str = "constant"
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    logger: str = "tensorboard"


@dataclass
class RefineConfig:
    """From maps to evidence; see :mod:`weakspot.refine`."""

    method: str = MISSING
    imitations: int = 1600
    max_images: int = 2000
    location_steps: int = 700
    mask_steps: int = 2500
    location_refit_steps: int = 600
    learning_rate: float = 2e-3


@dataclass
class CacheConfig:
    """Where the frozen stem's features are kept between runs."""

    enabled: bool = True
    dir: str | None = None
    max_gb: float = 20.0
    precision: str = "float16"


@dataclass
class TrainConfig:
    """Everything ``weakspot train`` takes."""

    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    heatmap: str = "cam"
    flip_tta: bool = False
    refine: RefineConfig = field(default_factory=RefineConfig)
    boxes: BoxesConfig = field(default_factory=BoxesConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    cv: int | None = None
    objective: str = "val/loss"
    reuse: bool = True
    seed: int = 42
    name: str = "default"
    output: str | None = None


@dataclass
class EvaluateConfig:
    """Everything ``weakspot evaluate`` takes; what is null is taken from the run."""

    run: str | None = None
    heatmap: str | None = None
    flip_tta: bool | None = None
    boxes: BoxesChanges = field(default_factory=BoxesChanges)
    decision: DecisionChanges = field(default_factory=DecisionChanges)
    data: DataConfig | None = None
    truth: str | None = None
    output: str | None = None


Schema = TypeVar("Schema", TrainConfig, EvaluateConfig)


def typed(config: DictConfig, schema: type[Schema]) -> Schema:
    """Check a composed configuration against its schema.

    Raises:
        WeakspotError: for an unknown key or a value of the wrong type; the message names the key.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), config)
        result = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        first = str(error).strip().splitlines()[0]
        raise WeakspotError(f"config key {error.full_key or '?'}: {first}") from error
    if not isinstance(result, schema):
        raise WeakspotError(f"not a configuration of {schema.__name__}")
    return result


def image_size(setting: Any) -> tuple[int, int]:  # noqa: ANN401 - whatever the user wrote
    """``data.image_size`` as ``(height, width)``: a number is a square, a list is ``[height, width]``.

    Raises:
        WeakspotError: for anything else.
    """
    values = [setting, setting] if isinstance(setting, int) and not isinstance(setting, bool) else setting
    if not isinstance(values, list | tuple) or len(values) != 2 or not all(isinstance(v, int) for v in values):
        raise WeakspotError(f"data.image_size={setting} must be a number such as 224 or a list such as [224,320]")
    return values[0], values[1]


def one_of(key: str, value: str, choices: dict[str, Callable[..., Any]] | tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        WeakspotError: naming the key, the choices and the nearest one.
    """
    if value not in choices:
        raise WeakspotError(f"{key}={value} is unknown{did_you_mean(value, choices)}; choose: {', '.join(choices)}")
    return value


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
    one_of("trainer.augment", config.trainer.augment, tuple(AUGMENTATIONS))
    height, width = image_size(config.data.image_size)
    if config.trainer.augment == "turns" and height != width:
        raise WeakspotError(f"trainer.augment=turns needs a square data.image_size, not {height}×{width}; use flips")
    stop = config.trainer.stop_at_accuracy
    for key, value, fine, wanted in (
        ("trainer.batch_size", config.trainer.batch_size, config.trainer.batch_size >= 1, "at least 1"),
        ("trainer.max_epochs", config.trainer.max_epochs, config.trainer.max_epochs >= 1, "at least 1"),
        ("trainer.stop_at_accuracy", stop, stop is None or 0 < stop <= 1, "between 0 and 1, or null"),
        ("seed", config.seed, 0 <= config.seed < 2**32, "from 0 to 2³²-1"),
        ("refine.imitations", config.refine.imitations, config.refine.imitations >= 1, "at least 1"),
        ("refine.max_images", config.refine.max_images, config.refine.max_images >= 2, "at least 2"),
        ("refine.location_steps", config.refine.location_steps, config.refine.location_steps >= 1, "at least 1"),
        ("refine.mask_steps", config.refine.mask_steps, config.refine.mask_steps >= 1, "at least 1"),
        (
            "refine.location_refit_steps",
            config.refine.location_refit_steps,
            config.refine.location_refit_steps >= 0,
            "at least 0",
        ),
        ("refine.learning_rate", config.refine.learning_rate, config.refine.learning_rate > 0, "above 0"),
        ("cache.max_gb", config.cache.max_gb, config.cache.max_gb >= 0, "at least 0"),
        ("name", config.name, bool(config.name) and Path(config.name).name == config.name, "a plain folder name"),
    ):
        if not fine:
            raise WeakspotError(f"{key}={value} must be {wanted}")
    _check_devices(config.trainer)


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


def write_config(path: Path, config: TrainConfig | EvaluateConfig) -> None:
    """Write the resolved configuration as yaml, whole or not at all."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(asdict(config))))


def read_config(path: Path) -> TrainConfig:
    """Read a run's ``config.yaml``.

    Raises:
        WeakspotError: when it is missing or not a configuration.
    """
    try:
        loaded = OmegaConf.create(read_plain_yaml(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise WeakspotError(f"{path} cannot be read ({type(error).__name__}); is this a run folder?") from error
    if not isinstance(loaded, DictConfig):
        raise WeakspotError(f"{path} is not a configuration; is this a run folder?")
    try:
        return typed(loaded, TrainConfig)
    except WeakspotError as error:
        raise WeakspotError(
            f"{path} was not written by this version of weakspot ({error}); upgrade weakspot if a newer one wrote it, "
            "or train again"
        ) from error
