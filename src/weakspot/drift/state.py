"""The state of a :class:`~weakspot.drift.monitor.Monitor` as JSON, so that it goes on after a restart."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.drift.alarm import MEASURED, Drift
from weakspot.drift.betting import BETS, Capital
from weakspot.drift.monitor import Monitor
from weakspot.drift.reference import MOST, Reference
from weakspot.errors import WeakspotError
from weakspot.utils.files import shown, write_json
from weakspot.utils.untrusted import expect, read_json

VERSION = 1
COUNTS = ("false_alarm_in", "seed", "pictures", "started", "called")


def to_dict(monitor: Monitor) -> dict[str, Any]:
    """All of a monitor's state, JSON-ready; :func:`from_dict` goes on from it.

    Args:
        monitor: any.
    """
    return {
        "version": VERSION,
        "model": monitor.model,
        **{name: getattr(monitor, name) for name in COUNTS},
        "alarms": [alarm.to_dict() for alarm in monitor.alarms],
        "recent": [[path, _listed(row)] for path, row in monitor.recent],
        "blocks": [
            {**_packed(block.reference, block.capital), "sums": _listed(block.sums), "waiting": block.waiting}
            for block in monitor.blocks
        ],
        "training": None if monitor.training is None else _packed(*monitor.training),
    }


def from_dict(values: object) -> Monitor:
    """Go on from what :func:`to_dict` wrote.

    Raises:
        ValueError: when it is something else.
    """
    try:
        expect(values, **dict.fromkeys(COUNTS, int), version=int, alarms=list, recent=list, blocks=list)
        if not isinstance(values, Mapping) or values["version"] != VERSION:
            raise ValueError(f"it is not of version {VERSION}")
        monitor = Monitor(None, values["false_alarm_in"], values["seed"])
        monitor.model = str(values.get("model", ""))  # older states say nothing of it
        for name in COUNTS:
            setattr(monitor, name, values[name])
        monitor.alarms = [Drift.from_dict(alarm) for alarm in values["alarms"]]
        monitor.recent.extend((str(path), _row(row)) for path, row in values["recent"])
        for block, kept in zip(monitor.blocks, values["blocks"], strict=True):
            block.reference, block.capital = _unpacked(kept, block.capital, len(MEASURED))
            expect(kept, waiting=int, sums=list)
            block.sums, block.waiting = _row(kept["sums"]), kept["waiting"]
        if values["training"] is not None:
            monitor.training = _unpacked(values["training"], Capital(1, low=False), 1)
    except (KeyError, TypeError, IndexError, WeakspotError) as error:
        raise ValueError(f"it is no state of a watch for changes ({error})") from error
    return monitor


def save(path: Path, monitor: Monitor) -> None:
    """Write a monitor's state, whole or not at all.

    Args:
        path: the file.
        monitor: any.
    """
    write_json(path, to_dict(monitor))


def load(path: Path) -> Monitor:
    """Read what :func:`save` wrote.

    Raises:
        WeakspotError: when the file cannot be read or is something else.
    """
    try:
        return from_dict(read_json(path))
    except (OSError, ValueError) as error:
        raise WeakspotError(f"{shown(path)} cannot be used: {error}; remove it to start anew") from error


def _listed(row: npt.NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in row.tolist()]


def _row(values: list[float | None]) -> npt.NDArray[np.float64]:
    row = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    if row.shape != (len(MEASURED),):
        raise ValueError(f"a picture has {len(row)} measures")
    return row


ARRAYS = {"worth": np.float64, "run": np.float64, "since": np.int64}


def _packed(reference: Reference, capital: Capital) -> dict[str, str]:
    arrays = {"rows": reference.values, **{name: getattr(capital, name) for name in ARRAYS}}
    return {name: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode() for name, array in arrays.items()}


def _unpacked(values: Mapping[str, str], capital: Capital, streams: int) -> tuple[Reference, Capital]:
    def array(name: str, kind: type, columns: int) -> npt.NDArray[Any]:
        content = base64.b64decode(values[name], validate=True)
        return np.frombuffer(content, dtype=kind).reshape(-1, columns).copy()

    rows = array("rows", np.float32, streams)
    if len(rows) > MOST:
        raise ValueError(f"a reference has {len(rows)} pictures")
    for name, kind in ARRAYS.items():
        found = array(name, kind, BETS)
        if len(found) != streams:
            raise ValueError(f"{name} is of {len(found)} measures")
        setattr(capital, name, found)
    return Reference(streams, rows), capital
