"""What an engine rests on, without one: places, parts, and jobs that are begun again."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weakspot.cli import predict as cli_predict
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.inference.shards import files as parts
from weakspot.inference.shards import jobs, ray_engine
from weakspot.inference.shards.places import Pictures, Store, is_url
from weakspot.postprocess.familiarity import MEASURES
from weakspot.postprocess.prediction_files import read_predictions, to_record
from weakspot.types import MODEL_PARTS, Box, ClassConfidence, Prediction
from weakspot.utils.files import jsonable


def png(value: int, size: tuple[int, int] = (8, 9)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def memory():
    """fsspec's file system in memory, empty."""
    fsspec = pytest.importorskip("fsspec", reason="the ray extra is not installed")
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


# --- places -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "remote"),
    [("a/b", False), ("file:///a", False), ("s3://b/c", True), ("zip://*.png::file:///a.zip", True), ("C:/x", False)],
)
def test_which_places_are_urls(place: str, remote: bool) -> None:
    assert is_url(place) is remote


def test_a_folder_elsewhere_lists_what_the_same_folder_here_lists(memory, tmp_path: Path) -> None:
    files = (
        "test/good/b.png", "test/good/a.JPG", "test/good/.hidden.png", "test/good/notes.txt", "ground_truth/x/a.png",
        "test/.thumbs/a.png", "test/__MACOSX/a.png", "test/good-2/a.png", "loose.tif",
    )  # fmt: skip
    for name in files:
        memory.pipe_file(f"/set/{name}", png(0))
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    here = [Path(name).relative_to(tmp_path).as_posix() for name in Pictures(str(tmp_path)).names()]
    there = Pictures("memory://set")
    assert [name.removeprefix("/set/") for name in there.names()] == here
    assert len(here) == 4
    assert there.shown_as(there.names()[0]) == f"memory:///set/{here[0]}"
    assert Pictures(f"file://{tmp_path}").names() == Pictures(str(tmp_path)).names()


def test_a_pattern_in_an_archive(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="the ray extra is not installed")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("day/b.png", "day/a.png", "day/readme.txt", "night/c.png"):
            archive.writestr(name, png(7))
    pictures = Pictures(f"zip://day/*.png::{tmp_path / 'a.zip'}")
    assert pictures.names() == ["day/a.png", "day/b.png"]
    (first, _) = pictures.open(pictures.names())
    assert first.name == "zip://day/a.png"  # type: ignore[union-attr]
    assert first.fetch() == png(7)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nosuch://x", r"^nosuch://x cannot be opened \(ValueError: Protocol not known: nosuch"),
        ("memory://empty", r"^memory://empty holds no images"),
        ("memory://set/*.png", r"^memory://set/\*\.png holds no images"),
        ("zip://*.png::/no/such.zip", r"such\.zip cannot be opened \(FileNotFoundError"),
    ],
)
def test_a_place_without_pictures_is_one_line(memory, source: str, message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        Pictures(source).names()


def test_a_store_elsewhere_keeps_what_a_folder_keeps(memory, tmp_path: Path) -> None:
    for place in (str(tmp_path / "new"), "memory://new", f"file://{tmp_path}/other"):
        store = Store(place)
        assert not store.has("parts/a.jsonl")
        store.write("parts/a.jsonl", b"one")
        store.write("parts/a.jsonl", b"two")
        assert store.has("parts/a.jsonl")
        assert store.read("parts/a.jsonl") == b"two"
    assert [path.name for path in (tmp_path / "new" / "parts").iterdir()] == ["a.jsonl"]
    assert (tmp_path / "other" / "parts" / "a.jsonl").read_bytes() == b"two"


# --- parts --------------------------------------------------------------------------------------------------------

BOX = Box(1, 2, 5, 7, 1.5, "anomaly", ((((1, 2), (5, 2), (5, 7))),), trust=0.25, doubt="thin")
PREDICTIONS = (
    Prediction(
        Path("a/b.png"), height=8, width=9, label="anomaly", probability=0.75, boxes=(BOX, Box(0, 0, 1, 1)),
        classes=(ClassConfidence("anomaly", 0.75), ClassConfidence("good", 0.25)),
    ),
    Prediction(Path("odd-\udcff.png"), status="error", message="odd-\udcff.png: no image"),
    Prediction(Path("c.png"), height=8, width=9, label="good", probability=0, classes=(ClassConfidence("good", 0.9),)),
)  # fmt: skip


@pytest.fixture
def records() -> list[parts.Record]:
    return [jsonable(to_record(prediction)) for prediction in PREDICTIONS]


def test_json_lines_are_the_local_engines(records: list[parts.Record], tmp_path: Path) -> None:
    from weakspot.postprocess.prediction_files import write_predictions

    write_predictions(tmp_path, PREDICTIONS)
    assert parts.FORMATS["jsonl"].write(records) == (tmp_path / "predictions.jsonl").read_bytes()
    assert read_predictions(tmp_path / "predictions.jsonl")[0].boxes == PREDICTIONS[0].boxes


def test_parquet_holds_the_same_under_the_same_names(records: list[parts.Record]) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="the ray extra is not installed")
    found = pq.read_table(io.BytesIO(parts.FORMATS["parquet"].write(records))).to_pylist()
    assert [list(row) for row in found] == [list(record) for record in records]
    records[0]["boxes"][1].setdefault("outlines", None)
    for box in records[0]["boxes"]:
        box.setdefault("probability", None)
    for record in records:  # a column has the same names in every row
        record["measures"] = {name: record["measures"].get(name) for name in MEASURES}
        record["part_log_odds"] = {name: record["part_log_odds"].get(name) for name in MODEL_PARTS}
    assert found[0] == records[0]
    assert found[2] == records[2]
    assert found[1]["path"] == "odd-\\udcff.png"
    assert found[1]["probability"] is None
    nothing = parts.FORMATS["parquet"].write([records[1]])  # no box, no class: the types stay
    assert pq.read_schema(io.BytesIO(nothing)) == pq.read_schema(io.BytesIO(parts.FORMATS["parquet"].write(records)))


@pytest.mark.parametrize("name", list(parts.FORMATS))
def test_a_part_says_what_it_holds(records: list[parts.Record], name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="the ray extra is not installed")
    made = parts.FORMATS[name]
    assert made.tally(made.write(records)) == parts.Tally(3, {"anomaly": 1, "good": 1}, 1)
    assert made.tally(made.write([])) == parts.Tally(0, {}, 0)


def test_tallies_add_up() -> None:
    total = parts.Tally.total([parts.Tally(3, {"b": 2}, 1), parts.Tally(4, {"a": 1, "b": 3}, 0), parts.Tally(0, {}, 0)])
    assert total == parts.Tally(7, {"a": 1, "b": 5}, 1)


# --- jobs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path, tiny: None) -> Path:
    from weakspot.config.rules import BoxRule
    from weakspot.data.preprocess import Preprocess
    from weakspot.models.bundle import BundleMeta, save_bundle
    from weakspot.models.model import Model
    from weakspot.models.network import CamNet

    meta = BundleMeta(
        classes=["good", "anomaly"], preprocess=Preprocess((32, 32), "torchvision"), backbone="tiny", outputs=2,
        boxes=BoxRule(), thresholds={}, weights={"origin": "random", "sha256": ""}, split_hash="", data_hash="",
    )  # fmt: skip
    save_bundle(tmp_path / "bundle", Model(CamNet("tiny", 2, 2)), meta)
    return tmp_path / "bundle"


def job(bundle: Path, source: str, output: str, **more: object) -> jobs.Job:
    return jobs.Job(bundle, source, output, shard_size=2, **more)  # type: ignore[arg-type]


def do(job: jobs.Job) -> list[int]:
    """Every shard that is left; returns their numbers."""
    plan = jobs.plan_shards(job)
    worker = jobs.Worker(job, plan.files)
    receipts = [worker(shard) for shard in plan.shards]
    jobs.finish(plan, parts.Tally.total([plan.done, *(receipt.tally for receipt in receipts)]))
    return [receipt.number for receipt in receipts]


def test_a_job_elsewhere_has_the_rows_of_the_same_job_here(memory, bundle: Path, tmp_path: Path) -> None:
    for number in range(5):
        content = b"no picture" if number == 3 else png(40 * number)
        memory.pipe_file(f"/in/{number}.png", content)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.png").write_bytes(content)
    assert do(job(bundle, "memory://in", "memory://out")) == [0, 1, 2]
    there = b"".join(memory.cat_file(f"/out/parts/part-{n:06d}.jsonl") for n in range(3)).decode()
    assert do(job(bundle, str(tmp_path / "in"), str(tmp_path / "out"))) == [0, 1, 2]
    here = "".join(path.read_text() for path in sorted((tmp_path / "out" / "parts").iterdir()))
    assert there.replace("memory:///in", str(tmp_path / "in")) == here
    summary = json.loads(memory.cat_file("/out/summary.json"))
    assert (summary["images"], summary["unreadable"]) == (5, 1)
    expected = [jsonable(to_record(p)) for p in Localizer.load(bundle).predict(tmp_path / "in")]
    assert [json.loads(line) for line in here.splitlines()] == expected


def test_begun_again_it_does_what_is_missing_or_damaged(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(7):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    again = job(bundle, str(tmp_path / "in"), str(tmp_path / "out"))
    assert do(again) == [0, 1, 2, 3]
    whole = [path.read_bytes() for path in sorted((tmp_path / "out" / "parts").iterdir())]
    assert do(again) == []
    folder = tmp_path / "out" / "parts"
    (folder / "part-000000.jsonl").unlink()
    (folder / "part-000001.jsonl").write_bytes(whole[1].splitlines(keepends=True)[0])
    (folder / "part-000003.jsonl").write_bytes(whole[3][:-9])
    assert do(again) == [0, 1, 3]
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == whole


def test_results_of_two_jobs_are_never_mixed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    do(job(bundle, source, output))
    for changed, named in (
        (job(bundle, source, output, threshold=0.2), r"threshold: None there, 0\.2 now"),
        (job(bundle, source, output, batch_size=3), "batch_size"),
        (jobs.Job(bundle, source, output, shard_size=3), "shard_size: 2 there, 3 now"),
    ):
        with pytest.raises(WeakspotError, match=named):
            jobs.plan_shards(changed)
    (tmp_path / "in" / "9.png").write_bytes(png(9))
    with pytest.raises(WeakspotError, match=r"out holds results of another job \(images: 3 there, 4 now\)"):
        jobs.plan_shards(job(bundle, source, output))
    (tmp_path / "in" / "9.png").unlink()
    meta = json.loads((bundle / "model.json").read_text())
    meta["boxes"]["threshold"] = 0.33
    (bundle / "model.json").write_text(json.dumps(meta))
    with pytest.raises(WeakspotError, match=r"another job \(model: "):
        jobs.plan_shards(job(bundle, source, output))
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(WeakspotError, match=r"manifest\.json is damaged"):
        jobs.plan_shards(job(bundle, source, output))


def test_a_part_that_cannot_be_written_is_told_and_not_raised(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(1))
    plan = jobs.plan_shards(job(bundle, str(tmp_path / "in"), str(tmp_path / "out")))
    (tmp_path / "out" / "parts").write_text("in the way")
    receipt = jobs.Worker(plan.job, plan.files)(plan.shards[0])
    assert "parts" in receipt.failed or "exists" in receipt.failed
    with pytest.raises(WeakspotError, match="has 0 rows for 1 pictures"):
        jobs.finish(plan, receipt.tally)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rai"}, r"--engine rai is unknown \(did you mean 'ray'\?\)"),
        ({"engine": "ray"}, "--engine ray needs --output"),
        ({"engine": "ray", "output": "x", "overlays": True}, "--overlays needs --engine local"),
        ({"engine": "ray", "output": "x", "file_format": "parket"}, r"--format parket is unknown \(did you mean 'parq"),
        ({"file_format": "parquet"}, "--format is for --engine ray"),
        ({"actors": 3}, "--actors is for --engine ray"),
        ({"source": "s3://bucket/x"}, r"^s3://bucket/x: --engine local knows files of this machine only"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=message):
        cli_predict.predict(**{"run": tmp_path, "source": "photos", **options})  # type: ignore[arg-type]


def test_without_ray_there_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WeakspotError, match=r"^Ray is not installed; pip install 'weakspot\[ray\]'$"):
        cli_predict.predict(bundle, "photos", output=str(tmp_path / "out"), engine="ray")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("cluster", "device", "actors", "expected"),
    [
        ({"CPU": 8.0}, "auto", None, {"actors": 8, "num_cpus": 1.0}),
        ({"CPU": 2.0}, "auto", 4, {"actors": 4, "num_cpus": 0.5}),
        ({"CPU": 16.0, "GPU": 4.0}, "auto", None, {"actors": 4, "num_gpus": 1.0, "num_cpus": 4}),
        ({"CPU": 16.0, "GPU": 1.0}, "cuda", 2, {"actors": 2, "num_gpus": 0.5, "num_cpus": 8}),
        ({"CPU": 16.0, "GPU": 4.0}, "cpu", None, {"actors": 16, "num_cpus": 1.0}),
    ],
)
def test_what_an_actor_is_given(
    cluster: dict[str, float], device: str, actors: int | None, expected: dict[str, float]
) -> None:
    settings = jobs.Job(Path("run"), "photos", "out", device=device)
    assert ray_engine._resources(settings, cluster, actors) == expected
