"""Is a heat map true to the network it explains? ROAD, with pytorch-grad-cam's implementation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from weakspot.errors import WeakspotError
from weakspot.heatmaps.methods import Maps
from weakspot.ops.resize import upsample

PERCENTILES = (50, 70, 90)
"""Of the map's values; pixels above (below) are removed."""


def road(
    module: nn.Module, pixels: Tensor, maps: Maps, targets: Sequence[int], percentiles: Sequence[int] = PERCENTILES
) -> npt.NDArray[np.float64]:
    """Remove And Debias (Rong et al., "A Consistent and Efficient Evaluation Strategy", ICML 2022).

    Pixels are replaced by a noisy blend of their neighbours, so that the network cannot see the shape of what was
    removed. The same noise for every map.

    Args:
        module: from pixels to logits.
        pixels: ``(n, 3, H, W)``.
        maps: ``(n, h, w)``, any range.
        targets: class of each.
        percentiles: whose mean is taken.

    Returns:
        ``(n,)``, half the difference between the confidence left when the least and when the most important pixels are
        removed: -0.5…0.5, 0 for a map that says nothing, higher is better.
    """
    try:
        from pytorch_grad_cam.metrics.road import ROADCombined
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
    except ImportError as error:
        raise WeakspotError("faithfulness is measured with grad-cam; pip install 'weakspot[cams]'") from error
    size = (pixels.shape[2], pixels.shape[3])
    fine = np.stack([upsample(map_, size) for map_ in maps])
    wanted = [ClassifierOutputSoftmaxTarget(int(target)) for target in targets]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # The library takes a layout for granted that ours (channels last) is not.
        scores = ROADCombined(percentiles=list(percentiles))(pixels.contiguous(), fine, wanted, module)
    return np.asarray(scores, dtype=np.float64)
