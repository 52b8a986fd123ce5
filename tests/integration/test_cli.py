"""Every command as a user types it, and every mistake as one clear line."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.runs import tiny_run
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from weakspot.cli import main as cli
from weakspot.data.images import list_images
from weakspot.errors import WeakspotError

TINY = tiny_run(epochs=2)


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def error(self) -> str:
        """The error line; there must be exactly one, and no traceback."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def weakspot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: None):
    """Run a command line in an empty folder, in this process so that the tiny backbone is known."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["weakspot", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def run_folder(weakspot, fabric: Path) -> Path:
    result = weakspot("train", f"data.root={fabric}", "data.subset=fabric", *TINY, "output=run")
    assert result.code == 0, result.err
    return Path("run")


@pytest.mark.slow
@pytest.mark.figures
def test_train_prints_a_table_and_names_the_picture(weakspot, fabric: Path) -> None:
    result = weakspot("train", f"data.root={fabric}", "data.subset=fabric", *TINY, "output=run")
    assert result.code == 0
    for text in ("balanced accuracy", "V2 at the oracle threshold", "V2 of the whole image", "run/figures/gallery.png"):
        assert text in result.out
    assert "one box at most per picture" in result.err
    assert "weakspot evaluate run boxes.method=components" in result.err
    assert Path("run/figures/gallery.png").is_file()
    assert re.search(
        r"training on 44 images, up to 2 epochs on the \w+: about \d+ (s|min), report included", result.err
    )


@pytest.mark.slow
def test_a_sweep_over_thresholds_makes_a_run_folder_each_and_goes_on_after_a_failure(weakspot, fabric: Path) -> None:
    arguments = [f"data.root={fabric}", "data.subset=fabric,fabrik", *TINY, "boxes.threshold=0.4,0.6"]
    result = weakspot("train", "-m", *arguments)
    assert result.code == 1
    assert result.err.count("did you mean 'fabric'") == 2 * 2  # when it happens, and in the list at the end
    assert len(re.findall(r"error: .*boxes\.threshold=\d\.\d: data\.subset=fabrik is not", result.err)) == 2
    assert "2 of 4 cells of the sweep failed" in result.err
    runs = sorted(Path("outputs/default/fabric").iterdir())
    thresholds = {json.loads((r / "metrics.json").read_text())["thresholds"]["boxes"]["value"] for r in runs}
    assert thresholds == {0.4, 0.6}
    assert sum("fitted_by" in (run / "run.json").read_text() for run in runs) == 1


@pytest.mark.slow
def test_a_sweep_ends_in_one_table_and_skips_what_is_finished(weakspot, fabric: Path) -> None:
    arguments = [f"data.root={fabric}", "data.subset=fabric", *TINY, "split.folds=3", "split.fold=0,1,2"]
    result = weakspot("train", "-m", *arguments)
    assert result.code == 0, result.err
    assert "mean ± standard deviation over folds" in result.out
    (sweep,) = Path("outputs/sweeps").iterdir()
    summary = sweep / "summary.json"
    content = json.loads(summary.read_text())
    values = [run["balanced_accuracy"] for run in content["runs"]]
    (cell,) = content["cells"]
    assert (cell["runs"], cell["subset"], cell["threshold"]) == (3, "fabric", 0.7)
    assert cell["balanced_accuracy"] == pytest.approx(statistics.mean(values))
    assert cell["balanced_accuracy_sd"] == pytest.approx(statistics.stdev(values))
    again = weakspot("train", "-m", *arguments)
    assert again.err.count("nothing to do") == 3
    assert len(list(Path("outputs/default/fabric").iterdir())) == 3
    assert weakspot("summarize", "outputs/default").code == 0
    assert json.loads(Path("outputs/default/summary.json").read_text())["cells"] == [cell]
    assert "no finished run" in weakspot("summarize", str(fabric)).error


@pytest.mark.slow
def test_different_models_are_not_averaged(weakspot, fabric: Path) -> None:
    result = weakspot(
        "train", "-m", f"data.root={fabric}", "data.subset=fabric", *TINY, "model.outputs=1,2", "seed=1,2"
    )
    assert result.code == 0, result.err
    weakspot("summarize", "outputs")
    assert [cell["runs"] for cell in json.loads(Path("outputs/summary.json").read_text())["cells"]] == [2, 2]


def test_ctrl_c_before_a_command_has_begun(weakspot, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "check_syntax", lambda words: None)
    monkeypatch.setattr(cli, "app", interrupt)
    result = weakspot("predict")
    assert (result.code, result.out) == (130, "")
    assert result.err.startswith("interrupted")
    assert "goes on from where it was" in result.err


@pytest.mark.slow
def test_ctrl_c_ends_a_training_with_130(weakspot, fabric: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weakspot.training import lightning_fit as fit

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.History, "on_train_epoch_start", interrupt)
    result = weakspot("train", f"data.root={fabric}", "data.subset=fabric", *TINY)
    assert result.code == 130
    assert "interrupted" in result.err


@pytest.mark.parametrize("made_of_it", [ValueError(), OmegaConfBaseException(), WeakspotError("half a file")])
def test_ctrl_c_is_no_error_whatever_a_library_makes_of_it(
    weakspot, fabric: Path, monkeypatch: pytest.MonkeyPatch, made_of_it: Exception
) -> None:
    def read(*args: object, **settings: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise made_of_it

    monkeypatch.setattr("omegaconf.OmegaConf.load", read)
    result = weakspot("train", f"data.root={fabric}", "data.subset=fabric", *TINY)
    assert result.code == 130
    assert "interrupted" in result.err
    assert "error" not in result.err


def test_ctrl_c_is_known_where_a_library_hides_it(weakspot, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one written in C may, which raises another error with neither cause nor context."""

    def app() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise TypeError("incompatible function arguments")

    monkeypatch.setattr(cli, "_INTERRUPTS", [])
    monkeypatch.setattr(cli, "check_syntax", lambda words: None)
    monkeypatch.setattr(cli, "app", app)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = weakspot("predict")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.code, result.out) == (130, "")
    assert result.err.startswith("interrupted")


def test_a_background_job_goes_on_ignoring_ctrl_c(weakspot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "check_syntax", lambda words: None)
    monkeypatch.setattr(cli, "app", lambda: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert weakspot("predict").code == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_optimiser_that_does_not_exist_is_one_line(weakspot, fabric: Path) -> None:
    for setting in ("model.optimizer.lr=-1", "model.optimizer._target_=torch.optim.Adm"):
        result = weakspot("train", f"data.root={fabric}", "data.subset=fabric", *TINY, setting)
        assert result.code == 1
        assert "model.optimizer" in result.error


@pytest.mark.slow
def test_the_cache_can_be_seen_and_cleared(weakspot, run_folder: Path) -> None:
    assert "55 files" in weakspot("cache").out
    assert "55 files removed" in weakspot("cache", "--clear").out
    assert " 0 files" in weakspot("cache").out


@pytest.mark.slow
def test_experiments_compose(weakspot, fabric: Path) -> None:
    result = weakspot("train", "--cfg", "job", "experiment=plain_cam", "data.root=x", "data.subset=y")
    assert result.code == 0
    for line in ("threshold: 0.7", "stop_at_accuracy: 0.98", "batch_size: 10", "lr: 0.0001", "name: plain_cam"):
        assert line in result.out
    demo = weakspot("train", "--cfg", "job", "experiment=demo")
    assert "layout: synthetic" in demo.out


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_hydra_help_is_for_people(weakspot, verb: str) -> None:
    result = weakspot(verb, "--help")
    assert result.code == 0
    for text in ("Example", f"weakspot {verb}", "boxes", "-m", "threshold"):
        assert text in result.out, text
    assert "Powered by Hydra" not in result.out


@pytest.mark.parametrize("verb", ["predict", "check", "demo"])
def test_other_verbs_have_help_with_an_example(weakspot, verb: str) -> None:
    result = weakspot(verb, "--help")
    assert result.code == 0
    assert f"weakspot {verb}" in result.out
    assert "--output" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "boxs.threshold=0.5"], r"boxs\.threshold is unknown \(did you mean 'boxes\.threshold'\?\)"),
        (["train", "data.rooot=x"], r"data\.rooot is unknown \(did you mean 'data\.root'\?\)"),
        (["train", "modle=vgg16"], r"modle is unknown \(did you mean 'model'\?\)"),
        (["train", "model=vgg61"], r"model=vgg61 is unknown \(did you mean 'vgg16'\?\)"),
        (["train", "boxes=componets"], r"did you mean 'components'"),
        (["train", "experiment=demos"], r"did you mean 'demo'"),
        (["train", "boxes.threshold=high"], r"boxes\.threshold: Value 'high'.*Float"),
        (["train", "boxes.threshold=1.2"], r"boxes\.threshold=1\.2 is outside"),
        (["train", "boxes.method=singel"], r"boxes\.method=singel.*did you mean 'single'"),
        (["train", "heatmap=camm"], r"heatmap=camm is unknown \(did you mean 'cam'\?\)"),
        (["train", "trainer.batch_size=0"], r"trainer\.batch_size=0 must be at least 1"),
        (["train", "trainer.stop_at_accuracy=98"], r"stop_at_accuracy=98\.0 must be between 0 and 1"),
        (["train", "seed=-1"], r"seed=-1 must be"),
        (["train", "trainer.accelerator=cpuu"], r"did you mean 'cpu'"),
        (["evaluate", "boxes=components"], r"set its keys one by one, as in boxes\.method="),
        (["evaluate", "data.root=x"], r"choose data=auto\|.*\|folder\|.*\|synthetic\|visa first"),
        (["evaluate", "model=vgg16"], r"config key model is unknown"),
        (["train", "data=folder", "data.root=photos (1)"], r"'data\.root=photos \(1\)' is not of the form"),
        (["train", "-m", "seed=1,2", "output=x"], r"output= names one folder"),
        (["predict", "nowhere", ""], r"the source is empty"),
        (["train", "data"], r"'data' is not of the form key=value"),
        (["train"], r"weakspot train photos/"),
        (["train", "experiment=plain_cam"], r"data\.root is not set"),
        (["train", "data.root=nowhere"], r"data\.root=nowhere does not exist"),
        (["train", "data=synthetic", "data.options.godo=3"], r"did you mean 'data\.options\.good'"),
        (["train", "data=synthetic", "data.subset=gaer"], r"did you mean 'gear'"),
        (["evaluate"], r"weakspot evaluate outputs/photos"),
        (["evaluate", "boxes.threshold=0.5"], r"run is not set"),
        (["evaluate", "run=nowhere"], r"nowhere"),
        (["evaluate", "run=nowhere", "boxes.treshold=1"], r"did you mean 'boxes\.threshold'"),
        (["predict", "nowhere", "."], r"holds no images"),
        (["check", "nowhere"], r"nowhere is not a folder"),
    ],
)
def test_mistakes_are_one_line_and_a_non_zero_exit(weakspot, arguments: list[str], message: str) -> None:
    result = weakspot(*arguments)
    assert result.code == 1
    assert re.search(message, result.error), result.error


def test_debug_shows_the_traceback(weakspot) -> None:
    from weakspot.errors import WeakspotError

    with pytest.raises(WeakspotError):
        weakspot("train", "--debug", "data.root=nowhere")


@pytest.mark.slow
def test_evaluate_and_its_sweep(weakspot, run_folder: Path) -> None:
    result = weakspot("evaluate", "-m", "run=run", "boxes.threshold=0.3,0.9", "boxes.method=components")
    assert result.code == 0, result.err
    values = {
        json.loads(p.read_text())["thresholds"]["boxes"]["value"]
        for p in Path("run/evaluations").glob("*/metrics.json")
    }
    assert values == {0.3, 0.9}
    assert weakspot("evaluate", "output=run", "boxes.threshold=0.6").code == 0
    assert json.loads(Path("run/metrics.json").read_text())["thresholds"]["boxes"]["value"] == 0.6


@pytest.mark.slow
def test_predict_a_file_a_folder_and_a_glob(weakspot, run_folder: Path, fabric: Path) -> None:
    images = list_images(fabric / "fabric" / "train")[:3]
    folder = Path("photos (1)") / "boxes.threshold=0.5"
    folder.mkdir(parents=True)
    for image in images:
        shutil.copy(image, folder)
    for source, count in ((str(images[0]), 1), (str(folder), 3), ("photos (1)/*/*.png", 3)):
        result = weakspot("predict", "run", source, "--output", f"out{count}{len(source)}", "--threshold", "0.5")
        assert result.code == 0, result.err
        assert f"{count} images" in result.out
        out = Path(f"out{count}{len(source)}")
        assert len((out / "predictions.jsonl").read_text().splitlines()) == count
        assert len(list((out / "overlays").iterdir())) == count
    # Into a folder that was predicted into before: nothing is lost, and more is added only where that is asked for.
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = weakspot("predict", "run", str(images[1]), "--output", str(out))
    assert "holds 3 predictions already; choose another --output, or keep them and add these with" in refused.error
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert weakspot("predict", "run", str(images[1]), "--output", str(out), "--append").code == 0
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert lines[:3] == before[out / "predictions.jsonl"].decode().splitlines()
    assert [json.loads(line)["path"] for line in lines[3:]] == [str(images[1])]
    table = (out / "predictions.csv").read_bytes()
    assert table.startswith(before[out / "predictions.csv"])
    assert len(list((out / "overlays").iterdir())) == 4
    weakspot("predict", "run", str(folder), "--no-overlays")
    (default,) = Path("outputs/predict").iterdir()
    assert not (default / "overlays").exists()


@pytest.mark.slow
def test_predict_reports_bad_files_and_goes_on(weakspot, run_folder: Path, fabric: Path) -> None:
    Path("in").mkdir()
    good = list_images(fabric / "fabric" / "train")[0]
    shutil.copy(good, "in/good.png")
    Path("in/cut.png").write_bytes(good.read_bytes()[:100])
    Path("in/empty.jpg").touch()
    Path("in/text.png").write_text("hello")
    result = weakspot("predict", "run", "in", "--output", "out")
    assert result.code == 1
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 4
    for name in ("cut.png", "empty.jpg", "text.png"):
        assert sum(name in line for line in lines) == 1
    assert "3 of 4 images could not be read" in lines[-1]
    records = [json.loads(line) for line in Path("out/predictions.jsonl").read_text().splitlines()]
    assert [r["status"] for r in records] == ["error", "error", "ok", "error"]
    alone = weakspot("predict", "run", "in/cut.png", "--output", "alone")
    assert alone.code == 1
    assert "1 images: none could be read" in alone.out
    Path("in/list.csv").write_text("path,label")
    refused = weakspot("predict", "run", "in/list.csv", "--output", "refused")
    assert (refused.code, refused.out) == (1, "")
    assert "in/list.csv: not an image in a known format" in refused.error
    assert not Path("refused").exists()


@pytest.mark.slow
def test_predict_leaves_out_masks_and_counts_a_class_called_error(weakspot, fabric: Path) -> None:
    shutil.copytree(fabric / "fabric" / "train" / "good", "line/good")
    shutil.copytree(fabric / "fabric" / "test" / "hole", "line/error")
    overrides = ["data.task=multiclass", "model.class_weights=balanced", "output=run"]
    assert weakspot("train", "data=folder", "data.root=line", *TINY, *overrides).code == 0
    result = weakspot("predict", "run", str(fabric / "fabric"), "--no-overlays", "--output", "out")
    assert result.code == 0, result.err
    assert "55 images" in result.out


def test_check_goes_on_after_a_broken_subset(weakspot, fabric: Path) -> None:
    for name in "abc":
        shutil.copytree(fabric / "fabric", f"multi/{name}")
    for name in "ac":
        Path("multi", name, "test", "nothing").mkdir()
    result = weakspot("check", "multi")
    assert result.code == 1
    assert "multi/b (mvtec layout)" in result.out
    assert sum("nothing" in line for line in result.err.splitlines() if line.startswith("error: ")) == 2


def test_check_counts_and_complains(weakspot, fabric: Path) -> None:
    result = weakspot("check", str(fabric), "--output", "check.json")
    assert result.code == 0, result.err
    found = json.loads(Path("check.json").read_text())[str(fabric / "fabric")]
    assert found["per_class"] == {"good": 30, "anomaly": 25}
    for name in ("OK", "NG"):
        Path("two", name).mkdir(parents=True)
        Image.new("RGB", (8, 6), name and "red").save(f"two/{name}/a.png")
    Path("two/NG/cut.jpg").write_bytes(b"\xff\xd8\xff")
    again = weakspot("check", "two", "--good-class", "OK")
    assert again.code == 1
    errors = "\n".join(line for line in again.err.splitlines() if line.startswith("error: "))
    assert "two/NG/cut.jpg" in errors
    assert "same picture with different labels" in errors
    assert "2 problem(s) in two" in errors
    assert weakspot("check", "two").err == again.err  # a usual name is known
    assert "set --good-class OK" in weakspot("check", "two", "--good-class", "O").error


@pytest.mark.slow
def test_folders_with_other_names_train(weakspot, fabric: Path) -> None:
    shutil.copytree(fabric / "fabric" / "train" / "good", "line/OK")
    shutil.copytree(fabric / "fabric" / "test" / "hole", "line/NG")
    result = weakspot("train", "data=folder", "data.root=line", "data.good_class=OK", *TINY, "output=run")
    assert result.code == 0, result.err
    assert "recall of NG" in result.out
    record = json.loads(Path("run/predictions.jsonl").read_text().splitlines()[0])
    assert record["target"] in ("good", "anomaly")


CORE = [
    "types", "errors", "utils.files", "ops.iou", "ops.maps", "metrics", "postprocess.boxes",
    "postprocess.box_calibration", "postprocess.predictions", "heatmaps", "data.splits", "data.readers",
    "data.imitations",
]  # fmt: skip


@pytest.mark.parametrize("module", ["weakspot", *(f"weakspot.{name}" for name in CORE)])
def test_the_core_imports_neither_torch_nor_lightning_nor_hydra(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'pytorch_lightning', 'hydra'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    """Build the wheel, unpack it away from the checkout, and let it find its configuration."""
    checkout = ROOT
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(checkout)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    code = (
        "import weakspot, weakspot.config.hydra_app as app; print(weakspot.__file__); "
        "print(app.conf_dir()); print(app.compose('train', ['experiment=plain_cam']).boxes.threshold)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    package, conf, threshold = found.stdout.splitlines()
    assert package.startswith(str(tmp_path / "site"))
    assert conf == str(tmp_path / "site" / "weakspot" / "conf")
    assert threshold == "0.7"


@pytest.mark.slow
def test_the_log_stays_in_the_run_folder_and_says_what_was_done(weakspot, fabric: Path) -> None:
    for number in (1, 2):  # Hydra's own logging set-up must not silence ours, not even the second time
        arguments = [f"data.root={fabric}", "data.subset=fabric", *TINY, f"output=run{number}", "reuse=false"]
        result = weakspot("train", *arguments)
        assert "epoch 2: train/accuracy" in Path(f"run{number}/run.log").read_text()
        assert "INFO" not in result.err
