"""weakspot explain and summary, ImageNet mode, and runs whose maps are made by another method."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.backbones import tiny_backbone
from helpers.efficientnet_lite0 import PACKAGE, weights_file
from helpers.paths import ROOT
from helpers.real import REAL_DATA, REAL_WEIGHTS, needs_data, needs_weights
from helpers.runs import ALL_ANOMALY, TINY, evaluate_config, settings
from PIL import Image
from safetensors.torch import load_file
from torchvision import models
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.commands.evaluate import evaluate
from weakspot.commands.train import train
from weakspot.data.images import list_images
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.explain.compare_methods import SLOW_LAST, Comparison, compare_all
from weakspot.explain.explanation import explain
from weakspot.explain.subjects import subject_of_imagenet, subject_of_run
from weakspot.heatmaps.methods import METHODS, Settings
from weakspot.heatmaps.scaling import SCALINGS
from weakspot.heatmaps.subject import Subject
from weakspot.inference.localizer import Localizer
from weakspot.models import backbones
from weakspot.models.bundle import BundleMeta, read_meta, rewrite_meta, save_bundle
from weakspot.models.imagenet import load_photographs
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.report.explained import sheet_figure
from weakspot.runs.folder import RunFolder

RUNNER = CliRunner()


def run_command(*arguments: str) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert isinstance(result.exception, WeakspotError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def trained(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, trained once, that calls everything an anomaly, so that every picture has a box."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return train(settings(fabric, f"output={folder / 'photos'}", *ALL_ANOMALY)).path


@pytest.fixture
def photos(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> RunFolder:
    """A copy of that run, ``photos`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "photos")
    return RunFolder(Path("photos"))


def picture(fabric: Path) -> Path:
    return list_images(fabric / "fabric" / "test" / "hole")[0]


@pytest.mark.slow
def test_explain_and_summary_of_a_run(fabric: Path, photos: RunFolder) -> None:
    image = picture(fabric)
    output = run_command("explain", "photos", str(image), "--output", "why")
    told = json.loads(Path(f"why/{image.stem}.json").read_text())
    (prediction,) = Localizer.load("photos").predict(image)
    assert [(c["name"], c["confidence"]) for c in told["classes"]] == [
        (each.name, pytest.approx(each.confidence)) for each in prediction.classes
    ]
    assert told["target"]["name"] == prediction.label == "anomaly"
    assert f"cam of {prediction.label}" in output
    with np.load(f"why/{image.stem}.npz") as maps:
        assert prediction.output is not None
        assert np.allclose(maps["cam/anomaly"], prediction.output.maps[1], atol=1e-5)
    drawn = np.asarray(Image.open(f"why/{image.stem}.png"))
    assert drawn.std() > 10
    listed = run_command("summary", "photos", "--output", "layers.json")
    layers = {layer["name"]: layer for layer in json.loads(Path("layers.json").read_text())}
    assert layers["stem.0"]["usable"]
    assert not layers["stem.0"]["trained"]
    assert layers["tail.0"]["trained"]
    assert all(name in listed for name in layers)
    run_command(
        "explain", "photos", str(image), "--heatmap", "grad_cam", "--target-class", "good", "--target-layer", "stem.0",
        "--activation", "conv", "--scaling", "scale_before_relu", "--output", "halcon",
    )  # fmt: skip
    told = json.loads(Path(f"halcon/{image.stem}.json").read_text())
    assert (told["heatmap"]["layer"], told["target"]["id"], told["change"]) == ("stem.0", 0, None)
    with np.load(f"halcon/{image.stem}.npz") as maps:
        assert 0 <= maps["grad_cam/good"].min() <= maps["grad_cam/good"].max() <= 1


@pytest.mark.slow
def test_all_methods_side_by_side(fabric: Path, photos: RunFolder) -> None:
    image = picture(fabric)
    output = run_command("explain", "photos", str(image), "--heatmap", "all", "--patch", "24", "--output", "sheet")
    told = {row["method"]: row for row in json.loads(Path(f"sheet/{image.stem}.json").read_text())["methods"]}
    assert list(told) == list(SLOW_LAST)
    assert set(told) == set(METHODS)
    assert [name for name in told if METHODS[name].slow] == list(told)[-2:] == ["score_cam", "occlusion"]
    assert all(name in output for name in METHODS)
    assert all(row["seconds"] > 0 and -1 <= row["road"] <= 1 for row in told.values())
    assert told["cam"]["road"] == pytest.approx(told["hires_cam"]["road"], abs=1e-3)
    with np.load(f"sheet/{image.stem}.npz") as maps:
        assert set(maps.files) == {f"{name}/anomaly" for name in METHODS}
        assert maps["guided_grad_cam/anomaly"].shape == (64, 96)


@pytest.mark.slow
def test_what_is_done_is_written_before_the_slow_methods_come(
    fabric: Path, photos: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(self: Comparison, folder: Path, name: str) -> None:
        save(self, folder, name)
        if self.methods[-1].method == "grad_cam":
            raise KeyboardInterrupt

    save = Comparison.save
    monkeypatch.setattr(Comparison, "save", end)
    image = picture(fabric)
    result = RUNNER.invoke(app, ["explain", "photos", str(image), "--heatmap", "all", "--output", "sheet"])
    assert result.exit_code != 0
    assert "cam: " in result.output
    rows = json.loads(Path(f"sheet/{image.stem}.json").read_text())["methods"]
    assert [row["method"] for row in rows] == list(SLOW_LAST)[: len(rows)]
    assert rows[-1]["method"] == "grad_cam"
    assert Path(f"sheet/{image.stem}.png").is_file()


@pytest.mark.slow
def test_methods_are_shown_without_their_faithfulness_where_it_is_not_asked_for(
    fabric: Path, photos: RunFolder
) -> None:
    subject, methods = subject_of_run(photos.path, "cpu"), ["cam", "grad_cam"]
    found = compare_all(subject, picture(fabric), "anomaly", methods=methods, faithfulness=False)
    assert [each.method for each in found.methods] == methods
    assert all(math.isnan(each.road) and each.seconds > 0 for each in found.methods)
    titles = [axes.get_title() for axes in sheet_figure(found.image, found.methods, "all", columns=2).axes]
    assert titles[0] == "the picture"
    assert titles[1].startswith("cam: ")
    assert len(titles) == 4
    assert not any("ROAD" in title for title in titles)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--heatmap", "gradcam"), r"heatmap gradcam is unknown \(did you mean 'grad_cam'\?\); choose one of: cam"),
        (("--target-class", "hole"), r"class hole does not exist.*good \(0\), anomaly \(1\)"),
        (("--heatmap", "grad_cam", "--target-layer", "tail.9"), r"layer tail\.9 does not exist.*stem\.0, stem\.1"),
        (("--heatmap", "all", "--target-layer", "tail.9"), r"layer tail\.9 does not exist"),
        (("--scaling", "none"), "scaling does not apply to heatmap cam"),
        (("--model", "resnet18"), "--model and --weights belong to 'imagenet'"),
    ],
)
def test_explain_lists_the_choices(fabric: Path, photos: RunFolder, arguments: tuple[str, ...], message: str) -> None:
    assert re.search(message, refused("explain", "photos", str(picture(fabric)), *arguments))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_any_number_of_classes_is_explained(fabric: Path, tmp_path: Path) -> None:
    meta = BundleMeta(
        ["good", "crack", "hole"], Preprocess((64, 96), "torchvision"), "tiny", 2, boxes=_rule(), thresholds={},
        weights={}, split_hash="", data_hash="",
    )  # fmt: skip
    save_bundle(tmp_path / "bundle", Model(CamNet("tiny", 3)), meta)
    subject = subject_of_run(tmp_path / "bundle", "cpu")
    found = [explain(subject, picture(fabric), "cam", name) for name in ("good", "crack", "2")]
    assert [each.target for each in found] == ["good", "crack", "hole"]
    assert [c[0] for c in found[0].classes] == sorted(
        meta.classes, key=lambda name: -next(v for n, _, v in found[0].classes if n == name)
    )
    said = Localizer.load(tmp_path / "bundle", "cpu")
    (prediction,) = said.predict(picture(fabric))
    assert prediction.output is not None
    for k in range(3):
        assert np.allclose(found[k].map, prediction.output.maps[k], atol=1e-5)


def _rule():
    from weakspot.config.rules import BoxRule

    return BoxRule()


def evaluated(*overrides: str) -> RunFolder:
    return evaluate(evaluate_config(*overrides))


@pytest.mark.slow
def test_runs_take_their_maps_and_boxes_from_another_method(fabric: Path, photos: RunFolder) -> None:
    by_cam = read_predictions(photos.predictions)
    same = evaluated("run=photos", "heatmap=grad_cam")  # GAP and one dense layer: the same maps but for a factor
    assert [[b.xyxy for b in p.boxes] for p in read_predictions(same.predictions)] == [
        [b.xyxy for b in p.boxes] for p in by_cam
    ]
    assert same.read_metrics()["heatmap"] == "grad_cam"
    other = evaluated("run=photos", "heatmap=eigen_cam")
    assert [[b.xyxy for b in p.boxes] for p in read_predictions(other.predictions)] != [
        [b.xyxy for b in p.boxes] for p in by_cam
    ]
    assert [p.probability for p in read_predictions(other.predictions)] == pytest.approx(
        [p.probability for p in by_cam], rel=1e-3
    )
    trained = train(settings(fabric, "output=layered", "heatmap=layer_cam", *ALL_ANOMALY))
    assert OutputStore.load(trained.maps).maps.min() >= 0
    predictions = read_predictions(trained.predictions)
    again = list(Localizer.load(trained.path).predict([p.path for p in predictions]))
    assert [[b.xyxy for b in p.boxes] for p in again] == [[b.xyxy for b in p.boxes] for p in predictions]


@pytest.mark.slow
def test_occlusion_of_a_run_is_at_the_grid_of_its_patches(fabric: Path, photos: RunFolder) -> None:
    meta = read_meta(Path("photos/bundle"))
    rewrite_meta(Path("photos/bundle"), replace(meta, heatmap="occlusion"))
    localizer = Localizer.load("photos")
    (prediction,) = localizer.predict(picture(fabric))
    assert prediction.output is not None
    assert prediction.output.maps.shape == (2, 16, 24)
    assert np.allclose(prediction.output.maps[0], -prediction.output.maps[1], atol=1e-5)  # two probabilities, one sum


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("heatmap=guided_grad_cam",), "round which no box can be drawn; choose one of: cam, grad_cam, grad_cam_plus"),
        (("heatmap=grad_cam", "refine=segment"), r"no effect with refine\.method=segment.*set refine=none"),
        (("heatmap=grad_cam", "data.resize=tile", "data.image_size=[64,96]"), r"set heatmap=cam, or data\.resize="),
    ],
)
def test_combinations_that_cannot_be_served(fabric: Path, tiny: None, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        train(settings(fabric, *overrides))


@pytest.mark.slow
def test_evaluating_with_other_maps_has_limits(photos: RunFolder) -> None:
    with pytest.raises(WeakspotError, match="was set on maps by cam; train with heatmap=grad_cam"):
        evaluated("run=photos", "heatmap=grad_cam", "boxes.threshold_kind=calibrated", "boxes.threshold=0")
    with pytest.raises(WeakspotError, match="is the run itself: its maps are never"):
        evaluated("output=photos", "heatmap=layer_cam")


@pytest.mark.slow
def test_a_real_cat_is_a_cat_and_the_map_lies_on_it(tmp_path: Path) -> None:
    weights = weights_file()
    if weights is None:
        pytest.skip(f"{PACKAGE} is not installed")
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    Image.fromarray(data.chelsea()).save(tmp_path / "cat.png")  # its face fills rows 20…280, columns 60…400 of 300×451
    output = run_command(
        "explain", "imagenet", str(tmp_path / "cat.png"), "--model", "efficientnet_lite0", "--weights", str(weights),
        "--output", str(tmp_path / "why"),
    )  # fmt: skip
    told = json.loads((tmp_path / "why" / "cat.json").read_text())
    assert len(told["classes"]) == 1000
    assert {each["name"] for each in told["classes"][:3]} == {"tabby", "tiger cat", "Egyptian cat"}
    assert sum(each["confidence"] for each in told["classes"][:3]) > 0.8
    assert "tabby (281)" in output
    photographs = load_photographs("efficientnet_lite0", weights)
    subject = Subject(photographs.module, photographs.classes, photographs.preprocess, lambda *_: [])
    image = data.chelsea()
    for method in ("cam", "grad_cam", "layer_cam"):
        map_ = subject.maps(subject.pixels([image]), [281], method)[0]
        over = np.maximum(subject.over_picture(map_, image), 0)
        assert over[20:290, 60:400].sum() > 0.8 * over.sum(), method
        row, column = np.unravel_index(over.argmax(), over.shape)
        assert 60 < row < 280, method
        assert 100 < column < 400, method
    assert "class cat does not exist" in refused(
        "explain", "imagenet", str(tmp_path / "cat.png"), "--model", "efficientnet_lite0", "--weights", str(weights),
        "--target-class", "cat",
    )  # fmt: skip


@pytest.mark.slow
@needs_weights
@needs_data
def test_the_whole_vgg16_from_a_file_with_made_dense_layers(tmp_path: Path) -> None:
    """Real convolutions under torchvision's names; the dense layers are overlapping views of few numbers."""
    torch.manual_seed(0)
    few = torch.randn(40000) * 0.01
    state = {
        f"features.{name}": tensor for name, tensor in load_file(REAL_WEIGHTS).items() if int(name.split(".")[0]) < 30
    }
    for name, shape in (("0", (4096, 512 * 49)), ("3", (4096, 4096)), ("6", (1000, 4096))):
        state[f"classifier.{name}.weight"] = few.as_strided(shape, (3, 1))
        state[f"classifier.{name}.bias"] = torch.zeros(shape[0])
    torch.save(state, tmp_path / "vgg16.pth")
    picture = np.asarray(Image.open(list_images(REAL_DATA / "test" / "blowhole")[0]).convert("RGB"))
    subject = subject_of_imagenet("vgg16", tmp_path / "vgg16.pth", "cpu")
    (answer,) = subject.ask([picture])
    pixels = subject.pixels([picture])
    assert subject.layers(pixels).resolve(None, None) == "features.29"  # conv5_3 after its ReLU, as in the tutorial
    assert subject.layers(pixels).resolve("conv5_3", "conv") == "features.28"
    whole = models.vgg16(weights=None, init_weights=False).eval()
    whole.load_state_dict(torch.load(tmp_path / "vgg16.pth", weights_only=True))
    small = torch.from_numpy(Preprocess((224, 224), "torchvision")(picture).copy())[None]
    with torch.no_grad():
        activations = whole.features[:30](small)
        wanted = whole(small).softmax(1)[0].numpy()
    assert np.allclose(answer.confidences, wanted, rtol=1e-3, atol=1e-9)
    assert subject.classes[int(wanted.argmax())] == models.VGG16_Weights.DEFAULT.meta["categories"][answer.label]
    # The tutorial's map: the last convolution's channels weighted with the mean gradients of the class.
    activations.requires_grad_()
    (gradients,) = torch.autograd.grad(
        whole.classifier(whole.avgpool(whole.features[30:](activations)).flatten(1))[0, answer.label], activations
    )
    heat = (activations[0] * gradients[0].mean((1, 2))[:, None, None]).sum(0).detach().clamp(min=0)
    ours = subject.maps(pixels, [answer.label], "grad_cam", Settings(scaling="scale_after_relu"))[0]
    assert np.allclose(ours, (heat / heat.max()).numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "content", "message"),
    [
        ("vgg61", None, r"model vgg61 is unknown \(did you mean 'vgg..'\?\); choose one of: alexnet"),
        ("alexnet", None, r"nothing\.pth: no such file"),
        ("alexnet", b"no weights", r"cannot be read"),
        ("squeezenet1_1", {"a": torch.zeros(1)}, r"does not hold the weights of squeezenet1_1: .*Missing key"),
    ],
)
def test_unknown_models_and_wrong_weights_are_refused(
    model: str, content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "nothing.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeakspotError, match=message):
        load_photographs(model, path)


@pytest.mark.slow
def test_the_commands_of_the_page_run(fabric: Path, photos: RunFolder) -> None:
    """Every ``bash`` line of docs/heatmaps.md, on a tiny run under the page's names."""
    page = (ROOT / "docs" / "heatmaps.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [line[1] for line in lines] == [
        "summary", "explain", "explain", "explain", "check", "train", "evaluate", "predict",
    ]  # fmt: skip
    shutil.copytree("photos", "outputs/photos")
    shutil.rmtree("photos")
    shutil.copytree(fabric / "fabric" / "train" / "good", "photos/OK")
    shutil.copytree(fabric / "fabric" / "test" / "hole", "photos/NG")
    Path("new_photos").mkdir()
    shutil.copy(picture(fabric), "new_photos/00.png")
    for _, *arguments in lines:
        if arguments[0] == "train":  # the run is there
            shutil.rmtree("outputs/photos")
            arguments += [*TINY, *ALL_ANOMALY]
        run_command(*arguments)
    assert Path("results/predictions.csv").is_file()


def test_the_page_names_every_method_and_parameter() -> None:
    page = (ROOT / "docs" / "heatmaps.md").read_text(encoding="utf-8")
    procedures = (
        "read_dl_dataset_classification split_dl_dataset preprocess_dl_dataset create_dl_preprocess_param "
        "train_dl_model create_dl_train_param evaluate_dl_model dev_display_classification_evaluation "
        "gen_confusion_matrix gen_interactive_confusion_matrix gen_dl_model_heatmap "
        "gen_dl_model_classification_heatmap gen_dl_samples_from_images preprocess_dl_samples apply_dl_model"
    )
    for name in (*METHODS, *SCALINGS, *procedures.split()):
        assert name in page, name
