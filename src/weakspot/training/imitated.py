"""Run a trained model on defects imitated on Good pictures that it has not seen, to calibrate trust on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weakspot.data.images import ImageInfo
from weakspot.data.imitations import changeable, imitation_name, named_imitation
from weakspot.data.loading import batched, load_images
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.heatmaps.classes import OtherMaps
from weakspot.metrics import mask_boxes
from weakspot.models.feature_cache import Progress
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.model import Model
from weakspot.models.output_store import OutputStore
from weakspot.types import BoolArray, ModelOutput, Size
from weakspot.utils.spread import spread_evenly

MOST_PICTURES, EACH = 64, 3
"""Good pictures at most, and imitated defects on each: one forward pass for each defect."""

FIRST_NUMBER = 1_000_000
"""Number of the first imitation; those that evidence heads are trained on count from 0."""


def imitated_outputs(
    model: Model,
    good: Sequence[ImageInfo],
    preprocess: Preprocess,
    heatmap: str = "cam",
    flip_tta: bool = False,
    *,
    most: int = MOST_PICTURES,
    progress: Progress | None = None,
) -> LocatedOutputs | None:
    """Imitate defects on Good pictures and run a model on them. No mask of a real defect is used.

    Args:
        model: on the device to run on.
        good: Good pictures that it was not trained on.
        preprocess: what brings them to the network's input.
        heatmap: method of the maps.
        flip_tta: whether to run the mirrored images too.
        most: number of pictures at most; more are thinned out evenly.
        progress: called with (done, total) after each batch.

    Returns:
        The outputs and where the imitated defects are; None without a picture, or where no imitation can be seen.

    Raises:
        WeakspotError: when an image cannot be read, or their maps would be of different sizes.
    """
    chosen = spread_evenly(good, most)
    preprocess.common_input_size([(image.height, image.width) for image in chosen])
    runs = model if heatmap == "cam" else OtherMaps(model.network, method=heatmap)
    kept, outputs, boxes = list[ImageInfo](), list[ModelOutput](), list[npt.NDArray[np.int64]]()
    done = 0
    for batch in batched(_imitations(chosen, preprocess), runs.batch_size(preprocess)):
        done += len(batch)
        seen = [one for one in batch if len(one.boxes)]
        if seen:
            arrays, regions = [one.pixels for one in seen], [one.region for one in seen]
            found = [one._replace(region=region) for one, region in zip(runs.ask(arrays), regions, strict=True)]
            if flip_tta:
                mirrored = runs.ask([np.flip(array, 2) for array in arrays])
                found = [one.with_flipped(other) for one, other in zip(found, mirrored, strict=True)]
            outputs += found
            kept += [one.image for one in seen]
            boxes += [one.boxes for one in seen]
        if progress:
            progress(done, EACH * len(chosen))
    if not outputs:
        return None
    sizes = np.array([(image.height, image.width) for image in kept], dtype=np.int64)
    bias = model.network.bias.detach().cpu().numpy()
    return LocatedOutputs(OutputStore.of([image.path for image in kept], sizes, outputs, bias), boxes)


class _Imitation(NamedTuple):
    """One imitated defect: on which picture, the network's input, true boxes ``(m, 4)``, the region of interest."""

    image: ImageInfo
    pixels: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.int64]
    region: BoolArray | None


def _imitations(images: Sequence[ImageInfo], preprocess: Preprocess) -> Iterator[_Imitation]:
    """Each picture with :data:`EACH` imitated defects."""
    for image, loaded in zip(images, load_images([image.path for image in images], preprocess), strict=True):
        if loaded.pixels is None:
            raise WeakspotError(loaded.error)
        plain = preprocess.denormalise(loaded.pixels)
        where = changeable(loaded.region, loaded.size, preprocess)
        for number in range(FIRST_NUMBER, FIRST_NUMBER + EACH):
            changed, mask = named_imitation(plain, image.sha256, imitation_name(number), where)
            boxes = true_boxes(mask, (image.height, image.width), preprocess)
            yield _Imitation(image, preprocess.normalise(changed), boxes, loaded.region)


def true_boxes(mask: BoolArray, size: Size, preprocess: Preprocess) -> npt.NDArray[np.int64]:
    """Boxes of an imitated defect in pixels of the original picture, rounded outwards.

    Args:
        mask: ``(H, W)`` at the network's input.
        size: ``(height, width)`` of the original picture.
        preprocess: what brought the picture to the network's input; a border that it put round is cut off.

    Returns:
        ``(m, 4)``, one box for each connected region; empty where the mask marks nothing of the picture.
    """
    content = mask[preprocess.content(size)]
    if not content.any():
        return np.zeros((0, 4), dtype=np.int64)
    corners, factors = mask_boxes(content), np.array([size[1], size[0]] * 2)
    grid = np.array([content.shape[1], content.shape[0]] * 2)
    low, high = corners * factors // grid, -(-corners * factors // grid)
    return np.concatenate([low[:, :2], high[:, 2:]], axis=1)
