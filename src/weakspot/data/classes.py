"""Labels as written, class names of a data set, and the class number of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import ANOMALY, GOOD, Sample, Task
from weakspot.utils.files import shown

GOOD_WORDS = (
    *("good", "ok", "okay", "normal", "pass", "passed", "io", "i.o.", "defect_free", "no_defect", "nondefective"),
    *("fine", "clean", "healthy", "intact", "perfect", "golden", "gut", "accept", "accepted", "undamaged", "nodefect"),
    *("non_defective", "without_defect", "free", "bon", "bueno", "regular", "valid", "non_anomalous", "negative"),
)
"""What Good images are often called, the commonest first, as :func:`plain` writes it."""

DEFECT_WORDS = (
    *("ng", "nok", "not_ok", "notok", "no_good", "not_good", "nio", "n.i.o.", "bad", "fail", "failed", "reject"),
    *("rejected", "abnormal", "anomaly", "anomalous", "defect", "defects", "defective", "faulty", "fault", "broken"),
    *("damaged", "damage", "scrap", "ko", "schlecht", "defekt", "ausschuss", "malo", "mauvais", "invalid", "positive"),
)
"""What images with a defect are often called."""


SEPARATOR = ";"
"""Stands between the kinds of defects in a picture's label."""


def plain(name: str) -> str:
    """A class name as the lists of known names write it: lower case, with underscores.

    Args:
        name: as the folder or the table writes it.
    """
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def likely_good(labels: Iterable[str]) -> str | None:
    """The class that is Good by its name, or because every other one has the name of a defect.

    Args:
        labels: names of all classes, as written.

    Returns:
        One of `labels`; None where their names leave it open.

    Examples:
        >>> likely_good(["NG", "OK"]), likely_good(["blue", "defective"]), likely_good(["left", "right"])
        ('OK', 'blue', None)
    """
    found = sorted(set(labels))
    known = [label for label in found if plain(label) in GOOD_WORDS]
    rest = known or [label for label in found if plain(label) not in DEFECT_WORDS]
    return rest[0] if len(rest) == 1 and (known or len(found) > 1) else None


def defect_names(labels: Sequence[str], source: Path, good_class: str, kind: str = "folder") -> dict[str, str]:
    """Map labels as written to defect types; the Good one, in any letter case, becomes :data:`GOOD`.

    Args:
        labels: one an image.
        source: the folder or file that they come from.
        good_class: what Good is called there.
        kind: what a label is there.

    Returns:
        The defect type of each label.

    Raises:
        WeakspotError: when no label is Good or none is a defect, or when two cannot be told apart.
    """
    found = sorted(set(labels))
    where, listed = shown(source), ", ".join(found)
    if not found:
        raise WeakspotError(f"{where} holds no class folders; make one for good images and one for each defect")
    by_folded: dict[str, str] = {}
    for label in found:
        if (other := by_folded.setdefault(label.casefold(), label)) != label:
            raise WeakspotError(f"{where}: {kind}s {other!r} and {label!r} differ in letter case only; rename one")
    good = by_folded.get(good_class.casefold())
    if good is None:
        likely = [label for word in GOOD_WORDS for label in found if plain(label) == word]
        way_out = f"={likely[0]}" if likely else f" to one of them{did_you_mean(good_class, found)}"
        problem = f"no {kind} is called {good_class!r}, there are: {listed}"
        raise WeakspotError(f"{where}: {problem}; set data.good_class{way_out}")
    if len(found) == 1:
        raise WeakspotError(
            f"{where}: only {listed!r} images; training needs some with a defect too, a dozen for a start (to learn "
            "from Good ones alone, take an anomaly detector such as PatchCore)"
        )
    if GOOD in by_folded and by_folded[GOOD] != good:
        clash = by_folded[GOOD]
        raise WeakspotError(f"{where}: with data.good_class={good_class}, {clash!r} would be a defect; rename it")
    return {label: GOOD if label == good else label for label in found}


def kinds_of(sample: Sample) -> list[str]:
    """The kinds of defects in a picture: its label, or what a semicolon separates in it (``crack;hole``).

    Args:
        sample: its defect type counts.

    Returns:
        Each kind once, in the order of the label; ``["good"]`` for a Good one.

    Raises:
        WeakspotError: where Good stands beside a kind of defect.
    """
    kinds = list(dict.fromkeys(kind.strip() for kind in sample.defect.split(SEPARATOR) if kind.strip()))
    if len(kinds) > 1 and GOOD in kinds:
        raise WeakspotError(f"{shown(sample.path)} is labelled {sample.defect!r}: good and a defect; keep one of them")
    return kinds or [sample.defect]


def class_names(samples: Iterable[Sample], task: Task) -> list[str]:
    """Return the names of the classes in order: Good and Anomaly, or Good and every kind of defect.

    Args:
        samples: of the data set; with ``binary`` they do not matter.
        task: ``binary`` or ``multiclass``.

    Returns:
        ``["good", "anomaly"]``, or ``good`` and then the kinds of defects in alphabetical order.

    Raises:
        WeakspotError: as :func:`kinds_of`.
    """
    if task == "binary":
        return [GOOD, ANOMALY]
    return [GOOD, *sorted({kind for sample in samples for kind in kinds_of(sample)} - {GOOD})]


def targets_of(sample: Sample, names: Sequence[str]) -> list[int]:
    """Return the class numbers of a sample under the `names` that :func:`class_names` gave, one for each kind.

    Args:
        sample: its defect type counts.
        names: class names, ``good`` first.

    Returns:
        At least one position in `names`; with Good and Anomaly every defect type is 1.

    Raises:
        WeakspotError: for a kind that is not among them.
    """
    if sample.defect in names:
        return [names.index(sample.defect)]
    if list(names) == [GOOD, ANOMALY]:
        return [1]
    kinds = kinds_of(sample)
    for kind in kinds:
        if kind not in names:
            raise WeakspotError(f"{shown(sample.path)}: defect type {kind!r} is not one of {', '.join(names)}")
    return [names.index(kind) for kind in kinds]


def target_of(sample: Sample, names: Sequence[str], called: str | None = None) -> int:
    """Return the one class number of a sample that an answer is compared with.

    Args:
        sample: as for :func:`targets_of`.
        names: likewise.
        called: the class that the picture was given; where it is one of the picture's kinds, it is right.

    Returns:
        The number of `called` if that is one of the sample's kinds, else of the first of them.

    Raises:
        WeakspotError: as :func:`targets_of`.
    """
    targets = targets_of(sample, names)
    return next((target for target in targets if names[target] == called), targets[0])
