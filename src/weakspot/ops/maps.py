"""Which map of a forward pass is looked at: a class's own, or its margin over Good."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from weakspot.data.preprocess import Preprocess
from weakspot.ops.resize import upsample
from weakspot.types import ImageMaps, Size

Maps = npt.NDArray[np.float32]


def visible(said: ImageMaps, size: Size, preprocess: Preprocess) -> ImageMaps:
    """What the model says of the image itself, without the border that keeping its aspect ratio may have put round it.

    Args:
        said: of the whole network input.
        size: ``(height, width)`` of the original image.
        preprocess: what brought it to the network's input.

    Returns:
        `said` itself where there is no border; else with every map at the input's resolution, cut to the image.
    """
    rows, columns = preprocess.content(size)
    whole_size = preprocess.input_size(size)
    if (rows.stop - rows.start, columns.stop - columns.start) == whole_size:
        return said

    def cut(map_: npt.NDArray[np.floating]) -> Maps:
        whole: Maps = upsample(map_, whole_size)
        return whole[rows, columns]

    def cut_each(planes: npt.NDArray[np.floating]) -> Maps:
        return cut(planes) if planes.ndim == 2 else np.stack([cut(plane) for plane in planes])

    optional = (None if planes is None else cut_each(planes) for planes in (said.extent, said.where, said.again))
    return ImageMaps(said.logits, cut_each(said.maps), *optional)


def class_map(maps: Maps, index: int) -> Maps:
    """The class activation map of one class, ``(height, width)``, raw.

    The seed's ``relative`` rule uses it. A softmax's single class has no absolute zero: a constant can be added to
    every class without changing a probability.

    Args:
        maps: ``(classes, height, width)`` of one image.
        index: the class; 0 is Good.
    """
    selected: Maps = maps[index]
    return selected


def margin_map(maps: Maps, index: int) -> Maps:
    """Class minus Good, ``(height, width)``, in logit units: zero where a place speaks for neither.

    Everything absolute, calibrated or compared between images uses it.

    Args:
        maps: ``(classes, height, width)`` of one image.
        index: the class; 0 is Good, whose margin over itself is zero everywhere.
    """
    margin: Maps = maps[index] - maps[0]
    return margin


def combined_map(
    extent: npt.NDArray[np.floating], where: npt.NDArray[np.floating], logits: npt.NDArray[np.float32]
) -> Maps:
    """Refined evidence for looking at and for measuring pixels: the log probability that all three agree.

    Args:
        extent: ``(h, w)`` logits.
        where: ``(h', w')`` logits; resized to the extent's grid.
        logits: of the classes, ``(classes,)``, Good first; the image counts by its log probability of not being Good.
    """
    places = upsample(where, (extent.shape[0], extent.shape[1]))
    of_image = logsumexp(logits[1:]) - logsumexp(logits)
    agreed: Maps = of_image - (np.logaddexp(0, -extent.astype(np.float32)) + np.logaddexp(0, -places))
    return agreed


def shown_map(said: ImageMaps) -> Maps:
    """The map that overlays show and that says where to point: refined where there is refinement, else the class's.

    It is that of the predicted class, or of the likeliest defect where the image is called Good.
    """
    if said.extent is not None and said.where is not None:
        return np.exp(combined_map(said.extent, said.where, said.logits))  # a few shades, not a haze of logarithms
    return class_map(said.maps, int(said.logits.argmax()) or said.likeliest_defect)


def comparable_map(said: ImageMaps) -> Maps:
    """As :func:`shown_map`, with values that mean the same in every image: the margin where there is no refinement."""
    if said.extent is not None and said.where is not None:
        return combined_map(said.extent, said.where, said.logits)
    return margin_map(said.maps, int(said.logits.argmax()) or said.likeliest_defect)
