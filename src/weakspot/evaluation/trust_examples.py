"""Boxes whose answer is known: on held-out Good images, on defects imitated there, and where a person drew some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.evaluation.subsets import size_of
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.output_store import OutputStore
from weakspot.ops.iou import box_iou
from weakspot.ops.maps import visible
from weakspot.postprocess.box_ranking import ranking_scores
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.trust_calibration import (
    FEATURES,
    RIGHT,
    RIGHT_ON_REAL,
    BoxExamples,
    TrustCalibration,
    fit_ranking,
    fit_trust,
)

NONE_RIGHT: npt.NDArray[np.int64] = np.zeros((0, 4), dtype=np.int64)


def calibrated_trust(
    rule: BoxRule,
    held_out: OutputStore,
    imitated: LocatedOutputs,
    preprocess: Preprocess,
    drawn: LocatedOutputs | None = None,
    ranking: TrustCalibration | None = None,
) -> TrustCalibration | str:
    """Calibrate the trust of the boxes that a rule draws.

    Args:
        rule: from evidence to boxes, with its smallest score.
        held_out: outputs for Good images that the model was not trained on.
        imitated: outputs for defects imitated on some of them.
        preprocess: what brought the images to the network's input.
        drawn: outputs for images that a person drew in, and that the model was not trained on.
        ranking: what boxes are ordered by; None where there is none.

    Returns:
        The calibration, or why there is none.
    """
    photographs = {path: number for number, path in enumerate(held_out.paths)}
    every = replace(rule, min_score=None)

    def of_good(drawn_by: BoxRule) -> BoxExamples:
        sources = range(len(held_out))
        return _examples(held_out, sources, preprocess, drawn_by, lambda _: NONE_RIGHT, ranking=ranking)

    sources = [photographs.get(path, 0) for path in imitated.outputs.paths]
    on_imitations = _examples(imitated.outputs, sources, preprocess, rule, lambda i: imitated.boxes[i], ranking=ranking)
    on_good = of_good(every)
    drawn_on_good = on_good if rule.min_score is None else of_good(rule)
    if drawn is None:
        return fit_trust(on_imitations, on_good, drawn_on_good)
    of_drawn = range(len(held_out), len(held_out) + len(drawn))  # photographs of their own
    real = _examples(
        drawn.outputs, of_drawn, preprocess, rule, lambda i: drawn.boxes[i], right_from=RIGHT_ON_REAL, ranking=ranking
    )
    return fit_trust(on_imitations, on_good, drawn_on_good, real)


def fitted_ranking(
    rule: BoxRule,
    held_out: OutputStore,
    imitated: LocatedOutputs,
    preprocess: Preprocess,
    drawn: LocatedOutputs | None = None,
) -> tuple[TrustCalibration, list[float]] | None:
    """Fit what boxes are ordered by.

    Args:
        rule: from evidence to boxes; its smallest score does not matter.
        held_out: outputs for Good images that the model was not trained on.
        imitated: outputs for defects imitated on some of them.
        preprocess: what brought the images to the network's input.
        drawn: outputs for images that a person drew in, and that the model was not trained on.

    Returns:
        The ranking, and the score of every box on the Good images by a ranking that was fitted without its image. None
        where there are too few boxes.
    """
    every = rule.absolute(min_score=None)
    photographs = {path: number for number, path in enumerate(held_out.paths)}
    sources = [photographs.get(path, 0) for path in imitated.outputs.paths]
    on_defects = _examples(
        imitated.outputs, sources, preprocess, every, lambda i: imitated.boxes[i], right_from=RIGHT_ON_REAL
    )
    if drawn is not None:
        of_drawn = range(len(held_out), len(held_out) + len(drawn))
        on_defects = on_defects.and_more(
            _examples(drawn.outputs, of_drawn, preprocess, every, lambda i: drawn.boxes[i], right_from=RIGHT_ON_REAL)
        )
    on_good = _examples(held_out, range(len(held_out)), preprocess, every, lambda _: NONE_RIGHT)
    found = fit_ranking(on_defects, on_good)
    return None if found is None else (found[0], ranking_scores(on_good.features, found[1]).tolist())


def _examples(
    store: OutputStore,
    sources: Sequence[int],
    preprocess: Preprocess,
    rule: BoxRule,
    true_boxes: Callable[[int], npt.NDArray[np.int64]],
    *,
    right_from: float = RIGHT,
    ranking: TrustCalibration | None = None,
) -> BoxExamples:
    """Every box that a rule draws of the likeliest defect class, whichever class an image is given."""
    rule = replace(rule, outlines=False)
    features = [np.zeros((0, len(FEATURES) - (store.flipped is None)))]
    right, picture, source = list[bool](), list[int](), list[int]()
    for i in range(len(store)):
        size = size_of(store, i)
        output = visible(store[i], size, preprocess)
        drawing = Drawing(output, output.likeliest_defect, size, preprocess.input_size(size), rule)
        boxes = drawing.boxes("", ranking)
        if not boxes:
            continue
        features.append(drawing.features(boxes))
        overlaps = box_iou(boxes_array(boxes), true_boxes(i).astype(np.float64)).max(axis=1, initial=0.0)
        right += (overlaps >= right_from).tolist()
        picture += [i] * len(boxes)
        source += [sources[i]] * len(boxes)
    numbers = (np.array(values, dtype=np.int64) for values in (picture, source))
    return BoxExamples(np.concatenate(features), np.array(right, dtype=bool), *numbers)
