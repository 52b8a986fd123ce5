"""``weakspot check``: what it says of its options, and where it writes; and what an interrupted verb is told by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from weakspot.cli.data import option_value
from weakspot.cli.main import app, was_interrupted
from weakspot.errors import WeakspotError


@pytest.fixture
def photos(here: Path) -> Path:
    for name in ("OK/1.png", "NG/1.png"):
        (here / "photos" / name).parent.mkdir(parents=True)
        (here / "photos" / name).touch()
    return here / "photos"


@pytest.mark.usefixtures("photos")
def test_an_option_that_is_one_of_check_is_no_traceback() -> None:
    result = CliRunner().invoke(app, ["check", "photos", "--option", "good_class=OK"])
    assert isinstance(result.exception, WeakspotError)
    assert str(result.exception) == (
        "--option good_class is not an option of data=folder; set --good-class instead; it takes none"
    )


def test_yes_and_no_are_no_texts() -> None:
    assert [option_value(text) for text in ("true", "False", "labels.csv")] == [True, False, "labels.csv"]


def test_pictures_of_the_folder_one_is_in_have_its_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    for number, name in enumerate(("OK/1.png", "OK/2.png", "NG/1.png", "NG/2.png", "NG/3.png")):
        (here / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values[min(number, 3)]).save(here / "photos" / name)
    monkeypatch.chdir(here / "photos")
    CliRunner().invoke(app, ["check", ".", "--pairs", str(here / "pairs")])
    assert [path.name for path in (here / "pairs").iterdir()] == ["photos.png"]


def test_an_error_that_an_interrupt_led_to_is_known_however_far_away() -> None:
    for first, expected in ((KeyboardInterrupt(), True), (OSError(), False)):
        error: BaseException = first
        for _ in range(40):
            above = ValueError()
            above.__cause__ = above.__context__ = error
            error = above
        first.__cause__ = first  # as OmegaConf's errors are
        assert was_interrupted(error) is expected
