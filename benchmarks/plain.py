"""The plain way: VGG16 with global average pooling and the training loop that a tutorial writes, in PyTorch alone.

The benchmarks compare with this. It knows no cache: every epoch decodes every picture and runs every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import vgg

from weakspot.models.network import CamNet
from weakspot.models.weight_files import StateDict

FROZEN_LAYERS = 24
"""conv1_1 to conv4_3 with their ReLUs and pools."""


def vgg16_features(state: StateDict) -> nn.Sequential:
    """``torchvision.models.vgg16().features`` (31 layers), without its 124 million dense weights that nobody uses."""
    layers: nn.Sequential = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
    if state:
        layers.load_state_dict(state)
    return layers


class PlainNet(nn.Module):
    """VGG16's convolutions without the last pool, global average pooling, one dense layer.

    Args:
        state: pre-trained convolutions under torchvision's names; may be empty.
        frozen: how many of the first layers have ``requires_grad=False``.
    """

    def __init__(self, state: StateDict, frozen: int = FROZEN_LAYERS) -> None:
        super().__init__()
        self.features = vgg16_features(state)[:-1]
        self.classifier = nn.Linear(512, 2)
        self.features[:frozen].requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(n, 2)`` of images ``(n, 3, H, W)``."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits

    def forward_with_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(n, 2)`` and class activation maps ``(n, 2, h, w)``."""
        activations = self.features(images)
        maps = torch.einsum("kc,nchw->nkhw", self.classifier.weight, activations)
        return self.classifier(activations.mean(dim=(2, 3))), maps


def plain_copy(network: CamNet, frozen: int = FROZEN_LAYERS) -> PlainNet:
    """A plain network with the weights of one of ours."""
    net = PlainNet({}, frozen)
    net.features.load_state_dict({**network.stem.state_dict(), **network.tail.state_dict()})
    net.classifier.load_state_dict(network.head.state_dict())
    return net


@dataclass
class PlainDataset(Dataset[tuple[Tensor, int]]):
    """Image files that are read each time they are asked for."""

    paths: Sequence[Path]
    targets: Sequence[int]
    read: Callable[[Path], Tensor]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.read(self.paths[index]), self.targets[index]


class PlainTraining:
    """A network with its loss and optimiser: class-weighted cross-entropy and Adam.

    Args:
        net: the network.
        loader: batches of images and targets.
    """

    def __init__(self, net: PlainNet, loader: DataLoader[tuple[Tensor, int]]) -> None:
        self.net, self.loader = net, loader
        self.loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
        self.optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=1e-4)

    def epoch(self) -> float:
        """Train for one epoch; returns the accuracy of the batches as they went by."""
        self.net.train()
        right = seen = 0
        for images, targets in self.loader:
            self.optimizer.zero_grad()
            logits = self.net(images)
            self.loss(logits, targets).backward()
            self.optimizer.step()
            right += int((logits.argmax(dim=1) == targets).sum())
            seen += len(targets)
        return right / seen

    def until(self, accuracy: float, max_epochs: int, before_epoch: Callable[[int], None]) -> int:
        """Train until an epoch's accuracy reaches `accuracy`; returns the number of epochs.

        Args:
            accuracy: where to stop.
            max_epochs: where to stop at the latest.
            before_epoch: called with the epoch's number, from 0.
        """
        for epoch in range(max_epochs):
            before_epoch(epoch)
            if self.epoch() >= accuracy - 1e-6:
                break
        return epoch + 1


def logits_and_maps(net: PlainNet, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits ``(n, 2)`` and maps ``(n, 2, h, w)`` of all batches."""
    net.eval()
    with torch.no_grad():
        outputs = [net.forward_with_maps(images) for images, _ in batches]
    return torch.cat([logits for logits, _ in outputs]), torch.cat([maps for _, maps in outputs])
