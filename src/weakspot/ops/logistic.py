"""Logistic regression that can only rise with each of its inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from weakspot.types import BoolArray

Floats = npt.NDArray[np.float64]


def fit_rising(inputs: Floats, positive: BoolArray, weights: Floats | None = None) -> tuple[Floats, float]:
    """Fit a logistic regression whose coefficients are 0 or more.

    A normal prior of deviation 1 holds the coefficient of each standardised input.

    Args:
        inputs: ``(n, d)``; one that does not vary gets no coefficient.
        positive: ``(n,)``; some are and some are not.
        weights: ``(n,)``, how much each item counts; 1 by default.

    Returns:
        Coefficients ``(d,)`` for the inputs as they are, and the intercept.

    Examples:
        >>> coefficients, _ = fit_rising(np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]]), np.array([False, False, True]))
        >>> coefficients.round(2).tolist()
        [0.93, 0.0]
        >>> fit_rising(np.array([[0.0], [1.0], [2.0]]), np.array([True, False, False]))[0].tolist()
        [0.0]
    """
    from scipy.optimize import minimize  # half a second that prediction does without

    counts = np.ones(len(positive)) if weights is None else weights
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    varies = spread > 1e-9
    scaled = np.where(varies, (inputs - centre) / np.where(varies, spread, 1), 0)
    signs = np.where(positive, 1.0, -1.0)

    def unlikely(parameters: Floats) -> tuple[float, Floats]:
        """Its value and gradient; convex."""
        coefficients, intercept = parameters[:-1], parameters[-1]
        margins = signs * (scaled @ coefficients + intercept)
        pull = -signs * expit(-margins) * counts
        loss = counts @ np.logaddexp(0, -margins) + coefficients @ coefficients / 2
        return float(loss), np.append(pull @ scaled + coefficients, pull.sum())

    share = (counts @ positive) / counts.sum()
    start = np.append(np.zeros(inputs.shape[1]), np.log(share / (1 - share)))
    bounds = [(0, None)] * inputs.shape[1] + [(None, None)]
    found = minimize(unlikely, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    coefficients = np.where(varies, found[:-1] / np.where(varies, spread, 1), 0)
    return coefficients, float(found[-1] - coefficients @ centre)
