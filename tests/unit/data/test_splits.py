"""Splits: who is in which subset, and the file that says so."""

import hashlib
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.real import REAL_DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from weakspot.data.readers import read_samples
from weakspot.data.splits import (
    _strata,
    group_numbers,
    read_split,
    split_hash,
    split_samples,
    with_subsets,
    write_split,
)
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, Sample, Subset


def make(groups: list[str | None] | None = None, **counts: int) -> list[Sample]:
    defects = [defect for defect, count in counts.items() for _ in range(count)]
    groups = groups or [None] * len(defects)
    return [
        Sample(Path(f"/data/{defect}/{number:03d}.png"), defect, group=group)
        for number, (defect, group) in enumerate(zip(defects, groups, strict=True))
    ]


def numbers(subsets: list[Subset], name: str) -> list[int]:
    return [number for number, subset in enumerate(subsets) if subset == name]


# ------------------------------------------------------------------------------------------------------------ hold-out


@pytest.mark.parametrize("seed", [0, 42, 7])
@pytest.mark.parametrize("test_size", [0.2, 0.35, 0.6])
def test_the_test_subset_is_that_of_scikit_learn(seed: int, test_size: float) -> None:
    samples = make(good=50, cut=9, hole=2, dent=17)
    defects = [sample.defect for sample in samples]
    plain = train_test_split(np.arange(78), test_size=test_size, stratify=defects, random_state=seed)[1]
    assert numbers(split_samples(samples, test_size=test_size, seed=seed), "test") == sorted(plain.tolist())


@needs_data
def test_the_test_subset_of_magnetic_tile() -> None:
    samples = read_samples("mvtec", REAL_DATA)
    defects = [sample.defect for sample in samples]
    plain = train_test_split(np.arange(1344), test_size=0.2, stratify=defects, random_state=42)[1]
    subsets = split_samples(samples)
    assert numbers(subsets, "test") == sorted(plain.tolist())
    assert Counter(subsets) == {"train": 1075, "test": 269}
    tested = Counter(sample.defect for sample, subset in zip(samples, subsets, strict=True) if subset == "test")
    assert tested == {GOOD: 191, "blowhole": 23, "break": 17, "crack": 11, "fray": 6, "uneven": 21}


counts = st.fixed_dictionaries(
    {"good": st.integers(20, 60)}, optional={name: st.integers(1, 25) for name in ("cut", "dent", "hole", "scratch")}
).filter(lambda found: sum(found.values()) - found["good"] >= 10)


@settings(max_examples=40, deadline=None)
@given(counts, st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.3, 0.5]), st.sampled_from([0.15, 0.25, 0.5]))
def test_stratified_and_independent_of_validation(
    counts: dict[str, int], seed: int, test_size: float, val_size: float
) -> None:
    samples = make(**counts)
    without = split_samples(samples, test_size=test_size, seed=seed)
    subsets = split_samples(samples, test_size=test_size, val_size=val_size, seed=seed)
    assert len(subsets) == len(samples)
    assert set(subsets) == {"train", "val", "test"}
    assert numbers(subsets, "test") == numbers(without, "test")
    held_out = int(np.ceil(test_size * len(samples)))
    assert len(numbers(subsets, "test")) == held_out
    assert subsets == split_samples(samples, test_size=test_size, val_size=val_size, seed=seed)
    for defect, count in counts.items():
        tested = sum(p == "test" and s.defect == defect for s, p in zip(samples, subsets, strict=True))
        if count > 1 and 1 not in counts.values():
            assert abs(tested - held_out * count / len(samples)) < 1


def test_a_fifth_is_tested_and_nothing_held_out_if_not_told_otherwise() -> None:
    samples = make(good=50, cut=9, hole=2, dent=17)
    assert split_samples(samples) == split_samples(samples, test_size=0.2, val_size=0.0, seed=42)
    assert split_samples(samples) != split_samples(samples, seed=43)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({"good": 9, "cut": 3, "hole": 2, "dent": 1}, 0.5, {"good": 9, "cut": 3, "hole": 3}),  # the smallest other
        ({"good": 9, "cut": 2, "hole": 2, "dent": 1}, 0.5, {"good": 9, "cut": 3, "hole": 2}),  # the first of two
        (
            {"good": 9, "cut": 3, "hole": 1, "dent": 1},
            0.5,
            {"good": 9, "cut": 3, "hole": 2},
        ),  # two lone ones are a type
        ({"good": 9, "hole": 1}, 0.5, {"good": 9, "hole": 1}),
        ({"good": 1, "hole": 4}, 0.5, {"good": 1, "hole": 4}),  # Good is never taken for a defect
        ({"good": 6, "cut": 2, "hole": 2}, 0.25, {"good": 6, "cut": 2, "hole": 2}),  # three types, three held out
        ({"good": 6, "cut": 2, "hole": 2}, 0.2, {"good": 6, "defect": 4}),  # two held out
        ({"good": 6, "cut": 2, "hole": 2}, 0.8, {"good": 6, "defect": 4}),  # two left
    ],
)
def test_what_is_stratified_by(counts: dict[str, int], share: float, expected: dict[str, int]) -> None:
    defects = np.array([sample.defect for sample in make(**counts)])
    assert Counter(_strata(defects, share).tolist()) == expected


def test_validation_is_stratified_too() -> None:
    samples = make(good=100, cut=20, hole=40)
    subsets = split_samples(samples, test_size=0.25, val_size=0.25, seed=1)
    found = Counter((subset, sample.defect) for sample, subset in zip(samples, subsets, strict=True))
    assert (found["test", GOOD], found["val", GOOD]) == (25, 19)
    assert (found["test", "cut"], found["val", "cut"]) == (5, 4)
    assert (found["test", "hole"], found["val", "hole"]) == (10, 7)


@pytest.mark.parametrize(
    "counts",
    [
        {"good": 30, "cut": 9, "hole": 1},
        {"good": 30, "cut": 1, "hole": 1, "dent": 1, "bend": 1, "stain": 1},
        {"good": 12, **{f"type{number}": 2 for number in range(6)}},  # more types than images in the test subset
        {"hole": 1, "good": 30, "cut": 4},
    ],
)
def test_rare_types_never_crash(counts: dict[str, int]) -> None:
    samples = make(**counts)
    for seed in range(5):
        subsets = split_samples(samples, test_size=0.2, val_size=0.2, seed=seed)
        assert set(subsets) == {"train", "val", "test"}
        assert len(numbers(subsets, "test")) == int(np.ceil(0.2 * len(samples)))


# --------------------------------------------------------------------------------------------------------------- folds


def test_folds_are_those_of_scikit_learn_and_tile_the_data() -> None:
    samples = make(good=41, cut=13, hole=2)
    defects = np.array([sample.defect for sample in samples])
    tests = [
        numbers(split_samples(samples, folds=5, fold=fold, seed=3, val_size=0.2, test_size=99.0), "test")
        for fold in range(5)
    ]
    assert sorted(number for test in tests for number in test) == list(range(56))
    with pytest.warns(UserWarning, match="least populated"):
        plain = [t.tolist() for _, t in StratifiedKFold(5, shuffle=True, random_state=3).split(defects, defects)]
    assert tests == plain


@pytest.mark.parametrize("options", [{"test_size": 0.25}, {"folds": 3, "fold": 0}, {"folds": 3, "fold": 2}])
@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together(seed: int, options: dict[str, float]) -> None:
    chosen = np.random.default_rng(seed).integers(0, 30, 90)
    samples = make([f"g{number}" if number < 24 else None for number in chosen], good=60, cut=30)
    subsets = split_samples(samples, val_size=0.3, seed=seed, **options)  # type: ignore[arg-type]
    assert set(subsets) == {"train", "val", "test"}
    for group in {sample.group for sample in samples} - {None}:
        assert len({subset for sample, subset in zip(samples, subsets, strict=True) if sample.group == group}) == 1
    without = split_samples(samples, seed=seed, **options)  # type: ignore[arg-type]
    assert numbers(subsets, "test") == numbers(without, "test")


@pytest.mark.parametrize("groups", [["a"] * 40, ["a"] * 30 + ["b"] * 10])
@pytest.mark.parametrize("options", [{}, {"folds": 2, "fold": 1}])
def test_too_few_groups_are_refused(groups: list[str | None], options: dict[str, int]) -> None:
    with pytest.raises(WeakspotError, match="images of a group stay together"):
        split_samples(make(groups, good=30, cut=10), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "expected"), [(0.2, 20), (0.25, 25), (0.5, 50), (0.75, 75), (0.8, 80)])
def test_grouped_hold_out_has_about_the_size_asked_for(share: float, expected: int) -> None:
    samples = make([f"g{number // 2}" for number in range(100)], good=70, cut=30)
    subsets = split_samples(samples, test_size=share)
    assert abs(len(numbers(subsets, "test")) - expected) <= 2


@pytest.mark.parametrize(("share", "folds"), [(0.2, 5), (0.5, 2), (0.75, 4), (0.01, 50)])
def test_the_grouped_test_subset_is_the_first_fold_of_scikit_learn(share: float, folds: int) -> None:
    groups = np.arange(100) // 2
    samples = make([f"g{number}" for number in groups], good=60, cut=40)
    defects = [sample.defect for sample in samples]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=7)
    fold = next(splitter.split(groups, defects, groups))[1].tolist()
    expected = fold if share <= 0.5 else sorted(set(range(100)) - set(fold))
    if share == 0.01:  # one group: a subset without Good or without a defect
        with pytest.raises(WeakspotError, match=r"the test subset would hold .* \(images of a group stay together"):
            split_samples(samples, test_size=share, seed=7)
    else:
        assert numbers(split_samples(samples, test_size=share, seed=7), "test") == expected


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"test_size": 0.0}, r"split\.test_size=0\.0"),
        ({"test_size": 1.0}, r"split\.test_size=1\.0"),
        ({"test_size": 20}, r"split\.test_size=20"),
        ({"test_size": float("nan")}, r"split\.test_size=nan"),
        ({"test_size": "a fifth"}, r"split\.test_size=a fifth"),
        ({"val_size": 1.0}, r"split\.val_size=1\.0"),
        ({"val_size": -0.1}, r"split\.val_size=-0\.1"),
        ({"seed": -1}, r"split\.seed=-1"),
        ({"seed": None}, r"split\.seed=None"),
        ({"folds": 1, "fold": 0}, r"split\.folds=1: give at least 2"),
        ({"folds": 5}, r"split\.fold=None: with split\.folds=5 give a fold from 0 to 4"),
        ({"folds": 5, "fold": 5}, r"split\.fold=5: with split\.folds=5 give a fold from 0 to 4"),
        ({"folds": 5, "fold": -1}, r"split\.fold=-1"),
        ({"fold": 0}, r"split\.fold=0 needs split\.folds"),
        ({"folds": 11, "fold": 0}, r"30 good and 10 defect images are too few to split: .* at least 11 of each"),
    ],
)
def test_settings_out_of_range_name_their_key(options: dict[str, object], expected: str) -> None:
    with pytest.raises(WeakspotError, match=expected):
        split_samples(make(good=30, cut=10), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "options", "expected"),
    [
        ({}, {}, "0 good and 0 defect images are too few"),
        ({"good": 10}, {}, "10 good and 0 defect images are too few"),
        ({"good": 1, "cut": 10}, {}, "1 good and 10 defect images are too few"),
        (
            {"good": 99, "cut": 2},
            {"test_size": 0.1},
            "test subset would hold 11 good and 0 defect .* 99 good and 2 defect",
        ),
        ({"good": 2, "cut": 2}, {"test_size": 0.5, "val_size": 0.5}, "2 images are too few to hold out 0.5"),
    ],
)
def test_a_subset_without_good_or_defect_is_refused(
    counts: dict[str, int], options: dict[str, float], expected: str
) -> None:
    with pytest.raises(WeakspotError, match=expected):
        split_samples(make(**counts), **options)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------- split.csv

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30).filter(
    lambda name: name.strip(".") != ""
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(names, names, st.none() | names), min_size=1, max_size=5))
def test_any_name_survives_the_csv(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]) -> None:
    root = Path("/data/set")
    samples = [
        Sample(root / defect / name, defect, mask=root / "m" / name if number % 2 else None, group=group)
        for number, (name, defect, group) in enumerate(rows)
    ]
    cycle: list[Subset] = ["train", "val", "test"]
    subsets = [cycle[number % 3] for number in range(len(samples))]
    path = tmp_path_factory.mktemp("csv") / "split.csv"
    write_split(path, samples, subsets, root)
    assert read_split(path, root) == (samples, subsets)


def test_the_csv_is_relative_and_moves_with_its_root(tmp_path: Path) -> None:
    root = tmp_path / "data"
    odd = os.fsdecode(b"not utf-8 \xff.png")
    samples = [
        Sample(root / "good" / 'a, "b"\nc é 名.png', GOOD, group="tile 1"),
        Sample(root / "cut" / odd, "cut", mask=root / "m" / odd),
        Sample(Path("/elsewhere/x.png"), "cut"),
    ]
    subsets: list[Subset] = ["train", "test", "test"]
    path = tmp_path / "run" / "split.csv"
    write_split(path, samples, subsets, root)
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    assert text.startswith('path,subset,defect,mask,group\r\n"good/a, ""b""\nc é 名.png",train,good,,tile 1\r\n')
    assert text.endswith("/elsewhere/x.png,test,cut,,\r\n")
    moved = Path("/moved")
    there, _ = read_split(path, moved)
    assert [sample.path for sample in there] == [
        moved / "good" / 'a, "b"\nc é 名.png',
        moved / "cut" / odd,
        Path("/elsewhere/x.png"),
    ]
    assert there[1].mask == moved / "m" / odd
    assert split_hash(samples, subsets, root) == split_hash(there, subsets, moved)


def test_files_of_version_0_1_call_the_column_part(tmp_path: Path) -> None:
    root, samples = Path("/data"), make(good=2, cut=1)
    subsets: list[Subset] = ["train", "val", "test"]
    write_split(tmp_path / "new.csv", samples, subsets, root)
    text = (tmp_path / "new.csv").read_bytes()
    (tmp_path / "old.csv").write_bytes(text.replace(b"path,subset,", b"path,part,"))
    assert read_split(tmp_path / "old.csv", root) == read_split(tmp_path / "new.csv", root) == (samples, subsets)
    assert [sample.subset for sample in with_subsets(samples, tmp_path / "old.csv", root)] == subsets


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_spreadsheet_may_have_saved_the_split_again(tmp_path: Path, encoding: str) -> None:
    root = Path("/data")
    samples = [Sample(root / "a.png", GOOD), Sample(root / "Riß.png", "cut")]
    text = "path; split;defect\r\na.png;Train;good\r\nRiß.png; TEST ;cut\r\n"
    (tmp_path / "again.csv").write_bytes(text.encode(encoding))
    assert [sample.subset for sample in with_subsets(samples, tmp_path / "again.csv", root)] == ["train", "test"]
    assert read_split(tmp_path / "again.csv", root) == (samples, ["train", "test"])


def test_relative_roots_give_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    here = [Sample(Path("../data/good/1.png"), GOOD)]
    write_split(tmp_path / "a.csv", here, ["train"], Path(".."))
    whole = [Sample(tmp_path / "data/good/1.png", GOOD)]
    write_split(tmp_path / "b.csv", whole, ["train"], tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"data/good/1.png,train,good,," in (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, r"cannot be read as a split \(No such file or directory\); make the split anew"),
        ("", "holds no images"),
        ("path,subset,defect,mask,group\n", "holds no images"),
        (
            "path,subset,defect\na.png,training,good\n",
            r"line 2: subset 'training' is unknown \(did you mean 'train'\?\); use train, val, test$",
        ),
        (
            "file,subset,defect\na.png,train,good\n",
            r"line 2 lacks a path, a subset \(train, val, test\) or a defect; mend it$",
        ),
        (
            'path,subset,defect\na.png,train,good\n"b.png,train,good',
            r"line 3: not CSV \(unexpected end of data\); mend the line$",
        ),
    ],
)
def test_a_spoilt_csv_is_refused(tmp_path: Path, content: str | None, expected: str) -> None:
    path = tmp_path / "split.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WeakspotError, match=expected) as caught:
        read_split(path, tmp_path)
    assert "split.csv" in str(caught.value)


def test_only_images_of_one_group_stay_together() -> None:
    """An image without a group is a group of its own, beside images that have one."""
    samples = make([*["a"] * 5, *[None] * 35, *["b"] * 5, *[None] * 15], good=40, cut=20)
    subsets = split_samples(samples, test_size=0.3)
    assert {subset for sample, subset in zip(samples, subsets, strict=True) if sample.group is None} == {
        "train",
        "test",
    }
    for group in "ab":
        assert len({subset for sample, subset in zip(samples, subsets, strict=True) if sample.group == group}) == 1


@pytest.mark.parametrize("seed", [2**32, 2**32 + 1, -1, 1.0])
def test_seeds_are_what_numpy_takes(seed: int) -> None:
    with pytest.raises(WeakspotError, match=r"split\.seed"):
        split_samples(make(good=20, cut=10), seed=seed)
    assert split_samples(make(good=20, cut=10), seed=2**32 - 1)


def test_a_validation_subset_needs_both_too() -> None:
    expected = (
        "the val subset would hold 2 good and 0 defect images of 20 good and 2 defect images and needs both; "
        "add images, or change split.test_size, split.val_size or split.folds"
    )
    with pytest.raises(WeakspotError, match=f"^{re.escape(expected)}$"):
        split_samples(make(good=20, cut=2), val_size=0.1)


def test_the_hash_knows_subsets_and_defects_but_no_order() -> None:
    samples, root = make(good=3, cut=2), Path("/data")
    subsets: list[Subset] = ["train", "test", "train", "train", "test"]
    reference = split_hash(samples, subsets, root)
    assert len(reference) == 64
    assert split_hash(samples[::-1], subsets[::-1], root) == reference
    assert split_hash(samples, ["test", "train", *subsets[2:]], root) != reference
    relabelled = [Sample(samples[0].path, "cut"), *samples[1:]]
    assert split_hash(relabelled, subsets, root) != reference


def test_the_hash_of_a_split_stays_what_it_was() -> None:
    """Finished runs are found by it."""
    samples = [Sample(Path("/data/a/é.png"), "cut"), Sample(Path("/data/a/1.png"), GOOD)]
    rows = b'[["a/1.png", "train", "good"], ["a/\\u00e9.png", "test", "cut"]]'
    assert split_hash(samples, ["test", "train"], Path("/data")) == hashlib.sha256(rows).hexdigest()
    with pytest.raises(ValueError, match="zip"):
        split_hash(samples, ["test"], Path("/data"))


def test_images_of_a_group_share_a_number_and_others_have_their_own() -> None:
    assert group_numbers(make(["a", None, "b", "a", None], good=5)) == [0, 1, 2, 0, 3]


# ------------------------------------------------------------------------------------------------------- given subsets


def put(samples: list[Sample], subsets: str) -> list[Sample]:
    names: dict[str, Subset] = {"r": "train", "v": "val", "t": "test"}
    return [replace(sample, subset=names[letter]) for sample, letter in zip(samples, subsets, strict=True)]


def test_given_subsets_stay() -> None:
    samples = put(make(good=4, cut=4), "rrvtrrvt")
    for options in ({}, {"val_size": 0.5}, {"seed": 3, "test_size": 0.5}):
        assert split_samples(samples, **options) == [sample.subset for sample in samples]
    only_good = put(make(good=4, cut=3), "rrvtrrt")
    for val_size in (0.0, 0.2):
        assert split_samples(only_good, val_size=val_size) == [sample.subset for sample in only_good]


def test_validation_is_carved_out_of_a_given_training_subset_alone() -> None:
    samples = put(make(good=20, cut=20), "r" * 15 + "t" * 5 + "r" * 15 + "t" * 5)
    subsets = split_samples(samples, val_size=0.2)
    assert [subset == "test" for subset in subsets] == [sample.subset == "test" for sample in samples]
    assert [subsets[:20].count("val"), subsets[20:].count("val")] == [3, 3]
    assert split_samples(samples, val_size=0.2) == subsets


def test_groups_stay_together_in_a_validation_subset_carved_out() -> None:
    groups = [f"g{number // 4}" for number in range(40)]
    samples = put(make(groups, good=20, cut=20), ("r" * 16 + "t" * 4) * 2)
    subsets = split_samples(samples, val_size=0.25)
    assert subsets.count("val") == 8
    assert [subset == "test" for subset in subsets] == [sample.subset == "test" for sample in samples]
    for group in set(groups):
        assert len({subset for subset, mine in zip(subsets, groups, strict=True) if mine == group}) == 1


def test_given_subsets_that_cannot_be_used() -> None:
    samples = put(make(good=4, cut=4), "rrrtrrrt")
    expected = "split.folds and cv cannot cut data whose subsets are given; leave it out, or the subsets"
    with pytest.raises(WeakspotError, match=f"^{re.escape(expected)}$"):
        split_samples(samples, folds=2, fold=0)
    with pytest.raises(WeakspotError, match=r"^1 of 8 images are in no subset; give all one$"):
        split_samples([replace(samples[0], subset=None), *samples[1:]])
    with pytest.raises(
        WeakspotError, match="the val subset would hold 2 good and 0 defect images of 11 good and 3 defect"
    ):
        split_samples(put(make(good=11, cut=3), "r" * 10 + "trrt"), val_size=0.1)
    with pytest.raises(
        WeakspotError, match=r"the test subset would hold 0 good and 1 defect.* \(its subsets were given\)"
    ):
        split_samples(put(make(good=4, cut=4), "rrrrrrrt"))


def test_a_run_s_split_file_is_taken_over(tmp_path: Path) -> None:
    root, samples = Path("/data"), make(good=12, cut=8)
    samples = [replace(sample, path=root / f"{i}.png") for i, sample in enumerate(samples)]
    subsets = split_samples(samples, val_size=0.2)
    write_split(tmp_path / "split.csv", samples, subsets, root)
    again = with_subsets(samples[::-1], tmp_path / "split.csv", root)
    assert [sample.subset for sample in again] == subsets[::-1]
    assert split_samples(again, seed=9) == subsets[::-1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a.png,train\nb.png,test\nc.png,test\n", r"line 4: c\.png is no image of this data set"),
        ("a.png,train\nb.png,test\n/data/a.png,test\n", r"line 4: /data/a\.png was named before"),
        ("a.png,train\n", r"1 of 2 images are not in it, /data/b\.png for one; add a line for each$"),
        ("a.png,training\n", r"line 2: subset 'training' is unknown .did you mean 'train'.*; use train, val, test$"),
        ("a.png,XXXX\n", "line 2: subset 'XXXX' is unknown; use train, val, test$"),
        (",train\n", "line 2 lacks a path or a subset"),
        ("a.png,\n", r"line 2 lacks a path or a subset \(train, val, test\); mend it$"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(tmp_path: Path, rows: str, expected: str) -> None:
    (tmp_path / "s.csv").write_text("path,subset\n" + rows)
    samples = [Sample(Path("/data/a.png"), GOOD), Sample(Path("/data/b.png"), "cut")]
    with pytest.raises(WeakspotError, match=expected) as caught:
        with_subsets(samples, tmp_path / "s.csv", Path("/data"))
    assert "s.csv" in str(caught.value)
