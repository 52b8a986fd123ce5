"""Fitting the statistics head on a small network's features of generated pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from weakspot.data.images import inspect_images, list_images
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.models.feature_cache import FeatureCache
from weakspot.models.network import CamNet
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.evidence.statistics import _calibration, fit_measured, group_weights, measured_statistics


@pytest.fixture
def source(tiny: None, tmp_path: Path) -> FeatureSource:
    torch.manual_seed(0)
    return FeatureSource(CamNet("tiny").eval(), Preprocess((64, 96), "caffe"), FeatureCache(tmp_path / "cache"))


@pytest.fixture
def pictures(fabric: Path) -> tuple[list[ImageView], list[int]]:
    good = inspect_images(list_images(fabric / "fabric" / "train" / "good")[:16])
    defect = inspect_images([p for p in list_images(fabric / "fabric" / "test") if p.parent.name != "good"][:12])
    return [ImageView(image) for image in (*good, *defect)], [0] * len(good) + [1] * len(defect)


def logits_of(source: FeatureSource, items: list[ImageView], targets: list[int], groups: list[int]) -> np.ndarray:
    fitted = fit_measured(*measured_statistics(source, items), targets, groups, seed=0)
    assert fitted is not None
    head = fitted.head
    with torch.inference_mode():
        return np.array(
            [float(head([torch.from_numpy(a)[None] for a in view.features])) for view in source.features_of(items)]
        )


def test_it_tells_the_training_pictures_apart_and_is_the_same_each_time(
    source: FeatureSource, pictures: tuple[list[ImageView], list[int]]
) -> None:
    items, targets = pictures
    first, second = (logits_of(source, items, targets, list(range(len(items)))) for _ in range(2))
    assert roc_auc_score(targets, first) > 0.8
    assert np.array_equal(first, second)


def test_a_photograph_given_twice_counts_once(
    source: FeatureSource, pictures: tuple[list[ImageView], list[int]]
) -> None:
    items, targets = pictures
    groups = list(range(len(items)))
    once = logits_of(source, items, targets, groups)
    twice = logits_of(source, [*items, items[0]], [*targets, targets[0]], [*groups, groups[0]])
    assert np.allclose(once, twice[:-1], atol=0.35)  # the standardisation counts photographs


def test_nothing_is_fitted_where_nothing_can_be_left_out(
    source: FeatureSource, pictures: tuple[list[ImageView], list[int]]
) -> None:
    items, targets = pictures
    groups = [t * 99 + (1 - t) * i for i, t in enumerate(targets)]
    assert fit_measured(*measured_statistics(source, items), targets, groups, seed=0) is None


def test_nothing_is_fitted_where_without_a_group_one_kind_is_left(
    source: FeatureSource, pictures: tuple[list[ImageView], list[int]]
) -> None:
    items, _ = pictures
    measured = measured_statistics(source, [*items[:2], *items[-2:]])
    assert fit_measured(*measured, [0, 0, 1, 1], [3, 1, 2, 3], seed=0) is None


def test_weights_of_a_group_of_both_kinds_count_in_each() -> None:
    weights = group_weights(np.array([False, False, True, False]), np.array([0, 0, 0, 1]))
    assert weights.tolist() == [0.5, 0.5, 2.0, 1.0]


def test_calibration_recovers_the_log_odds_that_labels_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 20_000)
    defective = rng.random(20_000) < 1 / (1 + np.exp(-truth))
    slope, shift = _calibration((truth - 1) * 4, defective, np.ones(20_000))
    assert abs(slope - 0.25) < 0.02
    assert abs(shift - 0.25 * 4) < 0.1


def test_calibration_never_turns_an_answer_round() -> None:
    slope, _ = _calibration(np.array([3.0, 2, -2, -3]), np.array([False, False, True, True]), np.ones(4))
    assert slope == 0
