"""The notebooks, and every command of the README and of the pages of tasks, run on tiny data."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import pytest
from helpers.backbones import tiny_backbone
from helpers.lines import run
from helpers.paths import ROOT, TESTS
from helpers.runs import FEW_STEPS, tiny_run
from helpers.watching import MOSQUITTO, broker, is_free, subscribed, until
from nbclient import NotebookClient

from weakspot.config import hydra_app
from weakspot.data import synthetic
from weakspot.data.images import list_images
from weakspot.data.roi_files import write_polygons
from weakspot.models import backbones
from weakspot.postprocess.prediction_files import read_predictions

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = ("01_data", "02_train_and_evaluate", "03_inspect_boxes", "04_compare_heatmaps")
TINY = tiny_run(epochs=1)

pytestmark = pytest.mark.figures

TASKS = {
    "check-your-data": ["check", "check", "check", "split", "train"],
    "cure-a-shortcut": ["roi", "train", "train"],
    "tune-a-threshold": ["evaluate", "evaluate", "evaluate", "predict", "train"],
    "decide-by-cost": ["evaluate"],
    "large-pictures": [],
    "compare-two-set-ups": ["train", "train", "compare"],
    "sweep": ["train", "train", "summarize", "summarize"],
    "explain": ["explain", "predict", "audit"],
    "export-boxes": ["export", "predict", "export", "export", "evaluate"],
    "correct-and-learn": ["review", "review", "review", "review"],
    "export-models": ["export", "predict"],
    "serve": ["serve"],
    "at-the-line": ["train", "export", "watch"],
    "notice-change": ["predict", "drift"],
    "scale": [],
    "performance": [],
    "reliability": [],
}
"""Pages of docs/tasks, and the commands that a reader may copy as they are (blocks called ``bash``)."""

MADE = {
    "check-your-data": ["split.csv", "outputs/fixed/metrics.json"],
    "cure-a-shortcut": ["outputs/inside/metrics.json", "outputs/lights/metrics.json"],
    "tune-a-threshold": ["outputs/photos/evaluations", "surer/predictions.csv", "outputs/sweeps"],
    "decide-by-cost": ["outputs/photos/evaluations"],
    "compare-two-set-ups": ["outputs/plain_cam/hazelnut", "outputs/recommended/hazelnut"],
    "sweep": ["outputs/sweeps", "outputs/plain_cam/leather", "outputs/summary_table.csv"],
    "explain": ["outputs/explain", "flipped/predictions.csv", "outputs/photos/audit.json"],
    "export-boxes": ["annotations", "outputs/photos/evaluations", "for-fiftyone/heatmaps", "to-label/images/heatmaps"],
    "export-models": ["outputs/photos/exports/model.onnx.card.md", "exported/predictions.csv"],
    "at-the-line": ["outputs/line/exports/model.onnx", "watched/journal.sqlite"],
    "notice-change": ["changes/drift.html", "changes/drift.json"],
}
"""Something of what they leave."""


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """The lines of a page that call weakspot."""
    lines = [line for block in blocks("bash", page) for line in block.splitlines()]
    return [line for line in lines if line.startswith("weakspot ")]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fabric: Path, tiny: None) -> Path:
    """A folder with the data the README talks about, under the README's names."""
    monkeypatch.chdir(tmp_path)
    lay_out(fabric)
    return tmp_path


def lay_out(fabric: Path) -> None:
    """The data the README and the pages of tasks talk about, in the current folder."""
    for subset in ("hazelnut", "leather"):
        shutil.copytree(fabric / "fabric", f"mvtec/{subset}")
    shutil.copytree(fabric / "fabric" / "train" / "good", "photos/OK")
    shutil.copytree(fabric / "fabric" / "test" / "hole", "photos/NG")
    Path("new_photos").mkdir()
    for number, source in enumerate(list_images(fabric / "fabric" / "test")[:2]):
        shutil.copy(source, f"new_photos/{number:02d}.png")


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_readme_commands_and_python_run_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [line.split()[1] for line in commands(README)] == ["check", "train", "predict"]
    for line in commands(README):
        run(monkeypatch, line)
    capsys.readouterr()
    (python,) = blocks("python")
    exec(python, {})  # noqa: S102 - the README's own example
    assert capsys.readouterr().out.count("new_photos/") == 2
    assert Path("results/predictions.csv").is_file()


@pytest.fixture(scope="module")
def after_readme(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README's commands leave."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        lay_out(fabric)
        for line in commands(README):
            run(patch, line)
    return folder


@pytest.fixture
def verdicts_at_mosquitto(tmp_path: Path) -> Iterator[None]:
    """A broker as the page starts one; in the end it must have passed on a verdict for each picture."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    if not is_free(1883):
        pytest.skip("something listens on mosquitto's port 1883 already")
    with broker(tmp_path / "broker", 1883), subscribed(1883, "line1/verdict") as got:
        yield
        until(lambda: {Path(json.loads(payload)["path"]).name for _, payload in got} == {"00.png", "01.png"})


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", [name for name, verbs in TASKS.items() if verbs])
def test_the_commands_of_a_task_run_after_those_of_the_readme(
    name: str,
    after_readme: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    shutil.copytree(after_readme, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    mark_by_hand(Path("outputs/photos/predictions.jsonl"), Path("corrected.json"))
    page = (ROOT / "docs" / "tasks" / f"{name}.md").read_text(encoding="utf-8")
    if name == "at-the-line":
        request.getfixturevalue("verdicts_at_mosquitto")
    for line in commands(page):
        if line == "weakspot audit outputs/photos":  # after so few steps there is hardly a box
            boxes = "boxes.threshold_kind=absolute boxes.threshold=-9 decision.miss=1e6"
            run(monkeypatch, f"weakspot evaluate output=outputs/photos {boxes}")
        if line.startswith("weakspot roi"):  # it would not end; test_region_of_interest.py draws on its page
            write_polygons(Path("roi.json"), [[(4, 4), (90, 4), (90, 70), (4, 70)]], (96, 128))
        elif not line.startswith(
            ("weakspot serve", "weakspot review")
        ):  # they would not end; tests/unit/serve asks them
            run(monkeypatch, line.replace("cv=3", "cv=2") if name == "sweep" else line)  # two folds show as much
    for made in MADE.get(name, []):
        assert Path(made).exists()


def test_every_page_of_tasks_and_each_of_its_commands_is_known() -> None:
    pages = (ROOT / "docs" / "tasks").glob("*.md")
    found = {path.stem: [line.split()[1] for line in commands(path.read_text(encoding="utf-8"))] for path in pages}
    assert found == TASKS


def mark_by_hand(predictions: Path, target: Path) -> None:
    """What a person might have drawn: a box on every defect of a run's test subset, as COCO."""
    defects = [each for each in read_predictions(predictions) if each.target != "good"]
    images = [
        {"id": i, "file_name": each.path.name, "width": each.width, "height": each.height}
        for i, each in enumerate(defects)
    ]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [4, 4, 20, 20]} for i in range(len(defects))]
    target.write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "anomaly"}]})
    )


TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "here")
def test_the_tutorial_can_be_followed_from_its_first_line_to_its_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own script makes the pictures, fewer and smaller ones; then every command, in order, as it stands."""
    generate = synthetic.generate
    small = {"good": 16, "defect": 2, "size": (96, 128)}
    monkeypatch.setattr(synthetic, "generate", lambda *where, **given: generate(*where, **{**given, **small}))
    (script,) = blocks("python", TUTORIAL)
    exec(script, {})  # noqa: S102 - the tutorial's own example
    assert len(list_images(Path("photos/OK"))) == 16
    assert len(list_images(Path("photos/NG"))) == 10
    lines = commands(TUTORIAL)
    assert [line.split()[1] for line in lines] == [
        "check", "train", "predict", "evaluate", "evaluate", "evaluate", "explain", "export",
    ]  # fmt: skip
    for line in lines:
        capsys.readouterr()
        run(monkeypatch, line)
        said = " ".join(capsys.readouterr().out.split())
        if "evaluate" in line:
            assert "open this first: outputs/photos/evaluations/" in said
    for made in ("outputs/photos/report.html", "results/predictions.csv", "results/review.csv", "annotations"):
        assert Path(made).exists(), made
    assert len(list(Path("results/overlays").iterdir())) == len(list_images(Path("new_photos")))
    assert not re.findall(r"^```sh\n", TUTORIAL, re.MULTILINE), "a block that no test runs"


def test_the_tutorial_names_pictures_that_are_there() -> None:
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TUTORIAL)
    assert len(found) >= 3
    for name in found:
        assert (ROOT / "docs" / name).is_file(), name


def test_readme_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_readme_has_no_blanks_left() -> None:
    assert not re.findall(r"\{[A-Z_]+\}", README)


def test_readme_names_files_that_are_there() -> None:
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        file, _, heading = name.partition("#")
        assert (ROOT / file).exists(), name
        if heading:
            headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, name


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_demo_makes_data_trains_and_names_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compose = hydra_app.compose
    small = ["data.options.good=12", "data.options.defect=3", *TINY, *FEW_STEPS]
    monkeypatch.setattr(hydra_app, "compose", lambda name, overrides: compose(name, [*overrides, *small]))
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "weakspot demo --output 'my demo'")
    assert "my demo/figures/gallery.png" in capsys.readouterr().out
    assert Path("my demo/figures/gallery.png").is_file()
    made = Path("my demo/config.yaml").read_text()
    assert synthetic.DEMO_PRODUCT in made
    assert "threshold_kind: calibrated" in made  # as experiment=recommended


def executed(names: Sequence[str]) -> dict[str, nbformat.NotebookNode]:
    """Notebooks with what they show; one process for all, as importing torch takes longer than most of their cells."""
    notebooks = {name: nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4) for name in names}
    together = nbformat.v4.new_notebook()
    for notebook in notebooks.values():
        together.cells += [*notebook.cells, nbformat.v4.new_code_cell("%reset -f")]  # no name goes to the next one
    NotebookClient(together, timeout=120, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    return notebooks


def pictures(notebook: nbformat.NotebookNode) -> int:
    """How many are shown."""
    found = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in data or "image/jpeg" in data for data in found)


@pytest.fixture
def notebooks_know_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ``tiny`` backbone in the notebooks' own process, too."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    known = "from helpers.backbones import tiny_backbone\nfrom weakspot.models import backbones\n"
    (startup / "tiny.py").write_text(f"{known}backbones.BACKBONES['tiny'] = tiny_backbone\n")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.slow
@pytest.mark.usefixtures("workplace", "notebooks_know_tiny")
def test_notebooks_run_and_show_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "weakspot train data.root=mvtec data.subset=leather output=outputs/a/b/c model.optimizer.lr=0.01")
    monkeypatch.setenv("WEAKSPOT_RUN", "outputs/a/b/c")
    monkeypatch.setenv("WEAKSPOT_DATA", "mvtec")
    monkeypatch.setenv("WEAKSPOT_OVERRIDES", " ".join([*TINY, "data.options.good=12", "data.options.defect=3"]))
    shown = {name: pictures(notebook) for name, notebook in executed(NOTEBOOKS).items()}
    assert shown["03_inspect_boxes"] >= 6
    assert shown["04_compare_heatmaps"] >= 3
    assert all(shown.values()), shown


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_saved_with_their_pictures_define_nothing_and_are_small(name: str) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not re.findall(r"^(?:def|class) ", "\n".join(cell.source for cell in code), re.MULTILINE)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))  # run from top to bottom, once
    assert pictures(notebook) >= 1
    assert path.stat().st_size <= 400_000
