"""Names in any script draw without a warning."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from weakspot.metrics.results import ConfusionMatrix
from weakspot.report import figures
from weakspot.report.glyphs import any_name, drawable


def test_a_class_name_that_the_font_lacks_is_no_warning(tmp_path: Path) -> None:
    matrix = ConfusionMatrix(["good", "日本語 ☃ 𝔛"], np.eye(2, dtype=int).tolist())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        figures._write(tmp_path / "matrix", figures.confusion_figure(matrix), drawn=True)
    assert not seen
    assert (tmp_path / "matrix.svg").is_file()


def test_a_class_name_that_is_not_utf_8_is_no_error(tmp_path: Path) -> None:
    matrix = ConfusionMatrix(["good", "Ri\udcdf"], np.eye(2, dtype=int).tolist())
    figures._write(tmp_path / "matrix", figures.confusion_figure(matrix), drawn=True)
    assert (tmp_path / "matrix.svg").is_file()
    assert drawable("Ri\udcdf") == "Ri\\udcdf"
    assert drawable("Riß") == "Riß"


def test_other_warnings_come_through() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with any_name():
            warnings.warn("something else", UserWarning, stacklevel=1)
    assert [str(one.message) for one in seen] == ["something else"]
