"""A picture of near-duplicates, for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weakspot.data.images import read_image
from weakspot.data.near_duplicates import NearDuplicates
from weakspot.data.preprocess import fit_within
from weakspot.types import Sample
from weakspot.utils.files import atomic_path

SHOWN = 30
"""Pairs in the picture: the most doubtful ones of all that hold a group together."""

THUMBNAIL = 200


def write_pairs(path: Path, samples: Sequence[Sample], found: NearDuplicates) -> None:
    """Write the most doubtful near-duplicates side by side as PNG, each pair with its labels and agreement.

    Args:
        path: the file to write.
        samples: the images that were compared, in order.
        found: near-duplicates among them, at least one pair.
    """
    pairs = found.links()[:SHOWN]
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
            axes.set_title(f"{samples[position].defect}  {samples[position].path.name[-20:]}", fontsize=6)
        grid[2 * number].text(0, 1.16, f"{score:.2f}", transform=grid[2 * number].transAxes, fontsize=9, weight="bold")
    figure.suptitle(
        f"{found.repeated} of {found.images} images belong to {found.n_groups} groups that show the same part. "
        f"The {len(pairs)} most doubtful links (agreement from {found.limit:.2f}; different parts {found.usual:.2f}):",
        fontsize=9,
    )
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, dpi=110, format="png")
