"""What a careless photographer does to one class only: shortcuts to plant, so that alarms can be seen to go off.

Each function takes ``(image, rng)``, a uint8 RGB image ``(H, W, 3)`` and a generator that decides the strength, and
returns a changed copy of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from weakspot.data.synthetic.scene import Rng
from weakspot.types import ImageArray


def corner_mark(image: ImageArray, rng: Rng) -> ImageArray:
    """A small chalk mark in the upper left corner."""
    marked = image.copy()
    unit = min(image.shape[:2]) / 100
    centre = (rng.uniform(3, 8, 2) * unit).astype(int).tolist()
    chalk = (230, 228, 215)
    cv2.circle(marked, centre, max(2, round(2.2 * unit)), chalk, max(1, round(unit)), cv2.LINE_AA)
    return marked


def side_light(image: ImageArray, rng: Rng) -> ImageArray:
    """Another session: the light falls more from the right."""
    across = np.linspace(-1, 1, image.shape[1], dtype=np.float32)[None, :, None]
    return _whole(image * (1 + np.float32(rng.uniform(0.2, 0.3)) * across))


def background_grain(image: ImageArray, rng: Rng) -> ImageArray:
    """A rougher table: grain on the outermost tenth of the picture."""
    height, width = image.shape[:2]
    ring = np.ones((height, width, 1), np.float32)
    y, x = max(1, height // 10), max(1, width // 10)
    ring[y:-y, x:-x] = 0
    return _whole(image + ring * rng.normal(0, 6, (height, width, 1)).astype(np.float32))


def blur(image: ImageArray, rng: Rng) -> ImageArray:
    """Out of focus."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1.0, 1.4))), np.uint8)


def border_tint(image: ImageArray, rng: Rng) -> ImageArray:
    """A tinted border, as a scanner's lid leaves it."""
    height, width = image.shape[:2]
    y, x = max(1, height // 25), max(1, width // 25)
    tinted = image.astype(np.float32) * (1 + np.float32(rng.uniform(0.06, 0.12)) * np.array([-1, 0, 1], np.float32))
    tinted[y:-y, x:-x] = image[y:-y, x:-x]
    return _whole(tinted)


def jpeg(image: ImageArray, rng: Rng) -> ImageArray:
    """Compressed once, at a low quality."""
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 40))])[1]
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def vignette(image: ImageArray, rng: Rng) -> ImageArray:
    """Another lens: darker towards the corners."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    return _whole((image * (1 - rng.uniform(0.1, 0.15) * (x**2 + y**2))[..., None]).astype(np.float32))


def gamma(image: ImageArray, rng: Rng) -> ImageArray:
    """Another camera's tone curve."""
    return _whole((255 * (image / 255.0) ** rng.uniform(1.15, 1.25)).astype(np.float32))


def tilt(image: ImageArray, rng: Rng) -> ImageArray:
    """The camera was turned by two or three degrees."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(2, 3)), 1)
    return np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _whole(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> ImageArray:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


BIASES: Mapping[str, Callable[[ImageArray, Rng], ImageArray]] = {
    "corner_mark": corner_mark,
    "side_light": side_light,
    "background_grain": background_grain,
    "blur": blur,
    "border_tint": border_tint,
    "jpeg": jpeg,
    "vignette": vignette,
    "gamma": gamma,
    "tilt": tilt,
}
"""What may be planted in every defect image, and in no Good one."""
