"""``weakspot train --help``: what is needed, the experiments in a sentence each, then every key there is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig

from weakspot.config.schema import TrainConfig, typed

WIDTH = 110

NEEDED = """\
weakspot train FOLDER [key=value ...]: train on image labels, draw boxes on the held-out subset, measure.

1. WHAT YOU NEED

  weakspot train photos/                       two folders, such as photos/OK and photos/NG: finds layout and Good
                                               class, takes experiment=recommended
  weakspot train photos/ data.good_class=A     where the names do not tell which class is Good
  weakspot train photos/ output=outputs/photos where the run goes; without it, outputs/<name>/<subset>/<date-time>
  weakspot train data.root=mvtec data.subset=hazelnut       (MVTec AD; key=value alone takes nothing for granted)

  Example   weakspot train photos/ data.image_size=448 seed=1
  Sweep     weakspot train -m photos/ seed=1,2,3            (-m runs every combination of comma-separated values)
  --cfg job shows the composed configuration and starts nothing; --debug shows tracebacks."""

MEANINGS = {
    "data.layout": "of the folder; set by data=",
    "model.backbone": "the network; set by model=",
    "model.optimizer": "any optimiser of torch.optim, by its _target_ and its arguments",
    "model.optimizer._target_": "class of the optimiser",
    "model.optimizer._partial_": "leave it at true: the network's parameters are added later",
    "model.optimizer.lr": "learning rate",
    "trainer.batch_size": "images in a training step",
    "refine.method": "none, or segment: two small evidence heads; set by refine=",
    "refine.learning_rate": "of the evidence heads",
    "boxes.threshold": "a pixel is hot from here on: a share of the map's range, or logit units (see threshold_kind)",
    "cache.precision": "float16, or float32: exact, and twice the size",
}
"""Of keys whose yaml has no comment."""

WORDS = {str: "text", int: "whole number", float: "number", bool: "true/false", dict: "keys", Any: "see meaning"}


@dataclass(frozen=True)
class Key:
    """One key of the configuration.

    Attributes:
        name: dotted.
        type: in words.
        default: as yaml writes it.
        meaning: in words.
    """

    name: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        head = f"  {self.name:<32} {self.type:<21} {self.default:<14}"
        if len(head) > 72 or len(head) + len(self.meaning) > WIDTH:
            return (
                head.rstrip()
                + "\n"
                + textwrap.fill(self.meaning, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
            )
        return f"{head} {self.meaning}"


def train_help(folder: Path, defaults: DictConfig) -> str:
    """The help of ``weakspot train`` in three tiers.

    Args:
        folder: with the yaml files.
        defaults: the composed configuration without any override.
    """
    found = experiments(folder)
    width = max(len(name) for name in found)
    listed = [
        textwrap.fill(f"{name:<{width}}  {said}", WIDTH, initial_indent="  ", subsequent_indent=" " * (width + 4))
        for name, said in found.items()
    ]
    groups = [
        textwrap.fill(
            f"{group}={'| '.join(choices(folder, group))}", WIDTH, initial_indent="  ", subsequent_indent="    "
        ).replace("| ", "|")  # a line may break after each of them
        for group in re.findall(r"(?m)^  - (\w+): (?!null)\w+", (folder / "train.yaml").read_text(encoding="utf-8"))
    ]
    keys = [str(key) for key in keys_of(folder, defaults)]
    return "\n".join(
        [
            NEEDED, "", "2. EXPERIMENTS (experiment=NAME)", "", *listed, "",
            "3. EVERY KEY (key=value): type, default without an experiment, meaning", "",
            "  Whole groups of keys at once:", *groups, "", *keys,
        ]
    )  # fmt: skip


def experiments(folder: Path) -> dict[str, str]:
    """Every experiment and what its yaml says of it in the first sentence.

    Args:
        folder: with the yaml files.
    """
    found = {}
    for name in choices(folder, "experiment"):
        text = (folder / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
        comment = re.match(r"(?:# @package.*\n)?((?:#.*\n)+)", text)
        said = " ".join(line.lstrip("# ") for line in comment[1].splitlines()) if comment else ""
        found[name] = re.split(r"(?<=[a-z)])\. ", said)[0].rstrip(".") + "."
    return found


def choices(folder: Path, group: str) -> list[str]:
    """Names that a group of the configuration offers; files that begin with ``_`` are what others rest on.

    Args:
        folder: with the yaml files.
        group: such as ``boxes``.
    """
    names = (path.stem for path in (folder / group).glob("*.yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def keys_of(folder: Path, defaults: DictConfig) -> list[Key]:
    """Every key of ``weakspot train``, with type, default and meaning.

    Args:
        folder: with the yaml files, whose comments are the meanings.
        defaults: the composed configuration without any override.
    """
    meanings = MEANINGS | _comments((folder / "train.yaml").read_text(encoding="utf-8"))
    for group, files in {
        "data": ["_base"], "model": ["_base"], "refine": ["segment"], "boxes": ["single"], "trainer": ["default"],
    }.items():  # fmt: skip
        for name in files:
            text = (folder / group / f"{name}.yaml").read_text(encoding="utf-8")
            meanings |= {f"{group}.{key}": said for key, said in _comments(text).items()}
    return [
        Key(name, kind, _default(value), meanings.get(name, ""))
        for name, kind, value in _all(typed(defaults, TrainConfig))
    ]


def _all(config: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:  # noqa: ANN401 - any group
    """Dotted name, type and value of every key in a group of the configuration."""
    hints = get_type_hints(type(config))
    for each in fields(config):
        name, value = f"{prefix}{each.name}", getattr(config, each.name)
        if is_dataclass(value):
            yield from _all(value, f"{name}.")
            continue
        yield name, _type(hints[each.name]), value
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", WORDS.get(type(inner), "text"), inner) for key, inner in value.items())


def _type(hint: Any) -> str:  # noqa: ANN401 - a type
    if isinstance(hint, UnionType):
        return " or ".join("null" if each is type(None) else _type(each) for each in get_args(hint))
    return WORDS.get(getattr(hint, "__origin__", hint), "see meaning")


def _default(value: object) -> str:
    if isinstance(value, dict):
        return ""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _comments(text: str) -> dict[str, str]:
    """What stands behind each key of a yaml file, with the lines that go on with it, by dotted key."""
    found, above, last = dict[str, str](), list[tuple[int, str]](), ""
    for line in text.splitlines():
        key = re.match(r"( *)([\w]+):(?: [^#]*)?(?:#\s*(.*))?$", line)
        if key:
            indent = len(key[1])
            above = [*(entry for entry in above if entry[0] < indent), (indent, key[2])]
            last = ".".join(name for _, name in above)
            if key[3]:
                found[last] = key[3].strip()
        elif last in found and re.match(r" +#", line):
            found[last] += " " + line.strip("# ")
    return found
