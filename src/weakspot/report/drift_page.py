"""``drift.html``: evidence of a change over time, what changed, and the pictures that show it. Loads nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot._version import __version__
from weakspot.drift.alarm import CALLED, MEASURED, Drift, name_of, value_of
from weakspot.drift.monitor import BLOCKS, Monitor, measured
from weakspot.report.page import render
from weakspot.report.picture_records import link
from weakspot.report.pictures import Album, thumbnails
from weakspot.types import Prediction
from weakspot.utils.files import write_text

POINTS = 400
"""Points of a curve at most; of what falls on one the highest evidence counts, and the mean of a measure."""

MEANS = 80
"""Means of a measure that are drawn at most."""

LOWEST = -6.0
"""Logarithm to base 10 of the least evidence that is drawn, as a share of the limit."""

COLOURS = ("--c1", "--c2", "--c3", "--c4")
SIDE = 320
WIDE, TALL, LEFT, BELOW, TOP = 720, 260, 74, 26, 12

Floats = npt.NDArray[np.float64]


@dataclass
class Trace:
    """What was seen along the way, in bounded memory.

    Attributes:
        total: predictions that will come.
        evidence: highest logarithm of each measure's share of the limit, by point.
        sums, counts: of each measure, by point.
        alarms: point of each alarm.
    """

    total: int
    evidence: Floats = field(init=False)
    sums: Floats = field(init=False)
    counts: Floats = field(init=False)
    alarms: list[tuple[int, Drift]] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        points = min(POINTS, max(1, self.total))
        self.evidence = np.full((points, len(MEASURED) + 1), LOWEST)
        self.sums = np.zeros((points, len(MEASURED)))
        self.counts = np.zeros((points, len(MEASURED)))

    def add(self, prediction: Prediction, monitor: Monitor, alarm: Drift | None) -> None:
        """Note what a prediction has made of the monitor.

        Args:
            prediction: the one that was fed last.
            monitor: after it was fed.
            alarm: that it raised; None for none.
        """
        point = min(len(self.sums) - 1, self.seen * len(self.sums) // max(1, self.total))
        self.seen += 1
        shares = np.array(list(monitor.evidence.values()))
        logs = np.log10(np.maximum(shares, 10.0**LOWEST))
        if alarm is not None:  # its capital is gone by now
            logs[-1 if alarm.against == "training" else MEASURED.index(alarm.changes[0].measure)] = 0.0
            self.alarms.append((point, alarm))
        self.evidence[point] = np.maximum(self.evidence[point], logs)
        row = measured(prediction)
        known = ~np.isnan(row)
        self.sums[point, known] += row[known]
        self.counts[point, known] += 1

    @property
    def used(self) -> int:
        """Points that hold something."""
        return max(1, min(len(self.sums), math.ceil(self.seen * len(self.sums) / max(1, self.total))))


def write_drift_page(page: Path, monitor: Monitor, trace: Trace, *, carried: bool, unlike: int) -> Path:
    """Write the page.

    Args:
        page: the file to write.
        monitor: after all predictions.
        trace: of the same predictions.
        carried: whether the predictions carry measures of familiarity.
        unlike: pictures that were called unlike those of training.

    Returns:
        `page`.
    """
    status = monitor.status()
    with Album(page) as album:
        alarms = [_shown(i, alarm, page, album) for i, (_, alarm) in enumerate(trace.alarms)]
        text = render(
            "drift.html",
            version=__version__,
            monitor=monitor,
            status=status,
            alarms=alarms,
            carried=carried,
            unlike=unlike,
            blocks=BLOCKS,
            evidence=evidence_chart(trace),
            measures=[chart for k in range(len(MEASURED)) if (chart := measure_chart(trace, k)) is not None],
        )
        write_text(page, text, errors="backslashreplace")
    return page


def _shown(number: int, alarm: Drift, page: Path, album: Album) -> dict[str, Any]:
    paths = [Path(path) for path in alarm.pictures]
    pictures = [
        {"name": path.name, "href": link(page, path), "src": album.add(100 * number + i, thumbnail)}
        for i, (path, thumbnail) in enumerate(zip(paths, thumbnails(paths, SIDE), strict=True))
    ]
    changes = [
        {"name": name_of(c.measure), "before": value_of(c.measure, c.before), "after": value_of(c.measure, c.after),
         "words": c.words, "fired": c.fired}
        for c in alarm.changes
    ]  # fmt: skip
    return {"alarm": alarm, "changes": changes, "pictures": pictures, "look_at": ", ".join(alarm.look_at)}


def evidence_chart(trace: Trace) -> dict[str, Any]:
    """The evidence of the measures that had most of it, as points of a drawing.

    Args:
        trace: of a stream.

    Returns:
        ``lines`` with ``name``, ``colour`` and ``points``; ``grid`` and ``limit`` (heights of powers of ten and of the
        alarm), ``ticks`` along the pictures, ``alarms`` (positions), and the drawing's size.
    """
    names = [*MEASURED, "training"]
    most = np.argsort(-trace.evidence.max(axis=0), kind="stable")[: len(COLOURS)]
    lines = [
        {"name": name_of(names[k]), "colour": colour,
         "points": _points(trace, trace.evidence[: trace.used, k], LOWEST, 0.5)}
        for k, colour in zip(most.tolist(), COLOURS, strict=True)
    ]  # fmt: skip
    grid = [(power, _height(power, LOWEST, 0.5)) for power in range(int(LOWEST), 1, 2)]
    return {**_frame(trace), "lines": lines, "grid": grid, "limit": _height(0.0, LOWEST, 0.5)}


def measure_chart(trace: Trace, k: int) -> dict[str, Any] | None:
    """The mean of a measure over time; None where no prediction carries it.

    Args:
        trace: of a stream.
        k: position of the measure.
    """
    starts = np.arange(0, trace.used, max(1, -(-trace.used // MEANS)))
    counts, sums = (np.add.reduceat(values[: trace.used, k], starts) for values in (trace.counts, trace.sums))
    if not counts.any():
        return None
    of_points = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    means = np.full(trace.used, np.nan)
    means[starts] = of_points
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    room = max((high - low) * 0.08, 1e-6)
    low, high = max(0.0, low - room) if MEASURED[k] == CALLED else low - room, high + room
    ticks = [(value_of(MEASURED[k], value), _height(value, low, high)) for value in (low + room, high - room)]
    return {**_frame(trace), "name": name_of(MEASURED[k]), "points": _points(trace, means, low, high), "grid": ticks}


def _frame(trace: Trace) -> dict[str, Any]:
    alarms = [_across(trace, point) for point, _ in trace.alarms]
    ticks = [(f"{round(share * trace.seen):,}", LEFT + share * (WIDE - LEFT - 8)) for share in (0.0, 0.5, 1.0)]
    return {"wide": WIDE, "tall": TALL, "left": LEFT, "floor": TALL - BELOW, "alarms": alarms, "ticks": ticks}


def _across(trace: Trace, point: float) -> float:
    return round(LEFT + (WIDE - LEFT - 8) * point / max(1, trace.used - 1), 1)


def _height(value: float, low: float, high: float) -> float:
    return round(TALL - BELOW - (TALL - BELOW - TOP) * (value - low) / (high - low), 1)


def _points(trace: Trace, values: Floats, low: float, high: float) -> str:
    known = [(i, value) for i, value in enumerate(values.tolist()) if not math.isnan(value)]
    return " ".join(f"{_across(trace, i)},{_height(min(value, high), low, high)}" for i, value in known)
