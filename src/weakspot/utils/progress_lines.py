"""Progress in lines with the time left, for where there is no terminal: a log, a queue, a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable

from weakspot.utils.agenda import Agenda

FIRST_S = 10.0
"""The first line comes after this time, so that short work says nothing."""

EVERY_S = 30.0
"""Between two lines passes at least this time."""


def set_pace(first_s: float, every_s: float) -> None:
    """Say more, or less, from now on: a page that shows the lines wants them sooner than a log.

    Args:
        first_s: seconds before the first line.
        every_s: seconds between two lines at least.
    """
    global FIRST_S, EVERY_S
    FIRST_S, EVERY_S = first_s, every_s


class ProgressLines:
    """Turns calls with (done, total) into a line now and then.

    Args:
        description: stands before the numbers.
        say: takes a line.
        clock: seconds, rising.
        agenda: of the whole work that this is a stage of; None where it is all there is.

    Examples:
        >>> seconds = iter([0, 5, 20, 30, 60])
        >>> lines = ProgressLines("maps", print, clock=lambda: next(seconds))
        >>> for done in (1, 4, 6):
        ...     lines.update(done, 16)
        maps: 4 of 16 (25 %), about 1 min left
        >>> lines.end()
        maps: done in 1 min
    """

    def __init__(
        self,
        description: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        agenda: Agenda | None = None,
    ) -> None:
        self._description, self._say, self._clock, self._agenda = description, say, clock, agenda
        if agenda:
            agenda.begin(description)
        self._start = clock()
        self._next = self._start + FIRST_S
        self._said = False

    def update(self, done: int, total: int) -> None:
        """Say how far the work is, where it is time for a line.

        Args:
            done: number of steps done.
            total: of so many; 0 where that is not known.
        """
        now = self._clock()
        if now < self._next:
            return
        self._next, self._said = now + EVERY_S, True
        if not total:
            self._say(f"{self._description}: {done} done")
        elif done:
            share = f"{done} of {total} ({100 * done // total} %)"
            left, until = self._left(done, total, now), self.remaining(done, total, now) if self._agenda else ""
            self._say(f"{self._description}: {share}, about {in_words(left)} left{until and f'; {until}'}")

    def _left(self, done: int, total: int, now: float) -> float:
        """Seconds until this stage is done."""
        return (now - self._start) / done * (total - done)

    def remaining(self, done: int, total: int, now: float | None = None) -> str:
        """How long it takes until all of the work is done, in words: of the agenda where there is one.

        Args:
            done: number of steps done.
            total: of so many; 0 where that is not known.
            now: seconds of the clock; None looks at it.
        """
        if not done or not total:
            return ""
        left = self._left(done, total, self._clock() if now is None else now)
        if self._agenda is None:
            return f"about {in_words(left)} left"
        return f"about {in_words(left + self._agenda.left_after())} until the report"

    def end(self) -> None:
        """Say how long it took, if anything was said before."""
        if self._agenda:
            self._agenda.end(self._description)
        if self._said:
            self._say(f"{self._description}: done in {in_words(self._clock() - self._start)}")


def in_words(seconds: float) -> str:
    """A time as people say it.

    Args:
        seconds: 0 or more.

    Examples:
        >>> in_words(8), in_words(62), in_words(88), in_words(130), in_words(7500)
        ('8 s', '1 min', '90 s', '2 min', '2 h 5 min')
    """
    if seconds < 55:
        return f"{max(1, round(seconds))} s"
    tens = 10 * round(seconds / 10)
    if 60 < tens < 100:  # in whole minutes these would be off by a third
        return f"{tens} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
