"""The page of ``weakspot review`` in a real browser, driven as a person drives it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from helpers.reviews import SIZE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


class Window:
    """A page that must say nothing on its console and ask nothing of others."""

    def __init__(self, browser: Browser, address: str, width: int = 1280, **options: Any) -> None:
        self.page: Page = browser.new_context(viewport={"width": width, "height": 800}, **options).new_page()
        self.address, self.bad, self.requests = address, list[str](), list[str]()
        self.page.on("console", lambda message: self.bad.append(message.text))
        self.page.on("pageerror", lambda error: self.bad.append(str(error)))
        self.page.on("dialog", lambda dialog: self.bad.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.go()

    def go(self) -> None:
        self.page.goto(self.address)
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def until(self, true: Callable[[], bool], what: object = "") -> None:
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, what or self.page.inner_text("body")
            self.page.wait_for_timeout(20)

    def at(self, number: int) -> None:
        """Until the picture of this number is shown."""
        self.until(lambda: f"picture {number + 1} of" in self.page.inner_text("#where"))
        self.page.wait_for_selector("#loading", state="hidden")

    def saved(self) -> None:
        self.until(lambda: self.page.inner_text("#saved").startswith("Saved"))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen, while all of it is seen."""
        stage = self.page.locator("#stage").bounding_box()
        assert stage is not None
        scale = min((stage["width"] - 24) / SIZE[1], (stage["height"] - 24) / SIZE[0], 16)
        left, top = (stage["width"] - SIZE[1] * scale) / 2, (stage["height"] - SIZE[0] * scale) / 2
        return stage["x"] + left + x * scale, stage["y"] + top + y * scale

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(*((a + b) / 2 for a, b in zip(start, end, strict=True))))  # type: ignore[arg-type]
        self.page.mouse.move(*self.place(*end))
        self.page.mouse.up()

    def close(self) -> None:
        outside = [url for url in self.requests if not url.startswith((self.address, "data:"))]
        self.page.context.close()
        assert self.bad == []
        assert outside == []
