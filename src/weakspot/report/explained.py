"""Pictures of an explanation: one method in full, or all methods side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from weakspot.data.preprocess import fit_within
from weakspot.explain.compare_methods import Compared
from weakspot.explain.explanation import Explanation
from weakspot.heatmaps.layers import Layers
from weakspot.heatmaps.methods import METHODS
from weakspot.heatmaps.scaling import Maps, scale_after_relu
from weakspot.report.glyphs import any_name
from weakspot.report.overlays import BOX_COLOUR, blend
from weakspot.types import Box, ImageArray
from weakspot.utils.files import atomic_path

LONGEST = 640
JET_OPACITY = 0.4
CLASSES = 5
"""Classes that are listed."""

COLUMNS = 3


def jet_overlay(image: ImageArray, map_: Maps, opacity: float = JET_OPACITY) -> ImageArray:
    """Lay a map over a picture as the Keras Grad-CAM tutorial does: `opacity` times jet colours, added to the picture.

    The map is rectified, divided by its highest value and coloured in 256 steps; the sum is stretched from its lowest
    to its highest value, as ``array_to_img`` does, to 0…255. It serves to compare with other tools' pictures: jet shows
    edges where there are none, and so :func:`~weakspot.report.overlays.blend` is our default.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        map_: ``(H, W)``, any range.
        opacity: weight of the colours, 0…1.
    """
    steps = np.asarray(255 * scale_after_relu(map_), dtype=np.uint8)
    colours = np.asarray(mpl.colormaps["jet"](np.arange(256))[:, :3] * 255, dtype=np.float32)
    added = image.astype(np.float32) + np.float32(opacity) * colours[steps]
    added -= added.min()
    return np.asarray(added / max(float(added.max()), 1e-6) * 255, dtype=np.uint8)


def write_explanation(path: Path, explanation: Explanation) -> None:
    """Write one picture (PNG): the regions, both overlays, what would change the decision, and the numbers in words.

    Args:
        path: the PNG file to write.
        explanation: of one picture.
    """
    image, over = _shrunk(explanation.image, explanation.over)
    scale = image.shape[0] / explanation.image.shape[0]
    change = explanation.change
    figure = Figure(figsize=(13, 5), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(3.7, 1.3))
    axes = [figure.add_subplot(grid[0, column]) for column in range(4)]
    _show(axes[0], _with_boxes(image, [region.box for region in explanation.regions], scale), "evidence by region")
    shown = _drawn(explanation.method, over)
    _show(axes[1], blend(image, shown), f"{explanation.method} of {_short(explanation.target)}")
    _show(axes[2], jet_overlay(image, shown), "the same in jet, 0.4")
    if change is None:
        _show(axes[3], image, _no_change(explanation))
    else:
        erased = _shrunk(change.picture, explanation.over)[0]
        _show(axes[3], erased, f"without {change.area:.0%} of it: {_short(change.label)} {change.confidence:.2f}")
    words = figure.add_subplot(grid[1, :])
    words.axis("off")
    columns = ("\n".join(classes_in_words(explanation)), "\n".join(regions_in_words(explanation)))
    for x, text in zip((0.0, 0.42), columns, strict=True):
        words.text(x, 1, text, va="top", fontsize=9, family="monospace", transform=words.transAxes)
    _write(path, figure)


def classes_in_words(explanation: Explanation) -> list[str]:
    """The likeliest classes with their confidences and ids, one line each."""
    lines = [
        f"{value:6.3f}  {_short(name)} ({k}){'  <- decided' if k == explanation.decided else ''}"
        for name, k, value in explanation.classes[:CLASSES]
    ]
    more = len(explanation.classes) - CLASSES
    if more > 0:
        lines.append(f"… and {more} more")
    if explanation.classes and explanation.classes[0][1] != explanation.decided:
        lines.append("the likeliest is not decided for: the threshold was set on held-out pictures")
    return lines


def parts_in_words(explanation: Explanation) -> list[str]:
    """What each part of the model says, in a line; none where the classifier alone decides."""
    if not explanation.part_log_odds:
        return []
    parts = ", ".join(f"{name} {value:+.1f}" for name, value in explanation.part_log_odds.items())
    return [f"log-odds of a defect: {parts}; their mean makes the class"]


def regions_in_words(explanation: Explanation) -> list[str]:
    """What each region contributes to the confidence, and what would change the decision, one line each."""
    confidence = next(value for _, k, value in explanation.classes if k == explanation.target_id)
    lines = [
        f"region {number} of the map at {region.box.xyxy}: {region.share:.0%} of it; "
        f"without it {confidence:.3f} -> {region.confidence:.3f}"
        for number, region in enumerate(explanation.regions, start=1)
    ]
    if not lines:
        lines = [f"nothing in this map speaks for {explanation.target}"]
    change = explanation.change
    if change is not None:
        boxes = ", ".join(str(box.xyxy) for box in change.boxes)
        area = "less than 0.1%" if change.area < 0.0005 else f"{change.area:.1%}"
        return [*lines, f"if {area} of the picture were hidden, {boxes}, the decision would be {change.label}"]
    return [*lines, _no_change(explanation)]


def _no_change(explanation: Explanation) -> str:
    if explanation.target_id != explanation.decided:
        return f"not the class decided for, so nothing to change ({_short(explanation.target)})"
    return "hiding no hot part changes the decision"


def write_sheet(path: Path, image: ImageArray, found: Sequence[Compared], title: str) -> None:
    """Write all methods side by side as one figure (PNG), each with its time and its faithfulness.

    Args:
        path: the PNG file to write.
        image: the picture, uint8 RGB ``(H, W, 3)``.
        found: one for each method.
        title: stands above the figure.
    """
    _write(path, sheet_figure(image, found, title))


def sheet_figure(image: ImageArray, found: Sequence[Compared], title: str, columns: int = COLUMNS) -> Figure:
    """Show all methods side by side, each with its time and its faithfulness.

    Args:
        image: the picture, uint8 RGB ``(H, W, 3)``.
        found: one for each method; one without a map is shown as not available for this network.
        title: stands above the figure.
        columns: pictures in a row.
    """
    rows = math.ceil((len(found) + 1) / columns)
    height, width = image.shape[:2]
    figure = Figure(figsize=(3.6 * columns, (3.6 * height / width + 0.4) * rows), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for panel in panels:
        panel.axis("off")
    _show(panels[0], fit_within(image, LONGEST), "the picture")
    for panel, each in zip(panels[1:], found, strict=False):
        if each.over is None:
            panel.text(0.5, 0.5, "not for this network", ha="center", transform=panel.transAxes, fontsize=9)
            panel.set_title(each.method, fontsize=9)
            continue
        small, over = _shrunk(image, each.over)
        faithful = f", ROAD {each.road:+.3f}" if math.isfinite(each.road) else ""
        caption = f"{each.method}: {_time(each.seconds)}{faithful}"
        _show(panel, blend(small, _drawn(each.method, over)), caption)
    return figure


def compared_in_words(each: Compared) -> str:
    """Say in a line how long a method took and how faithful it is.

    Args:
        each: one method on one picture.
    """
    if each.map is None:
        return f"{each.method}: {each.why_not}"
    return f"{each.method}: {_time(each.seconds)}" + (f", ROAD {each.road:+.3f}" if math.isfinite(each.road) else "")


def comparison_table_of(found: Sequence[Compared]) -> Table:
    """List time and faithfulness of every method, for the terminal."""
    table = Table(title="heat maps of one picture; ROAD: faithfulness, higher is better", title_justify="left")
    for name in ("heatmap", "time", "ROAD", ""):
        table.add_column(name, justify="right" if name in ("time", "ROAD") else "left")
    for each in sorted(found, key=lambda each: -each.road if math.isfinite(each.road) else math.inf):
        known = each.map is not None
        table.add_row(
            each.method,
            _time(each.seconds) if known else "–",
            f"{each.road:+.3f}" if known else "–",
            each.why_not,
        )
    return table


def layers_table(layers: Layers, title: str) -> Table:
    """List every layer with its output and whether a heat map can be taken there, for the terminal.

    Args:
        layers: of one network at one input size.
        title: of the table.
    """
    table = Table(title=title, title_justify="left")
    for name in ("layer", "alias", "type", "output", "parameters", "", "target"):
        table.add_column(name, justify="right" if name == "parameters" else "left", no_wrap=name != "type")
    default = layers.deepest_convolution().name if any(layer.usable and layer.convolution for layer in layers) else ""
    for layer in layers:
        held = "–" if not layer.parameters else "trained" if layer.trained else "frozen"
        usable = "default" if layer.name == default else "yes" if layer.usable else "no"
        shape = "×".join(str(side) for side in layer.shape)
        table.add_row(layer.name, layer.also, layer.kind, shape, f"{layer.parameters:,}", held, usable)
    return table


def _shrunk(image: ImageArray, over: Maps) -> tuple[ImageArray, Maps]:
    small = fit_within(image, LONGEST)
    resized = cv2.resize(over, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    return small, np.asarray(resized, dtype=np.float32)


def _drawn(method: str, over: Maps) -> Maps:
    """What is drawn of a map: nothing negative, and of single pixels no more than their highest hundredth."""
    positive = np.maximum(over, 0)
    pixelwise = method in METHODS and METHODS[method].pixelwise
    return np.minimum(positive, np.quantile(positive, 0.99)) if pixelwise else positive


def _with_boxes(image: ImageArray, boxes: Sequence[Box], scale: float) -> ImageArray:
    canvas = image.copy()
    for number, box in enumerate(boxes, start=1):
        x0, y0, x1, y1 = (round(v * scale) for v in box.xyxy)
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), BOX_COLOUR, 2)
        at = (x0 + 4, min(y0 + 20, canvas.shape[0] - 4))
        cv2.putText(canvas, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, BOX_COLOUR, 2, cv2.LINE_AA)
    return canvas


def _show(axes: Axes, image: ImageArray, title: str) -> None:
    axes.imshow(image)
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


@any_name()
def _write(path: Path, figure: Figure) -> None:
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, dpi=110, format="png")
