"""Evidence → boxes: exact answers on tiny maps, then properties."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.ops.resize import upsample
from weakspot.postprocess import boxes as boxes_module
from weakspot.postprocess.boxes import boxes_array, find_boxes, merge_boxes
from weakspot.types import Box

SINGLE = BoxRule(threshold_kind="absolute", threshold=0.5)
COMPONENTS = BoxRule("components", "absolute", 0.5, max_boxes=1000)


def hot_map(shape, *pixels):
    """A map of zeros with ones at the (row, column) given."""
    map_ = np.zeros(shape, dtype=np.float32)
    for pixel in pixels:
        map_[pixel] = 1
    return map_


def corners(boxes):
    return [box.xyxy for box in boxes]


# ---------------------------------------------------------------- the rule itself


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"method": "singel"}, ["boxes.method=singel", "did you mean 'single'", "single, components"]),
        ({"threshold_kind": "absolut"}, ["boxes.threshold_kind=absolut", "did you mean 'absolute'"]),
        ({"threshold": float("nan")}, ["boxes.threshold=nan"]),
        ({"threshold": "high"}, ["boxes.threshold=high", "number"]),
        ({"threshold": 0.0}, ["boxes.threshold=0.0", "(0, 1]", "absolute"]),
        ({"threshold": 1.5}, ["boxes.threshold=1.5", "(0, 1]"]),
        ({"threshold": float("nan"), "threshold_kind": "absolute"}, ["boxes.threshold=nan"]),
        ({"max_boxes": 0}, ["boxes.max_boxes=0"]),
        ({"max_boxes": 2.5}, ["boxes.max_boxes=2.5"]),
        ({"max_boxes": True}, ["boxes.max_boxes=True"]),
        ({"min_area": 0}, ["boxes.min_area=0"]),
    ],
)
def test_rule_refuses_nonsense_and_names_the_key(settings_, words):
    with pytest.raises(WeakspotError) as error:
        BoxRule(**settings_)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings_", "line"),
    [
        ({"method": "x"}, "method=x is not a choice; choose from single, components"),
        ({"threshold_kind": "x"}, "threshold_kind=x is not a choice; choose from relative, absolute, calibrated"),
        ({"threshold": True}, "threshold=True is not a number; give one such as 0.7"),
        (
            {"threshold": 0.0},
            "threshold=0.0 is outside (0, 1]; give a share of the map's range, or set boxes.threshold_kind=absolute",
        ),
        ({"min_area": -1}, "min_area=-1 is not a whole number of at least 1"),
        ({"max_boxes": 0}, "max_boxes=0 is not a whole number of at least 1"),
        ({"min_score": "x"}, "min_score=x is not a number; give one such as 0.7"),
        ({"merge": "x"}, "merge=x is not a number; give one such as 0.7"),
        ({"merge": -0.5}, "merge=-0.5 is below 0; give 0 or more, or null"),
        ({"margin": "x"}, "margin=x is not a number; give one such as 0.7"),
        ({"margin": -0.1}, "margin=-0.1 is outside 0…1; give a share of the box's sides, such as 0.05"),
        ({"margin": 5}, "margin=5 is outside 0…1; give a share of the box's sides, such as 0.05"),
        ({"false_boxes": 0.0}, "false_boxes=0.0 is not above 0; give how many per 100 Good images"),
    ],
)
def test_the_line_of_a_refusal(settings_, line):
    with pytest.raises(WeakspotError, match=f"^boxes.{re.escape(line)}$"):
        BoxRule(**settings_)


def test_rule_accepts_the_ends_of_its_ranges():
    assert BoxRule(merge=0).merge == 0
    assert BoxRule(false_boxes=0.1).false_boxes == 0.1
    assert BoxRule(min_area=np.int64(1), max_boxes=np.int64(1)).max_boxes == 1
    assert BoxRule(threshold=1.0).threshold == 1.0
    assert BoxRule(threshold_kind="absolute", threshold=-3).threshold == -3
    assert BoxRule(threshold_kind="absolute", threshold=np.float32(2.5)).threshold == 2.5


def test_a_rule_made_absolute_keeps_the_rest():
    rule = BoxRule("components", "calibrated", -1.5, min_area=3, merge=0.5)
    assert rule.absolute(2.0) == BoxRule("components", "absolute", -1.5, min_area=3, merge=0.5, min_score=2.0)


# ---------------------------------------------------------------- exact boxes


@pytest.mark.parametrize("rule", [SINGLE, COMPONENTS], ids=["single", "components"])
@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (0, 0, (0, 0, 2, 3)),  # corners: a 4×5 map on an image 12 high and 10 wide, so a cell is 3 high and 2 wide
        (0, 4, (8, 0, 10, 3)),
        (3, 0, (0, 9, 2, 12)),
        (3, 4, (8, 9, 10, 12)),
        (0, 2, (4, 0, 6, 3)),  # edges
        (3, 2, (4, 9, 6, 12)),
        (1, 0, (0, 3, 2, 6)),
        (2, 4, (8, 6, 10, 9)),
        (2, 1, (2, 6, 4, 9)),  # inside
    ],
)
def test_one_hot_pixel(rule, row, column, expected):
    assert corners(find_boxes(hot_map((4, 5), (row, column)), (12, 10), rule)) == [expected]


@pytest.mark.parametrize("rule", [SINGLE, COMPONENTS], ids=["single", "components"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((0, slice(None)), (0, 0, 10, 3)),
        ((-1, slice(None)), (0, 9, 10, 12)),
        ((slice(None), 0), (0, 0, 2, 12)),
        ((slice(None), -1), (8, 0, 10, 12)),
    ],
    ids=["row 0", "last row", "column 0", "last column"],
)
def test_one_hot_edge(rule, line, expected):
    assert corners(find_boxes(hot_map((4, 5), line), (12, 10), rule)) == [expected]


def test_boxes_are_rounded_outwards_where_cells_and_pixels_do_not_meet():
    # cells of a 3×3 map on an image 7 high and 10 wide: rows end at 2.33, 4.67, 7; columns at 3.33, 6.67, 10
    assert corners(find_boxes(hot_map((3, 3), (1, 1)), (7, 10), SINGLE)) == [(3, 2, 7, 5)]


def test_map_finer_than_the_image_still_gives_boxes_with_an_area():
    assert corners(find_boxes(hot_map((14, 14), (13, 0)), (1, 1), COMPONENTS)) == [(0, 0, 1, 1)]
    assert corners(find_boxes(hot_map((14, 14), (13, 0)), (3, 2), COMPONENTS)) == [(0, 2, 1, 3)]


def test_single_spans_everything_and_components_do_not():
    map_ = hot_map((4, 6), (0, 1), (3, 5))
    assert corners(find_boxes(map_, (4, 6), SINGLE)) == [(1, 0, 6, 4)]
    assert corners(find_boxes(map_, (4, 6), COMPONENTS)) == [(1, 0, 2, 1), (5, 3, 6, 4)]


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert corners(find_boxes(hot_map((3, 4), (0, 0), (1, 1), (0, 2)), (3, 4), COMPONENTS)) == [(0, 0, 3, 2)]


def test_score_is_the_regions_own_maximum_and_sorts_the_boxes():
    map_ = np.array([[3, 2, 0, 5, 0, 4]], np.float32)
    boxes = find_boxes(map_, (1, 6), BoxRule("components", "absolute", 1.0))
    assert [(box.x0, box.x1, box.score) for box in boxes] == [(3, 4, 5.0), (5, 6, 4.0), (0, 2, 3.0)]
    assert find_boxes(map_, (1, 6), BoxRule("single", "absolute", 1.0))[0].score == 5.0


def test_score_map_scores_and_evidence_places():
    evidence, score_map = np.array([[9, 0, 1, 1]], np.float32), np.array([[-2, 50, -3, -1]], np.float32)
    boxes = find_boxes(evidence, (1, 4), COMPONENTS, score_map=score_map, label="crack")
    assert boxes == [Box(2, 0, 4, 1, -1.0, "crack"), Box(0, 0, 1, 1, -2.0, "crack")]
    assert find_boxes(evidence, (1, 4), SINGLE, score_map=score_map)[0].score == -1.0


def test_equal_scores_go_from_top_left_to_bottom_right():
    map_ = hot_map((5, 5), (4, 0), (0, 4), (2, 2), (0, 0))
    assert corners(find_boxes(map_, (5, 5), COMPONENTS)) == [(0, 0, 1, 1), (4, 0, 5, 1), (2, 2, 3, 3), (0, 4, 1, 5)]


def test_max_boxes_keeps_the_best():
    map_ = np.array([[1, 0, 3, 0, 2]], np.float32)
    boxes = find_boxes(map_, (1, 5), BoxRule("components", "absolute", 0.5, max_boxes=2))
    assert [box.score for box in boxes] == [3.0, 2.0]


@pytest.mark.parametrize("method", ["single", "components"])
def test_a_margin_widens_a_box_as_far_as_the_image_goes(method: str) -> None:
    evidence = np.zeros((40, 60), np.float32)
    evidence[2:12, 30:54] = 1.0  # 24 × 10 pixels: a quarter of them is 6 × 2.5
    rule = BoxRule(method, "absolute", 0.5, margin=0.25)
    (box,) = find_boxes(evidence, (40, 60), rule)
    assert box.xyxy == (24, 0, 60, 15)  # 2.5 is rounded up, and the picture ends above and to the right
    (plain,) = find_boxes(evidence, (40, 60), replace(rule, margin=0.02))  # less than half a pixel of either side
    assert plain.xyxy == (30, 2, 54, 12)
    assert box.score == plain.score


def test_a_margin_neither_merges_boxes_nor_moves_outlines() -> None:
    evidence = np.zeros((40, 60), np.float32)
    evidence[10:20, 10:20] = evidence[10:20, 22:32] = 1.0
    rule = BoxRule("components", "absolute", 0.5, margin=0.3, outlines=True)
    found = find_boxes(evidence, (40, 60), rule)
    assert [box.xyxy for box in found] == [(7, 7, 23, 23), (19, 7, 35, 23)]
    without = find_boxes(evidence, (40, 60), replace(rule, margin=0.0))
    assert [box.outlines for box in found] == [box.outlines for box in without]


def test_of_very_many_boxes_the_surest_are_merged(monkeypatch):
    monkeypatch.setattr(boxes_module, "MOST_MERGED", 3)
    map_ = np.array([[1, 0, 4, 0, 0, 0, 3, 0, 0, 0, 0, 5]], np.float32)
    rule = BoxRule("components", "absolute", 0.5, merge=1.0)
    assert [(*box.xyxy, box.score) for box in find_boxes(map_, (1, 12), rule)] == [
        (11, 0, 12, 1, 5.0), (2, 0, 3, 1, 4.0), (6, 0, 7, 1, 3.0),
    ]  # fmt: skip
    monkeypatch.setattr(boxes_module, "MOST_MERGED", 4)
    assert (0, 0, 3, 1) in corners(find_boxes(map_, (1, 12), rule))


def test_a_box_is_called_anomaly_if_not_told_otherwise():
    for rule in (SINGLE, COMPONENTS):
        assert [box.label for box in find_boxes(hot_map((2, 3), (0, 0)), (2, 3), rule)] == ["anomaly"]


@pytest.mark.parametrize("method", ["single", "components"])
def test_a_score_that_is_just_enough_and_no_outlines_unless_asked_for(method):
    evidence = np.zeros((4, 4))
    evidence[1:3, 1:3] = 2.0
    (box,) = find_boxes(evidence, (4, 4), BoxRule(method, "absolute", 0.5, min_score=2.0))
    assert (box.score, box.outlines) == (2.0, ())


def test_equal_boxes_come_from_top_to_bottom_then_left_to_right():
    evidence = np.zeros((3, 7))
    evidence[0, 3] = evidence[:3, 5] = evidence[2, :6] = 1.0  # the second region begins right of the first, ends left
    found = find_boxes(evidence, (3, 7), BoxRule("components", "absolute", 0.5))
    assert [box.xyxy for box in found] == [(0, 0, 6, 3), (3, 0, 4, 1)]


def test_a_region_without_a_box_of_its_own_belongs_to_the_smallest_round_it():
    evidence = np.zeros((20, 20))
    evidence[:, 0] = evidence[19, :] = 3.0  # an angle round everything
    evidence[8:17, 10] = evidence[16, 10:18] = 2.0  # one in it, far from the origin
    evidence[10, 15] = 1.0  # a dot in both
    outer, inner = find_boxes(evidence, (20, 20), BoxRule("components", "absolute", 0.5, max_boxes=2, outlines=True))
    assert (outer.xyxy, inner.xyxy) == ((0, 0, 20, 20), (10, 8, 18, 17))
    assert (len(outer.outlines), len(inner.outlines)) == (1, 2)


def test_outlines_where_every_box_is_dropped():
    for method in ("single", "components"):
        rule = BoxRule(method, "absolute", 0.5, min_score=2.0, outlines=True)
        assert find_boxes(hot_map((2, 3), (0, 0)), (2, 3), rule) == []


def test_min_area_is_counted_in_original_pixels():
    map_ = hot_map((2, 4), (0, 0), (0, 2), (0, 3))  # regions of 1 and 2 cells; on 4×8 pixels, 4 and 8
    for min_area, n_boxes in [(4, 2), (5, 1), (8, 1), (9, 0)]:
        assert len(find_boxes(map_, (4, 8), BoxRule("components", "absolute", 0.5, min_area))) == n_boxes


def test_min_area_of_one_keeps_regions_smaller_than_a_pixel():
    assert len(find_boxes(hot_map((9, 9), (4, 4)), (2, 3), COMPONENTS)) == 1
    assert find_boxes(hot_map((9, 9), (4, 4)), (2, 3), BoxRule("components", "absolute", 0.5, min_area=2)) == []


# ---------------------------------------------------------------- thresholds


def test_relative_threshold_is_a_share_of_the_range_and_inclusive():
    map_ = np.array([[10, 16.9, 17, 20]], np.float32)
    assert corners(find_boxes(map_, (1, 4), BoxRule(threshold=0.7))) == [(2, 0, 4, 1)]
    assert corners(find_boxes(map_, (1, 4), BoxRule(threshold=1.0))) == [(3, 0, 4, 1)]


def test_absolute_threshold_is_inclusive_and_exact():
    value = np.float32(0.1)
    map_ = np.array([[0, value]], np.float32)

    def count(threshold):
        return len(find_boxes(map_, (1, 2), BoxRule("single", "absolute", threshold)))

    assert count(float(value)) == 1
    assert count(float(np.nextafter(float(value), 1))) == 0, "a threshold just above the value was rounded on to it"
    assert count(float("inf")) == 0


@pytest.mark.parametrize("method", ["single", "components"])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_flat_map_has_no_relative_box(method, value):
    flat = np.full((3, 5), value, np.float32)
    assert find_boxes(flat, (30, 50), BoxRule(method)) == []
    assert find_boxes(upsample(flat, (31, 53)), (31, 53), BoxRule(method)) == [], "rounding is not evidence"


def test_flat_map_under_an_absolute_threshold_is_all_or_nothing():
    flat = np.full((3, 5), 2.0, np.float32)
    assert corners(find_boxes(flat, (30, 50), BoxRule(threshold_kind="absolute", threshold=2.0))) == [(0, 0, 50, 30)]
    assert find_boxes(flat, (30, 50), BoxRule(threshold_kind="absolute", threshold=2.1)) == []


# ---------------------------------------------------------------- bad input, extreme input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", [BoxRule(), SINGLE, COMPONENTS])
def test_nan_and_infinity_are_refused(bad, rule):
    map_ = hot_map((3, 4), (1, 1))
    broken = map_.copy()
    broken[0, 0] = bad
    line = "holds NaN or infinity, so no box can be drawn; check weights and training log"
    with pytest.raises(WeakspotError, match=f"^the evidence {line}$"):
        find_boxes(broken, (30, 40), rule)
    if bad != -np.inf:
        with pytest.raises(WeakspotError, match=f"^the score map {line}$"):
            find_boxes(map_, (30, 40), rule, score_map=broken)


@pytest.mark.parametrize("rule", [BoxRule(), SINGLE, COMPONENTS])
def test_where_the_score_is_minus_infinity_there_is_never_a_box(rule):
    map_ = hot_map((3, 4), (1, 1))
    never = np.full((3, 4), -np.inf)
    assert find_boxes(map_, (30, 40), rule, score_map=never) == []
    never[1, 1] = -7.0
    assert [box.score for box in find_boxes(map_, (30, 40), rule, score_map=never)] == [-7.0]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shape"):
        find_boxes(np.zeros((1, 3, 4), np.float32), (30, 40), SINGLE)
    with pytest.raises(ValueError, match="empty"):
        find_boxes(np.zeros((0, 4), np.float32), (30, 40), SINGLE)
    with pytest.raises(ValueError, match=r"^score map \(4, 3\) and evidence \(3, 4\) differ in shape$"):
        find_boxes(np.ones((3, 4), np.float32), (30, 40), SINGLE, score_map=np.ones((4, 3), np.float32))
    for size in ((30, 0), (0, 30)):
        with pytest.raises(ValueError, match=r"^size must be \(height, width\) of at least \(1, 1\), not "):
            find_boxes(np.ones((3, 4), np.float32), size, SINGLE)


def test_map_of_one_pixel():
    assert find_boxes(np.ones((1, 1), np.float32), (3, 2), BoxRule()) == []
    assert corners(find_boxes(np.ones((1, 1), np.float32), (3, 2), SINGLE)) == [(0, 0, 2, 3)]


def test_fifty_megapixels_cost_no_more_than_the_map():
    map_ = hot_map((14, 14), (13, 13), (0, 7))
    start = time.perf_counter()
    for _ in range(20):
        boxes = find_boxes(map_, (5000, 10000), COMPONENTS)
    assert time.perf_counter() - start < 1
    assert corners(boxes) == [(5000, 0, 5715, 358), (9285, 4642, 10000, 5000)]


def test_input_is_left_alone():
    map_ = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    before = map_.copy()
    find_boxes(map_, (50, 70), BoxRule("components"))
    np.testing.assert_array_equal(map_, before)


def test_boxes_array():
    np.testing.assert_array_equal(boxes_array([Box(1, 2, 3, 5), Box(0, 0, 1, 1)]), [[1, 2, 3, 5], [0, 0, 1, 1]])
    assert boxes_array([]).shape == (0, 4)
    assert boxes_array([Box(1, 2, 3, 5)]).dtype == np.float64


# ---------------------------------------------------------------- properties

maps = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4))
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))
rules = st.builds(
    BoxRule, st.sampled_from(["single", "components"]), st.just("relative"), st.sampled_from([0.25, 0.5, 0.7, 1.0])
)


@given(maps, sizes, rules)
@settings(deadline=None)
def test_boxes_lie_inside_the_image_in_decreasing_score(map_, size, rule):
    boxes = find_boxes(map_, size, rule)
    assert len(boxes) <= rule.max_boxes
    assert bool(boxes) == (map_.min() < map_.max())
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= size[1]
        assert 0 <= box.y0 < box.y1 <= size[0]
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)


@given(maps, st.integers(1, 7), st.integers(1, 7))
@settings(deadline=None)
def test_components_cover_every_hot_pixel_and_single_is_their_hull(map_, cell_height, cell_width):
    size = map_.shape[0] * cell_height, map_.shape[1] * cell_width
    hot = np.kron(map_ >= 0.5, np.ones((cell_height, cell_width))).astype(bool)
    parts = find_boxes(map_, size, COMPONENTS)
    covered = np.zeros(size, dtype=bool)
    for box in parts:
        covered[box.y0 : box.y1, box.x0 : box.x1] = True
    assert not (hot & ~covered).any()
    stacked = boxes_array(parts)
    hull = [(*stacked[:, :2].min(axis=0), *stacked[:, 2:].max(axis=0))] if parts else []
    assert corners(find_boxes(map_, size, SINGLE)) == hull
    if parts:
        rows, columns = np.nonzero(hot)
        assert hull == [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


@given(maps, sizes, rules)
@settings(deadline=None)
def test_mirroring_the_map_mirrors_the_boxes(map_, size, rule):
    plain = {(size[1] - b.x1, b.y0, size[1] - b.x0, b.y1, b.score) for b in find_boxes(map_, size, big(rule))}
    mirrored = {(*b.xyxy, b.score) for b in find_boxes(map_[:, ::-1], size, big(rule))}
    assert mirrored == plain


@given(maps, sizes, rules)
@settings(deadline=None)
def test_transposing_the_map_transposes_the_boxes(map_, size, rule):
    plain = {(b.y0, b.x0, b.y1, b.x1, b.score) for b in find_boxes(map_, size, big(rule))}
    assert {(*b.xyxy, b.score) for b in find_boxes(map_.T, size[::-1], big(rule))} == plain


def big(rule):
    return BoxRule(rule.method, rule.threshold_kind, rule.threshold, max_boxes=1000)


@given(maps, sizes, rules, st.integers(1, 50), st.integers(-50, 50))
@settings(deadline=None)
def test_relative_boxes_do_not_change_with_scale_and_offset(map_, size, rule, gain, offset):
    assert corners(find_boxes(map_ * gain + offset, size, rule)) == corners(find_boxes(map_, size, rule))


@pytest.mark.parametrize("rule", [BoxRule(), BoxRule("components", threshold=0.5)])
def test_an_image_gets_the_same_boxes_alone_and_in_a_batch(rule):
    batch = np.random.default_rng(1).normal(size=(6, 7, 9)).astype(np.float32)
    channels_last = np.ascontiguousarray(batch.transpose(1, 2, 0))  # its slices are strided views
    alone = [find_boxes(map_.copy(), (70, 110), rule) for map_ in batch]
    assert [find_boxes(map_, (70, 110), rule) for map_ in batch] == alone
    assert [find_boxes(channels_last[..., i], (70, 110), rule) for i in range(6)] == alone
    assert len({tuple(boxes) for boxes in alone}) == 6


@pytest.mark.parametrize(
    ("reach", "expected"),
    [
        (0.0, [[0, 0, 4, 2], [8, 0, 10, 2]]),  # the first two touch
        (1.9, [[0, 0, 4, 2], [8, 0, 10, 2]]),  # gap 4, smaller box 2 long
        (2.0, [[0, 0, 10, 2]]),
    ],
)
def test_neighbours_become_one_box(reach: float, expected: list[list[int]]) -> None:
    corners = np.array([[0, 0, 2, 2], [2, 0, 4, 2], [8, 0, 10, 2]])
    found, scores = merge_boxes(corners, np.array([1.0, 3.0, 2.0]), reach)
    order = np.argsort(found[:, 0])
    assert found[order].tolist() == expected
    assert scores.max() == 3.0


def test_a_gap_counts_along_its_wider_axis() -> None:
    diagonal = np.array([[0, 0, 2, 2], [3, 5, 5, 7]])  # gap 1 across, 3 down
    assert len(merge_boxes(diagonal, np.ones(2), 1.4)[0]) == 2
    assert merge_boxes(diagonal, np.ones(2), 1.5)[0].tolist() == [[0, 0, 5, 7]]


def test_merging_nothing_and_one_box() -> None:
    none, scores = merge_boxes(np.zeros((0, 4), np.int64), np.zeros(0), 1.0)
    assert (none.shape, scores.shape) == ((0, 4), (0,))
    one, score = merge_boxes(np.array([[1, 2, 3, 4]]), np.array([0.5]), 9.0)
    assert (one.tolist(), score.tolist()) == ([[1, 2, 3, 4]], [0.5])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 9), st.integers(1, 9)), max_size=8),
    st.floats(0, 3),
)
def test_merged_boxes_cover_the_old_ones_and_no_two_are_close(
    corners: list[tuple[int, int, int, int]], reach: float
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], np.int64).reshape(-1, 4)
    merged, _ = merge_boxes(boxes, np.arange(len(boxes), dtype=float), reach)
    for box in boxes:
        assert any((m[:2] <= box[:2]).all() and (m[2:] >= box[2:]).all() for m in merged)
    again, _ = merge_boxes(merged, np.zeros(len(merged)), reach)
    assert len(again) == len(merged)


def test_only_boxes_that_score_enough_are_merged() -> None:
    evidence = np.zeros((4, 12))
    evidence[1:3, 0:2] = evidence[1:3, 3:5] = evidence[1:3, 6:8] = 1
    scores = np.zeros_like(evidence)
    scores[1, 0], scores[1, 3], scores[1, 6] = 5, 1, 5
    rule = BoxRule("components", "absolute", 0.5, min_score=2, merge=1.0)
    assert [box.xyxy for box in find_boxes(evidence, (4, 12), rule, score_map=scores)] == [(0, 1, 2, 3), (6, 1, 8, 3)]


def test_outlines_run_between_pixels():
    evidence = np.zeros((6, 8), np.float32)
    evidence[1:3, 2:5] = 1
    evidence[4, 7] = 1
    rule = BoxRule("components", "absolute", 0.5, outlines=True)
    first, second = find_boxes(evidence, (12, 8), rule)
    assert [set(polygon) for polygon in first.outlines] == [{(2, 2), (5, 2), (5, 6), (2, 6)}]
    assert [set(polygon) for polygon in second.outlines] == [{(7, 8), (8, 8), (8, 10), (7, 10)}]
    (whole,) = find_boxes(evidence, (12, 8), BoxRule("single", "absolute", 0.5, outlines=True))
    assert len(whole.outlines) == 2
    (merged,) = find_boxes(evidence, (12, 8), BoxRule("components", "absolute", 0.5, merge=9.0, outlines=True))
    assert set(merged.outlines) == {*first.outlines, *second.outlines}
    assert find_boxes(evidence, (12, 8), BoxRule("components", "absolute", 0.5))[0].outlines == ()


def test_a_region_inside_anothers_box_keeps_its_own_outline():
    evidence = np.ones((9, 9), np.float32)
    evidence[1:8, 1:8] = 0
    evidence[4, 4] = 2
    dot, ring = find_boxes(evidence, (9, 9), BoxRule("components", "absolute", 0.5, outlines=True))
    assert [set(polygon) for polygon in dot.outlines] == [{(4, 4), (5, 4), (5, 5), (4, 5)}]
    assert [set(polygon) for polygon in ring.outlines] == [{(0, 0), (9, 0), (9, 9), (0, 9)}]


def test_a_region_belongs_to_the_smallest_box_it_lies_in():
    evidence = np.zeros((6, 20), np.float32)
    evidence[:, 8:19] = 2  # a ring, surer than what it surrounds
    evidence[1:5, 9:18] = 0
    evidence[3, 10:13] = 1
    ring, inner = find_boxes(evidence, (6, 20), BoxRule("components", "absolute", 0.5, outlines=True))
    assert (ring.xyxy, inner.xyxy) == ((8, 0, 19, 6), (10, 3, 13, 4))
    assert [set(polygon) for polygon in ring.outlines] == [{(8, 0), (19, 0), (19, 6), (8, 6)}]
    assert [set(polygon) for polygon in inner.outlines] == [{(10, 3), (13, 3), (13, 4), (10, 4)}]
