"""Folder layouts: what is read, in which order, and what is refused with which words."""

import json
import re
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.real import REAL_DATA, needs_data
from PIL import Image

import weakspot.data
from weakspot.data.classes import class_names, target_of
from weakspot.data.images import read_mask
from weakspot.data.readers import MVTEC_AD, check_options, read_samples
from weakspot.data.recognise import recognise
from weakspot.data.registry import READERS, reader
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, Sample


def touch(root: Path, *names: str) -> Path:
    """Make empty files: readers look at names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(samples: list[Sample], root: Path) -> list[tuple[str, str, str | None]]:
    return [
        (s.path.relative_to(root).as_posix(), s.defect, s.mask.relative_to(root).as_posix() if s.mask else None)
        for s in samples
    ]


def refused(expected: str, layout: str, root: Path | None, **options: object) -> str:
    with pytest.raises(WeakspotError, match=expected) as caught:
        read_samples(layout, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def hazelnut(tmp_path: Path) -> Path:
    """A parent folder with one small subset."""
    return touch(
        tmp_path,
        *("hazelnut/train/good/002.png", "hazelnut/train/good/001.png", "hazelnut/test/good/000.png"),
        *("hazelnut/test/print/000.png", "hazelnut/test/cut/001.png", "hazelnut/test/cut/000.png"),
        *("hazelnut/ground_truth/cut/000_mask.png", "hazelnut/ground_truth/print/000_mask.png"),
    )


# --------------------------------------------------------------------------------------------------------------- mvtec


def test_mvtec_is_read_in_order_with_masks_by_name(hazelnut: Path) -> None:
    root = hazelnut / "hazelnut"
    expected = [
        ("train/good/001.png", GOOD, None),
        ("train/good/002.png", GOOD, None),
        ("test/good/000.png", GOOD, None),
        ("test/cut/000.png", "cut", "ground_truth/cut/000_mask.png"),
        ("test/cut/001.png", "cut", None),
        ("test/print/000.png", "print", "ground_truth/print/000_mask.png"),
    ]
    assert listed(read_samples("mvtec", hazelnut, subset="hazelnut"), root) == expected
    assert listed(read_samples("mvtec", str(root)), root) == expected


def test_masks_of_other_extensions_and_without_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/1.jpg", "test/cut/a.b.jpg", "test/cut/c_mask.jpg", "test/cut/deep/d.JPG")
    touch(tmp_path, "ground_truth/cut/a.b.bmp", "ground_truth/cut/c_mask_mask.TIF", "ground_truth/cut/deep/d_mask.png")
    assert listed(read_samples("mvtec", tmp_path), tmp_path)[1:] == [
        ("test/cut/a.b.jpg", "cut", "ground_truth/cut/a.b.bmp"),
        ("test/cut/c_mask.jpg", "cut", "ground_truth/cut/c_mask_mask.TIF"),
        ("test/cut/deep/d.JPG", "cut", "ground_truth/cut/deep/d_mask.png"),
    ]


def test_any_folder_name_is_a_subset_and_numbers_too(tmp_path: Path) -> None:
    for name in ("line 3 (new)", "7", "größe=1,2"):
        touch(tmp_path, f"{name}/train/good/1.png", f"{name}/test/x/1.png")
    for subset in ("line 3 (new)", 7, "größe=1,2"):
        assert len(read_samples("mvtec", tmp_path, subset=subset)) == 2


def test_good_folder_in_another_case_or_by_another_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/Good/1.png", "test/GOOD/1.png", "test/cut/1.png")
    refused("'GOOD' and 'Good' differ in letter case only", "mvtec", tmp_path)
    (tmp_path / "test/GOOD").rename(tmp_path / "test/Good")
    assert [s.defect for s in read_samples("mvtec", tmp_path)] == [GOOD, GOOD, "cut"]
    (tmp_path / "train/Good").rename(tmp_path / "train/OK")
    (tmp_path / "test/Good").rename(tmp_path / "test/OK")
    refused("no folder is called 'good', there are: OK, cut; set data.good_class=OK", "mvtec", tmp_path)
    assert [s.defect for s in read_samples("mvtec", tmp_path, good_class="ok")] == [GOOD, GOOD, "cut"]


def test_no_root_tells_where_mvtec_ad_comes_from() -> None:
    text = refused("data.root is not set", "mvtec", None)
    assert "https://www.mvtec.com/company/research/datasets/mvtec-ad" in text
    assert "CC BY-NC-SA 4.0" in text


def test_missing_root_file_as_root_and_unset_subset(hazelnut: Path) -> None:
    refused("data.root=.*nowhere does not exist", "mvtec", hazelnut / "nowhere")
    refused("is a file", "mvtec", hazelnut / "hazelnut/train/good/001.png")
    refused("data.subset is not set; .* holds: hazelnut", "mvtec", hazelnut)
    refused("holds the data itself; leave data.subset out", "mvtec", hazelnut / "hazelnut", subset="hazelnut")
    touch(hazelnut, "other/a/1.png")
    refused("neither train nor test.*data=folder", "mvtec", hazelnut, subset="other")


def test_a_missing_subset_is_suggested_from_the_present_and_the_known(hazelnut: Path) -> None:
    text = refused("data.subset=hazlenut is not in", "mvtec", hazelnut, subset="hazlenut")
    assert "(did you mean 'hazelnut'?); there are: hazelnut" in text
    assert "did you mean 'toothbrush'" in refused("is not in", "mvtec", hazelnut, subset="tothbrush")
    assert "did you mean" not in refused("is not in", "mvtec", hazelnut, subset="carpet")
    (hazelnut / "hazelnut").rename(hazelnut / "line1")
    text = refused("did you mean 'hazelnut'", "mvtec", hazelnut, subset="hazlenut")
    assert "there are: line1" in text
    assert "mvtec.com" in text
    assert len(MVTEC_AD) == len(set(MVTEC_AD)) == 15


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("ground_truth/cut/009_mask.png", r"mask .*ground_truth/cut/009_mask\.png has no image"),
        ("ground_truth/hole/000_mask.png", r"mask .*hole/000_mask\.png has no image"),
        ("test/cut/000.jpg", r"mask .*000_mask\.png fits two images, 000\.\w+ and 000\.\w+"),
        ("train/cut/000.png", r"mask .*000_mask\.png fits two images"),
        ("ground_truth/cut/000.png", r"cut/000\.png has two masks, 000\.png and 000_mask\.png"),
        ("ground_truth/loose.png", r"loose\.png lies in no defect folder"),
        ("test/loose.png", r"test/loose\.png lies in no class folder"),
        ("test/hole/notes.txt", r"test/hole holds no images \(png"),
        ("test/Cut/000.png", "'Cut' and 'cut' differ in letter case only"),
    ],
)
def test_doubtful_folders_are_refused(hazelnut: Path, extra: str, expected: str) -> None:
    touch(hazelnut / "hazelnut", extra)
    refused(expected, "mvtec", hazelnut, subset="hazelnut")


def test_one_kind_of_images_is_not_enough(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/1.png")
    refused("only 'good' images; training needs some with a defect too", "mvtec", tmp_path)
    touch(tmp_path / "b", "test/cut/1.png")
    refused("no folder is called 'good', there are: cut", "mvtec", tmp_path / "b")
    (tmp_path / "c/train").mkdir(parents=True)
    refused("holds no class folders", "mvtec", tmp_path / "c")


@needs_data
def test_magnetic_tile() -> None:
    samples = read_samples("mvtec", REAL_DATA)
    counts = Counter(sample.defect for sample in samples)
    assert counts == {GOOD: 952, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 103}
    assert samples == read_samples("mvtec", REAL_DATA.parent, subset="magnetic_tile")
    assert list(counts) == [GOOD, "blowhole", "break", "crack", "fray", "uneven"]
    empty = 0
    for sample in samples:
        if sample.mask is None:
            assert sample.is_good
            continue
        assert sample.mask.name == f"{sample.path.stem}_mask.png"
        with Image.open(sample.path) as image:
            empty += not read_mask(sample.mask, (image.height, image.width)).any()
    assert empty == 4


# -------------------------------------------------------------------------------------------------------------- folder


def test_folder_per_class_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "line1/OK/x.png", "line1/NG/y.png", "line2/OK/x.png", "._junk.png", ".git/z.png")
    samples = read_samples("folder", tmp_path, good_class="ok")
    assert listed(samples, tmp_path) == [
        ("line1/OK/x.png", GOOD, None),
        ("line2/OK/x.png", GOOD, None),
        ("line1/NG/y.png", "NG", None),
    ]
    assert len(read_samples("folder", tmp_path, subset="line1", good_class="OK")) == 2


def test_several_defect_types(tmp_path: Path) -> None:
    touch(tmp_path, "Good/1.png", "scratch/1.png", "dent/1.png", "dent/0.jpg")
    assert listed(read_samples("folder", tmp_path), tmp_path) == [
        ("Good/1.png", GOOD, None),
        ("dent/0.jpg", "dent", None),
        ("dent/1.png", "dent", None),
        ("scratch/1.png", "scratch", None),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["OK/1.png", "NG/1.png"], "there are: NG, OK; set data.good_class=OK"),
        (["goood/1.png", "NG/1.png"], "data.good_class to one of them (did you mean 'goood'?)"),
        (["a/1.png", "b/1.png"], "there are: a, b; set data.good_class to one of them"),
        (["good/1.png", "NG/1.png", "loose.png"], "loose.png lies in no class folder"),
        (["good/1.png", "NG/readme.txt"], "NG holds no images"),
        (["line1/good/1.png", "line1/NG/readme.txt", "line1/dent/1.png"], "line1/NG holds no images"),
        (["good/1.png", "Scratch/1.png", "scratch/1.png"], "'Scratch' and 'scratch' differ in letter case only"),
        (["good/1.png", "good/inner/1.png", "NG/1.png"], "good holds images and the folder 'inner'"),
        (["good/1.png"], "only 'good' images"),
        (["train/good/1.png", "test/cut/1.png", "ground_truth/cut/1_mask.png"], "use data=mvtec"),
        ([".hidden/1.png"], "holds no class folders"),
    ],
)
def test_doubtful_class_folders_are_refused(tmp_path: Path, names: list[str], expected: str) -> None:
    refused(re.escape(expected), "folder", touch(tmp_path, *names))


def test_a_defect_folder_called_good_cannot_pass_for_good(tmp_path: Path) -> None:
    touch(tmp_path, "OK/1.png", "Good/1.png")
    refused("with data.good_class=OK, 'Good' would be a defect; rename it", "folder", tmp_path, good_class="OK")


def test_folder_needs_a_root(tmp_path: Path) -> None:
    refused("data.root is not set", "folder", None)
    text = refused("data.subset=lime1 is not in", "folder", touch(tmp_path, "line1/OK/x.png"), subset="lime1")
    assert "did you mean 'line1'" in text
    assert "mvtec.com" not in text


# ---------------------------------------------------------------------------------------------- synthetic, registration


def test_synthetic_generates_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, str, dict[str, int | None]]] = []

    def ensure(root: Path, subset: str, **options: int | None) -> Path:
        asked.append((root, subset, options))
        return touch(root / subset, "train/good/1.png", "test/cut/1.png")

    fake = types.ModuleType("weakspot.data.synthetic")
    fake.ensure, fake.PRODUCTS, fake.GENERATOR_VERSION = ensure, {"fabric": None}, 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "weakspot.data.synthetic", fake)
    monkeypatch.setattr(weakspot.data, "synthetic", fake, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [s.defect for s in read_samples("synthetic", None, seed=3, good=8, defect=2)] == [GOOD, "cut"]
    read_samples("synthetic", tmp_path / "own", subset="gear")
    options = {"seed": 3, "good": 8, "defect": 2, "bias": None}
    assert asked == [
        (tmp_path / "cache/weakspot/synthetic/v7-seed3-good8-defect2", "fabric", options),
        (tmp_path / "own", "gear", {"seed": 0, "good": 120, "defect": 16, "bias": None}),
    ]


def test_the_real_generator_fits(tmp_path: Path) -> None:
    samples = read_samples("synthetic", tmp_path, good=4, defect=1)
    assert sum(sample.is_good for sample in samples) == 4
    for sample in samples:
        if sample.mask is not None:
            with Image.open(sample.path) as image:
                assert read_mask(sample.mask, (image.height, image.width)).any()
    assert all(sample.is_good == (sample.mask is None) for sample in samples)


def test_unknown_layouts_and_options_are_refused(tmp_path: Path) -> None:
    refused(
        "data=mvtek is not known .did you mean 'mvtec'.*; use auto, mvtec, folder, filename, manifest, synthetic, visa",
        "mvtek",
        tmp_path,
    )
    refused("data.options.goood is not an option of data=synthetic .did you mean 'good'", "synthetic", None, goood=3)
    refused("data.options.seed is not an option of data=folder; it takes none$", "folder", tmp_path, seed=3)
    with pytest.raises(WeakspotError) as caught:
        check_options("filename", {"good_class": "OK"})
    assert str(caught.value) == (
        "data.options.good_class is not an option of data=filename; set data.good_class instead; it takes pattern"
    )


def test_a_layout_is_one_registered_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "flat", lambda: [])  # so that it is taken out again

    @reader("flat")
    def read_flat(root: Path, *, subset: str | None, good_class: str, separator: str = "_") -> list[Sample]:
        return [Sample(root / f"{good_class}{separator}1.png", GOOD)]

    assert read_samples("flat", "x", separator="-") == [Sample(Path("x/good-1.png"), GOOD)]


# ----------------------------------------------------------------------------------------------------------- file names


def test_labels_from_file_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/OK_1.png", "ok-12.PNG", "b/c/fine crack 2_03.png", "fine crack.jpg", "notes.txt")
    refused("labels 'OK' and 'ok' differ in letter case only", "filename", tmp_path, good_class="ok")
    (tmp_path / "a/OK_1.png").rename(tmp_path / "a/ok_1.png")
    assert listed(read_samples("filename", tmp_path, good_class="OK"), tmp_path) == [
        ("a/ok_1.png", GOOD, None),
        ("ok-12.PNG", GOOD, None),
        ("b/c/fine crack 2_03.png", "fine crack", None),
        ("fine crack.jpg", "fine crack", None),
    ]
    refused("no label is called 'good', there are: fine crack, ok; set data.good_class=ok", "filename", tmp_path)


def test_a_pattern_of_one_s_own(tmp_path: Path) -> None:
    touch(tmp_path, "cam1_good_7.png", "cam2_cut_8.png", "cam2_cut_9.png")
    samples = read_samples("filename", tmp_path, pattern="_([a-z]+)_")
    assert [sample.defect for sample in samples] == [GOOD, "cut", "cut"]
    assert [s.defect for s in read_samples("filename", tmp_path, pattern="good|cut")] == [GOOD, "cut", "cut"]
    refused(r"cam1_good_7\.png: data\.options\.pattern=cut finds no label", "filename", tmp_path, pattern="cut")
    refused(r"data\.options\.pattern=\( is not a regular expression", "filename", tmp_path, pattern="(")
    touch(tmp_path, "007.png")
    refused(r"007\.png: .* finds no label in its name", "filename", tmp_path)
    refused("data.root is not set", "filename", None)


# ------------------------------------------------------------------------------------------------------------ manifests


def table(root: Path, text: str, name: str = "manifest.csv") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return touch(tmp_path / "line", "a.png", "b.png", "in/c.png", "masks/c.png", "../elsewhere.png")


def test_a_manifest_gives_labels_subsets_groups_and_masks(pictures: Path) -> None:
    expected = [
        Sample(pictures / "a.png", GOOD, group="tile 1", subset="train"),
        Sample(pictures / "b.png", GOOD, subset="test"),
        Sample(pictures / "in/c.png", "cut", mask=pictures / "masks/c.png", group="7", subset="val"),
    ]
    rows = "\ufeffpath,label,split,group,mask\r\nin/c.png,cut,val,7,masks/c.png\r\n"
    rows += "./a.png, Good,train,tile 1,\r\nb.png,good,test\r\n"
    refused("labels 'Good' and 'good' differ in letter case", "manifest", table(pictures, rows))
    rows = rows.replace("Good", "good")
    assert read_samples("manifest", table(pictures, rows)) == expected
    assert read_samples("manifest", table(pictures, rows.replace(",", ";"))) == expected
    lines = [
        {"path": "in/c.png", "label": "cut", "subset": "val", "group": 7, "mask": "masks/c.png"},
        {"path": "b.png", "label": "good", "subset": "test", "group": None},
        {"path": "a.png", "label": "good", "part": "train", "group": "tile 1"},
    ]
    table(pictures, "\n\n".join(json.dumps(line) for line in lines), "m.jsonl")
    assert read_samples("manifest", pictures, file="m.jsonl") == expected
    assert read_samples("manifest", pictures.parent, subset="line", file="m.jsonl") == expected


def test_a_table_from_a_spreadsheet_is_read_or_refused_by_its_encoding(pictures: Path) -> None:
    text = "path , label\r\na.png,good\r\nb.png,Riß\r\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (pictures / "manifest.csv").write_bytes(text.encode(encoding))
        assert [sample.defect for sample in read_samples("manifest", pictures)] == [GOOD, "Riß"]
        assert recognise(pictures).labels == ("Riß", "good")
    (pictures / "manifest.csv").write_bytes(text.encode("cp1252"))
    refused(r"manifest\.csv is not UTF-8; save it as UTF-8 \(in a spreadsheet: CSV UTF-8\)$", "manifest", pictures)
    (pictures / "manifest.csv").rename(pictures / "labels.csv")
    with pytest.raises(WeakspotError, match=r"labels\.csv is not UTF-8"):
        recognise(pictures)


def test_paths_start_from_the_table_and_stay_inside(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures)
    table(pictures, "path,label\n../a.png,good\nc.png,cut\n", "in/t.csv")
    for root in (pictures, Path()):
        assert [s.path for s in read_samples("manifest", root, file="in/t.csv")] == [root / "a.png", root / "in/c.png"]
    for name in ("../elsewhere.png", "in/../../elsewhere.png", str(pictures.parent / "elsewhere.png")):
        table(pictures, f"path,label\na.png,good\n{name},cut\n")
        for root in (pictures, Path()):
            refused(
                r"manifest\.csv line 3: .*elsewhere\.png lies outside .*data\.options\.outside=true", "manifest", root
            )
        samples = read_samples("manifest", pictures, outside=True)
        assert samples[1].path == pictures.parent / "elsewhere.png"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("path,label\na.png,good\nx.png,cut\n", r"manifest\.csv line 3: .*x\.png does not exist"),
        ("path,label\na.png,good\nb.png,cut\n./a.png,cut\n", r"line 4: .*a\.png stands on line 2 already"),
        ("path,label,lable\na.png,good,x\n", "line 2: column 'lable' is unknown .did you mean 'label'"),
        ("path;labl\na.png;good\n", "line 2: column 'labl' is unknown"),
        ("path,group\na.png,good\n", "line 2: there is no label"),
        ("path,label\na.png,\n", "line 2: label is empty"),
        ("path,label\n,good\n", "line 2: path is empty"),
        ("path,label\na.png,good,extra\n", "line 2: more cells than columns"),
        ("path,label,part,split\na.png,good,train,train\n", "part and split are the same thing"),
        ("path,label,subset\na.png,good,training\n", "line 2: subset 'training' is unknown .did you mean 'train'"),
        ("path,label,subset\na.png,good,train\nb.png,cut,\n", "line 3 has no subset while others have one"),
        ("path,label,mask\na.png,good,b.png\nb.png,cut,\n", "line 2: a Good image has no mask"),
        ("path,label,mask\nb.png,cut,masks/b.png\n", r"line 2: .*masks/b\.png does not exist"),
        ("path,label\n", "names no image"),
        ("", "names no image"),
        ('path,label\na.png,good\n"b.png,cut', "line 3: not CSV"),
    ],
)
def test_doubtful_tables_are_refused(pictures: Path, rows: str, expected: str) -> None:
    refused(expected, "manifest", table(pictures, rows))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"path": "a.png"', r"m\.jsonl line 2: not JSON"),
        ("[1]", "line 2: not an object"),
        ('{"path": "a.png", "label": ["good"]}', r'line 2: label is \["good"\], which is no text'),
        ('{"path": "a.png", "label": null}', "line 2: label is empty"),
    ],
)
def test_doubtful_lines_are_refused(pictures: Path, line: str, expected: str) -> None:
    table(pictures, f'{{"path": "b.png", "label": "cut"}}\n{line}\n', "m.jsonl")
    refused(expected, "manifest", pictures, file="m.jsonl")


def test_no_table_and_no_root(pictures: Path) -> None:
    refused(r"manifest\.csv: No such file.*data\.options\.file names the table", "manifest", pictures)
    refused("data.root is not set", "manifest", None)


# ------------------------------------------------------------------------------------------------------------- classes


def test_class_names_and_targets() -> None:
    samples = [Sample(Path(f"{n}.png"), defect) for n, defect in enumerate(["scratch", GOOD, "dent", "scratch"])]
    binary, multiclass = class_names(samples, "binary"), class_names(samples, "multiclass")
    assert binary == ["good", "anomaly"]
    assert multiclass == ["good", "dent", "scratch"]
    np.testing.assert_array_equal([target_of(s, binary) for s in samples], [1, 0, 1, 1])
    np.testing.assert_array_equal([target_of(s, multiclass) for s in samples], [2, 0, 1, 2])
    with pytest.raises(WeakspotError, match="'hole' is not one of good, dent, scratch"):
        target_of(Sample(Path("x.png"), "hole"), multiclass)
