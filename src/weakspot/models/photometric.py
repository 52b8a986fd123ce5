"""An image in another light, as another session or another camera would have photographed it.

A classifier that has seen both classes in every light cannot tell them by it (Geirhos et al., "Shortcut Learning in
Deep Neural Networks", 2020). Which lights there are is finite, so that the frozen layers see each of them only once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from weakspot.data.preprocess import Preprocess
from weakspot.data.views import apply_view, split_view
from weakspot.types import ImageArray

SLOPE, VIGNETTE = 0.3, 0.25
"""Largest change of brightness from the middle of a picture to its edge, and to its corners, as a share."""

BRIGHTNESS, CONTRAST, GAMMA = (0.75, 1.3), (0.7, 1.35), (0.75, 1.35)
"""Ranges of factors, and of the exponent."""

TINT = 0.12
"""Largest change of red and of blue against green, as a share; a grey picture stays grey."""

BLUR, QUALITY = (0.3, 1.6), (20, 80)
"""Ranges of the Gaussian's standard deviation in pixels of the network's input, and of JPEG quality."""

OFTEN = 0.5
"""How often a picture is blurred, and how often compressed."""


def in_light(image: ImageArray, image_sha256: str, light: int) -> ImageArray:
    """Show an image in one of its lights; it is always the same one.

    Light from one side and towards the corners, brightness, contrast, gamma and white balance change together; now and
    then the picture is blurred or compressed.

    Args:
        image: uint8 RGB ``(H, W, 3)``, of the size that the network sees.
        image_sha256: hash of the file that it was read from (hexadecimal).
        light: number of the light, 0 or more.

    Returns:
        uint8 ``(H, W, 3)``.
    """
    rng = np.random.default_rng([int(image_sha256[:16], 16), light])
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, SLOPE) * (np.cos(angle) * x + np.sin(angle) * y)
    corners = rng.uniform(-VIGNETTE, VIGNETTE) * ((x**2 + y**2) / 2 - 1 / 3)
    tint = np.ones(3) if (image == image[..., :1]).all() else 1 + rng.uniform(-TINT, TINT, 3) * (1, 0, 1)
    lit = np.clip(image * (1 + slope + corners)[..., None] * tint, 0, 255).astype(np.float32) / np.float32(255)
    pixels = torch.from_numpy(lit.transpose(2, 0, 1).copy())
    pixels = functional.adjust_brightness(pixels, float(np.exp(rng.uniform(*np.log(BRIGHTNESS)))))
    pixels = functional.adjust_contrast(pixels, float(np.exp(rng.uniform(*np.log(CONTRAST)))))
    pixels = functional.adjust_gamma(pixels, float(np.exp(rng.uniform(*np.log(GAMMA)))))
    if rng.random() < OFTEN:
        sigma = float(rng.uniform(*BLUR))
        pixels = functional.gaussian_blur(pixels, [2 * int(np.ceil(2 * sigma)) + 1] * 2, [sigma, sigma])
    whole = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    if rng.random() < OFTEN:
        whole = functional.jpeg(whole, int(rng.integers(*QUALITY)))
    return np.ascontiguousarray(whole.numpy().transpose(1, 2, 0))


def see(
    pixels: npt.NDArray[np.float32], image_sha256: str, view: str, preprocess: Preprocess
) -> npt.NDArray[np.float32]:
    """Bring a preprocessed image into a view: first its light, then how it is turned.

    Args:
        pixels: float32 ``(3, H, W)``.
        image_sha256: hash of the file that it was read from (hexadecimal).
        view: one of :data:`~weakspot.data.views.AUGMENTATIONS`.
        preprocess: that made the pixels.

    Returns:
        float32 ``(3, H, W)``, height and width exchanged after an odd number of quarter turns.
    """
    light = split_view(view)[1]
    if light is not None:
        pixels = preprocess.normalise(in_light(preprocess.denormalise(pixels), image_sha256, light))
    return apply_view(pixels, view)
