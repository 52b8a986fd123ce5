"""Training pictures whose label is probably wrong, by confident learning (Northcutt et al., JAIR 2021).

Each probability comes from a regression that was fitted without the picture and without its group, so a wrong label
has not taught it to agree. The ``labels`` extra brings cleanlab, which decides how many labels are wrong and which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.runs.folder import RunFolder
from weakspot.types import GOOD
from weakspot.utils.untrusted import read_json

FEWEST = 10
"""Pictures of either kind below which nothing is said."""

KNOWS_NOTHING = 0.9 * math.log(2)
"""Log loss, Good and defective counting the same, above which nothing is said. Whoever knows nothing has log 2; models
that hardly know more give every picture a probability near one half, and contradict half of all labels."""


@dataclass(frozen=True)
class WrongLabel:
    """A label that is probably wrong.

    Attributes:
        path: of the picture, relative to the data's folder.
        defect: what it is labelled.
        probability: of a defect, 0…1, by models that were trained without the picture.
    """

    path: str
    defect: str
    probability: float

    @property
    def why(self) -> str:
        """The reason, for ``review.csv`` and the report."""
        return (
            f"its label is probably wrong: labelled {self.defect}, and models trained without it give a defect "
            f"{self.probability:.2f}"
        )


def probably_wrong(probabilities: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_]) -> list[int]:
    """Positions of pictures whose label is probably wrong, the most doubtful first.

    Args:
        probabilities: ``(n,)`` of a defect, from models that were fitted without the picture.
        defective: ``(n,)``, how the pictures are labelled.

    Returns:
        Nothing with too few pictures, or where the probabilities hardly tell the classes apart.

    Raises:
        ModuleNotFoundError: without the ``labels`` extra.
    """
    from cleanlab.filter import find_label_issues

    if min(defective.sum(), (~defective).sum()) < FEWEST:
        return []
    losses = -np.log(np.clip(np.where(defective, probabilities, 1 - probabilities), 1e-6, None))
    if (losses[defective].mean() + losses[~defective].mean()) / 2 > KNOWS_NOTHING:
        return []
    found = find_label_issues(
        defective.astype(int),
        np.stack([1 - probabilities, probabilities], axis=1),
        filter_by="confident_learning",  # the off-diagonal of the confident joint; its list is the shortest
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return [int(i) for i in found]


def wrong_labels(run: RunFolder) -> Sequence[WrongLabel] | None:
    """The labels of a run's training pictures that are probably wrong, the most doubtful first.

    Args:
        run: a run folder.

    Returns:
        None where the ``labels`` extra is missing; nothing where the run has no out-of-fold probabilities.

    Raises:
        WeakspotError: when the file of the probabilities is damaged.
    """
    if not run.out_of_fold.is_file():
        return []
    if find_spec("cleanlab") is None:
        return None
    try:
        content = read_json(run.out_of_fold)
        paths, defects = [str(path) for path in content["paths"]], [str(defect) for defect in content["defects"]]
        probabilities = np.array(content["probabilities"], np.float64)
        if (
            not len(paths) == len(defects) == len(probabilities)
            or not ((probabilities >= 0) & (probabilities <= 1)).all()
        ):
            raise ValueError("numbers and names do not fit")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeakspotError(f"{run.out_of_fold} is damaged; delete it, or train again") from error
    found = probably_wrong(probabilities, np.array([defect != GOOD for defect in defects]))
    return [WrongLabel(paths[i], defects[i], float(probabilities[i])) for i in found]
