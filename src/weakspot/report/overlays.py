"""One picture with its map and boxes drawn on it."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.preprocess import fit_within
from weakspot.ops.maps import shown_map
from weakspot.ops.resize import upsample
from weakspot.postprocess.familiarity import UNLIKE
from weakspot.postprocess.trust import MEANING, level
from weakspot.types import GOOD, BoolArray, Box, FloatArray, ImageArray, Level, Prediction, Size
from weakspot.utils.files import atomic_path

COLOUR_MAP = cv2.COLORMAP_INFERNO  # perceptually uniform, readable for colour-blind people and in grey print
OPACITY = 0.5
"""Of the hottest place of a map: the defect below it stays visible."""

BOX_COLOUR = (0, 230, 255)
"""Of a box whose trust is not known."""

TRUST_COLOURS: dict[Level, tuple[int, int, int]] = {
    "green": (79, 224, 168), "amber": (255, 184, 61), "red": (255, 122, 82),
}  # fmt: skip
"""Of the other boxes, as on the pages."""

LEGEND: dict[Level, str] = {name: f"{name}: {words}" for name, words in MEANING.items()}

MASK_COLOUR = (255, 255, 255)
"""Of the true outline, on a dark edge; no box has it."""

LONGEST_SIDE = 1600
HEATMAP_SIDE = 512
"""Longest side of a heat map as a file, in pixels; the network sees about as many."""

SMALLEST_WORDS = 0.28
"""Scale of a font below which nobody can read it."""


def blend(image: ImageArray, map_: FloatArray, opacity: float = OPACITY) -> ImageArray:
    """Lay a map over an image, scaled to its own range (for viewing only); cold places show the image itself.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        map_: ``(h, w)``, any range.
        opacity: of the hottest place, 0…1; 0 shows the image alone.
    """
    heat = upsample(map_, image.shape[:2])
    low, high = float(heat.min()), float(heat.max())
    scaled = (heat - low) / (high - low) if high > low else np.zeros_like(heat)
    colours = _colours()[np.rint(255 * scaled).astype(np.uint8)]
    weight = np.float32(opacity) * scaled[..., None].astype(np.float32)
    return np.asarray(image + weight * (colours - image), dtype=np.uint8)


def heat_layer(map_: FloatArray, size: Size, longest: int = 512) -> ImageArray:
    """Make a picture of a map to lay over its image, as :func:`blend` colours it: uint8 RGBA, cold places transparent.

    Args:
        map_: ``(h, w)``, any range.
        size: ``(height, width)`` of the image, whose shape the layer has.
        longest: longest side that the layer may have, in pixels.
    """
    heat = upsample(map_, _within(size, longest))
    low, high = float(heat.min()), float(heat.max())
    return heat_colours((heat - low) / (high - low) if high > low else np.zeros_like(heat))


def heat_colours(scaled: FloatArray) -> ImageArray:
    """Colour a map: uint8 RGBA ``(h, w, 4)``, cold places transparent.

    Args:
        scaled: ``(h, w)``, 0…1.
    """
    colours = _colours()[np.rint(255 * scaled).astype(np.uint8)]
    return np.dstack([colours, 255 * OPACITY * scaled]).astype(np.uint8)


@cache
def _colours() -> npt.NDArray[np.float32]:
    """``(256, 3)`` colours of the map, 0…255."""
    shades = np.arange(256, dtype=np.uint8)[None]
    return np.asarray(cv2.applyColorMap(shades, COLOUR_MAP)[0, :, ::-1], dtype=np.float32)


def draw(
    image: ImageArray, boxes: tuple[Box, ...], size: Size, mask: BoolArray | None = None, *, scores: bool = True
) -> ImageArray:
    """Draw boxes and a mask's outline on a copy of an image of any scale.

    Args:
        image: uint8 RGB ``(h, w, 3)``; the original or a smaller one.
        boxes: in pixels of the original image.
        size: ``(height, width)`` of the original image.
        mask: bool, of any resolution; None draws no outline.
        scores: write class and trust on each box; where trust is not known, the score (0 to 100 %).

    Returns:
        uint8 RGB ``(h, w, 3)``.
    """
    canvas = image.copy()
    height, width = canvas.shape[:2]
    thickness = max(1, round(min(height, width) / 110))
    if mask is not None and mask.any():
        small = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, (0, 0, 0), thickness + 1)
        cv2.drawContours(canvas, outlines, -1, MASK_COLOUR, max(1, thickness - 1))
    for box in boxes:
        corners = [round(v * s) for v, s in zip(box.xyxy, (width / size[1], height / size[0]) * 2, strict=True)]
        colour = box_colour(box)
        cv2.rectangle(canvas, corners[:2], (corners[2] - 1, corners[3] - 1), colour, thickness)
        if scores:
            sure = f"{box.confidence:.0%}" if math.isnan(box.trust) else f"trust {box.trust:.0%}"
            _caption(canvas, f"{box.label}, {sure}", (corners[0], corners[1]), thickness, colour)
    return canvas


def box_colour(box: Box) -> tuple[int, int, int]:
    """RGB of a box: green, amber or red by its trust, :data:`BOX_COLOUR` where that is not known.

    Args:
        box: any.
    """
    found = level(box)
    return BOX_COLOUR if found is None else TRUST_COLOURS[found]


def with_words(image: ImageArray, words: str) -> ImageArray:
    """Put a strip with a few words above a picture, whose height its width decides; the words shrink to fit.

    Args:
        image: uint8 RGB ``(h, w, 3)``.
        words: ASCII.
    """
    font, width = cv2.FONT_HERSHEY_SIMPLEX, image.shape[1]
    height = max(12, round(44 * min(0.6, width / 700)))
    scale = min(height / 44, width / (cv2.getTextSize(words, font, 1.0, 1)[0][0] + 20))
    strip = np.full((height, width, 3), 32, dtype=np.uint8)
    cv2.putText(strip, words, (round(10 * scale), round(height * 0.7)), font, scale, (255, 184, 61), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def with_legend(image: ImageArray) -> ImageArray:
    """Put a strip below a picture that says what the colours of boxes mean; one too narrow for the words gets none.

    Args:
        image: uint8 RGB ``(h, w, 3)``.
    """
    width, font = image.shape[1], cv2.FONT_HERSHEY_SIMPLEX
    longest = sum(cv2.getTextSize(words, font, 1.0, 1)[0][0] + 60 for words in LEGEND.values())
    scale = min(0.6, width / longest)
    if scale < SMALLEST_WORDS:
        return image
    height = round(44 * scale)
    strip = np.full((height, width, 3), 32, dtype=np.uint8)
    x = round(10 * scale)
    for name, words in LEGEND.items():
        end = x + round(30 * scale)
        cv2.line(strip, (x, height // 2), (end, height // 2), TRUST_COLOURS[name], max(1, round(6 * scale)))
        place = (end + round(10 * scale), round(height * 0.7))
        cv2.putText(strip, words, place, font, scale, (235, 235, 235), 1, cv2.LINE_AA)
        x = place[0] + cv2.getTextSize(words, font, scale, 1)[0][0] + round(15 * scale)
    return np.concatenate([image, strip])


def overlay(image: ImageArray, prediction: Prediction, mask: BoolArray | None = None) -> ImageArray:
    """Lay map, boxes and, where given, the outline of the true mask over a picture.

    A map is scaled to its own range, in which that of a Good picture would glow like a defect's; so a picture that is
    called Good gets no map.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        prediction: of that image.
        mask: the true mask, bool ``(H, W)``; None draws no outline.

    Returns:
        uint8 RGB, no side longer than :data:`LONGEST_SIDE`.
    """
    small = fit_within(image, LONGEST_SIDE)
    output = None if prediction.label == GOOD else prediction.output
    blended = small if output is None else blend(small, shown_map(output))
    return draw(blended, prediction.boxes, prediction.size, mask)


def captioned(image: ImageArray, prediction: Prediction) -> ImageArray:
    """Make :func:`overlay` with the verdict above it, and below it what the colours of boxes mean.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        prediction: of that image.

    Returns:
        uint8 RGB; of the same size for all pictures of one size.
    """
    return with_legend(with_words(overlay(image, prediction), verdict_words(prediction)))


def verdict_words(prediction: Prediction) -> str:
    """What a prediction says of its picture, in ASCII as it is drawn.

    Args:
        prediction: of a picture that could be read; of one that could not be predicted it says so.

    Examples:
        >>> verdict_words(Prediction(Path("a.png"), height=9, width=9, label="anomaly", probability=0.777))
        'called anomaly; probability of a defect 78%; no box: evidence below threshold'
    """
    if prediction.status != "ok":
        return "not predicted"
    said = [f"called {prediction.label}", f"probability of a defect {prediction.probability:.0%}"]
    if prediction.label != GOOD and not prediction.boxes:
        said.append("no box: evidence below threshold")
    if prediction.unlike_training:
        said.append(UNLIKE)
    return "; ".join(said).encode("ascii", "replace").decode()


def write_overlay(path: Path, image: ImageArray, prediction: Prediction) -> None:
    """Write :func:`captioned` as a JPEG, whole or not at all.

    Args:
        path: the file to write.
        image: uint8 RGB ``(H, W, 3)``.
        prediction: of that image.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(captioned(image, prediction)).save(temporary, format="JPEG", quality=90)


def write_heatmap(path: Path, prediction: Prediction) -> None:
    """Write the map of a picture as a grey PNG of the picture's shape, whole or not at all.

    With evidence heads 255 is a probability of 1 that image, place and pixel are defective, which can be compared
    between pictures; without, a class activation map stretched to its own range, which cannot.

    Args:
        path: the file to write.
        prediction: with its output.
    """
    if prediction.output is None:
        return
    map_ = upsample(shown_map(prediction.output), _within(prediction.size, HEATMAP_SIDE))
    if prediction.output.mask_logits is None:
        low, high = float(map_.min()), float(map_.max())
        map_ = (map_ - low) / (high - low) if high > low else np.zeros_like(map_)
    with atomic_path(path) as temporary:
        Image.fromarray(np.rint(255 * map_).clip(0, 255).astype(np.uint8)).save(temporary, format="PNG")


def _within(size: Size, longest: int) -> Size:
    """A size of the same shape with no side longer than `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _caption(
    canvas: ImageArray, text: str, corner: tuple[int, int], thickness: int, colour: tuple[int, int, int]
) -> None:
    """Dark text on a patch of the box's colour, above the box where there is room."""
    scale = 0.3 + 0.12 * thickness
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = max(0, min(corner[0], canvas.shape[1] - width - 4))
    y = corner[1] if corner[1] > height + base else min(canvas.shape[0], corner[1] + height + base + 2)
    cv2.rectangle(canvas, (x, y - height - base - 2), (x + width + 4, y), colour, -1)
    cv2.putText(canvas, text, (x + 2, y - base), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
