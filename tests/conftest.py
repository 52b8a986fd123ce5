"""Small real things to test with: a generated data set, a tiny backbone, real data and weights where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from browsing import CHROMIUM
from hypothesis import Phase, settings
from torch import nn

from weakspot.data import synthetic
from weakspot.models import network
from weakspot.models.backbones import FREEZE_POINT, Backbone

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL_WEIGHTS = SHARED / "weights" / "vgg16_features.safetensors"
REAL_DATA = SHARED / "data" / "magnetic_tile"

needs_weights = pytest.mark.skipif(not REAL_WEIGHTS.is_file(), reason="real VGG16 weights are not beside the checkout")
needs_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="magnetic_tile is not beside the checkout")


def tiny_backbone() -> Backbone:
    """Two convolutions instead of thirteen: the same cut, a thousandth of the cost."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    tail = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
    return Backbone(stem, tail, channels=16, smallest=8, taps={"early": 2}, pyramid=("early", FREEZE_POINT))


# What make mutants runs: the same examples each time, and the first that fails is enough.
settings.register_profile(
    "mutants", derandomize=True, deadline=None, database=None, max_examples=50, phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test does reaches the user's cache, nor another test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone called ``tiny``, as one that a user added."""
    monkeypatch.setitem(network.BACKBONES, "tiny", tiny_backbone)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a small generated data set with the subset ``fabric``."""
    root = tmp_path_factory.mktemp("synthetic")
    synthetic.generate(root, "fabric", seed=1, good=30, defect=5, size=(96, 128))
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    pytest.importorskip("playwright", reason="playwright is not installed (pip install playwright)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if getattr(os, "getuid", int)() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()
