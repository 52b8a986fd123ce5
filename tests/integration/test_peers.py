"""The comparison with peers: the scorer against exact answers and other implementations, resuming, and a fake peer."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

sys.path.append(str(ROOT / "benchmarks"))

import peers
import peers_speed
import peers_worker
from peer_tools import anomalib_models, ours
from peer_tools.cells import (
    Cost,
    DataSet,
    Fold,
    Found,
    LeftOutError,
    open_fold,
    read_cost,
    read_tested,
    timed_pictures,
    write_cost,
)
from peer_tools.pixels import aupro, average_precision, count_pixels, grid_of, mask_at, pooled
from peer_tools.scoring import Findings, Tested, region_boxes, score

from weakspot.evaluation.truth import Truth
from weakspot.metrics import aupro as exact_aupro
from weakspot.types import Sample

ONCE = np.ones((1, 3), np.intp)


# --- pixels -------------------------------------------------------------------------------------------------------


def pictures(levels: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Evidence of three images on which many pixels may share a value, and masks: two regions, one, none."""
    rng = np.random.default_rng(levels)
    masks = [np.zeros((9, 13), bool) for _ in range(3)]
    masks[0][1:4, 2:5] = masks[0][6:8, 7:12] = masks[1][4:6, 4:9] = True
    evidence = [(rng.integers(0, levels, mask.shape) + mask * levels / 4).astype(np.float32) for mask in masks]
    return evidence, masks


@pytest.mark.parametrize("levels", [3, 10, 100_000])
def test_pixel_figures_are_those_of_other_implementations(levels: int) -> None:
    evidence, masks = pictures(levels)
    counts = count_pixels(evidence, masks)
    truth, values = np.concatenate([m.ravel() for m in masks]), np.concatenate([e.ravel() for e in evidence])
    assert average_precision(counts, ONCE)[0] == pytest.approx(average_precision_score(truth, values))
    assert aupro(counts, ONCE)[0] == pytest.approx(exact_aupro.aupro(evidence, masks))


def test_an_image_that_is_drawn_twice_counts_twice() -> None:
    evidence, masks = pictures(50)
    counts, drawn = count_pixels(evidence, masks), [0, 0, 2]
    truth, values = (np.concatenate([each[i].ravel() for i in drawn]) for each in (masks, evidence))
    times = np.array([[2, 0, 1]])
    assert average_precision(counts, times)[0] == pytest.approx(average_precision_score(truth, values))
    again = exact_aupro.aupro([evidence[i] for i in drawn], [masks[i] for i in drawn])
    assert aupro(counts, times)[0] == pytest.approx(again)


def test_without_a_defect_in_a_resample_its_pixel_figures_are_undefined() -> None:
    counts = count_pixels(*pictures(50))
    nothing = np.array([[0, 0, 3]])
    assert np.isnan(average_precision(counts, nothing)[0])
    assert np.isnan(aupro(counts, nothing)[0])


def test_folds_are_pooled_by_rank_so_that_another_scale_changes_nothing() -> None:
    evidence, masks = pictures(1000)
    one, other = count_pixels(evidence, masks), count_pixels([1000 * map_ - 7 for map_ in evidence], masks)
    twice = np.ones((1, 6), np.intp)
    assert average_precision(pooled([one, other]), twice)[0] == pytest.approx(average_precision(one, ONCE)[0])
    assert aupro(pooled([one, other]), twice)[0] == pytest.approx(aupro(one, ONCE)[0])


def test_masks_are_compared_on_the_image_shape() -> None:
    assert grid_of((300, 600)) == (128, 256)
    assert grid_of((90, 200)) == (90, 200)
    mask = np.zeros((4, 6), bool)
    mask[:, 3:] = True
    np.testing.assert_array_equal(mask_at(mask, (2, 2)), [[False, True], [False, True]])


# --- the scorer ---------------------------------------------------------------------------------------------------


BOX = (4, 2, 14, 10)


def example(folder: Path, *, scale: float = 1.0, groups: Sequence[int] = (0, 1, 2, 3)) -> Tested:
    """Four images of 20 × 40: two Good, one defect that is found, one that is missed and called Good."""
    mask = np.zeros((20, 40), np.uint8)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    path = folder / "mask.png"
    cv2.imwrite(str(path), mask)
    names = ["good", "good", "hole", "hole"]
    samples = [Sample(folder / f"{i}.png", name, None if name == "good" else path) for i, name in enumerate(names)]
    evidence = np.zeros((4, 20, 40), np.float32)
    evidence[2][mask > 0] = 1
    evidence[3][0:4, 30:34] = 0.5
    shown = [np.zeros((0, 5)), np.array([[0, 0, 5, 5, 1.0]]), np.array([[*BOX, 2.0], [30, 0, 40, 9, 1.0]])]
    findings = Findings(
        scale * np.array([0.1, 0.6, 0.9, 0.4]),
        np.array([False, True, True, False]),
        [*shown, np.zeros((0, 5))],
        scale * evidence,
    )
    return Tested(Truth.read(samples, np.array([[20, 40]] * 4)), groups, findings)


def test_every_figure_of_a_small_example_is_as_counted_by_hand(tmp_path: Path) -> None:
    scores = score([example(tmp_path)])
    truth, values = [0, 0, 1, 1], [0.1, 0.6, 0.9, 0.4]
    assert scores.auroc.value == pytest.approx(roc_auc_score(truth, values)) == 0.75
    assert scores.average_precision.value == pytest.approx(average_precision_score(truth, values))
    assert scores.balanced_accuracy.value == balanced_accuracy_score(truth, [0, 1, 1, 0]) == 0.5
    assert scores.oracle_balanced_accuracy.value == 0.75  # at 0.4 or at 0.9
    assert (scores.max_box_acc_v2.value, scores.max_box_acc_v2.n) == (0.5, 2)
    assert scores.oracle_max_box_acc_v2.value == 0.5
    assert (scores.box_precision.value, scores.box_precision.n) == (pytest.approx(1 / 3), 3)
    assert (scores.false_boxes_per_100_good.value, scores.false_boxes_per_100_good.n) == (50.0, 2)
    # Half of the 160 defect pixels come first and alone, then 16 others, then all 1 to 3,200 at once.
    assert scores.pixel_average_precision.value == pytest.approx(0.5 + 0.5 * 160 / 3200)
    limit, others = 0.3, 3200 - 160
    begin = 16 / others
    area = begin * 0.5 + (limit - begin) * (0.5 + 0.25 * (limit - begin) / (1 - begin))
    assert scores.aupro.value == pytest.approx(area / limit)
    assert all(low <= value <= high for value, low, high in map(interval, vars(scores).values()))


def interval(estimate: peers.Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def test_another_scale_of_a_fold_changes_nothing_and_folds_are_pooled(tmp_path: Path) -> None:
    one, both = (
        score([example(tmp_path)]),
        score([example(tmp_path), example(tmp_path, scale=1000, groups=(4, 5, 6, 7))]),
    )
    for name in peers.QUESTIONS:
        assert getattr(both, name).value == pytest.approx(getattr(one, name).value), name
    assert both.auroc.n == 8


def test_images_of_one_group_make_intervals_wider(tmp_path: Path) -> None:
    folds = [example(tmp_path, groups=(4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3)) for i in range(8)]
    same = [example(tmp_path, groups=(0, 1, i % 2, 3)) for i in range(8)]
    alone, together = (score(each).max_box_acc_v2 for each in (folds, same))
    assert together.high - together.low > alone.high - alone.low


def test_boxes_of_a_map_are_in_pixels_of_the_image_with_the_highest_peak_first() -> None:
    map_ = np.zeros((4, 8), np.float32)
    map_[0, 0], map_[2:4, 5:8] = 1, 3
    boxes = region_boxes(map_, 0.5, np.array([40, 40]))
    np.testing.assert_array_equal(boxes, [[25, 20, 40, 40], [0, 0, 5, 10]])
    assert region_boxes(map_, 9, np.array([40, 40])).shape == (0, 4)


# --- a fake peer --------------------------------------------------------------------------------------------------


class Fake:
    """A peer that knows the answer from the name of the folder, and calls everything else Good."""

    trained = 0

    def train(self, fold: Fold, folder: Path) -> str:
        assert not {s.path for s in fold.subset("train", "val")} & {s.path for s in fold.subset("test")}
        type(self).trained += 1
        return "it looks at the folder's name"

    def load(self, folder: Path) -> ours.Predict:
        def predict(paths: Sequence[Path]) -> Iterator[Found]:
            for path in paths:
                bad = path.parent.name != "good"
                boxes = np.array([[0, 0, 128, 96, 1.0]]) if bad else np.zeros((0, 5))
                yield Found(float(bad), bad, boxes, np.full((6, 8), bad, np.float32), (96, 128))

        return predict


class Absent(Fake):
    def train(self, fold: Fold, folder: Path) -> str:
        raise LeftOutError("its weights are not to be had")


@pytest.fixture
def plan(fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> peers.Plan:
    monkeypatch.setattr(peers_worker, "TOOLS", {"fake": lambda w, q: Fake(), "absent": lambda w, q: Absent()})
    monkeypatch.setattr(peers, "SECONDS_PER_IMAGE", {"fake": 1.0, "absent": 1.0})
    monkeypatch.setattr(Fake, "trained", 0)
    monkeypatch.setattr(
        peers_worker.console, "hide_bars", lambda: None
    )  # for the whole process, that of the tests here
    sets = [DataSet("fabric", fabric / "fabric", split) for split in ("grouped", "random")]
    return peers.Plan(sets, ["fake", "absent"], tmp_path / "results", "none", 1.0, 1, 4, 0, False)


def here(command: list[str]) -> str | None:
    """Run a worker's command in this process."""
    _, _, _, fold, method, root, *_ = command
    peers_worker.train(Path(fold), method, Path(root))
    return None


def test_a_fake_peer_runs_from_nothing_to_the_table(plan: peers.Plan, tmp_path: Path) -> None:
    assert peers.run_cells(plan, here) == []
    peers.write_report(plan, [], tmp_path / "table.md")
    table = (tmp_path / "table.md").read_text("utf-8")
    assert table.count("| AUROC | 11 | 1.000 (") == 2
    assert "left out: its weights are not to be had" in table
    assert "| fabric, `fake` | +0.000 | +0.000 | +0.000 | +0.000 |" in table
    found = read_tested(Fold(tmp_path / "results/fabric-random", plan.data[0].root), "fake")
    assert found.findings.evidence.shape[1:] == (128, 128)


def test_finished_cells_are_skipped_and_others_are_tried_again(plan: peers.Plan, tmp_path: Path) -> None:
    peers.run_cells(plan, here)
    assert Fake.trained == 2
    write_cost(tmp_path / "results/fabric-random/fake", Cost("failed", "no room"))
    asked: list[str] = []

    def noted(command: list[str]) -> str | None:
        asked.append(f"{Path(command[3]).name} {command[4]}")
        return here(command)

    peers.run_cells(plan, noted)
    assert asked == ["fabric-grouped absent", "fabric-random fake", "fabric-random absent"]
    assert Fake.trained == 3


def test_cells_run_side_by_side_but_not_before_the_network_that_they_need(
    plan: peers.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "SECONDS_PER_IMAGE", dict.fromkeys(("plain_cam", "grad_cam", "torch_cam", "padim"), 1.0))
    two = replace(plan, methods=["plain_cam", "grad_cam", "torch_cam", "padim"], jobs=2)
    both, lock, said = threading.Barrier(2, timeout=60), threading.Lock(), list[tuple[str, str, str]]()

    def noted(command: list[str]) -> str | None:
        cell = Path(command[3]).name, command[4]
        with lock:
            said.append(("begin", *cell))
        if cell in (("fabric-grouped", "plain_cam"), ("fabric-grouped", "padim")):
            both.wait()  # each waits for the other to have begun
        with lock:
            said.append(("end", *cell))
        return "it is not trained here"

    peers.run_cells(two, noted)
    assert len(said) == 16
    for data in ("fabric-grouped", "fabric-random"):
        network = said.index(("end", data, "plain_cam"))
        assert all(network < said.index(("begin", data, library)) for library in ("grad_cam", "torch_cam"))


def test_a_failure_is_written_down_and_the_others_go_on(plan: peers.Plan, tmp_path: Path) -> None:
    peers.run_cells(plan, lambda command: "no room" if "fabric-grouped" in command[3] else here(command))
    failed = read_cost(tmp_path / "results/fabric-grouped/fake")
    assert failed is not None
    assert (failed.status, failed.note) == ("failed", "no room")
    cost = read_cost(tmp_path / "results/fabric-random/fake")
    assert cost is not None
    assert (cost.status, cost.test_images, cost.training_images) == ("ok", 11, 44)


def test_no_cell_is_begun_that_would_end_too_late(plan: peers.Plan, tmp_path: Path) -> None:
    late = peers.Plan(plan.data, ["fake"], plan.results, "none", 0.0, 1, 4, 0, False)
    postponed = peers.run_cells(late, here)
    peers.write_report(late, postponed, tmp_path / "table.md")
    assert Fake.trained == 0
    assert "Not yet measured: fabric-grouped: fake; fabric-random: fake" in (tmp_path / "table.md").read_text("utf-8")


def test_results_of_another_split_are_refused(plan: peers.Plan, tmp_path: Path) -> None:
    peers.run_cells(plan, here)
    file = tmp_path / "results/fabric-random/fake/predictions.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8"))[1:]), "utf-8")
    with pytest.raises(ValueError, match="do not belong together"):
        read_tested(Fold(tmp_path / "results/fabric-random", plan.data[0].root), "fake")


def test_speed_is_shown_as_pictures_a_second_of_the_rounds_that_count() -> None:
    row = peers.Row("fabric-random", "fake", None, [Cost("ok", "a note", 1.5, 2.5, 500.0, 40, 10)], 1)
    speeds = [
        {"round": i, "method": "fake", "seconds": s, "images": 24, "peak_mb": 300.0} for i, s in enumerate((9, 2, 4))
    ]
    assert "| `fake` | 1.50 (2.50) | 9.00 (6.00 – 12.0) | 500, 300 | a note |" in peers.cost_table([row], speeds)


def test_what_eight_bits_cost_is_told_beside_what_was_before() -> None:
    accuracy = {
        "pytorch": {"balanced_accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}, "max_box_acc_v2": 0.5},
        "exported": {"balanced_accuracy": {"value": 0.875, "low": 0.8, "high": 1.0}, "max_box_acc_v2": 0.25},
    }
    certificate = {"images": 40, "same_class": 39, "same_boxes": 30, "accuracy": accuracy}
    line = ["fast", "39 of 40", "30 of 40", "0.900 → 0.875", "0.500 → 0.250"]
    assert peers_speed.loss_of("fast", certificate) == line
    without = {"pytorch": {}, "exported": {}}
    assert peers_speed.loss_of("fast", certificate | {"accuracy": without})[3:] == ["–", "–"]


def test_what_is_timed_on_is_the_first_fold_of_the_folder_or_the_first_generated_set(tmp_path: Path) -> None:
    def firsts(data: Path | None) -> list[str]:
        return [one.folder for one in peers.all_data(data, tmp_path) if peers_speed.is_first(one, data)]

    assert firsts(None) == ["fabric-random"]
    assert firsts(tmp_path / "tile")[0] == "tile-grouped-fold0"


def test_good_and_defective_pictures_are_timed(fold: Fold) -> None:
    test = [sample.path for sample in fold.subset("test")]
    assert [path in test for path in timed_pictures(fold, 4)] == [True] * 4
    kinds = [path.parent.name == "good" for path in timed_pictures(fold, 4)]
    assert True in kinds
    assert False in kinds
    assert timed_pictures(fold, len(test) + 2) == [*test, *test[:2]]


# --- tools --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fold(fabric: Path, tmp_path: Path) -> Fold:
    return open_fold(DataSet("fabric", fabric / "fabric", "random"), tmp_path)


def test_the_floor_learns_from_good_pictures_and_its_threshold_from_those_held_out(fold: Fold, tmp_path: Path) -> None:
    tool = ours.MeanImage(side=32)
    tool.train(fold, tmp_path)
    predict = tool.load(tmp_path)
    held_out = list(predict([sample.path for sample in fold.good("val")]))
    assert not any(one.called for one in held_out)
    bad = list(predict([sample.path for sample in fold.subset("test") if not sample.is_good]))
    assert {one.size for one in bad} == {(96, 128)}
    assert all(bool(len(one.boxes)) == one.called for one in bad)


def test_anomalib_is_never_shown_a_test_picture_nor_a_mask(fold: Fold, tmp_path: Path) -> None:
    folder = anomalib_models.link_pictures(fold, tmp_path / "pictures")
    there = {path.resolve() for path in folder.rglob("*.png")}
    assert there == {sample.path.resolve() for sample in [*fold.good("train"), *fold.subset("val")]}
    assert {path.resolve() for path in (folder / "train/good").iterdir()} == {
        sample.path.resolve() for sample in fold.good("train")
    }


def test_boxes_of_anomalib_become_half_open_boxes_of_the_image() -> None:
    boxes = anomalib_models.scaled(np.array([[0.0, 0.0, 255.0, 127.0], [64.0, 0.0, 64.0, 0.0]]), (256, 256), (512, 128))
    np.testing.assert_array_equal(boxes, [[0, 0, 128, 256], [32, 0, 32.5, 2]])


def test_weights_are_given_to_networks_of_timm_that_ask_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    whole = timm.create_model("test_resnet", pretrained=False)
    state = {key: value + 1 for key, value in whole.state_dict().items()}
    backbone = anomalib_models.Backbone("test_resnet", state, [0.5] * 3, [0.5] * 3, "a test")
    with anomalib_models.given_weights(backbone):
        asked = timm.create_model("test_resnet", pretrained=True, features_only=True, out_indices=[1])
        not_asked = timm.create_model("test_resnet", pretrained=False)
    assert all((state[key] == value).all() for key, value in asked.state_dict().items())
    assert any((state[key] != value).any() for key, value in not_asked.state_dict().items())
    short = anomalib_models.Backbone("test_resnet", {}, [0.5] * 3, [0.5] * 3, "a test")
    with anomalib_models.given_weights(short), pytest.raises(LeftOutError, match="lack"):
        timm.create_model("test_resnet", pretrained=True)


def test_weights_that_need_a_connection_are_a_reason_to_leave_a_method_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalib_models.timm_weights, "from_hub", lambda name: None)
    with pytest.raises(LeftOutError, match="wide_resnet50_2"):
        anomalib_models.find_backbone("wide_resnet50_2")


def test_an_unknown_method_is_named_with_those_that_exist() -> None:
    assert peers.chosen(["b"], ["a", "b"], "--methods") == ["b"]
    assert peers.chosen(None, ["a", "b"], "--methods") == ["a", "b"]
    with pytest.raises(peers.typer.BadParameter, match="c is none of: a, b"):
        peers.chosen(["c"], ["a", "b"], "--methods")
