"""What any test may ask for: a generated data set, a tiny backbone, an empty folder, a browser."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

pytest.register_assert_rewrite("helpers")

from helpers.backbones import tiny_backbone
from helpers.browsing import CHROMIUM
from helpers.parts import make_parts
from hypothesis import Phase, settings

from weakspot.commands import results
from weakspot.data import synthetic
from weakspot.data.images import ImageInfo
from weakspot.data.near_duplicates import NearDuplicates, find_near_duplicates
from weakspot.models import backbones
from weakspot.training import cached_searches

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SEARCHED: dict[tuple[str, ...], dict[str, Any]] = {}
"""What searches for near-duplicates found, by the contents of the pictures."""

# What make mutants runs: the same examples each time, and the first that fails is enough.
settings.register_profile(
    "mutants", derandomize=True, deadline=None, database=None, max_examples=50, phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test does reaches the user's cache, nor another test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near-duplicates of the same pictures are searched once in a process: that takes longer than a tiny training."""

    def search(images: Sequence[ImageInfo], **options: Any) -> NearDuplicates:
        if any(image.roi is not None for image in images):
            return find_near_duplicates(images, **options)
        key = tuple(image.sha256 for image in images)
        if key not in SEARCHED:
            SEARCHED[key] = find_near_duplicates(images, **options).to_dict()
        return NearDuplicates.from_dict(deepcopy(SEARCHED[key]))

    monkeypatch.setattr(cached_searches, "find_near_duplicates", search)


@pytest.fixture(autouse=True)
def drawn_where_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process draw their figures only in tests marked ``figures``."""
    if request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr(results, "write_figures", lambda *arguments: [])


@pytest.fixture
def warnings_are_errors() -> Iterator[None]:
    """NumPy's 0/0 and scikit-learn's UndefinedMetricWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone called ``tiny``, as one that a user added."""
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a small generated data set with the subset ``fabric``."""
    root = tmp_path_factory.mktemp("synthetic")
    synthetic.generate(root, "fabric", seed=1, good=30, defect=5, size=(96, 128))
    return root


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a generated subset ``metal`` of 60 parts, 14 of which were photographed three times."""
    root = tmp_path_factory.mktemp("parts")
    make_parts(root)
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
