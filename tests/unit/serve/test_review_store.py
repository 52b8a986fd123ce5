"""What a person says of pictures: written whole, read by others, never over newer work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.reviews import CLASSES, SIZE, make_session
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from weakspot.errors import WeakspotError
from weakspot.serve.review_store import Mark, Review, ReviewStore, StaleError, starting_point

NAMES = ["a.png", "b.png", "c.png", "<img src=x onerror=alert(1)>.png", 'quote".png']


@pytest.fixture
def store(tmp_path: Path) -> ReviewStore:
    return make_session(tmp_path, NAMES).store


def again(store: ReviewStore, **changes: Any) -> ReviewStore:
    return ReviewStore(**{"file": store.file, "pictures": store.pictures, "classes": CLASSES} | changes)


def test_nothing_is_written_before_something_is_said(store: ReviewStore) -> None:
    assert not store.file.exists()
    assert [review.version for review in store.reviews()] == [0] * len(NAMES)
    assert store.review(2) == Review("good", ())  # the data say so, whatever the model draws
    assert store.review(0).boxes == (Mark(*store.pictures[0].boxes[0].xyxy, "anomaly"),)


def test_other_tools_read_what_is_written(store: ReviewStore) -> None:
    box = Mark(3, 4, 30, 24, "anomaly")
    store.save(0, Review("anomaly", (box, Mark(50, 60, 128, 96, "anomaly")), "reviewed"), based_on=0)
    store.save(2, Review("good", (), "reviewed"), based_on=0)
    store.save(1, replace(store.review(1), state="skipped"), based_on=0)
    coco = COCO(str(store.file))
    images = {image["file_name"]: image for image in coco.dataset["images"]}
    first = images["photos/a.png"]
    assert (first["height"], first["width"]) == SIZE
    assert first["sha256"] == hashlib.sha256(store.pictures[0].path.read_bytes()).hexdigest()
    assert [(one["weakspot_label"], one["weakspot_reviewed"]) for one in images.values()] == [
        ("anomaly", True), ("Good", True),
    ]  # fmt: skip
    (skipped,) = coco.dataset["weakspot_unconfirmed"]  # where nobody takes the model's boxes for the truth
    assert (skipped["file_name"], skipped["weakspot_reviewed"], len(skipped["boxes"])) == ("photos/b.png", False, 1)
    found = coco.loadAnns(coco.getAnnIds(imgIds=[first["id"]]))
    assert [one["bbox"] for one in found] == [[3, 4, 27, 20], [50, 60, 78, 36]]
    assert {coco.cats[one["category_id"]]["name"] for one in found} == {"anomaly"}
    assert [one["area"] for one in found] == [27 * 20, 78 * 36]


def test_coming_back_goes_on(store: ReviewStore) -> None:
    for i in range(len(NAMES)):
        store.save(i, replace(store.review(i), state="reviewed"), based_on=0)
    assert again(store).reviews() == store.reviews()
    assert [review.version for review in store.reviews()] == [1, 2, 3, 4, 5]


def test_a_stale_save_changes_nothing_and_says_what_there_is(store: ReviewStore) -> None:
    mine = store.save(0, Review("anomaly", (Mark(0, 0, 9, 9, "anomaly"),), "draft"), based_on=0)
    before = store.file.read_bytes()
    with pytest.raises(StaleError) as caught:
        store.save(0, Review("good", (), "reviewed"), based_on=0)
    assert caught.value.current == mine
    assert store.file.read_bytes() == before
    other = store.save(1, Review("good", (), "reviewed"), based_on=0)  # of another picture nothing is stale
    assert other.version > mine.version


def test_a_defect_without_a_box_is_confirmed_by_its_label_alone(store: ReviewStore) -> None:
    saved = store.save(0, Review("anomaly", (), "reviewed"), based_on=0)
    assert saved.state == "labelled"
    (image,) = json.loads(store.file.read_text())["images"]
    assert (image["weakspot_label"], image["weakspot_reviewed"]) == ("anomaly", True)


def test_undone_to_the_beginning_it_is_forgotten(store: ReviewStore) -> None:
    saved = store.save(0, Review("good", (), "draft"), based_on=0)
    undone = store.save(0, replace(starting_point(store.pictures[0]), state="todo"), based_on=saved.version)
    assert undone == starting_point(store.pictures[0])
    assert json.loads(store.file.read_text())["images"] == []
    assert store.save(1, Review("good", (), "draft"), based_on=0).version == 3  # versions are never used again


@pytest.mark.parametrize(
    ("review", "message"),
    [
        (Review("scratch", ()), "is not a class of this model"),
        (Review("good", (Mark(0, 0, 4, 4, "anomaly"),)), "a Good picture has no boxes"),
        (Review("anomaly", (Mark(0, 0, 4, 4, "good"),)), "is not a class of a defect"),
        (Review("anomaly", (Mark(0, 0, 129, 4, "anomaly"),)), "does not lie in a picture of 128×96"),
        (Review("anomaly", (Mark(4, 0, 4, 4, "anomaly"),)), "does not lie in"),
        (Review("anomaly", (Mark(-1, 0, 4, 4, "anomaly"),)), "does not lie in"),
    ],
)
def test_what_cannot_be_is_refused(store: ReviewStore, review: Review, message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        store.save(0, replace(review, state="draft"), based_on=0)
    assert not store.file.exists()


def test_a_file_that_another_program_changed_is_not_written_over(store: ReviewStore) -> None:
    store.save(0, Review("good", (), "draft"), based_on=0)
    store.file.write_text(store.file.read_text() + " ")
    with pytest.raises(WeakspotError, match="was changed by another program"):
        store.save(1, Review("good", (), "draft"), based_on=0)
    assert store.file.read_text().endswith(" ")


def test_a_full_disk_keeps_what_there_was(store: ReviewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(0, Review("good", (), "draft"), based_on=0)
    before = store.file.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(1, Review("good", (), "draft"), based_on=0)
    monkeypatch.undo()
    assert store.file.read_bytes() == before
    assert store.review(1).version == 0
    assert [path.name for path in store.file.parent.iterdir()] == [store.file.name]
    assert store.save(1, Review("good", (), "draft"), based_on=0).version == 2


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edited(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return edited


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:-20]), "is damaged"),
    "empty": (lambda file: file.write_bytes(b""), "is damaged"),
    "a list": (lambda file: file.write_text("[]"), "was not made by 'weakspot review'"),
    "nested": (lambda file: file.write_text("[" * 100_000), "is damaged"),
    "another tool's": (edit(lambda content: content.pop("info")), "was not made by 'weakspot review'"),
    "no images": (edit(lambda content: content.pop("images")), "is damaged"),
    "a box outside": (edit(lambda content: content["annotations"][0].update(bbox=[0, 0, 500, 5])), "is damaged"),
    "a box of words": (edit(lambda content: content["annotations"][0].update(bbox="wide")), "is damaged"),
    "no such class": (
        edit(lambda content: content["categories"][0].update(name="dent")),
        "'dent' is none of this model",
    ),
    "no such label": (edit(lambda content: content["images"][0].update(weakspot_label="dent")), "is damaged"),
    "no such picture": (edit(lambda content: content["annotations"][0].update(image_id=99)), "is damaged"),
    "another size": (edit(lambda content: content["images"][0].update(height=97)), "was 97×128 .* and is 96×128 now"),
    "other pictures": (edit(lambda content: content["images"][0].update(file_name="x/y.png")), "is of other pictures"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_and_foreign_files_are_one_line_and_stay_as_they_are(store: ReviewStore, kind: str) -> None:
    store.save(0, replace(store.review(0), state="reviewed"), based_on=0)
    damage, message = BROKEN[kind]
    damage(store.file)
    before = store.file.read_bytes()
    with pytest.raises(WeakspotError, match=message) as caught:
        again(store)
    assert "\n" not in str(caught.value)
    assert str(store.file) in str(caught.value)
    assert store.file.read_bytes() == before


def test_a_file_with_a_test_picture_is_refused(store: ReviewStore) -> None:
    store.save(0, replace(store.review(0), state="reviewed"), based_on=0)
    refused = {"photos/a.png": "is a test picture of this run, which is never learnt from"}
    with pytest.raises(WeakspotError, match=r"photos/a.png is a test picture of this run"):
        again(store, refused=refused)


def test_pictures_that_are_gone_are_kept_in_the_file(store: ReviewStore) -> None:
    for i, state in enumerate(("reviewed", "reviewed", "reviewed", "draft")):
        store.save(i, replace(store.review(i), state=state), based_on=0)
    fewer = again(store, pictures=store.pictures[:2])
    assert fewer.remarks == ["2 pictures of annotations.json are not in this queue; they are kept as they are"]
    one_less = again(store, pictures=store.pictures[:3]).remarks
    assert one_less == ["1 picture of annotations.json is not in this queue; it is kept as it is"]
    fewer.save(0, Review("good", (), "reviewed"), based_on=1)
    assert again(store).reviews()[2:] == store.reviews()[2:]


def test_the_next_round_goes_on_from_what_was_learnt(store: ReviewStore, tmp_path: Path) -> None:
    store.save(0, replace(store.review(0), state="reviewed"), based_on=0)
    before = store.file.read_bytes()
    later = again(store, file=tmp_path / "next.json", earlier=store.file)
    assert later.review(0) == store.review(0)
    assert later.before == 1  # says nothing of the new run
    later.save(1, Review("good", (), "reviewed"), based_on=0)
    assert store.file.read_bytes() == before
    assert again(store, file=tmp_path / "next.json").before == 1


marks = st.builds(
    lambda x, y, w, h: Mark(x, y, min(128, x + w), min(96, y + h), "anomaly"),
    st.integers(0, 127), st.integers(0, 95), st.integers(1, 128), st.integers(1, 96),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(marks, max_size=6), st.sampled_from(["draft", "skipped", "reviewed"]))
def test_any_boxes_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[Mark], state: Any
) -> None:
    root = tmp_path_factory.mktemp("any")
    store = make_session(root, ["a.png"]).store
    saved = store.save(0, Review("anomaly", tuple(boxes), state), based_on=0)
    assert again(store).review(0) == saved
    assert saved.boxes == tuple(boxes)


def test_classes_of_pictures_that_are_gone_stay_when_the_model_has_more_classes(tmp_path: Path) -> None:
    first = make_session(tmp_path, ["a.png", "b.png"]).store
    first.save(0, Review("anomaly", (Mark(3, 4, 30, 24, "anomaly"),), "reviewed"), based_on=0)
    first.save(1, replace(first.review(1), state="skipped"), based_on=0)
    classes = ["good", "abrasion", "anomaly"]  # "anomaly" has another number now
    second = again(first, pictures=first.pictures[1:], classes=classes)
    second.save(0, Review("abrasion", (Mark(1, 1, 9, 9, "abrasion"),), "reviewed"), based_on=2)
    coco = json.loads(second.file.read_text())
    names = {one["id"]: one["name"] for one in coco["categories"]}
    files = {one["id"]: one["file_name"] for one in coco["images"]}
    found = {files[one["image_id"]]: names[one["category_id"]] for one in coco["annotations"]}
    assert found == {"photos/a.png": "anomaly", "photos/b.png": "abrasion"}
