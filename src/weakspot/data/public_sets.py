"""Readers of public data sets that come with a mask picture for each defect, as their makers ship them.

What lies where is in :mod:`weakspot.data.public_trees`. Good is known in each of them, so ``data.good_class`` is not
needed. Groups that the set's own structure tells are set without asking. A split that its makers publish is only noted;
``split.file=published`` takes it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from weakspot.data.folders import good_first, images_of_class, pair_masks
from weakspot.data.images import is_image, list_images, subfolders
from weakspot.data.made_masks import joined_mask, marked
from weakspot.data.public_trees import located
from weakspot.data.registry import reader
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, SUBSETS, Sample, Subset
from weakspot.utils.files import shown
from weakspot.utils.threads import each

_SUBSETS: dict[str, Subset] = {subset: subset for subset in SUBSETS}


@reader("visa")
def read_visa(
    root: Path | None, *, subset: str | None = None, good_class: str = GOOD, split: str = "2cls_highshot"
) -> list[Sample]:
    """Read VisA: ``<object>/Data/Images/Normal``, ``Anomaly`` and ``<object>/Data/Masks/Anomaly``.

    Its masks hold the number of a defect's type, 1 upwards, so they are drawn anew in black and white.

    Args:
        root: the folder with the objects and ``split_csv``, or the folder of an object.
        subset: an object, such as ``candle``.
        good_class: not used, as the folder is called ``Normal``.
        split: the published split, a file in ``split_csv``: ``2cls_highshot`` or ``2cls_fewshot``.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of VisA, or a mask cannot be read.
    """
    base = located(root, subset, "visa")
    published = _visa_split(base, split)
    masks = {path.stem: path for path in _listed(base / "Data" / "Masks" / "Anomaly")}
    samples = []
    for folder, defect in (("Normal", GOOD), ("Anomaly", "anomaly")):
        for image in images_of_class(base / "Data" / "Images" / folder):
            file = None if defect == GOOD else masks.get(image.stem)
            mask = None if file is None else joined_mask([file])
            of_image = published.get(image.relative_to(base).as_posix())
            samples.append(Sample(image, defect, mask=mask, published=of_image))
    return good_first(samples, base)


def _visa_split(base: Path, name: str) -> dict[str, Subset]:
    """The published subset by path relative to the object's folder; empty where the file is not there."""
    table = base.absolute().parent / "split_csv" / f"{name}.csv"
    if not table.is_file():
        return {}
    found: dict[str, Subset] = {}
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for row in csv.DictReader(file):
            folder, _, path = (row.get("image") or "").partition("/")
            if folder == base.absolute().name and row.get("split") in _SUBSETS:
                found[path] = _SUBSETS[row["split"]]
    return found


@reader("btad")
def read_btad(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read BTAD: ``<product>/train/ok``, ``test/ok``, ``test/ko`` and ``ground_truth/ko``.

    Args:
        root: the folder with the products, or the folder of a product.
        subset: a product: ``01``, ``02`` or ``03``.
        good_class: not used, as the folder is called ``ok``.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of BTAD, or a mask has no image.
    """
    # Hydra reads data.subset=01 as the number 1.
    name = subset.zfill(2) if subset is not None and subset.isdigit() else subset
    return _like_mvtec(located(root, name, "btad"), ("train", "test"), "ok")


@reader("mpdd")
def read_mpdd(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read MPDD, which is laid out like MVTec AD.

    Args:
        root: the folder with the parts, or the folder of a part.
        subset: a part, such as ``bracket_black``.
        good_class: not used, as the folder is called ``good``.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of MPDD, or a mask has no image.
    """
    return _like_mvtec(located(root, subset, "mpdd"), ("train", "test"), GOOD)


@reader("mvtec_ad_2")
def read_mvtec_ad_2(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read MVTec AD 2: ``train/good``, ``validation/good``, ``test_public`` and the masks in it.

    Photographs of one scene under different lights, ``000_regular.png`` and ``000_overexposed.png``, are a group. The
    private test images have no labels and are left out.

    Args:
        root: the folder with the objects, or the folder of an object.
        subset: an object, such as ``sheet_metal``.
        good_class: not used, as the folder is called ``good``.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of MVTec AD 2, or a mask has no image.
    """
    base = located(root, subset, "mvtec_ad_2")
    masks = base / "test_public" / "ground_truth"
    samples = _like_mvtec(base, ("train", "validation", "test_public"), GOOD, masks)
    return [_of_scene(sample, base) for sample in samples]


def _of_scene(sample: Sample, base: Path) -> Sample:
    folder = sample.path.relative_to(base).parent.as_posix()
    scene = sample.path.stem.partition("_")[0]
    return Sample(sample.path, sample.defect, sample.mask, group=f"{folder}/{scene}")


@reader("mvtec_loco")
def read_mvtec_loco(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read MVTec LOCO AD: as MVTec AD, with ``validation/good`` and a folder of masks for each defective image.

    Args:
        root: the folder with the objects, or the folder of an object.
        subset: an object, such as ``juice_bottle``.
        good_class: not used, as the folder is called ``good``.

    Returns:
        A sample for each image, Good first; its mask joins all masks of the image.

    Raises:
        WeakspotError: when the tree is not that of MVTec LOCO AD, or a mask cannot be read.
    """
    base = located(root, subset, "mvtec_loco")
    samples = []
    for image, label in _labelled(base, ("train", "validation", "test")):
        masks = [] if label == GOOD else _listed(base / "ground_truth" / label / image.stem)
        samples.append(Sample(image, label, mask=joined_mask(masks) if masks else None))
    return good_first(samples, base)


@reader("kolektor_sdd")
def read_kolektor_sdd(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read KolektorSDD: ``kos01/Part0.jpg`` beside ``kos01/Part0_label.bmp``.

    The mask alone tells the class, so all masks are read. The photographs of one item (``kos01``) are a group.

    Args:
        root: the folder with the items.
        subset: a folder in it; None where `root` holds the items.
        good_class: not used, as an empty mask means Good.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of KolektorSDD, or an image has no mask.
    """
    base = located(root, subset, "kolektor_sdd")
    items = [folder for folder in subfolders(base) if folder.name.startswith("kos")]
    images = [image for item in items for image in _listed(item) if not image.stem.endswith("_label")]
    pairs = [(image, image.with_name(f"{image.stem}_label.bmp")) for image in images]
    samples = [
        Sample(image, defect, mask=mask, group=image.parent.name) for image, defect, mask in _told_by_masks(pairs)
    ]
    return good_first(samples, base)


@reader("kolektor_sdd2")
def read_kolektor_sdd2(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read KolektorSDD2: ``train/10000.png`` beside ``train/10000_GT.png``, and ``test`` likewise.

    The mask alone tells the class, so all masks are read. The two folders are the published split.

    Args:
        root: the folder with ``train`` and ``test``.
        subset: a folder in it; None where `root` holds them.
        good_class: not used, as an empty mask means Good.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of KolektorSDD2, or an image has no mask.
    """
    base = located(root, subset, "kolektor_sdd2")
    # Copies that came into the archive by mistake are called "10301_GT (copy).png".
    images = [image for name in ("train", "test") for image in _listed(base / name) if "_GT" not in image.stem]
    pairs = [(image, image.with_name(f"{image.stem}_GT.png")) for image in images]
    samples = [
        Sample(image, defect, mask=mask, published=_SUBSETS[image.parent.name])
        for image, defect, mask in _told_by_masks(pairs)
    ]
    return good_first(samples, base)


@reader("dagm")
def read_dagm(root: Path | None, *, subset: str | None = None, good_class: str = GOOD) -> list[Sample]:
    """Read DAGM 2007: ``Class1/Train/0576.PNG``, ``Class1/Train/Label/0576_label.PNG``, and ``Test`` likewise.

    An image with a mask is defective. The masks are the ellipses that the makers drew round the defects, so boxes are
    measured against something larger than the defect. The two folders are the published split.

    Args:
        root: the folder with the classes, or the folder of a class.
        subset: a class, such as ``Class1``.
        good_class: not used, as an image without a mask is Good.

    Returns:
        A sample for each image, Good first.

    Raises:
        WeakspotError: when the tree is not that of DAGM 2007, or a mask has no image.
    """
    base = located(root, subset, "dagm")
    samples = []
    for folder in ("Train", "Test"):
        masks = {path.stem.removesuffix("_label"): path for path in _listed(base / folder / "Label")}
        images = _listed(base / folder)
        if left := sorted(set(masks) - {image.stem for image in images}):
            raise WeakspotError(f"mask {shown(masks[left[0]])} has no image in {shown(base / folder)}; get it anew")
        for image in images:
            mask = masks.get(image.stem)
            published = _SUBSETS[folder.lower()]
            samples.append(Sample(image, GOOD if mask is None else "defect", mask=mask, published=published))
    return good_first(samples, base)


def _listed(folder: Path) -> list[Path]:
    """The images right in a folder, by name; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if is_image(path)) if folder.is_dir() else []


def _labelled(base: Path, folders: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Images in class folders, each with the name of its class."""
    for name in folders:
        classes = subfolders(base / name) if (base / name).is_dir() else []
        for folder in classes:
            if folder.name != "ground_truth":
                yield from ((image, folder.name) for image in list_images(folder))


def _like_mvtec(base: Path, folders: Sequence[str], good: str, masks: Path | None = None) -> list[Sample]:
    """Samples of a tree with class folders in some folders, and masks in a folder for each defect type."""
    labelled = list(_labelled(base, folders))
    defects = [(label, image.parent, image) for image, label in labelled if label != good]
    paired = pair_masks(masks or base / "ground_truth", defects)
    samples = [Sample(image, GOOD if label == good else label, mask=paired.get(image)) for image, label in labelled]
    return good_first(samples, base)


def _told_by_masks(pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, str, Path | None]]:
    """Image, defect type and mask of images whose mask marks something or nothing.

    Raises:
        WeakspotError: when a mask is not there or cannot be read.
    """
    for image, mask in pairs:
        if not mask.is_file():
            raise WeakspotError(f"{shown(image)} has no mask {mask.name} beside it, which tells its class; get it anew")
    marks = each(lambda pair: bool(marked(pair[1]).any()), pairs)
    return [
        (image, "defect", mask) if defective else (image, GOOD, None)
        for (image, mask), defective in zip(pairs, marks, strict=True)
    ]
