"""Regions of a mask and their outlines."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from weakspot.config.rules import BoxRule
from weakspot.ops.regions import label_regions, region_outlines
from weakspot.postprocess.boxes import find_boxes


@given(
    hnp.arrays(
        bool, st.tuples(st.integers(1, 8), st.integers(1, 12)), elements=st.integers(0, 3).map(lambda i: i == 0)
    ),
    st.sampled_from([None, 0.0, 0.5, 1.5]),
    st.integers(1, 3),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=80)
def test_outlines_are_those_of_the_regions_in_the_smallest_box(mask, merge, min_area, max_boxes):
    rule = BoxRule("components", "absolute", 0.5, min_area, max_boxes, merge=merge, outlines=True)
    boxes = find_boxes(mask.astype(np.float32), mask.shape, rule)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    mine = [np.zeros(mask.shape, bool) for _ in boxes]
    for region in (labels == i + 1 for i in range(count)):
        rows, columns = np.nonzero(region)
        around = [
            ((b.x1 - b.x0) * (b.y1 - b.y0), i)
            for i, b in enumerate(boxes)
            if b.x0 <= columns.min() and columns.max() < b.x1 and b.y0 <= rows.min() and rows.max() < b.y1
        ]
        if around and region.sum() >= min_area:
            mine[min(around)[1]] |= region
    assert [box.outlines for box in boxes] == [region_outlines(part, mask.shape) for part in mine]


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_an_outline_s_hull_is_its_region_s_box(mask):
    boxes = find_boxes(mask.astype(np.float32), mask.shape, BoxRule("components", "absolute", 0.5, max_boxes=99))
    hulls = []
    for polygon in region_outlines(mask, (mask.shape[0], mask.shape[1])):
        (x0, y0), (x1, y1) = np.min(polygon, axis=0), np.max(polygon, axis=0)
        hulls.append((x0, y0, x1, y1))
    found = {box.xyxy for box in boxes}
    assert set(hulls) <= found  # a region inside another's hole has no outline of its own
    assert len(found) == 0 or hulls


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3).map(lambda i: i == 0)),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
)
@settings(deadline=None, max_examples=80)
def test_regions_are_those_of_another_implementation_wherever_they_lie(mask, margins):
    top, bottom, left, right = margins
    mask = np.pad(mask, ((top, bottom), (left, right)))  # most masks hold something in one part alone
    corners, pixels, labels = label_regions(mask)
    wanted, count = ndimage.label(mask, np.ones((3, 3)))
    assert (len(corners), len(pixels), labels.shape) == (count, count, mask.shape)
    assert ((labels > 0) == mask).all()
    of_wanted = {tuple(np.flatnonzero(wanted == i + 1)) for i in range(count)}
    assert {tuple(np.flatnonzero(labels == i + 1)) for i in range(count)} == of_wanted
    for i, (x0, y0, x1, y1) in enumerate(corners):
        rows, columns = np.nonzero(labels == i + 1)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert pixels[i] == len(rows)
