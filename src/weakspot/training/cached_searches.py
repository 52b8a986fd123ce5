"""Findings about images before training, kept in the cache folder: near-duplicates and measurements."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weakspot.config.schema import read_config
from weakspot.data import measurements as measuring
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.measurements import Values
from weakspot.data.near_duplicates import VERSION, NearDuplicates, find_near_duplicates
from weakspot.data.splits import portable, read_split
from weakspot.runs.folder import RunFolder
from weakspot.types import Sample
from weakspot.utils import console
from weakspot.utils.files import atomic_path, shown, write_json
from weakspot.utils.untrusted import MOST_ANNOTATIONS, read_json, read_npy


def leak_record(found: NearDuplicates, held_out: Sequence[str]) -> dict[str, Any]:
    """Describe near-duplicates for ``run.json``.

    Args:
        found: near-duplicates among all images.
        held_out: paths of the held-out images of a part that a training image shows as well.
    """
    return {
        "images": found.images,
        "repeated": found.repeated,
        "possible": len(found.possible),
        "groups": found.n_groups,
        "limit": found.limit,
        "usual": found.usual,
        "held_out_of_trained_groups": list(held_out),
    }


def near_duplicates(images: Sequence[ImageInfo], cache_folder: Path | None) -> NearDuplicates:
    """Find photographs of the same part; the search is done once for a set of images, then its result is kept.

    Args:
        images: those that can be read.
        cache_folder: where to keep the result; None keeps nothing.
    """
    kept = _kept(cache_folder, "near-duplicates", VERSION, images, ".json")
    if kept is not None and kept.is_file():
        try:
            return NearDuplicates.from_dict(read_json(kept, MOST_ANNOTATIONS))
        except (OSError, ValueError, KeyError, TypeError):
            kept.unlink(missing_ok=True)  # damaged: found anew
    with console.progress_bar("looking for near-duplicates") as progress:
        found = find_near_duplicates(images, progress=progress)
    if kept is not None:
        write_json(kept, found.to_dict())
    return found


def near_training_images(
    run: RunFolder, samples: Sequence[Sample], images: Sequence[ImageInfo], root: Path, cache_folder: Path | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """Find among other images photographs of parts that a run was trained on.

    Args:
        run: its training and validation images are compared with.
        samples: the other images' labels.
        images: the same other images.
        root: folder of the other images.
        cache_folder: as for :func:`near_duplicates`.

    Returns:
        A description as :meth:`Data.leakage` gives it, None where the training images are gone or all images are too
        much alike to tell parts; and warnings, one sentence each.
    """
    trained_root = Path(read_config(run.config).data.root or ".")
    of_run, subsets = read_split(run.split, trained_root)
    trained = [sample.path for sample, subset in zip(of_run, subsets, strict=True) if subset != "test"]
    if not all(path.is_file() for path in trained):
        return None, [
            f"warning: images that the run was trained on are no longer in {shown(trained_root)}; whether these show "
            "the same parts was not looked at"
        ]
    with console.progress_bar("reading the training images", len(trained)) as progress:
        infos = [*images, *inspect_images(trained, progress=progress)]
    found = near_duplicates(infos, cache_folder)
    if not found.tells_groups:
        return None, []
    groups, n = found.groups(), len(images)
    known = set(groups[n:])
    near = [portable(sample.path, root) for sample, group in zip(samples, groups, strict=False) if group in known]
    warnings = []
    if near:
        warnings.append(
            f"warning: {len(near)} of {n} images show a part that the run was trained on (their surface agrees: "
            f"another exposure, another frame), {near[0]} for one; the numbers will flatter"
        )
    return leak_record(found, near), warnings


def measurements(images: Sequence[ImageInfo], cache_folder: Path | None) -> Values:
    """Measure images with :func:`~weakspot.data.measurements.measure_all`; done once, then the result is kept.

    Args:
        images: those that can be read.
        cache_folder: where to keep the result; None keeps nothing.
    """
    kept = _kept(cache_folder, "measurements", measuring.VERSION, images, ".npy")
    if kept is not None and kept.is_file():
        try:
            values = read_npy(kept).astype(np.float64, casting="safe")
        except (OSError, ValueError, TypeError, EOFError):
            kept.unlink(missing_ok=True)
        else:
            if values.shape == (len(images), len(measuring.COLUMNS)):
                return values
    with console.progress_bar("measuring what should not matter") as progress:
        values = measuring.measure_all(images, progress=progress)
    if kept is not None:
        with atomic_path(kept) as temporary:
            np.save(temporary, values)
    return values


def _kept(cache_folder: Path | None, name: str, version: int, images: Sequence[ImageInfo], suffix: str) -> Path | None:
    """Where something that was found out about these very images is kept; None without a cache."""
    if cache_folder is None:
        return None
    made_of: list[Any] = [version, [image.sha256 for image in images]]
    if images and images[0].roi is not None:
        made_of.append(images[0].roi.identity())
    of_content = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return cache_folder / name / f"{of_content}{suffix}"
