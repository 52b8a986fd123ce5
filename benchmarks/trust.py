"""Is a box's colour worth something? Green boxes against masks, and the boxes of Good pictures, before and after.

For every run: how many of the green boxes reach IoU 0.5 with a true box, and how many of the boxes that Good test
pictures get are green, when no class decision takes them away and when one does. *Before* is trust as the lowest of
stability and agreement (and the mirrored pass) with a limit of 0.75, *after* the calibration on the run's held-out
images, fitted here. Masks serve to measure alone.

    weakspot train experiment=plain_cam data.root=DATA data.subset=SUBSET split.val_size=0.2 output=RUN
    python benchmarks/trust.py RUN...
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from common import OutputOption, report, table

from weakspot.config.schema import read_config
from weakspot.evaluation.pooled import Pooled
from weakspot.evaluation.subsets import EvaluatedSubset, size_of
from weakspot.evaluation.thresholds import undecided_boxes_with_trust
from weakspot.evaluation.trust_examples import calibrated_trust
from weakspot.metrics import best_iou, proportion
from weakspot.metrics.intervals import Estimate
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import visible
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.trust_calibration import FEATURES, TrustCalibration
from weakspot.runs.folder import RunFolder, finished_run
from weakspot.types import GOOD, Box

OLD_LIMIT = 0.75
"""From which on a box was green before trust was calibrated."""


@dataclass(frozen=True)
class Colours:
    """What green was worth on one run's test subset.

    Attributes:
        right: share of green boxes on defect pictures, called defective, that reach IoU 0.5.
        any_right: the same of all boxes there.
        undecided: share of green ones among the boxes of Good pictures, whatever their class.
        decided: the same of Good pictures that are called defective.
    """

    right: Estimate
    any_right: Estimate
    undecided: Estimate
    decided: Estimate


def coloured(subset: EvaluatedSubset, row: int, meta: BundleMeta) -> list[tuple[Box, bool]]:
    """An image's boxes, whatever its class, and whether each is green: as calibrated, or without that as it was."""
    boxes = undecided_boxes_with_trust(subset.store, row, meta)
    if not boxes or meta.trust is not None:
        return [(box, box.level == "green") for box in boxes]
    size = size_of(subset.store, row)
    output, rule = visible(subset.store[row], size, meta.preprocess), replace(meta.boxes, outlines=False)
    whole = meta.preprocess.input_size(size)
    features = Drawing(output, output.likeliest_defect, size, whole, rule).features(boxes)
    lowest = features[:, FEATURES.index("stability") :].min(axis=1)
    return [(box, trust >= OLD_LIMIT) for box, trust in zip(boxes, lowest, strict=True)]


def colours(pooled: Pooled, meta: BundleMeta) -> Colours:
    """Draw every box of the test subset again and hold it against the masks.

    Args:
        pooled: the test subset of one run.
        meta: its description; without a calibration the old limit counts.
    """
    right, any_right, undecided, decided = list[bool](), list[bool](), list[bool](), list[bool]()
    for i, sample in enumerate(pooled.samples):
        subset, row = pooled.images[i]
        boxes = coloured(subset, row, meta)
        called = pooled.predictions[i].label != GOOD
        if sample.is_good:
            green = [is_green for _, is_green in boxes]
            undecided += green
            decided += green if called else []
        elif called and len(pooled.truth.boxes[i]):
            for box, is_green in boxes:
                hit = best_iou(boxes_array([box]), pooled.truth.boxes[i].astype(float)) >= 0.5
                any_right.append(hit)
                right += [hit] if is_green else []
    return Colours(*(proportion(sum(hits), len(hits)) for hits in (right, any_right, undecided, decided)))


def fitted(run: RunFolder, meta: BundleMeta) -> tuple[TrustCalibration | None, str]:
    """Calibrate trust from the outputs that a run has kept, and say on what it rests and how long that took."""
    if not run.imitations.is_file():
        return None, "nothing is green: there are no held-out Good images"
    held_out, imitated = OutputStore.load(run.calibration), LocatedOutputs.load(run.imitations)
    start = time.perf_counter()
    found = calibrated_trust(meta.boxes, held_out, imitated, meta.preprocess, ranking=meta.ranking)
    rest = f"{len(held_out)} held-out Good images, {len(imitated)} imitations, {time.perf_counter() - start:.1f} s"
    return (None, found) if isinstance(found, str) else (found, f"{found.origin} ({rest})")


def cell(found: Estimate) -> str:
    """``k of n, share (interval)``."""
    if not found.n:
        return "none"
    return f"{round(found.value * found.n)} of {found.n}, {found.value:.2f} ({found.low:.2f} – {found.high:.2f})"


def rows_of(run: RunFolder) -> tuple[list[list[str]], str]:
    """A run's lines of the table, and what its trust rests on."""
    pooled = Pooled.read([run])
    meta = pooled.subsets[0].meta
    config = read_config(run.config)
    name = f"{config.name}, {config.data.subset or Path(str(config.data.root)).name}"
    lines = []
    trust, origin = fitted(run, meta)
    for when, used in (("before", None), ("after", trust)):
        found = colours(pooled, replace(meta, trust=used)) if when == "before" or used is not None else None
        cells = ["nothing is green"] * 4 if found is None else [cell(one) for one in vars(found).values()]
        lines.append([name, when, *cells])
    return lines, f"- {name}: {origin}."


def main(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    output: OutputOption = None,
) -> None:
    """Measure what green boxes are worth."""
    lines: list[list[str]] = []
    origins: Sequence[str] = []
    for path in runs:
        found, origin = rows_of(finished_run(path))
        lines += found
        origins = [*origins, origin]
    header = (
        "set-up", "trust", "green boxes with IoU ≥ 0.5", "all boxes with IoU ≥ 0.5",
        "green among boxes on Good, before the class decision", "after it",
    )  # fmt: skip
    command = f"```sh\npython benchmarks/trust.py {' '.join(['RUN'] * len(runs))}\n```"
    report("Trust", [table(header, lines), "\n".join(origins), command], output)


if __name__ == "__main__":
    typer.run(main)
