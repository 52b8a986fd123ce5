"""Read ``data.roi``: a mask or COCO polygons for all pictures, a folder with a mask for each, or ``auto``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from weakspot.data.annotations import read_annotations
from weakspot.data.images import ImageInfo, Progress, inspect_image, read_image, read_mask
from weakspot.data.region_pixels import foreground
from weakspot.data.roi import PairedRegions, PlainBackground, RegionOfInterest, SharedRegion
from weakspot.errors import WeakspotError
from weakspot.types import BoolArray
from weakspot.utils.files import shown, write_json
from weakspot.utils.threads import each

AUTO = "auto"

MOST_NOT_PLAIN = 0.05
"""With a larger share of pictures whose background is not plain, ``auto`` is refused."""


def read_region(
    setting: str, images: Sequence[ImageInfo], *, workers: int | None = None, progress: Progress | None = None
) -> tuple[RegionOfInterest, list[str]]:
    """Read a region of interest and check it against every picture that it is for.

    Args:
        setting: ``auto``, an image file (bright pixels count), a COCO file with one picture whose polygons count, or a
            folder of masks.
        images: the pictures, which can be read.
        workers: number of threads; by default one per core, at most 8.
        progress: called with (done, total) in the calling thread.

    Returns:
        The region, and remarks: one sentence each; warnings begin with ``warning:``.

    Raises:
        WeakspotError: when there is no such file, the region is empty, is of another shape than a picture or is
            missing for one, or there is no plain background for ``auto``; the message names the file and the way out.
    """
    if setting == AUTO:
        found = each(foreground_share, images, workers=workers, progress=progress)
        return PlainBackground(), _check_foregrounds(found, images)
    path = Path(setting).expanduser()
    if path.is_dir():
        regions = PairedRegions.at(path)
        _check_pairs(regions, images)
        shares = each(partial(_share, regions), images, workers=workers, progress=progress)
        return regions, [f"region of interest: {float(np.median(shares)):.0%} of a picture (median of {len(shares)})"]
    mask = read_shared_mask(path)
    region = SharedRegion.of(mask)
    wrong = next((image for image in images if not region.fits((image.height, image.width))), None)
    if wrong is not None:
        raise WeakspotError(
            f"data.roi={path} is {region.size[0]}×{region.size[1]} (height×width) and {shown(wrong.path)} is "
            f"{wrong.height}×{wrong.width}; draw it on pictures of this shape, or give a folder with a mask for each"
        )
    return region, [f"region of interest: {mask.mean():.0%} of each picture, from {path}"]


def check_setting(setting: str) -> None:
    """Refuse a region of interest that is not there, before anything takes time.

    Args:
        setting: as for :func:`read_region`.

    Raises:
        WeakspotError: when it is neither ``auto`` nor the path of something.
    """
    path = Path(setting).expanduser()
    if setting != AUTO and not path.exists():
        raise WeakspotError(
            f"data.roi={path} does not exist; give a mask, a COCO file ('weakspot roi DATA' draws one), a folder with "
            "a mask for each picture, or auto"
        )


def read_shared_mask(path: Path) -> BoolArray:
    """Read the mask of a region of interest that is the same for all pictures.

    Args:
        path: an image whose bright pixels count, or a COCO file (``.json``) with one picture.

    Raises:
        WeakspotError: when there is no such file, it marks nothing, or is about several pictures.
    """
    check_setting(str(path))
    if path.suffix.lower() == ".json":
        drawn = [annotation for annotation in read_annotations(path, "data.roi") if annotation.boxes]
        if len(drawn) > 1:
            raise WeakspotError(
                f"data.roi={path} holds regions of {len(drawn)} pictures; one is for all of them, or give a folder of "
                "masks"
            )
        mask = drawn[0].mask() if drawn else np.zeros((1, 1), dtype=bool)
    else:
        info = inspect_image(path)
        if info.error is not None:
            raise WeakspotError(f"data.roi: {info.error}")
        mask = read_mask(path, (info.height, info.width))
    if not mask.any():
        raise WeakspotError(f"data.roi={path} marks no region of interest; paint or outline what counts")
    return mask


def write_polygons(path: Path, polygons: Sequence[Sequence[tuple[float, float]]], size: tuple[int, int]) -> None:
    """Write outlines as a COCO file that :func:`read_shared_mask` reads, whole or not at all.

    Args:
        path: the file.
        polygons: corners ``(x, y)`` in pixels, at least three each.
        size: ``(height, width)`` of the picture that they were drawn on.

    Raises:
        WeakspotError: when there is no polygon, or one without area.
    """
    if not polygons or any(len(polygon) < 3 for polygon in polygons):
        raise WeakspotError("a region of interest needs an outline of three corners at least")
    name = "region of interest"
    annotations = []
    for number, polygon in enumerate(polygons, start=1):
        x, y = np.array(polygon, dtype=np.float64).T
        area = abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
        if area < 1:
            raise WeakspotError("an outline of the region of interest encloses nothing")
        annotations.append(
            {
                "id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": area,
                "bbox": [float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))],
                "segmentation": [np.column_stack([x, y]).ravel().tolist()],
            }
        )  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": name, "height": size[0], "width": size[1]}],
        "categories": [{"id": 1, "name": name}],
        "annotations": annotations,
    }
    write_json(path, content)


def foreground_share(image: ImageInfo) -> float | str:
    """Share of a picture that is foreground, 0…1; or why it has none."""
    found = foreground(read_image(image.path))
    return found if isinstance(found, str) else float(found.mean())


def _check_foregrounds(found: Sequence[float | str], images: Sequence[ImageInfo]) -> list[str]:
    failed = [(image, why) for image, why in zip(images, found, strict=True) if isinstance(why, str)]
    shares = [share for share in found if not isinstance(share, str)]
    if len(failed) > MOST_NOT_PLAIN * len(images):
        raise WeakspotError(
            f"data.roi=auto needs a plain background, and {len(failed)} of {len(images)} pictures have none "
            f"({shown(failed[0][0].path)}: {failed[0][1]}); draw the region ('weakspot roi DATA'), or leave data.roi "
            "out"
        )
    remarks = [f"region of interest: the foreground, {float(np.median(shares)):.0%} of a picture (median)"]
    if failed:
        remarks.append(
            f"warning: {len(failed)} pictures have no plain background ({shown(failed[0][0].path)}: {failed[0][1]}); "
            "the whole of each counts"
        )
    return remarks


def _check_pairs(regions: PairedRegions, images: Sequence[ImageInfo]) -> None:
    """One mask for each picture, and no mask for two."""
    owner: dict[Path, Path] = {}
    for image in images:
        mask = regions.find(image.path)
        if mask is None:
            raise WeakspotError(
                f"data.roi={regions.folder} holds no mask for {shown(image.path)}; put one there under its name"
            )
        if mask in owner:
            raise WeakspotError(
                f"{shown(mask)} fits two pictures, {shown(owner[mask])} and {shown(image.path)}; lay the masks in the "
                "same folders as the pictures"
            )
        owner[mask] = image.path


def _share(regions: PairedRegions, image: ImageInfo) -> float:
    """Share of a picture that its mask marks; the picture itself is not read again."""
    blank = np.broadcast_to(np.uint8(0), (image.height, image.width, 3))
    return float(regions.mask(blank, image.path).mean())
