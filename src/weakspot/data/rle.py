"""Masks as run lengths of COCO, Label Studio and Kaggle; everything is checked, since files come from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weakspot.types import BoolArray, Size


def decode_mask(counts: Sequence[int] | str, size: Size) -> BoolArray:
    """Decode COCO's run lengths: pixels without and with the mark in turn, column by column.

    Args:
        counts: the lengths, or their compressed text.
        size: ``(height, width)``.

    Raises:
        ValueError: when the lengths do not fill the picture; pycocotools' C code would write beyond its end.
    """
    lengths = np.array(run_lengths(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    area = math.prod(size)
    if lengths.ndim != 1 or (lengths < 0).any() or (lengths > area).any() or lengths.sum() != area:
        raise ValueError("run lengths that do not fill the picture")
    marked = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.asarray(marked.reshape(size, order="F"))


def decode_starts(text: str, size: Size) -> BoolArray:
    """Decode Kaggle's run lengths: pairs of a run's first pixel, counted from 1 column by column, and its length.

    Args:
        text: numbers with blanks between them.
        size: ``(height, width)``.

    Raises:
        ValueError: when it is something else, or a run leaves the picture.
    """
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError("run lengths that are no numbers") from error
    if len(numbers) % 2:
        raise ValueError("a run without a length")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    area = math.prod(size)
    if (starts < 0).any() or (lengths < 0).any() or (lengths > area).any() or (starts > area - lengths).any():
        raise ValueError("run lengths that leave the picture")
    flat = np.zeros(area, dtype=bool)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        flat[start : start + length] = True
    return np.asarray(flat.reshape(size, order="F"))


def encode_mask(mask: BoolArray) -> list[int]:
    """Encode a mask ``(height, width)`` as COCO's run lengths, which :func:`decode_mask` reads."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    borders = [0] * (1 + bool(flat[0])) if flat.size else [0]
    return [int(length) for length in np.diff([*borders, *changes.tolist(), flat.size])]


def run_lengths(text: str) -> list[int]:
    """Read run lengths from COCO's compressed text.

    Each character holds 5 bits; from the third length on, the text holds the difference from the length before the
    last. The format is that of ``rleToString`` in https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.

    Raises:
        ValueError: when a number is cut off or too long.
    """
    lengths: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        more = True
        while more:
            if position == len(text) or shift > 40:
                raise ValueError("run lengths that are cut short")
            bits = ord(text[position]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"{text[position]!r} in run lengths")
            value |= (bits & 0x1F) << shift
            more, position, shift = bool(bits & 0x20), position + 1, shift + 5
        if bits & 0x10:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    return lengths


def decode_brush(encoded: Sequence[int], size: Size) -> npt.NDArray[np.uint8]:
    """Decode a Label Studio brush: run lengths over the RGBA bytes of the picture, packed in bits.

    The format is that of https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack: 32 bits with the number of
    values, 5 with the bits of a value less one, four times 4 with the bits of each run length less one; then runs, each
    a bit (1: one value repeated, 0: as many values one by one), two bits that choose the run length's bits, the length
    less one, and the values.

    Args:
        encoded: the bytes.
        size: ``(height, width)``.

    Returns:
        The alpha channel, ``(height, width)``.
    """
    bits = "".join(f"{byte:08b}" for byte in encoded)
    position = 0

    def take(count: int) -> int:
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    number, value_bits = take(32), take(5) + 1
    if number != 4 * math.prod(size):
        raise ValueError(f"a brush of {number} bytes on a picture of {size} (height, width)")
    lengths = [take(4) + 1 for _ in range(4)]
    values = np.zeros(number, dtype=np.uint8)
    filled = 0
    while filled < number:
        repeated, count = take(1), 0
        count = take(lengths[take(2)]) + 1
        if repeated:
            values[filled : filled + count] = take(value_bits)
        else:
            values[filled : filled + count] = [take(value_bits) for _ in range(count)]
        filled += count
    return values.reshape(*size, 4)[..., 3]
