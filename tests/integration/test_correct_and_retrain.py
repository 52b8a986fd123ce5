"""The whole loop in a real browser: train, review, correct ten pictures by keys, retrain, better boxes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import pytest
from helpers.browsing import needs_chromium
from helpers.burns import SIZE, make_burns
from helpers.review_window import Window
from helpers.reviews import served
from helpers.runs import metrics_of, train_config

from weakspot.commands.review import ReviewRequest, prepare_review
from weakspot.commands.train import train
from weakspot.data.images import read_mask
from weakspot.data.splits import read_split
from weakspot.metrics import mask_boxes
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.runs.folder import RunFolder
from weakspot.serve.review_store import ReviewStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [needs_chromium, pytest.mark.slow]

TEN = 10
BETTER = 0.3
"""V2 rises by more than this. Measured once: from 0 to 0.77 as here; from 0 to 0.88 and 0.71 with ten pictures by
lot, seeds 0 and 1; with ten boxes in wrong places it stayed 0 (seed 0)."""

SMALL = (
    "experiment=fast", "model=timm", "model.backbone=timm:test_resnet", "model.weights=none",
    "data.image_size=[64,96]",
    "model.optimizer.lr=0.01", "trainer.max_epochs=3", "trainer.accelerator=cpu",
    "split.test_size=0.4", "split.val_size=0",
    "refine.imitations=24", "refine.location_steps=60", "refine.mask_steps=60",
    "refine.location_refit_steps=0", "refine.correction_steps=100", "refine.statistics=false",
)  # fmt: skip
"""The process that the page starts must know the network too, so it is one of timm's own."""


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Labels alone, where nobody looks for runs but who is told."""
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # or the other process collects fonts anew
    make_burns(here, seed=0)
    data = (f"data.root={here}", "data.subset=burns", "output=outputs/photos")
    return train(train_config(*data, *SMALL))


def test_ten_pictures_corrected_by_keys_make_better_boxes(run: RunFolder, browser: Browser) -> None:
    before = {path: path.read_bytes() for path in run.bundle.iterdir()}
    session = prepare_review(ReviewRequest(run.path))
    assert session.trainings is not None
    with served(session) as address, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(session.trainings.cancel)
        window = Window(browser, address)
        for _ in range(TEN):
            correct_next(window, session.store, true_boxes(run))
        assert [review.state for review in session.store.reviews()].count("reviewed") == TEN
        found = retrained(window)
        assert any("both heads, from what was drawn" in step for step in found)
        row = window.page.locator("#training-result tr", has_text="MaxBoxAccV2").locator("td").all_inner_texts()
        look_at_comparison(window)
        window.close()
    assert {path: path.read_bytes() for path in run.bundle.iterdir()} == before
    (folder,) = (run.path / "review" / "trainings").iterdir()
    new = RunFolder(folder / "run")
    assert "was trained on the same labels" in (folder / "job.log").read_text()
    assert metrics_of(new)["data"]["learnt_from"]["pictures"] == TEN
    assert subset_tested_on(new) == subset_tested_on(run)
    drawn = LocatedOutputs.load(new.drawn)  # trust is calibrated on them too, each as a model without it sees it
    assert (len(drawn), run.drawn.exists()) == (TEN, False)
    assert all(len(boxes) for boxes in drawn.boxes)
    assert not {path.name for path in drawn.outputs.paths} & {path.name for path in subset_tested_on(new)}
    old_v2, new_v2 = (metrics_of(each)["test"]["localisation"]["max_box_acc_v2"]["value"] for each in (run, new))
    assert new_v2 > old_v2 + BETTER
    assert [f"{value:.3f}" for value in (old_v2, new_v2)] == row[:2]


def true_boxes(run: RunFolder) -> dict[Path, list[list[int]]]:
    samples, _ = read_split(run.split, Path.cwd())
    return {s.path: mask_boxes(read_mask(s.mask, SIZE)).tolist() for s in samples if s.mask is not None}


def subset_tested_on(run: RunFolder) -> list[Path]:
    samples, subsets = read_split(run.split, Path.cwd())
    return [sample.path for sample, subset in zip(samples, subsets, strict=True) if subset == "test"]


# --- what a person does with keys -------------------------------------------------------------------------------------


def correct_next(window: Window, store: ReviewStore, truth: dict[Path, list[list[int]]]) -> None:
    """From the picture that is shown on, correct the next defective training picture."""
    while True:
        window.page.wait_for_selector("#loading", state="hidden")
        index = int(window.page.evaluate("location.hash.slice(1)")) - 1
        picture = store.pictures[index]
        if picture.subset == "train" and picture.given != "good" and store.review(index).state == "todo":
            break
        window.keys("n")
        window.until(lambda left=index: window.page.evaluate("location.hash") != f"#{left + 1}")
    for _ in picture.boxes:
        window.keys("b", "Delete")
    window.until(lambda: not store.review(index).boxes)
    for number, true in enumerate(truth[picture.path]):
        draw(window, store, index, number, true)
    window.keys("Enter")
    window.until(lambda: store.review(index).state == "reviewed")
    window.until(lambda: window.page.evaluate("location.hash") != f"#{index + 1}")


def draw(window: Window, store: ReviewStore, index: int, number: int, true: list[int]) -> None:
    """A box in the middle, made no larger than the true one, moved, and then as large."""

    def shown() -> list[int]:
        boxes = store.review(index).boxes
        return list(boxes[number].xyxy) if len(boxes) > number else []

    def press(across: int, down: int, with_: str = "Control") -> None:
        for count, (less, more) in ((across, ("Left", "Right")), (down, ("Up", "Down"))):
            window.keys(*[f"{with_}+Arrow{more if count > 0 else less}"] * abs(count))

    window.keys("d", "ArrowLeft")
    window.until(lambda: bool(shown()))
    x0, y0, x1, y1 = shown()
    width, height = true[2] - true[0], true[3] - true[1]
    press(min(0, width - (x1 - x0)), min(0, height - (y1 - y0)), "Control+Shift")
    press(true[0] - x0, true[1] - y0)
    press(max(0, width - (x1 - x0)), max(0, height - (y1 - y0)), "Control+Shift")
    window.until(lambda: shown() == true, f"{store.pictures[index].name}: a box at {true} was not drawn")


def retrained(window: Window) -> list[str]:
    """Start the training with Tab and Enter and wait for its end; what the page said meanwhile."""
    focused = "document.activeElement.id"
    for button in ("open-training", "training-start"):
        window.until(lambda wanted=button: (window.keys("Tab"), window.page.evaluate(focused))[1] == wanted)
        window.keys("Enter")
    steps = list[str]()
    while not window.page.is_visible("#training-link"):
        steps.append(window.page.inner_text("#training-step"))
        assert not steps[-1].startswith("It failed"), window.page.inner_text("#training")
        window.page.wait_for_timeout(500)
    return steps


def look_at_comparison(window: Window) -> None:
    """Its thumbnails are there, and so are the pictures that it links to."""
    with window.page.context.expect_page() as opened:
        window.page.focus("#training-link a")
        window.keys("Enter")
    page: Page = opened.value
    page.wait_for_selector("#gallery li")
    thumbnails = page.evaluate("Promise.all([...document.images].map((i) => i.decode().then(() => i.naturalWidth)))")
    assert thumbnails
    assert min(thumbnails) > 0
    links: list[str] = page.evaluate("[...document.querySelectorAll('#gallery .name a')].map((a) => a.href)")
    answers: list[Any] = [page.request.get(link) for link in links]
    assert {(answer.status, answer.headers["content-type"]) for answer in answers} == {(200, "image/png")}
    page.focus("#gallery .name a")
    page.keyboard.press("Enter")
    page.wait_for_url(links[0])
    assert page.evaluate("document.images[0].naturalWidth") == SIZE[1]
