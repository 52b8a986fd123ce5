"""Everything that decides, fitted on a run's held-out images."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from weakspot.evaluation.measure import calibrated_rule
from weakspot.models.bundle import BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.box_calibration import Calibration
from weakspot.postprocess.boxes import BoxRule
from weakspot.postprocess.decision import DecisionCosts, FittedDecision, fit_decision, read_validation
from weakspot.runs.folder import (
    RunFolder,
)


def with_thresholds(meta: BundleMeta, rule: BoxRule, costs: DecisionCosts, run: RunFolder) -> BundleMeta:
    """The bundle's description with everything that decides, fitted on the run's held-out images."""
    calibration = None
    if rule.threshold_kind == "calibrated":
        rule, calibration = calibrated_rule(rule, OutputStore.load(run.calibration), meta.preprocess)
    clusters = run.read_identity().get("validation_clusters")  # runs of before November 2026 do not know them
    fitted = fit_decision(read_validation(run.validation, len(meta.classes), clusters), costs)
    return replace(meta, boxes=rule, decision=fitted.decision, thresholds=_described(rule, fitted, calibration))


def _described(
    rule: BoxRule, fitted: FittedDecision, calibration: Calibration | None = None
) -> dict[str, dict[str, Any]]:
    """Every number that decides something, with where it comes from."""
    return {
        "decision": {"value": fitted.decision.threshold, **asdict(fitted)},
        "boxes": {"value": rule.threshold, "kind": rule.threshold_kind, "origin": "configuration"},
        **({"min_score": calibration.to_dict()} if calibration else {}),
    }
