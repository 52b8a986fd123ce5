"""From what is known of a box to the probability that it fits, and from which probability on a box may be called green.

No box that a person drew is needed; where some are drawn in training pictures they count too, as models without these
pictures see them. Two kinds of box have a known answer on held-out pictures: what is drawn on a Good
picture is false, and of a defect imitated on a Good picture (:mod:`weakspot.data.imitations`) the place is known. On
both a logistic model is fitted that can only rise with each of its features. A box may be green where the two promises
of :mod:`weakspot.postprocess.promises` hold.

Both promises count trust that a model fitted without the picture gives (cross-conformal: Vovk, "Cross-conformal
predictors", 2015). Where there are too few pictures for a promise nothing is green. The first promise is made for
imitated defects, on which a box must reach IoU :data:`RIGHT` so that real ones, which are harder, may reach 0.5. How
far that holds is measured on masks, where there are some (``docs/results.md``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.special import expit

from weakspot.postprocess.promises import (
    CONFIDENCE,
    FALSE_GREEN,
    FEWEST_GOOD,
    WANTED,
    Floats,
    Whole,
    above,
    false_limit,
    precision_limit,
    tops_of,
)
from weakspot.types import BoolArray
from weakspot.utils.untrusted import expect

FEATURES = ("picture", "score", "contrast", "cover", "stability", "agreement", "flip test-time augmentation")
"""What is known of a box; of each, more is better. The last is there with flip test-time augmentation only."""

RIGHT = 0.65
"""IoU from which on a box on an imitated defect is right. It is stricter than the 0.5 that trust speaks of, as real
defects have softer edges, and people draw masks with a margin: of boxes that were as sure the median IoU was 0.67 on
imitated and 0.57 on real defects (generated metal, ``docs/results.md``)."""

RIGHT_ON_REAL = 0.5
"""IoU from which on a box is right where a person drew the defect: the one that trust speaks of."""

AMBER = 0.5
"""Trust from which on a box that is not green is amber: it is more likely right than wrong."""

FOLDS, FEWEST = 5, 5
"""Folds of the Good pictures, and right and wrong boxes without which nothing can be told apart."""


@dataclass(frozen=True)
class TrustCalibration:
    """How trust comes about, and its limits; part of a model's description.

    Attributes:
        features: names from :data:`FEATURES`.
        weights: of each feature, 0 or more; log-odds per unit.
        bias: log-odds of a right box where every feature is 0.
        low, high: range of each feature in which it was fitted; values beyond it count as its ends.
        typical: mean of each feature over right boxes.
        green: trust from which on a box is green; None where nothing is.
        amber: trust from which on it is amber.
        origin: a sentence that tells what the limits rest on.
        why: why nothing is green; empty where something may be.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    typical: tuple[float, ...]
    green: float | None = None
    amber: float = AMBER
    origin: str = ""
    why: str = ""

    def probabilities(self, features: Floats) -> Floats:
        """The probability that each box is right.

        Args:
            features: ``(n, len(self.features))``; NaN for what is not known, which counts as the worst.

        Returns:
            ``(n,)``, 0…1; never lower for a higher feature.
        """
        return np.asarray(expit(self.bias + self._clipped(features) @ np.array(self.weights)))

    def losses(self, features: Floats) -> Floats:
        """By how many log-odds each feature of each box stays below that of a usual right box, ``(n, features)``."""
        return np.asarray((np.array(self.typical) - self._clipped(features)) * np.array(self.weights))

    def _clipped(self, features: Floats) -> Floats:
        low = np.array(self.low)
        return np.asarray(np.clip(np.where(np.isnan(features), low, features), low, np.array(self.high)))

    def without_promise(self, why: str) -> TrustCalibration:
        """The same trust, and nothing is green.

        Args:
            why: in a few words.
        """
        return replace(self, green=None, why=why)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: object) -> TrustCalibration:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: for anything else, naming the entry.
        """
        number = (int, float)
        names = ("features", "weights", "low", "high", "typical")
        expect(values, **dict.fromkeys(names, list), bias=number, amber=number, origin=str, why=str)
        expect(values, green=(*number, type(None)))
        if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(cls)}:
            raise ValueError("the calibration of trust has other entries than it should")
        known = values["features"]
        if not known or not all(name in FEATURES for name in known) or len(set(known)) < len(known):
            raise ValueError("the calibration of trust names features that are not known")
        rows = [tuple(_finite(value, name) for value in values[name]) for name in names[1:]]
        weights, low, high, typical = rows
        if any(len(row) != len(known) for row in rows) or min(weights) < 0:
            raise ValueError("the calibration of trust has weights that do not fit its features")
        bias, amber = (_finite(values[key], key) for key in ("bias", "amber"))
        green = None if values["green"] is None else _finite(values["green"], "green")
        texts = values["origin"], values["why"]
        return cls(tuple(known), weights, bias, low, high, typical, green, amber, *texts)


def _finite(value: object, name: str) -> float:
    expect({name: value}, **{name: (int, float)})
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}")
    return number


@dataclass(frozen=True)
class BoxExamples:
    """Boxes whose answer is known.

    Attributes:
        features: ``(n, features)``, in the order of :data:`FEATURES`.
        right: ``(n,)``, whether a box reaches IoU :data:`RIGHT`.
        picture: ``(n,)``, number of the picture that a box is drawn on; an imitation is a picture of its own.
        source: ``(n,)``, number of the photograph behind it.
    """

    features: Floats
    right: BoolArray
    picture: Whole
    source: Whole

    def __len__(self) -> int:
        return len(self.right)

    def and_more(self, other: BoxExamples) -> BoxExamples:
        """These and others, as pictures of their own.

        Args:
            other: with the same features.
        """
        moved = other.picture + 1 + int(self.picture.max(initial=-1))
        return BoxExamples(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.right, other.right]),
            np.concatenate([self.picture, moved]),
            np.concatenate([self.source, other.source]),
        )


def fit_trust(
    imitated: BoxExamples, on_good: BoxExamples, drawn_on_good: BoxExamples, real: BoxExamples | None = None
) -> TrustCalibration | str:
    """Fit the probability that a box fits, and the limits of its colours.

    Args:
        imitated: boxes on imitated defects, as the box rule draws them.
        on_good: boxes on the Good pictures themselves, drawn whatever they score; none is right.
        drawn_on_good: those that the box rule draws there.
        real: boxes on pictures that a person drew in, right from :data:`RIGHT_ON_REAL` on; None where there are none.

    Returns:
        The calibration; or, where there are too few boxes to fit anything, why there is none.
    """
    on_defects = imitated if real is None else imitated.and_more(real)
    every = on_defects.and_more(on_good)
    right = int(every.right.sum())
    names = FEATURES[: every.features.shape[1]]
    if len(every) < FEWEST:
        return f"there are only {len(every)} boxes on held-out images"
    if min(right, len(every) - right) < FEWEST:
        return _constant(names, right, len(every))
    fitted = _fit(names, every.features, every.right)
    found = [_crossfitted(names, every, examples) for examples in (on_defects, on_good, drawn_on_good)]
    of_defects, of_good, of_drawn = found
    tops = tops_of(of_good, on_good.picture)
    floor = false_limit(tops)
    if floor is None:
        why = (
            f"a promise takes {FEWEST_GOOD} held-out Good images on which some box could be drawn, and there are "
            f"{len(tops)}"
        )
        return replace(fitted, origin=f"nothing is green: {why}", why=why)
    floor = max(floor, above(np.sort(of_drawn)[::-1], int(FALSE_GREEN * len(of_drawn))))
    judged = on_defects.and_more(drawn_on_good)
    promised = precision_limit(np.concatenate([of_defects, of_drawn]), judged.right, judged.picture, floor)
    false = f"{int((tops >= floor).sum())} of {len(tops)} held-out Good images have a box that would be"
    if promised is None:
        why = f"on {_defects(real)} no level of trust is right in {WANTED:.0%} of the pictures surely enough"
        return replace(fitted, origin=f"nothing is green: {why} ({false})", why=why)
    green, hits, pictures = promised
    green = max(green, fitted.amber)
    false = f"{int((tops >= green).sum())} of {len(tops)} held-out Good images have a green box"
    origin = (
        f"with {CONFIDENCE:.0%} confidence at least {WANTED:.0%} of green boxes reach IoU {RIGHT} on {_defects(real)} "
        f"({hits} of {pictures} pictures did), to reach {RIGHT_ON_REAL} on real ones, and at most {FALSE_GREEN:.0%} of "
        f"false boxes are green ({false})"
    )
    return replace(fitted, green=green, origin=origin)


def fit_ranking(on_defects: BoxExamples, on_good: BoxExamples) -> tuple[TrustCalibration, Floats] | None:
    """Fit the probability that a box is right if there is a defect, to order boxes by.

    Args:
        on_defects: boxes on imitated defects, or on those that a person drew, drawn whatever they score.
        on_good: the same on held-out Good pictures; none is right.

    Returns:
        The model, without limits of colours and without the mirrored pass; and what models that were fitted without
        each Good picture say of its boxes, ``(n,)``, 0…1. None where too few boxes are right, or too few wrong.
    """
    width = FEATURES.index("flip test-time augmentation")
    on_defects, on_good = (replace(each, features=each.features[:, :width]) for each in (on_defects, on_good))
    every = on_defects.and_more(on_good)
    right = int(every.right.sum())
    if min(right, len(every) - right) < FEWEST:
        return None
    origin = (
        f"the log-odds that the picture is defective, plus those that a box drawn like it is right: {right} of "
        f"{len(on_defects)} boxes on imitated defects are, and none of {len(on_good)} on held-out Good images"
    )
    fitted = replace(_fit(FEATURES[:width], every.features, every.right), origin=origin)
    return fitted, _crossfitted(FEATURES[:width], every, on_good)


def _defects(real: BoxExamples | None) -> str:
    """Whose defects the promise of precision was counted on."""
    if real is None:
        return "imitated defects"
    return f"imitated defects, or {RIGHT_ON_REAL} where a person drew some,"


def _constant(names: tuple[str, ...], right: int, boxes: int) -> TrustCalibration:
    """Trust where too few boxes are right, or too few wrong, to see what tells them apart: their share (Laplace)."""
    why = f"only {right} of {boxes} boxes on held-out images are right"
    if 2 * right > boxes:
        why = f"only {boxes - right} of {boxes} boxes on held-out images are wrong, which shows too little"
    none = (0.0,) * len(names)
    bias = math.log((right + 1) / (boxes - right + 1))
    return TrustCalibration(names, none, bias, none, none, none, origin=f"nothing is green: {why}", why=why)


def _fit(names: tuple[str, ...], features: Floats, right: BoolArray) -> TrustCalibration:
    """A logistic model with weights of 0 or more; a normal prior of deviation 1 holds each standardised weight."""
    from scipy.optimize import minimize  # half a second that prediction does without

    low, high = np.quantile(features, [0.01, 0.99], axis=0)
    clipped = np.clip(features, low, high)
    centre, spread = clipped.mean(axis=0), clipped.std(axis=0)
    varies = spread > 1e-9
    scaled = np.where(varies, (clipped - centre) / np.where(varies, spread, 1), 0)
    signs = np.where(right, 1.0, -1.0)

    def unlikely(parameters: Floats) -> tuple[float, Floats]:
        """Its value and gradient; convex."""
        weights, bias = parameters[:-1], parameters[-1]
        margins = signs * (scaled @ weights + bias)
        pull = -signs * expit(-margins)
        loss = np.logaddexp(0, -margins).sum() + weights @ weights / 2
        return float(loss), np.append(pull @ scaled + weights, pull.sum())

    share = right.mean()
    start = np.append(np.zeros(features.shape[1]), math.log(share / (1 - share)))
    bounds = [(0, None)] * features.shape[1] + [(None, None)]
    found = minimize(unlikely, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = np.where(varies, found[:-1] / np.where(varies, spread, 1), 0)
    return TrustCalibration(
        names,
        tuple(weights.tolist()),
        float(found[-1] - weights @ centre),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        typical=tuple(clipped[right].mean(axis=0).tolist()),
    )


def _crossfitted(names: tuple[str, ...], fitted_on: BoxExamples, examples: BoxExamples) -> Floats:
    """Trust of each box by a model that was fitted without its photograph; neighbours are left out together."""
    parts = np.array_split(np.unique(fitted_on.source), FOLDS)
    fold_of = {source: fold for fold, part in enumerate(parts) for source in part}
    own, other = (np.array([fold_of[s] for s in e.source], dtype=np.int64) for e in (examples, fitted_on))
    trust = np.zeros(len(examples))
    for fold in np.unique(own):
        rest = other != fold
        right = fitted_on.right[rest]
        if 0 < right.sum() < len(right):
            model = _fit(names, fitted_on.features[rest], right)
            trust[own == fold] = model.probabilities(examples.features[own == fold])
        else:
            trust[own == fold] = float(right.all())
    return trust
