"""A picture of near-duplicates, certain and possible ones, for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weakspot.data.images import read_image
from weakspot.data.near_duplicates import NearDuplicates
from weakspot.data.preprocess import fit_within
from weakspot.data.repeats import certain_words, possible_words
from weakspot.report.glyphs import any_name, drawable
from weakspot.types import Sample
from weakspot.utils.files import atomic_path

SHOWN, POSSIBLE = 30, 9
"""Pairs in the picture: the most doubtful of those that hold a group together, and the most alike of the possible."""

THUMBNAIL = 200


@any_name()
def write_pairs(path: Path, samples: Sequence[Sample], found: NearDuplicates) -> None:
    """Write the most doubtful near-duplicates side by side as PNG, each pair with its labels, agreement and grade.

    Args:
        path: the file to write.
        samples: the images that were compared, in order.
        found: near-duplicates among them, at least one pair, certain or possible.
    """
    certain = found.links()[:SHOWN]
    pairs = [*certain, *found.possible[:POSSIBLE]]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for number, (first, second, score) in enumerate(pairs):
        for axes, position in zip(grid[2 * number :], (first, second), strict=False):
            picture = read_image(samples[position].path)
            axes.imshow(fit_within(picture, THUMBNAIL))
            name = drawable(f"{samples[position].defect}  {samples[position].path.name[-20:]}")
            axes.set_title(name, fontsize=6)
        grade = "" if number < len(certain) else " possible"
        grid[2 * number].text(
            0, 1.16, f"{score:.2f}{grade}", transform=grid[2 * number].transAxes, fontsize=9, weight="bold"
        )
    lines = [f"{words}." for words in (certain_words(found), possible_words(found)) if words]
    shown = f"The {len(certain)} most doubtful links of groups" if certain else "No certain ones"
    shown += f", and {len(pairs) - len(certain)} possible pairs" if len(pairs) > len(certain) else ""
    lines.append(f"{shown} (agreement when small; of pairs drawn by lot {found.usual:.2f}):")
    figure.suptitle("\n".join(lines), fontsize=8)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, dpi=110, format="png")
