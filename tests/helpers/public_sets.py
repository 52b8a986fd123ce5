"""Miniature trees of public data sets, each as its makers ship it: names, folders, masks and tables."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (12, 20)
"""``(height, width)`` of every picture in them."""


def picture(path: Path) -> None:
    """A picture that is like no other in its tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32("/".join(path.parts[-3:]).encode())).integers(
        0, 255, (*SIZE, 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(path)


def mask(path: Path, value: int = 255, columns: slice = slice(4, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(SIZE, dtype=np.uint8)
    pixels[2:5, columns] = value
    Image.fromarray(pixels).save(path)


def visa(root: Path) -> Path:
    for name in ("candle", "pipe_fryum"):
        for number in range(3):
            picture(root / name / f"Data/Images/Normal/{number:04d}.JPG")
        for number in range(2):
            picture(root / name / f"Data/Images/Anomaly/{number:03d}.JPG")
            mask(root / name / f"Data/Masks/Anomaly/{number:03d}.png", value=1 + number)
        (root / name / "image_anno.csv").write_text("image,label,mask\n")
    rows = ["object,split,label,image,mask"]
    for name in ("candle", "pipe_fryum"):
        kinds = {"Normal": ("0000", "0001", "0002"), "Anomaly": ("000", "001")}
        for kind, stems in kinds.items():
            for stem in stems:
                subset = "test" if stem in ("0002", "001") else "train"
                path = f"{name}/Data/Images/{kind}/{stem}.JPG"
                rows.append(f"{name},{subset},{'normal' if kind == 'Normal' else 'anomaly'},{path},")
    (root / "split_csv").mkdir()
    (root / "split_csv" / "2cls_highshot.csv").write_text("\n".join(rows) + "\n")
    return root


def btad(root: Path) -> Path:
    for name, suffix in (("01", "bmp"), ("02", "png"), ("03", "bmp")):
        for path in ("train/ok/0000", "train/ok/0001", "test/ok/0000", "test/ko/0000", "test/ko/0001"):
            picture(root / name / f"{path}.{suffix}")
        for number in range(2):
            mask(root / name / f"ground_truth/ko/000{number}.{'bmp' if name == '03' else 'png'}")
    return root


def mpdd(root: Path) -> Path:
    for name in ("bracket_black", "tubes"):
        for path in ("train/good/000.png", "train/good/001.png", "test/good/000.png", "test/hole/000.png"):
            picture(root / name / path)
        mask(root / name / "ground_truth/hole/000_mask.png")
    return root


def mvtec_ad_2(root: Path) -> Path:
    for name in ("can", "vial"):
        for path in ("train/good/000_regular", "train/good/001_regular", "validation/good/000_regular"):
            picture(root / name / f"{path}.png")
        for light in ("regular", "overexposed"):
            picture(root / name / f"test_public/good/000_{light}.png")
            picture(root / name / f"test_public/bad/000_{light}.png")
            mask(root / name / f"test_public/ground_truth/bad/000_{light}_mask.png")
        picture(root / name / "test_private/000_regular.png")
        picture(root / name / "test_private_mixed/000_mixed.png")
    return root


def mvtec_loco(root: Path) -> Path:
    for name in ("juice_bottle", "pushpins"):
        for path in ("train/good/000", "validation/good/000", "test/good/000"):
            picture(root / name / f"{path}.png")
        for kind in ("logical_anomalies", "structural_anomalies"):
            picture(root / name / f"test/{kind}/000.png")
            mask(root / name / f"ground_truth/{kind}/000/000.png", value=234)
        mask(root / name / "ground_truth/logical_anomalies/000/001.png", value=100, columns=slice(12, 14))
        (root / name / "defects_config.json").write_text("[]")
    return root


def kolektor_sdd(root: Path) -> Path:
    for item in (1, 2):
        for part in range(3):
            picture(root / f"kos{item:02d}/Part{part}.jpg")
            mask(root / f"kos{item:02d}/Part{part}_label.bmp", value=255 * (part == 1))
    return root


def kolektor_sdd2(root: Path) -> Path:
    for subset, first in (("train", 10000), ("test", 20000)):
        for number in range(first, first + 3):
            picture(root / subset / f"{number}.png")
            mask(root / subset / f"{number}_GT.png", value=255 * (number == first))
    mask(root / "train/10000_GT (copy).png")
    return root


def dagm(root: Path) -> Path:
    for name in ("Class1", "Class10"):
        for subset, first in (("Train", 576), ("Test", 1)):
            for number in range(first, first + 3):
                picture(root / name / subset / f"{number:04d}.PNG")
            mask(root / name / subset / "Label" / f"{first:04d}_label.PNG")
            (root / name / subset / "Label" / "Labels.txt").write_text(f"1\n{first}\t1\t{first:04d}.PNG\t0\t0\n")
    return root


def severstal(root: Path) -> Path:
    """Columns 4 to 8 of rows 2 to 4, counted from 1 down the columns."""
    runs = " ".join(f"{column * SIZE[0] + 3} 3" for column in range(4, 9))
    for name in ("0002cc93b.jpg", "0007a71bf.jpg", "000a4bcdd.jpg", "00031f466.jpg"):
        picture(root / "train_images" / name)
    picture(root / "test_images" / "004f40c73.jpg")
    rows = (f"0002cc93b.jpg,1,{runs}", f"0007a71bf.jpg,3,{runs}", "0007a71bf.jpg,4,1 2", f"000a4bcdd.jpg,1,{runs}")
    (root / "train.csv").write_text("\n".join(("ImageId,ClassId,EncodedPixels", *rows)) + "\n")
    (root / "sample_submission.csv").write_text("ImageId,EncodedPixels,ClassId\n")
    return root


def deeppcb(root: Path) -> Path:
    base = root / "PCBData"
    lines = []
    for stem in ("00041000", "00041001", "00041002"):
        for kind in ("temp", "test"):
            picture(base / f"group00041/00041/{stem}_{kind}.jpg")
        boxes = base / f"group00041/00041_not/{stem}.txt"
        boxes.parent.mkdir(exist_ok=True)
        boxes.write_text("4 2 9 5 1\n")
        lines.append(f"group00041/00041/{stem}.jpg group00041/00041_not/{stem}.txt")
    (base / "trainval.txt").write_text("\n".join(lines[:2]) + "\n")
    (base / "test.txt").write_text(lines[2] + "\n")
    picture(root / "fig/test.jpg")
    return root


def bsdata(root: Path) -> Path:
    shape = {"label": "Pitting", "points": [[4, 2], [8, 2], [8, 4], [4, 4]], "shape_type": "polygon"}
    for stem in (
        "01_200828110014_277500_315_crop_2",
        "01_200905041126_277500_315_crop_2",
        "01_200916071922_635000_270_crop_1",
        "01_200828110901_635000_270_crop_2",
    ):
        picture(root / f"data/{stem}.jpg")
    label = root / "label/01_200905041126_277500_315_crop_2.json"
    label.parent.mkdir()
    label.write_text(json.dumps({"shapes": [shape], "imageData": None, "imageHeight": 12, "imageWidth": 20}))
    (root / "image_data.json").write_text("{}")
    return root


TREES: dict[str, Callable[[Path], Path]] = {
    each.__name__: each
    for each in (
        visa, btad, mpdd, mvtec_ad_2, mvtec_loco, kolektor_sdd, kolektor_sdd2, dagm, severstal, deeppcb, bsdata,
    )
}  # fmt: skip
"""What lays out each of them in an empty folder, by the name of its layout."""
