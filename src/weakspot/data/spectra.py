"""Likely photographs of the same part among pictures that all look alike: by how strong each spatial frequency is.

The magnitude of a picture's Fourier transform does not change as the picture is shifted, and that of a surface's grain
is as individual as the grain. What all pictures have in common is taken away by standardising each frequency.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

Float = npt.NDArray[np.float32]

SIDE = 192
"""Pictures are brought to this height and width."""

NEIGHBOURS = 6
"""Of each picture so many others are proposed."""

_BINS = (64, 32)


def spectrum(grey: Float) -> Float:
    """Logarithm of the strength of each spatial frequency, averaged over a few neighbouring ones.

    Args:
        grey: ``(h, w)``, 0…255.

    Returns:
        A vector; the same length for every picture.
    """
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = small - cv2.GaussianBlur(small, (0, 0), 2)
    detail /= np.sqrt(np.maximum(cv2.blur(detail * detail, (9, 9)), 0)) + 1
    window = np.hanning(SIDE).astype(np.float32)
    strength = np.log(np.abs(fft.rfft2(detail * np.outer(window, window))) + 0.01).astype(np.float32)
    return np.asarray(cv2.resize(strength, _BINS[::-1], interpolation=cv2.INTER_AREA).ravel(), np.float32)


def neighbours(spectra: Float) -> Iterator[list[int]]:
    """For each picture the others whose spectrum departs most alike from that of all pictures.

    Args:
        spectra: of :func:`spectrum`, ``(n, k)``.
    """
    spread = spectra.std(axis=0)
    standard = (spectra - spectra.mean(axis=0)) / (spread + 0.1 * float(spread.mean()) + 1e-6)
    standard /= np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-6)
    k = min(NEIGHBOURS, len(spectra) - 1)
    for start in range(0, len(standard), 512):
        alike = standard[start : start + 512] @ standard.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        yield from np.argpartition(-alike, k - 1, axis=1)[:, :k].tolist()
