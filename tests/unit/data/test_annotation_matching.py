"""Which picture an annotation belongs to: by name and folders, never another picture of the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from weakspot.data.annotation_folders import read_annotation_folder
from weakspot.data.annotation_matching import match_annotations, match_names
from weakspot.data.annotations import Annotation
from weakspot.errors import WeakspotError

BOTH = ("OK/0001.png", "NG/0001.png")
CAMERAS = ("first/NG/0001.png", "second/NG/0002.png")
MVTEC = ("train/good/000.png", "test/good/000.png", "test/crack/000.png")


def taken_for(name: str, pictures: tuple[str, ...]) -> str | None:
    """The picture, below the data's folder, that an annotation of a name belongs to; None where it is none of them."""
    paths = [Path("/here/photos") / picture for picture in pictures]
    found, elsewhere = match_names(paths, [Annotation(name, (4, 4))])
    assert len(found) + len(elsewhere) == 1
    return pictures[next(iter(found))] if found else None


@pytest.mark.parametrize(
    ("name", "pictures", "picture"),
    [
        ("0001.png", ("NG/0001.png",), "NG/0001.png"),
        ("NG/0001.png", BOTH, "NG/0001.png"),
        ("images/NG/0001.png", BOTH, "NG/0001.png"),
        ("images/train/NG/0001.png", BOTH, "NG/0001.png"),
        ("NG/images/0001.png", BOTH, "NG/0001.png"),
        ("/home/somebody/parts/NG/0001.png", BOTH, "NG/0001.png"),
        ("NG\\0001.png", BOTH, "NG/0001.png"),
        ("C:\\parts\\NG\\0001.png", BOTH, "NG/0001.png"),
        ("photos/NG/0001.png", BOTH, "NG/0001.png"),
        ("test/crack/000.png", MVTEC, "test/crack/000.png"),
        ("crack/000.png", MVTEC, "test/crack/000.png"),
        ("train/good/000.png", MVTEC, "train/good/000.png"),
        ("/data/local-files/?d=annotations/images/NG/0001.png", BOTH, "NG/0001.png"),
        ("/data/upload/1/0a1b2c3d-0001.png", ("NG/0001.png", "1/0002.png"), "NG/0001.png"),
        ("https://host/bucket/NG/00%2001.png", ("OK/00 01.png", "NG/00 01.png"), "NG/00 01.png"),
        ("images/0001.png", ("NG/0001.png",), "NG/0001.png"),
        ("val/0001.png", ("NG/0001.png",), "NG/0001.png"),
        ("valid/0001.png", ("NG/0001.png",), "NG/0001.png"),
        ("/home/somebody/parts/0001.png", ("NG/0001.png",), "NG/0001.png"),
        ("OK/0001.png", ("NG/0001.png",), None),
        ("/home/somebody/OK/0001.png", ("NG/0001.png",), None),
        ("OK/images/0001.png", ("NG/0001.png", "OK/0002.png"), None),
        ("blurred/0001.png", ("NG/0001.png", "blurred/0002.png"), None),
        ("third/0001.png", ("NG/0001.png",), None),
        ("third/0001.png", BOTH, None),
        ("second/NG/0001.png", CAMERAS, None),
        ("/elsewhere/second/NG/0001.png", CAMERAS, None),
        ("third/NG/0001.png", CAMERAS, None),
        ("train/crack/000.png", MVTEC, None),
        ("", BOTH, None),
    ],
)
def test_an_annotation_is_of_the_picture_whose_folders_it_names(
    name: str, pictures: tuple[str, ...], picture: str | None
) -> None:
    assert taken_for(name, pictures) == picture


@pytest.mark.parametrize("name", ["0001.png", "images/0001.png", "/home/somebody/parts/0001.png"])
def test_a_name_that_fits_two_pictures_equally_well_is_refused(name: str) -> None:
    with pytest.raises(WeakspotError, match=r"fits /here/photos/OK/0001\.png and .*NG/0001\.png; name it with its fo"):
        taken_for(name, BOTH)


def test_a_folder_round_those_that_agree_is_remarked_on() -> None:
    paths = [Path("/here/photos/NG/0001.png"), Path("/here/photos/OK/0002.png")]
    file = Path("drawn.json")
    for name in ("images/NG/0001.png", "photos/NG/0001.png", "/there/NG/0001.png", "NG/0001.png"):
        assert match_annotations([Annotation(name, (4, 4))], paths, [], file, "truth").remarks == []
    matched = match_annotations([Annotation("second_camera/NG/0001.png", (4, 4))], paths, [], file, "truth")
    assert list(matched.found) == [0]
    assert matched.remarks == [
        "drawn.json has 1 of the pictures in folders that are not here, "
        "second_camera/NG/0001.png taken for /here/photos/NG/0001.png"
    ]


def test_of_two_copies_under_one_name_the_folder_says_which() -> None:
    paths = [Path("/here/OK/0001.png"), Path("/here/NG/0001.png"), Path("/here/NG/0002.png")]
    annotation = Annotation("NG/0001.png", (4, 4), sha256="a")
    matched = match_annotations([annotation], paths, ["a", "a", "b"], Path("drawn.json"), "truth")
    assert matched.found == {1: annotation}
    moved = Annotation("OK/0002.png", (4, 4), sha256="b")  # found by its content in another folder
    assert match_annotations([moved], paths, ["a", "a", "b"], Path("drawn.json"), "truth").found == {2: moved}


def test_folders_of_yolo_and_voc_files_are_those_of_their_pictures(tmp_path: Path) -> None:
    paths = [Path("/here/OK/0001.png"), Path("/here/NG/0001.png")]
    for name in ("labels/NG/0001.txt", "labels/train/OK/0001.txt"):
        file = tmp_path / "yolo" / name
        file.parent.mkdir(parents=True)
        file.write_text("0 0.5 0.5 1 1\n" if "NG" in name else "")
    found = read_annotation_folder(tmp_path / "yolo", paths, [(4, 4)] * 2, "truth")
    assert {one.name: one.boxes for one in found} == {str(paths[1]): [(0, 0, 4, 4)], str(paths[0]): []}
    size = "<size><width>4</width><height>4</height></size>"
    for name, content in {
        "folders/NG/0001.xml": "<filename>0001.png</filename>",
        "tag/0001.xml": "<folder>NG</folder><filename>0001.png</filename>",
        "path/0001.xml": "<folder>JPEGImages</folder><filename>NG\\0001.png</filename>",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(f"<annotation>{content}{size}</annotation>")
        of_file = read_annotation_folder(tmp_path / name.split("/")[0], paths, [(4, 4)] * 2, "truth")
        assert match_names(paths, of_file) == ({1: of_file[0]}, []), name
