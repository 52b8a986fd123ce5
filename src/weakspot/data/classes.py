"""Class names of a data set, and the class number of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weakspot.errors import WeakspotError
from weakspot.types import ANOMALY, GOOD, Sample, Task
from weakspot.utils.files import shown


def class_names(samples: Iterable[Sample], task: Task) -> list[str]:
    """Return the names of the classes in order: Good and Anomaly, or Good and every defect type.

    Args:
        samples: of the data set; with ``binary`` they do not matter.
        task: ``binary`` or ``multiclass``.

    Returns:
        ``["good", "anomaly"]``, or ``good`` and then the defect types in alphabetical order.
    """
    if task == "binary":
        return [GOOD, ANOMALY]
    return [GOOD, *sorted({sample.defect for sample in samples} - {GOOD})]


def target_of(sample: Sample, names: Sequence[str]) -> int:
    """Return the class number of a sample under the `names` that :func:`class_names` gave.

    Args:
        sample: its defect type counts.
        names: class names, ``good`` first.

    Returns:
        The position of the sample's class in `names`; with Good and Anomaly every defect type is 1.

    Raises:
        WeakspotError: for a defect type that is not among them.
    """
    if sample.defect in names:
        return names.index(sample.defect)
    if list(names) == [GOOD, ANOMALY]:
        return 1
    raise WeakspotError(f"{shown(sample.path)}: defect type {sample.defect!r} is not one of {', '.join(names)}")
