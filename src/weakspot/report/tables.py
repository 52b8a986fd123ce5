"""Metrics as a table for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from weakspot.data.summary import Findings
from weakspot.types import GOOD, SUBSETS, Subset

if TYPE_CHECKING:
    from weakspot.evaluation.comparison import Comparison  # which imports Hydra

CLASSIFICATION = ("balanced_accuracy", "accuracy", "precision", "recall", "f1", "auroc", "average_precision")
LOCALISATION = ("box_accuracy_30", "box_accuracy_50", "box_accuracy_70", "v2", "mean_iou")
PIXEL = {"pixel_auroc": "pixel AUROC", "pixel_average_precision": "pixel average precision", "aupro": "AUPRO (30 %)"}
NAMES = {
    "auroc": "AUROC",
    "f1": "F1",
    "good_or_not": "balanced accuracy, Good or not",
    "v2": "V2 (their mean)",
    "mean_iou": "mean IoU",
    "box_accuracy_30": "box accuracy, IoU ≥ 0.3",
    "box_accuracy_50": "box accuracy, IoU ≥ 0.5",
    "box_accuracy_70": "box accuracy, IoU ≥ 0.7",
}


def metrics_table(metrics: dict[str, Any], title: str) -> Table:
    """Headline numbers of a ``metrics.json`` with n and 95 % interval, the baselines beside the boxes."""
    table = Table(title=title, title_justify="left")
    for name, justify in (("test subset", "left"), ("value", "right"), ("95 % interval", "right"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    test = metrics["test"]
    for key in CLASSIFICATION:
        _row(table, NAMES.get(key, key.replace("_", " ")), test["classification"][key])
    if "good_or_not" in test:
        _row(table, NAMES["good_or_not"], test["good_or_not"]["balanced_accuracy"])
    for k, estimate in test["classification"]["top_k_error"].items():
        if k != "1":
            _row(table, f"top-{k} error", estimate)
    recall_of = "not called Good:" if "good_or_not" in test else "recall of"
    for defect, estimate in test["classification"]["recall_per_defect"].items():
        _row(table, f"{recall_of} {defect}", estimate)
    calibration = test["calibration"]
    table.add_row("expected calibration error", _number(calibration["ece"]), "", str(calibration["n"]))
    if held_out := metrics["thresholds"]["decision"].get("held_out"):
        table.add_section()
        _row(table, "validation subset: defects found", held_out["recall"])
        _row(table, "validation subset: Good images called defective", held_out["false_alarm_rate"])
    others = test.get("other_parts")
    if others:
        table.add_section()
        _row(table, "balanced accuracy on parts not trained on", others["classification"]["balanced_accuracy"])
        if others["localisation"]:
            _row(table, "V2 on parts not trained on", others["localisation"]["v2"])
    localisation = test.get("localisation")
    if localisation:
        table.add_section()
        threshold = metrics["thresholds"]["boxes"]
        for key in LOCALISATION:
            _row(table, NAMES[key], localisation[key])
        _row(table, "pointing game", localisation["pointing_game"])
        for key, name in PIXEL.items():
            table.add_row(name, _number(localisation["pixel"][key]), "", "")
        for level in (30, 50):
            for key in ("precision", "recall"):
                _row(table, f"box {key}, IoU ≥ 0.{level // 10}", localisation["detection"][f"{key}_{level}"])
            table.add_row(
                f"box average precision, IoU ≥ 0.{level // 10}",
                _number(localisation["detection"][f"ap_{level}"]), "", "",
            )  # fmt: skip
        before = localisation["before_decision"]
        table.add_row("boxes an image with a defect", _number(localisation["mean_boxes"]), "", str(localisation["n"]))
        table.add_row(
            "false boxes per 100 Good images, before the class decision",
            _number(before["false_boxes_per_100_good"]), "", str(before["good_images_with_a_box"]["n"]),
        )  # fmt: skip
        _row(table, "Good images with a box, before the class decision", before["good_images_with_a_box"])
        trust = localisation["trust"]
        _row(table, "trust and IoU, rank correlation over boxes", trust["rank_correlation"])
        for colour, found in trust["levels"].items():
            _row(table, f"{colour} boxes with IoU ≥ 0.5", found["iou_50"])
        smallest = localisation["resolution"]
        _row(table, f"true boxes with a side under {smallest['smallest']:.0f} px, too small here", smallest["smaller"])
        table.add_section()
        oracle = localisation["oracle_single_threshold"]
        table.add_row(
            f"V2 at the threshold in use, {threshold['value']:g}", _number(localisation["v2"]["value"]), "", ""
        )
        table.add_row(f"V2 at the oracle threshold, {oracle:.2f}", _number(localisation["oracle_single_v2"]), "", "")
        _controls(table, metrics["controls"])
    return table


def class_tables(classification: dict[str, Any]) -> list[Table]:
    """Precision, recall and F1 of every class, and the confusion matrix with the classes' numbers for columns.

    Args:
        classification: ``test.classification`` of a ``metrics.json``.
    """
    rows, matrix = classification["per_class"], classification["confusion_matrix"]
    scores = Table(title="class by class", title_justify="left")
    confusion = Table(title="true class in rows, predicted in columns", title_justify="left")
    for table, columns in (
        (scores, ("precision", "recall", "95 % interval", "F1", "n")),
        (confusion, range(len(rows))),
    ):
        table.add_column("class", overflow="fold")
        for column in columns:
            table.add_column(str(column), justify="right", no_wrap=True)
    for number, (name, found) in enumerate(rows.items()):
        scores.add_row(
            Text(f"{number} {name}"), _number(found["precision"]), _number(found["recall"]),
            _interval(found["recall_low"], found["recall_high"]), _number(found["f1"]), str(found["n"]),
        )  # fmt: skip
        counts = (str(count) if count else "·" for count in matrix["counts"][number])
        confusion.add_row(Text(f"{number} {name}"), *counts)
    return [scores, confusion]


def pooled_table(metrics: dict[str, Any], title: str) -> Table:
    """Headline numbers of a cross-validation: all folds together, and each by itself."""
    table = Table(title=title, title_justify="left")
    for name, justify in (("all folds", "left"), ("value", "right"), ("95 % interval", "right"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    test = metrics["test"]
    for key in CLASSIFICATION:
        _row(table, NAMES.get(key, key.replace("_", " ")), test["classification"][key])
    if "good_or_not" in test:
        _row(table, NAMES["good_or_not"], test["good_or_not"]["balanced_accuracy"])
    localisation = test.get("localisation")
    if localisation:
        table.add_section()
        for key in LOCALISATION:
            _row(table, NAMES[key], localisation[key])
        for key, name in PIXEL.items():
            table.add_row(name, _number(localisation["pixel"][key]), "", "")
        _row(table, "box precision, IoU ≥ 0.3", localisation["detection"]["precision_30"])
        _controls(table, metrics["controls"])
    table.add_section()
    for number, fold in enumerate(metrics["folds"], start=1):
        _row(table, f"balanced accuracy of fold {number}", fold["balanced_accuracy"])
        if fold["v2"]:
            _row(table, f"V2 of fold {number}", fold["v2"])
    table.caption = f"{test['parts']} independent parts; intervals of classes and V2 allow for that"
    return table


def comparison_table(found: Comparison) -> Table:
    """Two set-ups on the same images."""
    table = Table(title=f"{found.images} images that both were tested on", title_justify="left")
    for name in ("", "first", "second", "difference", "95 % interval", "p", "n", "parts"):
        table.add_column(name, justify="right" if name else "left")
    for key, change in found.differences.items():
        estimate = change.difference
        table.add_row(
            NAMES.get(key, key.replace("_", " ")), _number(change.first), _number(change.second),
            f"{estimate.value:+.3f}", f"{estimate.low:+.3f} – {estimate.high:+.3f}", f"{change.p_value:.4f}",
            str(estimate.n), str(change.groups),
        )  # fmt: skip
    trained = max(found.first_times, found.second_times) > 1
    rightly = "right more often, the first" if trained else "only the first right"
    notes = [
        f"{rightly}: {found.first_right} images, {'' if trained else 'only '}the second: {found.second_right}",
        "parts, not images, are drawn and swapped",
        f"classes: {', '.join(found.classes)}",
    ]
    if trained:
        notes.append(f"means of up to {found.first_times} and {found.second_times} trainings")
    left_out = found.only_first + found.only_second
    if left_out:
        notes.append(f"{left_out} images that only one was tested on are left out")
    table.caption = "; ".join(notes)
    return table


def summary_table(findings: Findings, title: str) -> Table:
    """What ``weakspot check`` found in one data set."""
    summary, near = findings.summary, findings.near_duplicates
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("images", str(summary.total))
    for name, count in summary.per_class.items():
        table.add_row(name, str(count))
    for name, count in summary.per_defect.items():
        if name != GOOD:
            table.add_row(f"  {name}", str(count))
    for folder, counts in summary.per_folder.items():
        table.add_row(f"in {folder}", _listing(counts))
    (h0, h1), (w0, w1) = summary.heights, summary.widths
    table.add_row("height × width", f"{h0}×{w0}" if (h0, w0) == (h1, w1) else f"{h0}…{h1} × {w0}…{w1}")
    common = {f"{h}×{w}": count for (h, w), count in list(summary.sizes.items())[:3]}
    if len(summary.sizes) > 1:
        table.add_row("most common", f"{_listing(common)}; {len(summary.sizes)} different sizes")
    table.add_row("files", f"{_listing(summary.extensions)}; pixels {_listing(summary.modes)}")
    for name, found in (
        ("unreadable", summary.unreadable),
        ("defects without mask", summary.missing_masks),
        ("empty masks", summary.empty_masks),
        ("unusable masks", summary.bad_masks),
        ("exact duplicates", summary.duplicates),
    ):
        table.add_row(name, str(len(found)), style="yellow" if found else "")
    found_near = (
        "too much alike to tell"
        if not near.tells_groups
        else f"{near.repeated} images show one of {near.n_groups} parts several times"
        if near.pairs
        else "0"
    )
    table.add_row("near-duplicates", found_near, style="yellow" if near.pairs else "")
    return table


def _controls(table: Table, controls: dict[str, Any]) -> None:
    """What guesses would have scored."""
    for name, control in controls.items():
        if "v2" in control:
            table.add_row(f"V2 of the {name.replace('_', ' ')}", _number(control["v2"]["value"]), "", "")
    shuffled, border, erased = (controls.get(name) for name in ("shuffled_labels", "border", "erased"))
    if shuffled:
        _row(table, "balanced accuracy with shuffled labels", shuffled["balanced_accuracy"])
    if border:
        _row(table, f"evidence near the border, {border['area']:.0%} of the area", border["share"])
    if erased:
        _row(table, "log-odds lost by erasing boxes, less those by erasing elsewhere", erased["erased"]["difference"])


def split_table(defects: Sequence[str], subsets: Sequence[Subset]) -> Table:
    """How many images of each type are in which part; `defects` and `parts` hold an entry an image."""
    table = Table(title="images", title_justify="left")
    for name in ("", *SUBSETS, "together"):
        table.add_column(name, justify="right" if name else "left")
    counts = Counter(zip(defects, subsets, strict=True))
    for defect in sorted(set(defects), key=lambda name: (name != GOOD, name)):
        row = [counts[defect, subset] for subset in SUBSETS]
        table.add_row(Text(defect), *map(str, row), str(sum(row)))
    return table


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _row(table: Table, name: str, estimate: dict[str, Any]) -> None:
    table.add_row(name, _number(estimate["value"]), _interval(estimate["low"], estimate["high"]), str(estimate["n"]))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or _missing(low) or _missing(high) else f"{low:.3f} – {high:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None or _missing(value) else f"{value:.3f}"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
