"""Learning from what a person drew: targets on the grids, losses against their formulas, and that the heads learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.data.annotations import Annotation
from weakspot.data.preprocess import Preprocess
from weakspot.models.evidence import EvidenceNet, Level
from weakspot.training.evidence.bank import Bank, TrainingBank
from weakspot.training.evidence.correct import Corrector, DrawnBank
from weakspot.training.evidence.drawn_losses import (
    SIMILAR,
    STEEPNESS,
    drawn_loss,
    pairwise_loss,
    projection_loss,
    surround_loss,
)
from weakspot.training.evidence.heads import HeadTrainer
from weakspot.training.evidence.targets import Target, target_of

CPU = torch.device("cpu")


def test_what_was_drawn_lies_where_the_picture_was_brought_to() -> None:
    drawn = Annotation("x.png", (40, 80))
    drawn.add_box(8, 4, 24, 20)
    mask = np.zeros((40, 80), bool)
    mask[20:40, 40:80] = True
    drawn.add_mask(mask)
    target = target_of(drawn, Preprocess((64, 96), "caffe"), (16, 24))
    assert target.boxes == ((2, 8, 2, 7),)  # rows 4…20 of 40 are 1.6…8 of 16, columns 8…24 of 80 are 2.4…7.2 of 24
    assert target.mask[8:, 12:].min() > 0.9  # edges are averaged
    assert target.mask.sum() == pytest.approx(8 * 12, rel=0.05)
    assert (target.known == 0).sum() == 6 * 5
    assert (target.marked[2:8, 2:7] == 1).all()


def test_a_border_round_the_picture_is_not_part_of_a_box() -> None:
    drawn = Annotation("x.png", (40, 20))
    drawn.add_box(0, 0, 20, 40)
    target = target_of(drawn, Preprocess((64, 64), "caffe", "keep_ratio"), (16, 16))
    assert target.boxes == ((0, 16, 4, 12),)


def test_a_crack_thinner_than_a_cell_is_learnt_as_one() -> None:
    drawn = Annotation("x.png", (80, 160))
    crack = np.zeros((80, 160), bool)
    crack[41, 20:100] = True
    drawn.add_mask(crack)
    target = target_of(drawn, Preprocess((32, 64), "caffe"), (16, 32))  # a cell is 5 pixels of the picture
    assert target.mask.max() == 1
    assert (target.mask > 0.5).sum() >= 15
    assert (target.known == 1).all()


@given(seed=st.integers(0, 10_000), axes=st.sampled_from([(), (2,), (3,), (2, 3)]))
@settings(max_examples=40, deadline=None)
def test_mirroring_moves_boxes_with_their_cells(seed: int, axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    (r0, c0), (height, width) = rng.integers(0, 6, 2), rng.integers(1, 6, 2)
    known = np.ones((12, 16), np.float32)
    known[r0 : r0 + height, c0 : c0 + width] = 0
    target = Target(np.zeros((12, 16), np.float32), known, ((int(r0), int(r0 + height), int(c0), int(c0 + width)),))
    mirrored = target.flipped(axes)
    ((top, bottom, left, right),) = mirrored.boxes
    assert (mirrored.known[top:bottom, left:right] == 0).all()
    assert (mirrored.known == 0).sum() == height * width
    assert mirrored.flipped(axes).boxes == target.boxes


def test_a_box_that_a_window_cuts_says_nothing_but_its_cells_stay_unknown() -> None:
    known = np.ones((8, 8), np.float32)
    known[2:6, 2:6] = 0
    target = Target(np.zeros((8, 8), np.float32), known, ((2, 6, 2, 6),))
    cut = target.cut(slice(0, 4), slice(0, 8))
    assert cut.boxes == ()
    assert (cut.known == 0).sum() == 8
    assert target.cut(slice(2, 8), slice(1, 8)).boxes == ((0, 4, 1, 5),)
    assert target.coarser().boxes == ((1, 3, 1, 3),)


@given(seed=st.integers(0, 10_000), height=st.integers(1, 6), width=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_projections_are_the_cross_entropy_of_rows_and_columns(seed: int, height: int, width: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (height, width))
    probabilities = 1 / (1 + np.exp(-logits))
    rows, columns = probabilities.max(axis=1), probabilities.max(axis=0)
    expected = 0.5 * (-np.log(rows).mean() - np.log(columns).mean())
    assert float(projection_loss(torch.from_numpy(logits))) == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_neighbours_of_one_colour_want_one_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, pixels = rng.normal(0, 2, (3, 4)), rng.normal(0, 0.3, (3, 3, 4))
    p = 1 / (1 + np.exp(-logits))
    total, count = 0.0, 0
    for y in range(3):
        for x in range(4):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < 3 and u < 4:
                    agreement = np.exp(-STEEPNESS * np.abs(pixels[:, y, x] - pixels[:, v, u]).mean())
                    if agreement > SIMILAR:
                        total -= np.log(p[y, x] * p[v, u] + (1 - p[y, x]) * (1 - p[v, u]))
                        count += 1
    found = float(pairwise_loss(torch.from_numpy(logits), torch.from_numpy(pixels)))
    assert found == pytest.approx(total / max(1, count), rel=1e-5, abs=1e-9)


def test_what_lies_close_round_a_box_is_good_but_for_other_boxes() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (10, 12))
    known = np.ones((10, 12), np.float32)
    known[4:6, 5:8] = known[6:9, 8:10] = 0
    target = Target(np.zeros((10, 12), np.float32), known, ((4, 6, 5, 8), (6, 9, 8, 10)))
    near = np.zeros((10, 12), bool)
    near[2:8, 2:11] = True
    expected = np.log1p(np.exp(logits[near & (known == 1)])).mean()
    assert float(surround_loss(torch.from_numpy(logits), target, (4, 6, 5, 8))) == pytest.approx(expected, rel=1e-6)


def test_a_defect_that_crosses_all_of_its_box_costs_little_and_one_outside_costs() -> None:
    known = np.ones((8, 8), np.float32)
    known[2:6, 2:6] = 0
    target = Target(np.zeros((8, 8), np.float32), known, ((2, 6, 2, 6),))

    def loss(rows: Sequence[int], columns: Sequence[int]) -> float:
        logits = torch.full((1, 1, 8, 8), -6.0)
        logits[0, 0, list(rows), list(columns)] = 6.0
        return float(drawn_loss(logits, [target]))

    diagonal = loss(range(2, 6), range(2, 6))
    assert diagonal < 0.02
    assert loss([2, 3], [2, 3]) > 1 + diagonal  # half of the rows are not crossed
    assert loss(range(2, 7), range(2, 7)) > diagonal + 0.05  # one cell outside


def toy(folder: Path) -> tuple[TrainingBank, list[np.ndarray]]:
    """Noise with a bright rectangle in defects and in imitations; those of the imitations are half as large."""
    rng, n = np.random.default_rng(0), 10
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
        told = mask.copy()
        if i >= 2 * n:
            told[y : y + 3] = 0  # imitations teach the wrong outline: the lower half alone
        masks.append(told)
    data = TrainingBank(bank, range(n), range(n, 2 * n), range(2 * n, 3 * n), np.stack(masks[2 * n :]))
    return data, masks[n : 2 * n]


def overlap(net: EvidenceNet, data: TrainingBank, truths: list[np.ndarray], indices: Sequence[int]) -> float:
    found = []
    with torch.no_grad():
        for i, truth in zip(indices, truths, strict=True):
            levels, pixels = data.bank.levels([i], CPU), data.bank.pixels([i], CPU)
            marked = net.grow(levels, pixels, torch.sigmoid(net.location_logits(levels)), 2)[0, 0].numpy() > 0
            found.append((marked & (truth > 0)).sum() / max(1, (marked | (truth > 0)).sum()))
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_the_heads_learn_from_half_of_the_defects_what_the_others_look_like(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    data, truths = toy(tmp_path)
    net = EvidenceNet(("a", "b"), [(4, 4), (4, 4)], location_width=8, mask_width=12)
    trainer = HeadTrainer(net, data, learning_rate=0.01, seed=0)
    trainer.fit_location(40)
    trainer.fit_mask(40)
    drawn, others = list(data.defect)[:5], list(data.defect)[5:]
    before = overlap(net, data, truths[5:], others)
    targets = []
    for truth in truths[:5]:
        rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        if kind == "masks":
            targets.append(Target(truth, np.ones_like(truth)))
        else:
            targets.append(Target(np.zeros_like(truth), 1 - truth, (box,)))
    of_others = replace(data, defect=others, imitations=data.imitations)
    Corrector(net, DrawnBank(of_others, drawn, targets), learning_rate=0.01, seed=0).correct(60)
    after = overlap(net, data, truths[5:], others)
    assert after > before + 0.1
    assert after > 0.6


def test_learning_from_what_was_drawn_is_the_same_each_time(tmp_path: Path) -> None:
    states = []
    for name in ("a", "b"):
        torch.manual_seed(3)
        data, truths = toy(tmp_path / name)
        net = EvidenceNet(("a", "b"), [(4, 4), (4, 4)], location_width=4, mask_width=4)
        targets = [Target(truth, np.ones_like(truth)) for truth in truths[:3]]
        bank = DrawnBank(replace(data, defect=[]), list(data.defect)[:3], targets)
        Corrector(net, bank, learning_rate=0.01, seed=1).correct(2)
        states.append(net.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
