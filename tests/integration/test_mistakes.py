"""Plausible mistakes of the first hour: each ends with a message after which a stranger types the right thing."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import ALL_ANOMALY, TINY, train_config
from PIL import Image

from weakspot.cli import main as cli
from weakspot.commands.train import train

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path, tiny: None) -> Typed:
    """Run a command line in this process; returns its exit status and all that it said, on one line."""
    lay_out()

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["weakspot", *words])
        code: object = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code if isinstance(code, int) else int(bool(code)), " ".join(f"{said.out} {said.err}".split())

    return run


def lay_out() -> None:
    """Folders of a newcomer, and what lies about in them."""
    rng = np.random.default_rng(0)
    folders = {
        "photos/OK": 8, "photos/NG": 8, "one/NG": 4, "three/good": 2, "three/defect": 1, "sides/left": 3,
        "sides/right": 3, "hues/left": 8, "hues/right": 8, "broken/OK": 4, "broken/NG": 4,
        "papers/OK": 8, "papers/NG": 8, "my photos, new/OK": 4, "my photos, new/NG": 4, "odd/good": 8,
        "odd/naïve ☃ = x": 8, "six/OK": 4, "six/NG": 2, "days/OK/2026-11-28": 4, "days/OK/2026-11-29": 4,
        "days/NG/2026-11-28/Line1": 4, "days/unklar/2026-11-29": 4,
    }  # fmt: skip
    for name, count in folders.items():
        Path(name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(f"{name}/{number}.png")
    broken = Path("broken/NG/2.png")
    broken.write_bytes(broken.read_bytes()[:120])
    for name in ("plan.pdf", "phone.HEIC"):
        Path("papers/NG", name).write_bytes(b"%PDF-1.4")
    Path("empty").mkdir()
    Path("notes.txt").write_text("a file")
    Path("split.csv").write_text("path,subset\n")
    for part in ("train/good", "test/hole", "ground_truth/hole"):
        Path("masks", part).mkdir(parents=True)
        size = (8, 8) if part.startswith("ground") else (32, 24)
        Image.new("L", size, 255).save(f"masks/{part}/0.png")


MISTAKES = {
    "misspelt verb": (["trian", "photos"], r"Did you mean 'train'"),
    "wrong folder": (["train", "phtos"], r"'phtos' .* nor a folder that is there \(did you mean 'photos'\?\)"),
    "wrong folder below another": (["train", "photos/NGG"], r"did you mean 'photos/NG'\?\)"),
    "folder that is not there": (["train", "data.root=phtos"], r"data\.root=phtos does not exist; give the folder"),
    "folder of one class": (["train", "photos/OK"], r"8 pictures of one class; .* give photos"),
    "two folders": (["train", "photos/OK", "photos/NG"], r"train takes one folder, .* give the one that holds them"),
    "empty folder": (["train", "empty"], r"empty holds no images .* give the folder of your pictures"),
    "one class": (["train", "one"], r"only 'NG' images; .* as in photos/good and photos/defect"),
    "one class, checked": (["check", "one"], r"only 'NG' images; .* as in photos/good and photos/defect"),
    "unknown Good class": (["train", "sides"], r"type: weakspot train sides data\.good_class=left"),
    "three pictures": (["train", "three"], r"2 good and 1 defect images are too few .* at least 2 of each"),
    "three pictures, checked": (["check", "three"], r"2 good and 1 defect images are too few .* at least 2 of each"),
    "six pictures": (["train", "six"], r"takes 2 training images of every class .* there is 1 beside the test images"),
    "six pictures, checked": (["check", "six"], r"takes 2 training images of every class .* there is 1 beside .*add"),
    "misspelt key": (["train", "photos", "data.image_sise=64"], r"did you mean 'data\.image_size'"),
    "misspelt option": (["check", "photos", "--god-class", "OK"], r"--good-class"),
    "misspelt experiment": (["train", "photos", "experiment=recomended"], r"did you mean 'recommended'"),
    "misspelt choice": (["train", "photos", "boxes=componets"], r"did you mean 'components'"),
    "options for keys": (
        ["train", "photos", "--experiment", "plain_cam"],
        r"type: weakspot train photos experiment=plain_cam",
    ),
    "keys for options": (["check", "photos", "data.good_class=OK"], r"type: weakspot check photos --good-class OK"),
    "value out of range": (["train", "photos", "boxes.threshold_kind=relative", "boxes.threshold=70"], r"\(0, 1\]"),
    "run missing": (["predict", "outputs/nothing", "photos"], r"outputs/nothing does not exist; give a run folder"),
    "run missing, measured": (["evaluate", "run=outputs/nothing"], r"outputs/nothing"),
    "no run": (["report", "photos"], r"give a finished run folder"),
    "broken file": (["train", "broken"], r"broken/NG/2\.png: damaged or cut short .* copy it again or remove it"),
    "unquoted comma": (["train", "data.root=my photos, new"], r"for one value: 'data\.root=\"my photos, new\"'"),
    "output is a file": (["train", "photos", *TINY, "output=notes.txt"], r"output=notes\.txt .* choose another folder"),
    "output below a file": (["train", "photos", *TINY, "output=notes.txt/run"], r"choose another folder"),
    "split is there": (["split", "photos", "--output", "split.csv"], r"split\.csv exists; choose another file"),
    "short option": (["train", "photos/", "-o", "outputs/x"], r"type: weakspot train photos/ output=outputs/x$"),
    "short option, measured": (["evaluate", "photos", "-o", "x"], r"type: weakspot evaluate photos output=x$"),
    "key without a layout": (["train", "data.root=photos", "seed=1"], r"type: weakspot train photos seed=1 "),
    "nothing to train on": (["train"], r"folder of your pictures: weakspot train photos/ .*weakspot demo"),
    "nothing to measure": (["evaluate"], r"name the folder of a run .*: weakspot evaluate outputs/photos"),
    "folder for a verb": (["photos"], r"photos is a folder and no verb; type: weakspot train photos$"),
    "archive": (["train", "photos.zip"], r"photos\.zip is an archive; unzip it first, .*: weakspot train photos$"),
    "archive, by its key": (["train", "data.root=p.tar.gz"], r"unzip it first, then type: weakspot train p$"),
    "archive, checked": (["check", "photos.zip"], r"unzip it first, then type: weakspot check photos$"),
    "archive, predicted": (["predict", "run", "new.zip"], r"unzip it first, then type: weakspot predict run new$"),
    "pattern without quotes": (
        ["predict", "outputs/x", "photos/OK/0.png", "photos/OK/1.png", "photos/OK/2.png", "--no-overlays"],
        r"quote the pattern, or give the folder: weakspot predict outputs/x 'photos/OK/\*\.png' --no-overlays$",
    ),
    "several folders": (["predict", "x", "photos/OK", "photos/NG"], r"give the folder: weakspot predict x photos$"),
    "spaces without quotes": (["predict", "x", "my", "photos,", "new"], r"type: weakspot predict x 'my photos, new'$"),
    "pictures without a run": (
        ["predict", "photos/OK/0.png", "photos/OK/1.png"],
        r"name the run first, then the pictures: weakspot predict outputs/photos 'photos/OK/\*\.png'$",
    ),
    "run without pictures": (["predict", "outputs/x"], r"the pictures, too: weakspot predict outputs/x new_photos/"),
    "neither run nor pictures": (["predict"], r"name a run and the pictures: weakspot predict outputs/photos new_"),
    "unknown device": (["predict", "x", "photos", "--device", "gpu"], r"device gpu .*; choose auto, cpu or cuda$"),
    "no picture": (["predict", "x", "split.csv"], r"split\.csv: not an image in a known format"),
    "mask of another size": (["check", "masks"], r"the mask is 8×8 .* but its image is 24×32; make the mask anew"),
}  # fmt: skip
"""What is typed, and what the message must hold."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_the_way_out(mistake: str, typed: Typed) -> None:
    words, message = MISTAKES[mistake]
    code, said = typed(*words)
    assert code != 0
    assert re.search(message, said), said


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no file system that nobody may write to")
def test_an_output_that_cannot_be_written_is_named(typed: Typed) -> None:
    code, said = typed("train", "photos", *TINY, "output=/sys/run")  # nobody may write there, root neither
    assert code != 0
    assert re.search(r"/sys/run.*(cannot be written|denied|not permitted)", said), said
    assert re.search(r"choose another|give another|another folder", said), said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "photos", "--good-class", "NG"], r"Is 'NG' the Good class\? .* use --good-class OK"),
        (["check", "papers"], r"2 files are left out, .* papers/NG/phone\.HEIC, papers/NG/plan\.pdf; export"),
        (["check", "odd"], r"naïve ☃ = x"),
        (["check", "photos"], r"nothing stands in the way of training: weakspot train photos$"),
        (["check", "photos"], r"'OK' counts as Good, 'NG' as a defect"),
        (["check", "days"], r"'OK' counts as Good; counted as defects: NG, unklar.* weakspot train days$"),
        (["check", "days", "--good-class", "OK"], r"counted as defects: NG, unklar.* weakspot train days$"),
        (["check", "days"], r"turned\W+photographs\W+of\W+one\W+part\W+are\W+not\W+found.*--group"),
        (["split", "days", "--output", "days.csv"], r"NG │ .*│ 4 │.*unklar │ .*│ 4 │"),
        (["train", "days", "--cfg", "job"], r"root: days .*good_class: OK .*layout: folder"),
        (["check", "photos", "--good-class", "OK"], r"training: weakspot train photos$"),
        (["check", "hues", "--good-class", "left"], r"training: weakspot train hues data\.good_class=left$"),
        (["train", "my photos, new", "--cfg", "job"], r"root: my photos, new"),
        (["train", "odd", "--cfg", "job"], r"experiment=recommended"),
    ],
    ids=[
        "swapped classes",
        "PDF among pictures",
        "odd class name",
        "checked",
        "classes, checked",
        "three classes above dates, checked",
        "three classes above dates, one named, checked",
        "turned photographs, checked",
        "three classes above dates, split",
        "three classes above dates, trained",
        "checked, a class named",
        "checked, a class that only you know",
        "odd folder name",
        "odd class name, trained",
    ],
)
def test_what_is_no_mistake_says_what_to_know(words: list[str], message: str, typed: Typed) -> None:
    code, said = typed(*words)
    assert code == 0
    assert re.search(message, said), said


@pytest.mark.slow
def test_results_are_never_replaced_and_what_is_left_out_is_said(typed: Typed) -> None:
    data = ("data=folder", "data.root=papers", "data.good_class=OK", *TINY, *ALL_ANOMALY)
    train(train_config(*data, "output=run"))
    code, said = typed("predict", "run", "papers", "--output", "results", "--no-overlays")
    assert code == 0
    assert "2 files are left out" in said
    assert "one box at most per picture" in said
    for words in (["predict", "run", "papers", "--output", "results"], ["predict", "run", "papers", "--output", "run"]):
        code, said = typed(*words)
        assert code != 0
        assert "choose another" in said
    code, said = typed("predict", "run", "papers/NG/plan.pdf", "--output", "other")
    assert code != 0
    assert "not an image in a known format, or damaged at its start; save it as PNG or JPEG" in said
    assert typed("export", "boxes", "run", "--format", "coco", "--output", "boxes")[0] == 0
    code, said = typed("export", "boxes", "run", "--format", "coco", "--output", "boxes")
    assert code != 0
    assert "choose another --output" in said


def test_split_says_in_its_own_words_that_turned_photographs_are_not_found(typed: Typed) -> None:
    for n in range(4):
        Path(f"photos/OK/again{n}.png").write_bytes(Path(f"photos/OK/{n}.png").read_bytes())
    code, said = typed("split", "photos", "--output", "new.csv")
    assert code == 0
    assert "turned photographs of one part are not found: name parts by --group" in said
    assert "data.group" not in said


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["folder", "auto"])
def test_check_split_and_train_read_a_tree_of_days_alike(layout: str, typed: Typed) -> None:
    run = train(train_config(f"data={layout}", "data.root=days", "data.good_class=OK", *TINY, "output=run"))
    assert typed("split", "days", "--output", "days.csv")[0] == 0
    assert typed("check", "days", "--output", "days.json")[0] == 0
    (checked,) = json.loads(Path("days.json").read_text("utf-8")).values()
    for file in (run.path / "split.csv", Path("days.csv")):
        rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
        assert Counter(row["defect"] for row in rows) == checked["per_defect"] == {"good": 8, "NG": 4, "unklar": 4}
        assert {row["path"].split("/")[0] for row in rows if row["defect"] == "good"} == {"OK"}


@pytest.mark.slow
def test_pictures_of_another_size_are_remarked_on(typed: Typed) -> None:
    train(train_config("data=folder", "data.root=photos", "data.good_class=OK", *TINY, "output=run"))
    rng = np.random.default_rng(1)
    for name, size in (("OK/0", (24, 32)), ("OK/1", (48, 48)), ("NG/0", (24, 32)), ("NG/1", (90, 32))):
        path = Path(f"foreign/{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)
    both = r"2 of 4 pictures have another size .* pixels, height × width; in training 24×32\)"
    code, said = typed("predict", "run", "foreign", "--output", "results", "--no-overlays")
    assert code == 0
    assert re.search(both, said), said
    code, said = typed("predict", "run", "photos", "--output", "others", "--no-overlays")
    assert code == 0
    assert "another size" not in said
    code, said = typed("evaluate", "run", "data=folder", "data.root=foreign", "data.good_class=OK", "output=measured")
    assert code == 0
    assert re.search(both, said), said
    assert "2 of 4 pictures have another size" in Path("measured/run.log").read_text(encoding="utf-8")
