"""A picture of each alarm: the mean Good picture, the mean defective one, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weakspot.data.finding_words import Place
from weakspot.data.findings import Shortcut
from weakspot.data.images import read_image
from weakspot.data.measurements import GRID, Values
from weakspot.report.glyphs import any_name
from weakspot.types import ImageArray, Sample
from weakspot.utils.files import atomic_path
from weakspot.utils.spread import spread_evenly

AVERAGED = 60
"""Pictures of each class that a mean is made of, at most."""

SIDE = 256
CROP = 96
OUTLINE = "#d7191c"


@any_name()
def write_alarms(
    folder: Path, samples: Sequence[Sample], values: Values | None, shortcuts: Sequence[Shortcut]
) -> list[str]:
    """Write a picture of each alarm as PNG.

    A difference of light or of a place is shown by the mean of each class and their difference, with the places
    outlined; one of focus or file by the middle of a typical picture of each class, enlarged.

    Args:
        folder: for the files, ``alarm_1.png`` and so on.
        samples: the images that were compared.
        values: ``(n, measurements)`` of the same images.
        shortcuts: what was found.

    Returns:
        Names of the files, in the order of `shortcuts`.

    Raises:
        WeakspotError: when an image cannot be read; the message names it.
    """
    names: list[str] = []
    means: tuple[ImageArray, ImageArray] | None = None
    for number, shortcut in enumerate(shortcuts, start=1):
        if values is not None and shortcut.cause in ("focus", "file", "size"):
            figure = _typical(samples, values, shortcut)
        else:
            means = means or (_mean(samples, good=True), _mean(samples, good=False))
            figure = alarm_figure(*means, shortcut.places if shortcut.cause == "place" else ())
        names.append(f"alarm_{number}.png")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / names[-1]) as temporary:
            FigureCanvasAgg(figure).print_figure(temporary, dpi=100, format="png")
    return names


def alarm_figure(good: ImageArray, defective: ImageArray, places: Sequence[Place]) -> Figure:
    """Show two mean pictures and their difference, with places outlined.

    Args:
        good: uint8 RGB ``(H, W, 3)``.
        defective: of the same size.
        places: ``(x0, y0, x1, y1)`` as shares of width and height; cells of the grid; none for a whole picture.
    """
    difference, times = _difference(good, defective)
    figure = _figure(good.shape[0] / good.shape[1], 3)
    enlarged = "difference" if times < 1.5 else f"difference, {times:.0f} times"
    titles = ("mean of Good pictures", "mean of defective pictures", enlarged)
    for axes, picture, title in zip(figure.axes, (good, defective, difference), titles, strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=9)
        _outline(axes, places, picture.shape[0], picture.shape[1])
    return figure


def _figure(ratio: float, panels: int) -> Figure:
    figure = Figure(figsize=(2.9 * panels, 2.8 * min(ratio, 1.6) + 0.35), layout="constrained")
    for axes in figure.subplots(1, panels, squeeze=False).ravel():
        axes.axis("off")
    return figure


def _difference(good: ImageArray, defective: ImageArray) -> tuple[ImageArray, float]:
    """Defective minus Good on mid-grey, enlarged until it is seen, and by how much."""
    change = defective.astype(np.float64) - good
    times = float(np.clip(100 / max(float(np.quantile(np.abs(change), 0.999)), 1e-9), 1, 20))
    return np.clip(127.5 + times * change, 0, 255).astype(np.uint8), times


def _outline(axes: Axes, places: Sequence[Place], height: int, width: int) -> None:
    """Draw the sides of all cells that no other cell of the places touches."""
    cells = {(round(x0 * GRID), round(y0 * GRID)) for x0, y0, _, _ in places}
    step_x, step_y = width / GRID, height / GRID
    for x, y in cells:
        left, top, right, bottom = x * step_x, y * step_y, (x + 1) * step_x, (y + 1) * step_y
        sides = {
            (x - 1, y): ((left, left), (top, bottom)), (x + 1, y): ((right, right), (top, bottom)),
            (x, y - 1): ((left, right), (top, top)), (x, y + 1): ((left, right), (bottom, bottom)),
        }  # fmt: skip
        for neighbour, (xs, ys) in sides.items():
            if neighbour not in cells:
                axes.plot(np.array(xs) - 0.5, np.array(ys) - 0.5, color=OUTLINE, linewidth=2, clip_on=False)
    if cells:
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)


def _mean(samples: Sequence[Sample], *, good: bool) -> ImageArray:
    """Mean of up to :data:`AVERAGED` pictures of a class, evenly drawn, brought to the size of the first of all."""
    height, width = read_image(samples[0].path).shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    own = [sample for sample in samples if sample.is_good == good]
    chosen = spread_evenly(own, AVERAGED)
    total: npt.NDArray[np.float64] = np.zeros((size[1], size[0], 3))
    for sample in chosen:
        total += cv2.resize(read_image(sample.path), size, interpolation=cv2.INTER_AREA)
    return np.rint(total / max(len(chosen), 1)).astype(np.uint8)


def _typical(samples: Sequence[Sample], values: Values, shortcut: Shortcut) -> Figure:
    """The middle of the picture of each class whose measure is the median of its class, enlarged."""
    column = values[:, shortcut.columns[0]]
    figure = _figure(1.0, 2)
    for axes, good in zip(figure.axes, (True, False), strict=True):
        own = [i for i, sample in enumerate(samples) if sample.is_good == good and not np.isnan(column[i])]
        median = float(np.median(column[own])) if own else 0.0
        chosen = min(own, key=lambda i: abs(column[i] - median)) if own else 0
        picture = read_image(samples[chosen].path)
        if shortcut.cause != "size":
            y, x = (max(0, (side - CROP) // 2) for side in picture.shape[:2])
            picture = picture[y : y + CROP, x : x + CROP]
        axes.imshow(picture, interpolation="nearest")
        kind = "Good" if good else "defective"
        part = f"{picture.shape[0]}×{picture.shape[1]} px" if shortcut.cause == "size" else "middle, enlarged"
        axes.set_title(f"a typical {kind} picture ({part})", fontsize=9)
    return figure
