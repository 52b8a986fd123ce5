"""What somebody else made is refused or neutralised: descriptions, tensors, arrays, annotations, names."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

import weakspot
from weakspot.config.rules import BoxRule
from weakspot.config.schema import read_config
from weakspot.data.annotations import read_annotations
from weakspot.data.manifest import read_rows
from weakspot.data.preprocess import Preprocess
from weakspot.data.rle import decode_mask, run_lengths
from weakspot.data.splits import read_split, with_subsets, write_split
from weakspot.errors import WeakspotError
from weakspot.export.source import place_picture
from weakspot.models.bundle import load_bundle, save_bundle
from weakspot.models.bundle_meta import META_FILE, WEIGHTS_FILE, BundleMeta
from weakspot.models.feature_cache import FeatureCache
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.decision import Decision, read_validation
from weakspot.postprocess.prediction_files import read_predictions, write_predictions
from weakspot.postprocess.review import ReviewQueue
from weakspot.report.page import environment
from weakspot.runs.folder import RunFolder
from weakspot.training.lightning_fit import History, _read_checkpoint
from weakspot.types import Box, ClassConfidence, Prediction, Sample
from weakspot.utils.spreadsheet import exact, inert, inert_path
from weakspot.utils.untrusted import read_json, read_npy

HOSTILE = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=x", "''@", "'plain", "plain")
DEEP = "[" * 100_000


def refused(error: pytest.ExceptionInfo[WeakspotError], name: str) -> None:
    assert "\n" not in str(error.value)
    assert name in str(error.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


# --- bundles ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tiny: None, tmp_path: Path) -> Path:
    meta = BundleMeta(
        classes=["good", "anomaly"], preprocess=Preprocess((64, 96), "torchvision"), backbone="tiny", outputs=2,
        boxes=BoxRule(), thresholds={"decision": {"value": None, "origin": "x"}},
        weights={"origin": "none", "sha256": "random"}, split_hash="s", data_hash="d",
    )  # fmt: skip
    save_bundle(tmp_path / "bundle", Model(CamNet("tiny").eval()), meta)
    load_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


HUGE = {"taps": ["a"], "channels": [[10**6, 10**6]], "where_width": 32, "extent_width": 40}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": "good"}, "classes is 'good'"),
        ({"classes": ["good", 5]}, "classes are not"),
        ({"classes": ["good", "good"]}, "classes are not"),
        ({"classes": ["good"]}, "classes are not"),
        ({"classes": [str(i) for i in range(2000)]}, "classes are not"),
        ({"classes": ["good", "x" * 10_000]}, "classes are not"),
        ({"outputs": True}, "outputs is True"),
        ({"boxes": {"threshold": 10**400}}, "too large"),
        ({"backbone": ["tiny"]}, "backbone is"),
        ({"boxes": [1]}, "boxes is"),
        ({"weights": {"origin": ["<b>"]}}, "origin is"),
        ({"thresholds": {"decision": 1}}, "decision is 1"),
        ({"decision": {"temperature": "1"}}, "temperature is '1'"),
        ({"decision": {"bias": True}}, "bias is True"),
        ({"evidence": HUGE}, "channels are not"),
        ({"evidence": {**HUGE, "channels": [[1, 1]], "where_width": 10**6}}, "widths are not"),
        ({"evidence": {**HUGE, "channels": [[1]]}}, "channels are not"),
        ({"evidence": {**HUGE, "channels": [[1, 1]] * 9, "taps": ["a"] * 9}}, "9 taps"),
        ({"preprocess": {"image_size": [10**6, 10**6], "mode": "caffe"}}, "image_size"),
    ],
)
def test_a_description_of_nonsense_is_refused_before_anything_is_made(
    bundle: Path, changes: dict[str, Any], message: str
) -> None:
    path = bundle / META_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(WeakspotError, match=message) as error:
        load_bundle(bundle)
    refused(error, META_FILE)


def tensors(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 100 * 2**30) + b"{}",
        tensors({"head.bias": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        tensors({"head.bias": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 0]}}),
        tensors({"head.bias": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, b"x" * 8),
        tensors({"head.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"x" * 8),
        tensors(DEEP.encode()),
        b"",
    ],
)
def test_headers_of_tensors_are_not_believed(bundle: Path, content: bytes) -> None:
    (bundle / WEIGHTS_FILE).write_bytes(content)
    meta = json.loads((bundle / META_FILE).read_text())
    (bundle / META_FILE).write_text(json.dumps(meta | {"sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(WeakspotError) as error:
        load_bundle(bundle)
    refused(error, WEIGHTS_FILE)


def test_tensors_that_are_no_numbers_are_refused(bundle: Path) -> None:
    model, meta = load_bundle(bundle)
    torch.nn.init.constant_(model.network.head.bias, float("nan"))
    save_bundle(bundle, model, meta)
    with pytest.raises(WeakspotError, match=r"head\.bias holds NaN"):
        load_bundle(bundle)


def test_a_checkpoint_is_never_unpickled(here: Path) -> None:
    for content in ({"callbacks": Bomb()}, {"callbacks": {}}, [1]):
        torch.save(content, "last.ckpt")
        with pytest.raises(WeakspotError, match=r"last\.ckpt is damaged; delete it"):
            _read_checkpoint(Path("last.ckpt"), History())
    Path("last.ckpt").write_bytes(b"x")
    with pytest.raises(WeakspotError, match="is damaged"):
        _read_checkpoint(Path("last.ckpt"), History())
    assert not Path("exploded").exists()


# --- JSON and YAML ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [DEEP, "{", "", "\udcff"])
def test_damaged_json_is_one_line_wherever_it_is_read(here: Path, content: str) -> None:
    run = RunFolder(here)
    raw = content.encode(errors="surrogateescape")
    for path in (run.identity, run.metrics, run.validation, run.predictions, here / META_FILE, here / "folds.json"):
        path.write_bytes(raw)
    (here / WEIGHTS_FILE).write_bytes(b"")
    (here / "rows.jsonl").write_bytes(raw or b"{")
    from weakspot.evaluation.pooled import runs_of

    assert run.read_identity() == {}
    readers = [
        run.read_metrics, lambda: read_validation(run.validation, 2), lambda: load_bundle(here),
        lambda: runs_of(here), lambda: read_annotations(run.metrics), lambda: read_rows(here / "rows.jsonl", here),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(WeakspotError) as error:
            read()
        assert "\n" not in str(error.value)
    if content:
        with pytest.raises(WeakspotError, match=r"predictions\.jsonl"):
            read_predictions(run.predictions)


def test_a_file_that_is_too_large_or_never_ends_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ValueError, match="more than the 64 MB"):
        read_json(path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="not a regular file"):
        read_json(tmp_path / "pipe.json")


@pytest.mark.parametrize(
    "text",
    [
        "name: ${oc.env:HOME}\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        DEEP,
        "a: [",
        "a: !!python/object/apply:pathlib.Path.touch [exploded]\n",
    ],
)
def test_a_configuration_holds_values_only(here: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(WeakspotError, match=r"config\.yaml cannot be read") as error:
        read_config(Path("config.yaml"))
    refused(error, "config.yaml")
    assert [path.name for path in Path().iterdir()] == ["config.yaml"]


RECORD: dict[str, Any] = {
    "path": "a.png", "status": "ok", "message": "", "height": 4, "width": 5, "target": None, "label": "anomaly",
    "classes": [{"name": "anomaly", "confidence": 1.0}], "probability": 1.0,
    "boxes": [{"x0": 0, "y0": 0, "x1": 2, "y1": 2, "score": 1.0, "label": "anomaly"}],
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"path": 5},
        {"label": ["x"]},
        {"height": "4"},
        {"width": True},
        {"classes": [{"name": {}, "confidence": 1.0}]},
        {"boxes": [{**RECORD["boxes"][0], "x0": "=1"}]},
        {"boxes": [{**RECORD["boxes"][0], "label": 7}]},
        {"boxes": "abc"},
    ],
)
def test_predictions_have_the_types_they_promise(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps(RECORD) + "\n")
    assert read_predictions(path)[0].boxes[0].xyxy == (0, 0, 2, 2)
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD | changes) + "\n")
    with pytest.raises(WeakspotError, match="line 2 is not a prediction"):
        read_predictions(path)


# --- arrays -------------------------------------------------------------------------------------------------------


def npy(array: Any = None, *, header: str | None = None, body: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    if header is None:
        np.save(buffer, array, allow_pickle=True)
        return buffer.getvalue()
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


HUGE_ARRAY = npy(header="{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000, 4), }")


def make_store(tmp_path: Path) -> dict[str, bytes]:
    paths = [Path("a.png"), Path("b.png")]
    sizes, maps = np.full((2, 2), 8), np.zeros((2, 2, 3, 4), np.float32)
    OutputStore(paths, sizes, np.zeros((2, 2), np.float32), maps, np.zeros(2, np.float32)).save(tmp_path / "maps.npz")
    OutputStore.load(tmp_path / "maps.npz")
    with zipfile.ZipFile(tmp_path / "maps.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({"logits.npy": npy(np.array([[Bomb(), 1], [1, 1]], dtype=object))}, zipfile.ZIP_STORED),
        ({"paths.npy": npy(np.array([Bomb(), "b"], dtype=object))}, zipfile.ZIP_STORED),
        ({"maps.npy": HUGE_ARRAY}, zipfile.ZIP_STORED),
        ({"maps.npy": npy(np.zeros((2, 2), np.float32))}, zipfile.ZIP_STORED),
        ({"logits.npy": npy(np.array([["a", "b"], ["c", "d"]]))}, zipfile.ZIP_STORED),
        ({"more.npy": npy(np.zeros(10_000_000, np.uint8))}, zipfile.ZIP_DEFLATED),
        ({"bias.npy": b"not an array"}, zipfile.ZIP_STORED),
    ],
    ids=["objects", "objects in paths", "header", "dimensions", "text", "zip bomb", "no array"],
)
def test_maps_with_objects_bombs_or_false_headers_are_refused(
    here: Path, changes: dict[str, bytes], method: int
) -> None:
    members = make_store(here) | changes
    with zipfile.ZipFile("maps.npz", "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(WeakspotError, match=r"maps\.npz is damaged"):
        OutputStore.load(Path("maps.npz"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("offset", "value"), [(6, 255), (8, 0x01), (8, 0x20), (8, 0x40), (10, 8), (10, 99)],
    ids=["later version", "encrypted", "patched", "strongly encrypted", "compressed", "compressed in no known way"],
)  # fmt: skip
def test_maps_in_an_archive_that_says_something_odd_of_itself_are_refused(here: Path, offset: int, value: int) -> None:
    make_store(here)
    content = bytearray(Path("maps.npz").read_bytes())
    for start, where in ((content.find(b"PK\x01\x02"), offset), (0, offset - 2)):  # the directory, the member itself
        content[start + where : start + where + 2] = struct.pack("<H", value)
    Path("maps.npz").write_bytes(content)
    with pytest.raises(WeakspotError, match=r"maps\.npz is damaged"):
        OutputStore.load(Path("maps.npz"))


def test_cached_arrays_that_are_not_ours_count_as_missing(here: Path) -> None:
    import zlib

    cache, key = FeatureCache(here), "ab" * 32
    for content in (npy(np.array([Bomb()], dtype=object)), HUGE_ARRAY, npy(np.array(["text"])), b"short"):
        cache.path(key).parent.mkdir(exist_ok=True)
        cache.path(key).write_bytes(content + zlib.crc32(content).to_bytes(4, "little"))
        assert cache.load(key) is None
        assert not cache.path(key).exists()
    for content in (npy(np.array([Bomb()], dtype=object)), HUGE_ARRAY, b"short"):
        Path("kept.npy").write_bytes(content)
        with pytest.raises(ValueError, match=r"array|magic"):
            read_npy(Path("kept.npy"))
    assert not Path("exploded").exists()


# --- annotations --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_run_lengths_are_those_of_pycocotools(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    text = encoded["counts"].decode()
    np.testing.assert_array_equal(decode_mask(text, (height, width)), mask)
    np.testing.assert_array_equal(decode_mask(run_lengths(text), (height, width)), mask)


def coco(segmentation: Any = None, **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 20} | image],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "segmentation": segmentation}],
        "categories": [{"id": 1, "name": "anomaly"}],
    }


@pytest.mark.parametrize(
    "content",
    [
        coco(height=10**9, width=10**9),
        coco(height=-1),
        coco({"size": [10, 20], "counts": [0, 10**13]}),
        coco({"size": [10, 20], "counts": [0, -5, 205]}),
        coco({"size": [10, 20], "counts": [0, 2**70]}),
        coco({"size": [10**6, 20], "counts": [0, 20 * 10**6]}),
        coco({"size": [10, 20], "counts": "oooooooo"}),
        coco({"size": [10, 20], "counts": "\x00é"}),
        coco([[0, 0, 1e9, 1e9, 0, 1e9]]),
        coco([[0, 0, float("nan"), 1, 2, 3]]),
        coco([0, 0, 1, 1, 2, 2]),
        coco([[0, 0, 1, 1, 2, 2, 3]]),
    ],
)
def test_annotations_cannot_ask_for_memory_or_write_beyond_their_picture(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco([[0, 0, 5, 0, 5, 5]])))
    assert read_annotations(path)[0].boxes == [(1, 0, 5, 4)]
    path.write_text(json.dumps(content))
    with pytest.raises(WeakspotError, match="is damaged") as error:
        read_annotations(path)
    refused(error, "truth.json")


def test_an_infinite_box_and_a_brush_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    content = coco()
    content["annotations"][0]["bbox"] = [0, 0, float("inf"), 1]
    path.write_text(json.dumps(content))
    with pytest.raises(WeakspotError, match="is damaged"):
        read_annotations(path)
    value = {"format": "rle", "rle": [255] * 12, "brushlabels": ["anomaly"]}
    item = {"type": "brushlabels", "original_height": 4, "original_width": 5, "value": value}
    path.write_text(json.dumps([{"data": {"image": "a.png"}, "annotations": [{"result": [item]}]}]))
    with pytest.raises(WeakspotError, match="a brush of 4294967295 bytes"):
        read_annotations(path)


def test_only_pictures_are_copied_into_an_export(tmp_path: Path) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("secret")
    with pytest.raises(WeakspotError, match="is not an image, so it is not copied"):
        place_picture(secret, tmp_path / "out" / "a.png", "copy")
    assert not (tmp_path / "out").exists()


# --- names in tables ----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=8) | st.text("'=+-@\t\r\n", max_size=5))
def test_no_text_is_a_formula_and_any_comes_back(text: str) -> None:
    assert not inert(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert exact(inert(text)) == text


def prediction_of(name: str) -> Prediction:
    return Prediction(
        path=Path(name), height=4, width=5, target=name, label=name, classes=(ClassConfidence(name, 0.5),),
        probability=0.5, boxes=(Box(0, 0, 2, 2, -1.5, name),), message=name,
    )  # fmt: skip


def no_formula(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for value in row.values():
            number = value.removeprefix("-").replace(".", "").replace("e-", "").isdigit()
            assert number or not value.startswith(("=", "+", "-", "@", "\t", "\r")), value
    return rows


def test_tables_for_people_hold_no_formulas_and_json_holds_names_as_they_are(tmp_path: Path) -> None:
    predictions = [prediction_of(name.replace("/", "_")) for name in HOSTILE]
    write_predictions(tmp_path, predictions)
    rows = no_formula(tmp_path / "predictions.csv")
    assert [Path(row["path"]) for row in rows] == [prediction.path for prediction in predictions]
    assert [exact(row["label"]) for row in rows] == [prediction.label for prediction in predictions]
    assert rows[0]["score"] == "-1.5"
    assert read_predictions(tmp_path / "predictions.jsonl") == predictions
    queue = ReviewQueue(Decision())
    for prediction in predictions:
        queue.add(prediction)
    queue.write(tmp_path / "review.csv")
    assert len(no_formula(tmp_path / "review.csv")) == len(predictions)


def test_a_split_holds_no_formulas_and_comes_back_exactly(tmp_path: Path) -> None:
    names = [name.replace("/", "_") for name in HOSTILE]
    samples = [Sample(tmp_path / name, name, tmp_path / name, group=name) for name in names]
    path, subsets = tmp_path / "split.csv", ["train" for _ in samples]
    write_split(path, samples, subsets, tmp_path)  # type: ignore[arg-type]
    assert [row["path"] for row in no_formula(path)] == [inert_path(name) for name in names]
    assert read_split(path, tmp_path) == (samples, subsets)
    assert [sample.subset for sample in with_subsets(samples, path, tmp_path)] == subsets


def test_boxes_as_csv_hold_no_formulas(tmp_path: Path) -> None:
    from weakspot.export.boxes import write_boxes
    from weakspot.export.source import Exported

    names = [name.replace("/", "_") for name in HOSTILE]
    exported = Exported([prediction_of(name) for name in names], names, names, "m")
    write_boxes(exported, "csv", tmp_path / "out", "none")
    assert [Path(row["file"]) for row in no_formula(tmp_path / "out" / "boxes.csv")] == [Path(name) for name in names]


# --- names in pages -----------------------------------------------------------------------------------------------


def test_no_page_can_make_elements_of_names() -> None:
    package = Path(weakspot.__file__).parent
    pages = [path for path in (package / "report" / "templates").rglob("*.*") if path.is_file()]
    pages.append(package / "serve" / "page.html")
    assert {page.suffix for page in pages} == {".html", ".js", ".css"}
    way_in = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\|\s*safe|autoescape")
    for page in pages:
        assert not way_in.search(page.read_text(encoding="utf-8")), page.name
    for template in ("{{ name }}", '<i title="{{ name }}">'):
        shown = environment().from_string(template).render(name="<script>\"'&")
        assert "<script>" not in shown
        assert '"<' not in shown
