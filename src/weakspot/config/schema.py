"""The schema of the configuration: every key with its type. Values and their comments live in ``conf/*.yaml``.

Hydra composes the yaml files; :func:`typed` turns the result into the dataclasses below, so that an unknown key or a
value of the wrong type is one clear error before any work starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from weakspot.config.rules import BoxRule, DecisionCosts
from weakspot.data.views import AUGMENTATIONS
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.utils.files import write_text
from weakspot.utils.untrusted import read_plain_yaml


@dataclass(frozen=True)
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
    roi: str | None = None
    annotations: Any = None
    use_masks: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitConfig:
    """Which images are trained on, and which are held out to measure."""

    seed: int = 42
    test_size: float = 0.2
    val_size: float = 0.0
    folds: int | None = None
    fold: int | None = None
    near_duplicates: str = "together"
    file: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Network, weights, loss and optimiser."""

    backbone: str = MISSING
    outputs: int = 2
    weights: str = "auto"
    preprocess: str | None = None
    class_weights: Any = "balanced"
    optimizer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainerConfig:
    """How long and on what to train."""

    max_epochs: int | None = 10
    batch_size: int = 10
    stop_at_accuracy: float | None = 0.98
    augment: str | None = "none"
    schedule: str = "constant"
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    logger: str = "tensorboard"

    @property
    def epochs(self) -> int:
        """``max_epochs`` where it is settled, by the configuration or in proportion to the set.

        Raises:
            RuntimeError: where it is not.
        """
        if self.max_epochs is None:
            raise RuntimeError("trainer.max_epochs is null and was not settled")
        return self.max_epochs

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views of a training picture, where ``augment`` is settled, as for :attr:`epochs`.

        Raises:
            RuntimeError: where it is not.
        """
        if self.augment is None:
            raise RuntimeError("trainer.augment is null and was not settled")
        return AUGMENTATIONS[self.augment]


@dataclass(frozen=True)
class RefineConfig:
    """How the evidence heads are trained; see :mod:`weakspot.training.evidence`. None: in proportion to the set."""

    method: str = MISSING
    effort: float = 1.0
    imitations: int | None = None
    max_images: int = 2000
    location_steps: int | None = None
    mask_steps: int | None = None
    location_refit_steps: int | None = None
    correction_steps: int | None = None
    learning_rate: float = 2e-3
    statistics: bool = True


@dataclass(frozen=True)
class CacheConfig:
    """Where the frozen stem's features are kept between runs."""

    enabled: bool = True
    dir: str | None = None
    max_gb: float = 20.0
    precision: str = "float16"


@dataclass(frozen=True)
class TrainConfig:
    """Everything ``weakspot train`` takes."""

    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    heatmap: str = "cam"
    flip_tta: bool = False
    refine: RefineConfig = field(default_factory=RefineConfig)
    boxes: BoxRule = field(default_factory=BoxRule)
    decision: DecisionCosts = field(default_factory=DecisionCosts)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    cv: int | None = None
    objective: str = "val/loss"
    reuse: bool = True
    seed: int = 42
    name: str = "default"
    output: str | None = None


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything ``weakspot evaluate`` takes; what is null is taken from the run."""

    run: str | None = None
    heatmap: str | None = None
    flip_tta: bool | None = None
    boxes: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)
    data: DataConfig | None = None
    truth: str | None = None
    output: str | None = None


Schema = TypeVar("Schema", TrainConfig, EvaluateConfig)
Section = TypeVar("Section")


def typed(config: DictConfig, schema: type[Schema]) -> Schema:
    """Check a composed configuration against its schema.

    Args:
        config: what Hydra composed, or what a ``config.yaml`` holds.
        schema: :class:`TrainConfig` or :class:`EvaluateConfig`.

    Raises:
        WeakspotError: for an unknown key or a value of the wrong type or out of range; the message names the key.
    """
    try:
        merged = OmegaConf.merge(_writable(OmegaConf.structured(schema)), config)
        result = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        first = str(error).strip().splitlines()[0]
        raise WeakspotError(f"config key {error.full_key or '?'}: {first}") from error
    if not isinstance(result, schema):
        raise WeakspotError(f"not a configuration of {schema.__name__}")
    return result


def _writable(config: DictConfig) -> DictConfig:
    """The same configuration; OmegaConf marks those of frozen classes as read-only, and nothing could be merged."""
    OmegaConf.set_readonly(config, False)
    for key in config:
        node = config._get_node(key)
        if isinstance(node, DictConfig):
            _writable(node)
    return config


def with_values(config: Section, values: Mapping[str, Any]) -> Section:
    """The same configuration with other values.

    Args:
        config: a :class:`TrainConfig`, an :class:`EvaluateConfig` or one of their groups.
        values: by dotted key, such as ``{"split.fold": 1, "cv": None}``.

    Raises:
        WeakspotError: for a value out of range; the message names the key.
    """
    for key, value in values.items():
        name, _, rest = key.partition(".")
        changed = with_values(getattr(config, name), {rest: value}) if rest else value
        config = replace(config, **{name: changed})  # type: ignore[type-var]
    return config


def changed_rule(rule: Section, changes: Mapping[str, Any], group: str) -> Section:
    """A rule with some of its values changed, for ``evaluate``.

    Args:
        rule: a :class:`BoxRule` or :class:`DecisionCosts`.
        changes: by key; None leaves a value.
        group: of the configuration, for messages.

    Raises:
        WeakspotError: for an unknown key, or a value of the wrong type or out of range; the message names the key.
    """
    wanted = {key: value for key, value in changes.items() if value is not None}
    try:
        merged = OmegaConf.merge(_writable(OmegaConf.structured(rule)), wanted)
    except OmegaConfBaseException as error:
        first = str(error).strip().splitlines()[0]
        raise WeakspotError(f"config key {group}.{error.full_key or '?'}: {first}") from error
    return cast(Section, OmegaConf.to_object(merged))


def one_of(key: str, value: str, choices: dict[str, Callable[..., Any]] | tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`.

    Args:
        key: the configuration key, for the message.
        value: the value that was given for it.
        choices: the values that are allowed; of a dictionary its keys.

    Returns:
        `value`.

    Raises:
        WeakspotError: naming the key, the choices and the nearest one.
    """
    if value not in choices:
        raise WeakspotError(f"{key}={value} is unknown{did_you_mean(value, choices)}; choose: {', '.join(choices)}")
    return value


def write_config(path: Path, config: TrainConfig | EvaluateConfig) -> None:
    """Write the resolved configuration as yaml, whole or not at all.

    Args:
        path: the ``config.yaml`` to write; an older one is replaced.
        config: the resolved configuration.
    """
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(asdict(config))))


def read_config(path: Path) -> TrainConfig:
    """Read a run's ``config.yaml``.

    Raises:
        WeakspotError: when it is missing or not a configuration.
    """
    try:
        loaded = OmegaConf.create(read_plain_yaml(path))
    except FileNotFoundError as error:
        there = "holds no run" if path.parent.is_dir() else "does not exist"
        raise WeakspotError(
            f"{path.parent} {there}; give a run folder, as 'weakspot train' names it at its end"
        ) from error
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise WeakspotError(f"{path} cannot be read ({type(error).__name__}); is this a run folder?") from error
    if not isinstance(loaded, DictConfig):
        raise WeakspotError(f"{path} is not a configuration; is this a run folder?")
    try:
        return typed(_with_new_names(loaded), TrainConfig)
    except WeakspotError as error:
        raise WeakspotError(
            f"{path} was not written by this version of weakspot ({error}); upgrade weakspot if a newer one wrote it, "
            "or train again"
        ) from error


def _with_new_names(config: DictConfig) -> DictConfig:
    """A run's configuration with today's names in place of those from before version 0.2."""
    values = cast(dict[str, Any], OmegaConf.to_container(config))
    if "second_look" in values:
        values["flip_tta"] = values.pop("second_look")
    refine = values.get("refine")
    if isinstance(refine, dict):
        old = {"where_steps": "location_steps", "extent_steps": "mask_steps", "again_steps": "location_refit_steps"}
        values["refine"] = {old.get(key, key): value for key, value in refine.items()}
    return OmegaConf.create(values)
