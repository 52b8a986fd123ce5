"""Measurements that leave pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from weakspot.data.images import inspect_image
from weakspot.data.measurements import CELLS, COLUMNS, GRID, measure_all, measure_image, of_rows

HEIGHT, WIDTH = 48, 80


def saved(path: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def noisy() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_ignored_pixels_count_nowhere(tmp_path: Path, noisy: np.ndarray) -> None:
    """Whatever is painted into the region, all measures stay, but for bytes, which are only estimated."""
    ignored = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ignored[5:31, 17:52] = True
    painted = noisy.copy()
    painted[ignored] = (255, 0, 0)
    rows = [
        measure_image(inspect_image(saved(tmp_path / name, picture)), ignored)
        for name, picture in (("a.png", noisy), ("b.png", painted))
    ]
    by_bytes = CELLS + 1 + 3
    assert np.delete(rows[0], by_bytes) == pytest.approx(np.delete(rows[1], by_bytes), nan_ok=True)
    assert rows[0][by_bytes] == pytest.approx(rows[1][by_bytes], rel=0.15)


def test_a_cell_without_pixels_is_not_measured(tmp_path: Path, noisy: np.ndarray) -> None:
    ignored = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ignored[:6, :10] = True  # the first cell
    cells = measure_image(inspect_image(saved(tmp_path / "a.png", noisy)), ignored)[:CELLS].reshape(4, GRID, GRID)
    assert np.isnan(cells[:, 0, 0]).all()
    assert np.isnan(cells).sum() == 4


def test_the_mean_of_a_cell_is_that_of_the_pixels_that_are_left(tmp_path: Path) -> None:
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    grey[:6, 5:10] = 255
    info = inspect_image(saved(tmp_path / "a.png", grey))
    ignored = np.zeros((HEIGHT, WIDTH), dtype=bool)
    ignored[:, :5] = True
    assert measure_image(info)[0] == pytest.approx(50, abs=0.1)
    assert measure_image(info, ignored)[0] == pytest.approx(100, abs=0.1)
    everything = np.ones((HEIGHT, WIDTH), dtype=bool)
    assert np.isnan(measure_image(info, everything)[:CELLS]).all()


def test_regions_are_made_for_the_size_of_each_image(tmp_path: Path, noisy: np.ndarray) -> None:
    infos = [inspect_image(saved(tmp_path / f"{n}.png", noisy[: HEIGHT - 8 * n])) for n in range(2)]
    asked: list[tuple[int, int]] = []

    def region(size: tuple[int, int]) -> np.ndarray:
        asked.append(size)
        return np.zeros(size, dtype=bool)

    plain, same = measure_all(infos), measure_all(infos, ignored=[region, lambda _: None], workers=1)
    assert asked == [(HEIGHT, WIDTH)]
    assert same == pytest.approx(plain, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.integers(1, GRID * GRID // 2 - 1))
@settings(max_examples=20, deadline=None)
def test_a_part_that_is_missing_changes_no_other_place(seed: int, changed: int) -> None:
    """Fewer than half of the cells are other ones: what the others are against the rest of the picture stays."""
    rng = np.random.default_rng(seed)
    usual = rng.uniform(20, 80, (4, GRID * GRID))
    rows = np.column_stack([np.repeat(usual.reshape(1, -1), 9, axis=0), np.zeros((9, 8))])
    cells = rng.choice(GRID * GRID, changed, replace=False)
    other = rows.copy()
    other[0, :CELLS].reshape(4, -1)[:, cells] += 10
    relative = slice(CELLS, 2 * CELLS)
    before, after = of_rows(rows)[0, relative], of_rows(other)[0, relative]
    elsewhere = np.setdiff1d(np.arange(GRID * GRID), cells)
    kept = (np.arange(4)[:, None] * GRID * GRID + elsewhere).ravel()
    assert after[kept] == pytest.approx(before[kept])
    assert len(of_rows(rows)[0]) == len(COLUMNS)


def test_exposure_changes_no_relative_measure_of_brightness() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.uniform(20, 80, (9, CELLS)), np.zeros((9, 8))])
    darker = rows.copy()
    darker[0, : GRID * GRID] = (rows[0, : GRID * GRID] + 1) * 0.7 - 1
    relative = slice(CELLS, CELLS + GRID * GRID)
    of_others = of_rows(rows)[1:, relative]
    assert of_rows(darker)[1:, relative] == pytest.approx(of_others, abs=0.3)
    spread = np.ptp(of_rows(darker)[0, relative] - of_rows(rows)[0, relative])
    assert spread == pytest.approx(0, abs=1e-9)


def values_of(bright: np.ndarray) -> np.ndarray:
    """All measures of grey pictures of which the brightness of the cells is given, 0…1 ``(n, GRID, GRID)``."""
    rows = np.zeros((len(bright), CELLS + 8))
    rows[:, : GRID * GRID] = 100 * bright.reshape(len(bright), GRID * GRID)
    return of_rows(rows)


def column(name: str) -> int:
    return COLUMNS.index((name, "picture", None))


SQUARED = ((np.arange(GRID) - 3.5) ** 2)[:, None] / 16 + (np.arange(GRID) - 3.5) ** 2 / 16
PART = np.where(SQUARED < 0.4, 0.6, 0.15)
"""A bright part on a dark table."""


def test_light_that_falls_off_is_told_from_contrast() -> None:
    """More contrast makes a dark table darker too, and it lies at the edge."""
    usual = [PART] * 5
    values = values_of(np.stack([*usual, PART * (1 - 0.1 * SQUARED), (PART - 0.42) * 1.2 + 0.42]))
    at_edge = values[:, column("light at the edge")]
    assert at_edge[5] == pytest.approx(-0.1, abs=0.03)
    assert at_edge[6] == pytest.approx(0, abs=0.01)


def test_a_steeper_tone_curve_raises_its_measure_and_light_from_one_side_does_not() -> None:
    rough = 0.4 * np.exp(np.random.default_rng(0).normal(0, 0.1, (GRID, GRID)))
    slope = np.exp(np.linspace(-0.2, 0.2, GRID))
    spot = rough.copy()
    spot[2, 5] *= 0.3
    of_tone = values_of(np.stack([rough, rough**1.2, rough * slope, spot]))[:, column("tone curve")]
    assert of_tone[1] - of_tone[0] == pytest.approx(2 * np.log(1.2), abs=0.05)
    assert of_tone[2:] == pytest.approx(of_tone[0], abs=0.1)


def test_no_pictures_and_black_ones_have_measures() -> None:
    assert values_of(np.zeros((0, GRID, GRID))).shape == (0, len(COLUMNS))
    assert np.isfinite(values_of(np.zeros((2, GRID, GRID)))[:, column("tone curve")]).all()
    assert np.isfinite(values_of(np.ones((2, GRID, GRID)))[:, column("tone curve")]).all()


def test_thousands_of_pictures_are_measured_in_parts_alike() -> None:
    bright = np.random.default_rng(0).uniform(0.2, 0.8, (600, GRID, GRID))
    at_edge = values_of(bright)[:, column("light at the edge")]
    assert len(at_edge) == 600
    assert at_edge == pytest.approx(values_of(bright[::-1])[::-1, column("light at the edge")])
