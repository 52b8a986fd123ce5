"""Is the class called Good the right one? A question where that is doubtful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from weakspot.data.classes import GOOD_WORDS, plain
from weakspot.data.measurements import CELLS, Values
from weakspot.types import Sample

VARIES = 1.25
"""Good pictures that differ from one another by this factor more than defective ones are doubtful."""

FEWEST = 10
"""Pictures of each class below which their variation says nothing."""


def doubt(samples: Sequence[Sample], values: Values, good_class: str) -> str | None:
    """Ask whether the class called Good is the right one.

    Args:
        samples: with their labels.
        values: :func:`~weakspot.data.measurements.measure_all` of the same images, ``(n, measurements)``.
        good_class: what Good images are called.

    Returns:
        A question with the option to use; None where nothing speaks against the class.
    """
    good = np.array([sample.is_good for sample in samples], dtype=bool)
    counts = Counter(sample.defect for sample in samples if not sample.is_good)
    if not counts or not good.any():
        return None
    named = next((name for name in sorted(counts) if plain(name) in GOOD_WORDS), None)
    known = plain(good_class) in GOOD_WORDS
    if named is not None and not known:
        return (
            f"Is {good_class!r} the Good class? Another class is called {named!r}; if that is the Good one, use "
            f"--good-class {named}"
        )
    rarer, varies = bool(good.sum() < (~good).sum()), _varies_more(values, good)
    reasons = [
        f"there are {int(good.sum())} Good pictures and {int((~good).sum())} others" if rarer else "",
        "Good pictures differ more from one another than the others do" if varies else "",
    ]
    if (rarer and varies) or (not known and (rarer or varies)):
        why, other = " and ".join(reason for reason in reasons if reason), counts.most_common(1)[0][0]
        return f"Is {good_class!r} the Good class? Here {why}; if {other!r} is the Good one, use --good-class {other}"
    return None


def _varies_more(values: Values, good: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> bool:
    """Whether most cells vary clearly more among Good pictures than among the others."""
    if min(good.sum(), (~good).sum()) < FEWEST:
        return False
    cells = values[:, :CELLS]
    cells = cells[:, ~np.isnan(cells).any(axis=0)]
    if not cells.shape[1]:
        return False
    spreads = [np.subtract(*np.quantile(cells[of], [0.75, 0.25], axis=0)) for of in (good, ~good)]
    return float(np.median(spreads[0] / np.maximum(spreads[1], 1e-6))) > VARIES
