"""Pictures of alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakspot.data.findings import Shortcut
from weakspot.data.images import inspect_images, read_image
from weakspot.data.measurements import COLUMNS, GRID, measure_all
from weakspot.report.alarms import alarm_figure, write_alarms
from weakspot.types import Sample

CORNER = (0.0, 0.0, 1 / GRID, 1 / GRID)
BESIDE = (1 / GRID, 0.0, 2 / GRID, 1 / GRID)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Four Good and four defective pictures; these are bright in the corner."""
    made = []
    for number in range(8):
        picture = np.full((40, 64, 3), 60, np.uint8)
        picture[:5, :8] = 220 if number % 2 else 60
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        made.append(Sample(tmp_path / f"{number}.png", "scratch" if number % 2 else "good"))
    return made


def shortcut(kind: str, name: str) -> Shortcut:
    column = next(n for n, (measure, of, _) in enumerate(COLUMNS) if (measure, of) == (name, kind))
    place = COLUMNS[column][2]
    places = () if place is None else (place,)
    return Shortcut(name, place, kind, "label", 0.9, 0.001, 8, places=places, images=8, columns=(column,))


def test_every_cause_gets_a_picture(tmp_path: Path, samples: list[Sample]) -> None:
    values = measure_all(inspect_images([sample.path for sample in samples]))
    found = [
        shortcut("place", "brightness"), shortcut("picture", "contrast"), shortcut("picture", "sharpness or grain"),
        shortcut("file", "JPEG quality"), shortcut("file", "height"),
    ]  # fmt: skip
    names = write_alarms(tmp_path / "figures", samples, values, found)
    assert names == [f"alarm_{number}.png" for number in range(1, 6)]
    for name in names:
        assert read_image(tmp_path / "figures" / name).std() > 5
    assert write_alarms(tmp_path / "none", samples, values, []) == []
    assert not (tmp_path / "none").exists()


def test_the_outline_goes_round_all_places_and_not_between_them() -> None:
    good = np.full((40, 64, 3), 60, np.uint8)
    figure = alarm_figure(good, good + 10, [CORNER, BESIDE])
    assert [axes.get_title() for axes in figure.axes] == [
        "mean of Good pictures", "mean of defective pictures", "difference, 10 times",
    ]  # fmt: skip
    for axes in figure.axes:
        assert len(axes.lines) == 6  # of eight sides the one between the two is drawn for neither
        assert max(max(line.get_xdata()) for line in axes.lines) == 2 * 64 / GRID - 0.5
        assert max(max(line.get_ydata()) for line in axes.lines) == 40 / GRID - 0.5
