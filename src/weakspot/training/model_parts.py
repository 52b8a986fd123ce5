"""The parts of a run's model beside the classifier, and what each of them is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from weakspot.data.splits import portable
from weakspot.data.views import AS_IS, ImageView, split_view
from weakspot.models.evidence import EvidenceNet
from weakspot.models.model import Model
from weakspot.models.statistics import StatisticsHead
from weakspot.runs.folder import OUT_OF_FOLD
from weakspot.training.evidence.correct_fit import fit_corrections
from weakspot.training.evidence.fit import checkpoints_of_fold, fit_evidence
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.evidence.statistics import (
    STRENGTHS,
    FittedStatistics,
    fit_measured,
    measured_statistics,
)
from weakspot.training.familiarity import MOST_PICTURES as MOST_TRAINING
from weakspot.training.familiarity import FittedFamiliarity, fit_familiarity
from weakspot.training.prepare import PreparedRun
from weakspot.utils.files import write_json
from weakspot.utils.spread import spread_evenly


@dataclass(frozen=True)
class Heads:
    """What a model has beside its classifier; each is None where the configuration has none of it.

    Attributes:
        evidence: finds places and outlines.
        statistics: judges the distribution of features; None, too, where no groups can be left out.
    """

    evidence: EvidenceNet | None
    statistics: StatisticsHead | None


def fit_heads(prepared: PreparedRun, folder: Path, left_out: Sequence[PreparedRun] = ()) -> list[Heads]:
    """Train the heads of a run, and those of its models that have not learnt from some of its pictures.

    Args:
        prepared: the run.
        folder: finished stages are kept in its ``checkpoints``; what the statistics say of training pictures that they
            were not fitted on is written to ``out_of_fold.json``.
        left_out: the run without some of its training pictures, from :meth:`PreparedRun.without`.

    Returns:
        The heads of the run, then of each of `left_out`.

    Raises:
        WeakspotError: when an image cannot be read, or the loss diverges.
    """
    if not prepared.rules.has_heads:
        return [Heads(None, None) for _ in (prepared, *left_out)]
    evidence = _fit_evidence(prepared, folder / "checkpoints", left_out)
    statistics = _fit_statistics(prepared, left_out) if prepared.rules.refine.statistics else [None] * len(evidence)
    if statistics[0] is not None:
        write_json(folder / OUT_OF_FOLD, out_of_fold(prepared, statistics[0]))
    return [Heads(net, None if one is None else one.head) for net, one in zip(evidence, statistics, strict=True)]


def _fit_evidence(prepared: PreparedRun, folder: Path, left_out: Sequence[PreparedRun]) -> list[EvidenceNet]:
    """Train the evidence heads, and correct them by what a person drew."""
    rules, data = prepared.rules, prepared.data
    good, defect = (
        [data.infos[i] for i in data.indices("train") if (data.targets[i] == 0) == is_good] for is_good in (True, False)
    )
    source = FeatureSource(prepared.network, prepared.preprocess, rules.cache)
    paths = [{one.data.infos[i].path for i in one.validation_images} for one in left_out]
    nets = fit_evidence(source, good, defect, rules.refine, rules.seed, folder, prepared.head_views, paths)
    folders = [folder, *(checkpoints_of_fold(folder, k) for k in range(len(left_out)))]
    every, unturned = data.corrections.drawn, [view for view in rules.trainer.views if split_view(view)[0] == AS_IS]
    for k, (net, one) in enumerate(zip(nets, (prepared, *left_out), strict=True)):
        train = one.data.indices("train")
        drawn = [(data.infos[i], every[i]) for i in train if i in every]
        if drawn:
            others = [data.infos[i] for i in train if data.targets[i] != 0 and i not in every]
            kept = [data.infos[i] for i in train if data.targets[i] == 0]
            nets[k] = fit_corrections(source, net, kept, others, drawn, rules.refine, rules.seed, folders[k], unturned)
    return nets


def _fit_statistics(prepared: PreparedRun, left_out: Sequence[PreparedRun]) -> list[FittedStatistics | None]:
    """Fit the statistics heads; those of `left_out` take over the strength of regularisation."""
    rules, data = prepared.rules, prepared.data
    groups, examples = data.groups, examples_of_statistics(prepared)
    source = FeatureSource(prepared.network, prepared.preprocess, rules.cache)
    head, values = measured_statistics(source, [ImageView(data.infos[i], view) for i, view in examples])

    def fitted(head: StatisticsHead, rows: list[int], strengths: Sequence[float]) -> FittedStatistics | None:
        which = [examples[n][0] for n in rows]
        targets, of_groups = [data.targets[i] for i in which], [groups[i] for i in which]
        return fit_measured(head, values[rows], targets, of_groups, rules.seed, strengths)

    others = [deepcopy(head) for _ in left_out]
    first = fitted(head, list(range(len(examples))), STRENGTHS)
    strengths = STRENGTHS if first is None else (first.strength,)
    found = [first]
    for other, one in zip(others, left_out, strict=True):
        rows = [n for n, (i, _) in enumerate(examples) if one.data.subsets[i] == "train"]
        found.append(fitted(other, rows, strengths))
    # Thresholds are set on what the others say, so that all of them have this head, or none.
    return found if all(one is not None for one in found) else [None] * len(found)


def examples_of_statistics(prepared: PreparedRun) -> list[tuple[int, str]]:
    """Positions and views of what the statistics head is fitted on."""
    rules, data = prepared.rules, prepared.data
    train = data.indices("train")
    kinds = ([i for i in train if (data.targets[i] == 0) == is_good] for is_good in (True, False))
    chosen = [i for kind in kinds for i in spread_evenly(kind, rules.refine.max_images // 2)]
    return [(i, view) for i in chosen for view in prepared.head_views]


def out_of_fold(prepared: PreparedRun, statistics: FittedStatistics) -> dict[str, Any]:
    """What the statistics say of training pictures that they were not fitted on; of several views the mean.

    Args:
        prepared: the run.
        statistics: of the run.

    Returns:
        Ready for JSON, lists over the pictures: ``paths`` as in ``split.csv``, ``defects``, ``probabilities`` 0…1.
    """
    data, odds = prepared.data, dict[int, list[float]]()
    for (i, _), value in zip(examples_of_statistics(prepared), statistics.left_out.tolist(), strict=True):
        odds.setdefault(i, []).append(value)
    return {
        "paths": [portable(data.samples[i].path, data.root) for i in odds],
        "defects": [data.samples[i].defect for i in odds],
        "probabilities": [float(expit(np.mean(values))) for values in odds.values()],
    }


def fit_to_recognise(prepared: PreparedRun, model: Model) -> FittedFamiliarity | None:
    """Statistics of training pictures, of features that the model asks for anyway.

    Args:
        prepared: the run.
        model: what the run has trained.

    Returns:
        What is known of them; None where that is nothing.
    """
    data = prepared.data
    chosen, groups = spread_evenly(data.indices("train"), MOST_TRAINING), data.groups
    items, of_groups = [ImageView(data.infos[i], AS_IS) for i in chosen], [groups[i] for i in chosen]
    return fit_familiarity(model.network, model.taps, items, prepared.preprocess, prepared.rules.cache, of_groups)
