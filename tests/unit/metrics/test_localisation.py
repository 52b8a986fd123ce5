"""Metrics: exact answers on tiny cases, independent formulas and libraries on random ones."""

import json
import math

import numpy as np
import pytest
from helpers.estimates import is_undefined
from helpers.results import box_accuracy, classification_metrics, localisation_metrics, max_box_accuracy, pixel_metrics
from sklearn import metrics as sk

from weakspot.errors import WeakspotError
from weakspot.metrics import best_iou, mask_boxes, pointing_hit, proportion, size_class
from weakspot.metrics.aupro import aupro
from weakspot.metrics.classification import class_scores, macro_scores
from weakspot.metrics.localisation import _grid

pytestmark = pytest.mark.usefixtures("warnings_are_errors")

NO_BOX = np.zeros((0, 4))


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("row", [0, 2, 4])
@pytest.mark.parametrize("column", [0, 3, 6])
def test_mask_of_one_pixel_is_a_box_of_area_one(row, column):
    mask = np.zeros((5, 7), dtype=bool)
    mask[row, column] = True
    np.testing.assert_array_equal(mask_boxes(mask), [[column, row, column + 1, row + 1]])


def test_mask_boxes_one_per_component_touching_corners_joined():
    mask = np.array(
        [
            [1, 0, 0, 0, 0, 1],
            [0, 1, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 1, 1, 1, 0],
        ],
        dtype=bool,
    )
    expected = [[0, 0, 2, 2], [5, 0, 6, 2], [2, 3, 5, 4]]
    np.testing.assert_array_equal(mask_boxes(mask), expected)
    np.testing.assert_array_equal(mask_boxes(mask.astype(np.uint8) * 255), expected)
    np.testing.assert_array_equal(mask_boxes(np.asfortranarray(mask)), expected)


def test_mask_boxes_of_empty_full_and_smallest_masks():
    assert mask_boxes(np.zeros((3, 5), dtype=bool)).shape == (0, 4)
    np.testing.assert_array_equal(mask_boxes(np.ones((3, 5), dtype=bool)), [[0, 0, 5, 3]])
    np.testing.assert_array_equal(mask_boxes(np.ones((1, 1), dtype=bool)), [[0, 0, 1, 1]])
    for bad in (np.ones((3, 5, 1), dtype=bool), np.ones((0, 5), dtype=bool)):
        with pytest.raises(ValueError, match="mask"):
            mask_boxes(bad)


# ---------------------------------------------------------------- box accuracy


def test_box_accuracy_by_hand_levels_are_inclusive():
    result = box_accuracy(np.array([0.0, 0.3, 0.5, 0.7, 1.0]))
    assert result["n"] == 5
    assert result["box_accuracy_30"] == proportion(4, 5).as_dict()
    assert result["box_accuracy_50"] == proportion(3, 5).as_dict()
    assert result["box_accuracy_70"] == proportion(2, 5).as_dict()
    assert result["max_box_acc_v2"]["value"] == pytest.approx(0.6)
    assert result["max_box_acc_v2"]["low"] < 0.6 < result["max_box_acc_v2"]["high"]
    assert result["mean_iou"]["value"] == pytest.approx(0.5)
    assert json.loads(json.dumps(result)) == result


def test_box_accuracy_meets_a_level_reached_exactly():
    tenths = best_iou(np.array([[0, 0, 3, 1]]), np.array([[0, 0, 10, 1]]))
    assert box_accuracy(np.array([tenths]))["box_accuracy_30"]["value"] == 1.0


def test_box_accuracy_of_no_image():
    result = box_accuracy(np.zeros(0))
    assert result.pop("n") == 0
    assert len(result) == 5
    assert all(is_undefined(estimate, 0) for estimate in result.values())


@pytest.mark.parametrize("bad", [[0.5, np.nan], [1.5], [-0.1], [[0.5]]])
def test_box_accuracy_refuses_nan_and_nonsense(bad):
    with pytest.raises(ValueError, match="IoUs"):
        box_accuracy(np.array(bad))


def test_max_box_accuracy_by_hand():
    ious = np.array(
        [
            [0.4, 0.4, 0.4, 0.4],  # at 0.2: all reach 0.3, none 0.5
            [0.6, 0.6, 0.6, 0.0],  # at 0.5: three reach 0.3 and 0.5, none 0.7
            [0.9, 0.9, 0.0, 0.0],  # at 0.8: two reach everything
        ]
    )
    result = max_box_accuracy(ious, np.array([0.2, 0.5, 0.8]))
    assert all("oracle" in key for key in result)
    assert result == pytest.approx(
        {
            "oracle_n": 4,
            "oracle_box_accuracy_30": 1.0,
            "oracle_box_accuracy_50": 0.75,
            "oracle_box_accuracy_70": 0.5,
            "oracle_threshold_30": 0.2,
            "oracle_threshold_50": 0.5,
            "oracle_threshold_70": 0.8,
            "oracle_max_box_acc_v2": 0.75,
            "oracle_single_max_box_acc_v2": 0.5,
            "oracle_single_threshold": 0.5,  # 0.5 and 0.8 both reach 0.5: the first
        }
    )
    assert json.loads(json.dumps(result)) == result


def test_max_box_accuracy_levels_are_inclusive():
    result = max_box_accuracy(np.array([[0.3, 0.5, 0.7]]), np.array([1]))
    found = [result[f"oracle_box_accuracy_{level}"] for level in (30, 50, 70)]
    assert found == pytest.approx([1.0, 2 / 3, 1 / 3])


def test_boxes_of_a_row_go_from_left_to_right():
    mask = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 1, 0, 0]], dtype=bool)
    mask[1, 2] = False
    row = np.array([[0, 0, 0, 1, 0], [0, 1, 0, 1, 0]], dtype=bool)
    row[0, 1] = True
    np.testing.assert_array_equal(mask_boxes(row)[:, 0], [1, 3])
    np.testing.assert_array_equal(mask_boxes(mask)[:, 1], [0, 1, 2])


def test_max_box_accuracy_is_never_below_any_single_threshold():
    ious = np.random.default_rng(0).random((9, 30))
    result = max_box_accuracy(ious, np.linspace(0.1, 0.9, 9))
    singles = [box_accuracy(row)["max_box_acc_v2"]["value"] for row in ious]
    assert result["oracle_single_max_box_acc_v2"] == pytest.approx(max(singles))
    assert result["oracle_single_threshold"] == pytest.approx(0.1 * (1 + int(np.argmax(singles))))
    assert result["oracle_max_box_acc_v2"] >= result["oracle_single_max_box_acc_v2"]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_max_box_accuracy_of_nothing(shape):
    result = max_box_accuracy(np.zeros(shape), np.zeros(shape[0]))
    assert result.pop("oracle_n") == shape[1]
    assert len(result) == 9
    assert all(math.isnan(value) for value in result.values())


def test_max_box_accuracy_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="thresholds"):
        max_box_accuracy(np.zeros((3, 4)), np.zeros(4))


def test_localisation_metrics_by_hand():
    truth = [np.array([[0, 0, 10, 4]]), np.array([[0, 0, 10, 4], [20, 20, 30, 24]]), np.array([[5, 5, 6, 6]]), NO_BOX]
    predicted = [
        np.array([[0, 0, 10, 4], [50, 50, 60, 60]]),  # IoU 1
        np.array([[20, 20, 26, 24]]),  # the second component, IoU 0.6
        NO_BOX,  # found nothing: 0
        np.array([[0, 0, 5, 5]]),  # a defect whose mask is missing
    ]
    result = localisation_metrics(
        [*predicted, NO_BOX, NO_BOX],
        [*truth, NO_BOX, NO_BOX],
        ["hole", "cut", "cut", "scratch", "good", "good"],
        ["small", "large", "medium", "small", "small", "small"],
    )
    assert result["n"] == 3
    assert result["n_without_truth"] == 1
    assert result["mean_boxes"] == 1.0
    assert result["box_accuracy_30"] == proportion(2, 3).as_dict()
    assert result["box_accuracy_50"] == proportion(2, 3).as_dict()
    assert result["box_accuracy_70"] == proportion(1, 3).as_dict()
    assert result["mean_iou"]["value"] == pytest.approx(1.6 / 3)
    assert list(result["per_defect"]) == ["cut", "hole", "scratch"]
    assert result["per_defect"]["cut"] == box_accuracy(np.array([0.6, 0.0]))
    assert result["per_defect"]["hole"]["mean_iou"]["value"] == 1.0
    assert result["per_defect"]["scratch"]["n"] == 0
    assert is_undefined(result["per_defect"]["scratch"]["max_box_acc_v2"], 0)
    assert result["per_size"] == {
        "small": box_accuracy(np.array([1.0])),
        "medium": box_accuracy(np.array([0.0])),
        "large": box_accuracy(np.array([0.6])),
    }
    assert list(result["per_size"]) == ["small", "medium", "large"]


def test_scores_of_single_images_and_of_a_class_alone():
    counts = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]], [[1, 0], [0, 0]]])  # rows true, columns predicted
    assert class_scores(counts)["recall"].tolist() == [[1, 1], [0, 1], [1, 0]]
    assert class_scores(counts)["precision"].tolist() == [[1, 1], [0, 0.5], [1, 0]]
    assert class_scores(counts)["f1"] == pytest.approx(np.array([[1, 1], [0, 2 / 3], [1, 0]]))
    assert macro_scores(counts)["recall"].tolist() == [1, 0.5, 1]  # over the classes that occur


def test_a_class_that_nobody_saw_or_named_keeps_its_place():
    targets, probabilities = np.array([0, 2, 2]), np.array([[0.9, 0, 0.1], [0.2, 0, 0.8], [0.7, 0, 0.3]])
    result = classification_metrics(targets, probabilities, ["good", "cut", "hole"], ["good", "hole", "hole"])
    assert result["confusion_matrix"]["counts"] == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]


def test_boxes_of_a_mask_come_from_top_to_bottom_then_left_to_right():
    mask = np.zeros((3, 7), bool)
    mask[0, 3] = mask[:3, 5] = mask[2, :6] = True  # the second region starts further right and reaches further left
    assert mask_boxes(mask).tolist() == [[0, 0, 6, 3], [3, 0, 4, 1]]


def test_the_first_three_boxes_count_and_no_more():
    truth, wrong = np.array([[0, 0, 10, 4]]), np.array([[50, 50, 60, 60]])
    for place, found in ((2, 1.0), (3, 0.0)):
        boxes = np.concatenate([*[wrong] * place, truth])
        assert localisation_metrics([boxes], [truth], ["cut"], ["small"])["max_box_acc_v2"]["value"] == found


def test_size_classes_have_their_lower_limit():
    assert [size_class(share) for share in (0.0049, 0.005, 0.0499, 0.05, 1.0)] == [
        "small", "medium", "medium", "large", "large",
    ]  # fmt: skip


def test_localisation_metrics_of_no_image_and_of_unequal_lists():
    result = localisation_metrics([], [], [], [])
    assert (result["n"], result["n_without_truth"], result["per_defect"]) == (0, 0, {})
    assert math.isnan(result["mean_boxes"])
    with pytest.raises(ValueError, match="lengths"):
        localisation_metrics([NO_BOX], [NO_BOX, NO_BOX], ["cut"], ["small"])


def test_a_single_pixel_of_truth_counts_at_full_resolution():
    mask = np.zeros((2000, 3000), dtype=bool)
    mask[1999, 1] = True
    result = localisation_metrics([np.array([[1, 1999, 2, 2000]])], [mask_boxes(mask)], ["dot"], ["small"])
    assert result["box_accuracy_70"]["value"] == 1.0


# ---------------------------------------------------------------- pointing game


@pytest.mark.parametrize(
    ("cell", "pixel"),
    [((0, 0), (1, 1)), ((0, 4), (1, 9)), ((3, 0), (10, 1)), ((3, 4), (10, 9)), ((2, 1), (7, 3))],
)
def test_pointing_hits_the_pixel_under_the_centre_of_the_cell(cell, pixel):
    evidence = np.zeros((4, 5), np.float32)  # cells 3 high and 2 wide; the centre of the first is (1.5, 1.0)
    evidence[cell] = 3
    mask = np.zeros((12, 10), dtype=bool)
    mask[pixel] = True
    assert pointing_hit(evidence, mask) is True
    assert pointing_hit(evidence, ~mask) is False


def test_pointing_with_a_flat_map_or_an_empty_mask_misses():
    assert pointing_hit(np.full((4, 5), 2.0, np.float32), np.ones((12, 10), dtype=bool)) is False
    assert pointing_hit(np.eye(4, 5, dtype=np.float32), np.zeros((12, 10), dtype=bool)) is False


def test_pointing_refuses_nan():
    line = "the evidence holds NaN or infinity, so it cannot be measured; check weights and training"
    with pytest.raises(WeakspotError, match=f"^{line}$"):
        pointing_hit(np.array([[0.0, np.nan]]), np.ones((2, 2), dtype=bool))


@pytest.mark.parametrize("shape", [(2, 2, 1), (4,), (0, 3)])
def test_pointing_refuses_what_is_no_map_or_no_mask(shape):
    with pytest.raises(ValueError, match=r"^evidence must have shape \(height, width\) and not be empty"):
        pointing_hit(np.ones(shape), np.ones((2, 2), dtype=bool))
    with pytest.raises(ValueError, match=r"^a mask must have shape \(height, width\) and not be empty"):
        pointing_hit(np.eye(2), np.ones(shape, dtype=bool))
    assert pointing_hit(np.ones((1, 1)), np.ones((2, 2), dtype=bool)) is False


def test_pointing_into_an_image_smaller_than_the_map():
    evidence = np.zeros((14, 9), np.float32)
    evidence[13, 0] = 1
    assert pointing_hit(evidence, np.array([[0, 0], [0, 0], [1, 0]], dtype=bool)) is True


# ---------------------------------------------------------------- pixels


def test_pixel_metrics_equal_sklearn_at_equal_resolution():
    rng = np.random.default_rng(0)
    pairs = [
        (np.round(rng.normal(size=shape), 1).astype(np.float32), rng.random(shape) < share)
        for shape, share in [((20, 30), 0.2), ((11, 7), 0.5), ((13, 40), 0.0)]
    ]
    result = pixel_metrics(iter(pairs))
    scores = np.concatenate([evidence.ravel() for evidence, _ in pairs])
    truth = np.concatenate([mask.ravel() for _, mask in pairs])
    assert result["pixel_auroc"] == pytest.approx(sk.roc_auc_score(truth, scores))
    assert result["pixel_average_precision"] == pytest.approx(sk.average_precision_score(truth, scores))
    assert (result["n"], result["n_defect_images"]) == (3, 2)
    assert result["aupro"] == aupro(*zip(*pairs, strict=True))
    assert set(result) == {"pixel_auroc", "pixel_average_precision", "aupro", "n", "n_defect_images", "longest_side"}
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1000, 3000), (20, 60)),
        ((3000, 1000), (60, 20)),
        ((1, 3000), (1, 60)),
        ((3000, 1), (60, 1)),
        ((40, 60), (40, 60)),
    ],
)
def test_the_grid_is_no_longer_than_allowed_and_never_empty(shape, expected):
    assert _grid(shape, 60) == expected


def test_the_grid_has_256_pixels_if_not_told_otherwise():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((3, 1030)).astype(np.float32), rng.random((3, 1030)) < 0.1)]
    sides = ({}, {"longest_side": 256}, {"longest_side": 257})
    found, of_256, of_257 = (pixel_metrics(pairs, **side) for side in sides)
    assert found == of_256
    assert found["aupro"] != of_257["aupro"]


def test_pixel_metrics_pool_over_images_so_that_levels_count():
    ramp = np.array([[0.0, 1.0]], np.float32)
    own = [(ramp, np.array([[False, True]])), (ramp + 5, np.array([[False, True]]))]
    assert pixel_metrics(own[:1])["pixel_auroc"] == 1.0
    assert pixel_metrics(own)["pixel_auroc"] == 0.75, "a quiet defect lies below the loud background"


def test_pixel_metrics_resize_evidence_to_the_mask():
    mask = np.zeros((8, 12), dtype=bool)
    mask[:, 6:] = True
    assert pixel_metrics([(np.array([[0.0, 1.0]], np.float32), mask)])["pixel_auroc"] > 0.95
    assert pixel_metrics([(np.array([[1.0, 0.0]], np.float32), mask)])["pixel_auroc"] < 0.05
    assert pixel_metrics([(np.array([[0.0], [1.0]], np.float32), mask)])["pixel_auroc"] == pytest.approx(0.5)


def test_pixel_metrics_grid_is_limited_and_keeps_the_place():
    mask = np.zeros((1000, 3000), dtype=bool)
    mask[:500, :1500] = True
    evidence = np.kron([[1.0, 0.0], [0.0, 0.0]], np.ones((50, 150))).astype(np.float32)
    assert pixel_metrics([(evidence, mask)], longest_side=60)["pixel_auroc"] == pytest.approx(1.0)
    lost = np.zeros((1000, 3000), dtype=bool)
    lost[0, 0] = True
    result = pixel_metrics([(evidence, lost)], longest_side=60)
    assert result["n_defect_images"] == 0
    assert math.isnan(result["pixel_auroc"])


@pytest.mark.parametrize("value", [False, True])
def test_pixel_metrics_of_one_kind_of_pixels_are_undefined(value):
    result = pixel_metrics([(np.eye(2, 3, dtype=np.float32), np.full((4, 6), value))])
    assert all(math.isnan(result[key]) for key in ("pixel_auroc", "pixel_average_precision", "aupro"))


def test_pixel_metrics_of_no_image_and_of_nan():
    result = pixel_metrics([])
    assert result["n"] == 0
    assert math.isnan(result["pixel_auroc"])
    with pytest.raises(WeakspotError, match="NaN"):
        pixel_metrics([(np.array([[np.nan]]), np.ones((1, 1), dtype=bool))])


def test_pixel_metrics_of_a_flat_map_are_chance():
    result = pixel_metrics([(np.full((3, 5), 0.1, np.float32), np.eye(30, 50, dtype=bool))])
    assert result["pixel_auroc"] == pytest.approx(0.5, abs=0.05)
