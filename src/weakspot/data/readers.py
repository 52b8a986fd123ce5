"""Folder layouts → ``list[Sample]``: one small function for each layout, chosen by name.

To add a layout, write a function ``(root, *, subset, good_class, …own options) -> list[Sample]``, decorate it with
``@reader("its name")`` and add a yaml under ``conf/data``. Readers here read folder and file names only, never images;
those of public data sets, in ``public_sets`` and ``public_annotated``, read masks where these alone tell the class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from weakspot.data import public_annotated, public_sets
from weakspot.data.class_level import folder_labels
from weakspot.data.classes import defect_names
from weakspot.data.folders import (
    base_folder,
    check_nesting,
    good_first,
    images_of_class,
    no_loose_images,
    pair_masks,
)
from weakspot.data.images import subfolders
from weakspot.data.manifest import read_rows
from weakspot.data.public_trees import PUBLIC
from weakspot.data.recognise import NAME_THEN_NUMBER, recognise
from weakspot.data.registry import READERS, reader
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import GOOD, Sample
from weakspot.utils.files import shown
from weakspot.utils.patterns import found_text

_OF_PUBLIC_SETS = (public_sets, public_annotated)
"""Importing them has registered their readers."""

_OF_EVERY_LAYOUT = ("subset", "good_class")
"""Parameters of every reader, which are keys of their own and no options."""

MVTEC_AD = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
)
"""Subsets of MVTec AD; they only serve suggestions, any folder name is a valid subset."""

_WHERE_FROM = (
    "MVTec AD is at https://www.mvtec.com/company/research/datasets/mvtec-ad (CC BY-NC-SA 4.0, non-commercial use only)"
)


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
        layout: ``auto``, ``mvtec``, ``folder``, ``filename``, ``manifest``, ``synthetic`` or that of a public data set
            in :data:`weakspot.data.public_trees.PUBLIC`, such as ``visa``.
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
    check_options(layout, options)
    path = None if root is None else Path(root).expanduser()
    # Hydra reads data.subset=7 as a number.
    name = None if subset is None else str(subset)
    return READERS[layout](path, subset=name, good_class=str(good_class), **options)


def check_layout(layout: str) -> None:
    """Refuse a layout that nothing reads.

    Args:
        layout: as ``data``.

    Raises:
        WeakspotError: naming those that there are.
    """
    if layout not in READERS:
        names = (*(name for name in READERS if name not in PUBLIC), *PUBLIC)
        raise WeakspotError(f"data={layout} is not known{did_you_mean(layout, READERS)}; use {', '.join(names)}")


def check_options(layout: str, options: Iterable[str]) -> None:
    """Refuse options that a layout does not have.

    Args:
        layout: as ``data``.
        options: keys of ``data.options``.

    Raises:
        WeakspotError: naming those that it has, or the key that was meant; and as :func:`check_layout`.
    """
    check_layout(layout)
    known = list(inspect.signature(READERS[layout]).parameters)[1:]
    own = [key for key in known if key not in _OF_EVERY_LAYOUT]
    for key in options:
        if key not in own:
            hint = f"; set data.{key} instead" if key in _OF_EVERY_LAYOUT else did_you_mean(key, own)
            raise WeakspotError(
                f"data.options.{key} is not an option of data={layout}{hint}; it takes {', '.join(own) or 'none'}"
            )


@reader("auto")
def read_auto(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Find out the layout from the names in the folder, and read it.

    Args:
        root: the data folder.
        subset: a folder in it; None where `root` itself holds the data.
        good_class: what images without a defect are called; where it is left at ``good``, a usual name is found.

    Raises:
        WeakspotError: as :func:`weakspot.data.recognise.recognise` and the reader of the layout that was found.
    """
    if root is None:
        raise WeakspotError("data.root is not set: give the folder of the data, data.root=…")
    found = recognise(base_folder(root, subset))
    good = found.good_class if good_class == GOOD and found.good_class else good_class
    return READERS[found.layout](found.folder, good_class=good, **found.options)


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
        raise WeakspotError(
            "data.root is not set: name the folder of your pictures, 'weakspot train photos/', or that of a data set, "
            f"data.root=…; {_WHERE_FROM}"
        )
    base = _mvtec_base(root, subset)
    labelled: list[tuple[str, Path, Path]] = []  # label, folder of the class, image
    for part in ("train", "test"):
        if (base / part).is_dir():
            no_loose_images(base / part, "class")
            for folder in subfolders(base / part):
                labelled += [(folder.name, folder, image) for image in images_of_class(folder)]
    names = defect_names([label for label, _, _ in labelled], base, good_class)
    masks = pair_masks(base / "ground_truth", labelled)
    samples = []
    for label, _, image in labelled:
        defect = names[label]
        samples.append(Sample(image, defect, mask=None if defect == GOOD else masks.get(image)))
    return good_first(samples, base)


@reader("folder")
def read_folder(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read a folder per class: the label of an image is the name of the folder it lies in, or of one above it.

    Which level of folders has the classes is found by their names, see :mod:`weakspot.data.class_level`.

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
    base = base_folder(root, subset)
    if (base / "ground_truth").is_dir() and ((base / "train").is_dir() or (base / "test").is_dir()):
        raise WeakspotError(f"{shown(base)} has train, test and ground_truth folders as MVTec AD has; use data=mvtec")
    no_loose_images(base, "class")
    images: list[Path] = []
    for folder in subfolders(base):
        images += images_of_class(folder)
        check_nesting(folder)
    labels = folder_labels(images, base, good_class)
    names = defect_names(labels, base, good_class)
    return good_first([Sample(image, names[label]) for label, image in zip(labels, images, strict=True)], base)


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
    base = base_folder(root, subset)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise WeakspotError(f"data.options.pattern={pattern} is not a regular expression ({error})") from error
    labelled: list[tuple[str, Path]] = []
    for image in images_of_class(base):
        label = found_text(expression, image.name)
        if not label:
            raise WeakspotError(
                f"{shown(image)}: data.options.pattern={pattern} finds no label in its name; mend the one or the other"
            )
        labelled.append((label, image))
    names = defect_names([label for label, _ in labelled], base, good_class, "label")
    return good_first([Sample(image, names[label]) for label, image in labelled], base)


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
    base = base_folder(root, subset)
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


def _mvtec_base(root: Path, subset: str | None) -> Path:
    base = base_folder(root, subset, MVTEC_AD, _WHERE_FROM)
    present = [folder.name for folder in subfolders(base)]
    if {"train", "test"} & set(present):
        return base
    nested = [name for name in present if (base / name / "train").is_dir() or (base / name / "test").is_dir()]
    if nested and subset is None:
        raise WeakspotError(f"data.subset is not set; {shown(base)} holds: {', '.join(nested)}")
    way_out = f"set data.root={shown(base)}" if nested else "for one folder per class use data=folder"
    raise WeakspotError(f"{shown(base)} has neither train nor test, so it is not laid out like MVTec AD; {way_out}")
