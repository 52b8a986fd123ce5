"""From logits and maps to predictions. NumPy only, as exported models use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.ops.maps import visible
from weakspot.postprocess.box_class import with_class
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.familiarity import UNLIKE, Familiarity
from weakspot.postprocess.trust import with_probability
from weakspot.postprocess.trust_calibration import AMBER, TrustCalibration
from weakspot.types import Box, ClassConfidence, Level, ModelOutput, Prediction, Size
from weakspot.utils.files import shown

NOT_FINITE = (
    "the network gave NaN or infinity, which is no prediction; try another device or export, and where it stays so, "
    "train again with a lower model.optimizer.lr"
)
"""What is said of a picture whose logits are not all numbers."""


def make_prediction(
    name: Path,
    size: Size,
    output: ModelOutput,
    classes: Sequence[str],
    preprocess: Preprocess,
    rule: BoxRule,
    decision: Decision,
    *,
    trust: TrustCalibration | None = None,
    ranking: TrustCalibration | None = None,
    familiarity: Familiarity | None = None,
) -> Prediction:
    """Decide the class of one image and, unless it is Good, draw its boxes.

    Args:
        name: the file, or what to call an image without one.
        size: ``(height, width)`` of the original image.
        output: the model's output for the image.
        classes: class names, ``good`` first.
        preprocess: what brought the image to the network's input; class activation maps are up-sampled to that size
            before the threshold.
        rule: from evidence to boxes.
        decision: from logits to the class.
        trust: makes a probability of what is known of a box; None leaves trust uncalibrated.
        ranking: what boxes are ordered by; None for a model without one.
        familiarity: what is known of the pictures of training; None leaves the prediction without.

    Returns:
        The prediction; with status ``error`` where a logit is NaN or infinite.

    Raises:
        WeakspotError: when a map that boxes are drawn on holds NaN or infinity.
    """
    if not np.isfinite(output.logits).all():
        return Prediction(name, status="error", message=f"{shown(name)}: {NOT_FINITE}", height=size[0], width=size[1])
    measures = {} if familiarity is None else familiarity.measures(output)
    p_value = math.nan if familiarity is None or not measures else familiarity.p_value(measures["distance"])
    unlike = familiarity is not None and familiarity.unlike(p_value)
    output = visible(output, size, preprocess)
    probabilities = decision.probabilities(output.logits)
    decided = decision.decide(probabilities)
    drawing = Drawing(output, decided, size, preprocess.input_size(size), rule)
    boxes = drawing.trusted_boxes(classes[decided], ranking, trust)
    if boxes and output.mask_logits is None:
        boxes = with_probability(boxes, drawing.maps.evidence, size, float(1.0 - probabilities[0]))
    boxes = with_class(boxes, output.maps, classes, size)
    if unlike:
        boxes = [distrusted(box) for box in boxes]
    remarks = [] if familiarity is None else familiarity.remarks(p_value, size)
    if decided and not boxes:
        remarks.append("no box: evidence below threshold")
    order = np.argsort(-probabilities, kind="stable")
    return Prediction(
        path=name,
        height=size[0],
        width=size[1],
        label=classes[decided],
        classes=tuple(ClassConfidence(classes[k], float(probabilities[k])) for k in order),
        probability=float(1.0 - probabilities[0]),
        message="; ".join(remarks),
        boxes=tuple(boxes),
        output=output,
        familiarity=p_value,
        unlike_training=unlike,
        measures=measures,
        part_log_odds=output.named_log_odds,
    )


def distrusted(box: Box) -> Box:
    """A box of a picture that is unlike those of training: neither what green promises nor a high trust holds there.

    Args:
        box: any.

    Returns:
        A copy that is not green, and whose trust is at most that of a box that is as likely right as wrong.
    """
    level: Level | None = "amber" if box.level == "green" else box.level
    return replace(box, trust=min(box.trust, AMBER), level=level, doubt=f"its picture is {UNLIKE}")
