"""A trained model as the heat-map methods see it: an ordinary network from pixels to logits, gradients included."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weakspot.models.network import CamNet


class Logits(nn.Module):
    """The classifier of a :class:`~weakspot.models.network.CamNet`, its parts shared, nothing copied.

    :meth:`CamNet.forward` keeps no gradient of the frozen part; here every layer can be looked at. Layers are called
    ``stem.…`` (frozen), ``tail.…`` (trained) and ``head``.
    """

    def __init__(self, network: CamNet) -> None:
        super().__init__()
        self.stem, self.tail, self.head = network.stem, network.tail, network.head
        self.layer_names = network.layer_names
        self.one_logit = network.outputs == 1
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of preprocessed images ``(n, 3, H, W)``; Good's is 0 where there is one output."""
        values = self.head(self.tail(self.stem(images)).mean(dim=(2, 3)))
        return torch.cat([torch.zeros_like(values), values], dim=1) if self.one_logit else values
