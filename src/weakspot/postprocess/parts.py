"""One decision for all photographs of a part: their log-odds are averaged. NumPy only, as exported models use it.

Photographs of one part under several exposures err differently, so that their mean is surer than each of them (Kittler
et al., "On Combining Classifiers", TPAMI 1998, the product rule, with equal weights that sum to one).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weakspot.types import FloatArray

LEAST = 1e-12
"""A probability counts as at least this: a single photograph must not outweigh all others without end."""


def together(probabilities: FloatArray) -> npt.NDArray[np.float64]:
    """Class probabilities of a part from those of its photographs.

    Args:
        probabilities: ``(n, classes)``, 0…1, of its n photographs, at least one.

    Returns:
        ``(classes,)``, proportional to their geometric mean; for two classes the log-odds are the mean log-odds.

    Examples:
        Odds of 9 to 1 and of 1 to 4 against a defect come to √(9/4) = 1.5 to 1:

        >>> together(np.array([[0.9, 0.1], [0.2, 0.8]])).round(3).tolist()
        [0.6, 0.4]
    """
    logs = np.log(np.clip(np.asarray(probabilities, dtype=np.float64), LEAST, 1)).mean(axis=0)
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum())
