"""Models for other runtimes: the same answers, without torch, or no file at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.backbones import tiny_backbone
from helpers.exports import make_run, quiet

from weakspot.cli import main as cli
from weakspot.data.images import list_images, read_image
from weakspot.errors import WeakspotError
from weakspot.export import model as exporting
from weakspot.export.certificate import Certificate
from weakspot.export.graph import convolutions_before, kept_convolutions, quantise_onnx
from weakspot.export.model import Order, certificate_samples, export_model
from weakspot.inference import exported as runtime
from weakspot.inference import fastest
from weakspot.inference.localizer import Localizer
from weakspot.models import backbones

pytestmark = pytest.mark.slow


KINDS = [("plain", "onnx"), ("refined", "onnx"), ("plain", "openvino"), ("refined", "openvino")]


@pytest.fixture(scope="module")
def runs(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs with both exports each, made once for all tests."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        made = {kind: make_run(folder / kind, fabric, refined=kind == "refined") for kind in ("plain", "refined")}
        for kind, format_ in KINDS:
            export_model(Order(made[kind], format_, count=6), quiet)
    return made


def exported(runs: dict[str, Path], kind: str, format_: str) -> Path:
    return runs[kind] / "exports" / ("model.onnx" if format_ == "onnx" else "model.xml")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("kind", "format_"), KINDS)
def test_exported_models_say_the_same(runs: dict[str, Path], kind: str, format_: str, fabric: Path) -> None:
    images = list_images(fabric)[::9]
    first = list(Localizer.load(runs[kind], "cpu").predict(images))
    path = exported(runs, kind, format_)
    second = list(Localizer.load(path).predict(images))
    assert any(p.boxes for p in first)
    for a, b in zip(first, second, strict=True):
        assert (a.path, a.label, a.size) == (b.path, b.label, b.size)
        assert a.probability == pytest.approx(b.probability, abs=1e-5)
        assert list(a.part_log_odds) == ([] if kind == "plain" else ["classifier", "location"])
        assert dict(a.part_log_odds) == pytest.approx(dict(b.part_log_odds), rel=1e-3, abs=1e-3)
        assert [box.xyxy for box in a.boxes] == [box.xyxy for box in b.boxes]
        assert [box.score for box in a.boxes] == pytest.approx([box.score for box in b.boxes], abs=1e-2)
        assert [box.trust for box in a.boxes] == pytest.approx([box.trust for box in b.boxes], abs=1e-3)
    proof = json.loads(fastest.certificate_path(path).read_text())
    assert proof["passed"]
    assert proof["images"] == proof["same_boxes"] == proof["same_class"] == 6
    assert proof["largest_difference"] < 1e-4
    assert proof["accuracy"]["pytorch"] == proof["accuracy"]["exported"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("kind", "format_"), KINDS)
def test_several_at_once_are_answered_as_one_by_one(
    runs: dict[str, Path], kind: str, format_: str, fabric: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list_images(fabric)[::5]
    opened: list[tuple[int, int]] = []
    path = exported(runs, kind, format_)
    reader = runtime.EXPORTED[path.suffix]

    def noted(path: Path) -> tuple[runtime.Open, str]:
        make, text = reader(path)
        return lambda *threads: (opened.append(threads), make(*threads))[1], text

    monkeypatch.setitem(runtime.EXPORTED, path.suffix, noted)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    localizer = Localizer.load(path)
    singly = [prediction for image in images for prediction in localizer.predict(image)]
    assert opened == [(1, 3)]
    assert [replace(p, output=None) for p in localizer.predict(images)] == [replace(p, output=None) for p in singly]
    list(localizer.predict(images))
    assert opened == [(1, 3), (3, 1)]


@pytest.mark.usefixtures("tiny")
def test_in_eight_bits_what_log_odds_of_location_come_from_stays_as_it_is(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    """OpenVINO crashed on the dense layer of real networks in eight bits, and took the process along."""
    path = tmp_path / "model.onnx"
    path.write_bytes(exported(runs, "refined", "onnx").read_bytes())
    before = list(onnx.load(str(path)).graph.node)
    kept = kept_convolutions(before)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)

    def outputs() -> dict[str, Any]:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return dict(
            zip([o.name for o in session.get_outputs()], session.run(None, {"pictures": pictures}), strict=True)
        )

    exact = outputs()
    quantise_onnx(path, lambda: iter([pictures]))
    nodes = onnx.load(str(path)).graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    in_bits = {
        node.name for node in nodes if node.op_type == "Conv" and made_by.get(node.input[1]) == "DequantizeLinear"
    }
    every = {node.name for node in before if node.op_type == "Conv"}
    assert in_bits == every - set(kept)
    last = convolutions_before(["maps", "mask_logits", "location_logits"], before, all_of_them=False)
    assert len(last) == 3  # class activation maps, location, and mask
    weights = {node.input[1] for node in last}
    ends = [node.name for node in before if node.op_type == "Conv" and node.input[1] in weights]
    assert len(ends) == 4  # the mask head runs twice
    assert set(ends) <= set(kept)
    rounded = outputs()
    assert np.abs(rounded["mask_logits"] - exact["mask_logits"]).max() > 1e-3  # the mask head is rounded
    # The location head reads features that are rounded for other layers too; its own layers are exact.
    np.testing.assert_allclose(rounded["location_logits"], exact["location_logits"], atol=0.05)
    np.testing.assert_allclose(rounded["part_log_odds"][:, 1:], exact["part_log_odds"][:, 1:], atol=0.05)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("kind", ["plain", "refined"])
def test_a_graph_takes_uint8_pictures_in_any_number_and_explains_itself(
    runs: dict[str, Path], kind: str, fabric: Path
) -> None:
    path = exported(runs, kind, "onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape[1:]) == ("pictures", "tensor(uint8)", [64, 96, 3])
    assert isinstance(entry.shape[0], str)
    more = ["mask_logits", "location_logits", "part_log_odds"] if kind == "refined" else []
    names = ["logits", "probabilities", "maps", *more]
    assert [output.name for output in session.get_outputs()] == names
    meta = Localizer.load(path).meta
    pictures = np.stack([meta.preprocess.resize(read_image(image)) for image in list_images(fabric)[:5]])
    together = session.run(None, {"pictures": pictures})
    for i in range(5):
        alone = session.run(None, {"pictures": pictures[i : i + 1]})
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[i], atol=2e-5)
    wanted = [meta.decision.probabilities(logits) for logits in together[0]]
    np.testing.assert_allclose(together[1], wanted, atol=1e-6)
    original = Localizer.load(runs[kind], "cpu").meta
    assert meta == original
    described = json.loads(onnx.load(str(path)).metadata_props[0].value)
    for key in ("classes", "preprocess", "boxes", "decision", "thresholds"):
        assert described[key], key


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("kind", ["plain", "refined"])
def test_one_wrong_weight_and_there_is_no_file(
    runs: dict[str, Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = exporting.write_onnx

    def write_wrong(path: Path, *arguments: Any) -> None:
        write(path, *arguments)
        proto = onnx.load(str(path))
        (weights,) = (w for w in proto.graph.initializer if w.name.endswith("network.stem.0.weight"))
        values = onnx.numpy_helper.to_array(weights).copy()
        values.flat[0] += 0.5
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(proto, str(path))

    monkeypatch.setattr(exporting, "write_onnx", write_wrong)
    with pytest.raises(WeakspotError, match=r"not the same: probabilities differ by up to .*; nothing was written"):
        export_model(Order(runs[kind], output=tmp_path / "new" / "model.onnx", count=3), quiet)
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"largest_difference": 2e-4}, "probabilities differ by up to 0.0002"),
        ({"largest_difference": float("nan")}, "probabilities differ"),
        ({"same_class": 8}, "1 of 9 pictures get another class"),
        ({"same_boxes": 7}, "2 of 9 pictures get other boxes"),
        ({"same_boxes": 7, "tolerance": None}, ""),
        ({"same_levels": 9}, ""),
        ({"same_levels": 6}, "3 of 9 pictures get boxes of another colour"),
        ({"familiarity_difference": 9e-3, "same_familiarity": 9}, ""),
        ({"familiarity_difference": 2e-2, "same_familiarity": 9}, "distances of familiarity differ by up to 0.02"),
        ({"familiarity_difference": float("nan"), "same_familiarity": 0}, "distances of familiarity differ"),
        ({"familiarity_difference": 0.0, "same_familiarity": 5}, "4 of 9 pictures get another familiarity"),
        ({"familiarity_difference": 1.0, "same_familiarity": 5, "tolerance": None}, ""),
    ],
)
def test_what_fails_a_certificate(changes: dict[str, Any], why: str) -> None:
    good = Certificate(9, "fp32", 1e-5, 9, 9, 1e-4, {}, {}, "")
    failure = replace(good, **changes).failure
    assert why in failure
    assert bool(why) == bool(failure)


def test_the_first_pictures_of_a_process_may_come_on_several_threads(runs: dict[str, Path], tmp_path: Path) -> None:
    """OpenVINO's Python module waited for itself for ever, in four of six such processes."""
    code = (
        "import sys, threading\nfrom pathlib import Path\nimport numpy as np\n"
        "from weakspot.inference.exported import load_exported\n"
        f"model, meta = load_exported(Path({str(exported(runs, 'plain', 'openvino'))!r}))\n"
        "many, gate = model.for_many(), threading.Barrier(8)\n"
        "picture = np.zeros((*meta.preprocess.image_size, 3), np.uint8)\n"
        "sys.setswitchinterval(1e-6)\n"
        "found = []\n"
        "def ask():\n    gate.wait()\n    found.extend(many.ask([picture]))\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\n"
        "print(len(found))\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=60, check=True)
        assert done.stdout.strip() == b"8"


@pytest.mark.parametrize(("kind", "format_"), [("refined", "onnx"), ("refined", "openvino")])
def test_predict_without_torch_gives_the_same_files_and_starts_fast(
    runs: dict[str, Path], kind: str, format_: str, fabric: Path, tmp_path: Path, tiny: None
) -> None:
    code = (
        "import sys, time\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'torchvision', 'pytorch_lightning', 'hydra'):\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from weakspot import Localizer\nfrom weakspot.cli import main as cli\n"
        f"Localizer.load({str(exported(runs, kind, format_))!r})\n"
        "print('started', time.process_time())\n"
        "cli.main()\n"
        "assert 'torch' not in sys.modules\n"
    )
    source = fabric / "fabric" / "test"
    command = [sys.executable, "-c", code, "predict", str(exported(runs, kind, format_)), str(source)]
    done = subprocess.run([*command, "--output", "out"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("started ")[1].split()[0]) < 2  # of processor time; a busy machine may take longer
    found = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    known = list(Localizer.load(runs[kind], "cpu").predict(source))
    assert len(found) == len(known) > 10
    for record, prediction in zip(found, known, strict=True):
        assert record["path"] == str(prediction.path)
        assert record["label"] == prediction.label
        assert [(b["x0"], b["y0"], b["x1"], b["y1"]) for b in record["boxes"]] == [b.xyxy for b in prediction.boxes]
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == len(known)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("format_", "precision"), [("onnx", "fp16"), ("onnx", "int8"), ("openvino", "fp16"), ("openvino", "int8")]
)
def test_lower_precision_says_what_it_costs(runs: dict[str, Path], format_: str, precision: str) -> None:
    order = Order(runs["plain"], format_, precision, count=5)
    found = export_model(order, quiet)
    assert order.target.name == f"model.{precision}.{'onnx' if format_ == 'onnx' else 'xml'}"
    assert 0 < found.largest_difference < 0.05
    assert found.tolerance is None
    assert set(found.accuracy) == {"pytorch", "exported"}
    assert next(Localizer.load(order.target).predict(certificate_samples(order)[0].path)).label
    assert fastest.faster_export(runs["plain"]) != (order.target, found.speed["ratio"])


def test_faster_exports_are_named_only_where_that_is_known(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(runs["plain"], tmp_path / "run")
    paths = [run / "exports" / name for name in ("model.onnx", "model.xml")]

    def claim(path: Path, ratio: float, **changes: Any) -> None:
        proof = fastest.certificate_path(path)
        content = json.loads(fastest.certificate_path(exported(runs, "plain", "onnx")).read_text()) | changes
        content["speed"]["ratio"] = ratio
        proof.write_text(json.dumps(content))

    claim(paths[0], 1.3)
    claim(paths[1], 1.2)
    assert fastest.faster_export(run) == (paths[0], 1.3)
    claim(paths[0], 1.01)
    assert fastest.faster_export(run) == (paths[1], 1.2)
    claim(paths[1], 1.2, precision="int8")
    assert fastest.faster_export(run) is None
    claim(paths[1], 1.2, bundle="another")
    assert fastest.faster_export(run) is None
    claim(paths[1], 1.2)
    monkeypatch.setattr(fastest, "machine", lambda: "another")
    assert fastest.faster_export(run) is None


def test_predict_takes_the_faster_export_and_says_so_unless_told_not_to(
    runs: dict[str, Path],
    fabric: Path,
    tmp_path: Path,
    tiny: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(runs["plain"], tmp_path / "run")
    for proof in (run / "exports").glob("*.certificate.json"):  # what this machine measured must not decide the test
        content = json.loads(proof.read_text())
        content["speed"]["ratio"] = 1.37 if proof.name.startswith("model.onnx") else 0.5
        proof.write_text(json.dumps(content))
    image = str(list_images(fabric)[0])

    def said(*options: str) -> str:
        words = ["weakspot", "predict", str(run), image, "--output", str(tmp_path / f"out{len(options)}"), *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().err

    assert "model.onnx: it gives the same answers, 1.37 × as fast" in said()
    assert "model.onnx" not in said("--no-fastest")


@pytest.mark.usefixtures("tiny")
def test_a_folder_of_exported_models_alone_can_be_run(runs: dict[str, Path], tmp_path: Path) -> None:
    handed = shutil.copytree(runs["plain"] / "exports", tmp_path / "line")
    for path in [*handed.glob("*.fp16.*"), *handed.glob("*.int8.*")]:  # of another test
        path.unlink()
    for path in handed.glob("*.certificate.json"):
        content = json.loads(path.read_text())
        content["speed"]["ratio"] = 1.37 if path.name.startswith("model.onnx") else 1.2
        path.write_text(json.dumps(content))
    assert fastest.fastest(handed)[0] == handed / "model.onnx"
    for path in handed.glob("*.certificate.json"):
        path.unlink()
    with pytest.raises(WeakspotError, match=r"several models \(model.onnx, model.xml\); name the one"):
        fastest.fastest(handed)
    (handed / "model.onnx").unlink()
    assert fastest.fastest(handed) == (handed / "model.xml", f"running {handed / 'model.xml'}")
    assert fastest.fastest(runs["plain"], "cuda") == (runs["plain"], "")


@pytest.mark.usefixtures("tiny")
def test_mistakes_are_one_clear_line(
    runs: dict[str, Path], tmp_path: Path, fabric: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = runs["plain"]
    for order, message in (
        ({"format": "onx"}, "did you mean 'onnx'"),
        ({"precision": "int4"}, "--precision int4 is unknown"),
        ({"output": tmp_path / "model.bin"}, r"must end in \.onnx"),
    ):
        with pytest.raises(WeakspotError, match=message):
            Order(plain, **order)
    with pytest.raises(WeakspotError, match="--images FOLDER"):
        export_model(Order(plain / "bundle"), quiet)
    images = fabric / "fabric" / "train"
    with pytest.raises(WeakspotError, match="training pictures"):
        export_model(Order(plain / "bundle", precision="int8", output=tmp_path / "m.onnx", images=images), quiet)
    with pytest.raises(WeakspotError, match="exported models run on the CPU"):
        Localizer.load(exported(runs, "plain", "onnx"), "cuda")
    with pytest.raises(WeakspotError, match="needs the run that it was made of"):
        _ = Localizer.load(exported(runs, "plain", "onnx")).model
    for name in ("none.onnx", "none.xml"):
        with pytest.raises(WeakspotError, match="does not exist"):
            Localizer.load(tmp_path / name)
        (tmp_path / name).write_bytes(b"\x00broken")
        with pytest.raises(WeakspotError, match=r"none\.\w+ is damaged"):
            Localizer.load(tmp_path / name)
    proto = onnx.load(str(exported(runs, "plain", "onnx")))
    proto.metadata_props[0].value = '{"format": 99}'
    onnx.save(proto, str(tmp_path / "future.onnx"))
    with pytest.raises(WeakspotError, match=r"format 99, .*upgrade weakspot: pip install --upgrade weakspot$"):
        Localizer.load(tmp_path / "future.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, str(tmp_path / "foreign.onnx"))
    with pytest.raises(WeakspotError, match="was not made by 'weakspot export model'"):
        Localizer.load(tmp_path / "foreign.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeakspotError, match=r"pip install 'weakspot\[onnx\]'"):
        Localizer.load(exported(runs, "plain", "onnx"))


@pytest.mark.usefixtures("tiny")
def test_tiled_models_are_refused(runs: dict[str, Path], tmp_path: Path, fabric: Path) -> None:
    run = shutil.copytree(runs["plain"], tmp_path / "run")
    described = json.loads((run / "bundle" / "model.json").read_text())
    described["preprocess"]["resizing"] = "tile"
    (run / "bundle" / "model.json").write_text(json.dumps(described))
    with pytest.raises(WeakspotError, match=r"data\.resize=tile cannot be exported"):
        export_model(Order(run, count=2), quiet)
