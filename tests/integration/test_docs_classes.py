"""Every command and the Python of docs/classification.md, run on small data."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import pytest
from helpers.lines import run
from helpers.paths import ROOT
from typer.testing import CliRunner

from weakspot.cli import data as cli_data
from weakspot.cli import main as cli
from weakspot.data.images import list_images
from weakspot.errors import WeakspotError

PAGE = (ROOT / "docs" / "classification.md").read_text(encoding="utf-8")

pytestmark = [pytest.mark.figures, pytest.mark.usefixtures("tiny")]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fabric: Path) -> Path:
    """A folder with the data the page talks about, under the page's names."""
    monkeypatch.chdir(tmp_path)
    source = fabric / "fabric"
    shutil.copytree(source / "train" / "good", "parts/good")
    for defect in ("cut", "hole"):
        shutil.copytree(source / "test" / defect, f"parts/{defect}")
    rows = ["path,label"]
    for folder in ("flat", "later", "new_photos"):
        Path(folder).mkdir()
    for number, path in enumerate(list_images(Path("parts"))):
        shutil.copy(path, f"flat/{path.parent.name}_{number:03d}.png")
        if number % 3 == 0:  # other pictures than those that were trained on
            cv2.imwrite(f"later/{number}.png", cv2.imread(str(path))[::-1])
            rows.append(f"{number}.png,{path.parent.name}")
            shutil.copy(f"later/{number}.png", "new_photos")
    Path("later/labels.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_the_page_s_commands_run_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [found.group(1) for found in re.finditer(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)]
    commands = [line for block in blocks for line in block.splitlines()]
    assert [line.split()[1] for line in commands] == [
        "check", "check", "check", "split", "train", "evaluate", "evaluate", "predict",
    ]  # fmt: skip
    for line in commands:
        run(monkeypatch, line)
    printed = capsys.readouterr().out
    assert "class by class" in printed
    assert "balanced accuracy, Good or not" in printed
    (python,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(python, {})  # noqa: S102 - the page's own example
    assert capsys.readouterr().out.count("new_photos") == len(list_images(Path("new_photos")))
    with Path("split.csv").open(newline="") as file:
        fixed = {row["path"]: row["subset"] for row in csv.DictReader(file)}
    with Path("outputs/types/split.csv").open(newline="") as file:
        assert {row["path"]: row["subset"] for row in csv.DictReader(file)} == fixed
    assert set(fixed.values()) == {"train", "val", "test"}
    assert json.loads(Path("outputs/types/bundle/model.json").read_text())["preprocess"]["image_size"] == [64, 96]
    assert Path("outputs/types/figures/training.png").is_file()


def test_every_procedure_of_halcon_s_classification_is_named() -> None:
    for name in (
        "read_dl_dataset_classification", "split_dl_dataset", "preprocess_dl_dataset", "create_dl_preprocess_param",
        "train_dl_model", "create_dl_train_param", "evaluate_dl_model", "dev_display_classification_evaluation",
        "gen_confusion_matrix", "gen_interactive_confusion_matrix", "gen_dl_samples_from_images",
        "preprocess_dl_samples", "apply_dl_model",
    ):  # fmt: skip
        assert f"`{name}`" in PAGE, name


@pytest.mark.usefixtures("workplace")
def test_split_keeps_what_is_there_and_takes_one_data_set() -> None:
    shutil.copytree("parts/good", "two/a/train/good")
    shutil.copytree("parts/cut", "two/a/test/cut")
    shutil.copytree("two/a", "two/b")
    invoke = CliRunner().invoke
    assert invoke(cli.app, shlex.split("split two/a --output a.csv --val-size 0")).exit_code == 0
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"].split("/")[0] for row in rows} == {"train", "test"}  # relative to the data set
    assert {row["subset"] for row in rows} == {"train", "test"}
    for line, message in (
        ("split two/a --output a.csv", "a.csv exists"),
        ("split two --output b.csv", "two holds 2 data sets"),
        ("split parts --option pattern --output b.csv", "--option pattern: give key=value"),
        ("split parts --option pattern=x --output b.csv", "--option pattern is not an option of data=folder"),
        ("split flat --layout filename --option pattern=zzz --output b.csv", "finds no label"),
    ):
        result = invoke(cli.app, shlex.split(line))
        assert isinstance(result.exception, WeakspotError), line
        assert message in str(result.exception)
    assert not Path("b.csv").exists()
    assert cli_data._parsed(["outside=true", "file=a=b.csv"]) == {"outside": True, "file": "a=b.csv"}
