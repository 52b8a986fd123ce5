"""``weakspot check``: what it says of its options, and where it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from weakspot.cli.data import option_value
from weakspot.cli.main import app
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
