"""Which image is in which subset: hold-out or folds, stratified by defect type, with groups kept together.

The test subset depends on the samples and on ``split.*`` alone; validation is carved out of what is left.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from weakspot.data.published import PUBLISHED, as_published
from weakspot.data.split_rows import split_rows, subset_in
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import GOOD, SUBSETS, Sample, Subset
from weakspot.utils.files import shown, write_text
from weakspot.utils.spreadsheet import exact, inert, inert_path

Indices = npt.NDArray[np.intp]

_COLUMNS = ("path", "subset", "defect", "mask", "group")


def split_samples(
    samples: Sequence[Sample],
    *,
    test_size: float = 0.2,
    val_size: float = 0.0,
    seed: int = 42,
    folds: int | None = None,
    fold: int | None = None,
) -> list[Subset]:
    """Return the subset of each sample.

    Without folds and groups the test subset is that of scikit-learn's ``train_test_split(np.arange(n),
    test_size=test_size, stratify=defects, random_state=seed)``; with folds it is fold number `fold` of a shuffled
    ``StratifiedKFold``. What those cannot stratify is still split: defect types with a single image are taken for one
    type, a lone one for one of the smallest other type, and where a subset has fewer images than there are types, only
    Good and not-Good are told apart. Where any sample has a group, the images of a group stay together
    (``StratifiedGroupKFold``) and sizes are approximate.

    Samples that were put into subsets beforehand stay there; of the settings only `val_size` counts then, and only
    where none of them is in the validation subset.

    Args:
        samples: the samples, in the order of the reader: another order is another split.
        test_size: share of the samples in the test subset, between 0 and 1; not used with `folds`.
        val_size: share of the remaining samples in the validation subset, from 0 to below 1.
        seed: another seed is another split.
        folds: number of folds, at least 2; None for a hold-out.
        fold: which fold is the test subset, from 0.

    Raises:
        WeakspotError: for settings out of range, and when a subset would lack good or defect images.

    Examples:
        >>> samples = [Sample(Path(f"{i}.png"), "good" if i < 8 else "crack") for i in range(12)]
        >>> subsets = split_samples(samples, test_size=0.25, seed=42)
        >>> sorted(sample.defect for sample, subset in zip(samples, subsets) if subset == "test")
        ['crack', 'good', 'good']
        >>> split_samples(samples, test_size=0.25, seed=42) == subsets
        True
    """
    _check_settings(test_size, val_size, seed, folds, fold)
    given = [sample.subset for sample in samples if sample.subset is not None]
    if given:
        return _split_given(samples, given, val_size, seed, folds)
    defects = np.array([sample.defect for sample in samples])
    groups = _group_numbers(samples)
    everything = np.arange(len(samples))
    _check_enough(samples, 2 if folds is None else folds)
    if folds is not None and fold is not None:
        test = _fold(everything, defects, groups, folds, seed, fold)
    else:
        test = _held_out(everything, defects, groups, test_size, seed)
    subsets = np.full(len(samples), "train", dtype="U5")
    subsets[test] = "test"
    if val_size > 0:
        rest = everything[subsets == "train"]
        subsets[_held_out(rest, defects, groups, val_size, seed)] = "val"
    named: list[Subset] = ["train" if subset == "train" else "val" if subset == "val" else "test" for subset in subsets]
    _check_subsets(samples, named, ("train", "val", "test") if val_size > 0 else ("train", "test"))
    return named


def _split_given(
    samples: Sequence[Sample], given: Sequence[Subset], val_size: float, seed: int, folds: int | None
) -> list[Subset]:
    if folds is not None:
        raise WeakspotError("split.folds and cv cannot cut data whose subsets are given; leave it out, or the subsets")
    if len(given) < len(samples):
        raise WeakspotError(f"{len(samples) - len(given)} of {len(samples)} images are in no subset; give all one")
    subsets = list(given)
    if val_size > 0 and "val" not in subsets:
        defects, groups = np.array([sample.defect for sample in samples]), _group_numbers(samples)
        rest = np.flatnonzero([subset == "train" for subset in subsets])
        for i in _held_out(rest, defects, groups, val_size, seed):
            subsets[i] = "val"
    _check_subsets(samples, subsets, ("train", "test") if "val" in given or val_size == 0 else ("train", "val", "test"))
    return subsets


def _held_out(
    index: Indices, defects: npt.NDArray[np.str_], groups: Indices | None, share: float, seed: int
) -> Indices:
    """Choose about `share` of the samples numbered `index`."""
    if groups is not None:
        # Folds come in whole numbers: of a large share the complement is the fold.
        folds = min(round(1 / min(share, 1 - share)), len(set(groups[index])))
        chosen = _fold(index, defects, groups, max(folds, 2), seed, 0)
        return chosen if share <= 0.5 else np.setdiff1d(index, chosen)
    strata = _strata(defects[index], share)
    try:
        return np.asarray(train_test_split(index, test_size=share, stratify=strata, random_state=seed)[1])
    except ValueError as error:
        raise WeakspotError(
            f"{len(index)} images are too few to hold out {share:g} of them with some of each class; add a few"
        ) from error


def _strata(defects: npt.NDArray[np.str_], share: float) -> npt.NDArray[np.str_]:
    """Return the labels to stratify by: the defect types, as far as ``train_test_split`` can."""
    counts = Counter(defects.tolist())
    single = [name for name, count in counts.items() if count == 1 and name != GOOD]
    others = sorted((count, name) for name, count in counts.items() if count > 1 and name != GOOD)
    strata = defects.copy()
    if single:
        alone = len(single) == 1 and others
        strata[np.isin(defects, single)] = others[0][1] if alone else single[0]
    held_out = int(np.ceil(share * len(defects)))
    if len(set(strata)) > min(held_out, len(defects) - held_out):
        strata = np.where(defects == GOOD, GOOD, "defect")
    return strata


def _fold(
    index: Indices, defects: npt.NDArray[np.str_], groups: Indices | None, folds: int, seed: int, fold: int
) -> Indices:
    """Choose fold number `fold` of the samples numbered `index`."""
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # types with fewer images than folds are dealt out as far as they go
        warnings.simplefilter("ignore", UserWarning)
        try:
            tests = [
                test for _, test in splitter.split(index, defects[index], None if groups is None else groups[index])
            ]
        except ValueError as error:
            kept = "" if groups is None else f" of {len(set(groups[index]))} groups (images of a group stay together)"
            raise WeakspotError(f"{len(index)} images{kept} cannot be split into {folds} folds; add images") from error
    return np.asarray(index[tests[fold]])


def _group_numbers(samples: Sequence[Sample]) -> Indices | None:
    """Return a group number for each sample, a sample without group being a group of its own; None without groups."""
    return None if all(sample.group is None for sample in samples) else np.array(group_numbers(samples))


def group_numbers(samples: Sequence[Sample]) -> list[int]:
    """The number of the group that each image belongs to; an image without a group has a number of its own."""
    numbers: dict[str, int] = {}
    keys = (sample.group or f"image {i}" for i, sample in enumerate(samples))
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _check_settings(test_size: float, val_size: float, seed: int, folds: int | None, fold: int | None) -> None:
    if folds is None and not (isinstance(test_size, float) and 0 < test_size < 1):
        raise WeakspotError(f"split.test_size={test_size}: give a fraction between 0 and 1, such as 0.2")
    if not (isinstance(val_size, float | int) and 0 <= val_size < 1):
        raise WeakspotError(f"split.val_size={val_size}: give a fraction from 0 to below 1, such as 0.1")
    if not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise WeakspotError(f"split.seed={seed}: give a whole number from 0 to 4294967295")
    if folds is None:
        if fold is not None:
            raise WeakspotError(f"split.fold={fold} needs split.folds, the number of folds")
    elif not (isinstance(folds, int) and folds >= 2):
        raise WeakspotError(f"split.folds={folds}: give at least 2 folds, or leave it out for a hold-out")
    elif not (isinstance(fold, int) and 0 <= fold < folds):
        raise WeakspotError(f"split.fold={fold}: with split.folds={folds} give a fold from 0 to {folds - 1}")


def _counts(samples: Sequence[Sample]) -> str:
    good = sum(sample.is_good for sample in samples)
    return f"{good} good and {len(samples) - good} defect images"


def _check_enough(samples: Sequence[Sample], needed: int) -> None:
    good = sum(sample.is_good for sample in samples)
    if min(good, len(samples) - good) < needed:
        raise WeakspotError(
            f"{_counts(samples)} are too few to split: every subset needs both, so give at least {needed} of each"
        )


def _check_subsets(samples: Sequence[Sample], subsets: Sequence[Subset], wanted: Sequence[str]) -> None:
    grouped = any(sample.group is not None for sample in samples)
    note = " (images of a group stay together; split.near_duplicates=report splits near-duplicates)" if grouped else ""
    if any(sample.subset is not None for sample in samples):
        note = " (its subsets were given)"
    for name in wanted:
        inside = [sample for sample, subset in zip(samples, subsets, strict=True) if subset == name]
        if len({sample.is_good for sample in inside}) < 2:
            raise WeakspotError(
                f"the {name} subset would hold {_counts(inside)} of {_counts(samples)} and needs both{note}; "
                "add images, or change split.test_size, split.val_size or split.folds"
            )


def write_split(path: Path, samples: Sequence[Sample], subsets: Sequence[Subset], root: Path) -> None:
    """Write ``split.csv``, whole or not at all.

    Args:
        path: the file to write.
        samples: the samples.
        subsets: the subset of each sample, in the same order.
        root: paths below it are written relative to it, with forward slashes, other paths absolute.
    """
    table = io.StringIO()
    writer = csv.writer(table)  # RFC 4180: line breaks in names survive
    writer.writerow(_COLUMNS)
    for sample, subset in zip(samples, subsets, strict=True):
        files = ("" if path is None else inert_path(portable(path, root)) for path in (sample.path, sample.mask))
        name, mask = files
        writer.writerow((name, subset, inert(sample.defect), mask, inert(sample.group or "")))
    write_text(path, table.getvalue(), errors="surrogateescape")  # names that are not UTF-8 come back as they were


def read_split(path: Path, root: Path) -> tuple[list[Sample], list[Subset]]:
    """Read what :func:`write_split` wrote.

    Args:
        path: the file.
        root: the folder that relative paths start from; it may have moved.

    Raises:
        WeakspotError: naming the file and what is wrong with it.
    """
    samples: list[Sample] = []
    subsets: list[Subset] = []
    for number, row in split_rows(path):
        where = f"{shown(path)} line {number}"
        subset = subset_in(row, where)
        if subset is None or not row.get("path") or not row.get("defect"):
            raise WeakspotError(f"{where} lacks a path, a subset ({', '.join(SUBSETS)}) or a defect; mend it")
        mask, group = row.get("mask"), row.get("group")
        defect, group = exact(row["defect"]), exact(group) if group else None
        samples.append(Sample(root / row["path"], defect, root / mask if mask else None, group))
        subsets.append(subset)
    if not samples:
        raise WeakspotError(f"{shown(path)}: holds no images; make the split anew")
    return samples, subsets


def with_subsets(samples: Sequence[Sample], path: Path, root: Path) -> list[Sample]:
    """Put samples into the subsets that a file gives them, such as another run's ``split.csv``.

    Args:
        samples: of the data set.
        path: a CSV with the columns ``path`` (relative to `root`) and ``subset`` (or ``split``); further columns are
            ignored. Or :data:`~weakspot.data.published.PUBLISHED`.
        root: folder of the data set.

    Raises:
        WeakspotError: when the file names an image twice, names one that does not exist, or leaves one out; and when
            the makers of the data set publish no split.
    """
    if path == Path(PUBLISHED):
        return as_published(samples)
    positions = {portable(sample.path, root): i for i, sample in enumerate(samples)}
    subsets: dict[int, Subset] = {}
    for number, row in split_rows(path):
        where = f"{shown(path)} line {number}"
        subset, name = subset_in(row, where), row.get("path")
        if subset is None or not name:
            raise WeakspotError(f"{where} lacks a path or a subset ({', '.join(SUBSETS)}); mend it")
        position = positions.get(portable(root / name, root))
        if position is None:
            raise WeakspotError(
                f"{where}: {shown(Path(name))} is no image of this data set"
                f"{did_you_mean(name, positions)}; mend the line, or data.root"
            )
        if position in subsets:
            raise WeakspotError(f"{where}: {shown(Path(name))} was named before; remove one line")
        subsets[position] = subset
    left_out = [sample for i, sample in enumerate(samples) if i not in subsets]
    if left_out:
        raise WeakspotError(
            f"{shown(path)}: {len(left_out)} of {len(samples)} images are not in it, {shown(left_out[0].path)} for one;"
            " add a line for each"
        )
    return [replace(sample, subset=subsets[i]) for i, sample in enumerate(samples)]


def split_hash(samples: Sequence[Sample], subsets: Sequence[Subset], root: Path) -> str:
    """Return a SHA-256 (hexadecimal) of which image is in which subset, the same wherever `root` is and in any order.

    Args:
        samples: their paths and defect types count.
        subsets: the subset of each sample, in the same order.
        root: folder of the data set; paths below it count relative to it.
    """
    rows = sorted((portable(s.path, root), subset, s.defect) for s, subset in zip(samples, subsets, strict=True))
    return hashlib.sha256(json.dumps(rows).encode("ascii")).hexdigest()


def portable(path: Path, root: Path) -> str:
    """Return the path with forward slashes, relative to `root` when it lies below, absolute otherwise; without ``..``.

    Links are not resolved: an image is known by the place where the user put it.

    Args:
        path: a file; it need not exist.
        root: folder that the result is relative to.
    """
    whole, base = (Path(os.path.normpath(each.absolute())) for each in (path, root))
    return (whole.relative_to(base) if whole.is_relative_to(base) else whole).as_posix()
