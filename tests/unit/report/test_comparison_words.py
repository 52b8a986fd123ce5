"""What is said of two set-ups whose interval and p-value seem to contradict each other."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from weakspot.evaluation.comparison import Comparison
from weakspot.metrics.paired import BELIEVE_P, SIGNIFICANT, paired_difference
from weakspot.report.page import render
from weakspot.report.tables import comparison_table


def compared(better: int) -> Comparison:
    """22 pictures, of which the second set-up alone has some right."""
    second = (np.arange(22) < better).astype(float)
    difference = paired_difference(np.zeros(22), second, list(range(22)), np.zeros(22))
    return Comparison(22, 0, 0, 0, better, 1, 1, {"balanced_accuracy": difference}, ["good", "anomaly"])


@pytest.mark.parametrize(("better", "noted"), [(0, False), (1, True), (5, True), (20, False)])
def test_which_one_to_believe_is_said_where_interval_and_p_disagree(better: int, noted: bool) -> None:
    console, found = Console(width=500), compared(better)
    with console.capture() as capture:
        console.print(comparison_table(found))
    assert (BELIEVE_P in " ".join(capture.get().split())) == noted
    page = render(
        "compare.html",
        first="a",
        second="b",
        found=found.differences,
        counts=found,
        believe_p=BELIEVE_P,
        significant=SIGNIFICANT,
        version="0",
        defects=[],
        data={},
    )
    assert (BELIEVE_P[1:] in page) == noted
    assert ("the second is better" in page) == (better == 20)
