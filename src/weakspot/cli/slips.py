"""Slips of whoever types a command for the first time, told from the words alone, before anything heavy is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weakspot.cli.syntax import SETTING, typed_line
from weakspot.config.values import unquoted
from weakspot.errors import WeakspotError
from weakspot.models.devices import check_device

EXPORTED = (".onnx", ".xml")
ARCHIVE = re.compile(r"(?i)\.(zip|7z|rar|tgz|tbz2|txz|tar(\.\w+)?)$")
LONGEST = 255
"""Characters of a file's name; asking for a longer one is an error of its own."""

RUN, PICTURES = "outputs/photos", "new_photos/"
"""Stand in a line to type for what is not known."""


def check_verb(word: str, rest: Sequence[str]) -> None:
    """Refuse a folder in a verb's place.

    Args:
        word: what stands where a verb should, and is none.
        rest: the words behind it.

    Raises:
        WeakspotError: with the line to type, where `word` is a folder.
    """
    if word.startswith("-") or not Path(word).is_dir():
        return
    verb, behind = ("predict", rest or [PICTURES]) if _is_model(word) else ("train", rest)
    raise WeakspotError(f"{word} is a folder and no verb; type: {typed_line(verb, [word, *behind])}")


def check_archives(verb: str, words: Sequence[str], named: Sequence[str]) -> None:
    """Refuse an archive where a folder is wanted.

    Args:
        verb: what was called.
        words: behind it, as they were typed.
        named: those of them that name data or a run.

    Raises:
        WeakspotError: with what to type once it is unpacked.
    """
    for word in named:
        name = unquoted(word.removeprefix("data.root="))
        if ARCHIVE.search(name) and "://" not in name and not Path(name).is_dir():
            unpacked = [ARCHIVE.sub("", name) if other == word else other for other in words]
            raise WeakspotError(f"{name} is an archive; unzip it first, then type: {typed_line(verb, unpacked)}")


def check_words(verb: str, command: Any, words: Sequence[str]) -> None:  # noqa: ANN401 - typer's own click
    """Refuse what cannot be meant, with the line to type.

    Args:
        verb: what was called, such as ``export boxes``.
        command: typer's command for it.
        words: behind the verb, as they were typed.

    Raises:
        WeakspotError: for an archive, a run and pictures in the wrong order or number, and a device that is not there.
    """
    if "--help" in words:
        return
    context = command.make_context(verb, list(words), resilient_parsing=True)
    given: Mapping[str, Any] = context.params
    names = [parameter.name for parameter in command.params if parameter.param_type_name == "argument"]
    named = [str(given[name]) for name in names if given.get(name) is not None]
    if context.args and not named:  # an option that there is not; typer says which would be near
        return
    check_archives(verb, words, [word for word in words if word in (*named, *context.args)])
    if verb in ("predict", "explain"):
        _check_order(verb, words, named, context.args)
    device, exported = given.get("device"), bool(named) and Path(named[0]).suffix.lower() in EXPORTED
    if verb == "explain" and not exported and named[0] != "imagenet" and Path(named[-1]).exists():
        from weakspot.models.bundle_meta import find_bundle

        find_bundle(Path(named[0]))  # which says what is wrong seconds before all that it needs is loaded
    if device and given.get("engine") != "ray" and not exported:  # ray's workers have devices of their own
        check_device(device)


def _check_order(verb: str, words: Sequence[str], named: Sequence[str], extra: Sequence[str]) -> None:
    """The run first, then one name for the pictures."""
    options = _without(words, [*named, *extra])

    def line(run: str, *pictures: str) -> str:
        return typed_line(verb, [run, _one_name(pictures), *options])

    if not named:
        raise WeakspotError(f"name a run and the pictures: {line(RUN, PICTURES)}")
    run, sources = named[0], [*named[1:], *extra]
    models = [source for source in sources if _is_model(source)]
    if models and not _is_model(run):
        others = [source for source in sources if source not in models]
        raise WeakspotError(f"the run comes first, then the pictures; type: {line(models[0], run, *others)}")
    # A folder may be a run that is not finished, so pictures behind it prove nothing; a file is none.
    if _are_pictures(run) and (not sources or (Path(run).is_file() and all(map(_are_pictures, sources)))):
        raise WeakspotError(f"name the run first, then the pictures: {line(RUN, run, *sources)}")
    if not sources:
        raise WeakspotError(f"name the pictures, too: {line(run, PICTURES)}   (or a picture, or a pattern in quotes)")
    if extra and all(Path(source).exists() for source in sources):
        raise WeakspotError(
            f"{verb} takes one name for all pictures, not {len(sources)}; quote the pattern, or give the folder: "
            f"{line(run, *sources)}"
        )
    spaced = " ".join(sources)
    if extra and len(spaced) < LONGEST and Path(spaced).exists():
        raise WeakspotError(f"quote a name with spaces; type: {line(run, spaced)}")


def _without(words: Sequence[str], gone: Sequence[str]) -> list[str]:
    """The words but those that are named, each once; a path may have been typed with a slash at its end."""
    rest = list(words)
    for word in gone:
        index = next((i for i, other in enumerate(rest) if other == word or Path(other) == Path(word)), None)
        if index is not None:
            del rest[index]
    return rest


def _one_name(sources: Sequence[str]) -> str:
    """A pattern for files of one kind in one folder, else the folder that holds all of them."""
    if len(sources) == 1:
        return sources[0]
    paths = [Path(source) for source in sources]
    folders, endings = {path.parent for path in paths}, {path.suffix for path in paths}
    plain = not re.search(r"[*?\[]", str(paths[0].parent))
    if len(folders) == len(endings) == 1 and endings != {""} and plain:
        return str(paths[0].parent / f"*{paths[0].suffix}")
    return os.path.relpath(os.path.commonpath([path.parent.absolute() for path in paths]))


def _is_model(word: str) -> bool:
    """Whether a word names what predicts: a run, a bundle or an exported model."""
    from weakspot.models.bundle_meta import META_FILE

    path = Path(word)
    if path.is_dir():
        return any((folder / META_FILE).is_file() for folder in (path, path / "bundle"))
    return word == "imagenet" or (path.suffix.lower() in EXPORTED and path.is_file())


def _are_pictures(word: str) -> bool:
    """Whether a word names a picture, or a folder that holds pictures and neither a run nor a model."""
    from weakspot.data.images import is_image

    path = Path(word)
    if not path.is_dir():
        return is_image(path) and path.is_file()
    entries = list(path.rglob("*"))
    return any(map(is_image, entries)) and not any(
        entry.name == "run.log" or entry.suffix.lower() in EXPORTED for entry in entries
    )


def settings_that_name_data(words: Sequence[str]) -> list[str]:
    """Of the words behind ``train`` or ``evaluate``, those that name data or a run.

    Args:
        words: as they were typed.
    """
    return [word for word in words if word.startswith("data.root=") or not SETTING.match(word)]
