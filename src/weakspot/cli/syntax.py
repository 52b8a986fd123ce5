"""Two ways to write a setting: ``key=value`` for verbs that have a configuration, ``--option value`` for the others.

Whoever mixes them up is told the line to type.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from weakspot.config.values import quoted
from weakspot.errors import WeakspotError, did_you_mean

SETTING = re.compile(r"[A-Za-z_][\w./@]*=")
"""How ``key=value`` begins."""

WITH_VALUE = frozenset({"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd",
                        "--config-dir", "-i", "--info"})  # fmt: skip
ALONE = frozenset({"-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun",
                   "-sc", "--shell-completion"})  # fmt: skip
"""Flags of Hydra's, with and without a value of their own."""

AS_KEY = {"good_class": "data.good_class", "layout": "data.layout", "group": "data.group", "roi": "data.roi",
          "option": "data.options", "test_size": "split.test_size", "val_size": "split.val_size",
          "threshold": "boxes.threshold", "subset": "data.subset", "root": "data.root"}  # fmt: skip
"""Keys of the options that other verbs call by their last word."""

SHORT = {"-o": "output"}
"""What other tools call in short."""


def hydra_arguments(verb: str, arguments: Sequence[str], positional: str) -> list[str]:
    """Bring the arguments of a verb with a configuration into the order that Hydra takes: flags first.

    Args:
        verb: ``train`` or ``evaluate``.
        arguments: as they were typed.
        positional: key that a folder without a key stands for.

    Returns:
        Flags, then ``key=value``.

    Raises:
        WeakspotError: for ``--option value``, with the line to type, and for two folders.
    """
    flags, settings, line, folders, wrong = list[str](), list[str](), list[str](), list[str](), False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        setting = word
        if word in WITH_VALUE:
            flags += [word, *([rest.pop(0)] if rest and "=" not in rest[0] else [])]
            continue
        if word in ALONE or word.partition("=")[0] in WITH_VALUE:
            flags.append(word)
            continue
        if word.startswith("--") or word.partition("=")[0] in SHORT:
            word, wrong = _as_setting(word, rest, positional), True
        elif is_folder(word):
            folders.append(word)
            setting = f"{positional}={quoted(word)}"
        settings.append(setting)
        line.append(word)
    if len(folders) > 1:
        raise WeakspotError(
            f"{verb} takes one folder, not {' and '.join(folders)}; give the one that holds them, and quote a "
            "name with spaces"
        )
    if wrong:
        # A folder stays without its key here too: with the key, train would take another experiment and layout.
        raise WeakspotError(f"{verb} takes key=value and no --options; type: {typed_line(verb, [*flags, *line])}")
    return [*flags, *settings]


def _as_setting(word: str, rest: list[str], positional: str) -> str:
    """What to type for ``--option value``; takes the value from what follows."""
    name, given, value = word.partition("=")
    if not given and rest and not rest[0].startswith("-") and not SETTING.match(rest[0]):
        value, given = rest.pop(0), "="
    key = SHORT.get(name) or name[2:].replace("-", "_")
    key = AS_KEY.get(key, key)
    if key == positional and is_folder(value):
        return value
    if key == "output":
        value = quoted(value)
    return f"{key}={value if given else 'true'}"


def check_options(verb: str, arguments: Sequence[str], options: Iterable[str]) -> None:
    """Refuse ``key=value`` where a verb takes options.

    Args:
        verb: what was called.
        arguments: as they were typed, behind the verb.
        options: that it has, with their dashes.

    Raises:
        WeakspotError: with the line to type, where each key has an option.
    """
    known, words, unknown, wrong = sorted(options), list[str](), "", False
    for before, word in zip(["", *arguments], arguments, strict=False):
        of_option = before.startswith("-") and "=" not in before  # --option file=labels.csv
        if of_option or not SETTING.match(word) or _is_path(word):
            words.append(word)
            continue
        wrong = True
        key, _, value = word.partition("=")
        option = "--" + key.rpartition(".")[2].replace("_", "-")
        if option in known:
            words += [option, value]
        else:
            unknown = unknown or f"{word}: {verb} has no {option}{did_you_mean(option, known)}"
    if not wrong:
        return
    if unknown:
        raise WeakspotError(f"{unknown}; it takes options and no key=value ('weakspot {verb} --help' lists them)")
    raise WeakspotError(f"{verb} takes options and no key=value; type: {typed_line(verb, words)}")


def is_folder(word: str) -> bool:
    """Whether a word stands for a folder that exists, and is neither a flag nor a setting.

    Args:
        word: as it was typed.
    """
    return not SETTING.match(word) and not word.startswith(("-", "+", "~")) and Path(word).is_dir()


def as_options(message: str) -> str:
    """A message of what train and other verbs share, for a verb that takes options.

    Args:
        message: with keys such as ``data.good_class=OK``.

    Returns:
        The same with options, such as ``--good-class OK``.
    """
    for name, key in AS_KEY.items():
        if name not in ("root", "subset", "threshold"):  # no verb that shares messages has these
            before = rf"\b{re.escape(key)}"
            message = re.sub(rf"{before}(?:[=.](?=\w)|(?![\w.]))", f"--{name.replace('_', '-')} ", message)
    return message.replace("  ", " ")


def _is_path(word: str) -> bool:
    return Path(word).expanduser().exists() or "/" in word.partition("=")[0] or "*" in word.partition("=")[0]


def typed_line(verb: str, words: Iterable[str]) -> str:
    """The line to type.

    Args:
        verb: such as ``export boxes``.
        words: what stands behind it.
    """
    return shlex.join(["weakspot", *verb.split(), *words])
