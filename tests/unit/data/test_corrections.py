"""What a person drew in training pictures: read, checked, and refused where it is of a test picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from weakspot.data.annotations import NOT_CORRECTED
from weakspot.data.corrections import Corrections, as_files, learnt_from_words, read_corrections, relabelled
from weakspot.data.images import ImageInfo, inspect_image, inspect_images
from weakspot.errors import WeakspotError
from weakspot.types import Sample, Subset

NAMES = {"good/a.png": "train", "crack/b.png": "train", "crack/c.png": "test", "crack/d.png": "val"}


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[list[Sample], list[ImageInfo], list[Subset]]:
    """Four pictures of 6 × 8 pixels (height × width), all different."""
    for number, name in enumerate(NAMES):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 10 * number, np.uint8)).save(path)
    samples = [Sample(tmp_path / "data" / name, name.split("/")[0]) for name in NAMES]
    return samples, inspect_images([sample.path for sample in samples]), list(NAMES.values())  # type: ignore[arg-type]


@pytest.fixture
def read(pictures: tuple[list[Sample], list[ImageInfo], list[Subset]], tmp_path: Path) -> Callable[..., Corrections]:
    def reading(*files: Path, **options: Any) -> Corrections:
        return read_corrections(*pictures, files, **options)

    return reading


def coco(file: Path, *images: dict[str, Any], boxes: dict[int, list[Any]], info: str = "") -> Path:
    content = {
        "info": {"description": info},
        "images": [{"id": i, "height": 6, "width": 8, **image} for i, image in enumerate(images)],
        "categories": [{"id": 1, "name": "crack"}],
        "annotations": [
            {"image_id": i, "category_id": 1, **({"bbox": one} if len(one) == 4 else {"segmentation": [one]})}
            for i, of_image in boxes.items()
            for one in of_image
        ],
    }
    file.write_text(json.dumps(content))
    return file


def test_boxes_and_polygons_of_training_pictures_are_learnt_from(
    read: Callable[..., Corrections], tmp_path: Path
) -> None:
    file = coco(tmp_path / "c.json", {"file_name": "crack/b.png"}, boxes={0: [[1, 2, 3, 2], [4, 0, 8, 0, 8, 2, 4, 2]]})
    found = read(file)
    assert found.counts == {"boxes": 1, "masks": 1, "pictures": 1, "corrected_labels": 0}
    assert found.drawn[1].boxes == [(1, 2, 4, 4), (4, 0, 8, 2)]
    assert learnt_from_words(found.counts) == "learnt from 1 box and 1 mask in 1 picture"


def test_yolo_and_voc_say_the_same_as_coco(
    read: Callable[..., Corrections], pictures: tuple[list[Sample], list[ImageInfo], list[Subset]], tmp_path: Path
) -> None:
    of_coco = read(coco(tmp_path / "c.json", {"file_name": "b.png"}, boxes={0: [[2, 3, 4, 2]]}))
    yolo = tmp_path / "yolo" / "labels" / "train"
    yolo.mkdir(parents=True)
    (yolo / "crack__b.txt").write_text("1 0.5 0.6666666 0.5 0.3333333\n0 0.5 0.5 1 1\n")
    (yolo / "good__a.txt").write_text("")
    (tmp_path / "yolo" / "data.yaml").write_text("names: [good, crack]\n")
    voc = tmp_path / "voc"
    voc.mkdir()
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>6</xmax><ymax>5</ymax></bndbox>"
    size = "<size><width>8</width><height>6</height></size>"
    (voc / "b.xml").write_text(
        f"<annotation><filename>b.png</filename>{size}<object><name>crack</name>{box}</object></annotation>"
    )
    infos = pictures[1]
    assert [read(tmp_path / name).drawn[1].boxes for name in ("yolo", "voc")] == [[(2, 3, 6, 5)]] * 2
    assert {read(tmp_path / name).identity(infos) for name in ("yolo", "voc", "c.json")} == {of_coco.identity(infos)}


def test_test_pictures_and_their_copies_are_refused_by_name(read: Callable[..., Corrections], tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"c\.json: crack/c\.png is a test picture, or a copy"):
        read(coco(tmp_path / "c.json", {"file_name": "crack/c.png"}, boxes={0: [[0, 0, 2, 2]]}))
    sha256 = inspect_image(tmp_path / "data" / "crack" / "c.png").sha256  # in no subset, and under another name
    with pytest.raises(WeakspotError, match=r"copy\.png is a test picture, or a copy"):
        read(coco(tmp_path / "c.json", {"file_name": "copy.png", "sha256": sha256}, boxes={0: [[0, 0, 2, 2]]}))
    with pytest.raises(WeakspotError, match="test picture"):
        read(coco(tmp_path / "c.json", {"file_name": "c.png", "weakspot_label": "Good"}, boxes={}))
    bare = coco(
        tmp_path / "c.json", {"file_name": "crack/c.png"}, {"file_name": "crack/b.png"}, boxes={1: [[0, 0, 2, 2]]}
    )
    assert list(read(bare).drawn) == [1]  # a list of all pictures says nothing of those without a mark


def test_a_duplicate_of_a_test_picture_in_training_is_refused(tmp_path: Path) -> None:
    samples = []
    for name in ("good/a.png", "crack/b.png", "crack/c.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 0 if "good" in name else 50, np.uint8)).save(path)
        samples.append(Sample(path, path.parent.name))
    file = coco(tmp_path / "c.json", {"file_name": "crack/b.png"}, boxes={0: [[0, 0, 2, 2]]})
    infos = inspect_images([sample.path for sample in samples])
    with pytest.raises(WeakspotError, match=r"b\.png is a test picture, or a copy"):
        read_corrections(samples, infos, ["train", "train", "test"], [file])


def test_validation_pictures_are_not_learnt_from_but_their_labels_are_corrected(
    read: Callable[..., Corrections], tmp_path: Path
) -> None:
    found = read(coco(tmp_path / "c.json", {"file_name": "d.png"}, boxes={0: [[0, 0, 2, 2]]}))
    assert not found.drawn
    assert "1 annotated pictures are in the validation subset" in found.remarks[0]
    found = read(coco(tmp_path / "c.json", {"file_name": "d.png", "weakspot_label": "Good"}, boxes={}))
    assert found.labels == {3: "good"}


def test_labels_are_corrected_both_ways(
    read: Callable[..., Corrections], pictures: tuple[list[Sample], list[ImageInfo], list[Subset]], tmp_path: Path
) -> None:
    images = [{"file_name": "a.png", "weakspot_label": "scratch"}, {"file_name": "b.png", "weakspot_label": "Good"}]
    found = read(coco(tmp_path / "c.json", *images, boxes={0: [[0, 0, 2, 2]]}))
    assert found.labels == {0: "scratch", 1: "good"}
    assert list(found.drawn) == [0]
    assert [sample.defect for sample in relabelled(pictures[0], found.labels)] == ["scratch", "good", "crack", "crack"]
    assert learnt_from_words(found.counts) == "learnt from 1 box in 1 picture, and 2 corrected labels"
    confirmed = coco(tmp_path / "c.json", {"file_name": "a.png", "weakspot_reviewed": True}, boxes={})
    assert not read(confirmed).any


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 7}, r"b\.png is 7×8 \(height×width\) as annotated, the picture is 6×8"),
        ({"file_name": "a.png"}, r"a\.png is labelled good, but a defect is marked in it"),
        ({"file_name": "z.png"}, "none of its 1 annotated pictures is among the data, z.png for one"),
        ({"sha256": "0" * 64}, r"b\.png is not the picture that was annotated, its content differs"),
        ({"weakspot_reviewed": False}, "says nothing that a person drew, corrected or confirmed"),
        ({"weakspot_label": 3}, "damaged"),
    ],
)
def test_a_file_that_does_not_fit_is_one_clear_line(
    read: Callable[..., Corrections], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeakspotError, match=message) as error:
        read(coco(tmp_path / "c.json", {"file_name": "b.png", **change}, boxes={0: [[0, 0, 2, 2]]}))
    assert "c.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_predictions_that_nobody_corrected_teach_nothing(read: Callable[..., Corrections], tmp_path: Path) -> None:
    file = coco(tmp_path / "c.json", {"file_name": "b.png"}, boxes={0: [[0, 0, 2, 2]]}, info=f"Boxes, {NOT_CORRECTED}")
    with pytest.raises(WeakspotError, match="says nothing that a person drew"):
        read(file)


def test_a_picture_may_be_annotated_once(read: Callable[..., Corrections], tmp_path: Path) -> None:
    files = [coco(tmp_path / name, {"file_name": "b.png"}, boxes={0: [[0, 0, 2, 2]]}) for name in ("c.json", "e.json")]
    with pytest.raises(WeakspotError, match=r"b\.png is annotated in .*c\.json and in .*e\.json"):
        read(*files)


def test_masks_of_training_pictures_alone_are_taken(
    pictures: tuple[list[Sample], list[ImageInfo], list[Subset]], tmp_path: Path
) -> None:
    samples, infos, subsets = pictures
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    samples = [Sample(s.path, s.defect, mask=None if s.is_good else tmp_path / "m.png") for s in samples]
    found = read_corrections(samples, infos, subsets, [], use_masks=True)
    assert list(found.drawn) == [1]
    assert found.drawn[1].boxes == [(2, 1, 5, 3)]
    assert found.counts["masks"] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels/b.txt", "0 0.5 0.5\n", "3 numbers are neither a box"),
        ("labels/b.txt", "0 5 5 20 20\n", "not shares of the picture"),
        ("labels/b.txt", "a cat\n", "holds no YOLO labels"),
        ("b.xml", "<annotation><size><height>6</height></size></annotation>", "size/width is missing"),
        ("b.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares entities"),
        ("b.xml", "<annotation>", "no Pascal VOC annotation"),
        ("b.json", "{}", "neither YOLO labels .* nor Pascal VOC"),
    ],
)
def test_damaged_folders_name_the_file(
    read: Callable[..., Corrections], tmp_path: Path, name: str, content: str, message: str
) -> None:
    file = tmp_path / "drawn" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(WeakspotError, match=message) as error:
        read(tmp_path / "drawn")
    assert "\n" not in str(error.value)


def test_files_are_a_name_or_a_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    assert as_files(None) == []
    assert as_files(str(tmp_path / "a.json")) == as_files([str(tmp_path / "a.json")]) == [tmp_path / "a.json"]
    with pytest.raises(WeakspotError, match="no such file"):
        as_files("nowhere.json")
    with pytest.raises(WeakspotError, match="must be a file or a list"):
        as_files(7)


def drawn_as(file: Path, kinds: list[str], **image: Any) -> Path:
    """A COCO file with one box in b.png for each of `kinds`."""
    content = {
        "images": [{"id": 0, "file_name": "b.png", "height": 6, "width": 8, **image}],
        "categories": [{"id": number, "name": kind} for number, kind in enumerate(kinds)],
        "annotations": [
            {"image_id": 0, "category_id": number, "bbox": [number, 0, 1, 2]} for number in range(len(kinds))
        ],
    }
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ("kinds", "given", "label"),
    [
        (["hole", "crack"], None, "crack;hole"),  # crack so far
        (["hole"], None, "hole"),
        (["crack"], None, None),
        (["anomaly"], None, None),  # no kind of defect: the tool had one class for all
        (["hole", "something"], None, None),
        (["hole", "crack"], "hole", "crack;hole"),
        (["crack"], "hole", "hole"),  # what the person said of the picture counts more than the boxes' old class
    ],
)
def test_with_several_kinds_a_picture_is_of_every_kind_that_is_drawn_in_it(
    read: Callable[..., Corrections], tmp_path: Path, kinds: list[str], given: str | None, label: str | None
) -> None:
    image = {} if given is None else {"weakspot_label": given}
    file = drawn_as(tmp_path / "c.json", kinds, **image)
    found = read(file, classes=["good", "crack", "hole"])
    assert found.labels == ({} if label is None else {1: label})
    assert len(found.drawn[1].boxes) == len(kinds)
    assert found.drawn[1].kinds == kinds
    assert read(file).labels == ({1: given} if given not in (None, "crack") else {})  # Good and Anomaly alone


def test_every_format_says_what_each_box_is_of(read: Callable[..., Corrections], tmp_path: Path) -> None:
    yolo = tmp_path / "yolo"
    yolo.mkdir()
    (yolo / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0 0 0.5 0 0.5 0.5 0 0.5\n")
    (yolo / "classes.txt").write_text("crack\nhole\n")
    voc = tmp_path / "voc"
    voc.mkdir()
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>6</xmax><ymax>5</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in ("crack", "hole"))
    size = "<size><width>8</width><height>6</height></size>"
    (voc / "b.xml").write_text(f"<annotation><filename>b.png</filename>{size}{objects}</annotation>")
    value = {"x": 0, "y": 0, "width": 50, "height": 50}
    size_of = {"original_width": 8, "original_height": 6}
    results = [
        {"type": "rectanglelabels", **size_of, "value": {**value, "rectanglelabels": [name]}}
        for name in ("crack", "hole")
    ]
    (tmp_path / "ls.json").write_text(json.dumps([{"data": {"image": "b.png"}, "annotations": [{"result": results}]}]))
    for name in ("yolo", "voc", "ls.json"):
        found = read(tmp_path / name, classes=["good", "crack", "hole"])
        assert found.drawn[1].kinds == ["crack", "hole"], name
        assert found.labels == {1: "crack;hole"}, name
