"""The evidence network and its training: shapes, projections, windows, prompts, pseudo-masks, and that it learns."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from weakspot.config.schema import RefineConfig
from weakspot.data.images import ImageInfo, inspect_images, list_images
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.errors import WeakspotError
from weakspot.models.backbones import FREEZE_POINT
from weakspot.models.evidence import EvidenceNet, Level, Pyramid, halving, pool_places
from weakspot.models.feature_cache import FeatureCache, view_features
from weakspot.models.model import agree, log_odds_of, side_by_side
from weakspot.models.network import CamNet
from weakspot.training.evidence import fit as fitting
from weakspot.training.evidence.bank import Bank, TrainingBank, Window
from weakspot.training.evidence.fit import fit_evidence, training_bank
from weakspot.training.evidence.heads import HeadTrainer, pseudo_mask
from weakspot.training.evidence.prompts import imitate_prompt
from weakspot.training.evidence.source import FeatureSource

CPU = torch.device("cpu")
FEW = RefineConfig("segment", imitations=6, location_steps=2, mask_steps=2, location_refit_steps=2)


def test_evidence_has_the_sizes_it_promises_on_images_that_are_not_square() -> None:
    net = EvidenceNet(("a", "b"), [(5, 4), (7, 6)], location_width=6, mask_width=8)
    evidence = net([torch.randn(2, 5, 8, 12), torch.randn(2, 7, 4, 6)], torch.randn(2, 3, 32, 48))
    assert evidence.mask_logits.shape == (2, 16, 24)
    assert evidence.location_logits.shape == (2, 8, 12)


def test_evidence_of_one_image_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    net = EvidenceNet(("a", "b"), [(5, 4), (7, 6)], location_width=6, mask_width=8).eval()
    features, pixels = [torch.randn(3, 5, 8, 12), torch.randn(3, 7, 4, 6)], torch.randn(3, 3, 32, 48)
    together = net(features, pixels)
    alone = net([f[1:2] for f in features], pixels[1:2])
    for many, one in zip(together, alone, strict=True):
        assert torch.allclose(many[1], one[0], atol=1e-5)


def test_one_answer_grown_once_is_the_plain_mask() -> None:
    torch.manual_seed(0)
    net = EvidenceNet(("a",), [(5, 4)], location_width=6, mask_width=8).eval()
    levels, pixels = net.project([torch.randn(1, 5, 8, 12)]), torch.randn(1, 3, 32, 48)
    prompt = torch.rand(1, 1, 8, 12)
    once = net.mask_logits(levels, pixels, prompt)
    own = torch.nn.functional.avg_pool2d(torch.sigmoid(once), 2)
    twice = net.mask_logits(levels, pixels, torch.maximum(prompt, own))
    assert torch.equal(net.grow(levels, pixels, prompt, 1), once)
    assert torch.allclose(net.grow(levels, pixels, prompt, 2), twice, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [
        ([(320, 320), (80, 80), (40, 40), (20, 20)], True),
        ([(64, 96), (16, 24), (8, 12)], True),
        ([(300, 300), (75, 75), (37, 37), (18, 18)], False),
        ([(320, 330), (80, 82)], False),
        ([(96, 96), (32, 32)], False),
        ([(64, 96), (16, 48)], False),
    ],
)
def test_levels_must_divide_evenly(sizes: list[tuple[int, int]], fits: bool) -> None:
    assert halving(sizes) is fits


# --- bank ---------------------------------------------------------------------------------------------------------


def test_a_bank_has_its_room_before_it_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, writing to a file in memory is no error but the end of the process (SIGBUS)."""
    Bank(tmp_path, 2, [64], [(80, 80)], (320, 320))
    for name in ("level0.npy", "pixels.npy"):
        stat = (tmp_path / name).stat()
        assert stat.st_blocks * 512 >= stat.st_size

    def full(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*level0\.npy"):
        Bank(tmp_path, 2, [64], [(80, 80)], (320, 320))


def test_a_window_is_the_same_place_on_every_level(tmp_path: Path) -> None:
    bank = Bank(tmp_path, 2, [1, 1], [(8, 12), (4, 6)], (32, 48))
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in (32, 48))
    place = rows[:, None] + columns / 100  # tells row and column
    pixels = torch.stack([place] * 3)[None]
    levels = [torch.nn.functional.avg_pool2d(place[None, None], k) for k in (4, 8)]
    bank.write(1, [Level(level, level.mean(dim=(2, 3))) for level in levels], pixels)
    window = Window(top=1, left=2, height=2, width=3)
    cut = bank.levels([1], CPU, [window])
    assert torch.allclose(cut[0].features, levels[0][:, :, 2:6, 4:10], atol=2e-2)
    assert torch.allclose(cut[1].features, levels[1][:, :, 1:3, 2:5], atol=2e-2)
    assert torch.allclose(cut[0].mean, levels[0].mean(dim=(2, 3)))  # of the whole image
    assert torch.allclose(bank.pixels([1], CPU, [window])[0, 0], place[8:24, 16:40], atol=2e-2)
    whole = bank.levels([1, 0], CPU)
    assert whole[0].features.shape == (2, 1, 8, 12)
    assert not whole[0].features[1].any()


# --- prompts ------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 5000), shape=st.sampled_from([(16, 24), (160, 160), (40, 20)]))
@settings(max_examples=60, deadline=None)
def test_a_prompt_is_a_map_of_half_the_size(seed: int, shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.float32)
    mask[3:9, 5:11] = 1
    prompt = imitate_prompt(mask, np.random.default_rng(seed))
    assert prompt.shape == (shape[0] // 2, shape[1] // 2)
    assert prompt.dtype == np.float32
    assert prompt.min() >= -1e-6
    assert prompt.max() <= 1 + 1e-6


def test_prompts_are_about_the_defect() -> None:
    mask = np.zeros((160, 240), np.float32)
    mask[40:70, 120:160] = 1
    rng = np.random.default_rng(0)
    prompts = np.mean([imitate_prompt(mask, rng) for _ in range(100)], axis=0)
    inside, outside = prompts[22:33, 62:78].mean(), prompts[60:, :40].mean()
    assert inside > 0.4
    assert outside < 0.03
    empty = [imitate_prompt(np.zeros_like(mask), rng) for _ in range(20)]
    assert any(not prompt.any() for prompt in empty)
    assert any(prompt.any() for prompt in empty)  # a false place now and then


# --- training -----------------------------------------------------------------------------------------------------


def test_pooling_places_is_a_relaxed_maximum() -> None:
    logits = torch.randn(2, 1, 20, 30)
    places = torch.nn.functional.avg_pool2d(logits, 2).flatten(1).numpy()
    expected = (logsumexp(4 * places, axis=1) - np.log(0.002 * 150)) / 4
    assert np.allclose(pool_places(logits).numpy(), expected, atol=1e-5)
    raised = logits.clone()
    raised[0, 0, 4:6, 4:6] += 10
    assert pool_places(raised)[0] > pool_places(logits)[0]
    assert pool_places(raised)[1] == pool_places(logits)[1]


def test_pseudo_masks_keep_what_the_location_is_sure_of() -> None:
    outline, place = np.zeros((6, 8), np.float32), np.zeros((6, 8), np.float32)
    outline[0:2, 0:2], place[0, 0] = 0.9, 0.8  # sure
    outline[4:6, 0:3], place[5, 1] = 0.8, 0.45  # half as sure: kept
    outline[0:2, 6:8], place[1, 7] = 0.7, 0.3  # doubtful
    outline[4, 6] = 0.6  # nowhere
    target, known = pseudo_mask(outline, place)
    expected = np.zeros((6, 8), np.float32)
    expected[0:2, 0:2], expected[4:6, 0:3] = 0.9, 0.8
    assert np.array_equal(target, expected)
    weights = np.ones((6, 8), np.float32)
    weights[1, 7] = 0  # outline and place both hint at it
    assert np.array_equal(known, weights)


def test_an_image_with_nothing_sure_teaches_nothing() -> None:
    target, known = pseudo_mask(np.full((3, 4), 0.1, np.float32), np.full((3, 4), 0.9, np.float32))
    assert not target.any()
    assert not known.any()


def toy_lessons(folder: Path) -> TrainingBank:
    """Noise, with a bright rectangle in defect images and imitations; only the imitations' masks are told."""
    rng, n = np.random.default_rng(0), 12
    bank = Bank(folder, 3 * n, [4, 4], [(8, 12), (4, 6)], (32, 48))
    masks = []
    for i in range(3 * n):
        pixels = 0.1 * torch.from_numpy(rng.normal(size=(1, 3, 32, 48))).float()
        mask = np.zeros((16, 24), np.float32)
        if i >= n:
            y, x = int(rng.integers(0, 9)), int(rng.integers(0, 15))
            mask[y : y + 6, x : x + 8] = 1
        pixels += torch.from_numpy(mask.repeat(2, 0).repeat(2, 1))
        levels = [torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), k) for k in (4, 8)]
        wide = [4 * torch.cat([level, -level, level**2, level], dim=1) for level in levels]
        bank.write(i, [Level(level, level.mean(dim=(2, 3))) for level in wide], pixels)
        masks.append(mask)
    return TrainingBank(bank, range(n), range(n, 2 * n), range(2 * n, 3 * n), np.stack(masks[2 * n :]))


def test_the_heads_learn_outlines_of_defects_whose_masks_they_never_saw(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lessons = toy_lessons(tmp_path)
    net = EvidenceNet(("a", "b"), [(4, 4), (4, 4)], location_width=8, mask_width=12)
    trainer = HeadTrainer(net, lessons, learning_rate=0.01, seed=0)
    trainer.fit_location(60)
    trainer.fit_mask(80)
    trainer.refit_location(20)
    net.eval()
    overlaps = []
    with torch.no_grad():
        for i in lessons.defect:
            levels, pixels = lessons.bank.levels([i], CPU), lessons.bank.pixels([i], CPU)
            where = net.location_logits(levels)
            found = net.grow(levels, pixels, torch.sigmoid(where), 2)[0, 0].numpy() > 0
            truth = torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 2)[0, 0].numpy() > 0.5
            overlaps.append((found & truth).sum() / max(1, (found | truth).sum()))
        good = net.location_logits(lessons.bank.levels(list(lessons.good), CPU)).amax(dim=(1, 2, 3))
        defect = net.location_logits(lessons.bank.levels(list(lessons.defect), CPU)).amax(dim=(1, 2, 3))
    assert np.mean(overlaps) > 0.8
    assert good.max() < defect.min()


def test_training_again_gives_the_same_network(tmp_path: Path) -> None:
    states = []
    for name in ("a", "b"):
        torch.manual_seed(3)
        net = EvidenceNet(("a", "b"), [(4, 4), (4, 4)], location_width=4, mask_width=4)
        trainer = HeadTrainer(net, toy_lessons(tmp_path / name), learning_rate=0.01, seed=1)
        trainer.fit_location(2)
        trainer.fit_mask(2)
        trainer.refit_location(2)
        states.append(net.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def test_a_loss_that_is_not_a_number_is_one_clear_error(tmp_path: Path) -> None:
    net = EvidenceNet(("a", "b"), [(4, 4), (4, 4)], location_width=4, mask_width=4)
    trainer = HeadTrainer(net, toy_lessons(tmp_path), learning_rate=0.01, seed=1)
    torch.nn.init.constant_(net.location_out.bias, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(WeakspotError, match=r"refine\.learning_rate"):
        trainer.fit_location(1)


# --- from files ---------------------------------------------------------------------------------------------------


def images_of(fabric: Path) -> tuple[list[ImageInfo], list[ImageInfo]]:
    good = inspect_images(list_images(fabric / "fabric" / "train" / "good")[:6])
    defect = inspect_images([p for p in list_images(fabric / "fabric" / "test") if p.parent.name != "good"][:4])
    return good, defect


@pytest.fixture
def source(tiny: None, tmp_path: Path) -> FeatureSource:
    torch.manual_seed(0)
    return FeatureSource(CamNet("tiny").eval(), Preprocess((64, 96), "caffe"), FeatureCache(tmp_path / "cache"))


def test_features_are_the_same_from_the_cache_and_from_the_image(source: FeatureSource, fabric: Path) -> None:
    items = [ImageView(image, view) for image in images_of(fabric)[0] for view in ("turn0", "imitation-v1-0")]
    fresh = list(view_features(source.network, items, source.preprocess, None, source.network.pyramid))
    filling = list(source.features_of(items))
    cached = list(source.features_of(items))
    for a, b, c in zip(fresh, filling, cached, strict=True):
        assert np.array_equal(a.pixels, c.pixels)
        assert (a.mask is None) == (c.mask is None)
        for x, y, z in zip(a.features, b.features, c.features, strict=True):
            assert np.array_equal(y, z)  # a first run sees what later ones see
            assert np.allclose(x, z, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        direct = source.network.forward_taps(torch.from_numpy(fresh[1].pixels.copy())[None], (FREEZE_POINT,))
    assert np.allclose(fresh[1].features[1], direct[FREEZE_POINT][0].numpy(), atol=1e-4)
    assert fresh[1].mask is not None
    assert fresh[1].mask.any()


def test_projections_are_whitened_principal_components(source: FeatureSource, fabric: Path, tmp_path: Path) -> None:
    good, defect = images_of(fabric)
    (net,) = fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "fit")
    found = list(source.features_of([ImageView(image) for image in (*good, *defect)]))
    for level, projection in enumerate(net.projections):
        cells = np.concatenate([each.features[level].reshape(8, -1).T for each in found])
        ours = projection(torch.from_numpy(cells.T[None, :, :, None].copy()))[0, :, :, 0].detach().numpy().T
        reference = PCA(whiten=True).fit(cells).transform(cells)
        strong = reference[:, :3]
        agreement = np.abs(np.corrcoef(ours[:, :3].T, strong.T)[:3, 3:]).max(axis=1)
        assert (agreement > 0.9).all()
        assert np.allclose(ours[:, :3].std(axis=0), 1, atol=0.2)


def test_a_cut_off_fit_goes_on_after_its_last_stage(source: FeatureSource, fabric: Path, tmp_path: Path) -> None:
    good, defect = images_of(fabric)
    (whole,) = fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadTrainer, "refit_location", lambda *args: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError, match="power cut"):
            fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "cut")
    assert not (tmp_path / "cut" / "scratch").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadTrainer, "fit_mask", lambda *args: pytest.fail("trained again"))
        (resumed,) = fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "cut")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_models_without_some_pictures_learn_nothing_from_them(
    source: FeatureSource, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, defect = images_of(fabric)
    left_out = [{good[0].path, defect[0].path}, {image.path for image in good[1:]}]
    seen: list[set[Path]] = []
    levels, items = Bank.levels, list[ImageView]()

    def watched(self: Bank, indices: Sequence[int], *rest: Any) -> Any:
        seen[-1] |= {items[i].image.path for i in indices}
        return levels(self, indices, *rest)

    def noted(source: FeatureSource, net: EvidenceNet, every: list[ImageView], *rest: Any) -> TrainingBank:
        items[:] = every
        return training_bank(source, net, every, *rest)

    train = HeadTrainer.fit_location
    monkeypatch.setattr(Bank, "levels", watched)
    monkeypatch.setattr(fitting, "training_bank", noted)
    monkeypatch.setattr(HeadTrainer, "fit_location", lambda self, steps: (seen.append(set()), train(self, steps)))
    whole, *others = fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "fit", left_out=left_out)
    assert [images & used for images, used in zip(left_out, seen[1:], strict=True)] == [set(), set()]
    assert seen[0] & left_out[1]
    for other in others:
        for key, value in whole.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]) or key.startswith("location_"), key
        assert not torch.equal(whole.location_out.weight, other.location_out.weight)
    # The network itself is the one that comes without any others.
    (alone,) = fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "alone")
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in whole.state_dict().items())
    monkeypatch.setattr(HeadTrainer, "fit_location", lambda *_: pytest.fail("trained again"))
    again = fit_evidence(source, good, defect, FEW, seed=0, folder=tmp_path / "fit", left_out=left_out)
    for one, same in zip([whole, *others], again, strict=True):
        assert all(torch.equal(value, same.state_dict()[key]) for key, value in one.state_dict().items())


def test_few_imitations_lie_all_over_and_none_left_is_one_clear_error(
    source: FeatureSource, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, defect = images_of(fabric)
    items = list[ImageView]()

    def noted(source: FeatureSource, net: EvidenceNet, every: list[ImageView], *rest: Any) -> TrainingBank:
        items[:] = every
        return training_bank(source, net, every, *rest)

    monkeypatch.setattr(fitting, "training_bank", noted)
    two = replace(FEW, imitations=2)
    fit_evidence(source, good, defect, two, seed=0, folder=tmp_path / "two")
    assert [item.image for item in items[-2:]] == [good[0], good[-1]]
    left_out = [{good[0].path, good[-1].path, defect[0].path}]
    with pytest.raises(WeakspotError, match=r"refine\.imitations=2 are too few"):
        fit_evidence(source, good, defect, two, seed=0, folder=tmp_path / "none", left_out=left_out)


def test_a_size_that_does_not_divide_is_refused_by_name(source: FeatureSource, fabric: Path, tmp_path: Path) -> None:
    odd = FeatureSource(source.network, Preprocess((60, 96), "caffe"), None)
    with pytest.raises(WeakspotError, match=r"data\.image_size=\[60, 96\].*multiples of"):
        fit_evidence(odd, *images_of(fabric), FEW, seed=0, folder=tmp_path / "odd")


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("voices", [0, 1, 2])
def test_opinions_meet_in_the_middle_of_their_log_odds(classes: int, voices: int) -> None:
    torch.manual_seed(0)
    logits, others = torch.randn(5, classes), [torch.randn(5) for _ in range(voices)]
    found = agree(logits, others).softmax(dim=1).numpy()
    before = logits.softmax(dim=1).numpy()
    odds = [np.log((1 - p[:, 0]) / p[:, 0]) for p in (found, before)]
    assert np.allclose(odds[0], (odds[1] + sum(voice.numpy() for voice in others)) / (1 + voices), atol=1e-5)
    shares = [p[:, 1:] / p[:, 1:].sum(axis=1, keepdims=True) for p in (found, before)]
    assert np.allclose(*shares, atol=1e-6)


@pytest.mark.parametrize("lacking", [None, 1, 2])
def test_the_mean_of_the_parts_is_what_they_agree_on(lacking: int | None) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3)
    heads = [None if n == lacking else torch.randn(5) for n in (1, 2)]
    part_log_odds = side_by_side(logits, *heads).numpy()
    agreed = agree(logits, [one for one in heads if one is not None])
    before, after = log_odds_of(logits).numpy(), log_odds_of(agreed).numpy()
    np.testing.assert_allclose(part_log_odds[:, 0], before, rtol=1e-6)
    np.testing.assert_allclose(np.nanmean(part_log_odds, axis=1), after, rtol=1e-4, atol=1e-5)
    assert [bool(np.isnan(column).all()) for column in part_log_odds.T[1:]] == [lacking == 1, lacking == 2]


def test_a_pyramid_sees_further_than_the_cells_of_its_coarsest_level() -> None:
    torch.manual_seed(0)
    pyramid = Pyramid([3], 8, prompted=False)
    features = torch.randn(1, 3, 32, 32, requires_grad=True)
    pyramid(pyramid.laterals_of([Level(features, torch.zeros(1, 3))]))[0, :, 0, 0].sum().backward()
    assert features.grad is not None
    seen = torch.nonzero(features.grad.abs().sum(dim=(0, 1)))
    assert int(seen.max()) >= 12  # two convolutions, one of them dilated, reach 3 cells; four times as coarse, 12
