"""What has changed, in words that say where to look first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from weakspot.utils.untrusted import expect

DISTANCE, SCORE, CALLED = "distance", "score", "called"

MEASURED = (
    DISTANCE,
    SCORE,
    CALLED,
    "brightness",
    "contrast",
    "sharpness",
    "red_green",
    "blue_yellow",
    "across",
    "down",
)
"""Names of what is watched, in order."""

DIRECTIONS: Mapping[str, tuple[str, str]] = {
    DISTANCE: ("the pictures are more like those of training", "the pictures are less like those of training"),
    SCORE: ("the model finds the pictures less suspicious", "the model finds the pictures more suspicious"),
    CALLED: ("fewer pictures are called defective", "more pictures are called defective"),
    "brightness": ("the pictures are darker", "the pictures are brighter"),
    "contrast": ("the pictures have less contrast", "the pictures have more contrast"),
    "sharpness": ("the pictures are softer", "the pictures are sharper or grainier"),
    "red_green": ("the pictures are greener", "the pictures are redder"),
    "blue_yellow": ("the pictures are bluer", "the pictures are yellower"),
    "across": ("what they show has moved to the left", "what they show has moved to the right"),
    "down": ("what they show has moved up", "what they show has moved down"),
}
"""Of each measure what a lower and a higher value mean."""

LOOK_AT: Mapping[str, str] = {
    DISTANCE: "whether another product or material is on the line",
    SCORE: "the parts themselves",
    CALLED: "the parts themselves",
    "brightness": "lamp and exposure",
    "contrast": "lamp, stray light and exposure",
    "sharpness": "focus, lens and vibration",
    "red_green": "lamp and white balance",
    "blue_yellow": "lamp and white balance",
    "across": "fixture, trigger and the mount of the camera",
    "down": "fixture, trigger and the mount of the camera",
}
"""Of each measure where to look first."""

NAMES: Mapping[str, str] = {
    DISTANCE: "how unusual", SCORE: "log-odds of a defect", CALLED: "share called defective",
    "red_green": "green to red", "blue_yellow": "blue to yellow", "across": "place across", "down": "place down",
    "training": "compared with training",
}  # fmt: skip
"""What pages call a measure, where that is not its own name."""


def _percent(value: float) -> str:
    return f"{value:+.1%}"


_UNITS: Mapping[str, Callable[[float], str]] = {
    CALLED: lambda value: f"{value:.1%}",
    "across": _percent,
    "down": _percent,
    "brightness": lambda value: f"{value:.1f}",
}


def name_of(measure: str) -> str:
    """What pages call a measure."""
    return NAMES.get(measure, measure)


def value_of(measure: str, value: float) -> str:
    """A value as pages show it.

    Args:
        measure: a name of :data:`MEASURED`.
        value: of it.
    """
    return _UNITS[measure](value) if measure in _UNITS else f"{value:.2f}"


@dataclass(frozen=True)
class Change:
    """One measure, before and since.

    Attributes:
        measure: a name of :data:`MEASURED`.
        before, after: median before the change and since; shares for the pictures called defective.
        fired: whether its own test gave the alarm.
    """

    measure: str
    before: float
    after: float
    fired: bool

    @property
    def words(self) -> str:
        """Part of a sentence."""
        told = DIRECTIONS[self.measure][self.after > self.before]
        before, after = (value_of(self.measure, value) for value in (self.before, self.after))
        return f"{told} ({'' if self.measure == CALLED else 'median '}{before} before, {after} since)"


Against = Literal["line", "training"]


@dataclass(frozen=True)
class Drift:
    """One alarm.

    Attributes:
        picture: number of the picture that it was raised at, counted from 1.
        path: that picture.
        since: number of the picture that the change probably began at.
        against: what the pictures differ from: earlier ones of the ``line``, or those of ``training``.
        changes: what changed; what gave the alarm comes first.
        pictures: paths of pictures that show it, what shows it most first.
    """

    picture: int
    path: str
    since: int
    against: Against
    changes: tuple[Change, ...]
    pictures: tuple[str, ...]

    @property
    def words(self) -> str:
        """What a person is told, in one line."""
        told = "; ".join(change.words for change in self.changes)
        if self.against == "training":
            return f"picture {self.picture}: the line's pictures differ from those of training: {told}"
        return f"picture {self.picture}: a change since about picture {self.since}: {told}"

    @property
    def look_at(self) -> list[str]:
        """Where to look first; each place once."""
        return list(dict.fromkeys(LOOK_AT[change.measure] for change in self.changes))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the words; :meth:`from_dict` reads it back."""
        return {**asdict(self), "words": self.words, "look_at": self.look_at}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Drift:
        """Read what :meth:`to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: when it is something else.
        """
        expect(values, picture=int, path=str, since=int, changes=list, pictures=list)
        against: Against = "training" if values["against"] == "training" else "line"
        changes = []
        for change in values["changes"]:
            expect(change, measure=str, before=(int, float), after=(int, float), fired=bool)
            if change["measure"] not in MEASURED:
                raise ValueError(f"measure is {change['measure']!r}")
            changes.append(Change(**change))
        pictures = tuple(str(path) for path in values["pictures"])
        return cls(values["picture"], values["path"], values["since"], against, tuple(changes), pictures)
