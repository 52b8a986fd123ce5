"""``weakspot train FOLDER``: what whoever has only a folder need not say."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.prompt import Prompt

from weakspot.cli.data import option_value
from weakspot.cli.syntax import is_folder, typed_line
from weakspot.config.values import quoted, unquoted
from weakspot.data.images import subfolders
from weakspot.errors import WeakspotError
from weakspot.types import GOOD
from weakspot.utils import console

if TYPE_CHECKING:
    from weakspot.data.recognise import Recognised

BY_DEFAULT = "recommended"
"""The experiment of somebody who names none."""

SWEEP = ("-m", "--multirun")
"""Flags that try several values."""

SEVERAL = re.compile(r"[,\s()\[\]{}:=]")
"""What makes several values, or none, of a name without quotation marks; Hydra says so."""

PARTS = ("train", "test")
"""Folders by one of which MVTec AD's layout is known."""


def of_folder(typed: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Add what a folder without a key leaves open: its layout, its Good class, and the experiment.

    A command that names ``data.root=`` stays as it is. What was taken is said in one line.

    Args:
        typed: the arguments of ``train`` as they were typed.
        settings: the same from :func:`~weakspot.cli.syntax.hydra_arguments`.

    Returns:
        The settings, and what was added to them.

    Raises:
        WeakspotError: where the folder leaves open what it holds, with the line to type.
    """
    folders = [word for word in typed if is_folder(word)]
    if not folders or _value(settings, "data.root") != folders[0]:
        return list(settings)
    folder, root = Path(folders[0]), f"data.root={quoted(folders[0])}"
    kept = [setting for setting in settings if setting not in (root, "data=auto")]  # it is found out here
    added, said, remarks = _of_data(folder, typed, kept)
    if all(_value(settings, key) is None for key in ("experiment", "+experiment", "refine")):
        added.append(f"experiment={BY_DEFAULT}")
        said += f", experiment={BY_DEFAULT} (the baseline to compare with is experiment=plain_cam)"
    console.remark(f"{folder}: {said}", wrap=False)
    for remark in remarks:
        line = remark.replace("data.layout=", "data=")  # a folder alone chooses the layout's group
        console.remark(f"{folder}: {line}", wrap=False)
    return [*kept, *added]


def need_data(typed: Sequence[str]) -> None:
    """Refuse to train on nothing before anything that takes seconds is loaded.

    Args:
        typed: the arguments of ``train`` as they were typed.

    Raises:
        WeakspotError: when none of them can name pictures.
    """
    if all(word in SWEEP for word in typed) or all(word.startswith("output=") for word in typed):
        line = typed_line("train", ["photos/", *typed])
        raise WeakspotError(f"name the folder of your pictures: {line}   (to see it without your own: weakspot demo)")


def need_run(typed: Sequence[str]) -> None:
    """Refuse to measure nothing before anything that takes seconds is loaded.

    Args:
        typed: the arguments of ``evaluate`` as they were typed.

    Raises:
        WeakspotError: when there are none.
    """
    if all(word in SWEEP for word in typed):
        line = typed_line("evaluate", [*typed, "outputs/photos", "boxes.threshold=0.5"])
        raise WeakspotError(f"name the folder of a run and what to change: {line}")


def refuse_other_layout(typed: Sequence[str], settings: Sequence[str]) -> None:
    """Say of ``data.root=FOLDER`` alone what reading it as MVTec AD would fail at, and the line that finds the layout.

    Whatever else might choose a layout or bring a configuration of its own is left to say what is wrong by itself.

    Args:
        typed: the arguments of ``train`` as they were typed.
        settings: the same from :func:`~weakspot.cli.syntax.hydra_arguments`.

    Raises:
        WeakspotError: when the folder is laid out in another way.
    """
    from weakspot.data.recognise import further_parts

    if any(is_folder(word) for word in typed):
        return
    root, subset = _value(settings, "data.root"), _value(settings, "data.subset")
    others = [word for word in settings if word.startswith(("-", "+", "~")) and word not in SWEEP]
    raw = next((word.partition("=")[2] for word in settings if word.startswith("data.root=")), "")
    if root is None or others or (root == raw and SEVERAL.search(raw)):
        return
    if any(_value(settings, key) is not None for key in ("data", "data.layout", "experiment")):
        return
    base = Path(root) / (subset or "")
    if not base.is_dir():
        return
    further = further_parts(base)
    if not further and any((folder / part).is_dir() for folder in (base, *subfolders(base)) for part in PARTS):
        return
    why = f"{further[0]} holds classes as train and test do" if further else f"{base} has neither train nor test"
    words = [root if word.startswith("data.root=") else word for word in typed]
    raise WeakspotError(
        f"{why}, so the folder is not laid out like MVTec AD, which data.root= alone takes for "
        f"granted; type: {typed_line('train', words)}   (without the key, the layout is found)"
    )


def _value(settings: Sequence[str], *keys: str) -> str | None:
    """The value that a setting has, the last one where there are several; without quotation marks."""
    found = [value for key, _, value in (setting.partition("=") for setting in settings) if key in keys]
    return unquoted(found[-1]) if found else None


def _of_data(folder: Path, typed: Sequence[str], settings: Sequence[str]) -> tuple[list[str], str, Sequence[str]]:
    """The settings of the data that are not given, what they say in words, and remarks on what is in the folder."""
    from weakspot.data.recognise import recognise

    layout, subset = _value(settings, "data"), _value(settings, "data.subset")
    if layout == "synthetic":
        return [f"data.root={quoted(str(folder))}"], "generated pictures", ()
    given = {key: unquoted(value) for key, _, value in (setting.partition("=") for setting in settings)}
    texts = {key.rpartition(".")[2]: value for key, value in given.items() if key.startswith("data.options.")}
    options = {key: option_value(value) for key, value in texts.items()}
    inner = folder / subset if subset and (folder / subset).is_dir() else None
    found = recognise(inner or folder, layout or "auto", options)
    added = [f"data.root={quoted(str(folder if inner else found.folder))}"]
    added += [f"data.options.{key}={quoted(str(of))}" for key, of in found.options.items() if key not in options]
    if layout is None:
        added.insert(0, f"data={found.layout}")
    good = given.get("data.good_class")
    if good is None:
        good = _good_class(found, typed)
        added += [f"data.good_class={quoted(good)}"] if good.casefold() != GOOD else []
    kinds = " (all others are called 'anomaly')" if _value(settings, "data.task") != "multiclass" else ""
    return added, f"{found.words} (data={found.layout}), Good class {good!r}{kinds}", found.remarks


def _good_class(found: Recognised, typed: Sequence[str]) -> str:
    """The Good class by its name, or as the user says who sits at a terminal."""
    from weakspot.data.recognise import one_class

    if found.good_class is not None:
        return found.good_class
    if len(found.labels) < 2:
        raise one_class(found)
    text = f"{found.folder}: the names of the classes do not tell which one is Good"
    if sys.stdin.isatty() and console.bars_shown():
        console.remark(text)
        return Prompt.ask("Good class", choices=list(found.labels), console=console.err)
    line = shlex.join(["weakspot", "train", *typed, f"data.good_class={quoted(found.labels[0])}"])
    others = " or ".join(repr(label) for label in found.labels[1:6])
    raise WeakspotError(f"{text}; type: {line}   (or {others} in its place)")
