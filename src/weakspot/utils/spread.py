"""A few of many items, at even distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


def spread_indices(n: int, most: int) -> npt.NDArray[np.intp]:
    """Indices of `n` items, or of `most` of them at even distances, the first and the last among them.

    Args:
        n: number of items, at least 0.
        most: how many to choose at most, at least 1; a single one is the first.

    Returns:
        ``(min(n, most),)``, ascending, none twice.

    Examples:
        >>> spread_indices(7, 3).tolist(), spread_indices(2, 3).tolist()
        ([0, 3, 6], [0, 1])
    """
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.intp)


def spread_evenly(items: Sequence[T], most: int) -> list[T]:
    """All items, or `most` of them at even distances; see :func:`spread_indices`.

    Examples:
        >>> spread_evenly("abcdefg", 3), spread_evenly("ab", 3)
        (['a', 'd', 'g'], ['a', 'b'])
    """
    return [items[i] for i in spread_indices(len(items), most)]
