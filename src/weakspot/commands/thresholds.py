"""Fit all thresholds on a run's held-out images: those of the decision and of the box rule, each with its origin."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
    known = _KnownBoxes.of(run)
    if rule.threshold_kind == "calibrated":
        found = _ranking(meta, rule, known) if known else None
        ranking, scores = (None, None) if found is None else found
        good = known.good if known else OutputStore.load(run.calibration)
        rule, calibration = calibrated_rule(rule, good, meta.preprocess, scores)
    trust = _trust(meta, rule, run, known, ranking)
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


@dataclass(frozen=True)
class _KnownBoxes:
    """Outputs of held-out images on which it is known whether a box is right.

    Attributes:
        good: for Good images.
        imitated: for defects imitated on some of them.
        drawn: for training pictures that a person drew in, by models without them; None where there are none.
    """

    good: OutputStore
    imitated: LocatedOutputs
    drawn: LocatedOutputs | None

    @classmethod
    def of(cls, run: RunFolder) -> _KnownBoxes | None:
        """Read them; None where the run has none."""
        if not (run.calibration.is_file() and run.imitations.is_file()):
            return None
        drawn = LocatedOutputs.load(run.drawn) if run.drawn.is_file() else None
        return cls(OutputStore.load(run.calibration), LocatedOutputs.load(run.imitations), drawn)


def _ranking(meta: BundleMeta, rule: BoxRule, known: _KnownBoxes) -> tuple[TrustCalibration, list[float]] | None:
    """What boxes are ordered by, and the scores of those on held-out Good images; None without evidence heads."""
    if meta.evidence is None:
        return None
    return fitted_ranking(rule, known.good, known.imitated, meta.preprocess, known.drawn)


def _trust(
    meta: BundleMeta, rule: BoxRule, run: RunFolder, known: _KnownBoxes | None, ranking: TrustCalibration | None
) -> TrustCalibration | str:
    """Calibrate trust on the run's held-out Good images; or say why that cannot be."""
    if not run.calibration.is_file():
        return "there are no held-out Good images (split.val_size=0.15 makes some)"
    if known is None:
        return "no defects were imitated on the held-out Good images; train again"
    if read_meta(find_bundle(run.path)).heatmap != meta.heatmap:
        return f"the held-out images have no maps by {meta.heatmap}; train with heatmap={meta.heatmap}"
    return calibrated_trust(rule, known.good, known.imitated, meta.preprocess, known.drawn, ranking)


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
