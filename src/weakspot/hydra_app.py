"""Hydra for ``weakspot train`` and ``weakspot evaluate``: where the configuration is, and errors people can read."""

from __future__ import annotations

import functools
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from weakspot import ui
from weakspot.errors import WeakspotError, as_weakspot_error, did_you_mean

T = TypeVar("T")

SWEEP_FLAGS = ("-m", "--multirun")
HELP_FLAGS = ("-h", "--help")
SHOW_FLAGS = ("--hydra-help", "-c", "--cfg", "-i", "--info", "--version")


def conf_dir() -> Path:
    """The folder with the yaml files: inside an installed package, or at the top of a checkout.

    Raises:
        WeakspotError: when it is in neither place.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise WeakspotError(f"the configuration is missing beside {package}; reinstall weakspot")


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration as the command line would, for Python and for tests.

    Args:
        config_name: ``train`` or ``evaluate``.
        overrides: ``key=value`` strings.

    Raises:
        WeakspotError: for an unknown key, group or choice, with the nearest valid one.
    """
    try:
        return _compose(config_name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise WeakspotError(_explain(error, config_name, overrides)) from error


def help_text(config_name: str) -> str:
    """Every key with its default and its comment, as they stand in the yaml files, and the choices of every group."""
    text = (conf_dir() / f"{config_name}.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n\n")
    defaults, _, keys = rest.partition("\n\n")
    parts = [re.sub("(?m)^# ?", "", head), "Keys and their values (change with key=value):", _indent(keys)]
    for group, choice in re.findall(r"(?m)^  - (\w+): (\w+)", defaults):
        names = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
        title = f"{group}={'|'.join(names)}"
        if choice in names:
            shown = (conf_dir() / group / f"{choice}.yaml").read_text(encoding="utf-8")
            parts.append(f"{title}   keys {group}.*, here for {group}={choice}:\n\n{_indent(shown)}")
        else:
            parts.append(title)
    parts.append(
        "-m sweeps over comma-separated values. --cfg job shows the composed configuration and starts nothing."
    )
    return "\n\n".join(part.rstrip() for part in parts)


def _indent(text: str) -> str:
    return textwrap.indent(text, "  ")


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, overrides=list(overrides))


@dataclass(frozen=True)
class Done(Generic[T]):
    """What came of a command: a result a cell, the folder of Hydra's own files, and what failed in a sweep."""

    results: list[T]
    folder: Path
    failures: list[WeakspotError]

    def check(self) -> None:
        """Raise what went wrong, now that the rest has been reported."""
        if self.failures:
            total = len(self.failures) + len(self.results)
            raise WeakspotError(
                f"{len(self.failures)} of {total} cells of the sweep failed, see above; "
                "the same command again skips the finished ones"
            )


def run(config_name: str, task: Callable[[DictConfig], T], arguments: Sequence[str]) -> Done[T]:
    """Run `task` under Hydra with command-line `arguments`: once, or once a cell of a sweep.

    Returns:
        What `task` returned for each cell that ran in this process, and the sweep's own folder.

    Raises:
        WeakspotError: for an unknown key, group or choice, and whatever `task` raises.
    """
    sweeping = bool(set(arguments) & set(SWEEP_FLAGS))
    if sweeping and any(argument.startswith("output=") for argument in arguments):
        raise WeakspotError("output= names one folder and a sweep needs one for every cell; leave it out, or set name=")
    if not set(arguments) & set(SHOW_FLAGS):
        _check(config_name, arguments)
    results: list[T] = []
    folder: list[Path] = []
    failures: list[WeakspotError] = []

    @functools.wraps(task)
    def guarded(config: DictConfig) -> None:
        # A cell that fails must not stop the others of its sweep; Hydra itself would, with a traceback.
        folder.append(Path(HydraConfig.get().sweep.dir))
        try:
            results.append(task(config))
        except (WeakspotError, OSError) as error:
            failures.append(as_weakspot_error(error))
            if sweeping:
                ui.error(str(failures[-1]))

    main = hydra.main(str(conf_dir()), config_name, version_base="1.3")(guarded)
    saved, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Hydra shortens tracebacks by itself; ours must reach the one place that prints errors.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv = [f"weakspot {config_name}", *arguments]
        main()
    finally:
        sys.argv = saved
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
    if failures and not sweeping:
        raise failures[0]
    return Done(results, folder[-1] if folder else Path(), failures)


def _check(config_name: str, arguments: Sequence[str]) -> None:
    """Compose the first cell, so that a bad key is refused before any work starts."""
    overrides = [a for a in arguments if not a.startswith("-")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise WeakspotError(_explain(error, config_name, overrides)) from error
    compose(config_name, [_first_choice(override) for override in parsed if not _is_hydra(override)])


def _is_hydra(override: Override) -> bool:
    return override.key_or_group.split("/")[0].split(".")[0] == "hydra"


def _first_choice(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"


def _explain(error: Exception, config_name: str, overrides: Sequence[str]) -> str:
    """One line for one of Hydra's errors, with the nearest valid key."""
    text = str(error).strip()
    first = text.splitlines()[0]
    missing = re.search(r"Could not override '([^']+)'", text) or re.search(r"Could not find '([^']+)'", text)
    if missing and "/" in missing.group(1):
        group, _, choice = missing.group(1).rpartition("/")
        choices = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
        if choices:
            return f"{group}={choice} is unknown{did_you_mean(choice, choices)}; choose: {', '.join(choices)}"
    if missing:
        return _unknown_key(missing.group(1), config_name, overrides)
    mismatch = re.search(r"LexerNoViableAltException|mismatched input|no viable alternative|extraneous input", text)
    if mismatch or "Error parsing override" in text:
        bad = next(o for o in overrides if not _parses(o))
        return f"{bad!r} is not of the form key=value; quote values with spaces or commas: 'data.root=\"my folder\"'"
    return first


def _unknown_key(key: str, config_name: str, overrides: Sequence[str]) -> str:
    groups = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
    try:
        config = _compose(config_name, [override for override in overrides if override.partition("=")[0] in groups])
    except (HydraException, OmegaConfBaseException):  # the group itself is what is wrong
        config = _compose(config_name, ())
    valid, section = _keys(OmegaConf.to_container(config, resolve=False)), key.partition(".")[0]
    offered = re.findall(r"(?m)^  - (\w+):", (conf_dir() / f"{config_name}.yaml").read_text(encoding="utf-8"))
    if section in groups and section not in valid and section in offered:
        choices = "|".join(sorted(path.stem for path in (conf_dir() / section).glob("*.yaml")))
        return f"config key {key}: choose {section}={choices} first"
    if key in valid:
        return f"{config_name} has no choices for {key}; set its keys one by one, as in {key}.{_first(config[key])}=..."
    hint = did_you_mean(key, [*valid, *groups])
    return f"config key {key} is unknown{hint}; 'weakspot {config_name} --help' lists them all"


def _first(section: Any) -> str:  # noqa: ANN401 - yaml
    return str(next(iter(section))) if isinstance(section, DictConfig) else "key"


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _keys(config: Any, prefix: str = "") -> list[str]:  # noqa: ANN401 - yaml
    """Every key of a composed configuration, dotted."""
    found: list[str] = []
    for key, value in config.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _keys(value, f"{prefix}{key}.")
    return found
