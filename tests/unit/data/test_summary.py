"""What a data set holds and what is wrong with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakspot.data.images import inspect_images
from weakspot.data.readers import read_samples
from weakspot.data.summary import DataSummary, Duplicates, look_through, summarize
from weakspot.types import GOOD, Sample
from weakspot.utils.files import write_json


def save(path: Path, height: int, width: int, value: int, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height), value).convert(mode).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images with one of every problem."""
    save(tmp_path / "train/good/0.png", 4, 7, 10)
    save(tmp_path / "train/good/1.PNG", 4, 7, 20, "RGB")
    save(tmp_path / "test/good/0.bmp", 9, 5, 30)
    save(tmp_path / "test/cut/0.png", 4, 7, 10)  # the same file as train/good/0.png
    save(tmp_path / "test/cut/1.png", 4, 7, 50)
    save(tmp_path / "test/cut/2.png", 4, 7, 60)
    save(tmp_path / "test/hole/0.png", 4, 7, 70)
    (tmp_path / "test/hole/1.png").write_bytes(b"broken")
    save(tmp_path / "ground_truth/cut/0_mask.png", 4, 7, 3)  # noise only
    save(tmp_path / "ground_truth/cut/1_mask.png", 7, 4, 255)  # of another size
    save(tmp_path / "ground_truth/hole/0_mask.png", 4, 7, 255)
    save(tmp_path / "ground_truth/hole/1_mask.png", 4, 7, 255)
    return tmp_path


def summary_of(root: Path) -> DataSummary:
    samples = read_samples("mvtec", root)
    return summarize(samples, inspect_images([sample.path for sample in samples]))


def test_counts(root: Path) -> None:
    found = summary_of(root)
    assert found.total == 8
    assert found.per_class == {"good": 3, "anomaly": 5}
    assert list(found.per_defect.items()) == [("good", 3), ("cut", 3), ("hole", 2)]
    assert found.per_folder == {"train": {"good": 2}, "test": {"good": 1, "cut": 3, "hole": 2}}
    assert (found.heights, found.widths) == ((4, 9), (5, 7))
    assert list(found.sizes.items()) == [((4, 7), 6), ((9, 5), 1)]
    assert found.modes == {"L": 6, "RGB": 1}
    assert found.extensions == {"png": 7, "bmp": 1}


def test_problems(root: Path) -> None:
    found = summary_of(root)
    [(path, why)] = found.unreadable
    assert path == root / "test/hole/1.png"
    assert "test/hole/1.png: not an image in a known format" in why
    assert found.missing_masks == [root / "test/cut/2.png"]
    assert found.empty_masks == [root / "ground_truth/cut/0_mask.png"]
    [(path, why)] = found.bad_masks
    assert path == root / "ground_truth/cut/1_mask.png"
    assert "the mask is 7×4 (height×width) but its image is 4×7" in why


def test_problems_are_also_one_list_and_fit_json(root: Path) -> None:
    found = summary_of(root)
    assert found.problems[:2] == [found.unreadable[0][1], found.bad_masks[0][1]]
    assert found.problems[2].endswith(
        "test/cut/0.png and " + str(root / "train/good/0.png") + " are the same picture with different labels "
        "(cut, good); remove one"
    )
    assert len(found.problems) == 3
    written = found.to_dict()
    assert written["sizes"][0] == {"height": 4, "width": 7, "count": 6}
    assert written["problems"] == found.problems
    write_json(root / "summary.json", written)
    assert json.loads((root / "summary.json").read_text())["empty_masks"] == [str(found.empty_masks[0])]


def test_equal_files_with_unequal_labels_contradict_each_other(root: Path) -> None:
    content = (root / "test/good/0.bmp").read_bytes()
    (root / "train/good/2.bmp").write_bytes(content)
    found = summary_of(root)
    contradiction = Duplicates((root / "test/cut/0.png", root / "train/good/0.png"), ("cut", GOOD))
    repetition = Duplicates((root / "test/good/0.bmp", root / "train/good/2.bmp"), (GOOD, GOOD))
    assert found.duplicates == [contradiction, repetition]
    assert found.contradictions == [contradiction]
    assert not repetition.contradictory


def test_unreadable_masks_and_progress(root: Path) -> None:
    (root / "ground_truth/hole/0_mask.png").write_bytes(b"")
    samples = read_samples("mvtec", root)
    seen: list[tuple[int, int]] = []
    found = summarize(
        samples,
        inspect_images([sample.path for sample in samples]),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [path.name for path, _ in found.bad_masks] == ["1_mask.png", "0_mask.png"]
    assert "the file is empty" in found.bad_masks[1][1]
    assert seen == [(1, 3), (2, 3), (3, 3)]  # the mask of the broken image cannot be judged


def test_nothing_readable(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / "none.png", GOOD)]
    found = summarize(samples, inspect_images([tmp_path / "none.png"]))
    assert (found.heights, found.widths, found.sizes, found.modes) == ((0, 0), (0, 0), {}, {})
    assert found.per_folder == {}
    assert found.duplicates == []
    assert len(found.unreadable) == 1


def test_lists_of_different_length_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        summarize([Sample(tmp_path / "a.png", GOOD)], [])


def test_the_pixels_do_not_matter_only_the_bytes(tmp_path: Path) -> None:
    pixels = np.full((4, 7), 9, np.uint8)
    for name in ("good/a.png", "cut/b.bmp"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(pixels).save(tmp_path / name)
    samples = read_samples("folder", tmp_path)
    assert summarize(samples, inspect_images([sample.path for sample in samples])).duplicates == []


def test_progress_of_a_check_is_counted_in_pictures(fabric: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = look_through(fabric / "fabric", "mvtec", progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {found.summary.total} == {55}
    assert seen == sorted(seen)
    assert seen[-1] == (55, 55)
