"""What to do next, in sentences, each with a command to copy where there is one. Numbers in, sentences out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weakspot.config.schema import TrainConfig
from weakspot.config.values import typed_setting
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Alarm
from weakspot.types import GOOD

MOST_CURES = 2
"""Number of cures listed; each alarm names its own as well."""

MOST_FALSE_ALARMS = 0.5
"""Share of Good pictures that may be called defective where a dearer miss is advised."""

DOUBTFUL = "close calls, and boxes that are not trusted. A wrong label among them mends more than another setting."


DISBELIEF = "Until the alarms are gone believe no number here."
CAUTION = "Until the alarms are gone the numbers hold for pictures like these alone."


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes:
        text: why and what, in a sentence or two.
        command: what to type for it, with the paths of this very run.
    """

    text: str
    command: str


@dataclass(frozen=True)
class Here:
    """What the commands of a page begin from.

    Attributes:
        run: folder of the run, or of the cross-validation.
        settings: folder whose ``config.yaml`` trains it again.
        config: what is in that file.
        folds: of a cross-validation; None for a run.
        doubtful: the picture that a person should check first; None where there is none.
    """

    run: Path
    settings: Path
    config: TrainConfig
    folds: int | None = None
    doubtful: Path | None = None

    def again(self, *changes: str) -> str:
        """The command that trains once more with the same settings but for some.

        Args:
            changes: such as ``trainer.augment=photometric``.
        """
        one = any(change.startswith("cv=") for change in changes)
        whole = ["split.folds=null", "split.fold=null"] if self.folds else []
        crossed = [] if self.folds is None or one else [f"cv={self.folds}"]
        return self._train(*whole, *crossed, *changes)

    def once(self) -> str:
        """The command that trains a model to use after a cross-validation."""
        return self._train("split.folds=null", "split.fold=null")

    def _train(self, *changes: str) -> str:
        where = f"--config-path={self.settings.absolute()}"  # a new folder: any name may be taken when it is typed
        return shlex.join(["weakspot", "train", where, "--config-name=config", "output=null", *changes])

    @property
    def learns_from_drawings(self) -> bool:
        """Whether the run learns from annotations, which a cross-validation cannot: it tests every picture."""
        return bool(self.config.data.annotations or self.config.data.use_masks)

    def data(self, *words: str, before: str = "check") -> str:
        """A command about the pictures of the run.

        Args:
            words: behind the folder.
            before: the verb.
        """
        folder = Path(self.config.data.root or ".") / (self.config.data.subset or "")
        good = self.config.data.good_class
        named = ["--good-class", good] if before == "check" and good != GOOD else []
        return shlex.join(["weakspot", before, str(folder), *named, *words])


def advice(record: MetricsRecord, worth_a_look: int, here: Here) -> list[Step]:
    """List what to do next, the most pressing first.

    Args:
        record: of a run.
        worth_a_look: number of pictures in ``review.csv``.
        here: what the commands begin from.
    """
    run = str(here.run)
    steps = [*_mend(record, here)]
    balanced = record.measurement.test.classification.balanced_accuracy
    if balanced.high - balanced.low > 0.1 and not record.split.folds and not here.learns_from_drawings:
        text = "One split is luck, and the interval is wide: cv=5 tests every picture once, for five times the work."
        steps.append(Step(text, here.again("cv=5")))
    if worth_a_look:
        first = str(here.doubtful) if here.doubtful else "PICTURE"
        which = "picture" if worth_a_look == 1 else f"{worth_a_look} pictures, the most doubtful first,"
        text = f"Look at the {which} of review.csv: {DOUBTFUL} To ask why, of the first of them:"
        steps.append(Step(text, shlex.join(["weakspot", "explain", run, first])))
    if record.measurement.test.localisation is None:
        text = "Boxes are not measured: export them, correct some by hand, and measure against those (truth=FILE)."
        export = ["weakspot", "export", "boxes", run, "--format", "coco", "--output", "boxes"]
        steps.append(Step(text, shlex.join(export)))
    use = ["weakspot", "predict", run, "new_photos", "--output", "results"]
    steps.append(Step("Use it on new pictures:", shlex.join(use)))
    return steps


def pooled_advice(record: MetricsRecord, here: Here) -> list[Step]:
    """List what to do next after a cross-validation, which measures a set-up and leaves no model to use.

    Args:
        record: of the cross-validation.
        here: what the commands begin from.
    """
    final = "To use it, train once more without cv=: a fold's model has not seen the fold that it was tested on."
    luck = "Is another set-up better, or is it luck? Compare two cross-validations of the same data:"
    return [
        *_mend(record, here),
        Step(final, here.once()),
        Step(luck, f"weakspot compare {shlex.quote(str(here.run))} OTHER"),
    ]


def _mend(record: MetricsRecord, here: Here) -> Iterator[Step]:
    """What is wrong with the data or the set-up, and what to do about it."""
    cures = _cures(record.measurement.alarms, here)
    yield from cures
    test, leak = record.measurement.test, record.split.leakage
    if leak and leak.held_out_of_trained_groups:
        yield Step(
            f"{leak.held_out_of_trained_groups} test pictures show the same part as a training picture: their "
            "surface agrees. Train again with split.near_duplicates=together before you believe the numbers.",
            here.again("split.near_duplicates=together"),
        )
    matrix = test.classification.confusion_matrix
    if matrix.defects and matrix.missed / matrix.defects > 0.05:
        yield _catch_more(f"{matrix.missed} of {matrix.defects} defects are missed.", record, here)
    localisation = test.localisation
    if localisation is not None and localisation.resolution.smaller.value > 0.25:
        named = any("experiment=recommended" in step.text for step in cures)
        ways = "raise data.image_size or set data.resize=tile" + ("" if named else ", or use experiment=recommended")
        share = f"{localisation.resolution.smaller.value:.0%}"
        yield Step(f"{share} of the true boxes are too small for this set-up: {ways}.", here.again("data.resize=tile"))


def _catch_more(missed: str, record: MetricsRecord, here: Here) -> Step:
    """How to miss fewer defects, and what that would cost on held-out pictures."""
    leaves_out = here.config.split.val_size > 0 or here.config.boxes.threshold_kind == "calibrated"
    if here.folds or not leaves_out:
        held = [] if leaves_out else ["split.val_size=0.15"]
        text = f"{missed} If a missed defect costs more than a false alarm:"
        return Step(text, here.again(*held, "decision.miss=5"))
    dearer = record.thresholds["decision"].get("if_a_miss_costs")
    if not dearer:  # too few held-out pictures, or a version before told nothing
        text = f"{missed} If a missed defect costs more than a false alarm; what that comes to is not known beforehand:"
        return Step(text, shlex.join(["weakspot", "evaluate", str(here.run), "decision.miss=5"]))
    shares = {miss: (each["recall"]["value"], each["false_alarm_rate"]["value"]) for miss, each in dearer.items()}
    bearable = [miss for miss, (_, false) in shares.items() if false <= MOST_FALSE_ALARMS]
    if not bearable:
        text = (
            f"{missed} Another threshold would not help: on held-out pictures it would call most Good ones defective "
            "before it found many more. Add pictures of the kinds that are missed; these are the least sure:"
        )
        return Step(text, shlex.join(["weakspot", "review", str(here.run)]))
    miss = max(bearable, key=float)
    recall, false = shares[miss]
    text = (
        f"{missed} If a missed defect costs {miss} times as much as a false alarm: on held-out pictures that finds "
        f"{recall:.0%} of the defects and calls {false:.0%} of the Good ones defective. This measures it; with "
        f"{typed_setting('output', here.run)} the run itself decides so from then on:"
    )
    return Step(text, shlex.join(["weakspot", "evaluate", str(here.run), f"decision.miss={miss}"]))


def _cures(alarms: Sequence[Alarm], here: Here) -> list[Step]:
    """The first cures that the alarms name, each once."""
    distinct: dict[str, Alarm] = {}
    for alarm in alarms:
        distinct.setdefault(alarm.do, alarm)
    steps: list[Step] = []
    for alarm in distinct.values():
        command = _cure(alarm, here)
        trained = {step.command for step in steps if step.command.startswith("weakspot train")}
        if len(steps) < MOST_CURES and command not in trained:  # one training cures what several alarms are of
            steps.append(Step(f"{alarm.do[:1].upper()}{alarm.do[1:]}.", command))
    if steps:
        text = f"{steps[-1].text} {CAUTION if all(map(_of_confidence, distinct.values())) else DISBELIEF}"
        steps[-1] = replace(steps[-1], text=text)
    return steps


def _of_confidence(alarm: Alarm) -> bool:
    """Whether the classes are alike in what the alarm is of, and only the network's confidence goes with it."""
    return alarm.details.get("goes_with") == "confidence"


def _cure(alarm: Alarm, here: Here) -> str:
    """The command that goes with the cure of an alarm."""
    cause = alarm.details.get("cause")
    curable = ("light", "focus", "file", "place") if _of_confidence(alarm) else ("light", "focus", "file")
    if cause in curable and here.config.trainer.augment != "photometric":
        return here.again("trainer.augment=photometric")
    if cause == "place" or "border" in alarm.do:
        return here.data("--output", "roi.json", before="roi")
    return here.data("--alarms", "alarms")
