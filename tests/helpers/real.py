"""Real weights and real pictures, where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.paths import SHARED
from weakspot.data.images import read_image
from weakspot.data.preprocess import Preprocess
from weakspot.models.network import CamNet
from weakspot.models.weights import load_weights

REAL_WEIGHTS = SHARED / "weights" / "vgg16_features.safetensors"
REAL_DATA = SHARED / "data" / "magnetic_tile"

needs_weights = pytest.mark.skipif(not REAL_WEIGHTS.is_file(), reason="real VGG16 weights are not beside the checkout")
needs_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="magnetic_tile is not beside the checkout")


def real_network(outputs: int = 2) -> CamNet:
    torch.manual_seed(3)
    network = CamNet("vgg16", classes=2, outputs=outputs).eval()
    network.load_pretrained(load_weights(str(REAL_WEIGHTS)).state)
    return network


def real_batch(count: int = 2, size: tuple[int, int] = (96, 128)) -> torch.Tensor:
    paths = sorted((REAL_DATA / "test" / "blowhole").iterdir())[:count]
    preprocess = Preprocess(size, "caffe")
    return torch.from_numpy(np.stack([preprocess(read_image(path)) for path in paths]))
