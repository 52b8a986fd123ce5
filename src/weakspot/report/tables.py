"""Measurements as tables for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from weakspot.data.repeats import TURNED, certain_words, paired_words, possible_words
from weakspot.data.summary import DataSummary, Findings
from weakspot.evaluation.comparison import Comparison
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Controls, Localisation, SubsetResult
from weakspot.evaluation.serialise import structure
from weakspot.metrics.intervals import Estimate
from weakspot.metrics.paired import BELIEVE_P
from weakspot.metrics.results import ClassificationResult, PixelResult
from weakspot.report.verdict import held_out_words
from weakspot.types import GOOD, SUBSETS, Subset

CLASSIFICATION = ("balanced_accuracy", "accuracy", "precision", "recall", "f1", "auroc", "average_precision")
BOXES = ("box_accuracy_30", "box_accuracy_50", "box_accuracy_70", "max_box_acc_v2", "mean_iou")
PIXEL = {"pixel_auroc": "pixel AUROC", "pixel_average_precision": "pixel average precision", "aupro": "AUPRO (30 %)"}
NAMES = {
    "auroc": "AUROC",
    "f1": "F1",
    "good_or_not": "balanced accuracy, Good or not",
    "max_box_acc_v2": "V2 (MaxBoxAccV2, their mean)",
    "mean_iou": "mean IoU",
    "box_accuracy_30": "box accuracy, IoU ≥ 0.3",
    "box_accuracy_50": "box accuracy, IoU ≥ 0.5",
    "box_accuracy_70": "box accuracy, IoU ≥ 0.7",
}


def metrics_table(record: MetricsRecord, title: str) -> Table:
    """Headline numbers of a run with n and 95 % interval; the baselines stand beside those of the boxes.

    Args:
        record: of a run or an evaluation.
        title: of the table.
    """
    table = _table("test subset", title)
    test, held_out = record.measurement.test, record.thresholds["decision"].get("held_out")
    _classification_rows(table, test)
    for k, estimate in test.classification.top_k_error.items():
        if k != "1":
            _row(table, f"top-{k} error", estimate)
    recall_of = "not called Good:" if test.good_or_not else "recall of"
    for defect, estimate in test.classification.recall_per_defect.items():
        _row(table, f"{recall_of} {defect}", estimate)
    table.add_row("expected calibration error", _number(test.calibration.ece), "", str(test.calibration.n))
    if held_out:
        table.add_section()
        whose = held_out_words(record.split)
        for name, key in (("defects found", "recall"), ("Good images called defective", "false_alarm_rate")):
            value = {each: held_out[key][each] for each in ("value", "n", "low", "high")}
            _row(table, f"{whose}: {name}", structure(value, Estimate))
    if test.other_groups:
        table.add_section()
        _row(table, "balanced accuracy on groups not trained on", test.other_groups.classification.balanced_accuracy)
        if test.other_groups.localisation:
            _row(table, "V2 on groups not trained on", test.other_groups.localisation.max_box_acc_v2)
    if test.localisation:
        _localisation_rows(table, test.localisation)
        _threshold_rows(table, test.localisation, record.thresholds["boxes"]["value"])
        _control_rows(table, record.measurement.controls)
        table.caption = _pixel_caption(test.localisation.pixel)
    return table


def pooled_table(record: MetricsRecord, title: str) -> Table:
    """Headline numbers of a cross-validation: all folds together, and each fold alone.

    Args:
        record: of a cross-validation.
        title: of the table.
    """
    table = _table("all folds", title)
    test = record.measurement.test
    _classification_rows(table, test)
    captions = [f"{test.groups} independent groups; intervals of classes and V2 allow for that"]
    if test.localisation:
        _localisation_rows(table, test.localisation)
        _control_rows(table, record.measurement.controls)
        captions.append(_pixel_caption(test.localisation.pixel))
    table.add_section()
    for number, fold in enumerate(record.folds, start=1):
        _row(table, f"balanced accuracy of fold {number}", fold.balanced_accuracy)
        if fold.max_box_acc_v2:
            _row(table, f"V2 of fold {number}", fold.max_box_acc_v2)
    table.caption = "; ".join(captions)
    return table


def _table(first: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name, justify in ((first, "left"), ("value", "right"), ("95 % interval", "right"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    return table


def _classification_rows(table: Table, test: SubsetResult) -> None:
    for key in CLASSIFICATION:
        _row(table, NAMES.get(key, key.replace("_", " ")), getattr(test.classification, key))
    if test.good_or_not:
        _row(table, NAMES["good_or_not"], test.good_or_not.balanced_accuracy)
    if test.per_part:
        _row(table, "balanced accuracy of parts", test.per_part.balanced_accuracy)
        _row(table, "AUROC of parts", test.per_part.auroc)


def _localisation_rows(table: Table, found: Localisation) -> None:
    table.add_section()
    for key in BOXES:
        _row(table, NAMES[key], getattr(found, key))
    _row(table, "pointing game", found.pointing_game)
    for key, name in PIXEL.items():
        table.add_row(name, _number(getattr(found.pixel, key)), "", "")
    for level in (30, 50):
        for key in ("precision", "recall"):
            _row(table, f"box {key}, IoU ≥ 0.{level // 10}", getattr(found.detection, f"{key}_{level}"))
        average = getattr(found.detection, f"ap_{level}")
        table.add_row(f"box average precision, IoU ≥ 0.{level // 10}", _number(average), "", "")
    for name, of_class in (found.per_class or {}).items():
        for key in ("precision", "recall"):
            _row(table, f"{name}: box {key}, IoU ≥ 0.3", getattr(of_class, f"{key}_30"))
    before = found.before_decision
    table.add_row("boxes an image with a defect", _number(found.mean_boxes), "", str(found.n))
    if before.good_images_with_a_box:
        table.add_row(
            "false boxes per 100 Good images, before the class decision",
            _number(before.false_boxes_per_100_good), "", str(before.good_images_with_a_box.n),
        )  # fmt: skip
        _row(table, "Good images with a box, before the class decision", before.good_images_with_a_box)
    _row(table, "trust and IoU, rank correlation over boxes", found.trust.rank_correlation)
    for colour, of_level in found.trust.levels.items():
        _row(table, f"{colour} boxes with IoU ≥ 0.5", of_level.iou_50)
    _row(table, "green among boxes on Good images, before the class decision", found.trust.false_green)
    smallest = found.resolution
    if not math.isnan(smallest.smallest):
        _row(table, f"true boxes with a side under {smallest.smallest:.0f} px, too small here", smallest.smaller)


def _threshold_rows(table: Table, found: Localisation, in_use: float) -> None:
    table.add_section()
    table.add_row(f"V2 at the threshold in use, {in_use:g}", _number(found.max_box_acc_v2.value), "", "")
    if found.oracle_n:
        oracle = f"V2 at the oracle threshold, {found.oracle_single_threshold:.2f}"
        table.add_row(oracle, _number(found.oracle_single_max_box_acc_v2), "", "")


def _pixel_caption(pixel: PixelResult) -> str:
    """At which resolution pixels were compared."""
    if pixel.longest_side is None:
        return "pixels were compared on the grid of a version before 0.2"
    return f"pixels are compared on a grid of at most {pixel.longest_side} a side, each image's shape kept"


def class_tables(classification: ClassificationResult) -> list[Table]:
    """Precision, recall and F1 of every class, and the confusion matrix with the classes' numbers for columns.

    Args:
        classification: of any number of classes.
    """
    rows, matrix = classification.per_class, classification.confusion_matrix
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
            Text(f"{number} {name}"), _number(found.precision), _number(found.recall),
            _interval(found.recall_low, found.recall_high), _number(found.f1), str(found.n),
        )  # fmt: skip
        counts = (str(count) if count else "·" for count in matrix.counts[number])
        confusion.add_row(Text(f"{number} {name}"), *counts)
    return [scores, confusion]


def comparison_table(found: Comparison) -> Table:
    """Show how two set-ups differ on the same images.

    Args:
        found: from :func:`weakspot.evaluation.comparison.compare`.
    """
    table = Table(title=f"{found.images} images that both were tested on", title_justify="left")
    for name in ("", "first", "second", "difference", "95 % interval", "p", "n", "groups"):
        table.add_column(name, justify="right" if name else "left")
    for key, change in found.differences.items():
        estimate = change.difference
        table.add_row(
            NAMES.get(key, key.replace("_", " ")), _number(change.first), _number(change.second),
            f"{estimate.value:+.3f}", f"{estimate.low:+.3f} – {estimate.high:+.3f}", f"{change.p_value:.4f}",
            str(estimate.n), str(change.groups),
        )  # fmt: skip
    at_odds = any(change.at_odds for change in found.differences.values())
    trained = max(found.first_times, found.second_times) > 1
    rightly = "{} images classified correctly more often by the {}" if trained else "{} images right in the {} only"
    notes = [
        rightly.format(found.first_right, "first"),
        rightly.format(found.second_right, "second"),
        "intervals and p-values count each group once",
        *([BELIEVE_P] if at_odds else []),
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
    """Show what ``weakspot check`` found in one data set.

    Args:
        findings: counts, problems and near-duplicates.
        title: of the table.
    """
    summary = findings.summary
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("images", str(summary.total))
    for name, count in summary.per_class.items():
        table.add_row(name, str(count))
    for name, count in summary.per_defect.items():
        if name != GOOD:
            table.add_row(f"  {name}", str(count))
    table.add_row("classes", Text(classes_words(findings)))
    for folder, counts in summary.per_folder.items():
        table.add_row(f"in {folder}", _listing(counts))
    (h0, h1), (w0, w1) = summary.heights, summary.widths
    table.add_row("height × width", f"{h0}×{w0}" if (h0, w0) == (h1, w1) else f"{h0}…{h1} × {w0}…{w1}")
    common = {f"{h}×{w}": count for (h, w), count in list(summary.sizes.items())[:3]}
    if len(summary.sizes) > 1:
        table.add_row("most common", f"{_listing(common)}; {len(summary.sizes)} different sizes")
    table.add_row("files", f"{_listing(summary.extensions)}; pixels {_listing(summary.modes)}")
    for name, count in _found_wrong(summary).items():
        table.add_row(name, str(count), style="yellow" if count else "")
    if not _masked(summary):
        table.add_row("masks", "none, so boxes cannot be measured")
    _near_duplicate_rows(table, findings)
    return table


def classes_words(findings: Findings) -> str:
    """Which class counts as Good, and which ones as defects.

    Args:
        findings: of a data set.
    """
    defects, good = [name for name in findings.summary.per_defect if name != GOOD], f"{findings.good_class!r} counts"
    if len(defects) == 1:
        return f"{good} as Good, {defects[0]!r} as a defect"
    return f"{good} as Good; counted as defects: {', '.join(defects)}"


def _near_duplicate_rows(table: Table, findings: Findings) -> None:
    near = findings.near_duplicates
    found_near = certain_words(near) or "none certain"
    if not near.tells_groups:
        found_near = "too much alike to tell one part from another"
    found_near += f"; {TURNED} (split --group, train data.group=…)"
    table.add_row("near-duplicates", found_near, style="yellow" if near.pairs else "")
    if near.possible:
        table.add_row("  possible", possible_words(near))
    if near.tells_groups and (paired := paired_words(findings.readable, near)):
        table.add_row("  in both classes", paired)


def _masked(summary: DataSummary) -> bool:
    """Whether any defect has a mask."""
    return len(summary.missing_masks) < summary.total - summary.per_class[GOOD]


def _found_wrong(summary: DataSummary) -> dict[str, int]:
    """How many files may be wrong, by what is wrong with them; masks only where there are some."""
    of_masks = {
        "defects without mask": len(summary.missing_masks),
        "empty masks": len(summary.empty_masks),
        "unusable masks": len(summary.bad_masks),
    }
    return {
        "unreadable": len(summary.unreadable),
        **(of_masks if _masked(summary) else {}),
        "exact duplicates": len(summary.duplicates),
    }


def _control_rows(table: Table, controls: Controls) -> None:
    """What guesses would have scored."""
    for name, control in controls.boxes.items():
        table.add_row(f"V2 of the {name.replace('_', ' ')}", _number(control.max_box_acc_v2.value), "", "")
    if controls.shuffled_labels:
        _row(table, "balanced accuracy with shuffled labels", controls.shuffled_labels)
    if controls.border:
        _row(table, f"evidence near the border, {controls.border.area:.0%} of the area", controls.border.share)
    if controls.erased:
        fall = controls.erased.erased.difference
        _row(table, "fall of the log-odds: boxes erased, minus equal areas erased elsewhere", fall)


def split_table(defects: Sequence[str], subsets: Sequence[Subset]) -> Table:
    """Count the images of each defect type in each subset.

    Args:
        defects: defect type of each image.
        subsets: subset of each image, in the same order.
    """
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


def _row(table: Table, name: str, estimate: Estimate) -> None:
    table.add_row(name, _number(estimate.value), _interval(estimate.low, estimate.high), str(estimate.n))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or _missing(low) or _missing(high) else f"{low:.3f} – {high:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None or _missing(value) else f"{value:.3f}"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
