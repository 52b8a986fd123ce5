"""The page of a review in a real browser: with mouse and keys, in two windows, after a restart, with hostile names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browsing import needs_chromium
from helpers.review_window import Window
from helpers.reviews import make_session, served

from weakspot.serve.review_app import ReviewSession
from weakspot.serve.review_store import ReviewStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = [needs_chromium, pytest.mark.slow]
HOSTILE = ["<img src=x onerror=alert(1)>.png", '"><script>alert(2)</script>.png', "javascript:alert(3).png"]
NAMES = [f"part-{i:02d}.png" for i in range(6)]


Opened = Callable[..., Window]


@pytest.fixture
def session(tmp_path: Path) -> ReviewSession:
    return make_session(tmp_path, NAMES)


@pytest.fixture
def opened(session: ReviewSession, browser: Browser) -> Iterator[Opened]:
    windows = list[Window]()
    with served(session) as address:

        def make(**options: Any) -> Window:
            windows.append(Window(browser, address, **options))
            return windows[-1]

        yield make
        for window in windows:
            window.close()


def written(session: ReviewSession) -> dict[str, Any]:
    """The file, as picture name to its record with boxes."""
    content = json.loads(session.store.file.read_text())
    found = {}
    for image in content["images"]:
        boxes = [one["bbox"] for one in content["annotations"] if one["image_id"] == image["id"]]
        found[Path(image["file_name"]).name] = {**image, "boxes": boxes}
    for image in content["weakspot_unconfirmed"]:
        found[Path(image["file_name"]).name] = {**image, "boxes": [one["bbox"] for one in image["boxes"]]}
    return found


def near(found: list[int], expected: list[int], most: int = 2) -> bool:
    return all(abs(a - b) <= most for a, b in zip(found, expected, strict=True))


class Held:
    """Requests of a window that wait until they are let go, one by one."""

    def __init__(self, window: Window, method: str, path: str) -> None:
        self.window, self.method, self.on = window, method, True
        self.waiting: list[Route] = []
        window.page.route(f"**{path}", self._asked)

    def _asked(self, route: Route) -> None:
        if self.on and route.request.method == self.method:
            self.waiting.append(route)
        else:
            route.continue_()

    def until(self, count: int) -> None:
        """Until so many wait."""
        self.window.until(lambda: len(self.waiting) == count)

    def go(self) -> None:
        """Let go what waits, and everything later."""
        self.on = False
        for route in self.waiting:
            route.continue_()


def test_draw_move_resize_delete_and_undo_with_the_mouse(session: ReviewSession, opened: Opened) -> None:
    window, name = opened(), NAMES[0]
    window.at(0)
    before = [list(box.xyxy) for box in session.store.review(0).boxes]
    window.drag((80, 50), (110, 80))
    window.saved()
    assert near(written(session)[name]["boxes"][1], [80, 50, 30, 30])
    window.drag((95, 65), (85, 60))  # inside: moves
    window.saved()
    window.until(lambda: near(written(session)[name]["boxes"][1], [70, 45, 30, 30]))
    window.drag((100, 75), (120, 90))  # its corner: resizes
    window.until(lambda: near(written(session)[name]["boxes"][1], [70, 45, 50, 45]))
    window.keys("Delete")
    window.until(lambda: len(written(session)[name]["boxes"]) == 1)
    window.keys("u")
    window.until(lambda: len(written(session)[name]["boxes"]) == 2)
    window.keys("u", "Control+z", "u")
    window.until(lambda: name not in written(session))  # all the way back to where it began
    assert window.page.locator("#overlay .box").count() == len(before)
    assert session.store.review(0).state == "todo"


def test_undo_changes_only_the_picture_that_it_belongs_to(session: ReviewSession, opened: Opened) -> None:
    """Even where another picture is asked for while the one to undo is on its way."""
    window = opened()
    window.at(0)
    window.keys("g")
    window.saved()
    window.keys("n")
    window.at(1)
    held = Held(window, "GET", "/api/pictures/0")
    window.keys("u")
    held.until(1)
    window.keys("n")
    window.at(2)
    held.go()
    window.until(lambda: "Not undone: picture 1 is not shown" in (window.page.text_content("#said") or ""))
    assert list(written(session)) == [NAMES[0]]
    window.keys("u")
    window.at(0)
    window.until(lambda: written(session) == {})


BY_KEY_AND_AT_ONCE = """(then) => {  // in one task, so that nothing comes between
  const stage = document.getElementById("stage"), overlay = document.getElementById("overlay");
  stage.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", ctrlKey: true, bubbles: true }));
  if (then === "nothing") {
    const { left, top } = overlay.getBoundingClientRect(), at = { clientX: left + 3, clientY: top + 3, pointerId: 1 };
    overlay.setPointerCapture = () => {};  // of a pointer that is not there
    for (const name of ["pointerdown", "pointerup"]) overlay.dispatchEvent(new PointerEvent(name, at));
  } else document.querySelector(then).click();
}"""


@pytest.mark.parametrize(
    ("then", "label", "boxes"),
    [("nothing", "anomaly", 1), ("#label-choices button:nth-child(1)", "Good", 0)],
)
def test_what_the_arrow_keys_moved_is_saved_whatever_comes_at_once(
    session: ReviewSession, opened: Opened, then: str, label: str, boxes: int
) -> None:
    window = opened()
    window.at(0)
    x0, y0, x1, y1 = session.store.review(0).boxes[0].xyxy
    window.keys("b")
    window.page.evaluate(BY_KEY_AND_AT_ONCE, then)
    window.saved()
    window.page.wait_for_timeout(400)  # longer than the arrow keys are waited for
    window.saved()
    expected = [[x0 + 1, y0, x1 - x0, y1 - y0]][:boxes]
    assert written(session)[NAMES[0]]["boxes"] == expected
    window.keys("Enter")  # accepts what is shown
    window.at(1)
    found = written(session)[NAMES[0]]
    assert (found["weakspot_label"], found["boxes"], found["weakspot_reviewed"]) == (label, expected, True)


def test_a_whole_review_by_keys_alone(session: ReviewSession, opened: Opened) -> None:
    window = opened()
    window.at(0)
    window.keys("Enter")  # right as it is
    window.at(1)
    window.keys("b", "Delete", "d", "ArrowLeft")  # the box is elsewhere: delete it, draw one in the middle
    window.until(lambda: window.page.locator("#overlay .box").count() == 1)
    window.keys("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Control+ArrowDown", "a")
    window.at(2)
    window.keys("g")  # labelled Good, and defective after all: the model's boxes come with it
    window.until(lambda: window.page.locator("#overlay .box").count() == 1)
    window.keys("Enter")
    window.at(3)
    window.keys("g", "Enter")  # Good after all
    window.at(4)
    window.keys("s")
    window.at(5)
    window.keys("p")
    window.at(4)
    window.keys("n")
    window.at(5)
    window.keys("Enter")
    window.until(lambda: "Every picture was looked at" in window.page.inner_text("#saved"))
    found = written(session)
    assert [found[name]["weakspot_state"] for name in NAMES] == ["reviewed"] * 4 + ["skipped", "reviewed"]
    assert [found[name]["weakspot_label"] for name in NAMES[:4]] == ["anomaly", "anomaly", "anomaly", "Good"]
    (x, y, width, height) = found[NAMES[1]]["boxes"][0]
    assert x < 56
    assert y == 42  # one up, one down
    assert width > 16
    assert height == 12
    window.until(lambda: window.page.inner_text("#sum-reviewed") == "5 of 6 (1 skipped)")
    assert "of 5" in window.page.inner_text("#sum-labels")
    assert "2 of 5: 40 %" in window.page.inner_text("#sum-labels")


def test_the_queue_and_the_help_by_keys(opened: Opened) -> None:
    window = opened()
    window.at(0)
    window.keys("q", "ArrowDown", "ArrowDown", "Enter")
    window.at(2)
    window.keys("?")
    window.page.wait_for_selector("#help[open]")
    assert window.page.locator("#key-list div").count() > 15
    window.keys("Enter", "Escape")  # keys in a dialog are the dialog's
    window.page.wait_for_selector("#help", state="hidden")
    window.at(2)
    focused = set()
    for _ in range(40):
        window.keys("Tab")
        focused.add(window.page.evaluate("document.activeElement.id || document.activeElement.dataset.do || ''"))
    assert focused >= {"open-training", "open-help", "show", "stage", "accept", "skip", "undo", "map"}


def test_zoom_goes_to_the_pixel_and_back(opened: Opened) -> None:
    window = opened()
    window.at(0)
    scale = lambda: float(window.page.inner_text("#zoom").split()[0])  # noqa: E731
    fitted = scale()
    window.page.mouse.move(*window.place(20, 20))
    for _ in range(12):
        window.page.mouse.wheel(0, -400)
    window.until(lambda: scale() == 4000)
    tiles = [url for url in window.requests if "/tiles/0/" in url]
    assert tiles
    shown = window.page.evaluate("document.getElementById('canvas').toDataURL().length")
    assert shown > 1000
    window.keys("0")
    window.until(lambda: scale() == fitted)
    window.keys("+", "+")
    window.until(lambda: scale() > fitted)
    window.keys("b", "z")
    window.until(lambda: window.page.locator("#overlay .handle").count() == 8)
    window.keys("0")
    before = window.page.evaluate("document.getElementById('canvas').toDataURL()")
    window.keys("m")
    window.until(lambda: window.page.evaluate("document.getElementById('canvas').toDataURL()") != before)
    assert window.page.get_attribute("[data-do=map]", "aria-pressed") == "true"


def test_two_windows_see_each_other(session: ReviewSession, opened: Opened) -> None:
    one, other = opened(), opened()
    for window in (one, other):
        window.at(0)
    one.drag((80, 50), (110, 80))
    one.saved()
    other.keys("Delete")  # of what it saw, which is no longer so
    other.page.wait_for_selector("#banner:not([hidden])")
    assert other.page.locator("#overlay .box").count() == 2
    assert len(written(session)[NAMES[0]]["boxes"]) == 2  # nothing was lost
    other.page.click("#redo")
    other.until(lambda: written(session)[NAMES[0]]["boxes"] == [])
    one.until(lambda: one.page.locator("#overlay .box").count() == 0)  # it looks by itself
    other.bad = [line for line in other.bad if "409" not in line]  # the browser's own words on a refused save


def refused(opened: Opened, *keys: str) -> Window:
    """A window where these keys change picture 0 before it is known that another window has drawn a box there."""
    one, other = opened(), opened()
    for window in (one, other):
        window.at(0)
    held = Held(other, "PUT", "/api/pictures/0")
    other.keys(*keys)
    held.until(1)
    one.drag((80, 50), (110, 80))
    one.saved()
    held.go()
    other.page.wait_for_selector("#banner:not([hidden])")
    other.page.wait_for_timeout(300)
    return other


def test_a_change_behind_a_refused_one_is_refused_too(session: ReviewSession, opened: Opened) -> None:
    other = refused(opened, "Delete", "g")
    assert len(written(session)[NAMES[0]]["boxes"]) == 2  # what the first window drew
    assert other.page.inner_text("#saved").startswith("Not saved")
    other.keys("r")  # both changes
    other.until(lambda: written(session)[NAMES[0]]["weakspot_label"] == "Good")
    other.bad = [line for line in other.bad if "409" not in line]


def test_a_refused_change_is_not_left_behind(session: ReviewSession, opened: Opened) -> None:
    other = refused(opened, "g", "n")
    other.at(0)
    other.page.click("#redo")
    other.until(lambda: written(session)[NAMES[0]]["weakspot_label"] == "Good")
    other.keys("n")
    other.at(1)
    other.bad = [line for line in other.bad if "409" not in line]


def test_closing_and_coming_back_goes_on(session: ReviewSession, browser: Browser, tmp_path: Path) -> None:
    with served(session) as address:
        window = Window(browser, address)
        window.keys("Enter")
        window.at(1)
        window.keys("Enter")
        window.at(2)
        window.close()
    with served(make_session(tmp_path, NAMES)) as address:
        window = Window(browser, address)
        window.at(2)
        assert window.page.inner_text("#sum-reviewed") == "2 of 6"
        window.keys("p")
        window.at(1)
        assert "reviewed" in window.page.inner_text("#where")
        window.close()


def test_a_page_goes_on_when_the_command_was_started_again(
    session: ReviewSession, browser: Browser, tmp_path: Path
) -> None:
    """Its change waits, and is saved as soon as somebody answers."""
    with served(session) as address:
        window = Window(browser, address)
        window.at(0)
    window.keys("g")
    window.until(lambda: "Not saved" in window.page.inner_text("#saved"))
    port = int(address.rpartition(":")[2])
    with served(make_session(tmp_path, NAMES), port=port):
        window.saved()
        window.until(lambda: written(session)[NAMES[0]]["weakspot_label"] == "Good")
        window.bad.clear()  # the browser's own words on the answers that did not come
        window.close()


def test_a_page_saves_nothing_into_another_review(session: ReviewSession, browser: Browser, tmp_path: Path) -> None:
    """It says so, keeps its change, and saves it once its own review is served again."""
    other = make_session(tmp_path, NAMES, file=tmp_path / "other.json")
    with served(session) as address:
        window = Window(browser, address)
        window.at(0)
    port = int(address.rpartition(":")[2])
    with served(other, port=port):
        window.keys("g")
        window.until(
            lambda: window.page.inner_text("#saved") == "Not saved: this is another review now; reload the page"
        )
        window.keys("n")  # pictures of the other one are not shown either
        window.page.wait_for_timeout(200)
        assert window.page.inner_text("#label-choices [aria-pressed=true]") == "Good"
        assert "picture 1 of" in window.page.inner_text("#where")
    assert not other.store.file.exists()
    with served(make_session(tmp_path, NAMES), port=port):
        window.saved()
        assert written(session)[NAMES[0]]["weakspot_label"] == "Good"
        window.bad.clear()  # the browser's own words on answers that were refused or did not come
        window.close()
    assert not other.store.file.exists()


def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    session = make_session(tmp_path, [name.replace("/", "∕") for name in HOSTILE])
    with served(session) as address:
        window = Window(browser, address)
        for i, picture in enumerate(session.store.pictures):
            window.at(i)
            assert window.page.inner_text("#name") == picture.name
            window.keys("Enter")
        window.until(lambda: len(written(session)) == len(HOSTILE))
        assert window.page.locator("img[src=x]").count() == 0
        window.close()


def test_a_new_round_begins_with_nothing_reviewed_and_one_is_one(browser: Browser, tmp_path: Path) -> None:
    session = make_session(tmp_path, NAMES[:2])
    store = session.store
    store.save(0, replace(store.review(0), state="reviewed"), based_on=0)
    store = ReviewStore(tmp_path / "next.json", store.pictures, store.classes, earlier=store.file)
    with served(replace(session, store=store)) as address:
        window = Window(browser, address)
        window.until(lambda: window.page.inner_text("#sum-reviewed") == "1 of 2")
        assert window.page.inner_text("#sum-enough") == "Yes: nothing was reviewed yet in this round."
        assert window.page.inner_text("#count") == "2 pictures, most worth a look first"
        window.page.select_option("#show", "looked")
        window.until(lambda: window.page.inner_text("#count") == "1 picture")
        window.page.evaluate("document.activeElement.blur()")
        window.keys("Enter")
        window.until(lambda: window.page.inner_text("#sum-reviewed") == "2 of 2")
        assert window.page.inner_text("#sum-enough") == "No: every picture was reviewed."
        window.close()


def test_several_classes(browser: Browser, tmp_path: Path) -> None:
    session = make_session(tmp_path, NAMES[:2], classes=("good", "anomaly", "crack", "<b>hole</b>"))
    with served(session) as address:
        window = Window(browser, address)
        window.at(0)
        window.keys("b", "3")
        window.saved()
        window.drag((80, 50), (110, 80))
        window.page.select_option("#boxes li:nth-child(2) select", "crack")
        window.until(lambda: [box.label for box in session.store.review(0).boxes] == ["<b>hole</b>", "crack"])
        window.close()


def test_a_training_is_followed_to_its_comparison(browser: Browser, tmp_path: Path) -> None:
    code = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[2])
print("epochs: 1 of 4 (25 %), about 3 min left", flush=True)
while not (folder / "go").exists():
    time.sleep(0.02)
each = {"first": 0.5, "second": 0.625, "difference": {"value": 0.125, "low": 0.0625, "high": 0.1875}}
(folder / "compare.html").write_text("<!doctype html><title>c</title><h1>Before and after</h1>")
(folder / "done.json").write_text(json.dumps(
    {"after": "outputs/new", "images": 20, "same_test": True, "differences": {"max_box_acc_v2": each}}))
"""
    command = lambda file, folder: [sys.executable, "-S", "-c", code, str(file), str(folder)]  # noqa: E731
    session = make_session(tmp_path, NAMES, command=command)
    with served(session) as address:
        window = Window(browser, address)
        window.keys("Enter")
        window.at(1)
        window.page.click("#open-training")
        window.page.click("#training-start")
        window.until(lambda: "epochs: 1 of 4, about 3 min left" in window.page.inner_text("#training-step"))
        assert window.page.get_attribute("#training-progress", "aria-valuenow") == "25"
        window.until(lambda: "Accepted so far: 1 picture with 1 box. " in window.page.inner_text("#training-text"))
        window.page.click("#training-cancel")
        window.until(lambda: "Cancelled" in window.page.inner_text("#training-step"))
        window.page.click("#training-start")
        window.until(lambda: "epochs: 1 of 4" in window.page.inner_text("#training-step"))
        (folder,) = (tmp_path / "review" / "trainings").iterdir()
        (folder / "go").touch()
        window.page.wait_for_selector("#training-result:not([hidden])")
        assert "0.500 0.625 +0.125 (0.063 to 0.188)" in " ".join(window.page.inner_text("#training-result").split())
        with window.page.context.expect_page() as compared:
            window.page.click("#training-link a")
        assert compared.value.inner_text("h1") == "Before and after"
        window.close()


CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => {
    const f = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const back = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0.6) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".hidden, svg") || e.disabled) continue;
    const a = lum(parse(getComputedStyle(e).color)), b = lum(back(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return bad; }"""

UNNAMED = """() => [...document.querySelectorAll("button, select, a, [role=progressbar], [role=application]")]
  .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute("aria-label")
    || e.getAttribute("aria-labelledby") || e.closest("label"))).map((e) => e.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_at_every_width(opened: Opened, width: int, scheme: str) -> None:
    window = opened(width=width, color_scheme=scheme)
    window.at(0)
    window.keys("b", "g")
    window.saved()
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    assert window.page.evaluate(CONTRAST) == []
    assert window.page.evaluate(UNNAMED) == []
    for button, dialog in (("#open-help", "#help"), ("#open-training", "#training")):
        window.page.click(button)
        window.page.wait_for_selector(f"{dialog}[open]")
        assert window.page.evaluate(CONTRAST) == []
        box = window.page.locator(dialog).bounding_box()
        assert box is not None
        assert box["width"] <= width
        window.keys("Escape")


def test_a_long_queue_keeps_few_rows_in_the_page(browser: Browser, tmp_path: Path) -> None:
    session = make_session(tmp_path, ["a.png"])
    session.store.pictures = [session.store.pictures[0]] * 5000
    with served(session) as address:
        window = Window(browser, address)
        window.at(0)
        window.until(lambda: window.page.locator("#rows button").count() > 5)
        window.page.evaluate("document.getElementById('rows').scrollTop = 4990 * 66")
        window.until(lambda: window.page.locator("#rows button[data-index='4999']").count() == 1)
        assert window.page.locator("#rows button").count() < 60
        window.close()
