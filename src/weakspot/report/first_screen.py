"""The first screen of a report: how good in two bars, and the alarms in one line."""

from __future__ import annotations

from dataclasses import dataclass

from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Controls, Localisation, Measurement
from weakspot.metrics.intervals import Estimate
from weakspot.metrics.results import ClassificationResult
from weakspot.report.checks import BOXES
from weakspot.report.crossfit import known
from weakspot.report.page import interval, number
from weakspot.report.verdict import headline

NAMED_ALARMS = 2
"""Alarms that the strip names; it counts the others."""


@dataclass(frozen=True)
class Bar:
    """One number on a scale from 0 to 1, with what a guess would reach.

    Attributes:
        name: what is judged: ``Classes`` or ``Boxes``.
        measure: name of the number.
        says: the verdict in a sentence or two.
        estimate: the number with its 95 % interval; None where it was not measured.
        baseline: what a guess reaches, 0…1; None where that is not known.
        guess: what guesses, in words.
    """

    name: str
    measure: str
    says: str
    estimate: Estimate | None
    baseline: float | None
    guess: str

    @property
    def words(self) -> str:
        """The bar in words, for those who do not see it."""
        if self.estimate is None:
            return f"{self.name}: not measured"
        between = interval(self.estimate)
        found = f"{self.name}, {self.measure}: {number(self.estimate.value)}"
        found += f", 95 % interval {between}" if between else ""
        return found if self.baseline is None else f"{found}; {self.guess}: {number(self.baseline)}"


@dataclass(frozen=True)
class Strip:
    """All alarms in one line.

    Attributes:
        count: number of alarms.
        words: the first ones, in words.
        remarks: whether there is something to read that is no alarm.
    """

    count: int
    words: str
    remarks: bool


def bars(measurement: Measurement, more: str = "") -> list[Bar]:
    """The two bars of a measurement: classes and boxes.

    Args:
        measurement: of a run or of many folds.
        more: what else is known of the classes, a sentence.
    """
    test, controls, says = measurement.test, measurement.controls, headline(measurement)
    return [
        _classes(test.classification, controls, f"{_sentence(says['classes'])} {more}".strip()),
        _boxes(test.localisation, controls, _sentence(says["boxes"])),
    ]


def _sentence(says: str) -> str:
    """A verdict without the name that the bar has already."""
    text = says.partition(": ")[2]
    return text[:1].upper() + text[1:]


def _classes(found: ClassificationResult, controls: Controls, says: str) -> Bar:
    shuffled, labels = controls.shuffled_labels, found.confusion_matrix.labels
    baseline = shuffled.value if shuffled else 1 / len(labels)
    guess = "with shuffled labels" if shuffled else "guessing"
    estimate = found.balanced_accuracy if known(found.balanced_accuracy.value) else None
    return Bar("Classes", "balanced accuracy", says, estimate, baseline if known(baseline) else None, guess)


def _boxes(found: Localisation | None, controls: Controls, says: str) -> Bar:
    scores = {
        name: control.max_box_acc_v2.value
        for name, control in controls.boxes.items()
        if known(control.max_box_acc_v2.value)
    }
    best = max(scores, key=lambda name: scores[name], default=None)
    estimate = found.max_box_acc_v2 if found is not None and known(found.max_box_acc_v2.value) else None
    guess = "" if best is None else BOXES.get(best, best.replace("_", " "))
    return Bar("Boxes", "V2", says, estimate, None if best is None else scores[best], guess)


def strip(record: MetricsRecord) -> Strip:
    """The alarms of a record in one line, parts that were trained and tested on among them.

    Args:
        record: content of ``metrics.json``.
    """
    said = [str(alarm.details.get("what") or alarm.seen) for alarm in record.measurement.alarms]
    leak = record.split.leakage
    if leak and leak.held_out_of_trained_groups:
        said.insert(0, f"{leak.held_out_of_trained_groups} test pictures show a part that was trained on")
    words = "; ".join(said[:NAMED_ALARMS])
    if len(said) > NAMED_ALARMS:
        words += f"; and {len(said) - NAMED_ALARMS} more"
    pairs = bool(leak and (leak.repeated or leak.possible))
    return Strip(len(said), words[:1].upper() + words[1:], bool(record.measurement.notes) or pairs)
