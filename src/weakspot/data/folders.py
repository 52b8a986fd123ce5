"""Checks of folders for the readers: no loose images, no empty classes, one label for each image, one mask at most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from weakspot.data.images import EXTENSIONS, is_image, list_images, subfolders
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import Sample
from weakspot.utils.files import shown


def no_loose_images(folder: Path, kind: str) -> None:
    """Refuse images that lie right in a folder that should hold only folders.

    Args:
        folder: the folder to check; images in its subfolders are fine.
        kind: of the folders it should hold, for the message: ``class`` or ``defect``.

    Raises:
        WeakspotError: when there is such an image; the message names the first.
    """
    loose = [entry for entry in sorted(folder.iterdir()) if is_image(entry) and not entry.is_dir()]
    if loose:
        raise WeakspotError(f"{shown(loose[0])} lies in no {kind} folder; move it into one ({len(loose)} such images)")


def images_of_class(folder: Path) -> list[Path]:
    """List the images at or below a folder.

    Raises:
        WeakspotError: when there is none.
    """
    images = list_images(folder)
    if not images:
        raise WeakspotError(f"{shown(folder)} holds no images ({', '.join(EXTENSIONS)}); add some or remove the folder")
    return images


def check_nesting(folder: Path) -> None:
    """Refuse an empty folder, and images beside a folder of images, whose label would be unclear."""
    inner = subfolders(folder)
    direct = [path for path in folder.iterdir() if is_image(path) and not path.is_dir()]
    if inner and direct:
        raise WeakspotError(
            f"{shown(folder)} holds images and the folder {inner[0].name!r}, so the label of the inner images is "
            "doubtful; move the images up or the folder out"
        )
    for child in inner:
        images_of_class(child)
        check_nesting(child)


def pair_masks(folder: Path, labelled: Sequence[tuple[str, Path, Path]]) -> dict[Path, Path]:
    """Pair every mask with its image by name: ``<image name>_mask`` or the name itself, in the folder of its label.

    Args:
        folder: ``ground_truth``, with a folder for each defect type; it need not exist.
        labelled: label, folder of the class, and image file of every image.

    Returns:
        The mask file by image file; images without a mask are left out.

    Raises:
        WeakspotError: for a mask that lies in no defect folder, that has no image or fits two, and for an image with
            two masks.
    """
    if not folder.is_dir():
        return {}
    no_loose_images(folder, "defect")
    images: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for label, class_folder, image in labelled:
        key = (label, *image.relative_to(class_folder).with_suffix("").parts)
        images[key].append(image)
    pairs: dict[Path, Path] = {}
    for mask in list_images(folder):
        key = mask.relative_to(folder).with_suffix("").parts
        found = list(images.get(key, []))
        if key[-1].endswith("_mask"):
            found += images.get((*key[:-1], key[-1].removesuffix("_mask")), [])
        if len(found) != 1:
            problem = f"fits two images, {found[0].name} and {found[1].name}" if found else "has no image"
            raise WeakspotError(f"mask {shown(mask)} {problem}; name masks <image name>_mask.png, one for each image")
        if (other := pairs.setdefault(found[0], mask)) != mask:
            raise WeakspotError(f"{shown(found[0])} has two masks, {other.name} and {mask.name}; remove one of them")
    return pairs


def base_folder(root: Path, subset: str | None, known: Sequence[str] = (), source: str = "") -> Path:
    """Return the folder of the subset, or an error that suggests what was meant.

    Args:
        root: as ``data.root``.
        subset: as ``data.subset``.
        known: names of subsets that there are elsewhere.
        source: where the data are to be had, for the message.

    Raises:
        WeakspotError: when there is no such folder.
    """
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
    raise WeakspotError(f"data.subset={subset} is not in {shown(root)}{hint}; {listed}{source and f'; {source}'}")


def good_first(samples: Sequence[Sample], base: Path) -> list[Sample]:
    """Sort by Good before defects, train before test, then by name, so that a seed means the same split everywhere.

    Args:
        samples: of one data set.
        base: the folder that all of them lie in.
    """

    def key(sample: Sample) -> tuple[bool, bool, str, tuple[str, ...]]:
        parts = sample.path.relative_to(base).parts
        return not sample.is_good, parts[0] != "train", sample.defect, parts

    return sorted(samples, key=key)
