"""What a folder holds, from names alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from weakspot.data.classes import likely_good
from weakspot.data.readers import read_samples
from weakspot.data.recognise import find_datasets, recognise
from weakspot.errors import WeakspotError


def laid_out(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["OK/1.png", "NG/1.png"], ("folder", "OK")),
        (["Pass/1.png", "Fail/1.png"], ("folder", "Pass")),
        (["normal/1.png", "scratch/1.png", "hole/1.png"], ("folder", "normal")),
        (["blue/1.png", "not ok/1.png"], ("folder", "blue")),
        (["left/1.png", "right/1.png"], ("folder", None)),
        (["good/1.png", "normal/1.png"], ("folder", None)),
        (["board1/OK/1.png", "board1/NG/1.png"], ("folder", "OK")),
        (["OK/2026-11-28/1.png", "OK/2026-11-29/1.png", "NG/2026-11-28/1.png"], ("folder", "OK")),
        (["OK/2026-11-28/Line1/1.png", "NG/2026-11-28/1.png"], ("folder", "OK")),
        (["train/good/1.png", "test/hole/1.png", "ground_truth/hole/1_mask.png"], ("mvtec", "good")),
        (["train/OK/1.png", "train/NG/1.png", "test/OK/2.png"], ("mvtec", "OK")),
        (["train/OK/1.png", "train/NG/1.png", "val/OK/2.png", "val/NG/2.png", "test/OK/3.png"], ("folder", "OK")),
        (["train/OK/1.png", "train/NG/1.png", "val/OK/2.png", "val/NG/2.png"], ("folder", "OK")),
        (["train/good/1.png", "test/hole/1.png", "outputs/run/1.png"], ("mvtec", "good")),
        (["ok_1.png", "crack_2.png"], ("filename", "ok")),
    ],
)
def test_layout_and_good_class(names: list[str], expected: tuple[str, str | None], tmp_path: Path) -> None:
    found = recognise(laid_out(tmp_path, *names))
    assert (found.layout, found.good_class) == expected


@pytest.mark.parametrize("name", ["manifest.csv", "labels.csv"])
def test_a_table_that_names_images_and_labels(name: str, tmp_path: Path) -> None:
    laid_out(tmp_path, "1.png", "2.png", "notes.csv")
    (tmp_path / name).write_text("path;label\n1.png;pass\n2.png;fail\n")
    found = recognise(tmp_path)
    assert (found.layout, found.good_class, found.options) == ("manifest", "pass", {"file": name})


def test_a_table_in_a_folder_of_its_own_stays_there(tmp_path: Path) -> None:
    laid_out(tmp_path, "tables/1.png", "tables/2.png")
    (tmp_path / "tables" / "labels.csv").write_text("path,label\n1.png,pass\n2.png,fail\n")
    found = recognise(tmp_path, options={"file": "tables/labels.csv"})
    assert (found.words, found.options) == ("the table tables/labels.csv", {"file": "tables/labels.csv"})
    samples = read_samples(found.layout, found.folder, good_class="pass", **found.options)
    assert [sample.path.name for sample in samples] == ["1.png", "2.png"]


def test_an_old_table_beside_class_folders_does_not_take_over(tmp_path: Path) -> None:
    laid_out(tmp_path, *(f"{label}/{number}.png" for label in ("OK", "NG") for number in range(10)))
    (tmp_path / "old.csv").write_text("path,label\nOK/1.png,OK\nNG/1.png,NG\n")
    found = recognise(tmp_path)
    stray = "old.csv is not read, as the names of the folders tell the classes; data.layout=manifest reads it"
    assert (found.layout, found.options, found.remarks) == ("folder", {}, (stray,))
    left = "18 pictures are not in old.csv and left out; data.layout=folder reads the folders"
    for table in (recognise(tmp_path, "manifest"), recognise(tmp_path, options={"file": "old.csv"})):
        assert (table.layout, table.options, table.remarks) == ("manifest", {"file": "old.csv"}, (left,))
    assert recognise(tmp_path, "folder").remarks == ()
    (tmp_path / "old.csv").rename(tmp_path / "manifest.csv")
    assert recognise(tmp_path).remarks == (left.replace("old.csv", "manifest.csv"),)


@pytest.mark.parametrize("folders", [("left", "right"), ("train", "valid"), ("images", "masks")])
def test_a_table_beside_folders_that_tell_no_classes(folders: tuple[str, str], tmp_path: Path) -> None:
    first, second = folders
    laid_out(tmp_path, f"{first}/1.png", f"{second}/1.png")
    (tmp_path / "labels.csv").write_text(f"path,label\n{first}/1.png,OK\n{second}/1.png,NG\n")
    found = recognise(tmp_path)
    assert (found.layout, found.labels, found.remarks) == ("manifest", ("NG", "OK"), ())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png", "2.png"], "2 pictures and no folder per class"),
        (["notes.txt"], "holds no images"),
        (["a/train/good/1.png", "b/train/good/1.png"], "holds 2 data sets; give one of them"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_way_out(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(WeakspotError) as caught:
        recognise(laid_out(tmp_path, *names))
    assert message in str(caught.value)


def test_a_layout_that_is_named_and_lies_one_folder_down(tmp_path: Path) -> None:
    laid_out(tmp_path, "OK/1.png", "a/train/good/1.png", "a/test/hole/1.png")
    assert recognise(tmp_path, "mvtec").folder == tmp_path / "a"
    laid_out(tmp_path, "b/train/good/1.png")
    with pytest.raises(WeakspotError, match="holds 2 data sets"):
        recognise(tmp_path, "mvtec")
    with pytest.raises(WeakspotError, match="neither train nor test"):
        recognise(tmp_path / "OK", "mvtec")


def test_folders_of_a_split_are_read_whole_and_not_taken_as_the_split(tmp_path: Path) -> None:
    parts = [f"{part}/{label}/1.png" for part in ("train", "val", "test") for label in ("OK", "NG")]
    found = recognise(laid_out(tmp_path, *parts))
    assert (found.labels, len(read_samples(found.layout, found.folder, good_class="OK"))) == (("NG", "OK"), 6)
    (remark,) = found.remarks
    assert remark.startswith("the folders test, train, val are not taken as the split")
    assert "split.file=" in remark


def test_pictures_that_the_layout_of_mvtec_ad_leaves_out_are_named(tmp_path: Path) -> None:
    laid_out(tmp_path, "train/good/1.png", "test/hole/1.png", "ground_truth/hole/1_mask.png")
    assert recognise(tmp_path).remarks == ()
    laid_out(tmp_path, "validation/good/1.png", "validation/good/2.png", "notes/a.txt")
    assert recognise(tmp_path).remarks == ("pictures beside train and test are not read: validation (2)",)


def test_several_data_sets_with_a_split_of_their_own_are_not_one(tmp_path: Path) -> None:
    laid_out(tmp_path, *(f"{one}/{part}/good/1.png" for one in "ab" for part in ("train", "val")))
    assert find_datasets(tmp_path) == [(tmp_path / "a", "folder"), (tmp_path / "b", "folder")]


def test_the_folder_of_one_class_names_the_one_above(tmp_path: Path) -> None:
    laid_out(tmp_path, "photos/OK/1.png", "photos/NG/2.png")
    with pytest.raises(WeakspotError) as caught:
        recognise(tmp_path / "photos" / "OK")
    assert f"give {tmp_path / 'photos'}" in str(caught.value)


def test_two_good_names_or_none_are_not_decided() -> None:
    assert likely_good(["OK", "good"]) is None
    assert likely_good(["NG"]) is None
    assert likely_good(["NG", "defect"]) is None
