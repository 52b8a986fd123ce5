"""One decision for all photographs of a part: their log-odds are averaged. NumPy only, as exported models use it.

Photographs of one part under several exposures err differently, so that their mean is surer than each of them (Kittler
et al., "On Combining Classifiers", TPAMI 1998, the product rule, with equal weights that sum to one).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.postprocess.decision import Decision
from weakspot.types import FloatArray, Prediction
from weakspot.utils.files import atomic_path
from weakspot.utils.patterns import found_text
from weakspot.utils.spreadsheet import inert

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


COLUMNS = ("part", "images", "label", "probability")


class PartDecisions:
    """Collects predictions by part and decides each part once; keeps a few numbers of each part, not its images.

    Args:
        pattern: regular expression on the path; images it gives the same text show one part: its first group, or all
            that it matches. An image that it does not fit is a part of its own.
        classes: class names, ``good`` first.
        decision: from probabilities to a class.

    Raises:
        WeakspotError: when the pattern is no regular expression.
    """

    def __init__(self, pattern: str, classes: Sequence[str], decision: Decision) -> None:
        try:
            self._expression = re.compile(pattern)
        except re.error as error:
            raise WeakspotError(f"--group {pattern} is not a regular expression ({error})") from error
        self._classes, self._decision = list(classes), decision
        self._logs: dict[str, npt.NDArray[np.float64]] = {}
        self._counts = Counter[str]()

    def add(self, prediction: Prediction) -> None:
        """Count an image towards its part; one that could not be read counts towards none."""
        if prediction.status != "ok":
            return
        path = prediction.path.as_posix()
        part = found_text(self._expression, path) or path
        confidences = {known.name: known.confidence for known in prediction.classes}
        logs = np.log(np.clip([confidences[name] for name in self._classes], LEAST, 1))
        self._logs[part] = self._logs.get(part, 0.0) + logs
        self._counts[part] += 1

    def rows(self) -> list[tuple[str, int, str, str]]:
        """A row of :data:`COLUMNS` for each part, in the order in which the parts were met."""
        result = []
        for part, logs in self._logs.items():
            shares = together(np.exp(logs / self._counts[part])[None])
            label = self._classes[self._decision.decide(shares)]
            result.append((inert(part), self._counts[part], inert(label), f"{1 - shares[0]:.4f}"))
        return result

    def write(self, path: Path) -> None:
        """Write the rows as ``parts.csv``, whole or not at all.

        Args:
            path: the file; an older one is replaced.
        """
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            csv.writer(file).writerows([COLUMNS, *self.rows()])
