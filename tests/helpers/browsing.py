"""Pages in a real browser, watched for what must not happen."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt install chromium)")


class Watched:
    """A page, with everything that must not happen written down."""

    def __init__(self, browser: Browser, file: Path, **context: Any) -> None:
        self.page: Page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}).new_page()
        self.bad: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.bad.append(message.text))
        self.page.on("pageerror", lambda error: self.bad.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.absolute().as_uri())
        self.page.wait_for_selector("#gallery li")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        outside = [url for url in self.requests if not url.startswith(("data:", "file:"))]
        self.page.context.close()
        if error is None:
            assert self.bad == []
            assert outside == []

    @property
    def data(self) -> Any:
        return json.loads(self.page.locator("#data").text_content() or "")

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Until a JavaScript expression is true; the page's policy forbids Playwright's own way, which is eval."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    @property
    def processor_seconds(self) -> float:
        """What the page has cost so far: unlike the time on the wall, not what else the machine does."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable")
        spent = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
        return float(spent["ProcessTime"])

    def names(self) -> list[str]:
        return self.page.locator("#gallery .name").all_text_contents()

    def boxes(self) -> list[list[float]]:
        """Corners of the predicted boxes that are drawn in the gallery."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("#gallery rect.box")].map((r) =>
            ["x", "y", "width", "height"].map((name) => Number(r.getAttribute(name))))"""
        )
