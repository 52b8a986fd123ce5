"""Public data sets as their makers ship them: what is read from a miniature of each, and what is refused."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.public_sets import SIZE, TREES, picture
from hydra import compose, initialize_config_dir
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.config.schema import DataConfig, SplitConfig
from weakspot.data.images import read_mask
from weakspot.data.public_trees import PUBLIC
from weakspot.data.readers import read_samples
from weakspot.data.recognise import find_datasets, recognise
from weakspot.data.rle import decode_starts
from weakspot.data.splits import split_samples, with_subsets
from weakspot.errors import WeakspotError
from weakspot.training.dataset import index_and_split
from weakspot.types import GOOD, Sample

DRAWN = np.zeros(SIZE, dtype=bool)
DRAWN[2:5, 4:9] = True


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def laid_out(layout: str, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    return TREES[layout](root)


def read(layout: str, tmp_path: Path, subset: str | None = None, **options: object) -> list[Sample]:
    return read_samples(layout, laid_out(layout, tmp_path), subset=subset, **options)


# Of each: a subset, how many of each defect type, how many with a mask, and the sizes of the groups.
EXPECTED: dict[str, tuple[str | None, dict[str, int], int, list[int]]] = {
    "visa": ("candle", {GOOD: 3, "anomaly": 2}, 2, []),
    "btad": ("03", {GOOD: 3, "ko": 2}, 2, []),
    "mpdd": ("tubes", {GOOD: 3, "hole": 1}, 1, []),
    "mvtec_ad_2": ("vial", {GOOD: 5, "bad": 2}, 2, [1, 1, 1, 2, 2]),
    "mvtec_loco": ("pushpins", {GOOD: 3, "logical_anomalies": 1, "structural_anomalies": 1}, 2, []),
    "kolektor_sdd": (None, {GOOD: 4, "defect": 2}, 2, [3, 3]),
    "kolektor_sdd2": (None, {GOOD: 4, "defect": 2}, 2, []),
    "dagm": ("Class10", {GOOD: 4, "defect": 2}, 2, []),
    "severstal": (None, {GOOD: 1, "defect_1": 2, "several": 1}, 3, []),
    "deeppcb": (None, {GOOD: 3, "defect": 3}, 3, [2, 2, 2]),
    "bsdata": (None, {GOOD: 2, "pitting": 2}, 1, [2, 2]),
}


def test_each_public_set_has_a_tree_and_a_yaml_and_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text("utf-8")
    for layout, known in PUBLIC.items():
        assert layout in TREES
        assert layout in EXPECTED
        assert known.address in page, layout
        assert f"`{layout}`" in page
        with initialize_config_dir(str(ROOT / "conf"), version_base=None):
            assert compose("train", [f"data={layout}"]).data.layout == layout


@pytest.mark.parametrize("layout", PUBLIC)
def test_a_round_trip_gives_labels_masks_and_groups(layout: str, tmp_path: Path) -> None:
    subset, labels, masked, groups = EXPECTED[layout]
    samples = read(layout, tmp_path, subset)
    assert Counter(sample.defect for sample in samples) == labels
    assert [sample.is_good for sample in samples] == sorted((s.is_good for s in samples), reverse=True)
    masks = [sample.mask for sample in samples if sample.mask is not None]
    assert len(masks) == masked
    assert not any(sample.mask for sample in samples if sample.is_good)
    for mask in masks:
        pixels = read_mask(mask, SIZE)
        assert pixels[DRAWN].all()
    sizes = Counter(sample.group for sample in samples if sample.group is not None)
    assert sorted(sizes.values()) == groups
    assert all(sample.subset is None for sample in samples)  # a published split is taken on demand alone


@pytest.mark.parametrize("layout", ["visa", "dagm", "deeppcb", "severstal", "bsdata", "btad"])
def test_masks_show_what_is_marked_and_nothing_else(layout: str, tmp_path: Path) -> None:
    samples = [s for s in read(layout, tmp_path, EXPECTED[layout][0]) if s.mask and s.defect != "several"]
    assert samples
    for sample in samples:
        assert sample.mask is not None
        assert (read_mask(sample.mask, SIZE) == DRAWN).all()


def test_all_masks_of_an_image_are_joined(tmp_path: Path) -> None:
    (logical,) = [s for s in read("mvtec_loco", tmp_path, "pushpins") if s.defect == "logical_anomalies"]
    assert logical.mask is not None
    both = DRAWN.copy()
    both[2:5, 12:14] = True
    assert (read_mask(logical.mask, SIZE) == both).all()


def test_masks_are_drawn_once_and_anew_where_the_source_changes(tmp_path: Path, cache: Path) -> None:
    root = laid_out("deeppcb", tmp_path)
    (first,) = {sample.mask for sample in read_samples("deeppcb", root) if sample.mask}  # the same boxes, one file
    written = first.stat().st_mtime_ns
    assert first.is_relative_to(cache)
    assert first in {sample.mask for sample in read_samples("deeppcb", root)}
    assert first.stat().st_mtime_ns == written
    (root / "PCBData/group00041/00041_not/00041000.txt").write_text("0,0,3,3,2\n")
    again = [sample.mask for sample in read_samples("deeppcb", root) if sample.mask]
    assert again[0] != first
    assert int(read_mask(again[0], SIZE).sum()) == 9


PUBLISHED = {"visa": (3, 2), "kolektor_sdd2": (3, 3), "dagm": (3, 3), "deeppcb": (4, 2)}
"""Images in training and test."""


@pytest.mark.parametrize("layout", PUBLIC)
def test_the_published_split_is_taken_on_demand(layout: str, tmp_path: Path) -> None:
    samples = read(layout, tmp_path, EXPECTED[layout][0])
    if layout not in PUBLISHED:
        with pytest.raises(WeakspotError, match=r"split.file=published: this data set comes with no split that has"):
            with_subsets(samples, Path("published"), tmp_path)
        return
    given = with_subsets(samples, Path("published"), tmp_path)
    found = Counter(split_samples(given))
    assert (found["train"], found["test"]) == PUBLISHED[layout]


def test_a_run_takes_layout_groups_and_published_split(tmp_path: Path) -> None:
    settings = DataConfig("auto", str(laid_out("deeppcb", tmp_path)))
    data = index_and_split(settings, SplitConfig(val_size=0.0, file="published", near_duplicates="ignore"))
    assert [(data.samples[i].group, data.samples[i].defect) for i in data.indices("test")] == [
        ("00041002", GOOD),
        ("00041002", "defect"),
    ]
    grouped = index_and_split(settings, SplitConfig(val_size=0.0, test_size=0.34, near_duplicates="ignore"))
    assert len({grouped.samples[i].group for i in grouped.indices("test")}) == 1


def test_a_published_split_with_holes_is_refused(tmp_path: Path) -> None:
    root = laid_out("visa", tmp_path)
    picture(root / "candle/Data/Images/Normal/0003.JPG")
    with pytest.raises(WeakspotError, match=r"1 of 6 images are in no published subset, .*0003.JPG"):
        with_subsets(read_samples("visa", root, subset="candle"), Path("published"), root)
    table = root / "split_csv/2cls_highshot.csv"
    table.rename(table.with_name("2cls_fewshot.csv"))
    samples = read_samples("visa", root / "candle", split="2cls_fewshot")
    assert sum(sample.published is not None for sample in samples) == 5


@pytest.mark.parametrize("layout", PUBLIC)
def test_each_tree_is_recognised_as_itself_and_as_nothing_else(layout: str, tmp_path: Path) -> None:
    root = laid_out(layout, tmp_path)
    found = find_datasets(root)
    assert {name for _, name in found} == {layout}
    inner = found[0][0]
    assert [name for name, known in PUBLIC.items() if known.recognises(inner)] == [layout]
    one = recognise(inner)
    assert (one.layout, one.folder, one.good_class) == (layout, inner, GOOD)
    assert one.words == PUBLIC[layout].words
    assert len(one.labels) > 1
    subset = EXPECTED[layout][0]
    assert read_samples("auto", root, subset=subset) == read_samples(layout, root, subset=subset)


@pytest.mark.parametrize("layout", ["btad", "kolektor_sdd", "severstal"])
def test_check_names_a_tree_without_any_option(layout: str, tmp_path: Path) -> None:
    root = laid_out(layout, tmp_path)
    told = " ".join(CliRunner().invoke(app, ["check", str(root)], env={"COLUMNS": "300"}).output.split())
    assert f"({PUBLIC[layout].words}, data={layout})" in told
    refused = CliRunner().invoke(app, ["check", str(root), "--layout", "vsia"])
    assert "did you mean 'visa'" in " ".join((refused.output + str(refused.exception)).split())


@pytest.mark.parametrize("layout", PUBLIC)
def test_a_wrong_tree_is_refused_with_what_was_expected_where(layout: str, tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "OK" / "1.png")
    with pytest.raises(WeakspotError) as caught:
        read_samples(layout, tmp_path / "photos")
    text, known = str(caught.value), PUBLIC[layout]
    assert f"{tmp_path / 'photos'} is not laid out like {known.title}: expected " in text
    assert all(pattern in text for pattern in known.holds)
    assert known.address in text
    assert "\n" not in text
    with pytest.raises(WeakspotError, match=r"data.root is not set: give the folder of"):
        read_samples(layout, None)


@pytest.mark.parametrize("layout", [name for name, expected in EXPECTED.items() if expected[0]])
def test_a_folder_of_several_asks_for_a_subset(layout: str, tmp_path: Path) -> None:
    root = laid_out(layout, tmp_path)
    with pytest.raises(WeakspotError, match=r"data.subset is not set; .* holds: \w+, "):
        read_samples(layout, root)
    with pytest.raises(WeakspotError, match=r"data.subset=nothing is not in"):
        read_samples(layout, root, subset="nothing")
    assert len(find_datasets(root, layout)) > 1


def test_the_number_of_a_product_may_be_written_short(tmp_path: Path) -> None:
    assert len(read("btad", tmp_path, "1")) == 5


@pytest.mark.parametrize(
    ("layout", "damaged", "text", "message"),
    [
        ("severstal", "train.csv", "path,label\n", "expected the columns ImageId,ClassId,EncodedPixels"),
        ("severstal", "train.csv", "ImageId,ClassId,EncodedPixels\nno.jpg,1,1 2\n", "no.jpg is not in"),
        ("severstal", "train.csv", "ImageId,ClassId,EncodedPixels\n0002cc93b.jpg,1,1 9999\n", "leave the picture"),
        ("deeppcb", "PCBData/test.txt", "group00041/00041/no.jpg no.txt\n", "no_temp.jpg does not exist"),
        ("deeppcb", "PCBData/test.txt", "../../a.jpg b.txt\n", "expected an image and its boxes, two paths"),
        ("deeppcb", "PCBData/group00041/00041_not/00041000.txt", "a b c d\n", "is no box x0 y0 x1 y1 type"),
        ("severstal", "train.csv", "EncodedPixels,ImageId_ClassId\n1 3\n", "expected the columns"),
        ("bsdata", "label/none.json", "{}", "none.json has no image in"),
        ("bsdata", "label/01_200905041126_277500_315_crop_2.json", "[", "cannot be read as labelme's polygons"),
        ("kolektor_sdd", "kos01/Part1_label.bmp", "no bitmap", "cannot be read as a mask"),
        ("kolektor_sdd2", "train/10009.png", "", "has no mask 10009_GT.png beside it, which tells its class"),
        ("dagm", "Class10/Train/Label/0999_label.PNG", "", "0999_label.PNG has no image"),
        ("mpdd", "tubes/ground_truth/hole/009_mask.png", "", "009_mask.png has no image"),
    ],
)
def test_damaged_trees_are_named_in_one_line(
    layout: str, damaged: str, text: str, message: str, tmp_path: Path
) -> None:
    root = laid_out(layout, tmp_path)
    (root / damaged).write_text(text)
    with pytest.raises(WeakspotError) as caught:
        read_samples(layout, root, subset=EXPECTED[layout][0])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_older_table_of_severstal_is_read_too(tmp_path: Path) -> None:
    root = laid_out("severstal", tmp_path)
    expected = read_samples("severstal", root)
    with (root / "train.csv").open(newline="") as file:
        marked = {(row["ImageId"], row["ClassId"]): row["EncodedPixels"] for row in csv.DictReader(file)}
    names = sorted(path.name for path in (root / "train_images").iterdir())
    rows = [f"{name}_{number},{marked.get((name, number), '')}" for name in names for number in "1234"]
    (root / "train.csv").write_text("\n".join(("ImageId_ClassId,EncodedPixels", *rows)) + "\n")
    assert read_samples("severstal", root) == expected


def test_images_without_labels_are_left_out(tmp_path: Path) -> None:
    names = {sample.path.parent.name for sample in read("mvtec_ad_2", tmp_path, "can")}
    assert names == {"good", "bad"}
    shutil.rmtree(tmp_path / "data")
    assert {sample.path.parent.name for sample in read("severstal", tmp_path)} == {"train_images"}


def test_the_folder_with_the_data_may_be_given_itself(tmp_path: Path) -> None:
    root = laid_out("deeppcb", tmp_path)
    assert read_samples("deeppcb", root / "PCBData") == read_samples("deeppcb", root)
    assert recognise(root / "PCBData").layout == "deeppcb"


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 2 3", "without a length"), ("0 1", "leave"), ("1 -1", "leave"), ("12 2", "leave"), ("1 x", "no numbers")],
)
def test_damaged_run_lengths_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_starts(text, (3, 4))
    assert decode_starts("2 2 12 1", (3, 4)).T.ravel().tolist() == [False, True, True, *[False] * 8, True]


def test_auto_finds_a_usual_good_class(tmp_path: Path) -> None:
    for name in ("OK/1.png", "NG/1.png", "NG/2.png"):
        picture(tmp_path / "photos" / name)
    samples = read_samples("auto", tmp_path / "photos")
    assert [sample.defect for sample in samples] == [GOOD, "NG", "NG"]
    with pytest.raises(WeakspotError, match=r"data.root is not set"):
        read_samples("auto", None)
