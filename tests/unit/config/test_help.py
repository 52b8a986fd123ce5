"""The help of train: what is needed first, then each experiment in a sentence, then every key with its meaning."""

from __future__ import annotations

import re
from typing import Any

import pytest
from omegaconf import OmegaConf

from weakspot.config.help import choices, experiments, keys_of
from weakspot.config.hydra_app import compose, conf_dir, help_text


def flat(config: Any, prefix: str = "") -> set[str]:
    """Dotted names of all values of a composed configuration."""
    found = set()
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}"}
    return found


@pytest.mark.parametrize("experiment", ["plain_cam", "recommended"])
def test_every_key_of_the_composed_configuration_has_type_default_and_meaning(experiment: str) -> None:
    keys = {key.name: key for key in keys_of(conf_dir(), compose("train"))}
    composed = OmegaConf.to_container(compose("train", [f"experiment={experiment}"]))
    assert flat(composed) <= set(keys)
    text = help_text("train")
    for key in keys.values():
        assert key.type, key
        assert key.meaning, key
        assert key.default or key.type == "keys", key
        assert f"\n  {key.name} " in text


def test_defaults_are_those_without_an_experiment() -> None:
    found = {key.name: (key.type, key.default) for key in keys_of(conf_dir(), compose("train"))}
    assert found["data.image_size"][1] == "224"
    assert found["split.val_size"] == ("number", "0.0")
    assert found["cv"] == ("whole number or null", "null")
    assert found["reuse"] == ("true/false", "true")
    assert found["model.optimizer.lr"] == ("number", "0.0001")


def test_each_experiment_has_a_sentence_of_its_own() -> None:
    found = experiments(conf_dir())
    assert list(found) == choices(conf_dir(), "experiment")
    assert all(len(said) > 20 and said.endswith(".") for said in found.values())
    assert "(Chernytska 2022), exactly;" in found["plain_cam"]
    for name in ("plain_cam", "recommended"):
        assert re.search(r"\d+ minutes for \d+ pictures on (one|two) CPU cores?\.$", found[name]), found[name]


def test_what_a_newcomer_needs_stands_first() -> None:
    text = help_text("train")
    places = [text.index(part) for part in ("weakspot train photos/", "2. EXPERIMENTS", "3. EVERY KEY", "data.root  ")]
    assert places == sorted(places)
    assert max(len(line) for line in text.splitlines()) <= 130
