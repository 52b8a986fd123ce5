"""Verbs that look at a data set and train nothing, `check` and `split`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weakspot.errors import WeakspotError
from weakspot.utils import console

if TYPE_CHECKING:
    from weakspot.data.summary import Findings

Folder = Annotated[Path, typer.Argument(help="Folder in MVTec AD layout, of several such, or a folder per class.")]
Layout = Annotated[str, typer.Option(help="auto, mvtec, folder, filename or manifest.")]
GoodClass = Annotated[str, typer.Option(help="What good images are called: their folder's name, or their label.")]
Options = Annotated[
    list[str] | None,
    typer.Option(help="Of the layout, as in data.options: pattern=REGEX, file=labels.csv; repeatable."),
]


def check(
    data: Folder,
    layout: Layout = "auto",
    good_class: GoodClass = "good",
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
    from weakspot.data.readers import find_datasets
    from weakspot.data.summary import look_through
    from weakspot.report.alarms import write_alarms
    from weakspot.report.pairs import write_pairs
    from weakspot.report.tables import summary_table
    from weakspot.utils.files import write_json

    found, refused = {}, list[WeakspotError]()
    for folder, found_layout in find_datasets(data, layout):
        try:
            with console.progress_bar(f"reading {folder.name}") as progress:
                found[folder] = look_through(
                    folder, found_layout, good_class, _parsed(option), roi=roi, progress=progress
                )
        except WeakspotError as error:  # the other data sets are still worth a look
            refused.append(error)
            continue
        findings = found[folder]
        console.out.print(summary_table(findings, f"{folder} ({found_layout} layout)"))
        _tell(findings)
        if alarms and findings.shortcuts:
            write_alarms(alarms / folder.name, findings.readable, findings.values, findings.shortcuts)
        if pairs and findings.near_duplicates.any:
            write_pairs(pairs / f"{folder.name}.png", findings.readable, findings.near_duplicates)
    if output:
        write_json(output, {str(folder): findings.to_dict() for folder, findings in found.items()})
    for other in refused[1:]:
        console.error(str(other))
    if refused:
        raise refused[0]
    count = sum(len(findings.summary.problems) for findings in found.values())
    if count:
        raise WeakspotError(f"{count} problem(s) in {data}; training would refuse it")


def _tell(findings: Findings) -> None:
    """Print problems, alarms, what is no alarm, and what is to be asked."""
    for problem in findings.summary.problems:
        console.error(problem)
    for line in findings.of_region:
        console.remark(line)
    console.alarms([shortcut.to_dict() for shortcut in findings.shortcuts])
    for line in findings.explained:
        console.remark(f"no alarm: {line}")
    if findings.question:
        console.remark(f"warning: {findings.question}")


def split(
    data: Folder,
    layout: Layout = "auto",
    good_class: GoodClass = "good",
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
    from weakspot.data.readers import find_datasets
    from weakspot.data.splits import write_split
    from weakspot.models.feature_cache import default_cache_dir
    from weakspot.report.tables import split_table
    from weakspot.training.dataset import index_and_split

    if output.exists():
        raise WeakspotError(f"{output} exists; choose another file with --output")
    found = find_datasets(data, layout)
    if len(found) > 1:
        raise WeakspotError(f"{data} holds {len(found)} data sets, {found[0][0]} for one; split one at a time")
    (folder, found_layout), options = found[0], _parsed(option)
    settings = DataConfig(found_layout, str(folder), good_class=good_class, group=group, options=options)
    wanted = SplitConfig(seed=seed, test_size=test_size, val_size=val_size, near_duplicates=near_duplicates)
    indexed = index_and_split(settings, wanted, default_cache_dir())
    for warning in indexed.warnings:
        console.remark(warning)
    write_split(output, indexed.samples, indexed.subsets, indexed.root)
    console.out.print(split_table([sample.defect for sample in indexed.samples], indexed.subsets))
    console.out.print(f"split: {output}", soft_wrap=True, highlight=False)


def _parsed(options: Sequence[str] | None) -> dict[str, object]:
    """``key=value`` texts as keyword arguments.

    Raises:
        WeakspotError: for one without ``=``.
    """
    for text in options or ():
        if "=" not in text:
            raise WeakspotError(f"--option {text}: give key=value, such as file=labels.csv")
    pairs = [text.split("=", 1) for text in options or ()]
    return {key: {"true": True, "false": False}.get(value, value) for key, value in pairs}
