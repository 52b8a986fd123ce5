"""What but the defect tells the classes apart in the data of a run, or moves the network's confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from weakspot.data.defect_itself import Checked, check_against, settle, without_boxes
from weakspot.data.shortcuts import find_shortcuts, follow_confidence, joined
from weakspot.evaluation.schema import Alarm
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.postprocess.boxes import boxes_array
from weakspot.report.alarms import write_alarms
from weakspot.runs.folder import RunFolder
from weakspot.training.cached_searches import measurements
from weakspot.training.prepare import PreparedRun


@dataclass(frozen=True)
class RaisedAlarms:
    """Alarms raised before anything is measured.

    Attributes:
        alarms: of one cause each.
        notes: differences between the classes that are the defect's own, a sentence each.
    """

    alarms: Sequence[Alarm] = ()
    notes: Sequence[str] = ()


NOTHING_RAISED = RaisedAlarms()


def raise_alarms(prepared: PreparedRun, subset: EvaluatedSubset, run: RunFolder) -> RaisedAlarms:
    """Compare the classes of all images, and the confidence on the Good test images; draws a picture of each alarm.

    Args:
        prepared: the data of the run.
        subset: the run's own test subset with its predictions.
        run: for the pictures.

    Raises:
        WeakspotError: when an image or a mask cannot be read; the message names it.
    """
    data, cache = prepared.data, prepared.rules.cache
    values, groups = measurements(data.infos, cache.folder if cache else None), data.groups
    checked = settle(find_shortcuts(values, data.targets, groups), values, data.samples, data.infos, groups)
    tests = data.indices("test")
    checked = _by_boxes(checked, values, prepared, subset, tests)
    good = [n for n, i in enumerate(tests) if data.targets[i] == 0]
    positions = [tests[n] for n in good]
    confidences = [subset.predictions[n].probability for n in good]
    followed = follow_confidence(values[positions], confidences, [groups[i] for i in positions])
    found = joined(checked.alarms, followed)
    pictures = write_alarms(run.figures, data.samples, values, found)
    alarms = [
        Alarm.from_dict({**shortcut.to_dict(), "picture": name}) for shortcut, name in zip(found, pictures, strict=True)
    ]
    return RaisedAlarms(alarms, checked.explained)


def _by_boxes(
    checked: Checked,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    prepared: PreparedRun,
    subset: EvaluatedSubset,
    tests: Sequence[int],
) -> Checked:
    """Where no mask settled an alarm, look whether it goes with the predicted boxes of the test images."""
    open_ones = [one for one in checked.alarms if not one.checked]
    if not open_ones:
        return checked
    data = prepared.data
    left = without_boxes(
        [data.infos[i] for i in tests],
        [boxes_array(prediction.boxes) for prediction in subset.predictions],
        [data.targets[i] for i in tests],
        [data.groups[i] for i in tests],
    )
    if left is None:
        return checked
    of_tests = values[[tests[n] for n in left[0]]]
    settled = check_against(open_ones, of_tests, left[1])
    alarms = [one for one in checked.alarms if one.checked or any(one.columns == o.columns for o in settled.alarms)]
    return replace(checked, alarms=alarms, explained=[*checked.explained, *settled.explained])
