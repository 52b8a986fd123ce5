"""The table of experiments as text: exact Markdown and LaTeX of a hand-made one, and names that try to break out."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.leaderboards import Page, make_experiments, make_row
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from weakspot.report.experiment_files import CSV_COLUMNS, as_csv, as_json
from weakspot.report.experiments import as_latex, as_markdown, caption, panels, short_caption, terminal_table
from weakspot.report.leaderboard import write_leaderboard

MARKDOWN = """\
**Balanced accuracy**

| subset | n (pictures) | plain\\_cam | recommended |
| :-- | --: | --: | --: |
| gear | 20 | 0.700 (0.600–0.800) | 0.900 (0.800–1.000) ↑ |
| nut | 30 | 0.800 (0.700–0.900) | – |
| macro mean of 2 | 50 | 0.750 (0.650–0.850) | 0.600 (0.500–0.700) ↓ |

**AUROC**

| subset | n (pictures) | plain\\_cam | recommended |
| :-- | --: | --: | --: |
| gear | 20 | 0.700 (0.600–0.800) | 0.900 (0.800–1.000) |
| nut | 30 | 0.800 (0.700–0.900) | – |

**Box precision at IoU ≥ 0.3**

| subset | n (predicted boxes) | plain\\_cam | recommended |
| :-- | --: | --: | --: |
| gear | 7 / 9 | 0.700 (0.600–0.800) | 0.900 |
| nut | 30 | 0.800 (0.700–0.900) | – |
"""

LATEX = r"""\begin{tabular}{lrrr}
\toprule
subset & $n$ & plain\_cam & recommended \\
\midrule
\multicolumn{4}{l}{\textit{Balanced accuracy}} \\
gear & 20 & 0.700 (0.600--0.800) & 0.900 (0.800--1.000) $\uparrow$ \\
nut & 30 & 0.800 (0.700--0.900) & -- \\
\cmidrule(lr){1-4}
macro mean of 2 & 50 & 0.750 (0.650--0.850) & 0.600 (0.500--0.700) $\downarrow$ \\
\midrule
\multicolumn{4}{l}{\textit{AUROC}} \\
gear & 20 & 0.700 (0.600--0.800) & 0.900 (0.800--1.000) \\
nut & 30 & 0.800 (0.700--0.900) & -- \\
\midrule
\multicolumn{4}{l}{\textit{Box precision at IoU $\geq$ 0.3}} \\
gear & 7 / 9 & 0.700 (0.600--0.800) & 0.900 \\
nut & 30 & 0.800 (0.700--0.900) & -- \\
\bottomrule
\end{tabular}
\end{table}
"""


def test_markdown_to_the_letter() -> None:
    text = as_markdown(make_experiments())
    assert text.startswith(MARKDOWN)
    rest = text.removeprefix(MARKDOWN)
    for said in (
        "Test pictures only, tested once by cross-validation (3 folds)", "95 % intervals", "Clopper and Pearson",
        "1000 resamples within each subset", "significantly better and worse than plain\\_cam", "permutation test",
        "after Holm's correction for all 4 comparisons",
    ):  # fmt: skip
        assert said in rest
    assert rest.endswith("\n\n- nut was \\| left out\n")


def test_latex_to_the_letter() -> None:
    text = as_latex(make_experiments())
    assert text.endswith(LATEX)
    assert text.startswith(
        "% \\usepackage{booktabs}\n% nut was | left out\n\\begin{table}\n\\centering\n\\caption{Test"
    )
    assert "95 \\% intervals" in text
    assert r"p $\leq$ 0.05" in text
    check_latex(text, columns=4)


def check_latex(text: str, columns: int) -> None:
    """Braces and environments close in turn, nothing special stands alone, and every row has its columns."""
    text = re.sub(r"(?m)^%.*\n", "", text)
    plain = re.sub(r"\\[a-zA-Z]+|\\\\|\\.", lambda m: "¤" if m[0] in ("\\{", "\\}", "\\&", "\\$") else m[0], text)
    depth = 0
    for c in re.sub(r"\\[#%_]", "", plain):
        depth += {"{": 1, "}": -1}.get(c, 0)
        assert depth >= 0
        assert c not in "#%^~"
    assert depth == 0
    assert plain.count("$") % 2 == 0
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
        ("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")
    ]  # fmt: skip
    rows = [line for line in plain.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert rows
    assert {row.count("&") for row in rows} == {columns - 1}
    assert not any(row.startswith(("[", "*")) for row in plain.splitlines())  # LaTeX would take it for \\[length]


HOSTILE = (
    "a|b",
    "<b>x</b>",
    "$x_1^2$",
    "50 %",
    "#1 & co",
    "\\input{x}",
    "[y](z)",
    "*w*",
    "~",
    "`c`",
    "x\ny",
    "{",
    "}",
    "!",
)
names = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)
)


@settings(deadline=None)
@given(names, names)
def test_names_break_out_of_no_format(subset: str, experiment: str) -> None:
    table = make_experiments(subset=subset, experiment=f"e {experiment}")
    check_latex(as_latex(table), columns=4)
    html = MarkdownIt("commonmark").enable("table").render(as_markdown(table))
    assert html.count("<table>") == 3
    assert html.count("<tr>") == 3 * 3 + 1
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", html)
    assert len(cells) == 4 * html.count("<tr>")
    assert not any(re.search(r"<(?!code)", cell) for cell in cells)
    assert "<code>" not in html


def test_a_page_shows_the_table_on_top_and_the_files_hold_its_numbers(tmp_path: Path) -> None:
    table = make_experiments()
    write_leaderboard(tmp_path, [make_row()], table=table)
    page = Page.read(tmp_path / "summary.html")
    assert page.text.index("Experiments by subset") < page.text.index("Means Mean")
    for said in ("0.900 ↑0.800–1.000p = 0.030", "macro mean of 2", "Holm's correction", "nut was | left out"):
        assert said in page.text, said
    content = json.loads((tmp_path / "summary.json").read_text())["table"]
    assert content == as_json(table)
    gear = content["rows"][0]["experiments"]["recommended"]["balanced_accuracy"]
    assert (gear["value"], gear["low"], gear["high"], gear["n"]) == (0.9, 0.8, 1.0, 20)
    assert (gear["difference"], gear["p_value"], gear["p_holm"], gear["mark"]) == (0.2, 0.01, 0.03, "↑")
    rows = list(csv.DictReader((tmp_path / "summary_table.csv").open(newline="", encoding="utf-8")))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == 4 * (2 + 1 + 2)
    (line,) = (
        row for row in rows
        if (row["subset"], row["experiment"], row["measure"]) == ("gear", "recommended", "balanced_accuracy")
    )  # fmt: skip
    assert (float(line["value"]), line["n"], float(line["p_holm"]), line["comparisons"]) == (0.9, "20", 0.03, "4")
    assert {row["subset"] for row in rows} == {"gear", "nut", "macro mean"}
    write_leaderboard(tmp_path, [make_row()])  # a table that is no more is not left lying about
    assert not (tmp_path / "summary_table.csv").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["table"] is None


def test_hostile_names_stay_text_on_the_page_and_in_the_csv(tmp_path: Path) -> None:
    hostile = "=<script>alert(1)</script>\"' onmouseover=alert(2)"
    table = make_experiments(subset=hostile, experiment=hostile)
    write_leaderboard(tmp_path, [], table=table)
    page = Page.read(tmp_path / "summary.html")
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count(hostile) >= 6
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert {row["subset"] for row in rows} >= {f"'{hostile}"}


def test_the_terminal_shows_values_marks_and_names_as_they_are() -> None:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(terminal_table(make_experiments(subset="[bold]nut[/x]")))
    text = capture.get()
    for said in ("[bold]nut[/x]", "0.900 (0.800–1.000) ↑", "Balanced accuracy", "macro mean of 2"):
        assert said in text


def test_the_terminal_says_in_two_short_sentences_what_brackets_and_marks_are() -> None:
    words = short_caption(make_experiments())
    assert "better or worse than plain_cam" in words
    assert "Holm" in words
    assert len(words) < 200
    assert "Holm" not in short_caption(replace(make_experiments(), comparisons=0))


def test_a_single_experiment_is_compared_with_nothing_and_says_nothing_of_it() -> None:
    table = make_experiments()
    rows = [replace(row, cells={"plain_cam": row.cells["plain_cam"]}) for row in table.rows]
    alone = replace(table, experiments=["plain_cam"], reference=None, rows=rows, comparisons=0, notes=[])
    words = " ".join(caption(alone))
    assert "Holm" not in words
    assert "macro mean" in words
    assert "Holm" not in as_markdown(alone)
    assert [len(line.cells) for line in panels(alone)[0].lines] == [1, 1, 1]


@pytest.mark.parametrize(
    ("adjusted", "value", "mark"),
    [(0.05, 0.1, "↑"), (0.05, -0.1, "↓"), (0.0501, 0.1, ""), (math.nan, 0.1, "")],
)
def test_a_mark_is_for_what_holm_leaves_significant(adjusted: float, value: float, mark: str) -> None:
    compared = make_experiments().rows[0].cells["recommended"].compared["balanced_accuracy"]
    changed = replace(compared.difference, difference=replace(compared.difference.difference, value=value))
    assert replace(compared, difference=changed, adjusted=adjusted).mark == mark
