"""Identities of a model, a run and a set-up: hashes over everything they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from weakspot._version import __version__
from weakspot.config.schema import TrainConfig, TrainerConfig
from weakspot.data.preprocess import Preprocess

FITS = 8
"""Goes up when the same settings make another model: models from before are not today's."""


def fit_identity(
    config: TrainConfig,
    preprocess: Preprocess,
    data_hash: str,
    split_hash: str,
    weights_hash: str,
    *,
    crossfit: bool = False,
    drawn: str | None = None,
) -> str:
    """Identify a trained model by its data, split, pre-trained weights, network and training.

    Where things are stored and how fast they are computed does not count, nor does what happens after training.

    Args:
        config: the resolved configuration.
        preprocess: what brings an image to the network's input.
        data_hash: over the content and the label of every image.
        split_hash: over which image is in which subset.
        weights_hash: over the pre-trained weights.
        crossfit: whether further models are trained to set box scores on.
        drawn: hash over what a person drew in training pictures; None where nothing is learnt from but labels.

    Returns:
        Eight hexadecimal digits.
    """
    model = {key: value for key, value in asdict(config.model).items() if key not in ("weights", "preprocess")}
    trainer = _trainer_identity(config)
    inputs = config.cache.precision if config.cache.enabled else "images"
    return short_hash(
        [
            __version__,
            FITS,
            data_hash,
            split_hash,
            weights_hash,
            config.data.task,
            preprocess.identity(),
            model,
            trainer,
            _refine_identity(config),
            inputs,
            config.seed,
            *(["crossfit"] if crossfit else []),
            *([config.heatmap] if config.heatmap != "cam" else []),  # the maps are kept beside the model
            *(["flip test-time augmentation"] if config.flip_tta else []),
            *(["corrections", CORRECTIONS, drawn, config.refine.correction_steps] if drawn is not None else []),
        ]
    )


CORRECTIONS = 1
"""Goes up when the same annotations make another model."""

WHERE_TRAINED = ("accelerator", "devices", "strategy", "logger")
"""Keys of the trainer that say where, and not what: the optimisation is the same on any number of devices."""


def _trainer_identity(config: TrainConfig) -> dict[str, Any]:
    trainer = {key: value for key, value in asdict(config.trainer).items() if key not in WHERE_TRAINED}
    if trainer["precision"] == TrainerConfig.precision:  # so that runs from before there was a choice are found
        del trainer["precision"]
    return trainer


def _refine_identity(config: TrainConfig) -> dict[str, Any]:
    """Only what has an effect: without refinement its other settings have none, nor has a key that is not set."""
    if config.refine.method == "none":
        return {"method": "none"}
    return {key: value for key, value in asdict(config.refine).items() if key != "correction_steps"}


def settings_identity(config: TrainConfig) -> str:
    """Eight hexadecimal digits over every setting but those that runs are repeated over: seeds and folds."""
    values = asdict(config)
    for key in ("seed", "output", "name", "cache", "reuse", "objective"):
        values.pop(key)
    for section, key in (("split", "seed"), ("split", "fold"), ("data", "root")):
        values[section].pop(key)
    for section, key in (("data", "annotations"), ("data", "use_masks"), ("refine", "correction_steps")):
        if values[section][key] is None:  # so that runs from before there were any are found
            del values[section][key]
    values["trainer"] = _trainer_identity(config)
    return short_hash([values])


def flat_settings(section: Mapping[str, Any], skipped: Container[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted key.

    Args:
        section: a configuration as dictionaries, or a group of it.
        skipped: dotted keys of settings, or of whole groups, to leave out.
        prefix: what the keys of `section` begin with.
    """
    for name, value in section.items():
        key = f"{prefix}{name}"
        if key in skipped:
            continue
        if isinstance(value, dict):
            yield from flat_settings(value, skipped, f"{key}.")
        else:
            yield key, value


DECISIONS = 8
"""Goes up when the same costs make another decision, or boxes get another trust: runs from before are not today's,
though their models are."""


def run_identity(config: TrainConfig, fit: str, truth_hash: str) -> str:
    """Identify a whole run by its fit, its box rule and decision, and weakspot's version.

    Args:
        config: the resolved configuration.
        fit: from :func:`fit_identity`.
        truth_hash: over every mask.

    Returns:
        Eight hexadecimal digits.
    """
    made_of = [fit, truth_hash, config.heatmap, asdict(config.boxes), asdict(config.decision), DECISIONS]
    return short_hash([__version__, *made_of])


def short_hash(values: list[Any]) -> str:
    """Eight hexadecimal digits over anything JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
