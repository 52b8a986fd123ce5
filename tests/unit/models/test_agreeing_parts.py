"""How the parts of a model make one class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weakspot.models.model import agree, beside_each_other, log_odds_of, stacked
from weakspot.models.output_store import restacked
from weakspot.types import EQUAL, Stacking


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("voices", [0, 1, 2])
def test_opinions_meet_in_the_middle_of_their_log_odds(classes: int, voices: int) -> None:
    torch.manual_seed(0)
    logits, others = torch.randn(5, classes), [torch.randn(5) for _ in range(voices)]
    found = agree(logits, [log_odds_of(logits), *others]).softmax(dim=1).numpy()
    before = logits.softmax(dim=1).numpy()
    odds = [np.log((1 - p[:, 0]) / p[:, 0]) for p in (found, before)]
    assert np.allclose(odds[0], (odds[1] + sum(voice.numpy() for voice in others)) / (1 + voices), atol=1e-5)
    shares = [p[:, 1:] / p[:, 1:].sum(axis=1, keepdims=True) for p in (found, before)]
    assert np.allclose(*shares, atol=1e-6)


@pytest.mark.parametrize("stacking", [EQUAL, (0.2, 2.0, 0.5), (0.0, 1.0, 0.0)])
@pytest.mark.parametrize("lacking", [None, 1, 2])
def test_the_mean_of_the_estimates_is_what_they_agree_on(lacking: int | None, stacking: Stacking) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3)
    heads = [None if n == lacking else torch.randn(5) for n in (1, 2)]
    parts = [log_odds_of(logits), *heads]
    believed = stacked(parts, stacking)
    estimates = beside_each_other(believed).numpy()
    after = log_odds_of(agree(logits, [one for one in believed if one is not None])).numpy()
    for part, factor, column in zip(parts, stacking, estimates.T, strict=True):
        np.testing.assert_allclose(column, np.full(5, np.nan) if part is None else part.numpy() * factor, rtol=1e-6)
    np.testing.assert_allclose(np.nanmean(estimates, axis=1), after, rtol=1e-4, atol=1e-5)
    # What was kept of a model that believes all parts equally becomes the same.
    plain = agree(logits, [one for one in parts if one is not None]).numpy()
    again, restored = restacked(plain, beside_each_other(parts).numpy(), stacking)
    np.testing.assert_allclose(restored, estimates, rtol=1e-6)
    np.testing.assert_allclose(log_odds_of(torch.from_numpy(again)).numpy(), after, rtol=1e-4, atol=1e-5)
