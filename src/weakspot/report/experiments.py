"""The table of experiments for the terminal, for a page, and for papers: Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from weakspot.evaluation.experiments.schema import MEASURES, Cell, ExperimentTable
from weakspot.metrics.intervals import N_RESAMPLES, Estimate
from weakspot.metrics.paired import N_SWAPS, SIGNIFICANT
from weakspot.report.crossfit import known
from weakspot.report.page import number

TITLES = {
    "balanced_accuracy": "Balanced accuracy",
    "auroc": "AUROC",
    "max_box_acc_v2": "V2 (MaxBoxAccV2: mean box accuracy over IoU ≥ 0.3, 0.5, 0.7)",
    "box_precision_30": "Box precision at IoU ≥ 0.3",
}
COUNTED = {
    "balanced_accuracy": "pictures", "auroc": "pictures", "max_box_acc_v2": "pictures with a mask",
    "box_precision_30": "predicted boxes",
}  # fmt: skip
MACRO = "macro mean"


@dataclass(frozen=True)
class Shown:
    """A cell in words.

    Attributes:
        value: with three decimals, or a dash where there is none.
        interval: ``low–high``; empty where there is none.
        mark: ``↑``, ``↓`` or nothing.
        p: the adjusted p-value; empty where it was not compared.
    """

    value: str
    interval: str
    mark: str
    p: str

    @property
    def text(self) -> str:
        """Everything in one line."""
        return " ".join(part for part in (self.value, f"({self.interval})" if self.interval else "", self.mark) if part)


@dataclass(frozen=True)
class Line:
    """One row of a panel."""

    label: str
    n: str
    cells: list[Shown]
    macro: bool = False


@dataclass(frozen=True)
class Panel:
    """One measure: a line for each subset, and the macro mean."""

    title: str
    counted: str
    lines: list[Line]


def panels(table: ExperimentTable) -> list[Panel]:
    """The table, a panel for each measure that something has a value of.

    Args:
        table: from :func:`~weakspot.evaluation.experiments.table.experiment_table`.
    """
    found = []
    for measure in MEASURES:
        lines = [_line(row.label, row.cells, table, measure) for row in table.rows]
        over = len(table.macro_rows.get(measure, []))
        if over > 1:
            lines.append(_line(f"{MACRO} of {over}", table.macro, table, measure, macro=True))
        if any(cell.value != "–" for line in lines for cell in line.cells):
            found.append(Panel(TITLES[measure], COUNTED[measure], lines))
    return found


def _line(label: str, cells: Mapping[str, Cell], table: ExperimentTable, measure: str, *, macro: bool = False) -> Line:
    counts = dict.fromkeys(str(cells[name].estimates[measure].n) for name in table.experiments if name in cells)
    shown = [_shown(cells.get(name), measure) for name in table.experiments]
    return Line(label, " / ".join(counts), shown, macro)


def _shown(cell: Cell | None, measure: str) -> Shown:
    if cell is None:
        return Shown("–", "", "", "")
    one, compared = cell.estimates[measure], cell.compared.get(measure)
    p = "" if compared is None or not known(compared.adjusted) else _p(compared.adjusted)
    return Shown(number(one.value), _interval(one), cell.mark(measure), p)


def _interval(one: Estimate) -> str:
    return f"{one.low:.3f}–{one.high:.3f}" if known(one.low) and known(one.high) else ""


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def caption(table: ExperimentTable) -> list[str]:
    """Sentences that say what the numbers are, how intervals and marks were made, and what is not compared.

    Args:
        table: with at least one row.
    """
    folds = {row.kind.folds for row in table.rows}
    how = "tested once by cross-validation" if None not in folds else "held out, or tested once by cross-validation"
    if folds == {None}:
        how = "held out"
    elif len(folds) == 1:
        how += f" ({next(iter(folds))} folds)"
    sentences = [
        f"Test pictures only, {how}; n is their number, that of those with a mask for V2, and that of predicted boxes "
        "for box precision.",
        "In brackets 95 % intervals: those of balanced accuracy, AUROC and V2 by resampling pictures (or groups of "
        "pictures of one part), of box precision by Clopper and Pearson.",
    ]
    if max(cell.trainings for row in table.rows for cell in row.cells.values()) > 1:
        sentences.append("Where an experiment was trained several times, values and ends of intervals are means.")
    if table.macro:
        sentences.append(
            f"The macro mean gives every subset the same weight; its interval comes from {N_RESAMPLES} resamples "
            "within each subset."
        )
    return [*sentences, *_tests(table)]


def short_caption(table: ExperimentTable) -> str:
    """What brackets and marks say, in one or two short sentences for the terminal; pages and papers have it all.

    Args:
        table: with at least one row.
    """
    said = "In brackets: 95 % intervals."
    if table.comparisons:
        said += (
            f" ↑ ↓: significantly better or worse than {table.reference} on the same pictures (permutation test, "
            f"p ≤ {SIGNIFICANT:g} after Holm's correction)."
        )
    return said


def _tests(table: ExperimentTable) -> list[str]:
    if table.reference is None:
        return []
    if not table.comparisons:
        return [f"Nothing was compared with {table.reference}."]
    one, name = table.comparisons == 1, table.reference
    return [
        f"↑ and ↓: significantly better and worse than {name} on the same test pictures (two-sided permutation test "
        f"that swaps the two experiments picture by picture or group by group, {N_SWAPS} swaps; p ≤ {SIGNIFICANT:g} "
        f"after Holm's correction for {'the one comparison' if one else f'all {table.comparisons} comparisons'} of "
        "this table, which are of balanced accuracy and V2)."
    ]


def as_markdown(table: ExperimentTable) -> str:
    """For GitHub: a table for each measure, the caption, and notes.

    Args:
        table: with at least one row.
    """
    blocks = []
    for panel in panels(table):
        heads = ["subset", f"n ({panel.counted})", *table.experiments]
        lines = [heads, *([line.label, line.n, *(cell.text for cell in line.cells)] for line in panel.lines)]
        cells = [[escape_markdown(cell) for cell in line] for line in lines]
        rule = [":--", "--:", *["--:"] * len(table.experiments)]
        rows = [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]
        blocks.append(f"**{escape_markdown(panel.title)}**\n\n" + "\n".join(rows))
    blocks.append(" ".join(map(escape_markdown, caption(table))))
    if table.notes:
        blocks.append("\n".join(f"- {escape_markdown(note)}" for note in table.notes))
    return "\n\n".join(blocks) + "\n"


def as_latex(table: ExperimentTable) -> str:
    """One booktabs table with a panel for each measure; the notes are comments.

    Args:
        table: with at least one row.
    """
    width = 2 + len(table.experiments)
    lines = [
        r"% \usepackage{booktabs}",
        *(f"% {_one_line(note)}" for note in table.notes),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(' '.join(caption(table)))}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(["subset", "$n$", *map(escape_latex, table.experiments)]) + r" \\",
    ]
    for panel in panels(table):
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape_latex(panel.title)}}}}} \\"]
        for line in panel.lines:
            if line.macro:
                lines.append(rf"\cmidrule(lr){{1-{width}}}")
            cells = [escape_latex(line.label), escape_latex(line.n), *(escape_latex(cell.text) for cell in line.cells)]
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text).split())


_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"} | {c: f"\\{c}" for c in "\\`*_{}[]#|~!$"}


def escape_markdown(text: str) -> str:
    """The text as GitHub shows it, whatever characters names have; in one line.

    Args:
        text: plain text.
    """
    return "".join(_MARKDOWN.get(c, c) for c in _one_line(text))


_LATEX = {
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # behind the end of a row they would belong to it
    "–": "--", "≥": r"$\geq$", "≤": r"$\leq$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$",
} | {c: f"\\{c}" for c in "{}$&#%_"}  # fmt: skip


def escape_latex(text: str) -> str:
    """The text as LaTeX sets it, in one line; letters beyond ASCII are left to its UTF-8 input.

    Args:
        text: plain text.
    """
    return "".join(_LATEX.get(c, c) for c in _one_line(text))


def terminal_table(table: ExperimentTable) -> Table:
    """For the terminal, a section for each measure.

    Args:
        table: with at least one row.
    """
    made = Table(title="experiments by subset, test pictures (95 % interval)", title_justify="left")
    made.add_column("", overflow="fold")
    made.add_column("n", justify="right")
    for name in table.experiments:
        made.add_column(Text(name), justify="right", overflow="fold")
    for panel in panels(table):
        made.add_section()
        made.add_row(Text(panel.title.partition(" (")[0]), style="bold")
        for line in panel.lines:
            made.add_row(Text(line.label), line.n, *(Text(cell.text) for cell in line.cells))
    return made
