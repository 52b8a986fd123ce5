"""Statistics of training pictures: against scikit-learn's own, kept in the bundle, and the same in every runtime."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.exports import quiet
from helpers.runs import train
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from weakspot.data.images import list_images
from weakspot.errors import WeakspotError
from weakspot.export import model as exporting
from weakspot.export.model import Order, export_model
from weakspot.inference.localizer import Localizer
from weakspot.models.familiarity import FamiliarityHead, pooled
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.runs.folder import RunFolder
from weakspot.training.familiarity import _fit_and_judge, _scale, fit_directions, folds_of


def test_with_every_direction_kept_it_is_scikit_learns_mahalanobis_distance() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(40, 12)) @ random.normal(size=(12, 12)) + 3
    found = fit_directions(values, rank=12)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    reference = LedoitWolf(assume_centered=True).fit(scaled)
    new = random.normal(size=(7, 12)) * 2 + 3
    wanted = reference.mahalanobis((new - values.mean(axis=0)) / values.std(axis=0)) / 12
    np.testing.assert_allclose(np.exp(found.log_distances(new)), wanted, rtol=1e-4)


def test_with_fewer_pictures_than_values_too_and_the_rest_keeps_its_sum() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(10, 30))
    found = fit_directions(values, rank=48)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    new = random.normal(size=(5, 30))
    wanted = LedoitWolf(assume_centered=True).fit(scaled).mahalanobis((new - values.mean(axis=0)) / values.std(axis=0))
    np.testing.assert_allclose(np.exp(found.log_distances(new)), wanted / 30, rtol=1e-4)


def test_the_head_says_the_same_as_the_fit() -> None:
    torch.manual_seed(0)
    features = torch.rand(20, 5, 6, 7)
    values = pooled(features).double().numpy()
    np.testing.assert_allclose(values[:, :5], features.mean(dim=(2, 3)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(values[:, 5:], features.flatten(2).std(dim=2, correction=0).numpy(), rtol=1e-4)
    fitted = fit_directions(values, rank=4)
    head = FamiliarityHead(["a"], [5], [4])
    for name in ("centre", "scale", "basis", "weight", "rest"):
        head.get_buffer(f"{name}_0").copy_(torch.from_numpy(np.atleast_1d(np.asarray(getattr(fitted, name)))))
    np.testing.assert_allclose(head([features])[:, 0].numpy(), fitted.log_distances(values), rtol=2e-3, atol=2e-3)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_a_group_is_left_out_whole_unless_it_is_most_of_the_pictures(groups: list[int]) -> None:
    fold = folds_of(groups)
    whole = all(len({int(k) for k in fold[np.array(groups) == group]}) == 1 for group in groups)
    assert whole or fold.tolist() == [n % 5 for n in range(len(groups))]
    if max(Counter(groups).values()) <= len(groups) / 5:  # so that no fold gets more than two fifths
        assert whole
    np.testing.assert_array_equal(folds_of(range(len(groups))), np.arange(len(groups)) % 5)


def test_photographs_of_one_part_do_not_vouch_for_one_another() -> None:
    """Thirty parts of six photographs that hardly differ: new parts lie further than new photographs of known ones."""
    random = np.random.default_rng(2)
    parts = np.repeat(np.arange(30), 6)
    values = random.normal(size=(30, 12))[parts] + random.normal(0, 0.05, (180, 12))
    of_new_parts = fit_directions(values).log_distances(random.normal(size=(4000, 12))).mean()
    one_by_one, together = (_scale(values, folds_of(g), _fit_and_judge)[0] for g in (range(180), parts.tolist()))
    assert together == pytest.approx(of_new_parts, abs=0.2)
    assert one_by_one < of_new_parts - 0.2


@pytest.fixture
def run(tiny: None, fabric: Path, here: Path) -> RunFolder:
    return train(fabric, "split.val_size=0.5", "split.near_duplicates=ignore", "output=run")


@pytest.mark.slow
def test_a_run_keeps_it_and_every_runtime_says_the_same(run: RunFolder, fabric: Path) -> None:
    known = Localizer.load(run.path, "cpu").meta.familiarity
    assert known is not None
    assert known.held_out == len(OutputStore.load(run.calibration)) + len(known.defective)
    assert known.good
    assert known.level == max(0.01, 1 / (known.held_out + 1))
    paths = list_images(fabric / "fabric" / "test")[:12]
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[:, ::2, 0] = 255  # red and black
    images = [stripes, *paths]
    first = list(Localizer.load(run.path, "cpu").predict(images))
    assert first[0].unlike_training
    assert first[0].familiarity == 1 / (known.held_out + 1)
    assert "unlike anything seen in training" in first[0].message
    assert np.mean([one.familiarity for one in first[1:]]) > 0.2
    for format_ in ("onnx", "openvino"):
        order = Order(run.path, format_, count=4)
        found = export_model(order, quiet)
        assert found.familiarity_difference == pytest.approx(0, abs=1e-3)
        assert found.same_familiarity == 4
        assert (order.target.parent / f"{order.target.name}.familiarity.json").is_file()
        second = list(Localizer.load(order.target).predict(images))
        for a, b in zip(first, second, strict=True):
            assert dict(a.measures) == pytest.approx(dict(b.measures), rel=1e-3, abs=1e-3)
            assert (a.familiarity, a.unlike_training, a.message) == (b.familiarity, b.unlike_training, b.message)
    # The run's own predictions, from saved outputs, say what a prediction from the file says.
    own = {one.path.name: one for one in read_predictions(run.predictions)}
    for one in Localizer.load(run.path, "cpu").predict([prediction.path for prediction in own.values()]):
        assert one.familiarity == pytest.approx(own[one.path.name].familiarity, abs=1e-9)


def other_centre(proto: Any) -> None:
    (centre,) = (one for one in proto.graph.initializer if one.name.endswith("centre_0"))
    values = onnx.numpy_helper.to_array(centre) + 1
    centre.CopyFrom(onnx.numpy_helper.from_array(values, centre.name))


def other_held_out(proto: Any) -> None:
    description = json.loads(proto.metadata_props[0].value)
    for kind in ("good", "defective"):
        description["familiarity"][kind] = [distance - 50 for distance in description["familiarity"][kind]]
    proto.metadata_props[0].value = json.dumps(description)


@pytest.mark.slow
def test_other_statistics_in_the_export_and_there_is_no_file(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exporting.write_onnx
    for spoil, why in (
        (other_centre, "distances of familiarity differ by up to"),
        (other_held_out, "6 pictures get another familiarity"),
    ):

        def write_wrong(path: Path, *arguments: Any, spoil: Callable[[Any], None] = spoil) -> None:
            write(path, *arguments)
            proto = onnx.load(str(path))
            spoil(proto)
            onnx.save(proto, str(path))

        monkeypatch.setattr(exporting, "write_onnx", write_wrong)
        with pytest.raises(WeakspotError, match=why):
            export_model(Order(run.path, output=tmp_path / "new" / "model.onnx", count=6), quiet)
        assert not list((tmp_path / "new").iterdir())


def test_without_a_validation_subset_it_is_left_out_and_said(tiny: None, fabric: Path, here: Path) -> None:
    run = train(fabric, "split.val_size=0", "split.near_duplicates=ignore", "output=run")
    meta = Localizer.load(run.path, "cpu").meta
    assert meta.familiarity is None
    assert "none was held out of training" in meta.thresholds["familiarity"]["origin"]
    (one, *_) = read_predictions(run.predictions)
    assert one.measures == {}
