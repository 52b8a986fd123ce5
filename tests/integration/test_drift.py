"""``weakspot drift``: from prediction files of several days to the page, as a browser shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers.browsing import needs_chromium
from PIL import Image

from weakspot.commands.drift import drift
from weakspot.errors import WeakspotError
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.types import Prediction

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def day(folder: Path, name: str, start: int, count: int, brightness: float) -> None:
    """A day's file, as ``watch`` names them; the pictures themselves are there for the first hundred."""
    random = np.random.default_rng(start)
    picture = folder / "part <1>.png"
    Image.new("RGB", (32, 24), (90, 90, 90)).save(picture)
    found = [
        Prediction(
            picture if i % 2 else folder / "gone.png", height=24, width=32, label="good", probability=0.1,
            measures={"brightness": brightness + float(random.normal()), "distance": float(random.normal())},
        )
        for i in range(count)
    ]  # fmt: skip
    write_predictions(folder / "scratch", found)
    (folder / "scratch" / "predictions.jsonl").rename(folder / f"predictions-{name}.jsonl")


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    day(tmp_path, "2026-01-02", 1, 60, 45.0)  # written first, read second
    day(tmp_path, "2026-01-01", 0, 200, 50.0)
    return tmp_path


def test_days_are_read_in_order_and_the_change_is_told(stream: Path) -> None:
    found = drift(stream, stream / "out")
    (alarm,) = found.monitor.alarms
    assert alarm.changes[0].measure == "brightness"
    assert 195 <= alarm.since <= 206
    page = found.page.read_text(encoding="utf-8")
    assert "the pictures are darker" in page
    assert "lamp and exposure" in page
    assert "part &lt;1&gt;.png" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert (stream / "out" / "drift.json").is_file()


def test_no_predictions_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"holds no predictions\.jsonl"):
        drift(tmp_path, tmp_path / "out")
    write_predictions(tmp_path, [Prediction(Path("a.png"), status="error", message="gone")])
    with pytest.raises(WeakspotError, match="no prediction of a picture that could be read"):
        drift(tmp_path, tmp_path / "out")


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(stream: Path, browser: Browser, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    bad: list[str] = []
    page.on("console", lambda message: bad.append(message.text))
    page.goto(drift(stream, stream / "out").page.absolute().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("polyline").count() >= 4
    assert page.locator(".gallery img").count() >= 1
    assert bad == []
    page.close()
