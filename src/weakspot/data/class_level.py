"""Which folders of a tree are the classes: those that images lie in, or others above them, as in ``OK/2026-11-28``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from weakspot.data.classes import DEFECT_WORDS, GOOD_WORDS, plain
from weakspot.types import GOOD


def folder_labels(images: Sequence[Path], base: Path, good_class: str = GOOD) -> list[str]:
    """Name the folder that labels each image, all of them on one level of the tree.

    The level is the deepest that has a folder called `good_class`; else the deepest that has a usual name of Good
    images, then of defective ones. Where no level has such names, the folder that an image lies in labels it.

    Args:
        images: below `base`.
        base: folder of the data set.
        good_class: what Good images are called, in any letter case.

    Returns:
        A label for each image.

    Examples:
        >>> tree = [Path("t/OK/2026-11-28/1.png"), Path("t/OK/2026-11-29/2.png"), Path("t/NG/2026-11-28/3.png")]
        >>> folder_labels(tree, Path("t"))
        ['OK', 'OK', 'NG']
    """
    above = [image.relative_to(base).parent.parts for image in images]
    levels = _levels(above)
    named = [level for level in levels if good_class.casefold() in {name.casefold() for name in _at(above, level)}]
    # A name that somebody chose counts even where it stands below one of a defect.
    chosen = [level for level in named if good_class.casefold() != GOOD and len(set(_at(above, level))) > 1]
    for level in (*(level for level in named if _tells(above, level)), *chosen):
        return _at(above, level)
    for words in (GOOD_WORDS, DEFECT_WORDS):
        for level in levels:
            if _tells(above, level) and _has(_at(above, level), words):
                return _at(above, level)
    return [image.parent.name for image in images]


def _levels(above: Sequence[tuple[str, ...]]) -> list[int]:
    """Levels that every image has, the deepest first; where depths differ, those counted from above come next."""
    common, deepest = (of(map(len, above), default=0) for of in (min, max))
    from_below, from_above = range(-1, -common - 1, -1), range(common - 1, -1, -1)
    return [*from_below] if common == deepest else [*from_below[:1], *from_above, *from_below[1:]]


def _at(above: Sequence[tuple[str, ...]], level: int) -> list[str]:
    return [parts[level] for parts in above]


def _tells(above: Sequence[tuple[str, ...]], level: int) -> bool:
    """Whether a level tells classes apart: it has two names, and what lies above them does not contradict one.

    With ``OK/normal`` beside ``NG/normal``, ``normal`` is the light; with ``reject/OK`` beside ``reject/NG`` the lower
    names are the classes. With ``monday/OK/a`` beside ``friday/OK``, ``a`` is no defect.
    """
    labels = _at(above, level)
    good = {label for label in labels if _has([label], GOOD_WORDS)}
    if len(set(labels)) < 2 or any(good.intersection(parts[:level]) for parts in above):
        return False
    below_defect = any(parts[level] in good and _has(parts[:level], DEFECT_WORDS) for parts in above)
    return _has(labels, DEFECT_WORDS) or not below_defect


def _has(names: Sequence[str], words: Sequence[str]) -> bool:
    return any(plain(name) in words for name in names)
