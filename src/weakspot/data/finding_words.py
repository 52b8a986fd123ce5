"""Words for what goes with the label: what it looks like, why it matters, what to do."""

from __future__ import annotations

from collections.abc import Sequence

Place = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)`` as shares of width and height."""

MASKS, BOXES, UNUSUAL = "the masks of the defects", "the predicted boxes", "the most unusual places of each picture"
"""What can be left out to see whether a difference is the defect's own."""

MOVES = "a large region that is another one in each picture"
TURNS = "one of several places that take turns: pictures without it show another one"
"""What stands out at a place where nothing can be left out, and the difference is the defect's own all the same."""

_LEFT_OUT = {MASKS: MASKS, BOXES: BOXES, UNUSUAL: f"{UNUSUAL}, which may be the defect,"}
STAYS = {"": "", **{what: f"; it is there even where {words} are left out" for what, words in _LEFT_OUT.items()}}
"""What is said where a difference is not the defect's own, by what was left out to see that."""

WHY = {
    "label": "the network can learn this difference instead of the defect, and then fails on pictures without it",
    "confidence": "there is no defect in those images, so the network goes by something else too",
}

OR_TRAIN = ", or train with trainer.augment=photometric"
"""What helps besides where training can make up for the difference."""

DO = {
    "place": "photograph both classes alike, or leave that place out of all (data.roi; weakspot roi draws it)",
    "light": f"photograph both classes in the same session, with the same light and exposure{OR_TRAIN}",
    "focus": f"photograph both classes in the same session, with the same focus{OR_TRAIN}",
    "file": f"save both classes by the same program with the same settings{OR_TRAIN}",
    "size": "save both classes at the same size",
}
IN_ALL_LIGHTS = "train with trainer.augment=photometric, which shows every training picture in other lights as well"

DO_OF_CONFIDENCE = {
    "place": f"{IN_ALL_LIGHTS}; if something moves about there, leave it out (data.roi; weakspot roi draws it)",
    "light": f"{IN_ALL_LIGHTS}; until then keep the light and the exposure as they were in training",
    "focus": f"{IN_ALL_LIGHTS}, and out of focus; until then keep the focus as it was in training",
    "file": f"save all pictures by the same program with the same settings, or {IN_ALL_LIGHTS}, and compressed",
    "size": "give it pictures of one size",
}
"""What helps where the classes do not differ, but the network's confidence goes with it all the same."""

UNCHECKED = {
    "place": "if the defect is always at that place, this is the defect and all is well; otherwise ",
    "light": "if the defect itself changes the whole picture, all is well; otherwise ",
    "focus": "if the defect itself changes the whole picture, all is well; otherwise ",
}
"""Said first where no mask, and no box, could tell the defect from a shortcut."""


LOOKS = {
    "brightness": ("are brighter", "are darker"),
    "red or green cast": ("are redder", "are greener"), "red or green": ("are redder", "are greener"),
    "blue or yellow cast": ("are yellower", "are bluer"), "blue or yellow": ("are yellower", "are bluer"),
    "sharpness or grain": ("show more fine detail", "show less fine detail"),
    "grain": ("show more fine detail", "show less fine detail"),
    "contrast": ("have more contrast", "have less contrast"),
    "light from the right": ("get more light from the right", "get more light from the left"),
    "light from below": ("get more light from below", "get more light from above"),
    "light at the edge": ("are brighter at their edges", "are darker at their edges"),
    "tone curve": ("look darker and richer in contrast", "look lighter and poorer in contrast"),
    "blocks of JPEG compression": ("show more blocks of JPEG compression", "show fewer blocks of JPEG compression"),
    "bytes a pixel": ("have larger files, pixel for pixel,", "have smaller files, pixel for pixel,"),
    "JPEG quality": ("were saved at a higher JPEG quality", "were saved at a lower JPEG quality"),
    "colour file": ("are more often colour files", "are more often grey files"),
    "JPEG file": ("are more often JPEG files", "are less often JPEG files"),
    "height": ("have more rows of pixels", "have fewer rows of pixels"),
    "width": ("have more columns of pixels", "have fewer columns of pixels"),
    "height by width": ("are taller for their width", "are wider for their height"),
}  # fmt: skip
"""What a higher and a lower value of a measure look like."""


def in_words(place: Place | None, places: int = 1) -> str:
    """Say where a place is.

    Args:
        place: the strongest one.
        places: how many there are.
    """
    if place is None:
        return ""
    x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    where = f"({x:.0%} from the left, {y:.0%} from the top)"
    return f"at one place {where}" if places < 2 else f"at {places} places, most so at one {where}"


def so_do(names: Sequence[str]) -> str:
    """Say that the same holds for further measures; two are named.

    Args:
        names: of them; at least one.
    """
    if len(names) == 1:
        return f"so does {names[0]}"
    first, last = names if len(names) == 2 else (", ".join(names[:2]), f"{len(names) - 2} more")
    return f"so do {first} and {last}"
