"""The parts of a run's model beside the classifier, and what each of them is fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from weakspot.data.splits import portable
from weakspot.data.views import AS_IS, AUGMENTATIONS, ImageView, split_view
from weakspot.models.evidence import EvidenceNet
from weakspot.models.model import Model
from weakspot.training.evidence.correct_fit import fit_corrections
from weakspot.training.evidence.fit import fit_evidence
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.evidence.statistics import FittedStatistics, fit_statistics, spread_out
from weakspot.training.familiarity import MOST_PICTURES as MOST_TRAINING
from weakspot.training.familiarity import FittedFamiliarity, fit_familiarity
from weakspot.training.prepare import PreparedRun


def fit_heads(prepared: PreparedRun, checkpoints: Path) -> EvidenceNet | None:
    """Train the evidence heads, and correct them by what a person drew.

    Args:
        prepared: the run.
        checkpoints: finished stages are kept there.

    Returns:
        The heads; None where the configuration has none.

    Raises:
        WeakspotError: when an image cannot be read, or the loss diverges.
    """
    rules, data = prepared.rules, prepared.data
    if not rules.has_heads:
        return None
    good, defect = (
        [data.infos[i] for i in data.indices("train") if (data.targets[i] == 0) == is_good] for is_good in (True, False)
    )
    source = FeatureSource(prepared.network, prepared.preprocess, rules.cache)
    unturned = [view for view in AUGMENTATIONS[rules.trainer.augment] if split_view(view)[0] == AS_IS]
    net = fit_evidence(source, good, defect, rules.refine, rules.seed, checkpoints, unturned)
    every, train = data.corrections.drawn, data.indices("train")  # without what cross-fitting leaves out
    drawn = [(data.infos[i], every[i]) for i in train if i in every]
    if not drawn:
        return net
    others = [data.infos[i] for i in train if data.targets[i] != 0 and i not in every]
    return fit_corrections(source, net, good, others, drawn, rules.refine, rules.seed, checkpoints, unturned)


def fit_statistics_head(prepared: PreparedRun) -> FittedStatistics | None:
    """Fit the statistics head.

    Args:
        prepared: the run.

    Returns:
        The head; None where the configuration has none, or no groups can be left out.
    """
    rules, data = prepared.rules, prepared.data
    if not (rules.has_heads and rules.refine.statistics):
        return None
    groups, examples = data.groups, _examples_of_statistics(prepared)
    return fit_statistics(
        FeatureSource(prepared.network, prepared.preprocess, rules.cache),
        [ImageView(data.infos[i], view) for i, view in examples],
        [data.targets[i] for i, _ in examples],
        [groups[i] for i, _ in examples],
        rules.seed,
    )


def _examples_of_statistics(prepared: PreparedRun) -> list[tuple[int, str]]:
    """Positions and views of what the statistics head is fitted on."""
    rules, data = prepared.rules, prepared.data
    views, train = AUGMENTATIONS[rules.trainer.augment], data.indices("train")
    kinds = ([i for i in train if (data.targets[i] == 0) == is_good] for is_good in (True, False))
    chosen = [i for kind in kinds for i in spread_out(kind, rules.refine.max_images // 2)]
    return [(i, view) for i in chosen for view in views if split_view(view)[0] == AS_IS]


def out_of_fold(prepared: PreparedRun, statistics: FittedStatistics) -> dict[str, Any]:
    """What the statistics say of training pictures that they were not fitted on; of several views the mean.

    Args:
        prepared: the run.
        statistics: from :func:`fit_statistics_head`.

    Returns:
        Ready for JSON, lists over the pictures: ``paths`` as in ``split.csv``, ``defects``, ``probabilities`` 0…1.
    """
    data, odds = prepared.data, dict[int, list[float]]()
    for (i, _), value in zip(_examples_of_statistics(prepared), statistics.left_out.tolist(), strict=True):
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
    items = [ImageView(data.infos[i], AS_IS) for i in spread_out(data.indices("train"), MOST_TRAINING)]
    return fit_familiarity(model.network, model.taps, items, prepared.preprocess, prepared.rules.cache)
