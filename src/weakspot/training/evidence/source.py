"""Where the heads' training takes frozen features from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.models.feature_cache import FeatureCache, ViewFeatures, view_features
from weakspot.models.network import CamNet


@dataclass(frozen=True)
class FeatureSource:
    """Where the features of images come from.

    Attributes:
        network: its frozen part is run, on the device to train on.
        preprocess: what brings an image to the network's input.
        cache: of features; None computes again what is needed.
    """

    network: CamNet
    preprocess: Preprocess
    cache: FeatureCache | None

    def features_of(self, items: Sequence[ImageView]) -> Iterator[ViewFeatures]:
        """Get pixels and features at the taps of :attr:`CamNet.pyramid`, with :func:`view_features`.

        Args:
            items: images and their views.
        """
        return view_features(self.network, items, self.preprocess, self.cache, self.network.pyramid)
