"""From logits to calibrated probabilities, and from those to a class. NumPy only, as exported models use it.

What is fitted here is fitted on held-out images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincc, log_softmax, logsumexp, softmax

from weakspot.config.rules import DecisionCosts
from weakspot.errors import WeakspotError
from weakspot.types import FloatArray
from weakspot.utils.untrusted import read_json

FEWEST = 5
"""With fewer held-out images of either kind, Good or not, nothing is fitted."""

COLDEST, HOTTEST = 0.05, 20.0

DEARER_MISSES = (2.0, 5.0)
"""Costs of a miss, in false alarms, whose consequences on the held-out images are told beside the decision's own."""


@dataclass(frozen=True)
class Decision:
    """How logits become a class.

    Attributes:
        temperature: logits are divided by it before the softmax (Guo et al., "On Calibration of Modern Neural
            Networks", ICML 2017); above 1 the network was too sure of itself.
        threshold: an image is not Good if its probability of not-Good is at least this; None takes the most probable
            class.
        bias: added to the log-odds of not-Good, after the temperature.

    Raises:
        WeakspotError: for numbers out of range.
    """

    temperature: float = 1.0
    threshold: float | None = None
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise WeakspotError(f"decision bias {self.bias} is not a number")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise WeakspotError(f"temperature {self.temperature} is not above 0")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise WeakspotError(f"decision threshold {self.threshold} is not a probability")

    def probabilities(self, logits: FloatArray) -> npt.NDArray[np.float64]:
        """Class probabilities ``(…, classes)`` from logits of that shape."""
        return np.asarray(softmax(_scaled(logits, 1 / self.temperature, self.bias), axis=-1))

    def decide(self, probabilities: FloatArray) -> int:
        """The class of one image from its probabilities ``(classes,)``; 0 is Good."""
        if self.threshold is None:
            return int(np.argmax(probabilities))
        return 1 + int(np.argmax(probabilities[1:])) if 1 - probabilities[0] >= self.threshold else 0


def _scaled(logits: FloatArray, slope: float, bias: float) -> npt.NDArray[np.float64]:
    scaled = np.asarray(logits, dtype=np.float64) * slope
    scaled[..., 1:] += bias
    return scaled


@dataclass(frozen=True)
class Validation:
    """A model's logits for held-out images, which decisions are fitted on.

    Attributes:
        logits: ``(n, classes)``, Good first.
        targets: ``(n,)``, true classes.
        groups: ``(n,)``, number of the group each image belongs to; several images of a group prove little more than
            one.
    """

    logits: npt.NDArray[np.float64]
    targets: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FittedDecision:
    """A decision and the images it rests on.

    Attributes:
        decision: from logits to a class.
        origin: a sentence that tells where its numbers come from.
        n_good, n_defect: number of held-out images of each kind.
        held_out: ``recall`` (of not-Good) and ``false_alarm_rate`` of the held-out images under this decision, each
            ``{"value", "n", "low", "high", "groups"}``: `n` images from as many `groups`; the 95 % confidence interval
            counts groups. Bias and threshold were set on these very images, so believe the interval and not the value.
            Empty where there are too few images to fit anything.
        if_a_miss_costs: what `held_out` would hold if a miss cost as many false alarms as each of
            :data:`DEARER_MISSES`; by that number as text.
    """

    decision: Decision
    origin: str
    n_good: int
    n_defect: int
    held_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    if_a_miss_costs: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def fit_decision(validation: Validation, costs: DecisionCosts) -> FittedDecision:
    """Fit temperature, bias and threshold on held-out images, and measure what to expect of them.

    Args:
        validation: the model's logits for the held-out images.
        costs: of a miss and of a false alarm, or the wanted recall.

    Raises:
        WeakspotError: when a recall is wanted and there are too few held-out images.
    """
    fitted = _fit(validation, costs)
    if min(fitted.n_good, fitted.n_defect) < FEWEST:
        return fitted
    held_out = _on_held_out(validation, fitted.decision)
    shares = [f"{_percent(e['value'])} ({_percent(e['low'])} – {_percent(e['high'])})" for e in held_out.values()]
    expected = f"there it finds {shares[0]} of the defects and calls {shares[1]} of the Good ones defective"
    dearer = {
        f"{miss:g}": _on_held_out(validation, _fit(validation, DecisionCosts(miss=miss)).decision)
        for miss in DEARER_MISSES
    }
    return replace(fitted, origin=f"{fitted.origin}; {expected}", held_out=held_out, if_a_miss_costs=dearer)


def _on_held_out(validation: Validation, decision: Decision) -> dict[str, dict[str, Any]]:
    from weakspot.metrics.groups import share_of_images  # SciPy's statistics, which prediction does without

    called = np.array([decision.decide(p) for p in decision.probabilities(validation.logits)]) != 0
    found = {}
    for name, among in (("recall", validation.targets != 0), ("false_alarm_rate", validation.targets == 0)):
        groups = validation.groups[among]
        found[name] = share_of_images(called[among], groups).as_dict() | {"groups": len(np.unique(groups))}
    return found


def _percent(share: float) -> str:
    """Without decimals, but for what would pass for all."""
    return f"{100 * share:.4g}%" if 0.99 < share < 1 else f"{share:.0%}"


def _fit(validation: Validation, costs: DecisionCosts) -> FittedDecision:
    truth = validation.targets
    n_defect = int((truth != 0).sum())
    n_good = len(truth) - n_defect
    enough = min(n_good, n_defect) >= FEWEST
    temperature, bias = fit_scaling(validation.logits, truth) if enough else (1.0, 0.0)
    calibrated = Decision(temperature, bias=bias)
    on = f"{n_good} Good and {n_defect} defect held-out images"
    basis = f"temperature {temperature:.2f} and bias {bias:+.2f} fitted on {on}"
    if not enough:
        basis = f"no temperature and bias: {on} are too few"
    if costs.recall is not None:
        if not enough:
            raise WeakspotError(f"decision.recall={costs.recall}: {on} are too few; set split.val_size=0.2")
        defects = truth != 0
        threshold, promised = recall_threshold(
            1 - calibrated.probabilities(validation.logits[defects])[:, 0], costs.recall
        )
        groups = len(np.unique(validation.groups[defects]))
        if_so = f" (less, as the defect images come from only {groups} groups)" if groups < n_defect else ""
        origin = f"finds {_percent(costs.recall)} of defects with {_percent(promised)} confidence{if_so}; {basis}"
        return FittedDecision(replace(calibrated, threshold=threshold), origin, n_good, n_defect)
    if costs.miss == costs.false_alarm and not enough:
        return FittedDecision(calibrated, f"the most probable class; {basis}", n_good, n_defect)
    # Once fitted, probabilities are those of the held-out images' mix of Good and defect, else those of the weights
    # that the network was trained with; costs are of as many of one as of the other.
    mix = n_defect / n_good if enough else 1.0
    threshold = costs.false_alarm * mix / (costs.false_alarm * mix + costs.miss)
    weighing = f"a miss costs {costs.miss:g} and a false alarm {costs.false_alarm:g}, with as many defects as Good"
    origin = f"{weighing} (Elkan, IJCAI 2001); {basis}"
    return FittedDecision(replace(calibrated, threshold=threshold), origin, n_good, n_defect)


def read_validation(path: Path, classes: int, groups: object = None) -> Validation:
    """Read what a run kept of its held-out images; without images where it had none.

    Args:
        path: ``validation.json``.
        classes: number of classes.
        groups: the groups of its images from ``run.json``; None puts each image into a group of its own.

    Raises:
        WeakspotError: when the file is damaged.
    """
    if not path.is_file():
        none = np.zeros(0, dtype=np.int64)
        return Validation(np.zeros((0, classes)), none, none)
    try:
        content = read_json(path)
        logits, targets = np.array(content["logits"], np.float64), [int(t) for t in content["targets"]]
        numbers = np.array(range(len(targets)) if groups is None else groups, dtype=np.int64)
        if logits.shape != (len(targets), classes) or not all(0 <= target < classes for target in targets):
            raise ValueError("logits and targets do not fit")
        if numbers.shape != (len(targets),):
            raise ValueError("it is not of the images that run.json names")
        if not np.isfinite(logits).all():
            raise ValueError("logits are not all numbers")
        return Validation(logits, np.array(targets, dtype=np.int64), numbers)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise WeakspotError(f"{path} is damaged ({error}); train again") from error


def fit_scaling(logits: FloatArray, targets: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Fit the temperature and bias under which it is likeliest which validation images are Good.

    That is Platt scaling ("Probabilistic Outputs for Support Vector Machines", 1999) of the log-odds of not-Good. Of
    several kinds of defect all get the same bias, so that the classifier alone says which is the likeliest. Targets are
    smoothed as Platt does: where every image is right, the plain likelihood would grow with certainty for ever. The
    bias has a normal prior of deviation 1 about the log of defects per Good image, with which an image is not Good
    where the network finds that likelier: a handful of images must not move that freely.

    Args:
        logits: ``(n, classes)``, Good first.
        targets: ``(n,)``, some Good and some not.

    Returns:
        The temperature, in :data:`COLDEST` … :data:`HOTTEST`, and the bias that is added to the logits of all kinds of
        defect after it, which is to the log-odds of not-Good.
    """
    from scipy.optimize import minimize  # half a second that prediction does without

    logits = np.asarray(logits, dtype=np.float64)
    defect = (targets != 0).astype(np.int64)
    counts = np.bincount(defect, minlength=2)
    usual = math.log(counts[1] / counts[0])
    sure = (counts + 1) / (counts + 2)
    wanted = np.where(np.arange(2) == defect[:, None], sure[defect, None], 1 - sure[defect, None])

    def unlikely(slope_and_bias: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Its value and gradient; with one kind of defect it is convex."""
        slope, bias = slope_and_bias
        good, kinds = logits[:, 0], logits[:, 1:]
        log_shares = log_softmax(np.stack([good * slope, logsumexp(kinds * slope, axis=1) + bias], axis=1), axis=1)
        rise = np.stack([good, (softmax(kinds * slope, axis=1) * kinds).sum(axis=1)], axis=1)  # with the slope
        excess = np.exp(log_shares) - wanted
        off = bias - usual
        loss = -(wanted * log_shares).sum() + off**2 / 2
        return float(loss), np.array([(excess * rise).sum(), excess[:, 1:].sum() + off])

    bounds = [(1 / HOTTEST, 1 / COLDEST), (None, None)]
    slope, bias = minimize(unlikely, [1.0, usual], jac=True, bounds=bounds, method="L-BFGS-B").x
    return float(1 / slope), float(bias)


def recall_threshold(scores: FloatArray, recall: float, confidence: float = 0.8) -> tuple[float, float]:
    """Find the highest threshold that finds a share of defects with some confidence.

    Images are counted, not groups: often so few groups are held out that only the lowest score of all would do, which
    calls most Good images defective. The interval of :attr:`FittedDecision.held_out` counts groups.

    Args:
        scores: probabilities of not-Good of the held-out defects, at least one.
        recall: wanted share, 0…1.
        confidence: wanted one-sided confidence (Clopper–Pearson), 0…1.

    Returns:
        The threshold, and the confidence reached. With too few images to promise `confidence`, the threshold is the
        lowest score and the confidence is lower.
    """
    ranked = np.sort(np.asarray(scores, dtype=np.float64))
    n = len(ranked)
    missed = 0
    while missed + 1 < n and _surely(n - missed - 1, n, recall) >= confidence:
        missed += 1
    # Equal scores are found together.
    return float(ranked[missed]), _surely(int((ranked >= ranked[missed]).sum()), n, recall)


def _surely(found: int, n: int, recall: float) -> float:
    """How surely the true recall is at least `recall` when `found` of `n` were found."""
    return float(betaincc(found, n - found + 1, recall))
