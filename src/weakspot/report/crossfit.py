"""The best threshold of a sweep, chosen on other images than those it is scored on: cross-fitting over folds.

The threshold that scores best on the test images was chosen by those images; its score is an oracle and always
flatters. Here every fold is scored at the threshold that is best on the *other* folds of the same split. The choice
uses the other folds' masks: it is honest, but not label-free.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

SERIES = ("name", "subset", "method", "threshold_kind", "recipe", "data", "differs")
"""What runs have in common that differ in nothing but threshold, fold and seeds."""

TOO_FEW_FOLDS = "no honest choice (needs at least two folds: add split.folds=5 split.fold=0,1,2,3,4)"
TOO_FEW_THRESHOLDS = "no honest choice (fewer than two thresholds were run in every fold: finish the sweep)"

Row = Mapping[str, Any]
Key = TypeVar("Key", bound=Hashable)
Scores = dict[float, dict[int | None, float]]
"""V2 by threshold and fold, the mean over training seeds; fold None is a hold-out."""


def known(value: float | None) -> bool:
    """Tell whether a measure has a value; it is None or NaN without masks, or without images of a kind."""
    return value is not None and not math.isnan(value)


def group_by(rows: Iterable[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Group rows by their values of some keys.

    Args:
        rows: dictionaries that all have the keys.
        keys: names of the keys.

    Returns:
        Rows by their values of `keys`; groups and rows in the order in which they first come.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return dict(groups)


def best_thresholds(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The best threshold of every series of runs that has at least two: honestly chosen, and the oracle beside it.

    Every split (``split.seed``) is cross-fitted by itself (:func:`cross_fit`), then they are averaged; where some
    splits have enough folds, the others are left out.

    Args:
        rows: one a run, with the keys of :data:`SERIES`, ``threshold``, ``split_seed``, ``fold`` and
            ``max_box_acc_v2``.

    Returns:
        For each series its :data:`SERIES`; ``honest_threshold``, the one chosen most often (of equals the lowest),
        with ``honest_threshold_low`` and ``_high``; ``honest_threshold_max_box_acc_v2`` and
        ``_max_box_acc_v2_sd``, mean and standard deviation over folds; the same for
        ``oracle_threshold``; ``n_splits`` and ``n_folds`` that these rest on;
        ``note`` in words where there is no honest choice (its values are None), else None; ``splits``, each as
        :func:`cross_fit` returns it with its ``split_seed``.
    """
    found = []
    for series, members in group_by(rows, SERIES).items():
        measured = [row for row in members if known(row["max_box_acc_v2"])]
        if len({row["threshold"] for row in measured}) > 1:
            splits = [
                {"split_seed": seed, **cross_fit(_scores(repeats))}
                for (seed,), repeats in group_by(measured, ["split_seed"]).items()
            ]
            found.append({**dict(zip(SERIES, series, strict=True)), **_average(splits)})
    return sorted(found, key=lambda entry: (entry["name"], entry["subset"], entry["method"], entry["threshold_kind"]))


def cross_fit(scores: Scores) -> dict[str, Any]:
    """Score every fold of one split at the threshold whose mean V2 over the other folds is best.

    Only thresholds that were run in every fold are compared; of equally good ones the lowest is taken.

    Returns:
        ``thresholds`` that were compared; ``folds``, each with ``fold``, the chosen ``threshold`` and its
        ``max_box_acc_v2`` there (none without an honest choice, and ``note`` says why);
        ``honest_threshold_max_box_acc_v2`` and ``_max_box_acc_v2_sd``, their mean and standard deviation;
        ``oracle_threshold``, the single best on these very folds, with ``_max_box_acc_v2`` and ``_max_box_acc_v2_sd``.
    """
    found = {fold for at_threshold in scores.values() for fold in at_threshold}
    folds = sorted(found, key=lambda fold: -1 if fold is None else fold)
    complete = {t: scores[t] for t in sorted(scores) if len(scores[t]) == len(folds)}
    chosen: list[dict[str, Any]] = []
    note = None
    if len(folds) < 2:
        note = TOO_FEW_FOLDS
    elif len(complete) < 2:
        note = TOO_FEW_THRESHOLDS
    else:
        for fold in folds:
            threshold = _best(complete, [other for other in folds if other != fold])
            chosen.append({"fold": fold, "threshold": threshold, "max_box_acc_v2": complete[threshold][fold]})
    oracle = _best(complete, folds) if complete else None
    return {
        "thresholds": list(complete),
        "folds": chosen,
        "note": note,
        **_mean_and_sd("honest_threshold", [choice["max_box_acc_v2"] for choice in chosen]),
        "oracle_threshold": oracle,
        **_mean_and_sd("oracle_threshold", [] if oracle is None else list(complete[oracle].values())),
    }


def _scores(rows: Iterable[Row]) -> Scores:
    cells = group_by(rows, ["threshold", "fold"])
    scores: Scores = defaultdict(dict)
    for (threshold, fold), seeds in cells.items():
        scores[threshold][fold] = statistics.mean(row["max_box_acc_v2"] for row in seeds)
    return scores


def _best(scores: Scores, folds: Sequence[int | None]) -> float:
    # Rounded, so that what is equal but for the last bit counts as a tie; max keeps the first, which is the lowest.
    return max(scores, key=lambda threshold: round(statistics.mean(scores[threshold][fold] for fold in folds), 9))


def _average(splits: list[dict[str, Any]]) -> dict[str, Any]:
    """What :func:`best_thresholds` finds for one series, from its cross-fitted splits."""
    fitted = [split for split in splits if split["note"] is None]
    used = fitted or splits
    chosen = sorted(choice["threshold"] for split in fitted for choice in split["folds"])
    oracle = sorted(split["oracle_threshold"] for split in used if split["oracle_threshold"] is not None)
    return {
        "honest_threshold": statistics.mode(chosen) if chosen else None,
        "honest_threshold_low": min(chosen, default=None),
        "honest_threshold_high": max(chosen, default=None),
        **_mean_of(used, "honest_threshold_max_box_acc_v2"),
        "oracle_threshold": statistics.mode(oracle) if oracle else None,
        **_mean_of(used, "oracle_threshold_max_box_acc_v2"),
        "n_splits": len(fitted),
        "n_folds": len(chosen),
        "note": None if fitted else splits[0]["note"],
        "splits": splits,
    }


def _mean_and_sd(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        f"{name}_max_box_acc_v2": statistics.mean(values) if values else None,
        f"{name}_max_box_acc_v2_sd": statistics.stdev(values) if len(values) > 1 else None,
    }


def _mean_of(splits: Iterable[dict[str, Any]], name: str) -> dict[str, float | None]:
    """Means over splits of a measure and of its deviation."""
    columns = {key: [split[key] for split in splits if split[key] is not None] for key in (name, f"{name}_sd")}
    return {key: statistics.mean(values) if values else None for key, values in columns.items()}
