"""Estimates as they are written down."""

import math


def is_undefined(estimate, n):
    return estimate["n"] == n and all(math.isnan(estimate[key]) for key in ("value", "low", "high"))
