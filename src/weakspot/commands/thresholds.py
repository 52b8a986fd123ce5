"""Fit all thresholds on a run's held-out images: those of the decision and of the box rule, each with its origin."""

from __future__ import annotations

from dataclasses import asdict, replace

from weakspot.config.rules import BoxRule, DecisionCosts
from weakspot.evaluation.records import Thresholds
from weakspot.evaluation.thresholds import calibrated_rule
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.box_calibration import Calibration
from weakspot.postprocess.decision import FittedDecision, fit_decision, read_validation
from weakspot.runs.folder import RunFolder


def calibrate(meta: BundleMeta, rule: BoxRule, costs: DecisionCosts, run: RunFolder) -> BundleMeta:
    """Complete the model's description with thresholds that are fitted on the run's held-out images.

    Args:
        meta: description of the model.
        rule: from maps to boxes; a ``calibrated`` one gets its smallest score.
        costs: of a miss and of a false alarm.
        run: has ``calibration.npz`` and ``validation.json``.

    Raises:
        WeakspotError: when a file is damaged, or the wanted recall cannot be reached.
    """
    calibration = None
    if rule.threshold_kind == "calibrated":
        rule, calibration = calibrated_rule(rule, OutputStore.load(run.calibration), meta.preprocess)
    groups = run.read_identity().get("validation_groups")  # runs of before November 2026 do not know them
    fitted = fit_decision(read_validation(run.validation, len(meta.classes), groups), costs)
    return replace(meta, boxes=rule, decision=fitted.decision, thresholds=_described(rule, fitted, calibration))


def _described(rule: BoxRule, fitted: FittedDecision, calibration: Calibration | None) -> Thresholds:
    """Every number that decides something, with where it comes from."""
    return {
        "decision": {"value": fitted.decision.threshold, **asdict(fitted)},
        "boxes": {"value": rule.threshold, "kind": rule.threshold_kind, "origin": "configuration"},
        **({"min_score": calibration.to_dict()} if calibration else {}),
    }
