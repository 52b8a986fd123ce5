"""What a long piece of work consists of, and how much time is left until its end, by its pace so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TRUSTED_FOR_S = 20.0
"""The expected times count like so many seconds that went as expected, so that one short stage sets no pace."""


@dataclass(frozen=True)
class Planned:
    """A part of the work.

    Attributes:
        name: as its line of progress is called.
        seconds: that it is expected to take, 0 or more.
    """

    name: str
    seconds: float


class Agenda:
    """The stages of a piece of work in their order.

    Args:
        stages: may have the same name several times; kept as :attr:`stages`.
        clock: seconds, rising.

    Examples:
        >>> seconds = iter([0, 60, 60])
        >>> stages = [Planned("fit", 40), Planned("maps", 20), Planned("report", 20)]
        >>> agenda = Agenda(stages, clock=lambda: next(seconds))
        >>> agenda.begin("fit"); agenda.left_after()
        40.0
        >>> agenda.end("fit"); agenda.begin("maps"); round(agenda.left_after(), 1)  # a third slower than expected
        26.7
    """

    def __init__(self, stages: Sequence[Planned], clock: Callable[[], float] = time.monotonic) -> None:
        self.stages, self._clock = tuple(stages), clock
        self._now = -1
        self._started: float | None = None
        self._expected = self._taken = TRUSTED_FOR_S

    @property
    def seconds(self) -> float:
        """What all of it is expected to take."""
        return sum(stage.seconds for stage in self.stages)

    def begin(self, name: str) -> None:
        """A stage begins; those before it are done or were not needed. Unknown ones do not count.

        Args:
            name: of the stage.
        """
        later = range(self._now + 1, len(self.stages))
        found = next((i for i in later if self.stages[i].name == name), None)
        if found is not None:
            self._now, self._started = found, self._clock()

    def end(self, name: str) -> None:
        """The stage has ended.

        Args:
            name: of the stage; nothing happens if it is not the current one.
        """
        if self._started is None or self.stages[self._now].name != name:
            return
        self._expected += self.stages[self._now].seconds
        self._taken += self._clock() - self._started
        self._started = None

    def left_after(self) -> float:
        """Seconds from the end of the current stage to the end of all, by the pace of those that have ended."""
        rest = sum(stage.seconds for stage in self.stages[self._now + 1 :])
        return rest * self._taken / self._expected
