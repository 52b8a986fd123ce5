"""Class folders on top, in the middle or at the bottom of a tree of dates, shifts and cameras."""

from __future__ import annotations

from pathlib import Path

import pytest

from weakspot.data.class_level import folder_labels
from weakspot.data.readers import read_samples
from weakspot.data.recognise import recognise


def labels(*names: str, good_class: str = "good") -> list[str]:
    base = Path("tree")
    return folder_labels([base / name for name in names], base, good_class)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["OK/2026-11-28/1.jpg", "OK/2026-11-29/2.jpg", "NG/2026-11-28/3.jpg"], ["OK", "OK", "NG"]),
        (["OK/2026-11-28/Line1/1.jpg", "NG/2026-11-28/Line2/2.jpg"], ["OK", "NG"]),
        (["OK/2026-11-28/1.jpg", "NG/2.jpg"], ["OK", "NG"]),
        (["a/OK/2026-11-28/1.jpg", "a/NG/2026-11-28/late/2.jpg"], ["OK", "NG"]),
        (["2026-11-28/line1/OK/1.jpg", "2026-11-28/line1/NG/2.jpg"], ["OK", "NG"]),
        (["blue/monday/1.jpg", "defective/monday/2.jpg", "defective/friday/3.jpg"], ["blue", "defective", "defective"]),
        (["good/1.jpg", "defect/crack/2.jpg", "defect/hole/3.jpg"], ["good", "crack", "hole"]),  # the kinds of defects
        (["OK/normal/1.jpg", "OK/dark/2.jpg", "NG/normal/3.jpg", "NG/dark/4.jpg"], ["OK", "OK", "NG", "NG"]),
        (["normal/OK/1.jpg", "normal/NG/2.jpg", "special/OK/3.jpg", "special/NG/4.jpg"], ["OK", "NG", "OK", "NG"]),
        (["monday/OK/a/1.jpg", "friday/OK/2.jpg", "friday/NG/3.jpg"], ["OK", "OK", "NG"]),
        (["left/monday/1.jpg", "right/friday/2.jpg"], ["monday", "friday"]),
        (["OK/2026-11-28/1.jpg", "OK/2026-11-29/2.jpg"], ["2026-11-28", "2026-11-29"]),
    ],
)
def test_the_level_whose_folders_are_called_like_classes_labels(names: list[str], expected: list[str]) -> None:
    assert labels(*names) == expected


def test_the_folder_that_is_named_good_is_found_on_any_level() -> None:
    names = ["left/monday/1.jpg", "right/monday/2.jpg", "right/friday/3.jpg"]
    assert labels(*names, good_class="LEFT") == ["left", "right", "right"]
    assert labels(*names, good_class="friday") == ["monday", "monday", "friday"]
    assert labels("OK/normal/1.jpg", "NG/normal/2.jpg", "NG/dark/3.jpg", good_class="normal")[2] == "dark"


def test_what_is_recognised_is_what_is_read(tmp_path: Path) -> None:
    for name in ("OK/2026-11-28/1.jpg", "OK/2026-11-29/a/2.jpg", "NG/2026-11-28/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = recognise(tmp_path)
    assert (found.labels, found.good_class) == (("NG", "OK"), "OK")
    by_hand = read_samples("folder", tmp_path, good_class="OK")
    assert by_hand == read_samples("auto", tmp_path)
    assert [(sample.path.name, sample.defect) for sample in by_hand] == [
        ("1.jpg", "good"), ("2.jpg", "good"), ("3.jpg", "NG"),
    ]  # fmt: skip
