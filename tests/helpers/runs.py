"""Runs that take seconds: overrides for them, and what is asked of them afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weakspot.commands import train as pipeline
from weakspot.config.hydra_app import compose
from weakspot.config.schema import EvaluateConfig, TrainConfig, typed
from weakspot.runs.folder import RunFolder


def tiny_run(*, epochs: int = 3, size: str = "[64,96]") -> tuple[str, ...]:
    """Overrides for a run on the tiny backbone (the fixture ``tiny``)."""
    return (
        "model.backbone=tiny", "model.weights=none", f"data.image_size={size}", f"trainer.max_epochs={epochs}",
        "trainer.accelerator=cpu", "trainer.stop_at_accuracy=null",
    )  # fmt: skip


TINY = tiny_run()

ALL_ANOMALY = ("model.class_weights=[1,1000]", "model.optimizer.lr=0.01")  # so that every image gets a box

FEW_STEPS = (
    "refine.imitations=8", "refine.location_steps=4", "refine.mask_steps=4", "refine.location_refit_steps=2",
    "split.val_size=0.15",
)  # fmt: skip
"""For ``experiment=recommended``, whose evidence network learns for minutes; without cross-fitting, which trains three
more models (test_recommended.py and test_honesty.py have it)."""

DETERMINISTIC = (
    "bundle/model.safetensors", "bundle/model.json", "maps.npz", "split.csv", "predictions.jsonl", "predictions.csv",
)  # fmt: skip
"""Files of a run that are the same to the byte, whenever it is made on the same machine."""


def train_config(*overrides: str) -> TrainConfig:
    return typed(compose("train", list(overrides)), TrainConfig)


def evaluate_config(*overrides: str) -> EvaluateConfig:
    return typed(compose("evaluate", list(overrides)), EvaluateConfig)


def settings(fabric: Path, *overrides: str) -> TrainConfig:
    """Of a tiny run on the generated data."""
    return train_config(f"data.root={fabric}", "data.subset=fabric", *TINY, *overrides)


def train(fabric: Path, *overrides: str) -> RunFolder:
    return pipeline.train(settings(fabric, *overrides))


def metrics_of(run: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run.metrics.read_text())
    return content


def assert_same(one: RunFolder, other: RunFolder) -> None:
    """Same numbers, and the same bytes in every file that holds no time."""
    first, second = (metrics_of(run) for run in (one, other))
    for content in (first, second):
        content.pop("train")  # holds seconds
    assert first == second
    for name in DETERMINISTIC:
        first_bytes, second_bytes = ((run.path / name).read_bytes() for run in (one, other))
        assert first_bytes == second_bytes, name
