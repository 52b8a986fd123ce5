"""The input size that ``data.image_size=auto`` chooses."""

import math
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from weakspot.data.input_size import LONGEST, MULTIPLE, choose_input_size, pixel_budget

SIDES = st.integers(16, 6000)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5))
def test_the_shape_is_kept_and_the_number_of_pixels_is_about_the_budget(sizes: list[tuple[int, int]]) -> None:
    height, width = choose_input_size(sizes)
    assert height % MULTIPLE == 0
    assert width % MULTIPLE == 0
    assert 0.75 < height * width / pixel_budget(sizes) < 1.34
    ratios = sorted(math.log(h / w) for h, w in sizes)
    median = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2
    wanted = max(-math.log(LONGEST), min(math.log(LONGEST), median))
    assert abs(math.log(height / width) - wanted) < 0.2


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5))
def test_pictures_on_their_side_get_the_size_on_its_side(sizes: list[tuple[int, int]]) -> None:
    height, width = choose_input_size(sizes)
    turned = choose_input_size([(w, h) for h, w in sizes])
    assert abs(math.log(turned[0] / turned[1]) + math.log(height / width)) < 0.2


def test_few_large_pictures_are_seen_larger_and_none_larger_than_it_is() -> None:
    budgets = [pixel_budget([(700, 900)] * n) for n in (1, 625, 800, 1000, 5000)]
    assert budgets == [163_840, 163_840, 128_000, 102_400, 102_400]
    assert pixel_budget([(300, 400)] * 10) == 120_000
    assert pixel_budget([(20, 30)] * 10) == 102_400


@pytest.mark.parametrize(
    ("file", "cross"),
    [
        ("conf/data/_base.yaml", " × "),
        ("conf/experiment/recommended.yaml", " × "),
        ("docs/tasks/large-pictures.md", "×"),
    ],
)
def test_the_words_name_the_sizes_that_are_chosen(file: str, cross: str) -> None:
    words = (Path(__file__).parents[3] / file).read_text("utf-8")
    for pictures in (100, 1000):
        assert cross.join(map(str, choose_input_size([(1024, 1024)] * pictures))) in words
