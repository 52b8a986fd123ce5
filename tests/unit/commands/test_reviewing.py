"""From a run to the queue of its review, and back to a training."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from helpers.exports import make_run
from PIL import Image

from weakspot.cli import main as cli
from weakspot.commands import retrain as retraining
from weakspot.commands.review import ReviewRequest, prepare_review
from weakspot.config.schema import TrainConfig, read_config
from weakspot.data.images import list_images
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.runs.folder import RunFolder


@pytest.fixture(scope="module")
def made(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the queue of its review predicted."""
    from helpers.backbones import tiny_backbone

    from weakspot.models import backbones

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        run = make_run(tmp_path_factory.mktemp("reviewed") / "run", fabric, refined=False)
        prepare_review(ReviewRequest(run))
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run", copy_function=shutil.copy2)
    return tmp_path / "run"


def test_the_queue_has_training_and_validation_pictures_alone(run: Path, fabric: Path) -> None:
    session = prepare_review(ReviewRequest(run))
    samples, subsets = read_split(run / "split.csv", fabric)
    wanted = {sample.path for sample, subset in zip(samples, subsets, strict=True) if subset != "test"}
    assert {picture.path for picture in session.store.pictures} == wanted
    assert {picture.subset for picture in session.store.pictures} == {"train"}
    assert session.trainings is not None
    contradicted = [p.given != p.predicted for p in session.store.pictures]
    assert contradicted == sorted(contradicted, reverse=True)
    assert all(p.why.startswith("labelled") == (p.given != p.predicted) for p in session.store.pictures)
    assert session.maps.values.shape == (len(wanted), 96, 96)


def test_the_model_runs_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare_review(ReviewRequest(run))
    monkeypatch.setattr(Localizer, "load", lambda *_: pytest.fail("the model was loaded again"))
    again = prepare_review(ReviewRequest(run))
    assert again.store.pictures == first.store.pictures
    assert np.array_equal(again.maps.values, first.maps.values)


def test_what_was_predicted_by_another_model_is_predicted_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = run / "bundle" / "model.json"
    meta.write_text(meta.read_text() + " ")
    loaded = list[Path]()

    def load(path: Path, device: str) -> None:
        loaded.append(path)
        raise WeakspotError("enough")

    monkeypatch.setattr(Localizer, "load", load)
    with pytest.raises(WeakspotError, match="enough"):
        prepare_review(ReviewRequest(run))
    assert loaded == [run]


@pytest.mark.usefixtures("tiny")
def test_other_pictures_and_test_pictures_are_never_learnt_from(run: Path, fabric: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for path in list_images(fabric / "fabric" / "test")[:3]:
        shutil.copy(path, tmp_path / "new" / path.name)
    (tmp_path / "new" / "broken.png").write_bytes(b"no picture")
    new = prepare_review(ReviewRequest(run, pictures=tmp_path / "new"))
    assert len(new.store.pictures) == 3
    assert all(picture.given is None and Path(picture.name).is_absolute() for picture in new.store.pictures)
    assert new.remarks == ["1 picture could not be read; left out"]
    assert new.trainings is None
    assert "none of the run's data set" in new.no_training
    test = prepare_review(ReviewRequest(run, test=True))
    assert {picture.subset for picture in test.store.pictures} == {"test"}
    assert "never to learn from" in test.no_training
    assert len({new.store.file, test.store.file, ReviewRequest(run).file}) == 3
    test.store.save(0, replace(test.store.review(0), state="reviewed"), based_on=0)
    shutil.copy(test.store.file, ReviewRequest(run).file)
    with pytest.raises(WeakspotError, match="is a test picture of this run, which is never learnt from"):
        prepare_review(ReviewRequest(run))


def test_a_bad_file_is_told_before_the_model_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run / "review")
    monkeypatch.setattr(Localizer, "load", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "other.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(WeakspotError, match="was not made by 'weakspot review'"):
        prepare_review(ReviewRequest(run, output=tmp_path / "other.json"))


def test_a_picture_of_another_size_is_told(run: Path, tmp_path: Path) -> None:
    session = prepare_review(ReviewRequest(run))
    session.store.save(0, replace(session.store.review(0), state="reviewed"), based_on=0)
    content = json.loads(session.store.file.read_text())
    content["images"][0]["width"] += 1
    session.store.file.write_text(json.dumps(content))
    with pytest.raises(WeakspotError, match="when it was reviewed, and is 96×128 now"):
        prepare_review(ReviewRequest(run))


def test_what_is_no_run_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match="give the folder of a run"):
        prepare_review(ReviewRequest(run / "bundle"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeakspotError, match="holds no image"):
        prepare_review(ReviewRequest(run, pictures=tmp_path / "empty"))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", ["maps.npz", "made.json", "predictions.jsonl"])
def test_what_is_damaged_is_predicted_again(run: Path, name: str) -> None:
    before, file = prepare_review(ReviewRequest(run)), run / "review" / "shown" / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    again = prepare_review(ReviewRequest(run))
    assert again.store.pictures == before.store.pictures
    assert file.read_bytes() == whole


# --- the verb ---------------------------------------------------------------------------------------------------------


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "weakspot", "review", str(run), "--no-browser", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_verb_serves_the_page_and_another_one_is_refused(run: Path) -> None:
    process = start(run)
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"(http://127\.0\.0\.1:\d+) ", line)  # copied up to the blank, it works
    assert address, line or process.communicate()
    with httpx.Client(base_url=address[1], transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
        assert "weakspot review" in client.get("/").text
        client.headers["x-weakspot-token"] = client.get("/api/session").json()["token"]
        body = {"version": 0, "state": "reviewed", "label": "good", "boxes": []}
        client.put("/api/pictures/0", json=body).raise_for_status()
        _, refused = start(run).communicate(timeout=120)
    assert "another process writes to" in refused.replace("\n", " ")
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "annotations.json" in out
    assert json.loads((run / "review" / "annotations.json").read_text())["images"][0]["weakspot_label"] == "Good"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test", "--pictures", "."], "name different pictures"),
        (["--output", "a.csv"], "ends in .json"),
        (["--output", "missing.json", "--retrain", "new"], "missing.json does not exist"),
    ],
)
def test_the_verb_says_in_one_line_what_is_wrong(
    run: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["weakspot", "review", str(run), *options])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line


# --- training again ---------------------------------------------------------------------------------------------------


def test_a_run_is_trained_again_with_its_own_settings(run: Path, tmp_path: Path) -> None:
    config = read_config(RunFolder(run).config)
    known = replace(config, data=replace(config.data, annotations=[str(tmp_path / "earlier.json")]))
    file = tmp_path / "a.json"
    found = retraining.learning_from(known, file, tmp_path / "out")
    earlier = str(tmp_path / "earlier.json")
    assert found.data.annotations == [earlier, str(file)]
    same = replace(found, data=replace(found.data, annotations=[earlier]), output=config.output)  # type: ignore[call-arg]
    assert same == known
    (tmp_path / "earlier.json").write_text(
        '{"info": {"weakspot_review": 1}}'
    )  # of an earlier round, which goes on in it
    found = retraining.learning_from(known, file, tmp_path / "out")
    assert found.data.annotations == [str(file)]


def test_the_end_of_a_training_says_what_became_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[TrainConfig]()

    def train(config: TrainConfig, before: RunFolder) -> RunFolder:
        assert before.path == tmp_path / "old"
        asked.append(config)
        return RunFolder(tmp_path / "new")

    @dataclass
    class Better:
        first: float = 0.5
        second: float = 0.7

    found = SimpleNamespace(images=12, only_first=0, only_second=1, differences={"max_box_acc_v2": Better()})
    monkeypatch.setattr(retraining, "read_config", lambda path: TrainConfig())
    monkeypatch.setattr(
        retraining, "learning_from", lambda config, annotations, output: replace(config, name=output.name)
    )
    monkeypatch.setattr(retraining, "train", train)
    monkeypatch.setattr(retraining, "compare", lambda first, second: found)
    monkeypatch.setattr(retraining, "write_comparison", lambda page, first, second, found: page)
    (tmp_path / "job").mkdir()
    retraining.retrain(tmp_path / "old", tmp_path / "a.json", tmp_path / "job")
    assert [config.name for config in asked] == ["run"]
    done = json.loads((tmp_path / "job" / "done.json").read_text())
    assert (done["images"], done["same_test"], done["after"]) == (12, False, str(tmp_path / "new"))
    assert done["differences"] == {"max_box_acc_v2": {"first": 0.5, "second": 0.7}}


def test_pictures_with_orientation_are_as_a_person_sees_them(run: Path, tmp_path: Path, tiny: None) -> None:
    (tmp_path / "new").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(np.full((40, 60, 3), 99, np.uint8)).save(tmp_path / "new" / "turned.jpg", exif=exif)
    (picture,) = prepare_review(ReviewRequest(run, pictures=tmp_path / "new")).store.pictures
    assert picture.size == (60, 40)
