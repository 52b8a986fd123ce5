"""Fit all thresholds on a run's held-out images: those of the decision and of the box rule, each with its origin."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from weakspot.config.rules import BoxRule, DecisionCosts
from weakspot.evaluation.records import Thresholds
from weakspot.evaluation.thresholds import calibrated_rule
from weakspot.evaluation.trust_examples import calibrated_trust, fitted_ranking
from weakspot.models.bundle_meta import BundleMeta, find_bundle, read_meta
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.box_calibration import Calibration
from weakspot.postprocess.decision import FittedDecision, fit_decision, read_validation
from weakspot.postprocess.familiarity import Familiarity
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.runs.folder import RunFolder

NO_FAMILIARITY = (
    "nobody knows how familiar a picture is: none was held out of training (split.val_size=0.15 does that), or there "
    "are too few training pictures"
)


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
    calibration = ranking = None
    if rule.threshold_kind == "calibrated":
        held_out = OutputStore.load(run.calibration)
        found = _ranking(meta, rule, held_out, run)
        ranking, scores = (None, None) if found is None else found
        rule, calibration = calibrated_rule(rule, held_out, meta.preprocess, scores)
    trust = _trust(meta, rule, run, ranking)
    groups = run.read_identity().get("validation_groups")  # runs of before November 2026 do not know them
    fitted = fit_decision(read_validation(run.validation, len(meta.classes), groups), costs)
    return replace(
        meta,
        boxes=rule,
        decision=fitted.decision,
        trust=None if isinstance(trust, str) else trust,
        ranking=ranking,
        thresholds=_described(rule, fitted, calibration, trust, ranking, meta.familiarity),
    )


def _ranking(
    meta: BundleMeta, rule: BoxRule, held_out: OutputStore, run: RunFolder
) -> tuple[TrustCalibration, list[float]] | None:
    """What boxes are ordered by, and the scores of those on held-out Good images; None without evidence heads."""
    if meta.evidence is None or not run.imitations.is_file():
        return None
    return fitted_ranking(rule, held_out, LocatedOutputs.load(run.imitations), meta.preprocess, _drawn(run))


def _drawn(run: RunFolder) -> LocatedOutputs | None:
    """Outputs for training pictures that a person drew in, by models without them."""
    return LocatedOutputs.load(run.drawn) if run.drawn.is_file() else None


def _trust(meta: BundleMeta, rule: BoxRule, run: RunFolder, ranking: TrustCalibration | None) -> TrustCalibration | str:
    """Calibrate trust on the run's held-out Good images; or say why that cannot be."""
    if not run.calibration.is_file():
        return "there are no held-out Good images (split.val_size=0.15 makes some)"
    if not run.imitations.is_file():
        return "no defects were imitated on the held-out Good images; train again"
    if read_meta(find_bundle(run.path)).heatmap != meta.heatmap:
        return f"the held-out images have no maps by {meta.heatmap}; train with heatmap={meta.heatmap}"
    held_out, imitated = OutputStore.load(run.calibration), LocatedOutputs.load(run.imitations)
    return calibrated_trust(rule, held_out, imitated, meta.preprocess, _drawn(run), ranking)


def _described(
    rule: BoxRule,
    fitted: FittedDecision,
    calibration: Calibration | None,
    trust: TrustCalibration | str,
    ranking: TrustCalibration | None,
    familiarity: Familiarity | None,
) -> Thresholds:
    """Every number that decides something, with where it comes from."""
    of_trust: dict[str, Any] = (
        {"value": None, "origin": f"nothing is green, as trust is not calibrated: {trust}"}
        if isinstance(trust, str)
        else {"value": trust.green, "origin": trust.origin, "calibration": trust.to_dict()}
    )
    return {
        "decision": {"value": fitted.decision.threshold, **asdict(fitted)},
        "boxes": {"value": rule.threshold, "kind": rule.threshold_kind, "origin": "configuration"},
        **({"min_score": calibration.to_dict()} if calibration else {}),
        **({} if ranking is None else {"ranking": {"value": None, "origin": ranking.origin}}),
        "trust": of_trust,
        "familiarity": (
            {"value": None, "origin": NO_FAMILIARITY}
            if familiarity is None
            else {"value": familiarity.level, "origin": familiarity.origin}
        ),
    }
