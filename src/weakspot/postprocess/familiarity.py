"""How much a picture is like those that the model was trained on: a conformal p-value, and what is said of a low one.

How unusual a picture is, its *distance*, comes from two kinds of measures. Of the frozen features at several depths of
the network the mean and the deviation of each channel are compared with those of training pictures by a Mahalanobis
distance with a shrunken covariance (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples
and Adversarial Attacks", NeurIPS 2018; Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
matrices", 2004); of plain measures such as brightness and sharpness likewise. (Where the part lies is not among them:
on a surface that has no place of its own that is scattered, and would hide all else.) Each logarithm is put on the
scale of pictures that were left out, and the largest counts.

The *familiarity* of a picture is the share, among the held-out pictures and itself, of those with at least its distance
(Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005). It is not smoothed: equal distances count
against nobody. If the picture comes from where the held-out ones come from, the familiarity is at most t with a
probability of at most t, for every t, over the drawing of both. Nothing was fitted on the held-out pictures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.data.looks import LOOKS, THUMBNAIL, shift
from weakspot.types import Look, ModelOutput, Size
from weakspot.utils.untrusted import expect

PLAIN = (*LOOKS, "across", "down")
"""Measures of a picture that know nothing of a network: :data:`~weakspot.data.looks.LOOKS`, and where the part lies."""

MEASURES = ("distance", *PLAIN)
"""What a prediction carries: how unusual the picture is, and its plain measures."""

LEVEL = 0.01
"""A picture is called unlike those of training where its familiarity is at most this; where the held-out pictures are
too few for that, where it is more unusual than each of them."""

FEWEST = 19
"""Held-out pictures without which no picture is called so: one in 20 would be called so by chance alone."""

UNLIKE = "unlike anything seen in training"

MOST_HELD_OUT = 100_000
_FAR = 1e6
"""Stands for a distance that is no number."""


@dataclass(frozen=True)
class Familiarity:
    """What a model knows of the pictures that it was trained on; part of its description.

    Attributes:
        taps: names of the backbone's features.
        channels: number of channels of each.
        ranks: number of directions whose variance is known at each.
        centre, spread: of the logarithm of the distance at each tap, then of that of the plain measures; over training
            pictures that were left out.
        typical: mean of each of :data:`~weakspot.data.looks.LOOKS` over training pictures.
        precision: inverse of their covariance.
        template: mean thumbnail of training pictures, uint8, row by row, base64.
        good, defective: distances of the held-out pictures, rising.
        heights, widths: smallest and largest, of training and held-out pictures.
    """

    taps: tuple[str, ...]
    channels: tuple[int, ...]
    ranks: tuple[int, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    typical: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    template: str
    good: tuple[float, ...]
    defective: tuple[float, ...]
    heights: tuple[int, int]
    widths: tuple[int, int]

    def measures(self, output: ModelOutput) -> dict[str, float]:
        """What is measured of a picture, by the names of :data:`MEASURES`.

        Args:
            output: of the model for the picture.

        Returns:
            Empty where the output has no distances or no look.
        """
        if output.distances is None or output.look is None:
            return {}
        plain = plain_measures(output.look, self._template)
        off = plain[: len(LOOKS)] - np.array(self.typical)
        own = log_distance(float(off @ np.array(self.precision) @ off) / len(off))
        logs = np.append(output.distances.astype(np.float64), own)
        distance = float(((logs - np.array(self.centre)) / np.array(self.spread)).max())
        known = distance if math.isfinite(distance) else _FAR
        return {"distance": known, **dict(zip(PLAIN, plain.tolist(), strict=True))}

    def p_value(self, distance: float) -> float:
        """The familiarity of a picture at that distance: 1/(n + 1)…1."""
        return conformal_p(self._held_out, distance)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that differ for models of other training pictures."""
        return hashlib.blake2b(json.dumps(self.to_dict(), sort_keys=True).encode(), digest_size=16).hexdigest()

    @property
    def held_out(self) -> int:
        """Number of held-out pictures."""
        return len(self.good) + len(self.defective)

    @property
    def level(self) -> float | None:
        """The highest familiarity that is called unlike training; None where the held-out pictures are too few."""
        return None if self.held_out < FEWEST else max(LEVEL, 1 / (self.held_out + 1))

    @property
    def false_alarms(self) -> float:
        """Largest share of pictures like the held-out ones that are called unlike training; 0 where none is."""
        own = self.held_out + 1
        return 0.0 if self.level is None else math.floor(self.level * own + 1e-9) / own

    @property
    def origin(self) -> str:
        """A sentence that tells what the level rests on."""
        if self.level is None:
            return (
                f"no picture is called {UNLIKE}: {self.held_out} held-out pictures are too few to promise that at most "
                f"{1 / (FEWEST + 1):.0%} are called so by chance ({FEWEST} are needed)"
            )
        return (
            f"of pictures like the {self.held_out} held-out ones at most {self.false_alarms:.1%} are called {UNLIKE} "
            "by chance"
        )

    def remarks(self, familiarity: float, size: Size) -> list[str]:
        """What should be said of a picture.

        Args:
            familiarity: of the picture; NaN where it is not known.
            size: its ``(height, width)``.
        """
        found = []
        if self.unlike(familiarity):
            found.append(f"{UNLIKE} (familiarity {familiarity:.2g})")
        (low, high), (thin, wide) = self.heights, self.widths
        if not (low <= size[0] <= high and thin <= size[1] <= wide):
            found.append(
                f"the picture has {size[0]}×{size[1]} pixels (height × width), those of training had "
                f"{_span(low, high)}×{_span(thin, wide)}"
            )
        return found

    def unlike(self, familiarity: float) -> bool:
        """Whether a picture of that familiarity is called unlike training."""
        return self.level is not None and familiarity <= self.level

    @cached_property
    def _held_out(self) -> npt.NDArray[np.float64]:
        return np.sort(np.array([*self.good, *self.defective], dtype=np.float64))

    @cached_property
    def _template(self) -> npt.NDArray[np.uint8]:
        return unpacked(self.template)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back."""
        return {key: _listed(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: object) -> Familiarity:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: for anything else, naming the entry.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise ValueError("familiarity has other entries than it should")
        expect(values, template=str, **dict.fromkeys(names - {"template"}, list))
        taps = tuple(values["taps"])
        whole = {name: _numbers(values, name, int) for name in ("channels", "ranks", "heights", "widths")}
        real = {name: _numbers(values, name) for name in ("centre", "spread", "typical", "good", "defective")}
        rows = {str(i): row for i, row in enumerate(values["precision"])}
        expect(rows, **dict.fromkeys(rows, list))
        precision = tuple(_numbers(rows, name) for name in rows)
        made = cls(
            taps=taps, template=values["template"], precision=precision,
            channels=whole["channels"], ranks=whole["ranks"],
            centre=real["centre"], spread=real["spread"], typical=real["typical"],
            good=tuple(sorted(real["good"])), defective=tuple(sorted(real["defective"])),
            heights=_pair(whole["heights"]), widths=_pair(whole["widths"]),
        )  # fmt: skip
        made._check()
        return made

    def _check(self) -> None:
        taps, plain = len(self.taps), len(LOOKS)
        if not all(isinstance(tap, str) for tap in self.taps) or not taps == len(self.channels) == len(self.ranks):
            raise ValueError("familiarity has taps, channels and ranks that do not fit")
        if not taps + 1 == len(self.centre) == len(self.spread) or min(self.spread) <= 0:
            raise ValueError("familiarity has scales that do not fit its taps")
        if not plain == len(self.typical) == len(self.precision) or any(len(row) != plain for row in self.precision):
            raise ValueError(f"familiarity has a covariance of other than {plain} measures")
        if not 0 < self.held_out <= MOST_HELD_OUT:
            raise ValueError("familiarity has no held-out pictures, or too many")
        unpacked(self.template)


def conformal_p(held_out: npt.NDArray[np.float64], value: float) -> float:
    """The share of values that are at least as large, the value itself among them.

    Args:
        held_out: ``(n,)``, rising.
        value: the new one.

    Returns:
        1/(n + 1)…1; under exchangeability at most t with probability at most t.

    Examples:
        >>> held_out = np.array([1.0, 2.0, 2.0, 5.0])
        >>> conformal_p(held_out, 9.0), conformal_p(held_out, 2.0), conformal_p(held_out, 0.0)
        (0.2, 0.8, 1.0)
    """
    n = len(held_out)
    return (1 + n - int(np.searchsorted(held_out, value, side="left"))) / (n + 1)


def plain_measures(look: Look, template: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The measures of :data:`PLAIN`, ``(len(PLAIN),)``.

    Args:
        look: of a picture.
        template: mean thumbnail of training pictures.
    """
    return np.array([*look.values, *shift(look.thumbnail, template)], dtype=np.float64)


def log_distance(squared: float) -> float:
    """Logarithm of a mean squared distance; of none, what :data:`NEAREST` is the logarithm's argument of."""
    return math.log(squared + NEAREST) if math.isfinite(squared) else _FAR


NEAREST = 1e-6
"""Added to a squared distance before its logarithm is taken."""


def packed(thumbnail: npt.NDArray[np.uint8]) -> str:
    """A thumbnail as text; :func:`unpacked` reads it."""
    return base64.b64encode(np.ascontiguousarray(thumbnail).tobytes()).decode()


def unpacked(text: str) -> npt.NDArray[np.uint8]:
    """A thumbnail ``(THUMBNAIL, THUMBNAIL)`` from text.

    Raises:
        ValueError: when it is none.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        content = b""
    if len(content) != THUMBNAIL**2:
        raise ValueError(f"familiarity has a template that is no picture of {THUMBNAIL}×{THUMBNAIL} pixels")
    return np.frombuffer(content, dtype=np.uint8).reshape(THUMBNAIL, THUMBNAIL)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}…{high}"


def _listed(value: object) -> object:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _numbers(values: Mapping[str, Any], name: str, kind: type = float) -> tuple[Any, ...]:
    wanted = int if kind is int else (int, float)
    row: Sequence[object] = values[name]
    for value in row:
        expect({name: value}, **{name: wanted})
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"{name} is {value}")
    return tuple(kind(value) for value in row)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    if len(values) != 2 or values[0] > values[1]:
        raise ValueError("familiarity has sizes that are no range")
    return values[0], values[1]
