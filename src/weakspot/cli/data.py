"""Verbs that look at a data set and train nothing, `check` and `split`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weakspot.cli.syntax import as_options
from weakspot.config.values import quoted
from weakspot.data.left_out import left_out, left_out_words
from weakspot.errors import WeakspotError
from weakspot.types import GOOD
from weakspot.utils import console

if TYPE_CHECKING:
    from weakspot.data.recognise import Recognised
    from weakspot.data.summary import Findings

Folder = Annotated[
    Path, typer.Argument(help="Folder in MVTec AD layout, of several such, of a class each, or a public data set.")
]
Layout = Annotated[str, typer.Option(help="auto, mvtec, folder, filename, manifest or a public set's (visa, …).")]
GoodClass = Annotated[
    str | None,
    typer.Option(help="What good images are called, a folder or a label; a usual name is found."),
]
Options = Annotated[
    list[str] | None,
    typer.Option(help="Of the layout, as in data.options: pattern=REGEX, file=labels.csv; repeatable."),
]


def check(
    data: Folder,
    layout: Layout = "auto",
    good_class: GoodClass = None,
    option: Options = None,
    roi: Annotated[
        str | None, typer.Option(help="Region of interest, as data.roi: auto, a mask, a COCO file or a folder.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the findings as JSON here as well.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Folder for a picture (PNG) of near-duplicates: the most doubtful and the possible pairs."),
    ] = None,
    alarms: Annotated[
        Path | None, typer.Option(help="Folder for a picture (PNG) of each alarm: Good beside defective.")
    ] = None,
) -> None:
    """Show what a data set contains and what is wrong with it; exits with 1 if training would refuse it.

    Example:  weakspot check photos --good-class OK
    """
    from weakspot.data.summary import look_through
    from weakspot.report.tables import summary_table
    from weakspot.utils.files import write_json

    found, refused, problems = {}, list[WeakspotError](), list[str]()
    sets = _datasets(data, layout, option, good_class)
    for one in sets:
        folder, good = one.folder, good_class or one.good_class or GOOD
        name = folder.resolve().name  # of the folder itself, which is typed as . too
        try:
            with console.progress_bar(f"reading {name}") as progress:
                found[folder] = look_through(folder, one.layout, good, one.options, roi=roi, progress=progress)
        except WeakspotError as error:  # the other data sets are still worth a look
            refused.append(WeakspotError(as_options(str(error))))
            continue
        findings = found[folder]
        console.out.print(summary_table(findings, f"{folder} ({_named(one)})"))
        problems += _tell(findings, None if one.layout == "manifest" else folder)
        _draw(findings, name, pairs, alarms)
    if output:
        write_json(output, {str(folder): findings.to_dict() for folder, findings in found.items()})
    for other in refused[1:]:
        console.error(str(other))
    if refused:
        raise refused[0]
    _refuse(problems, data)
    quiet = not any(each.shortcuts or each.question or each.summary.dark for each in found.values())
    if quiet and len(sets) == 1 and layout == "auto" and option is None:
        named = [f"data.good_class={quoted(good_class)}"] if good_class and good_class != sets[0].good_class else []
        line = shlex.join(["weakspot", "train", str(data), *named])
        console.remark(f"nothing stands in the way of training: {line}", wrap=False)


def _draw(findings: Findings, name: str, pairs: Path | None, alarms: Path | None) -> None:
    """Write the pictures of near-duplicates and of alarms that were asked for, or say that there are none."""
    from weakspot.report.alarms import write_alarms
    from weakspot.report.pairs import write_pairs

    if alarms and findings.shortcuts:
        write_alarms(alarms / name, findings.readable, findings.values, findings.shortcuts)
    elif alarms:
        console.remark(f"{name} has no alarm: nothing is drawn in {alarms}")
    if pairs and findings.near_duplicates.any:
        write_pairs(pairs / f"{name}.png", findings.readable, findings.near_duplicates)
    elif pairs:
        console.remark(f"{name} has no near-duplicates: nothing is drawn in {pairs}")


def _named(found: Recognised) -> str:
    """The layout of a data set; of a public one its title and licence as well."""
    from weakspot.data.public_trees import PUBLIC

    return f"{found.words}, data={found.layout}" if found.layout in PUBLIC else f"{found.layout} layout"


def _refuse(problems: Sequence[str], data: Path) -> None:
    """End with what training would refuse: several problems counted, and what is wrong with a set as a whole alone."""
    of_set = [problem for problem in problems if isinstance(problem, _OfSet)]
    if len(problems) == len(of_set) == 1:
        raise WeakspotError(problems[0])
    for problem in problems:
        console.error(problem)
    if problems:
        raise WeakspotError(f"{len(problems)} problem(s) in {data}; training would refuse it")


class _OfSet(str):
    """A problem of the whole data set, not of a file."""


def _too_few(findings: Findings) -> list[str]:
    """The sentence by which training would refuse so few pictures, where it would."""
    from weakspot.config.hydra_app import compose
    from weakspot.data.enough import check_enough, rarest_parts
    from weakspot.data.splits import split_samples
    from weakspot.training.dataset import joined_groups

    near, samples = findings.near_duplicates, findings.readable
    samples = joined_groups(samples, near) if near.tells_groups else samples
    config = compose("train", ["experiment=recommended"])
    split = config.split
    try:
        subsets = split_samples(samples, test_size=split.test_size, val_size=split.val_size, seed=split.seed)
        if config.boxes.threshold_kind == "calibrated" and "val" not in subsets:
            check_enough(rarest_parts(samples, subsets, [int(not sample.is_good) for sample in samples]))
    except WeakspotError as error:
        return [_OfSet(as_options(str(error)))]
    return []


def _tell(findings: Findings, folder: Path | None) -> list[str]:
    """Print alarms, what is no alarm, and what is to be asked; returns what training would refuse."""
    if folder is not None and (line := left_out_words(left_out(folder))):
        console.remark(line)
    for line in findings.of_region:
        console.remark(line)
    console.alarms([shortcut.to_dict() for shortcut in findings.shortcuts])
    for line in findings.explained:
        console.remark(f"no alarm: {line}")
    if findings.summary.dark:
        console.remark(findings.summary.dark)
    if findings.question:
        console.remark(f"warning: {findings.question}")
    return findings.summary.problems or _too_few(findings)


def split(
    data: Folder,
    layout: Layout = "auto",
    good_class: GoodClass = None,
    option: Options = None,
    test_size: Annotated[float, typer.Option(help="Share of all images that is only ever measured on.")] = 0.2,
    val_size: Annotated[float, typer.Option(help="Share of the rest for curves, calibration and choices.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Another seed is another split.")] = 42,
    group: Annotated[str | None, typer.Option(help="Regular expression that names the group in a path.")] = None,
    near_duplicates: Annotated[str, typer.Option(help="together, report or ignore.")] = "together",
    output: Annotated[Path, typer.Option(help="The file to write; train takes it as split.file.")] = Path("split.csv"),
) -> None:
    """Put every image into the training, validation or test subset; write path, subset, defect, mask and group of each.

    Stratified by defect type; photographs of the same part stay together.

    Example:  weakspot split photos --good-class OK --output split.csv
    """
    from weakspot.config.schema import DataConfig, SplitConfig
    from weakspot.data.splits import write_split
    from weakspot.models.feature_cache import default_cache_dir
    from weakspot.report.tables import split_table
    from weakspot.training.dataset import index_and_split

    if output.exists():
        raise WeakspotError(f"{output} exists; choose another file with --output")
    found = _datasets(data, layout, option, good_class)
    if len(found) > 1:
        raise WeakspotError(f"{data} holds {len(found)} data sets, {found[0].folder} for one; split one at a time")
    (one,) = found
    good = good_class or one.good_class or GOOD
    settings = DataConfig(one.layout, str(one.folder), good_class=good, group=group, options=dict(one.options))
    wanted = SplitConfig(seed=seed, test_size=test_size, val_size=val_size, near_duplicates=near_duplicates)
    try:
        indexed = index_and_split(settings, wanted, default_cache_dir())
    except WeakspotError as error:
        raise WeakspotError(as_options(str(error))) from error
    for warning in indexed.warnings:
        console.remark(as_options(warning).rstrip())
    write_split(output, indexed.samples, indexed.subsets, indexed.root)
    console.out.print(split_table([sample.defect for sample in indexed.samples], indexed.subsets))
    console.out.print(f"split: {output}", soft_wrap=True, highlight=False)


def _datasets(data: Path, layout: str, option: Sequence[str] | None, good_class: str | None = None) -> list[Recognised]:
    """The data sets at or right below a folder."""
    from weakspot.data.readers import check_layout, check_options
    from weakspot.data.recognise import find_datasets, one_class, recognise

    check_layout(layout)
    found, options = find_datasets(data, layout), _parsed(option)
    if len(found) == 1:
        one = recognise(data, layout, options, good_class)
        if len(one.labels) < 2 and one.layout != "synthetic":
            raise one_class(one)
        sets = [one]
    else:
        sets = [recognise(folder, of_one, options, good_class) for folder, of_one in found]
    for one in sets:
        try:
            check_options(one.layout, one.options)
        except WeakspotError as error:
            raise WeakspotError(as_options(str(error))) from error
        for remark in one.remarks:
            console.remark(as_options(f"{one.folder}: {remark}"), wrap=False)
    return sets


def _parsed(options: Sequence[str] | None) -> dict[str, object]:
    """``key=value`` texts as keyword arguments.

    Raises:
        WeakspotError: for one without ``=``.
    """
    for text in options or ():
        if "=" not in text:
            raise WeakspotError(f"--option {text}: give key=value, such as file=labels.csv")
    pairs = [text.split("=", 1) for text in options or ()]
    return {key: option_value(value) for key, value in pairs}


def option_value(text: str) -> object:
    """The value of a layout's option: ``true`` and ``false``, in any letter case, say yes and no; else the text.

    Args:
        text: as it was typed.
    """
    return {"true": True, "false": False}.get(text.casefold(), text)
