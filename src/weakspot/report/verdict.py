"""The verdict of a report in words: how good a run is and where it fails. Numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from weakspot.evaluation.records import MetricsRecord, SplitRecord
from weakspot.evaluation.schema import Controls, Localisation, Measurement
from weakspot.metrics.results import ClassificationResult
from weakspot.report.checks import BOXES
from weakspot.types import GOOD

CLASS_GRADES = ((0.95, "very good"), (0.85, "good"), (0.7, "fair"))
"""Words for a balanced accuracy from there on; below it is weak."""

BOX_GRADES = ((0.7, "very good"), (0.5, "good"), (0.3, "fair"))
"""The same for V2."""

SHOWN = 3
"""Ways to fail on the first screen."""

FITS = 0.5
"""A box fits from this IoU on."""


@dataclass(frozen=True)
class Case:
    """What the verdict knows about one test image.

    Attributes:
        defect: its true type, ``good`` for one without.
        outcome: ``good``, ``found``, ``missed``, ``false alarm`` or ``wrong type``.
        iou: of the best predicted box with a true one; None without a mask.
        close: whether the class was a close call.
        off: for a box that does not fit: ``without a box``, ``elsewhere``, ``too large`` or ``too small``; else empty.
        probability: of a defect, 0…1.
        bare: of several true defects in it, the share that no predicted box touches, 0…1; None for fewer than two.
    """

    defect: str
    outcome: str
    iou: float | None = None
    close: bool = False
    off: str = ""
    probability: float = 0.0
    bare: float | None = None

    @property
    def ill_boxed(self) -> bool:
        """Whether the defect was found but its box does not fit."""
        return self.outcome == "found" and self.iou is not None and self.iou < FITS

    @property
    def mostly_bare(self) -> bool:
        """Whether it was found, and most of its several defects have no box."""
        return self.outcome == "found" and self.bare is not None and self.bare > 0.5

    @property
    def badness(self) -> float:
        """How far off it is, among pictures that failed in the same way."""
        if self.outcome == "false alarm":
            return self.probability
        if self.outcome == "missed":
            return -self.probability
        return (self.bare or 0.0) - (self.iou or 0.0)


@dataclass(frozen=True)
class Failure:
    """One way in which images failed.

    Attributes:
        title: what goes wrong.
        count, of: number of images that failed so, and number of images that could have.
        cost: what it takes off the recall of its side (Good, defects) or off the box accuracy, 0…1.
        why: the likely reason according to the numbers; may be empty.
        show: filter under which the gallery shows these images.
        bad: positions of these images, the one that is furthest off first.
        worst: position of the one to show; no two of the costliest ways show the same one where they need not.
    """

    title: str
    count: int
    of: int
    cost: float
    why: str
    show: dict[str, str] = field(default_factory=dict)
    bad: tuple[int, ...] = ()
    worst: int = 0


def grade(value: float, grades: Sequence[tuple[float, str]]) -> str:
    """Choose the word for a value; ``not measured`` for NaN.

    Args:
        value: 0…1, or NaN.
        grades: ``(lowest value, word)``, best first.
    """
    if math.isnan(value):
        return "not measured"
    return next((word for limit, word in grades if value >= limit), "weak")


def headline(measurement: Measurement) -> dict[str, str]:
    """A word and a sentence each for ``classes`` and ``boxes``."""
    localisation = measurement.test.localisation
    return {
        "classes": _classes(measurement.test.classification, measurement.controls) + _spoilt(measurement),
        "boxes": _boxes(localisation, measurement.controls)
        if localisation
        else "Boxes: not measured, as no defect image has a mask.",
    }


def _classes(found: ClassificationResult, controls: Controls) -> str:
    balanced, matrix = found.balanced_accuracy, found.confusion_matrix
    if math.isnan(balanced.value):
        return "Classes: not measured, as Good and defective pictures are both needed."
    word, at_worst = grade(balanced.value, CLASS_GRADES), grade(balanced.low, CLASS_GRADES)
    caught, defects = matrix.defects - matrix.missed, matrix.defects
    text = (
        f"Classes: {word}. It calls {caught} of {defects} defective pictures defective ({_percent(caught, defects)}) "
        f"and {matrix.false_alarms} of {matrix.good} Good ones too ({_percent(matrix.false_alarms, matrix.good)})."
    )
    proven = balanced.low > 0.5 if controls.told_apart is None else controls.told_apart
    if not proven:
        text += " This is not proven to be better than guessing."
    elif at_worst != word:
        text += f" The interval does not rule out {at_worst}."
    return text


def larger_sample(record: MetricsRecord) -> str:
    """What the held-out pictures say of the classes where they are more than the test pictures; else nothing.

    Args:
        record: of a run; a cross-validation's has no held-out pictures.
    """
    held_out = record.thresholds.get("decision", {}).get("held_out") or {}
    if not held_out:
        return ""
    caught, false = held_out["recall"], held_out["false_alarm_rate"]
    number = caught["n"] + false["n"]
    if number <= (record.split.n_test or 0):
        return ""
    found, wrong = round(caught["value"] * caught["n"]), round(false["value"] * false["n"])
    whose = f"the {number} {held_out_words(record.split)}"
    balanced = (caught["value"] + 1 - false["value"]) / 2
    return (
        f"More pictures stand behind a second figure: of {whose}, {found} of {caught['n']} defective ones are called "
        f"defective and {wrong} of {false['n']} Good ones too, a balanced accuracy of {balanced:.2f}."
    )


def held_out_words(split: SplitRecord) -> str:
    """Which pictures a run's thresholds were set on.

    Args:
        split: of the run, or of an evaluation of it; one of other images does not say how the run held some out.
    """
    if split.n_train is None:
        return "held-out pictures of the run"
    of_training = "training pictures, each judged by a model that was trained without it"
    return "validation pictures" if split.n_val else of_training


"""The pictures that thresholds are set on, by whether there is a validation subset."""


def _spoilt(measurement: Measurement) -> str:
    """That the classes differ in more than the defect, where an alarm says so."""
    if not any(alarm.details.get("goes_with") == "label" for alarm in measurement.alarms):
        return ""
    return " But the classes differ in more than the defect: see the alarm before you believe it."


def _boxes(found: Localisation, controls: Controls) -> str:
    v2, fits = found.max_box_acc_v2, found.box_accuracy_50
    word = grade(v2.value, BOX_GRADES)
    count = round(fits.value * fits.n)
    text = (
        f"Boxes: {word}. A box fits (IoU ≥ 0.5) on {count} of {fits.n} defective pictures ({_percent(count, fits.n)})."
    )
    best = max(((control.max_box_acc_v2.value, name) for name, control in controls.boxes.items()), default=None)
    if best is not None and not (v2.low > best[0] if controls.boxes_beaten is None else controls.boxes_beaten):
        text += f" That is not proven to be better than {BOXES.get(best[1], best[1])}."
    return text


def failures(cases: Sequence[Case]) -> list[Failure]:
    """List every way in which images failed, the costliest first.

    A picture weighs one over the number of pictures of its side, as in balanced accuracy, so that a rare defect that is
    always missed is not hidden behind many Good pictures; an ill-fitting box weighs one over the pictures with a mask,
    and so does a picture of several defects most of which no box touches.

    Args:
        cases: one for each image, in their order.
    """
    numbered = [*enumerate(cases)]
    good = [each for each in numbered if each[1].defect == GOOD]
    defects = [each for each in numbered if each[1].defect != GOOD]
    masked = [each for each in defects if each[1].iou is not None]
    found = [
        _failure("Good pictures called defective", good, _is("false alarm"), len(good), outcome="false alarm"),
        _failure(
            "Several defects, and most of them get no box",
            [each for each in defects if each[1].bare is not None],
            _mostly_bare,
            len(masked),
            outcome="found",
            box="few",
        ),
    ]
    for name in sorted({case.defect for _, case in defects}):
        own = [each for each in defects if each[1].defect == name]
        for title, test, of, show in (
            (f"{name}: called Good", _is("missed"), defects, {"outcome": "missed"}),
            (f"{name}: called another defect", _is("wrong type"), defects, {"outcome": "wrong type"}),
            (f"{name}: found, but no box fits", _ill_boxed, masked, {"outcome": "found", "box": "off"}),
        ):
            found.append(_failure(title, own, test, len(of), defect=name, **show))
    return _each_its_own(sorted((failure for failure in found if failure.count), key=lambda f: (-f.cost, f.title)))


def closest(cases: Sequence[Case]) -> list[tuple[str, int]]:
    """Where nothing failed, the pictures that came closest to it: what they are, and their positions.

    Args:
        cases: one for each image, in their order.

    Returns:
        At most three: the Good picture that is most like a defect, the defect that is most like Good, and the box that
        fits least; none twice.
    """
    good = [(-case.probability, i) for i, case in enumerate(cases) if case.defect == GOOD]
    defects = [(case.probability, i) for i, case in enumerate(cases) if case.defect != GOOD]
    boxed = [(case.iou, i) for i, case in enumerate(cases) if case.iou is not None]
    found = dict[int, str]()
    for words, ranked in (
        ("Good, and most like a defect", good),
        ("a defect, and most like Good", defects),
        ("its box fits least", boxed),
    ):
        left = [each for each in ranked if each[1] not in found]
        if left:
            found[min(left)[1]] = words
    return [(words, position) for position, words in found.items()]


def _each_its_own(found: Sequence[Failure]) -> list[Failure]:
    """Choose the image that each way to fail shows; who has the fewest to choose from chooses first."""
    taken, chosen = set[int](), dict[str, int]()
    for failure in sorted(found[:SHOWN], key=lambda f: f.count):
        chosen[failure.title] = next((i for i in failure.bad if i not in taken), failure.bad[0])
        taken.add(chosen[failure.title])
    return [replace(failure, worst=chosen.get(failure.title, failure.bad[0])) for failure in found]


def _is(outcome: str) -> Callable[[Case], bool]:
    return lambda case: case.outcome == outcome


def _ill_boxed(case: Case) -> bool:
    return case.ill_boxed


def _mostly_bare(case: Case) -> bool:
    return case.mostly_bare


def _failure(
    title: str, own: Sequence[tuple[int, Case]], test: Callable[[Case], bool], weight: int, **show: str
) -> Failure:
    bad = sorted(((i, case) for i, case in own if test(case)), key=lambda each: -each[1].badness)
    of = [case for _, case in own if case.outcome == "found" and case.iou is not None] if show.get("box") else own
    cost = len(bad) / weight if weight else 0.0
    return Failure(
        title, len(bad), len(of), cost, _why([case for _, case in bad], show), show, tuple(i for i, _ in bad)
    )


def _why(bad: Sequence[Case], show: Mapping[str, str]) -> str:
    if not bad:
        return ""
    if show.get("box") == "few":
        return f"in such a picture {sum(case.bare or 0.0 for case in bad) / len(bad):.0%} of them, on average"
    if bad[0].off:
        counts = {
            off: sum(case.off == off for case in bad)
            for off in ("without a box", "elsewhere", "too large", "too small")
        }
        return ", ".join(f"{count} {off}" for off, count in counts.items() if count)
    close = sum(case.close for case in bad)
    if close == len(bad):
        return "all close calls"
    if not close:
        return "none is a close call"
    calls, others = ("call" if close == 1 else "calls"), len(bad) - close
    return f"{close} close {calls}, the other{'s' if others > 1 else ''} further off"


def pooled_threshold(record: MetricsRecord) -> str:
    """Explain why a cross-validation has no single threshold, and where those of the folds are."""
    folds = [fold.thresholds for fold in record.folds]
    scores = [fold["min_score"]["value"] for fold in folds if fold.get("min_score")]
    if scores:
        listed = ", ".join("none" if score is None else f"{score:.2f}" for score in scores)
        text = f"Each fold set the smallest score of its boxes itself, without looking at its test pictures: {listed}."
    else:
        text = "In use: " + ", ".join(sorted({f"{f['boxes']['kind']} {f['boxes']['value']:g}" for f in folds})) + "."
    return text + " A score means nothing in another model: a new training sets its own."


def threshold_advice(record: MetricsRecord, key: str) -> str:
    """Recommend a box threshold, and explain why not the one that is best on these very pictures.

    Args:
        record: of a run.
        key: key of the box rule that can be moved in the report, ``threshold`` or ``min_score``.
    """
    in_use, localisation = record.thresholds["boxes"], record.measurement.test.localisation
    score = record.thresholds.get("min_score")
    if key == "min_score":
        value = record.boxes["min_score"]
        shown = "no box at all" if value is None or math.isinf(value) else f"boxes from a score of {value:.2f}"
        origin = score["origin"] if score else "configuration"
        text = f"Keep what is in use: {shown} ({origin})."
        if localisation and not math.isnan(localisation.before_decision.false_boxes_per_100_good):
            before = localisation.before_decision.false_boxes_per_100_good
            text += f" These pictures got {before:.1f} false boxes per 100 Good ones."
    else:
        text = f"In use: boxes.threshold={in_use['value']:g}, {in_use['kind']} ({in_use['origin']})."
    if not localisation or math.isnan(localisation.oracle_single_max_box_acc_v2):
        return text + " Without masks no box can be measured; judge by the pictures."
    gain = localisation.oracle_single_max_box_acc_v2 - localisation.max_box_acc_v2.value
    best = f"boxes.threshold={localisation.oracle_single_threshold:.3g}"
    if gain < 0.02:
        return f"{text} No other boxes.threshold is better on these pictures by as much as 0.02 in V2: leave it."
    return (
        f"{text} The best on these very pictures would be {best} (V2 {localisation.oracle_single_max_box_acc_v2:.2f} "
        f"instead of {localisation.max_box_acc_v2.value:.2f}), an oracle that flatters: choose on other "
        "folds, with split.folds=5 split.fold=0,1,2,3,4 and several boxes.threshold in one sweep, before you take it."
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"
