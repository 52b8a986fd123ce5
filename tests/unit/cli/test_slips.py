"""Slips of the first command, told before anything heavy is loaded, and what is none left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer

from weakspot.cli.main import app, check_syntax
from weakspot.cli.order import ORDER
from weakspot.errors import WeakspotError
from weakspot.inference.fastest import fastest
from weakspot.models.devices import check_device


@pytest.fixture
def places(here: Path) -> Path:
    """Pictures, two runs with a model, and a run without one."""
    for run in ("outputs/photos", "outputs/demo/gear/20260101-120000"):
        (here / run / "bundle").mkdir(parents=True)
        (here / run / "bundle/model.json").touch()
        (here / run / "run.log").touch()
    for name in ("new/a.png", "new/b.png", "new/sub/c.jpg", "half/figures/curve.png", "half/run.log"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    return here


def refused(*words: str) -> str:
    with pytest.raises(WeakspotError) as caught:
        check_syntax(words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("predict new outputs/photos", "type: weakspot predict outputs/photos new"),
        ("predict new/ outputs/photos/ --output x", "type: weakspot predict outputs/photos/ new --output x"),
        ("predict new/a.png new/b.png outputs/photos", "type: weakspot predict outputs/photos 'new/*.png'"),
        ("predict new/*.tif outputs/photos", "type: weakspot predict outputs/photos 'new/*.tif'"),
        ("explain new/a.png outputs/photos", "type: weakspot explain outputs/photos new/a.png"),
        ("predict outputs/photos new/a.png new/sub/c.jpg", "folder: weakspot predict outputs/photos new"),
        ("predict new", "name the run first, then the pictures: weakspot predict outputs/photos new"),
        ("predict half", "name the pictures, too: weakspot predict half new_photos/"),
        ("explain imagenet", "name the pictures, too: weakspot explain imagenet new_photos/"),
        ("new output=x", "type: weakspot train new output=x"),
        ("outputs/photos", "type: weakspot predict outputs/photos new_photos/"),
    ],
)
def test_the_line_to_type_is_named(typed: str, line: str) -> None:
    assert line in refused(*typed.split())


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    "typed",
    [
        "predict outputs/photos new",
        "predict outputs/photos new/*.png --output x --batch-size 2",
        "predict outputs/nothing new",
        "predict half new",
        "predict new.onnx new",
        "predict outputs/photos new --bogus",
        "predict outputs/photos new nowhere",
        "predict outputs/photos s3://all/new.zip --engine ray --output x --device cuda",
        "predict --help",
        "explain imagenet new/a.png",
        "export boxes outputs/photos --output x.zip",
        "review outputs/photos",
        "trian new",
        "train new",
        "evaluate outputs/photos",
        "",
    ],
)
def test_what_is_no_slip_goes_on(typed: str) -> None:
    assert check_syntax(typed.split()) is None


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("outputs/phtos", r"outputs/phtos does not exist \(did you mean 'outputs/photos'\?\); give a run folder"),
        ("outputs", r"outputs holds no finished model \(finished runs: outputs/.*, outputs/.*\); give a run folder"),
        ("outputs/demo", r"\(finished runs: outputs/demo/gear/20260101-120000\)"),
        ("zzz", r"zzz does not exist \(finished runs: outputs/"),
        ("new", r"new holds no finished model; give a run folder"),
        ("new/a.png", r"new/a\.png is a file and no run; give a run folder"),
    ],
)
def test_runs_that_are_there_are_offered(run: str, message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        fastest(Path(run))


def test_hundreds_of_names_are_one_line(here: Path) -> None:
    names = [f"lot [1]/{'part' * 20}-{number}.png" for number in range(300)]
    assert check_syntax(["predict", "run", *names]) is None  # typer names what it did not expect
    (here / "lot [1]").mkdir()
    for name in names:
        (here / name).touch()
    assert refused("predict", "run", *names).endswith("give the folder: weakspot predict run 'lot [1]'")


@pytest.mark.usefixtures("places")
def test_explain_knows_early_that_there_is_no_such_run() -> None:
    assert "did you mean 'outputs/photos'" in refused("explain", "outputs/phtos", "new/a.png")


def test_a_device_is_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("gpu", "GPU", "nvidia", ""):
        with pytest.raises(WeakspotError, match=rf"^device {device} is unknown; choose auto, cpu or cuda$"):
            check_device(device)
    for there, version, why in (
        (False, SimpleNamespace(cuda=None, hip=None), "is for CPUs alone; choose auto or cpu"),
        (False, SimpleNamespace(cuda="12.8", hip=None), "finds no graphics card here; choose auto or cpu"),
        (True, SimpleNamespace(cuda="12.8", hip=None), ""),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch, "version", version)
        if there:
            assert check_device("cuda:0") is None
            continue
        with pytest.raises(WeakspotError, match=rf"^device cuda cannot be used: .* {why}$"):
            check_device("cuda")


def test_help_lists_every_verb_in_the_order_of_use() -> None:
    command = typer.main.get_command(app)
    listed = command.list_commands(typer.Context(command))  # type: ignore[attr-defined]
    assert listed == list(ORDER)
    assert listed[:4] == ["demo", "check", "train", "predict"]


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_an_empty_command_is_answered_before_anything_heavy_is_loaded(verb: str) -> None:
    code = (
        "import sys\nfrom weakspot.cli.main import main\nsys.argv = ['weakspot', sys.argv[1]]\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'hydra', 'omegaconf'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "[]\n"), ended.stderr
