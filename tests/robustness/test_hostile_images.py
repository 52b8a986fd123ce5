"""A folder of the worst files a camera, a person or a program may leave: each is answered rightly or named once."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import TINY, train_config
from PIL import Image
from typer.testing import CliRunner

from weakspot.cli import main as cli
from weakspot.commands.predict import predict
from weakspot.commands.train import train
from weakspot.data.images import inspect_images, list_images
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.training.dataset import read_and_check

pytestmark = pytest.mark.usefixtures("tiny")

BLACK, WHITE = Image.new("L", (90, 60)), Image.new("L", (90, 60), "white")


def png(height: int, width: int, body: bytes = b"\0") -> bytes:
    """A PNG that claims a size, whatever is in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def floating(path: Path, value: float) -> None:
    Image.fromarray(np.full((60, 90), value, np.float32)).save(path)


def locked(path: Path) -> None:
    BLACK.save(path)
    path.chmod(0)


Maker = Callable[[Path], object]

SOUND: dict[str, tuple[Maker, tuple[int, int]]] = {
    "strip.png": (lambda p: Image.new("L", (100_000, 3), 90).save(p), (3, 100_000)),
    "pixel.png": (lambda p: Image.new("RGB", (1, 1)).save(p), (1, 1)),
    "cmyk.jpg": (lambda p: BLACK.convert("CMYK").save(p), (60, 90)),
    "bit.png": (lambda p: BLACK.convert("1").save(p), (60, 90)),
    "pages.tif": (lambda p: BLACK.save(p, save_all=True, append_images=[Image.new("L", (7, 8))] * 3), (60, 90)),
    "moves.webp": (lambda p: BLACK.convert("RGB").save(p, save_all=True, append_images=[WHITE] * 3), (60, 90)),
    "moves_gif.png": (lambda p: BLACK.save(p, "GIF", save_all=True, append_images=[WHITE] * 3), (60, 90)),
    "is_jpeg.png": (lambda p: WHITE.save(p, "JPEG"), (60, 90)),
    "line\nbreak.png": (lambda p: WHITE.save(p), (60, 90)),
    "=1+1.png": (lambda p: WHITE.save(p), (60, 90)),
    "<b>&'.png": (lambda p: WHITE.save(p), (60, 90)),
    os.fsdecode(b"not utf-8 \xff.png"): (lambda p: WHITE.save(p), (60, 90)),
}

BROKEN: dict[str, tuple[Maker, str]] = {
    "bomb.png": (lambda p: p.write_bytes(png(20_000, 10_000)), "million pixels"),
    "larger_bomb.png": (lambda p: p.write_bytes(png(2**31 - 1, 2**31 - 1)), "bomb.png: "),
    "none_high.png": (lambda p: p.write_bytes(png(0, 10)), "none_high.png: "),
    "none_wide.png": (lambda p: p.write_bytes(png(10, 0)), "none_wide.png: "),
    "short.png": (lambda p: p.write_bytes(png(60, 90)), "damaged or cut short"),
    "float.tif": (lambda p: floating(p, 0.5), "floating-point"),
    "nan.tif": (lambda p: floating(p, float("nan")), "floating-point"),
    "text.png": (lambda p: p.write_text("hello"), "not an image"),
    "nothing.png": (lambda p: p.touch(), "empty"),
    "postscript.png": (lambda p: p.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
    "loop.png": (lambda p: p.symlink_to(p.name), "loop.png: "),
    "gone.png": (lambda p: p.symlink_to("nowhere.png"), "no such file"),
    "pipe.png": (os.mkfifo, "not a regular file"),
    "bad\nbreak.png": (lambda p: p.write_text("hello"), "bad\\nbreak.png"),
    **({"locked.png": (locked, "no permission")} if os.geteuid() else {}),  # nothing is locked to root
}


def corpus(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, (make, _) in (*SOUND.items(), *BROKEN.items()):
        make(folder / name)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    return folder


def test_each_file_is_read_rightly_or_named_in_one_line(here: Path) -> None:
    paths = list_images(corpus(here / "files"))
    assert {path.name for path in paths} == SOUND.keys() | BROKEN.keys()
    for info in inspect_images(paths):
        name = info.path.name
        if name in SOUND:
            assert (info.error, (info.height, info.width)) == (None, SOUND[name][1]), name
        else:
            assert info.error is not None, name
            assert BROKEN[name][1] in info.error, name
            assert "\n" not in info.error


@pytest.mark.slow
def test_check_goes_on_and_train_names_the_first(here: Path) -> None:
    corpus(here / "data" / "bad")
    command = train_config("data=folder", "data.root=data", *TINY)
    (here / "data" / "good").mkdir()
    for i in range(4):
        Image.new("L", (90, 60), 10 * i + 10).save(here / "data" / "good" / f"{i}.png")
    with pytest.raises(WeakspotError, match="holds images and the folder 'round'"):  # which label would they have?
        read_and_check(command.data)
    (here / "data" / "bad" / "round").unlink()
    shown = CliRunner().invoke(cli.app, ["check", "data"], env={"COLUMNS": "10000"})
    assert isinstance(shown.exception, SystemExit | WeakspotError), shown.exception
    assert "Traceback" not in shown.output
    for name in BROKEN:
        assert repr(name)[1:-1] in shown.output, name
    with pytest.raises(WeakspotError) as error:
        read_and_check(command.data)
    assert "\n" not in str(error.value)
    assert f"and {len(BROKEN) - 1} more problems" in str(error.value)


@pytest.mark.slow
def test_predict_answers_every_sound_file_and_names_every_other_once(here: Path) -> None:
    for name, start in (("good", 0), ("bad", 100)):
        (here / "data" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (96, 64), start + i).save(here / "data" / name / f"{i}.png")
    command = ["data=folder", "data.root=data", *TINY, "model.class_weights=[1,1000]", "split.near_duplicates=ignore"]
    run = train(train_config(*command))
    paths = list_images(corpus(here / "files"))
    found = list(predict(Localizer.load(run.path), paths, here / "results"))
    assert [prediction.path for prediction in found] == paths
    for prediction in found:
        name = prediction.path.name
        if name in SOUND:
            assert (prediction.status, prediction.message.count("\n")) == ("ok", 0), name
            assert prediction.size == SOUND[name][1]
            assert 0 <= prediction.probability <= 1
            assert all(0 <= b.x0 < b.x1 <= prediction.width for b in prediction.boxes)
            assert all(0 <= b.y0 < b.y1 <= prediction.height for b in prediction.boxes)
        else:
            assert (prediction.status, prediction.boxes) == ("error", ()), name
            assert BROKEN[name][1] in prediction.message, name
    lines = (here / "results" / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == len(paths)
    assert [json.loads(line)["status"] for line in lines] == [prediction.status for prediction in found]
    assert len(read_predictions(here / "results" / "predictions.jsonl")) == len(paths)
    assert len(list((here / "results" / "overlays").iterdir())) == len(SOUND)
