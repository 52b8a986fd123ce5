"""Statistics of training pictures that new ones are compared with; no label is looked at, and no held-out picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.models.familiarity import FamiliarityHead, pooled
from weakspot.models.feature_cache import FeatureCache, view_features
from weakspot.models.network import CamNet
from weakspot.postprocess.familiarity import NEAREST, Familiarity, packed
from weakspot.types import Look, ModelOutput, Size
from weakspot.utils import console

Floats = npt.NDArray[np.float64]

RECOGNISING = "what the pictures are like"
"""Name of the stage, in lines of progress."""

MOST_PICTURES = 400
"""Training pictures that statistics are made of at most."""

FEWEST_PICTURES = 8
"""Training pictures without which there are none."""

FOLDS = 5
"""Pictures are left out in so many turns, those of a group together, to see how far such pictures lie."""

RANK = 48
"""Leading directions whose variance is known at each tap."""

LEAST_SHRINKAGE = 1e-3
LEAST_SPREAD = 0.05
"""Of the logarithm of a distance, for pictures that are all the same."""


@dataclass(frozen=True)
class Directions:
    """A covariance whose small variances are one.

    Attributes:
        centre, scale: mean and deviation of each value, ``(d,)``.
        basis: orthonormal directions in scaled values, ``(d, rank)``.
        weight: inverse variance along each, ``(rank,)``.
        rest: inverse variance along every other direction.
    """

    centre: Floats
    scale: Floats
    basis: Floats
    weight: Floats
    rest: float

    def log_distances(self, values: Floats) -> Floats:
        """Logarithms of mean squared distances of ``(n, d)``."""
        apart = (values - self.centre) / self.scale
        along = apart @ self.basis
        beside = np.maximum((apart**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray(np.log(((along**2) @ self.weight + beside * self.rest) / values.shape[1] + NEAREST))


def fit_directions(values: Floats, rank: int = RANK) -> Directions:
    """Fit a covariance that is shrunken as Ledoit and Wolf (2004) have it, on values scaled to a deviation of 1.

    Args:
        values: ``(n, d)``, n at least 2.
        rank: leading directions whose own variance is kept; of the others the mean variance is taken.
    """
    centre, spread = values.mean(axis=0), values.std(axis=0)
    scale = np.maximum(spread, 1e-3 * max(1e-12, float(np.median(spread))))
    scaled = (values - centre) / scale
    n, d = scaled.shape
    # One variance for the rest, so that the sum of all is kept.
    _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
    variances, kept = singular**2 / n, min(rank, n - 1, d)
    mean = float(variances.sum() / d)
    share = max(LEAST_SHRINKAGE, float(ledoit_wolf_shrinkage(scaled, assume_centered=True)))
    left = float(variances[kept:].sum() / (d - kept)) if d > kept else 0.0
    least = 1e-12  # of pictures that are all the same
    weight = 1 / np.maximum((1 - share) * variances[:kept] + share * mean, least)
    return Directions(centre, scale, directions[:kept].T, weight, 1 / max((1 - share) * left + share * mean, least))


@dataclass(frozen=True)
class FittedFamiliarity:
    """What is known of training pictures.

    Attributes:
        head: distances of frozen features.
        known: all else, still without held-out pictures.
    """

    head: FamiliarityHead
    known: Familiarity

    def distances(self, outputs: Sequence[ModelOutput]) -> list[float]:
        """How unusual pictures are, each as one number.

        Args:
            outputs: for these pictures, with distances and looks.
        """
        return [self.known.measures(output)["distance"] for output in outputs]

    def calibrated(self, distances: Sequence[float], targets: Sequence[int], sizes: Sequence[Size]) -> Familiarity:
        """Complete it with held-out pictures.

        Args:
            distances: of the held-out pictures, from statistics that they had no part in.
            targets: their classes; 0 is Good.
            sizes: their ``(height, width)``.
        """
        kinds = [[d for d, target in zip(distances, targets, strict=True) if (target == 0) == good] for good in (1, 0)]
        heights, widths = ([*span, *side] for span, side in zip(self._spans, zip(*sizes, strict=True), strict=True))
        return replace(
            self.known,
            good=tuple(sorted(kinds[0])),
            defective=tuple(sorted(kinds[1])),
            heights=(min(heights), max(heights)),
            widths=(min(widths), max(widths)),
        )

    @property
    def _spans(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return self.known.heights, self.known.widths


def fit_familiarity(
    network: CamNet,
    taps: Sequence[str],
    items: Sequence[ImageView],
    preprocess: Preprocess,
    cache: FeatureCache | None,
    groups: Sequence[int] | None = None,
) -> FittedFamiliarity | None:
    """Fit statistics on training pictures as they are.

    Args:
        network: its frozen part is run where the cache has no features.
        taps: names of the features to use.
        items: training pictures.
        preprocess: what brings them to the network's input.
        cache: of features; None computes them.
        groups: number of the group that each picture belongs to; None puts each into a group of its own.

    Returns:
        None where there are too few pictures.

    Raises:
        WeakspotError: when a picture cannot be read.
    """
    if len(items) < FEWEST_PICTURES:
        return None
    device = next(network.stem.parameters()).device
    rows: list[list[Floats]] = []
    looks: list[Look] = []
    with console.progress_bar(RECOGNISING) as progress, torch.inference_mode():
        for done, view in enumerate(view_features(network, items, preprocess, cache, taps, looks=True), start=1):
            assert view.look is not None  # noqa: S101 - it was asked for
            looks.append(view.look)
            tensors = [torch.from_numpy(array)[None].to(device) for array in view.features]
            rows.append([pooled(tensor)[0].double().cpu().numpy() for tensor in tensors])
            progress(done, len(items))
    template = np.mean([look.thumbnail for look in looks], axis=0).round().astype(np.uint8)
    of_taps = [np.stack(values) for values in zip(*rows, strict=True)]
    plain = np.stack([look.values for look in looks])
    fold = folds_of(range(len(items)) if groups is None else groups)
    scales = [_scale(values, fold, _fit_and_judge) for values in of_taps] + [_scale(plain, fold, _fit_and_judge_plain)]
    fitted = [fit_directions(values) for values in of_taps]
    channels, ranks = ([len(one.centre) // 2 for one in fitted], [len(one.weight) for one in fitted])
    head = FamiliarityHead(taps, channels, ranks)
    for i, one in enumerate(fitted):
        for name in ("centre", "scale", "basis", "weight", "rest"):
            value = torch.from_numpy(np.atleast_1d(np.asarray(getattr(one, name), dtype=np.float32)).copy())
            head.get_buffer(f"{name}_{i}").copy_(value)
    typical, precision = _plain(plain)
    heights, widths = ([getattr(item.image, side) for item in items] for side in ("height", "width"))
    known = Familiarity(
        taps=tuple(taps), channels=tuple(channels), ranks=tuple(ranks),
        centre=tuple(centre for centre, _ in scales), spread=tuple(spread for _, spread in scales),
        typical=tuple(typical.tolist()), precision=tuple(tuple(row) for row in precision.tolist()),
        template=packed(template), good=(), defective=(),
        heights=(min(heights), max(heights)), widths=(min(widths), max(widths)),
    )  # fmt: skip
    return FittedFamiliarity(head.eval().to(device), known)


def _plain(values: Floats) -> tuple[Floats, Floats]:
    """Mean and inverse covariance of plain measures, shrunken on their own scales."""
    centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    covariance, _ = ledoit_wolf((values - centre) / spread, assume_centered=True)
    shrunken = covariance + LEAST_SHRINKAGE * np.eye(len(covariance))
    return centre, np.linalg.inv(shrunken) / np.outer(spread, spread)


def _fit_and_judge(fitted_on: Floats, left_out: Floats) -> Floats:
    return fit_directions(fitted_on).log_distances(left_out)


def _fit_and_judge_plain(fitted_on: Floats, left_out: Floats) -> Floats:
    centre, precision = _plain(fitted_on)
    apart = left_out - centre
    return np.asarray(np.log(np.einsum("ni,ij,nj->n", apart, precision, apart) / apart.shape[1] + NEAREST))


def folds_of(groups: Sequence[int]) -> npt.NDArray[np.int64]:
    """Share whole groups out, each in the order of its first picture to the fold with the fewest pictures.

    Args:
        groups: number of each picture's group.

    Returns:
        ``(n,)``, the fold of each picture, 0 to :data:`FOLDS` - 1. A fold with more than half of the pictures would
        leave too few to judge it by; pictures are shared out one by one then.

    Examples:
        >>> folds_of([7, 7, 3, 4, 5, 6, 9, 3]).tolist(), folds_of([1, 1, 1, 1, 2, 3]).tolist()
        ([0, 0, 1, 2, 3, 4, 2, 1], [0, 1, 2, 3, 4, 0])
    """
    sizes, filled, fold = Counter(groups), [0] * FOLDS, dict[int, int]()
    for group, size in sizes.items():
        fold[group] = filled.index(min(filled))
        filled[fold[group]] += size
    if max(filled) > len(groups) / 2:
        return np.arange(len(groups)) % FOLDS
    return np.array([fold[group] for group in groups], dtype=np.int64)


def _scale(
    values: Floats, fold: npt.NDArray[np.int64], judge: Callable[[Floats, Floats], Floats]
) -> tuple[float, float]:
    """Mean and deviation of the logarithm of the distance, over pictures that were left out in turn."""
    logs = np.concatenate([judge(values[fold != k], values[fold == k]) for k in np.unique(fold)])
    return float(logs.mean()), max(LEAST_SPREAD, float(logs.std()))
