"""The pictures that a new one is compared with, in bounded memory, and the p-values of the comparison.

A new picture's p-value is its rank among the reference and itself, ties broken at random. Then it joins the reference,
and once that is full, one of all of them, the new one among them, is dropped at random. If the order of the pictures
means nothing, the p-values are independent and uniform, whatever the values are like: among the reference and the new
picture the new one is equally likely to be any, and what the reference becomes does not depend on which it was, so that
later p-values know nothing of it. (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, prove it
for a reference that keeps everything; a fixed reference would not do, since all p-values would share its luck.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST = 1000
"""Pictures in a reference; it forgets slowly, as each new one replaces one in a thousand."""


class Reference:
    """Values of earlier pictures.

    Args:
        streams: number of values of each picture.
        rows: values to begin with, ``(n, streams)``, n at most :data:`MOST`; NaN for what was not measured.
    """

    def __init__(self, streams: int, rows: npt.ArrayLike | None = None) -> None:
        self._columns = np.zeros((streams, MOST), dtype=np.float32)  # a stream's values beside each other: faster
        self._count, self._gaps = 0, False
        if rows is not None:
            first = np.asarray(rows, dtype=np.float32).reshape(-1, streams)
            self._count, self._gaps = len(first), bool(np.isnan(first).any())
            self._columns[:, : self._count] = first.T

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """Of the pictures that it holds, ``(n, streams)``."""
        return self._columns[:, : self._count].T

    def compare(self, row: Floats, random: np.random.Generator) -> Floats:
        """The p-values of a new picture, which joins the reference.

        Args:
            row: its values, ``(streams,)``; NaN for what was not measured.
            random: breaks ties, and says which is dropped.

        Returns:
            ``(streams,)``, 0…1, low for a low value; NaN for what was not measured.
        """
        new, held = row.astype(np.float32), self._columns[:, : self._count]
        missing = np.isnan(new)
        self._gaps = self._gaps or bool(missing.any())
        below = np.count_nonzero(held < new[:, None], axis=1)
        same = np.count_nonzero(held == new[:, None], axis=1)
        known = self._count - np.count_nonzero(np.isnan(held), axis=1) if self._gaps else self._count
        p = (below + random.random(len(new)) * (same + 1)) / (known + 1)
        if self._count < MOST:
            self._columns[:, self._count] = new
            self._count += 1
        elif (dropped := int(random.integers(MOST + 1))) < MOST:
            self._columns[:, dropped] = new
        return np.where(missing, np.nan, p)
