"""Train on image labels, draw boxes on the test subset, measure."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.special import softmax

from weakspot.commands.results import Measured, write_results
from weakspot.commands.thresholds import with_thresholds
from weakspot.config.schema import TrainConfig, write_config
from weakspot.data.shortcuts import find_shortcuts, follow_confidence
from weakspot.data.splits import write_split
from weakspot.models.bundle import read_meta, rewrite_meta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.decision import DecisionCosts
from weakspot.report.pairs import write_pairs
from weakspot.report.run_report import read_evaluated, write_report
from weakspot.runs.folder import (
    RunFolder,
    adopt_fit,
    find_finished,
    find_fit,
    logging_to,
    open_run,
    own_test_subset,
    parent_folder,
)
from weakspot.runs.identity import fit_identity, run_identity
from weakspot.training.dataset import Data, measurements
from weakspot.training.prepare import PreparedRun, is_crossfitted, prepare, validation_images
from weakspot.training.stages import fit_and_map
from weakspot.utils import console
from weakspot.utils.locks import alone

log = logging.getLogger(__name__)


def train(config: TrainConfig) -> RunFolder:
    """Train on image labels, then draw boxes on the test subset and measure.

    Finished work is not done again: a finished run of the same settings is returned as it is (unless ``output`` names
    another folder), stem features come from the cache, a model that was already fitted from the same
    data, split, network and settings is taken over, an interrupted run goes on from its last epoch.

    Args:
        config: what ``conf/train.yaml`` and its groups compose to.

    Returns:
        The run folder, complete.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    prepared = prepare(config)
    data = prepared.data
    fit_hash = fit_identity(
        config,
        prepared.preprocess,
        data.data_hash,
        data.split_hash,
        prepared.weights.sha256,
        crossfit=is_crossfitted(config, data),
    )
    run_hash = run_identity(config, fit_hash, data.truth_hash)
    # Whoever writes to the same folder waits, and so does whoever makes the same run wherever that will be.
    named = config.output is not None
    with alone(Path(str(config.output)) if named else parent_folder(config), "" if named else run_hash):
        finished = find_finished(config, run_hash) if config.reuse and not named else None
        if finished:
            console.err.print(f"nothing to do: {finished.path} is the same run (reuse=false trains again)", style="dim")
            if not finished.report.is_file():
                write_report(read_evaluated(finished.path))
            return finished
        run = open_run(config, run_hash)
        run.update_identity(run=run_hash, fit=fit_hash)  # first, so that the folder is found again
        with nullcontext() if named else alone(run.path), logging_to(run.log):
            log.info("pre-trained weights: %s", prepared.weights.origin)
            config.data.root = str(data.root.resolve())
            write_config(run.config, config)
            write_split(run.split, data.samples, data.subsets, data.root)
            if data.near_duplicates is not None and data.near_duplicates.pairs:
                write_pairs(run.figures / "near_duplicates.png", data.samples, data.near_duplicates)
            run.update_identity(
                data=data.data_hash,
                truth=data.truth_hash,
                split=data.split_hash,
                identical_across_subsets=data.identical_across_subsets,
                leakage=data.leakage(),
                validation_clusters=_clusters(data),
                seen=sorted(
                    info.sha256 for info, subset in zip(data.infos, data.subsets, strict=True) if subset != "test"
                ),
            )
            with alone(parent_folder(config), fit_hash):
                _fit_or_adopt(prepared, run, fit_hash)
            store, samples = own_test_subset(run)
            run.update_identity(alarms=_alarms(data, store, config))
            meta = with_thresholds(read_meta(run.bundle), prepared.rule, DecisionCosts(**asdict(config.decision)), run)
            rewrite_meta(run.bundle, meta)
            measured = Measured(config, store, samples, meta, run.read_identity(), data.subsets)
            write_results(run, measured, with_erasure=run.erasure_due)
    return run


def _clusters(data: Data) -> list[int]:
    """A number for the part that each validation image shows."""
    groups = data.groups
    return [groups[i] for i in validation_images(data)]


def _alarms(data: Data, store: OutputStore, config: TrainConfig) -> list[dict[str, Any]]:
    """What but the defect tells the classes apart, or moves the network's confidence on the Good images of the test."""
    values, groups = measurements(data.infos, config.cache), data.groups
    good = [n for n, i in enumerate(data.indices("test")) if data.targets[i] == 0]
    positions = [data.indices("test")[n] for n in good]
    confidences = 1 - softmax(store.logits[good], axis=1)[:, 0]
    found = [
        *find_shortcuts(values, data.targets, groups),
        *follow_confidence(values[positions], confidences.tolist(), [groups[i] for i in positions]),
    ]
    return [shortcut.to_dict() for shortcut in found]


def _fit_or_adopt(prepared: PreparedRun, run: RunFolder, fit_hash: str) -> None:
    """Give the run a model and maps: its own, those of a run with the same data, split and settings, or new ones."""
    donor = find_fit(fit_hash, run) if prepared.config.reuse else None
    if donor:
        log.info("model and maps taken over from %s", donor.path)
        console.err.print(f"same data, split and settings as {donor.path}: its model is taken over", style="dim")
        adopt_fit(run, donor)
        return
    if run.metrics.is_file():  # reuse=false in the folder of a finished run: from the start
        shutil.rmtree(run.checkpoint.parent, ignore_errors=True)
        run.maps.unlink(missing_ok=True)  # nobody takes over what is being made
        run.unfinish()
    if not run.erasure_due:  # its model was taken over, once
        run.update_identity(fitted_by=None)
    fit_and_map(prepared, run)
