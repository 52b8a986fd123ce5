"""Watches a stream of predictions, one by one, and says once when the world has changed, since when, where to look.

Ten measures of every picture are compared with earlier pictures of the same line, one by one, and as means of 16 in a
row, which show small changes that stay. How familiar the pictures called Good are is also compared with the Good
held-out pictures of training, from the first picture on. Each of these tests has an equal share of the allowed chance
of a false alarm, so that the promise holds for all of them together, at whatever moment one looks:

    While nothing changes, the chance of a false alarm within any n pictures is at most n / N.

N is ``false_alarm_in``. Nothing is assumed of how the measures are distributed. It is assumed that the order of the
pictures means nothing while nothing changes: a line whose batches differ does change, and is told so. After an alarm
everything starts again, with the pictures that come then as the new reference.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.drift.alarm import CALLED, DISTANCE, MEASURED, SCORE, Against, Change, Drift
from weakspot.drift.betting import Capital, share_interval
from weakspot.drift.reference import MOST, Reference
from weakspot.errors import WeakspotError
from weakspot.postprocess.familiarity import Familiarity
from weakspot.types import GOOD, Prediction

Floats = npt.NDArray[np.float64]

BLOCKS = (1, 16)
"""Pictures whose mean is compared."""

TESTS = len(BLOCKS) * len(MEASURED) + 1
"""Each measure in each size of blocks, and the comparison with training."""

FALSE_ALARM_IN = 100_000

RECENT = 200
"""Pictures that are remembered by name, to show what changed."""

SHOWN = 12
"""Pictures that an alarm names."""

ALSO = 100.0
"""A measure whose bets are worth so many times what they are without a change is named beside the one that fired."""

_TINY = 1e-9


def measured(prediction: Prediction) -> Floats:
    """What is watched of a prediction, ``(len(MEASURED),)``, NaN for what it does not carry.

    Args:
        prediction: of a picture that could be read.
    """
    chance = min(max(prediction.probability, _TINY), 1 - _TINY)
    values = {**prediction.measures, SCORE: math.log(chance / (1 - chance)), CALLED: float(prediction.label != GOOD)}
    return np.array([values.get(name, math.nan) for name in MEASURED], dtype=np.float64)


class Block:
    """Means of so many pictures in a row, compared with earlier ones.

    Args:
        size: number of pictures.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sums, self.waiting = np.zeros(len(MEASURED)), 0
        self.reference, self.capital = Reference(len(MEASURED)), Capital(len(MEASURED))

    def feed(self, row: Floats, random: np.random.Generator) -> None:
        """Take one more picture's values; a full block is compared."""
        self.sums, self.waiting = self.sums + row, self.waiting + 1
        if self.waiting == self.size:
            self.capital.bet(self.reference.compare(self.sums / self.size, random))
            self.sums, self.waiting = np.zeros(len(MEASURED)), 0

    @property
    def evidence(self) -> Floats:
        """Worth of the bets, ``(len(MEASURED),)``: after n pictures at most n on average, while nothing changes."""
        return self.capital.evidence * self.size

    def began(self, k: int) -> int:
        """How many pictures ago a measure changed."""
        return self.capital.began(k) * self.size + self.waiting


class Monitor:
    """Takes predictions one by one, in bounded memory; :mod:`weakspot.drift.state` keeps it across restarts.

    Args:
        familiarity: what the model knows of its training pictures; None leaves the comparison with them out.
        false_alarm_in: N of the promise.
        seed: of the ties, and of what a reference drops.

    Attributes:
        pictures: fed so far; those that could not be read do not count.
        alarms: raised so far, the latest last.
        model: what tells the model from others; empty where nothing is known of it.
        training: reference and capital of the comparison with training; None where there is none, or it was told.
        blocks: the comparisons with the line itself.
        recent: the latest pictures and their values.
        started, called: pictures before the last restart, and pictures called defective since.

    Raises:
        WeakspotError: when `false_alarm_in` is below 1.
    """

    def __init__(
        self, familiarity: Familiarity | None = None, false_alarm_in: int = FALSE_ALARM_IN, seed: int = 0
    ) -> None:
        if false_alarm_in < 1:
            raise WeakspotError(f"one false alarm in {false_alarm_in} pictures cannot be promised; give 1 or more")
        self.false_alarm_in, self.seed = false_alarm_in, seed
        self.pictures, self.alarms = 0, list[Drift]()
        self._restart()
        self.model = "" if familiarity is None else familiarity.digest
        good = np.array([] if familiarity is None else familiarity.good)
        if len(good) > MOST:
            good = np.random.default_rng(seed).choice(good, MOST, replace=False)
        self.training = (Reference(1, good), Capital(1, low=False)) if len(good) else None

    def _restart(self) -> None:
        self.blocks = [Block(size) for size in BLOCKS]
        self.recent: deque[tuple[str, Floats]] = deque(maxlen=RECENT)
        self.started, self.called = self.pictures, 0

    def feed(self, prediction: Prediction) -> Drift | None:
        """Look at one more prediction.

        Args:
            prediction: the next of the stream; nothing is known of a picture that could not be read.

        Returns:
            The alarm that it raises, if it does.
        """
        if prediction.status != "ok":
            return None
        self.pictures += 1
        random = np.random.default_rng((self.seed, self.pictures))
        row = measured(prediction)
        self.called += prediction.label != GOOD
        self.recent.append((prediction.path.as_posix(), row))
        for block in self.blocks:
            block.feed(row, random)
        if self.training is not None and prediction.label == GOOD:
            reference, capital = self.training
            capital.bet(reference.compare(row[:1], random))
        alarm = self._alarm()
        if alarm is not None:
            self.alarms.append(alarm)
            if alarm.against == "training":  # said once; from now on the line is compared with itself
                self.training = None
            self._restart()
        return alarm

    @property
    def limit(self) -> float:
        """What the bets of one test must be worth for an alarm."""
        return float(TESTS * self.false_alarm_in)

    @property
    def evidence(self) -> dict[str, float]:
        """Of each measure, and of the comparison with ``training``, its worth as a share of the limit."""
        shares = np.max([block.evidence for block in self.blocks], axis=0) / self.limit
        of_training = 0.0 if self.training is None else float(self.training[1].evidence[0]) / self.limit
        return {**dict(zip(MEASURED, shares.tolist(), strict=True)), "training": of_training}

    @property
    def promise(self) -> str:
        """The promise, in words."""
        return (
            "while nothing changes, the chance of a false alarm within any n pictures is at most "
            f"n / {self.false_alarm_in:,}"
        )

    def status(self) -> dict[str, Any]:
        """What a dashboard shows: counts, evidence, the last alarm, the share called defective; JSON-ready."""
        evidence, since = self.evidence, self.pictures - self.started
        most = max(evidence, key=lambda name: evidence[name])
        low, high = share_interval(self.called, since)
        return {
            "pictures": self.pictures,
            "since_restart": since,
            "alarms": len(self.alarms),
            "last_alarm": self.alarms[-1].to_dict() if self.alarms else None,
            "most_evidence": {"measure": most, "share_of_limit": evidence[most]},
            "called_defective": {"share": self.called / since if since else None, "low": low, "high": high},
            "promise": self.promise,
        }

    def _alarm(self) -> Drift | None:
        lengths = {
            int(k): block.began(int(k))
            for block in reversed(self.blocks)
            for k in np.flatnonzero(block.evidence >= self.limit)
        }
        if lengths:
            length = max(1, *lengths.values())
            return self._told("line", self._changes(set(lengths), length), length)
        if self.training is None or self.training[1].evidence[0] < self.limit:
            return None
        length = max(1, self.training[1].began(0))
        before, after = np.median(self.training[0].values), np.nanmedian(self._latest(length)[:, 0])
        return self._told("training", (Change(DISTANCE, float(before), float(after), fired=True),), length)

    def _latest(self, length: int) -> Floats:
        return np.array([row for _, row in self.recent])[-length:]

    def _changes(self, fired: set[int], length: int) -> tuple[Change, ...]:
        """Before and since, of what fired and of what else has changed."""
        after, before = self._latest(length), self.blocks[0].reference.values
        if len(before) > len(after):  # new ones are at the end until the reference is full
            before = before[: len(before) - len(after)] if len(before) < MOST else before
        worth = np.max([block.evidence for block in self.blocks], axis=0)
        least = ALSO * max(1, self.pictures - self.started)
        ordered = sorted(range(len(MEASURED)), key=lambda k: (k not in fired, -worth[k]))
        found = []
        for k in ordered:
            if k in fired or worth[k] >= least:
                middle = np.nanmean if MEASURED[k] == CALLED else np.nanmedian
                was, now = float(middle(before[:, k])), float(middle(after[:, k]))
                found.append(Change(MEASURED[k], was, now, fired=k in fired))
        return tuple(found)

    def _told(self, against: Against, changes: tuple[Change, ...], length: int) -> Drift:
        k = MEASURED.index(changes[0].measure)
        sign = 1 if changes[0].after >= changes[0].before else -1
        shown = sorted(list(self.recent)[-length:], key=lambda one: -sign * one[1][k])
        pictures = tuple(path for path, _ in shown[:SHOWN])
        since = max(self.started, self.pictures - length) + 1
        return Drift(self.pictures, self.recent[-1][0], since, against, changes, pictures)
