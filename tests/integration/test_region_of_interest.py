"""A region of interest from training to predictions: nothing outside it counts, whichever runtime answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.browsing import needs_chromium
from helpers.exports import make_run, quiet
from helpers.runs import ALL_ANOMALY, FEW_STEPS, evaluate_config, train
from PIL import Image
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from weakspot.commands import evaluate as evaluation
from weakspot.data import synthetic
from weakspot.data.images import list_images, read_image
from weakspot.data.roi import PairedRegions, PlainBackground, RegionOfInterest, SharedRegion
from weakspot.data.roi_files import read_shared_mask, write_polygons
from weakspot.data.summary import look_through
from weakspot.errors import WeakspotError
from weakspot.export.model import Order, export_model
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle_meta import read_meta, rewrite_meta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import to_record
from weakspot.serve.app import Limits, make_app
from weakspot.serve.roi_app import Drawing, make_roi_app
from weakspot.types import BoolArray, ImageArray, Prediction
from weakspot.utils.files import jsonable

SIZE = (96, 128)


def right_half() -> BoolArray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:-6, 50:-10] = True
    return mask


def masks_for(folder: Path, pictures: list[Path], below: Path) -> Path:
    for path in pictures:
        file = folder / path.relative_to(below).with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(right_half().astype(np.uint8) * 255).save(file)
    return folder


def with_roi(run: Path, roi: RegionOfInterest) -> Path:
    meta = read_meta(run / "bundle")
    rewrite_meta(run / "bundle", replace(meta, preprocess=replace(meta.preprocess, roi=roi)))
    return run


def records(predictions: list[Prediction]) -> list[dict[str, Any]]:
    return [jsonable({**to_record(one), "path": one.path.name}) for one in predictions]


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same classes and boxes; confidences to the rounding of another runtime."""
    for one, other in zip(found, expected, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
        corners = [[box[key] for key in ("x0", "y0", "x1", "y1")] for box in one["boxes"]]
        assert corners == [[box[key] for key in ("x0", "y0", "x1", "y1")] for box in other["boxes"]]


def painted(image: ImageArray, region: BoolArray, seed: int) -> ImageArray:
    """The picture with noise outside the region."""
    noise = np.random.default_rng(seed).integers(0, 256, image.shape).astype(np.uint8)
    return np.where(region[..., None], image, noise)


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("kind", ["shared", "paired", "auto"])
def test_every_runtime_answers_alike(fabric: Path, tiny: None, tmp_path: Path, kind: str, refined: bool) -> None:
    pictures = list_images(fabric / "fabric" / "test")[:6]
    make: dict[str, Callable[[], RegionOfInterest]] = {
        "shared": lambda: SharedRegion.of(right_half()),
        "paired": lambda: PairedRegions.at(masks_for(tmp_path / "masks", list_images(fabric / "fabric"), fabric)),
        "auto": PlainBackground,
    }
    run = with_roi(make_run(tmp_path / "run", fabric, refined=refined), make[kind]())
    export_model(Order(run, count=2), quiet)
    localizer, exported = (Localizer.load(path) for path in (run, run / "exports" / "model.onnx"))
    expected = records(list(localizer.predict(pictures)))
    assert all(record["status"] == "ok" for record in expected)
    assert any(record["boxes"] for record in expected)
    assert_close(records(list(exported.predict(pictures))), expected)
    with TestClient(make_app(localizer, "model", Limits()), base_url="http://localhost") as client:
        # A service knows a picture by the name that it is sent with.
        files = [("images", (str(path.relative_to(fabric)), path.read_bytes())) for path in pictures]
        answers = client.post("/predict", files=files).json()["predictions"]
    assert_close([{**answer, "path": ""} for answer in answers], expected)
    if kind == "auto":
        return
    region = right_half()
    for record in expected:
        for box in record["boxes"]:
            assert region[box["y0"] : box["y1"], box["x0"] : box["x1"]].any()
            assert box["x0"] >= 49  # the mask's own edge, less a pixel of rounding
            assert box["y0"] >= 9
            assert box["x1"] <= SIZE[1] - 9
            assert box["y1"] <= SIZE[0] - 5


def test_what_lies_outside_has_no_effect(fabric: Path, tiny: None, tmp_path: Path) -> None:
    run = with_roi(make_run(tmp_path / "run", fabric, refined=True), SharedRegion.of(right_half()))
    localizer = Localizer.load(run)
    image = read_image(list_images(fabric / "fabric" / "test")[0])
    found = [records([one])[0] for one in localizer.predict([painted(image, right_half(), seed) for seed in range(3)])]
    assert [{**record, "path": ""} for record in found] == 3 * [{**found[0], "path": ""}]


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(*ALL_ANOMALY,), ("experiment=recommended", *FEW_STEPS, "flip_tta=true")])
def test_training_sees_nothing_outside(fabric: Path, tiny: None, tmp_path: Path, extra: tuple[str, ...]) -> None:
    """Two data sets that differ outside the region alone give the same model, maps and boxes."""
    region = right_half()
    write_polygons(tmp_path / "roi.json", [[(50, 10), (118, 10), (118, 90), (50, 90)]], SIZE)
    inside = read_shared_mask(tmp_path / "roi.json")
    assert abs(int(inside.sum()) - int(region.sum())) < 200
    for root in ("one", "other"):
        for path in list_images(fabric / "fabric"):
            target = tmp_path / root / "data" / path.relative_to(fabric)
            target.parent.mkdir(parents=True, exist_ok=True)
            if "ground_truth" in path.parts:
                target.write_bytes(path.read_bytes())
            else:
                seed = int(path.stem[:3]) + (root == "other") * 1000
                Image.fromarray(painted(read_image(path), inside, seed)).save(target)
    common = (f"data.roi={tmp_path / 'roi.json'}", "split.near_duplicates=ignore", "cache.enabled=false", *extra)
    runs = [train(tmp_path / root / "data", *common, f"output={tmp_path / root / 'run'}") for root in ("one", "other")]
    stores = [OutputStore.load(run.maps) for run in runs]
    assert stores[0].regions is not None
    if "experiment=recommended" not in extra:  # imitations are drawn by the contents of files
        assert np.array_equal(stores[0].logits, stores[1].logits)
        assert np.array_equal(stores[0].maps, stores[1].maps)
    for run in runs:
        lines = [json.loads(line) for line in run.predictions.read_text().splitlines()]
        for box in (box for line in lines for box in line["boxes"]):
            assert box["x0"] >= 49
            assert box["x1"] <= 119
        meta = read_meta(run.bundle)
        assert meta.preprocess.roi == SharedRegion.of(inside)


def test_evaluation_takes_masks_for_other_images(fabric: Path, tiny: None, tmp_path: Path) -> None:
    masks = masks_for(tmp_path / "masks", list_images(fabric / "fabric"), fabric)
    run = train(fabric, f"data.roi={masks}", "trainer.max_epochs=1", f"output={tmp_path / 'run'}")
    assert isinstance(read_meta(run.bundle).preprocess.roi, PairedRegions)
    other = tmp_path / "other" / "fabric"
    for path in list_images(fabric / "fabric" / "test")[:8]:
        target = other / path.relative_to(fabric / "fabric")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - read_image(path)).save(target)
    more = masks_for(tmp_path / "more", list_images(other), other.parent)
    overrides = (f"run={run.path}", f"+data.root={other.parent}", "+data.subset=fabric", "+data.layout=mvtec")
    done = evaluation.evaluate(evaluate_config(*overrides, f"+data.roi={more}", f"output={tmp_path / 'again'}"))
    assert OutputStore.load(run.maps).regions is not None
    assert done.metrics.is_file()
    plain = train(fabric, "trainer.max_epochs=1", f"output={tmp_path / 'plain'}")
    with pytest.raises(WeakspotError, match="not trained with a mask of the region of interest for each picture"):
        Localizer.load(plain.path).with_masks(more)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("missing.png", r"data.roi=.*missing.png does not exist; give a mask"),
        ("small.png", r"data.roi=.*small.png is 20×50 \(height×width\) and .* is 96×128; draw it"),
        ("empty.png", r"data.roi=.*empty.png marks no region of interest; paint"),
        ("auto", r"data.roi=auto needs a plain background, and \d+ of \d+ pictures have none"),
    ],
)
def test_bad_regions_are_one_line(fabric: Path, tiny: None, tmp_path: Path, made: str, message: str) -> None:
    Image.fromarray(np.full((20, 50), 255, np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "empty.png")
    roi = made if made == "auto" else tmp_path / made
    with pytest.raises(WeakspotError, match=message) as caught:
        train(fabric, f"data.roi={roi}")
    assert "\n" not in str(caught.value)


def test_a_missing_region_is_told_before_the_data_are_read(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"data.roi=.*missing.json does not exist"):
        train(tmp_path / "no data here", f"data.roi={tmp_path / 'missing.json'}")


def test_a_mark_that_is_left_out_raises_no_alarm(tmp_path: Path) -> None:
    folder = synthetic.generate(tmp_path / "data", "fabric", seed=1, good=30, defect=6, size=SIZE, bias="corner_mark")
    write_polygons(tmp_path / "roi.json", [[(20, 0), (128, 0), (128, 96), (0, 96), (0, 20), (20, 20)]], SIZE)
    with_mark = look_through(folder, "mvtec")
    assert [shortcut.cause for shortcut in with_mark.shortcuts] == ["place"]
    without = look_through(folder, "mvtec", roi=str(tmp_path / "roi.json"))
    assert without.shortcuts == []
    assert without.to_dict()["roi"] == [f"region of interest: 97% of each picture, from {tmp_path / 'roi.json'}"]


# --- the page ---------------------------------------------------------------------------------------------------------


def drawing_of(folder: Path) -> Drawing:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in ("a.png", "<b>.png"):
        Image.fromarray(rng.integers(0, 256, (60, 90, 3)).astype(np.uint8)).save(folder / name)
    return Drawing(sorted(folder.iterdir()), (60, 90), folder.parent / "roi.json")


def test_the_page_writes_what_train_reads(tmp_path: Path) -> None:
    drawing, shares = drawing_of(tmp_path / "photos"), list[float]()
    client = TestClient(make_roi_app(drawing, hosts=["localhost"], saved=shares.append), base_url="http://localhost")
    described = client.get("/drawing").json()
    assert described == {
        "height": 60, "width": 90, "names": ["mean of all", "<b>.png", "a.png"], "file": str(drawing.output),
    }  # fmt: skip
    for number in range(3):
        assert client.get(f"/picture/{number}").headers["content-type"] == "image/jpeg"
    assert client.get("/picture/3").status_code == 404
    answer = client.post("/region", json={"polygons": [[[0, 0], [45, 0], [45, 60], [0, 60]]]})
    assert answer.status_code == 200
    assert answer.json()["share"] == pytest.approx(0.5, abs=0.02) == shares[0]
    assert read_shared_mask(drawing.output).shape == (60, 90)
    for wrong in ([], [[[0, 0], [1, 1]]], [[[0, 0], [1, 1], [2, 2]]], [[[-1, 0], [1, 0], [1, 1]]], [[[0, "x"]]]):
        assert client.post("/region", json={"polygons": wrong}).status_code == 422
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_the_verb_serves_the_page(tmp_path: Path) -> None:
    drawing_of(tmp_path / "photos")
    command = [sys.executable, "-m", "weakspot", "roi", "photos", "--no-browser", "--output", "mine.json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = re.search(r"(http://127\.0\.0\.1:\d+) ", process.stdout.readline())  # copied up to the blank, it works
    assert address
    with httpx.Client(base_url=address[1], transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
        assert "Draw the region of interest" in client.get("/").text
        client.post("/region", json={"polygons": [[[0, 0], [45, 0], [45, 60]]]}).raise_for_status()
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "saved: mine.json (" in out
    assert out.rstrip().endswith("; weakspot train photos data.roi=mine.json")
    assert read_shared_mask(tmp_path / "mine.json").any()


def test_the_verb_refuses_what_holds_no_picture(tmp_path: Path) -> None:
    for arguments, message in (
        ([str(tmp_path)], "holds no image"),
        ([str(tmp_path), "--output", "roi.png"], "ends in .json"),
    ):
        command = [sys.executable, "-m", "weakspot", "roi", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr.replace("\n", " ")


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_region_is_drawn_with_the_mouse_and_with_keys(browser: Browser, tmp_path: Path, width: int) -> None:
    drawing_of(tmp_path / "photos")
    command = [sys.executable, "-m", "weakspot", "roi", "photos", "--no-browser"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert address
    page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    try:
        page.goto(address[0], wait_until="networkidle")
        assert page.locator("#pictures option").all_text_contents() == ["mean of all", "<b>.png", "a.png"]
        box = page.locator("#drawing").bounding_box()
        assert box is not None
        assert box["width"] <= width
        for x, y in ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)):
            page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.click("#save")
        page.wait_for_selector("#status.good")
        by_mouse = read_shared_mask(tmp_path / "roi.json")
        assert by_mouse.mean() == pytest.approx(0.36, abs=0.05)
        page.click("#clear")
        page.focus("#drawing")
        for key, times in (("ArrowLeft", 4), (" ", 1), ("ArrowRight", 8), (" ", 1), ("ArrowDown", 5), (" ", 1)):
            for _ in range(times):
                page.keyboard.press(f"Shift+{key}" if "Arrow" in key else key)
        page.keyboard.press("Enter")
        page.click("#save")
        page.wait_for_function("() => document.querySelector('#status').textContent.includes('Saved')")
        assert 0.05 < read_shared_mask(tmp_path / "roi.json").mean() < 0.3
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        page.context.close()
        process.terminate()
        process.communicate(timeout=30)
    assert problems == []
