"""Hydra for ``weakspot train`` and ``weakspot evaluate``: where the configuration is, and errors people can read."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import hydra.utils
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from weakspot.config.help import choices, train_help
from weakspot.config.sweep import (
    OPTUNA,
    Cell,
    Done,
    Outcome,
    check_plugins,
    died,
    new_folder,
    prefer_own_files,
    read_cells,
)
from weakspot.errors import WeakspotError, did_you_mean

SWEEP_DIR = "hydra.sweep.dir="
SWEEP_FLAGS = ("-m", "--multirun")
HELP_FLAGS = ("-h", "--help")
SHOW_FLAGS = ("--hydra-help", "-c", "--cfg", "-i", "--info", "--version")


def conf_dir() -> Path:
    """The folder with the yaml files: inside an installed package, or at the top of a checkout.

    Raises:
        WeakspotError: when it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
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


def instantiate(key: str, setting: dict[str, Any]) -> object:
    """Make the object that a ``_target_`` node of the configuration describes.

    Args:
        key: of the node, for messages.
        setting: its content.

    Raises:
        WeakspotError: when there is no such class or it refuses its settings.
    """
    try:
        made: object = hydra.utils.instantiate(setting)
    except (HydraException, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeakspotError(f"{key}={setting} cannot be made: {reason}") from error
    return made


def help_text(config_name: str) -> str:
    """What is needed, then every key with type, default and meaning; of ``evaluate``, its yaml file with its comments.

    Args:
        config_name: ``train`` or ``evaluate``.
    """
    if config_name == "train":
        return train_help(conf_dir(), compose("train"))
    text = (conf_dir() / f"{config_name}.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n\n")
    defaults, _, keys = rest.partition("\n\n")
    sections = [re.sub("(?m)^# ?", "", head), "Keys and their values (change with key=value):", _indent(keys)]
    for group, choice in re.findall(r"(?m)^  - (\w+): (\w+)", defaults):
        names = _choices(group)
        title = f"{group}={'|'.join(names)}"
        if choice in names:
            sections.append(
                f"{title}   keys {group}.*, here for {group}={choice}:\n\n{_indent(_content(group, choice))}"
            )
        else:
            sections.append(title)
    sections.append(
        "-m sweeps over comma-separated values. --cfg job shows the composed configuration and starts nothing."
    )
    return "\n\n".join(section.rstrip() for section in sections)


def _choices(group: str) -> list[str]:
    """Names that a group of the configuration offers."""
    return choices(conf_dir(), group)


def _content(group: str, choice: str) -> str:
    """A choice's yaml file, that of what it rests on before it, without the lines that say so."""
    texts = []
    for name in ("_base", choice):
        path = conf_dir() / group / f"{name}.yaml"
        if path.is_file():
            texts.append(re.sub(r"(?m)^defaults:\n(  - .*\n)+", "", path.read_text(encoding="utf-8")))
    return "".join(texts)


def _indent(text: str) -> str:
    return textwrap.indent(text, "  ")


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, overrides=list(overrides))


def run(config_name: str, task: Callable[[DictConfig], Outcome], arguments: Sequence[str]) -> Done:
    """Run `task` under Hydra with command-line `arguments`: once, or once a cell of a sweep.

    A cell that fails does not stop the others. What each cell came to is kept in ``cells/`` in the sweep's folder, as
    a launcher may run it in another process.

    Args:
        config_name: ``train`` or ``evaluate``.
        task: the work of one cell, from the composed configuration to its :class:`Outcome`.
        arguments: the command line's ``key=value`` overrides and Hydra's own flags, such as ``-m`` for a sweep.

    Returns:
        The folders of the cells that finished, and the cells that failed; no folder where Hydra was only to show the
        configuration.

    Raises:
        WeakspotError: for an unknown key, group or choice, a missing plugin, a worker that died, and, without a sweep,
            whatever `task` raises.
    """
    sweeping = bool(set(arguments) & set(SWEEP_FLAGS))
    if sweeping and any(argument.startswith("output=") for argument in arguments):
        raise WeakspotError("output= names one folder and a sweep needs one for every cell; leave it out, or set name=")
    check_plugins(arguments)
    if set(arguments) & set(SHOW_FLAGS):
        _main(config_name, lambda _: None, arguments)
        return Done([])
    _check(config_name, arguments)
    if not sweeping:
        return Done([_once(config_name, task, arguments).folder])
    given = [argument for argument in arguments if argument.startswith(SWEEP_DIR)]
    folder = new_folder(given[-1].removeprefix(SWEEP_DIR).strip("'\"") if given else None)
    try:
        _main(config_name, Cell(task, folder, os.getpid()), [*arguments, f"{SWEEP_DIR}{folder}"])
    except Exception as error:
        if died(error):
            raise WeakspotError(
                f"a worker process died ({str(error).splitlines()[0]}); the same command again skips the finished cells"
            ) from error
        # A search without one finished trial has no best one.
        if not isinstance(error, ValueError) or not read_cells(folder).failures:
            raise
    return read_cells(folder)


def _once(config_name: str, task: Callable[[DictConfig], Outcome], arguments: Sequence[str]) -> Outcome:
    """Run without a sweep."""
    outcomes: list[Outcome] = []
    errors: list[WeakspotError | OSError] = []

    def kept(config: DictConfig) -> None:
        try:
            outcomes.append(task(config))
        except (WeakspotError, OSError) as error:  # Hydra would print a line of its own
            errors.append(error)

    _main(config_name, kept, arguments)
    if errors:
        raise errors[0]
    return outcomes[0]


def _main(config_name: str, task: Callable[[DictConfig], Any], arguments: Sequence[str]) -> None:
    """Hydra's own entry point."""

    def named(config: DictConfig) -> Any:  # noqa: ANN401 - whatever the task returns
        return task(config)

    prefer_own_files(conf_dir())
    main = hydra.main(str(conf_dir()), config_name, version_base="1.3")(named)
    saved, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    # Hydra shortens tracebacks by itself; ours must reach the one place that prints errors.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv = [f"weakspot {config_name}", *arguments]
        main()
    except (HydraException, OmegaConfBaseException) as error:
        raise WeakspotError(_explain(error, config_name, arguments)) from error
    finally:
        sys.argv = saved
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full


def _check(config_name: str, arguments: Sequence[str]) -> None:
    """Compose the first cell, so that a bad key is refused before any work starts."""
    overrides = [a for a in arguments if not a.startswith("-")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise WeakspotError(_explain(error, config_name, overrides)) from error
    config = compose(config_name, [_first_choice(override) for override in parsed if not _is_hydra(override)])
    if OPTUNA in arguments:
        if config_name != "train":
            raise WeakspotError(f"{OPTUNA} searches settings of 'weakspot train' only")
        if not config.split.val_size and config.split.file is None:
            raise WeakspotError(f"{OPTUNA} judges settings by the validation subset; set split.val_size=0.2")


def _is_hydra(override: Override) -> bool:
    return override.key_or_group.split("/")[0].split(".")[0] == "hydra"


def _sweeps(argument: str) -> bool:
    return _parses(argument) and OverridesParser.create().parse_override(argument).is_sweep_override()


def _first_choice(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    value = override.value()
    if isinstance(value, IntervalSweep):
        return f"{override.key_or_group}={value.start}"
    return f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"


def _explain(error: Exception, config_name: str, overrides: Sequence[str]) -> str:
    """One line for one of Hydra's errors, with the nearest valid key."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    missing = re.search(r"Could not override '([^']+)'", text) or re.search(r"Could not find '([^']+)'", text)
    if missing and "/" in missing.group(1):
        group, _, choice = missing.group(1).rpartition("/")
        choices = _choices(group)
        if choices:
            return f"{group}={choice} is unknown{did_you_mean(choice, choices)}; choose: {', '.join(choices)}"
    if missing:
        return _unknown_key(missing.group(1), config_name, overrides)
    if "Ambiguous value" in text:
        bad = next((o for o in overrides if _sweeps(o)), "")
        key, _, value = bad.partition("=")
        return f"{bad}: a comma makes several values of it (-m sweeps over them); for one value: '{key}=\"{value}\"'"
    mismatch = re.search(r"LexerNoViableAltException|mismatched input|no viable alternative|extraneous input", text)
    if mismatch or "Error parsing override" in text:
        bad = next(o for o in overrides if not _parses(o))
        if "=" not in bad:
            beside = Path(bad).parent if Path(bad).parent.is_dir() else Path()
            near = did_you_mean(str(Path(bad)), [str(entry) for entry in beside.iterdir() if entry.is_dir()])
            return f"{bad!r} is not of the form key=value, nor a folder that is there{near}"
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
        choices = "|".join(_choices(section))
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
