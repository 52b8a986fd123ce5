"""Which map of a model's output is used: a class's own, its margin over Good, or the evidence heads' maps combined."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.ops.resize import upsample
from weakspot.types import BoolArray, ModelOutput, Size

Maps = npt.NDArray[np.float32]

INSIDE = 0.999
"""A cell lies in the region of interest where this share of it does."""


def visible(output: ModelOutput, size: Size, preprocess: Preprocess) -> ModelOutput:
    """Leave out of an output what shows no part of the image that counts.

    That is the border that keeping the aspect ratio may have put round the network's input, which is cut off, and what
    lies outside the region of interest: there every map gets the lowest value that it has inside, and Good's map the
    highest, so that no place outside is more like a defect than any inside.

    Args:
        output: for the whole network input.
        size: ``(height, width)`` of the original image in pixels.
        preprocess: what brought the image to the network's input.

    Returns:
        `output` itself where there is neither border nor region; else with every map at the input's resolution, cut to
        the image.

    Raises:
        WeakspotError: when the region is not of the input's size.
    """
    rows, columns = preprocess.content(size)
    whole_size = preprocess.input_size(size)
    if output.region is None and (rows.stop - rows.start, columns.stop - columns.start) == whole_size:
        return output
    if output.region is not None and output.region.shape != tuple(whole_size):
        raise WeakspotError(
            f"a region of interest of {output.region.shape} and a network input of {whole_size} (height, width) do not "
            "belong together; train again"
        )
    region = None if output.region is None else output.region[rows, columns]

    def cut(map_: npt.NDArray[np.floating], *, of_good: bool = False) -> Maps:
        seen: Maps = upsample(map_, whole_size)[rows, columns]
        if region is None:
            return seen
        inside = seen[region]
        return np.where(region, seen, inside.max() if of_good else inside.min())

    def cut_each(planes: npt.NDArray[np.floating]) -> Maps:
        return cut(planes) if planes.ndim == 2 else np.stack([cut(p, of_good=k == 0) for k, p in enumerate(planes)])

    mask_logits, location_logits, flipped = (
        None if planes is None else cut_each(planes)
        for planes in (output.mask_logits, output.location_logits, output.flipped)
    )
    return output._replace(
        maps=cut_each(output.maps),
        mask_logits=mask_logits,
        location_logits=location_logits,
        flipped=flipped,
        region=region,
    )


def region_at(output: ModelOutput, grid: Size) -> BoolArray | None:
    """The region of interest on a grid over the image; None where all of it counts.

    Args:
        output: after :func:`visible`.
        grid: ``(height, width)``.

    Returns:
        bool of shape `grid`: cells that lie in the region as a whole.
    """
    if output.region is None:
        return None
    return np.asarray(upsample(output.region.astype(np.float32), grid) >= INSIDE)


def class_map(maps: Maps, index: int) -> Maps:
    """The class activation map of one class, ``(height, width)``, raw.

    The box rule of plain class activation maps (a ``relative`` threshold) uses it. The logits of a softmax have no
    absolute zero: a constant can be added to every class without changing a probability.

    Args:
        maps: ``(classes, height, width)`` of one image.
        index: the class; 0 is Good.
    """
    selected: Maps = maps[index]
    return selected


def margin_map(maps: Maps, index: int) -> Maps:
    """The map of a class minus that of Good, ``(height, width)``, in logit units: zero where a place supports neither.

    Everything that is absolute, calibrated or compared between images uses it.

    Args:
        maps: ``(classes, height, width)`` of one image.
        index: the class; 0 is Good, whose margin over itself is zero everywhere.
    """
    margin: Maps = maps[index] - maps[0]
    return margin


def combined_map(
    mask_logits: npt.NDArray[np.floating], location_logits: npt.NDArray[np.floating], logits: npt.NDArray[np.float32]
) -> Maps:
    """The log probability that image, place and pixel are all defective; it is shown, and pixels are measured on it.

    Args:
        mask_logits: ``(h, w)``, log-odds that a pixel belongs to a defect.
        location_logits: ``(h', w')``, log-odds that there is a defect at a place; resized to ``(h, w)``.
        logits: ``(classes,)``, Good first; the image counts by its log probability of not being Good.

    Returns:
        float32 ``(h, w)``, at most 0.
    """
    places = upsample(location_logits, (mask_logits.shape[0], mask_logits.shape[1]))
    of_image = logsumexp(logits[1:]) - logsumexp(logits)
    agreed: Maps = of_image - (np.logaddexp(0, -mask_logits.astype(np.float32)) + np.logaddexp(0, -places))
    return agreed


def shown_map(output: ModelOutput) -> Maps:
    """The map that overlays show and whose peak is the pointing game's point.

    It is :func:`combined_map` as a probability where there are evidence heads, else the class activation map of the
    predicted class, or of the likeliest defect where the image is called Good.

    Args:
        output: for one image.
    """
    if output.mask_logits is not None and output.location_logits is not None:
        # A few shades, not a haze of logarithms.
        return np.exp(combined_map(output.mask_logits, output.location_logits, output.logits))
    return class_map(output.maps, int(output.logits.argmax()) or output.likeliest_defect)


def comparable_map(output: ModelOutput) -> Maps:
    """The map of :func:`shown_map`, in values that can be compared between images: without evidence heads the margin.

    Args:
        output: for one image.
    """
    if output.mask_logits is not None and output.location_logits is not None:
        return combined_map(output.mask_logits, output.location_logits, output.logits)
    return margin_map(output.maps, int(output.logits.argmax()) or output.likeliest_defect)


def log_odds(logits: npt.NDArray[np.float32]) -> float:
    """Log-odds that a picture is not Good.

    Args:
        logits: ``(classes,)``, Good first.

    Examples:
        >>> log_odds(np.array([1.0, 3.0], np.float32))
        2.0
    """
    # SciPy's logsumexp says the same after a quarter of a millisecond.
    return float(np.logaddexp.reduce(logits[1:]) - logits[0])
