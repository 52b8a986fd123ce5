"""Does a model's decision depend on what is inside its boxes? Erase them and run it again."""

from __future__ import annotations

from weakspot.errors import WeakspotError
from weakspot.evaluation.erasure import measure_erasure
from weakspot.evaluation.schema import Erasure
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.runs.folder import RunFolder, finished_run, own_test_subset
from weakspot.utils.files import write_json


def audit(run: RunFolder, device: str = "auto") -> Erasure:
    """Erase the boxes of a run's test subset and run the model again; writes ``audit.json`` into the run folder.

    Args:
        run: a finished run.
        device: as for :meth:`Localizer.load`.

    Raises:
        WeakspotError: when the run is not finished, its images have moved, or nothing was called defective.
    """
    run = finished_run(run.path)
    _, samples = own_test_subset(run)
    result = measure_erasure(run, samples, read_predictions(run.predictions), device)
    if result is None:
        raise WeakspotError(f"{run.path}: no test image was called defective, so there is no box to erase")
    write_json(run.audit, result.to_dict())
    return result
