"""How far should boxes reach beyond the evidence? V2 at several margins, on defects whose models have not seen them.

Two kinds of defects tell: the real ones of a run's training pictures, each judged by the model that was trained without
it, where the data have masks, and those that the run imitated on its held-out Good pictures. No test picture is looked
at. Boxes are drawn whatever the class of the picture.

    python benchmarks/box_margin.py outputs/recommended/SUBSET/RUN
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from common import OutputOption, report, table

from weakspot.commands.resolve import resolve
from weakspot.config.rules import BoxRule
from weakspot.config.schema import read_config
from weakspot.data.preprocess import Preprocess
from weakspot.evaluation.truth import Truth
from weakspot.metrics import BEST_BOXES, best_iou
from weakspot.metrics.localisation import box_accuracy
from weakspot.models.bundle_meta import BundleMeta, read_meta
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.model import Model
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.runs.folder import RunFolder
from weakspot.training.evidence.fit import checkpoints_of_fold
from weakspot.training.model_parts import fit_heads
from weakspot.training.prepare import PreparedRun, prepare
from weakspot.training.stages import compute_outputs, fit_classifier

MARGINS = (0.0, 0.025, 0.05, 0.075, 0.1, 0.15)

Boxes = npt.NDArray[np.float64]


def unseen_defects(prepared: PreparedRun, run: RunFolder, scratch: Path) -> Iterator[OutputStore]:
    """Outputs for the defective training pictures of a cross-fitted run, each by the model that has not seen it.

    Args:
        prepared: the run, prepared again.
        run: finished; its stages are taken over from a copy.
        scratch: folder for the copy.
    """
    shutil.copytree(run.checkpoint.parent, scratch / "checkpoints")
    left_out = [prepared.without(fold) for fold in prepared.left_out]
    _, *heads = fit_heads(prepared, scratch, left_out)
    for k, (one, of_fold) in enumerate(zip(left_out, heads, strict=True)):
        fit_classifier(one, checkpoints_of_fold(scratch / "checkpoints", k))
        model, data = Model(one.network, of_fold.evidence, of_fold.statistics), one.data
        defects = [data.infos[i] for i in one.validation_images if data.targets[i] != 0]
        yield compute_outputs(model, defects, one.preprocess, one.rules.cache, one.rules.heatmap)


def true_boxes(prepared: PreparedRun, outputs: OutputStore) -> Sequence[Boxes]:
    """Of each picture the boxes of its mask; none where it has no mask."""
    samples = {sample.path: sample for sample in prepared.data.samples}
    return [boxes.astype(float) for boxes in Truth.read([samples[p] for p in outputs.paths], outputs.sizes).boxes]


def v2_at(margin: float, outputs: OutputStore, truth: Sequence[Boxes], meta: BundleMeta) -> float:
    """V2 of the best boxes of pictures that have a true box, drawn whatever their score and class.

    Args:
        margin: of the boxes.
        outputs: of the model.
        truth: ``(m, 4)`` true boxes of each picture.
        meta: of the model; its rule draws and orders the boxes.
    """
    return v2_of(outputs, truth, meta.preprocess, replace(meta.boxes, margin=margin), meta.ranking)


def v2_of(
    outputs: OutputStore,
    truth: Sequence[Boxes],
    preprocess: Preprocess,
    rule: BoxRule,
    ranking: TrustCalibration | None = None,
) -> float:
    """As :func:`v2_at`, by any rule, whose smallest score and number of boxes do not matter.

    Args:
        outputs: of the model.
        truth: ``(m, 4)`` true boxes of each picture.
        preprocess: what brings pictures to the network's input.
        rule: draws the boxes.
        ranking: orders them; None takes the order of their places.
    """
    rule = replace(rule, min_score=None, max_boxes=BEST_BOXES)
    ious = []
    for i, boxes in enumerate(truth):
        if not len(boxes):
            continue
        output, (height, width) = outputs[i], outputs.sizes[i].tolist()
        seen = preprocess.input_size((height, width))
        drawing = Drawing(output, output.likeliest_defect, (height, width), seen, rule)
        ious.append(best_iou(boxes_array(drawing.boxes("defect", ranking)), boxes))
    return float(box_accuracy(np.array(ious)).max_box_acc_v2.value)


def main(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs of recommended.")],
    output: OutputOption = None,
) -> None:
    """Measure V2 at several margins."""
    rows = []
    for path in runs:
        run, meta = RunFolder(path.resolve()), read_meta(path / "bundle")
        imitated, prepared = LocatedOutputs.load(run.imitations), prepare(resolve(read_config(run.config)))
        with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as scratch:
            real = OutputStore.join(list(unseen_defects(prepared, run, Path(scratch))))
        truth = true_boxes(prepared, real)
        masked = sum(len(boxes) > 0 for boxes in truth)
        drawn = [boxes.astype(float) for boxes in imitated.boxes]
        for name, count, outputs, of in (
            ("real", masked, real, truth),
            ("imitated", len(imitated), imitated.outputs, drawn),
        ):
            figures = [f"{v2_at(margin, outputs, of, meta):.3f}" for margin in MARGINS]
            rows.append((f"{path.parent.name}/{path.name}", name, count, *figures))
    header = ("run", "defects", "n", *(f"margin {margin:g}" for margin in MARGINS))
    report("V2 of boxes that reach beyond their region", [table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)
