"""Real files, damaged at random: each must be read, or refused with one line. ``make fuzz`` runs it for minutes.

Bytes are changed in any file; in JSON also values, keys and nesting. An input that ends in anything but an answer or a
``WeakspotError`` is written to ``fuzz_findings/``, and so is one that kills the process or takes too long.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs this file by itself

import numpy as np
from helpers.backbones import tiny_backbone
from PIL import Image
from pycocotools import mask as coco_mask

from weakspot.config.hydra_app import compose
from weakspot.config.rules import BoxRule
from weakspot.config.schema import TrainConfig, read_config, typed, write_config
from weakspot.data.annotations import read_annotations
from weakspot.data.images import inspect_image, read_image, read_mask
from weakspot.data.manifest import read_rows
from weakspot.data.preprocess import Preprocess
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.models import backbones
from weakspot.models.bundle import load_bundle, save_bundle
from weakspot.models.bundle_meta import META_FILE, WEIGHTS_FILE, BundleMeta, read_meta
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.output_store import OutputStore
from weakspot.models.weight_files import read_state
from weakspot.postprocess.decision import read_validation
from weakspot.postprocess.prediction_files import read_predictions

SLOWEST = 5.0
"""Seconds that one input may take."""

STRANGE = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, 10**400, -0.5, 1e308, float("inf"), float("nan"), "", "=1+1", "\0",
    "\udcff", "../../x", "x" * 5000, [], {}, [[]], [None], {"x": {}}, [0] * 50,
)  # fmt: skip

Reader = Callable[[Path], object]


@dataclass
class Target:
    """A kind of file.

    Attributes:
        file: name it is read under.
        sound: contents to start from.
        read: reads it; errors of the user's are WeakspotErrors.
        change: how to damage it; None for changed bytes, and values where it is JSON.
        tried, read_well: how many inputs, and how many of them were read.
        findings: inputs that were neither read nor refused, and what happened.
    """

    file: str
    sound: list[bytes]
    read: Reader
    change: Callable[[bytes, random.Random], bytes] | None = None
    tried: int = 0
    read_well: int = 0
    findings: list[tuple[bytes, str]] = field(default_factory=list)


def mutated(content: bytes, rng: random.Random, text: bool) -> bytes:
    """The content with a few changes."""
    if text and rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            value = json.loads(content)
            for _ in range(rng.randint(1, 2)):
                value = _other_value(value, rng)
            return json.dumps(value).encode()
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        _change_bytes(data, rng)
    return bytes(data)


def _other_value(value: Any, rng: random.Random) -> Any:
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return copy.deepcopy(rng.choice(STRANGE))
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    if rng.random() < 0.1:
        del value[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        value[str(rng.choice(STRANGE))[:50]] = value.pop(key)
    else:
        value[key] = _other_value(value[key], rng)
    return value


def _change_bytes(data: bytearray, rng: random.Random) -> None:
    if not data:
        data += b"\0"
    # Headers are short and decide most.
    at = rng.randrange(min(len(data), 200) if rng.random() < 0.5 else len(data))
    match rng.randrange(7):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            data[at] = rng.choice((0, 1, 127, 128, 255))
        case 2:
            data[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
        case 3:
            del data[at : at + rng.randint(1, 40)]
        case 4:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        case 5:
            del data[at:]
        case _:
            number = next(re.finditer(rb"-?\d+", data[at:]), None)
            if number:
                data[at + number.start() : at + number.end()] = rng.choice((b"-1", b"1e999", b"99999999999", b"NaN"))


def attempt(target: Target, content: bytes, folder: Path) -> None:
    """Read one input, and keep it if it was neither read nor refused."""
    path = folder / target.file
    path.write_bytes(content)
    start = time.monotonic()
    target.tried += 1
    try:
        target.read(path)
        target.read_well += 1
    except WeakspotError as error:
        if "\n" in str(error):
            target.findings.append((content, f"more than one line: {error}"))
    except Exception as error:  # that is what is looked for
        target.findings.append((content, f"{type(error).__name__}: {error}"))
    if time.monotonic() - start > SLOWEST:
        target.findings.append((content, f"took {time.monotonic() - start:.1f} s"))


def run(targets: dict[str, Target], folder: Path, seed: int, seconds: float, most: int | None = None) -> None:
    """Go round the targets until the time is over, or each had `most` inputs; what is tried depends on the seed."""
    streams = {name: random.Random(f"{seed} {name}") for name in targets}  # noqa: S311 - not for secrets
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end and (most is None or rounds < most):
        rounds += 1
        for name, target in targets.items():
            rng = streams[name]
            text = target.file.endswith((".json", ".jsonl"))
            change = target.change or partial(mutated, text=text)
            attempt(target, change(rng.choice(target.sound), rng), folder)


# --- what is damaged ----------------------------------------------------------------------------------------------


def pictures() -> Iterator[tuple[str, Target]]:
    """Images and masks in every format that is read."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    kinds = {
        "png": [(image, {}), (image.convert("P"), {}), (image.convert("1"), {}), (image.convert("RGBA"), {})],
        "jpeg": [(image, {}), (image.convert("CMYK"), {}), (image, {"progressive": True})],
        "tiff": [(image, {}), (image, {"compression": "tiff_lzw"}), (image.convert("L"), {"compression": "packbits"})],
        "webp": [(image, {"lossless": True}), (image, {"save_all": True, "append_images": [image]})],
        "bmp": [(image, {}), (image.convert("P"), {})],
        "gif": [(image.convert("P"), {"save_all": True, "append_images": [image]})],
    }  # fmt: skip
    for kind, variants in kinds.items():
        sound = []
        for picture, options in variants:
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            sound.append(buffer.getvalue())

        def read(path: Path) -> None:
            info = inspect_image(path)
            if info.error:
                raise WeakspotError(info.error)
            array = read_image(path)
            if array.dtype != np.uint8 or array.shape != (info.height, info.width, 3) or not array.size:
                raise ValueError(f"{array.dtype} {array.shape}")
            read_mask(path, (info.height, info.width))

        yield kind, Target(f"picture.{kind}", sound, read)


def models(folder: Path) -> Iterator[tuple[str, Target]]:
    """Bundles, weights, maps and, where onnx is installed, the description in an exported model."""
    backbones.BACKBONES["tiny"] = tiny_backbone
    meta = BundleMeta(
        classes=["good", "anomaly"], preprocess=Preprocess((64, 96), "torchvision"), backbone="tiny", outputs=2,
        boxes=BoxRule(), thresholds={"decision": {"value": None}}, weights={"origin": "none", "sha256": "random"},
        split_hash="s", data_hash="d",
    )  # fmt: skip
    save_bundle(folder / "bundle", Model(CamNet("tiny").eval()), meta)
    description, tensors = ((folder / "bundle" / name).read_bytes() for name in (META_FILE, WEIGHTS_FILE))
    evidence = {"taps": ["a"], "channels": [[4, 4]], "where_width": 4, "extent_width": 4}
    with_evidence = json.dumps(json.loads(description) | {"evidence": evidence}).encode()

    def read_tensors(path: Path) -> None:
        content = path.read_bytes()
        (folder / "bundle" / WEIGHTS_FILE).write_bytes(content)
        known = json.loads(description) | {"sha256": hashlib.sha256(content).hexdigest()}
        (folder / "bundle" / META_FILE).write_text(json.dumps(known))
        read_state(path)
        load_bundle(folder / "bundle")

    yield "model.json", Target(META_FILE, [description, with_evidence], lambda path: read_meta(path.parent))
    yield "model.safetensors", Target(WEIGHTS_FILE, [tensors], read_tensors)
    store = OutputStore(
        [Path("a.png")], np.full((1, 2), 8), np.zeros((1, 2), np.float32), np.zeros((1, 2, 3, 4), np.float32),
        np.zeros(2, np.float32), np.zeros((1, 3, 4), np.float16), np.zeros((1, 3, 4), np.float16),
    )  # fmt: skip
    store.save(folder / "sound.npz")
    yield "maps.npz", Target("maps.npz", [(folder / "sound.npz").read_bytes()], OutputStore.load)
    with contextlib.suppress(ImportError):
        yield "onnx description", exported(folder, description)


def exported(folder: Path, description: bytes) -> Target:
    """The description in an exported model; the graph itself is for ONNX Runtime's own tests."""
    import onnx
    from onnx import TensorProto, helper

    from weakspot.inference.exported import METADATA_KEY, load_exported

    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def read(path: Path) -> None:
        helper.set_model_props(model, {METADATA_KEY: path.read_bytes().decode("utf-8", "replace")})
        onnx.save(model, folder / "model.onnx")
        load_exported(folder / "model.onnx")

    values = {key: value for key, value in json.loads(description).items() if key != "sha256"}
    return Target("description.json", [json.dumps(values).encode()], read)


def tables(folder: Path) -> Iterator[tuple[str, Target]]:
    """Annotations, manifests, splits, predictions and configurations."""
    boxes = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}
    packed = coco_mask.encode(np.eye(10, 20, dtype=np.uint8, order="F"))["counts"].decode()
    shapes = [[[0, 0, 5, 0, 5, 5]], *({"size": [10, 20], "counts": counts} for counts in ([5, 20, 175], packed))]
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 20}],
        "annotations": [boxes, *({**boxes, "segmentation": shape} for shape in shapes)],
        "categories": [{"id": 1, "name": "anomaly"}],
    }
    bits = f"{800:032b}{7:05b}" + 4 * f"{15:04b}" + f"100{799:016b}{255:08b}"  # one run over 10 × 20 × 4 bytes
    brush = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)]
    values: dict[str, dict[str, Any]] = {
        "rectanglelabels": {"x": 1, "y": 2, "width": 10, "height": 20, "rotation": 30},
        "polygonlabels": {"points": [[0, 0], [50, 0], [50, 50]]},
        "brushlabels": {"format": "rle", "rle": brush},
    }
    size = {"original_height": 10, "original_width": 20}
    studio = [
        {"data": {"image": "a.png"}, "annotations": [{"result": [{"type": kind, "value": value, **size}]}]}
        for kind, value in values.items()
    ]
    annotated = [json.dumps(each).encode() for each in (coco, studio[:2], studio[2:])]
    yield "annotations", Target("truth.json", annotated, read_annotations)
    for name in "ab":
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    here = str(folder).encode()
    csv = b"path,label,part,group\n%s/a.png,good,train,1\n%s/b.png,bad,test,2\n" % (here, here)
    yield "manifest.csv", Target("rows.csv", [csv, csv.replace(b",", b";")], lambda path: read_rows(path, folder))
    lines = [json.dumps({"path": str(folder / f"{name}.png"), "label": "x"}).encode() + b"\n" for name in "ab"]
    yield "manifest.jsonl", Target("rows.jsonl", [lines[0], b"".join(lines)], lambda path: read_rows(path, folder))
    split = b"path,part,defect,mask,group\r\na.png,train,good,,\r\nb.png,test,'=bad,b.png,1\r\n"
    yield "split.csv", Target("split.csv", [split], lambda path: read_split(path, folder))
    prediction = {
        "path": "a.png", "status": "ok", "message": "", "height": 4, "width": 5, "target": None, "label": "anomaly",
        "classes": [{"name": "anomaly", "confidence": 1.0}], "probability": 1.0,
        "boxes": [{"x0": 0, "y0": 0, "x1": 2, "y1": 2, "score": 1.0, "label": "a", "outlines": [[[0, 0], [1, 1]]]}],
    }  # fmt: skip
    yield "predictions", Target("predictions.jsonl", [json.dumps(prediction).encode()], read_predictions)
    validation = json.dumps({"logits": [[0.5, 1.0]], "targets": [1]}).encode()
    yield "validation.json", Target("validation.json", [validation], lambda path: read_validation(path, 2))
    write_config(folder / "config.yaml", typed(compose("train", ["data=folder", "data.root=x"]), TrainConfig))
    yield "config.yaml", Target("config.yaml", [(folder / "config.yaml").read_bytes()], read_config)


def requests(folder: Path, kept_open: contextlib.ExitStack) -> Iterator[tuple[str, Target]]:
    """What is sent to the service, with the bundle that is in `folder`."""
    from robustness import fuzz_service

    found = [picture for _, target in pictures() for picture in target.sound]
    shutil.copytree(folder / "bundle", folder / "served")  # the other is damaged
    service = kept_open.enter_context(fuzz_service.running(folder / "served", found[0]))
    two = [(b"a.png", found[0]), (b"b.jpg", found[4])]
    sound = [fuzz_service.request(two), fuzz_service.request(two, "/predict?map=true", pieces=3)]
    sound += [fuzz_service.request([(name, found[0])], kind=fuzz_service.TYPES[1]) for name in fuzz_service.NAMES]
    change = partial(fuzz_service.hostile_request, pictures=found)
    yield "request", Target("request.http", sound, lambda path: service.send(path.read_bytes()), change)

    def among_good(path: Path) -> None:
        name, _, picture = path.read_bytes().partition(b"\n")
        service.send_among_good(name, picture)

    def changed(content: bytes, rng: random.Random) -> bytes:
        name, _, picture = content.partition(b"\n")
        return rng.choice([name, *fuzz_service.NAMES]) + b"\n" + mutated(picture, rng, text=False)

    sent = [b"c.png\n" + picture for picture in found]
    yield "picture in a batch", Target("upload.bin", sent, among_good, changed)


def all_targets(folder: Path, kept_open: contextlib.ExitStack) -> dict[str, Target]:
    """Every kind of file, and requests; `folder` keeps what they need until `kept_open` is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = dict([*pictures(), *models(folder), *tables(folder)])
    with contextlib.suppress(ImportError):
        targets |= dict(requests(folder, kept_open))
    return targets


def main() -> None:
    """Run for some minutes and print a table; exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    findings = Path("fuzz_findings")
    (findings / "last").mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; if the process dies, what it read last is in {findings}/last")
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as kept_open:
        targets = all_targets(Path(scratch) / "kept", kept_open)
        run(targets, findings / "last", seed, 60 * options.minutes)
    print(f"{'':20}{'inputs':>10}{'read':>10}{'refused':>10}{'findings':>10}")
    for name, target in targets.items():
        refused = target.tried - target.read_well - len(target.findings)
        print(f"{name:20}{target.tried:10}{target.read_well:10}{refused:10}{len(target.findings):10}")
        for content, what in target.findings:
            path = findings / f"{hashlib.sha256(content).hexdigest()[:12]}-{target.file}"
            path.write_bytes(content)
            print(f"  {path}: {what[:200]}")
    sys.exit(any(target.findings for target in targets.values()))


if __name__ == "__main__":
    main()
