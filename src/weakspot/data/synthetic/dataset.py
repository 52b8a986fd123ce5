"""Writing a subset to disk in MVTec AD layout: whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.synthetic.biases import BIASES
from weakspot.data.synthetic.picture import checked_size, find_product, render
from weakspot.data.synthetic.scene import rng_for
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import GOOD, Size
from weakspot.utils.files import temporary_beside

GENERATOR_VERSION = 1
"""Goes up whenever the same parameters make other pictures."""


def ensure(
    root: Path,
    subset: str,
    *,
    seed: int = 0,
    good: int = 120,
    defect: int = 16,
    size: Size | None = None,
    bias: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return the data set's folder, generating it when it is not there yet.

    Returns at once when a complete data set with the same parameters is there. Two processes may do this at once: one
    of them publishes its folder, the other discards its own.

    Args:
        root: folder of the data set; made when it is missing.
        subset: a name in :data:`~weakspot.data.synthetic.picture.PRODUCTS`, or in ``STRIKING`` beside it.
        seed: another seed makes other pictures.
        good: number of Good images; three quarters of them go to ``train/good``, the others to ``test/good``.
        defect: number of images of each defect type.
        size: ``(height, width)`` of the images; None takes the subset's own, which is not square.
        bias: a name in :data:`~weakspot.data.synthetic.biases.BIASES`, planted in every defect image; None for none.
        progress: called with (images done, images in all) after every image.

    Returns:
        ``root/subset``.

    Raises:
        WeakspotError: as :func:`generate`; in particular when the folder holds something else.
    """
    wanted = _parameters(subset, seed, good, defect, size, bias)
    if _is_ours(Path(root) / subset, wanted):
        return Path(root) / subset
    try:
        return generate(root, subset, seed=seed, good=good, defect=defect, size=size, bias=bias, progress=progress)
    except WeakspotError:
        if _is_ours(Path(root) / subset, wanted):  # somebody else published it a moment ago
            return Path(root) / subset
        raise


def generate(
    root: Path,
    subset: str,
    *,
    seed: int = 0,
    good: int = 120,
    defect: int = 16,
    size: Size | None = None,
    bias: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``root/subset`` in MVTec AD layout: whole or not at all, the same bytes for the same parameters.

    Args:
        root: folder of the data set; made when it is missing.
        subset: a name in :data:`~weakspot.data.synthetic.picture.PRODUCTS`, or in ``STRIKING`` beside it.
        seed: another seed makes other pictures.
        good: number of Good images; three quarters of them go to ``train/good``, the others to ``test/good``.
        defect: number of images of each defect type.
        size: ``(height, width)`` of the images; None takes the subset's own, which is not square.
        bias: a name in :data:`~weakspot.data.synthetic.biases.BIASES`, planted in every defect image; None for none.
        progress: called with (images done, images in all) after every image.

    Returns:
        ``root/subset``.

    Raises:
        WeakspotError: for an unknown subset or parameters out of range, when ``root/subset`` holds something else
            already, and when it cannot be written.
    """
    root = Path(root)
    target = root / subset
    wanted = _parameters(subset, seed, good, defect, size, bias)
    _refuse_foreign(target, wanted)
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch_folder = temporary_beside(target)
        scratch_folder.mkdir(parents=True)
        try:
            _write(scratch_folder, subset, wanted, size, progress)
            (scratch_folder / "dataset.json").write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
            _publish(scratch_folder, target, wanted)
        finally:
            shutil.rmtree(scratch_folder, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise WeakspotError(
            f"cannot write the synthetic data set to {target}: {reason}; choose another root"
        ) from error
    return target


def _parameters(
    subset: str, seed: int, good: int, defect: int, size: Size | None, bias: str | None
) -> dict[str, object]:
    """Everything that decides the bytes of a data set, as it stands in ``dataset.json``; checks the ranges."""
    recipe = find_product(subset)
    if good < 1 or defect < 1:
        raise WeakspotError(
            f"a synthetic data set needs at least 1 image of each class, not good={good}, defect={defect}"
        )
    height, width = checked_size(size or recipe.size)
    made = {"generator": "weakspot.data.synthetic", "version": GENERATOR_VERSION, "subset": subset, "seed": seed}
    if bias is not None and bias not in BIASES:
        raise WeakspotError(f"no bias {bias!r}{did_you_mean(bias, BIASES)}; there are {', '.join(BIASES)}")
    planted = {} if bias is None else {"bias": bias}
    return {**made, "good": good, "defect": defect, "size": [height, width], **planted}


def _is_ours(target: Path, wanted: dict[str, object]) -> bool:
    """True when `target` holds a complete data set with the wanted parameters."""
    try:
        return bool(json.loads((target / "dataset.json").read_text(encoding="utf-8")) == wanted)
    except (OSError, ValueError):
        return False


def _refuse_foreign(target: Path, wanted: dict[str, object]) -> None:
    """Raise when `target` exists with something in it."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    way_out = "delete it or choose another root"
    try:
        found = json.loads((target / "dataset.json").read_text(encoding="utf-8"))
        other = [f"{key}={found.get(key)}" for key in wanted if found.get(key) != wanted[key]]
    except (OSError, ValueError, AttributeError):
        raise WeakspotError(f"{target} exists and is not a synthetic data set; {way_out}") from None
    what = f"another synthetic data set ({', '.join(other)})" if other else "this synthetic data set already"
    raise WeakspotError(f"{target} holds {what}; {way_out}")


def _write(
    folder: Path,
    subset: str,
    wanted: Mapping[str, Any],
    size: Size | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Render every picture into `folder`."""
    good, seed, bias = wanted["good"], wanted["seed"], wanted.get("bias")
    train = good - good // 4
    jobs = [(Path("train" if i < train else "test"), GOOD, i, i if i < train else i - train) for i in range(good)]
    jobs += [(Path("test"), name, i, i) for name in find_product(subset).defects for i in range(wanted["defect"])]
    for done, (below, name, index, number) in enumerate(jobs, 1):
        picture = render(subset, name, index, seed=seed, size=size)
        image = picture.image
        if bias is not None and name != GOOD:
            image = BIASES[bias](image, rng_for(seed, subset, name, index, "bias"))
        _save(folder / below / name / f"{number:03d}.png", image[..., ::-1])
        if name != GOOD:
            _save(folder / "ground_truth" / name / f"{number:03d}_mask.png", picture.mask)
        if progress is not None:
            progress(done, len(jobs))


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write a PNG file; OpenCV's own writer would swallow a full disk and stumble over some names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())


def _publish(made: Path, target: Path, wanted: dict[str, object]) -> None:
    """Rename `made` to `target`; when somebody else was faster with the same data set, theirs stays."""
    try:
        made.rename(target)
    except OSError:
        if not _is_ours(target, wanted):
            _refuse_foreign(target, wanted)
            raise
