"""Folder layouts → ``list[Sample]``: one small function for each layout, chosen by name.

To add a layout, write a function ``(root, *, subset, good_class, …own options) -> list[Sample]``, decorate it with
``@reader("its name")`` and add a yaml under ``conf/data``. Readers read folder and file names only, never images.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

from weakspot.data.classes import defect_names
from weakspot.data.folders import check_nesting, images_of_class, no_loose_images, pair_masks
from weakspot.data.images import subfolders
from weakspot.data.manifest import read_rows
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import GOOD, Sample
from weakspot.utils.files import shown

Reader = Callable[..., list[Sample]]

READERS: dict[str, Reader] = {}
"""The layouts by name."""

MVTEC_AD = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
)
"""Subsets of MVTec AD; they only serve suggestions, any folder name is a valid subset."""

_WHERE_FROM = (
    "MVTec AD is at https://www.mvtec.com/company/research/datasets/mvtec-ad (CC BY-NC-SA 4.0, non-commercial use only)"
)
NAME_THEN_NUMBER = r"^(.*?)[-_. \d]*\.[^.]*$"
"""``crack_012.png`` and ``crack-20260101_3.png`` are labelled crack."""


def reader(name: str) -> Callable[[Reader], Reader]:
    """Register a function as the reader of a layout."""

    def register(function: Reader) -> Reader:
        READERS[name] = function
        return function

    return register


def read_samples(
    layout: str,
    root: str | Path | None,
    *,
    subset: str | None = None,
    good_class: str = GOOD,
    **options: object,
) -> list[Sample]:
    """Read a folder of images into samples, Good first, in an order that depends on the names alone.

    Args:
        layout: a name in :data:`READERS`: ``mvtec``, ``folder``, ``filename``, ``manifest`` or ``synthetic``.
        root: the data folder; None takes the layout's default where it has one.
        subset: a folder in `root`; None where `root` itself holds the data.
        good_class: name of the folder of images without defects, in any letter case.
        **options: further options of the layout (``filename``: pattern; ``manifest``: file, outside; ``synthetic``:
            seed, good, defect, bias).

    Returns:
        A sample for each image.

    Raises:
        WeakspotError: for an unknown layout or option, and for anything in the folder that makes labels doubtful.

    Examples:
        Only names are read here; what is in the files counts later.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("ok/1.png", "ok/2.png", "crack/1.png"):
        ...         Path(root, name).parent.mkdir(exist_ok=True)
        ...         Path(root, name).touch()
        ...     samples = read_samples("folder", root, good_class="ok")
        >>> [(sample.path.name, sample.defect) for sample in samples]
        [('1.png', 'good'), ('2.png', 'good'), ('1.png', 'crack')]
    """
    if layout not in READERS:
        raise WeakspotError(f"data={layout} is not known{did_you_mean(layout, READERS)}; use {', '.join(READERS)}")
    known = list(inspect.signature(READERS[layout]).parameters)[1:]
    for key in options:
        if key not in known:
            raise WeakspotError(
                f"data.options.{key} is not an option of data={layout}{did_you_mean(key, known)}; "
                f"it takes {', '.join(known)}"
            )
    path = None if root is None else Path(root).expanduser()
    # Hydra reads data.subset=7 as a number.
    name = None if subset is None else str(subset)
    return READERS[layout](path, subset=name, good_class=str(good_class), **options)


@reader("mvtec")
def read_mvtec(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read the layout of MVTec AD.

    The folder holds ``train/good``, ``test/good``, ``test/<defect>`` and, where there are masks,
    ``ground_truth/<defect>/<stem>_mask.<extension>`` (or ``<stem>.<extension>``).

    Args:
        root: the data folder.
        subset: a folder in it, such as ``bottle``; None where `root` itself holds ``train`` and ``test``.
        good_class: name of the folders of images without a defect, in any letter case.

    Returns:
        A sample for each image, Good first; defect images have their mask where there is one.

    Raises:
        WeakspotError: when a folder is missing or the labels or masks are doubtful; the message says what to do.
    """
    if root is None:
        raise WeakspotError(f"data.root is not set: give the folder of the data set, data.root=…; {_WHERE_FROM}")
    base = _mvtec_base(root, subset)
    labelled: list[tuple[str, Path, Path]] = []  # label, folder of the class, image
    for subset in ("train", "test"):
        if (base / subset).is_dir():
            no_loose_images(base / subset, "class")
            for folder in subfolders(base / subset):
                labelled += [(folder.name, folder, image) for image in images_of_class(folder)]
    names = defect_names([label for label, _, _ in labelled], base, good_class)
    masks = pair_masks(base / "ground_truth", labelled)
    samples = []
    for label, _, image in labelled:
        defect = names[label]
        samples.append(Sample(image, defect, mask=None if defect == GOOD else masks.get(image)))
    return _good_first(samples, base)


@reader("folder")
def read_folder(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read a folder per class: the label of an image is the name of the folder it lies in, at any depth.

    Args:
        root: the data folder.
        subset: a folder in it; None where `root` itself holds the class folders.
        good_class: name of the folder of images without a defect, in any letter case.

    Returns:
        A sample for each image, Good first, without masks.

    Raises:
        WeakspotError: when a folder is missing or empty, an image lies beside the class folders, or the layout is that
            of MVTec AD.
    """
    if root is None:
        raise WeakspotError("data.root is not set: give the folder with a folder per class, data.root=…")
    base = _base(root, subset, [])
    if (base / "ground_truth").is_dir() and ((base / "train").is_dir() or (base / "test").is_dir()):
        raise WeakspotError(f"{shown(base)} has train, test and ground_truth folders as MVTec AD has; use data=mvtec")
    no_loose_images(base, "class")
    labelled: list[tuple[str, Path]] = []
    for folder in subfolders(base):
        labelled += [(image.parent.name, image) for image in images_of_class(folder)]
        check_nesting(folder)
    names = defect_names([label for label, _ in labelled], base, good_class)
    return _good_first([Sample(image, names[label]) for label, image in labelled], base)


@reader("filename")
def read_filename(
    root: Path | None, *, subset: str | None = None, good_class: str = GOOD, pattern: str = NAME_THEN_NUMBER
) -> list[Sample]:
    """Read the label out of every image's file name, in whatever folder it lies.

    Args:
        root: the data folder.
        subset: a folder in it; None where `root` itself holds the images.
        good_class: label of the images without a defect, in any letter case.
        pattern: regular expression that is searched for in the file name; what its first pair of brackets matches is
            the label, or the whole match where there are no brackets. By default the name without the numbers at its
            end.

    Raises:
        WeakspotError: for a pattern that is no regular expression, or an image in whose name it finds no label.
    """
    if root is None:
        raise WeakspotError("data.root is not set: give the folder with the images, data.root=…")
    base = _base(root, subset, [])
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise WeakspotError(f"data.options.pattern={pattern} is not a regular expression ({error})") from error
    labelled: list[tuple[str, Path]] = []
    for image in images_of_class(base):
        match = expression.search(image.name)
        label = match and match.group(1 if expression.groups else 0)
        if not label:
            raise WeakspotError(
                f"{shown(image)}: data.options.pattern={pattern} finds no label in its name; mend the one or the other"
            )
        labelled.append((label, image))
    names = defect_names([label for label, _ in labelled], base, good_class, "label")
    return _good_first([Sample(image, names[label]) for label, image in labelled], base)


@reader("manifest")
def read_manifest(
    root: Path | None,
    *,
    subset: str | None = None,
    good_class: str = GOOD,
    file: str = "manifest.csv",
    outside: bool = False,
) -> list[Sample]:
    """Read a table that names every image and its label; its columns are in :mod:`weakspot.data.manifest`.

    Args:
        root: the data folder.
        subset: a folder in it; None where `root` itself holds the table.
        good_class: label of the images without a defect, in any letter case.
        file: the table, relative to that folder.
        outside: whether the table may name files that are not in that folder.

    Raises:
        WeakspotError: as :func:`~weakspot.data.manifest.read_rows`, and for a Good image with a mask.
    """
    if root is None:
        raise WeakspotError("data.root is not set: give the folder that holds the table, data.root=…")
    base = _base(root, subset, [])
    table = base / str(file)
    rows = read_rows(table, base, outside=outside)
    names = defect_names([row.label for row in rows], table, good_class, "label")
    samples = []
    for row in rows:
        if row.mask is not None and names[row.label] == GOOD:
            raise WeakspotError(f"{row.where}: a Good image has no mask; leave it out or mend the label")
        samples.append(Sample(row.path, names[row.label], mask=row.mask, group=row.group, subset=row.subset))
    return sorted(samples, key=lambda sample: (not sample.is_good, sample.defect, sample.path.parts))


@reader("synthetic")
def read_synthetic(
    root: Path | None,
    *,
    subset: str | None = None,
    good_class: str = GOOD,
    seed: int = 0,
    good: int = 120,
    defect: int = 16,
    bias: str | None = None,
) -> list[Sample]:
    """Generate a data set on first use, by default in the user's cache folder, and read it.

    Args:
        root: folder of the data set; None takes one in the user's cache folder for these very options.
        subset: ``fabric`` and the other names of :data:`weakspot.data.synthetic.PRODUCTS`; None takes the first.
        good_class: name of the folders of images without a defect.
        seed: another seed makes other pictures.
        good: number of Good images.
        defect: number of images of each defect type.
        bias: a shortcut to plant in every defect image, see :mod:`weakspot.data.synthetic.biases`; None plants none.

    Returns:
        As :func:`read_mvtec`.

    Raises:
        WeakspotError: as :func:`weakspot.data.synthetic.ensure`.
    """
    from weakspot.data import synthetic  # drawing code that no other layout needs

    if root is None:  # a folder for each choice of options, since one folder holds one data set
        cache = Path(platformdirs.user_cache_dir("weakspot"))
        planted = f"-{bias}" if bias else ""
        root = cache / "synthetic" / f"v{synthetic.GENERATOR_VERSION}-seed{seed}-good{good}-defect{defect}{planted}"
    name = subset or next(iter(synthetic.PRODUCTS))
    folder = synthetic.ensure(root, name, seed=seed, good=good, defect=defect, bias=bias)
    return read_mvtec(folder, good_class=good_class)


def _base(root: Path, subset: str | None, known: Sequence[str]) -> Path:
    """Return the folder of the subset, or an error that suggests what was meant."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise WeakspotError(f"data.root={shown(root)} {what}; give the folder that holds the data, data.root=…")
    base = root / subset if subset else root
    if base.is_dir():
        return base
    present = [folder.name for folder in subfolders(root)]
    if {"train", "test"} & set(present):
        raise WeakspotError(f"data.subset={subset}: {shown(root)} holds the data itself; leave data.subset out")
    # A subset that is spelt right and was never downloaded must not be taken for a misspelt one.
    hint = did_you_mean(str(subset), present if subset in known else {*present, *known})
    listed = f"there are: {', '.join(present)}" if present else "it has no folders"
    source = f"; {_WHERE_FROM}" if known else ""
    raise WeakspotError(f"data.subset={subset} is not in {shown(root)}{hint}; {listed}{source}")


def _mvtec_base(root: Path, subset: str | None) -> Path:
    base = _base(root, subset, MVTEC_AD)
    present = [folder.name for folder in subfolders(base)]
    if {"train", "test"} & set(present):
        return base
    nested = [name for name in present if (base / name / "train").is_dir() or (base / name / "test").is_dir()]
    if nested and subset is None:
        raise WeakspotError(f"data.subset is not set; {shown(base)} holds: {', '.join(nested)}")
    way_out = f"set data.root={shown(base)}" if nested else "for one folder per class use data=folder"
    raise WeakspotError(f"{shown(base)} has neither train nor test, so it is not laid out like MVTec AD; {way_out}")


def _good_first(samples: list[Sample], base: Path) -> list[Sample]:
    """Sort by Good before defects, train before test, then by name, so that a seed means the same split everywhere."""

    def key(sample: Sample) -> tuple[bool, bool, str, tuple[str, ...]]:
        parts = sample.path.relative_to(base).parts
        return not sample.is_good, parts[0] != "train", sample.defect, parts

    return sorted(samples, key=key)


def find_datasets(folder: Path, layout: str = "auto") -> list[tuple[Path, str]]:
    """Return the data sets at or right below a folder, each with the name of its layout.

    Args:
        folder: a data set, or a folder of MVTec AD subsets.
        layout: a name in :data:`READERS`, or ``auto``: MVTec AD where there is a ``train`` or ``test`` folder with
            class folders in it, several subsets where that holds one level down, else a folder per class.

    Raises:
        WeakspotError: when the folder does not exist or the layout is unknown.
    """
    if not folder.is_dir():
        raise WeakspotError(f"{shown(folder)} is not a folder; give the folder of a data set")
    if layout != "auto":
        if layout not in READERS:
            raise WeakspotError(
                f"layout {layout} is not known{did_you_mean(layout, READERS)}; use {', '.join(READERS)}"
            )
        return [(folder, layout)]
    if _looks_like_mvtec(folder):
        return [(folder, "mvtec")]
    below = [(child, "mvtec") for child in subfolders(folder) if _looks_like_mvtec(child)]
    return below or [(folder, "folder")]


def _looks_like_mvtec(folder: Path) -> bool:
    return any(subfolders(folder / subset) for subset in ("train", "test") if (folder / subset).is_dir())
