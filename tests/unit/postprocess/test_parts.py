"""One decision for all photographs of a part."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from numpy.testing import assert_allclose

from weakspot.postprocess.parts import together

SHARES = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=6)


@given(SHARES)
def test_log_odds_of_two_classes_are_averaged(defect: list[float]) -> None:
    p = np.array(defect)
    good, bad = together(np.stack([1 - p, p], axis=1))
    assert_allclose(np.log(bad / good), np.log(p / (1 - p)).mean(), atol=1e-6)


def test_several_classes_get_their_geometric_mean() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1]])
    product = np.sqrt(shares.prod(axis=0))
    assert_allclose(together(shares), product / product.sum())


def test_a_photograph_that_is_certain_does_not_decide_alone() -> None:
    found = together(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert_allclose(found, [0.5, 0.5])
