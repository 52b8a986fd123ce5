"""The statistics head: what it computes of features, against NumPy."""

import numpy as np
import torch
from numpy.testing import assert_allclose

from weakspot.models.statistics import LEAST_SPREAD, SHARE, StatisticsHead


def expected(features: np.ndarray) -> np.ndarray:
    """The six numbers of each channel ``(channels, h, w)``, kind by kind."""
    kinds = [[], [], [], [], [], []]
    for channel in features.astype(np.float64):
        places = np.sort(channel.ravel())
        few = max(1, round(SHARE * places.size))
        mean, spread = places.mean(), places.std()
        high, low = places[-few:].mean(), places[:few].mean()
        apart = spread + LEAST_SPREAD
        values = (mean, spread, high, low, (high - mean) / apart, (mean - low) / apart)
        for kind, value in zip(kinds, values, strict=True):
            kind.append(value)
    return np.concatenate(kinds)


def test_statistics_are_those_of_each_scaled_channel() -> None:
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(2, 3, (2, 3, 10, 16)), rng.normal(-1, 1, (2, 4, 5, 8))
    head = StatisticsHead(["fine", "coarse"], [3, 4])
    head.scale.copy_(torch.tensor([1.0, 2, 4, 1, 1, 0.5, 3]))
    found = head.statistics([torch.from_numpy(fine).float(), torch.from_numpy(coarse).float()])
    for i in range(2):
        wanted = np.concatenate([
            expected(fine[i] / np.array([1, 2, 4])[:, None, None]),
            expected(coarse[i] / np.array([1, 1, 0.5, 3])[:, None, None]),
        ])  # fmt: skip
        assert_allclose(found[i].numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_a_small_defect_moves_the_extremes_and_hardly_the_mean() -> None:
    plain = torch.zeros(1, 1, 20, 20)
    marked = plain.clone()
    marked[0, 0, 4:6, 7:11] = 10.0  # 8 of 400 places, exactly 2 %
    head = StatisticsHead(["only"], [1])
    mean, _, high, low, _, _ = (head.statistics([marked]) - head.statistics([plain]))[0].tolist()
    assert_allclose([mean, high, low], [0.2, 10.0, 0.0], atol=1e-6)


def test_an_even_picture_has_finite_statistics() -> None:
    head = StatisticsHead(["only"], [2])
    assert torch.isfinite(head.statistics([torch.full((1, 2, 4, 6), 3.0)])).all()


def test_log_odds_are_linear_in_the_statistics() -> None:
    torch.manual_seed(0)
    head, features = StatisticsHead(["only"], [3]), [torch.randn(4, 3, 6, 9)]
    wanted = head.statistics(features) @ head.out.weight[0] + head.out.bias
    torch.testing.assert_close(head(features), wanted)
    assert head(features).shape == (4,)
