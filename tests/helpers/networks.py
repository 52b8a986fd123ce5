"""Networks small enough to see through."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Small(nn.Module):
    """Two convolutions with ReLUs that work in place, pooling, one dense layer with three classes."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.early, self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(inplace)
        self.late, self.last = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(inplace)
        self.dense = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        values = self.last(self.late(self.first(self.early(images))))
        return self.dense(values.mean((2, 3)))


class Deep(nn.Module):
    """As the above, with a second dense layer, and a convolution of one cell."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.squeeze = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)
        self.dense = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 2))

    def forward(self, images: Tensor) -> Tensor:
        values = functional.adaptive_avg_pool2d(torch.relu(self.body(images)), 1)
        return self.dense(self.squeeze(values).flatten(1))


def batch(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 24, 32, generator=torch.Generator().manual_seed(2))
