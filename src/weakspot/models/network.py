"""Backbone + global average pooling + one dense layer: logits and class activation maps from one pass.

The class activation map of class k is Σ_c w_kc · A_c, with A the last convolution's activations after ReLU
(Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016). Global average pooling and the
dense layer are linear, so the mean of that map plus the bias *is* the logit: the network computes the maps with a
1×1 convolution and averages them, and the two can never disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.models.backbones import FREEZE_POINT, build_backbone
from weakspot.models.tokens import without_prefix
from weakspot.types import Size


class CamOutput(NamedTuple):
    """Result of one forward pass.

    Attributes:
        logits: ``(batch, classes)``; class 0 is Good.
        maps: ``(batch, classes, height, width)``, raw; ``maps.mean((2, 3)) + bias == logits``.
    """

    logits: Tensor
    maps: Tensor


class CamNet(nn.Module):
    """A classifier whose every logit is the mean of a map.

    Args:
        backbone: a key of :data:`~weakspot.models.backbones.BACKBONES`, or ``timm:`` and a name that timm knows.
        classes: number of classes, Good included (at least 2).
        outputs: 2 for a softmax over the classes; 1 for a single logit of the Anomaly class, in which case Good's
            logit and map are fixed at zero, so that softmax becomes the logistic function.

    Raises:
        WeakspotError: for an unknown backbone or one that cannot be cut, an `outputs` that is neither 1 nor 2, or one
            logit for more than two classes.

    Attributes:
        tile: larger images go through the frozen part in overlapping tiles of this ``(height, width)``, a multiple of
            its stride; their features are joined without a seam, so that memory is all that changes. None: at once.
    """

    def __init__(self, backbone: str = "vgg16", classes: int = 2, outputs: int = 2) -> None:
        super().__init__()
        if outputs not in (1, 2):
            raise WeakspotError(f"model.outputs={outputs} is neither 2 (softmax) nor 1 (one logit)")
        if outputs == 1 and classes != 2:
            raise WeakspotError(f"model.outputs=1 needs two classes, not {classes}; set model.outputs=2")
        parts = build_backbone(backbone)
        self.stem, self.tail = parts.stem, parts.tail
        self.head = nn.Linear(parts.channels, 1 if outputs == 1 else classes)
        self.classes, self.outputs, self.smallest = classes, outputs, parts.smallest
        self.taps = {**parts.taps, FREEZE_POINT: len(parts.stem)}
        self.pyramid, self.layer_names, self.tileable = parts.pyramid, parts.layer_names, parts.tileable
        self.prefix = parts.prefix
        self.tile: Size | None = None
        self.stem.requires_grad_(False)
        self.stem.eval()  # its batch normalisation neither uses nor changes statistics of what it is shown

    def load_pretrained(self, state: dict[str, Tensor]) -> None:
        """Load layers under the names they have in the uncut backbone (``0.weight`` … for VGG16).

        Raises:
            RuntimeError: when a name or shape does not fit.
        """
        layers = [*self.stem, *self.tail]
        names = self.layer_names or [str(number) for number in range(len(layers))]
        unknown = [key for key in state if not any(key.startswith(f"{name}.") for name in names)]
        if unknown:
            raise RuntimeError(f"unexpected {unknown[0]}")
        for name, layer in zip(names, layers, strict=True):
            prefix = f"{name}."
            layer.load_state_dict({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})

    def train(self, mode: bool = True) -> CamNet:
        """Switch training mode, but for the frozen part: its batch normalisation keeps the statistics it came with."""
        super().train(mode)
        self.stem.eval()
        return self

    @property
    def bias(self) -> Tensor:
        """Bias of every class's logit, ``(classes,)``."""
        return self._with_good(self.head.bias.unsqueeze(0)).squeeze(0)

    def forward(self, images: Tensor) -> CamOutput:
        """Run the whole network on preprocessed images ``(batch, 3, H, W)``."""
        return self.forward_tail(self.forward_stem(images))

    def forward_stem(self, images: Tensor) -> Tensor:
        """Run the frozen part on preprocessed images ``(batch, 3, H, W)``, to the features at the freeze point."""
        return self.forward_taps(images, (FREEZE_POINT,))[FREEZE_POINT]

    def forward_taps(self, images: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Run the frozen part on preprocessed images, no deeper than needed; no gradient is kept.

        Args:
            images: preprocessed, ``(batch, 3, H, W)``.
            taps: names of the features, keys of :attr:`taps`.

        Returns:
            Features ``(batch, channels, h, w)`` by tap.

        Raises:
            WeakspotError: for a tap that the backbone does not have, and when the images are too small to leave one
                map cell.
        """
        if min(images.shape[-2:]) < self.smallest:
            raise WeakspotError(
                f"images of {images.shape[-2]}×{images.shape[-1]} pixels are too small for the network; "
                f"set data.image_size to at least {self.smallest}"
            )
        for tap in taps:
            if tap not in self.taps:
                raise WeakspotError(
                    f"tap {tap} is unknown{did_you_mean(tap, self.taps)}; choose: {', '.join(self.taps)}"
                )
        with torch.no_grad():
            if self.tile is not None and (images.shape[-2] > self.tile[0] or images.shape[-1] > self.tile[1]):
                return self._tiled_taps(images, self.tile, taps)
            return self._stem_taps(images, taps)

    def _stem_taps(self, images: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        start = 0
        for tap in sorted(taps, key=self.taps.__getitem__):
            images, start = self.stem[start : self.taps[tap]](images), self.taps[tap]
            found[tap] = images if tap == FREEZE_POINT else without_prefix(images, self.prefix)
        return found

    def _tiled_taps(self, images: Tensor, tile: Size, taps: Collection[str]) -> dict[str, Tensor]:
        """Tile by tile, each with so much of its surroundings that what is kept of it saw no edge of the tile."""
        stride, reach = field_of_view(self.stem)
        margin = -(-reach // stride) * stride
        joined: dict[str, Tensor] = {}
        for rows, columns in product(*(_spans(images.shape[axis - 2], tile[axis], margin) for axis in (0, 1))):
            part = self._stem_taps(images[..., rows.outer, columns.outer], taps)
            for tap, features in part.items():
                scale = (rows.outer.stop - rows.outer.start) // features.shape[-2]
                if tap not in joined:
                    size = [side // scale for side in images.shape[-2:]]
                    joined[tap] = features.new_empty(*features.shape[:2], *size)
                inside = features[..., rows.within(scale), columns.within(scale)]
                joined[tap][..., rows.kept(scale), columns.kept(scale)] = inside
        return joined

    def forward_tail(self, features: Tensor) -> CamOutput:
        """Run the trained part on the stem's features ``(batch, channels, h, w)``.

        In training, batch normalisation uses its running statistics for a batch of one image, which the last batch of
        an epoch may be: a single image has no statistics of its own, and where its map is a single cell there would be
        an error.
        """
        with _no_statistics_of_one(self.tail, features):
            activations = self.tail(features)
        maps = functional.conv2d(activations, self.head.weight[:, :, None, None])
        logits = maps.mean(dim=(2, 3)) + self.head.bias
        return CamOutput(self._with_good(logits), self._with_good(maps))

    def _with_good(self, values: Tensor) -> Tensor:
        """Put Good's zero in front where the head has a single output."""
        return torch.cat([torch.zeros_like(values), values], dim=1) if self.outputs == 1 else values


@contextmanager
def _no_statistics_of_one(part: nn.Module, features: Tensor) -> Iterator[None]:
    """While the block runs, batch normalisation neither uses nor changes statistics of a single image, or of none."""
    layers = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d) and layer.training]
    # Outside training nobody asks how many there are: an exported graph would be for that number alone.
    lone = layers if layers and len(features) <= 1 else []
    for layer in lone:
        layer.eval()
    try:
        yield
    finally:
        for layer in lone:
            layer.train()


class _Span(NamedTuple):
    """One side of a tile in pixels: what is kept of it, and what the network is shown."""

    inner: slice
    outer: slice

    def kept(self, scale: int) -> slice:
        """`inner` in cells of `scale` pixels."""
        return slice(self.inner.start // scale, self.inner.stop // scale)

    def within(self, scale: int) -> slice:
        """The same, counted from the first cell of `outer`."""
        first = self.outer.start // scale
        return slice(self.inner.start // scale - first, self.inner.stop // scale - first)


def _spans(side: int, tile: int, margin: int) -> Iterator[_Span]:
    for start in range(0, side, tile):
        stop = min(side, start + tile)
        yield _Span(slice(start, stop), slice(max(0, start - margin), min(side, stop + margin)))


def field_of_view(layers: nn.Sequential) -> tuple[int, int]:
    """Compute ``(stride, reach)`` in pixels: an output cell is `stride` wide and depends on `reach` pixels round it.

    Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.

    Args:
        layers: convolutions and pools count; other layers work on one place only.
    """
    stride, seen = 1, 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, step, dilation = (
                value[0] if isinstance(value, tuple) else value
                for value in (layer.kernel_size, layer.stride, layer.dilation)
            )
            seen += (kernel - 1) * dilation * stride
            stride *= step
    return stride, seen // 2


def inference_batch_size(device: torch.device, preprocess: Preprocess) -> int:
    """Choose how many images to run at once: one on a CPU, whose caches hold it; as many as fit easily on a GPU.

    One also where images keep their own sizes, which may differ.

    Args:
        device: that the network runs on.
        preprocess: gives the size of the network's input.
    """
    height, width = preprocess.image_size
    return 1 if device.type == "cpu" or preprocess.tile else max(1, 64 * 224 * 224 // (height * width))
