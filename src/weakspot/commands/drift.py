"""Look back over predictions for changes of the world, and write the page that shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weakspot.drift.monitor import FALSE_ALARM_IN, Monitor
from weakspot.drift.sources import prediction_files, predictions_of
from weakspot.errors import WeakspotError
from weakspot.inference.exported import EXPORTED, load_exported
from weakspot.models.bundle_meta import find_bundle, read_meta
from weakspot.postprocess.familiarity import Familiarity
from weakspot.report.drift_page import Trace, write_drift_page
from weakspot.utils.files import write_json


@dataclass(frozen=True)
class Watched:
    """What was found.

    Attributes:
        page: ``drift.html``.
        monitor: with its alarms.
        carried: whether the predictions carry measures of familiarity; without, only scores and classes are watched.
        unlike: pictures that were called unlike those of training.
    """

    page: Path
    monitor: Monitor
    carried: bool
    unlike: int


def drift(
    source: Path,
    output: Path,
    run: Path | None = None,
    false_alarm_in: int = FALSE_ALARM_IN,
    progress: Callable[[int, int], None] | None = None,
) -> Watched:
    """Feed predictions to a monitor, as if they came now, and write ``drift.html`` and ``drift.json``.

    Args:
        source: a file of predictions or a folder of them, see :func:`~weakspot.drift.sources.prediction_files`.
        output: folder for the results; made when it is missing.
        run: the run, bundle or exported model that made them, to compare with its training pictures; None does not.
        false_alarm_in: within n pictures the chance of a false alarm is at most n over it.
        progress: called with (done, total) after each prediction.

    Raises:
        WeakspotError: when there is no prediction, or a file is damaged.
    """
    monitor = Monitor(None if run is None else _familiarity(run), false_alarm_in)
    predictions = list(predictions_of(prediction_files(source)))
    trace, carried, unlike = Trace(len(predictions)), False, 0
    for done, prediction in enumerate(predictions, start=1):
        alarm = monitor.feed(prediction)
        if prediction.status == "ok":
            trace.add(prediction, monitor, alarm)
            carried, unlike = carried or bool(prediction.measures), unlike + prediction.unlike_training
        if progress:
            progress(done, len(predictions))
    if not monitor.pictures:
        raise WeakspotError(f"{source} holds no prediction of a picture that could be read")
    page = write_drift_page(output / "drift.html", monitor, trace, carried=carried, unlike=unlike)
    alarms = [alarm.to_dict() for alarm in monitor.alarms]
    write_json(output / "drift.json", {"status": monitor.status(), "alarms": alarms, "unlike_training": unlike})
    return Watched(page, monitor, carried, unlike)


def _familiarity(run: Path) -> Familiarity:
    """What a model knows of its training pictures.

    Raises:
        WeakspotError: when it knows nothing of them.
    """
    exported = run.suffix.lower() in EXPORTED
    meta = load_exported(run)[1] if exported else read_meta(find_bundle(run))
    if meta.familiarity is None:
        raise WeakspotError(
            f"{run} knows nothing of its training pictures: an older weakspot made it, or none was held "
            "out of training (split.val_size=0.15 does that); leave --run out to compare the pictures with each other"
        )
    return meta.familiarity
