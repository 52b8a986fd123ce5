"""Boxes out, read back by the reference reader of each format; corrected boxes in."""

from __future__ import annotations

import csv
import json
import math
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
import pytest
import yaml
from helpers.runs import evaluate_config
from PIL import Image
from pycocotools.coco import COCO
from torchvision.datasets import VOCDetection

from weakspot.commands.evaluate import evaluate
from weakspot.data.annotated_truth import correct
from weakspot.data.annotation_matching import match_names
from weakspot.data.annotations import Annotation, decode_brush, read_annotations
from weakspot.errors import WeakspotError
from weakspot.export.boxes import BOX_FORMATS, write_boxes
from weakspot.export.source import Exported, portable_names, read_source
from weakspot.export.yolo import train_or_val, unfit
from weakspot.postprocess.prediction_files import UniqueNames, read_predictions, write_predictions
from weakspot.types import Box, ClassConfidence, Prediction, Sample

BOXES = {
    "good/a.png": (),
    "crack/b.png": (Box(0, 0, 7, 5, 2.5, "crack", trust=0.8), Box(30, 20, 41, 31, -1.0, "crack")),
    "spot/ü c.png": (Box(40, 30, 41, 31, 40.0, "spot", outlines=(((40, 30), (41, 30), (41, 31), (40, 31)),)),),
    "spot/d.png": (Box(3, 0, 41, 31, 0.0, "spot"),),
    "crack/e.png": (),
}
SIZE = (31, 41)  # (height, width)


def prediction(path: Path, boxes: tuple[Box, ...]) -> Prediction:
    label = path.parent.name if path.name != "e.png" else "crack"
    names = [label, *sorted({"good", "crack", "spot"} - {label})]
    classes = tuple(ClassConfidence(name, p) for name, p in zip(names, (0.7, 0.2, 0.1), strict=True))
    return Prediction(path, height=31, width=41, label=label, classes=classes, probability=0.75, boxes=boxes)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What ``weakspot predict`` leaves, of five pictures and one that cannot be read."""
    found = []
    for name, boxes in BOXES.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (len(found), 0, 0)).save(path)
        found.append(prediction(path, boxes))
    folder = tmp_path / "results"
    write_predictions(folder, [*found, Prediction(tmp_path / "bad.png", status="error", message="damaged")])
    return folder


def export(results: Path, name: str, pictures: Any = "none") -> Path:
    folder = results.parent / name
    write_boxes(read_source(results), name, folder, pictures)
    return folder


def corners(boxes: tuple[Box, ...]) -> list[tuple[int, int, int, int]]:
    return [box.xyxy for box in boxes]


def test_coco_is_read_by_pycocotools(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(str(export(results, "coco", "link") / "annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["crack", "spot"]
    for image in coco.loadImgs(coco.getImgIds()):
        boxes = BOXES[image["file_name"]]
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in found)] == [list(b.xyxy) for b in boxes]
        assert [a["score"] for a in found] == pytest.approx([1 / (1 + math.exp(-b.score)) for b in boxes])
        assert [a["attributes"]["log_odds"] for a in found] == [b.score for b in boxes]
        assert [coco.cats[a["category_id"]]["name"] for a in found] == [b.label for b in boxes]
        with Image.open(results.parent / "coco" / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
    assert len(coco.imgs) == 5
    (outlined,) = [a for a in coco.anns.values() if a["segmentation"]]
    assert coco.annToMask(outlined).sum() == 1
    assert 0 not in coco.anns


def test_coco_results_are_scored_by_pycocotools_as_perfect_against_themselves(results: Path) -> None:
    from pycocotools.cocoeval import COCOeval

    path = export(results, "coco") / "annotations.json"
    coco = COCO(str(path))
    mine = coco.loadRes([a for a in json.loads(path.read_text())["annotations"] if not a.pop("segmentation", None)])
    judge = COCOeval(coco, mine, "bbox")
    judge.params.imgIds = [2, 4]
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1)


def test_heat_maps_go_along_to_label_studio_and_fiftyone(results: Path) -> None:
    names = UniqueNames()
    for number, one in enumerate(read_predictions(results / "predictions.jsonl")):
        file = results / "heatmaps" / f"{names(one.path)}.png"
        if number != 2:  # one picture has none
            file.parent.mkdir(exist_ok=True)
            Image.new("L", (4, 3), number).save(file)
    exported = read_source(results)
    assert "4 heat maps" in write_boxes(exported, "coco", results.parent / "fiftyone", "copy")
    assert "4 heat maps" in write_boxes(exported, "labelstudio", results.parent / "ls", "copy")
    for number, name in enumerate(BOXES):
        for folder in ("fiftyone/heatmaps", "ls/images/heatmaps"):
            file = results.parent / folder / f"{name}.png"
            assert file.is_file() == (number != 2)
            assert number == 2 or Image.open(file).getpixel((0, 0)) == number
    tasks = json.loads((results.parent / "ls" / "tasks.json").read_text())
    for number, (task, name) in enumerate(zip(tasks, BOXES, strict=True)):
        (shown,) = parse_qs(urlparse(task["data"]["heatmap"]).query)["d"]
        assert (results.parent / "ls" / shown).is_file()
        assert shown == (f"images/heatmaps/{name}.png" if number != 2 else f"images/{name}")
    assert 'value="$heatmap"' in (results.parent / "ls" / "label_config.xml").read_text()
    write_boxes(exported, "labelstudio", results.parent / "alone", "none")  # Label Studio could not reach them
    assert "heatmap" not in (results.parent / "alone" / "label_config.xml").read_text()
    assert all("heatmap" not in task["data"] for task in json.loads((results.parent / "alone/tasks.json").read_text()))


def test_yolo_is_what_ultralytics_documents(results: Path) -> None:
    folder = export(results, "yolo", "copy")
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert set(data) == {"train", "val", "names"}  # ``path`` is the file's own folder where it is left out
    assert data["names"] == {0: "crack", 1: "spot"}
    seen = {}
    for part in ("train", "val"):
        for picture in (folder / data[part]).iterdir():
            label = Path(str(picture).replace("/images/", "/labels/")).with_suffix(".txt")
            rows = np.loadtxt(label, ndmin=2) if label.stat().st_size else np.zeros((0, 5))
            assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()
            with Image.open(picture) as image:
                width, height = image.size
            centre, size = rows[:, 1:3] * (width, height), rows[:, 3:] * (width, height)
            numbered = [data["names"][int(k)] for k in rows[:, 0]]
            seen[picture.name] = numbered, np.hstack([centre - size / 2, centre + size / 2])
    assert set(seen) == {"good__a.png", "crack__b.png", "spot__ü c.png", "spot__d.png"}
    for name, (labels, boxes) in seen.items():
        wanted = BOXES[name.replace("__", "/")]
        np.testing.assert_allclose(boxes, np.reshape(corners(wanted), (-1, 4)), atol=1e-6)
        assert labels == [box.label for box in wanted]
    assert json.loads((folder / "left_out.json").read_text()) == {
        "crack/e.png": "called defective, but no box was drawn"
    }
    assert len(list((folder / "images" / "val").iterdir())) == 1


def test_yolo_says_what_its_background_rests_on(results: Path) -> None:
    exported = read_source(results)
    said = write_boxes(exported, "yolo", results.parent / "called", "none")
    assert "Pictures that only the model called good are in it as background (1); look through them" in said
    known = [replace(prediction, target=prediction.label) for prediction in exported.predictions]
    said = write_boxes(replace(exported, predictions=known), "yolo", results.parent / "known", "none")
    assert "background" not in said


def test_voc_is_read_by_torchvision(results: Path) -> None:
    folder = export(results, "voc", "copy")
    listed = (folder / "ImageSets" / "Main" / "default.txt").read_text().splitlines()
    assert [f"{stem}.png" for stem in listed] == list(BOXES)
    for stem in listed:
        root = ET.parse(folder / "Annotations" / f"{stem}.xml").getroot()  # noqa: S314 - our own
        content = VOCDetection.parse_voc_xml(root)["annotation"]
        assert (content["size"]["width"], content["size"]["height"]) == ("41", "31")
        assert (folder / "JPEGImages" / content["filename"]).is_file()
        found = (
            [{k: int(v) for k, v in item["bndbox"].items()} for item in content["object"]]
            if "object" in content
            else []
        )
        # As detectron2 reads VOC: counted from 1, the last pixel included.
        half_open = [(b["xmin"] - 1, b["ymin"] - 1, b["xmax"], b["ymax"]) for b in found]
        assert half_open == corners(BOXES[content["filename"]])


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_a_picture_without_an_extension_keeps_its_name(kind: str, tmp_path: Path) -> None:
    """All of them became .xml or .txt, and the second was refused as another picture of that name."""
    names = ["spot/plain", "spot/v1.2/other", "spot/a.b.png", "spot/d.png"]
    found = []
    for number, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (number, 0, 0)).save(path, "png")
        found.append(replace(prediction(Path("spot/d.png"), (Box(3, 0, 41, 31, 0.0, "spot"),)), path=path))
    exported = Exported(found, names, ["spot", "crack"], "model")
    folder = tmp_path / kind
    write_boxes(exported, kind, folder, "copy")
    if kind == "voc":
        stems = ["spot/plain", "spot/v1.2/other", "spot/a.b", "spot/d"]
        assert (folder / "ImageSets" / "Main" / "default.txt").read_text().splitlines() == stems
        assert all((folder / "Annotations" / f"{stem}.xml").is_file() for stem in stems)
        assert all((folder / "JPEGImages" / name).is_file() for name in names)
    else:
        labels, images = (
            sorted(p.name for p in (folder / of).rglob("*") if p.is_file()) for of in ("labels", "images")
        )
        # Ultralytics looks for the labels of "x" at x.rsplit(".", 1)[0] + ".txt".
        assert labels == ["spot__a.b.txt", "spot__d.txt", "spot__plain.txt", "spot__v1.txt"]
        assert images == ["spot__a.b.png", "spot__d.png", "spot__plain", "spot__v1.2__other"]


def test_csv_holds_every_box_as_it_is(results: Path) -> None:
    with (export(results, "csv") / "boxes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [(r["file"], tuple(int(r[k]) for k in ("x0", "y0", "x1", "y1")), float(r["log_odds"])) for r in rows]
    assert found == [(name, box.xyxy, box.score) for name, boxes in BOXES.items() for box in boxes]


def test_labelstudio_s_own_interface_accepts_tasks_and_predictions(results: Path) -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    folder = export(results, "labelstudio")
    interface = sdk.LabelInterface((folder / "label_config.xml").read_text())
    interface.validate()
    for task in json.loads((folder / "tasks.json").read_text()):
        assert interface.validate_task({"data": task["data"]})
        for found in task["predictions"]:
            assert interface.validate_prediction(found, return_errors=True) == []


def test_labelstudio_tasks_fit_their_label_config(results: Path) -> None:
    folder = export(results, "labelstudio")
    config = ET.parse(folder / "label_config.xml").getroot()  # noqa: S314 - our own
    tags = {tag.get("name"): tag for tag in config}
    tasks = json.loads((folder / "tasks.json").read_text())
    assert [task["data"]["file"] for task in tasks] == list(BOXES)
    assert tasks[2]["data"]["image"] == "/data/local-files/?d=photos/spot/%C3%BC%20c.png"
    copied = results.parent / "copied"
    write_boxes(read_source(results), "labelstudio", copied, "copy")
    for task in json.loads(
        (copied / "tasks.json").read_text()
    ):  # below the document root, which is the export's folder
        assert (copied / unquote(task["data"]["image"].removeprefix("/data/local-files/?d="))).is_file()
    for task in tasks:
        (found,) = task["predictions"]
        assert 0 <= found["score"] <= 1
        assert len({item["id"] for item in found["result"]}) == len(found["result"])
        for item in found["result"]:
            assert tags[item["from_name"]].get("toName") == item["to_name"] == "image"
            (value,) = item["value"]["choices" if item["type"] == "choices" else "rectanglelabels"]
            assert value in [child.get("value") for child in tags[item["from_name"]]]
            assert 0 <= item["score"] <= 1
            if item["type"] == "rectanglelabels":
                where = item["value"]
                assert 0 <= where["x"] <= where["x"] + where["width"] <= 100 + 1e-9
                assert 0 <= where["y"] <= where["y"] + where["height"] <= 100 + 1e-9


def accepted(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Label Studio's export after a person has accepted every prediction."""
    return [
        {
            "id": n,
            "data": {"image": task["data"]["image"].replace("/data/local-files/?d=", f"/data/upload/1/0a1b2c3d-{n}-")}
            if n == 99
            else task["data"],
            "annotations": [
                {"was_cancelled": True, "result": []},
                {"was_cancelled": False, "result": task["predictions"][0]["result"]},
            ],
        }
        for n, task in enumerate(tasks)
    ]


def looked_at(path: Path) -> Path:
    """The COCO file as another tool writes it: no longer described as predictions."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "info": {"description": "corrected"}}))
    return path


@pytest.mark.parametrize("name", ["coco", "labelstudio"])
def test_boxes_go_out_and_come_in_the_same(results: Path, name: str) -> None:
    folder = export(results, name)
    if name == "labelstudio":
        path = folder / "export.json"
        path.write_text(json.dumps(accepted(json.loads((folder / "tasks.json").read_text()))))
    else:
        path = looked_at(folder / "annotations.json")
    samples = [Sample(results.parent / "photos" / name, name.split("/")[0]) for name in BOXES]
    sizes = np.array([SIZE] * len(samples))
    found = correct(samples, sizes, path, results.parent / "truth")
    for sample, wanted in zip(found.samples, BOXES.values(), strict=True):
        if not wanted:
            assert sample.mask is None
            continue
        np.testing.assert_array_equal(found.drawn[sample.path].boxes, corners(wanted))
        assert found.drawn[sample.path].kinds == tuple(box.label for box in wanted)
        assert sample.mask is not None
        inside = np.zeros(SIZE, dtype=bool)
        for box in wanted:
            inside[box.y0 : box.y1, box.x0 : box.x1] = True
        np.testing.assert_array_equal(np.array(Image.open(sample.mask)) > 0, inside)


def test_polygons_masks_and_brushes_come_in(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:7] = True
    runs = [int(v) for v in np.diff(np.flatnonzero(np.diff(np.r_[2, mask.T.ravel().astype(int), 2])))]
    coco = {
        "images": [{"id": 7, "file_name": "x.png", "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "good"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": {"size": [6, 8], "counts": runs}},
            {"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [[3, 2, 7, 2, 7, 4, 3, 4]]},
            {"image_id": 7, "category_id": 1, "bbox": [-0.4, 0.6, 3.0, 99]},
            {"image_id": 7, "category_id": 2, "bbox": [0, 0, 8, 6]},
        ],
    }  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(coco))
    (found,) = read_annotations(tmp_path / "c.json")
    assert found.boxes == [(3, 2, 7, 4), (3, 2, 7, 4), (0, 1, 3, 6)]
    assert found.kinds == ["crack"] * 3
    size = {"original_width": 8, "original_height": 6}
    points = [[37.5, 100 / 3], [87.5, 100 / 3], [87.5, 200 / 3], [37.5, 200 / 3]]
    square = {"x": 50.0, "y": 0.0, "width": 25.0, "height": 100 / 3, "rotation": 90, "rectanglelabels": ["crack"]}
    results = [
        {"type": "polygonlabels", **size, "value": {"points": points, "polygonlabels": ["crack"]}},
        {"type": "rectanglelabels", **size, "value": square},
        {
            "type": "brushlabels",
            **size,
            "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["crack"]},
        },
        {"type": "choices", "value": {"choices": ["crack"]}},
    ]
    task = {"data": {"image": "/data/upload/3/12ab34cd-x.png"}, "annotations": [{"result": results}]}
    (tmp_path / "ls.json").write_text(json.dumps([task, {"data": {"image": "y.png"}, "annotations": []}]))
    (found,) = read_annotations(tmp_path / "ls.json")
    assert found.boxes == [(3, 2, 7, 4), (2, 0, 4, 2), (3, 2, 7, 4)]
    assert match_names([tmp_path / "x.png"], [found]) == ({0: found}, [])


def encode_brush(mask: np.ndarray) -> list[int]:
    """The packed run lengths of Label Studio, values one by one and repeated in turn."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    start = 0
    while start < len(values):
        stop = start + 1
        while stop < len(values) and values[stop] == values[start]:
            stop += 1
        if start % 8:
            bits += f"1{3:02b}{stop - start - 1:016b}{values[start]:08b}"
        else:
            bits += f"0{2:02b}{stop - start - 1:08b}" + f"{values[start]:08b}" * (stop - start)
        start = stop
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_brushes_decode() -> None:
    mask = np.random.default_rng(0).random((5, 9)) > 0.6
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), (5, 9)), mask * 255)
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed")
    np.testing.assert_array_equal(brush.decode_rle(encode_brush(mask)).reshape(5, 9, 4)[..., 3], mask * 255)
    np.testing.assert_array_equal(decode_brush(brush.mask2rle(mask.astype(np.uint8) * 255), (5, 9)), mask * 255)


def test_pictures_that_would_teach_something_wrong_stay_out() -> None:
    box = (Box(0, 0, 1, 1),)
    assert not unfit(Prediction(Path("a"), label="good"))
    assert not unfit(Prediction(Path("a"), label="anomaly", boxes=box, target="anomaly"))
    assert "no box" in unfit(Prediction(Path("a"), label="anomaly"))
    assert "labelled anomaly" in unfit(Prediction(Path("a"), label="good", target="anomaly"))
    assert "labelled good" in unfit(Prediction(Path("a"), label="anomaly", boxes=box, target="good"))


def test_groups_stay_together_and_both_sides_have_boxes() -> None:
    with_boxes = [i % 3 == 0 for i in range(60)]
    groups = [str(i // 2) for i in range(60)]
    subsets = train_or_val(with_boxes, groups)
    assert all(len({p for p, g in zip(subsets, groups, strict=True) if g == group}) == 1 for group in groups)
    assert {p for p, boxes in zip(subsets, with_boxes, strict=True) if boxes} == {"train", "val"}
    assert 8 <= subsets.count("val") <= 16
    with pytest.raises(WeakspotError, match="at least two groups"):
        train_or_val([True, True, False], ["a", "a", "b"])


def test_names_are_relative_to_what_all_share() -> None:
    assert portable_names([Path("/d/a/x.png"), Path("/d/b/x.png")]) == ["a/x.png", "b/x.png"]
    assert portable_names([Path("/d/a/x.png")]) == ["x.png"]
    with pytest.raises(WeakspotError, match="twice"):
        portable_names([Path("/d/x.png"), Path("/d/a/../x.png")])


def test_mistakes_are_one_clear_line(results: Path, tmp_path: Path) -> None:
    exported = read_source(results)
    with pytest.raises(WeakspotError, match="did you mean 'coco'"):
        write_boxes(exported, "cocos", tmp_path / "new", "none")
    with pytest.raises(WeakspotError, match="already holds something"):
        write_boxes(exported, "coco", results, "none")
    with pytest.raises(WeakspotError, match=r"no predictions\.jsonl"):
        read_source(tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos" / "good")
    with pytest.raises(WeakspotError, match=r"a\.png is no longer there; .*--pictures none"):
        write_boxes(exported, "voc", tmp_path / "new", "copy")
    for content in (
        "{",
        "{}",
        "[]",
        '[{"data": {"image": "x"}}]',
        '{"images": [{}], "annotations": [], "categories": []}',
    ):
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(WeakspotError, match=r"t\.json"):
            read_annotations(tmp_path / "t.json")
    marked = Annotation("x.png", (4, 4))
    with pytest.raises(WeakspotError, match=r"fits .* and"):
        match_names([Path("/a/x.png"), Path("/b/x.png")], [marked])
    with pytest.raises(WeakspotError, match="annotated twice"):
        match_names([Path("/a/x.png")], [marked, marked])


def test_every_format_writes_something(results: Path) -> None:
    assert set(BOX_FORMATS) == {"coco", "yolo", "voc", "labelstudio", "csv"}
    assert isinstance(read_source(results), Exported)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_evaluate_measures_against_what_a_person_drew(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.runs import ALL_ANOMALY, train

    monkeypatch.chdir(tmp_path)
    run = train(fabric, *ALL_ANOMALY, "trainer.max_epochs=1")
    write_boxes(read_source(run.path), "coco", tmp_path / "coco", "none")
    path = tmp_path / "coco" / "annotations.json"

    def measured(*overrides: str) -> dict[str, Any]:
        config = evaluate_config(f"run={run.path}", f"truth={path}", *overrides)
        return json.loads(evaluate(config).metrics.read_text())

    with pytest.raises(WeakspotError, match="predictions that nobody looked at do not count"):
        measured()
    content = json.loads(looked_at(path).read_text())
    good = {image["id"] for image in content["images"] if "/good/" in image["file_name"]}

    with pytest.raises(WeakspotError, match="is labelled good, but a defect is marked in it"):
        measured()
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in good]
    path.write_text(json.dumps(content))
    metrics = measured()
    found = metrics["test"]["localisation"]
    assert found["n"] == metrics["data"]["truth"]["images"] == len({a["image_id"] for a in content["annotations"]}) > 0
    assert found["max_box_acc_v2"]["value"] == 1  # its own boxes are the truth now
    drawn_in = {image["id"] for image in content["images"]} & {a["image_id"] for a in content["annotations"]}
    bare = next(i for i, image in enumerate(content["images"]) if image["id"] in good - drawn_in)
    content["images"][bare]["weakspot_label"] = "anomaly"
    path.write_text(json.dumps(content))
    corrected = measured()
    assert corrected["data"]["truth"]["corrected_labels"] == 1
    of_good = [each["data"]["n_test_per_defect"]["good"] for each in (metrics, corrected)]
    assert of_good[0] - of_good[1] == corrected["data"]["n_test_per_defect"]["anomaly"] == 1
    with pytest.raises(WeakspotError, match="is the run itself"):
        measured(f"output={run.path}")
    path.write_text(json.dumps(content), encoding="utf-16")
    with pytest.raises(WeakspotError, match=r"annotations\.json is damaged \(UnicodeDecodeError"):
        measured()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeakspotError) as error:
        measured("truth='~/nowhere.json'")
    assert str(error.value) == (
        f"truth={tmp_path}/nowhere.json cannot be read (No such file or directory); check the name"
    )
