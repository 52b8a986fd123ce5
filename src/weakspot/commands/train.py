"""Train on image labels, draw boxes on the test subset, and measure them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weakspot.commands.alarms import raise_alarms
from weakspot.commands.resolve import resolve, with_backbone
from weakspot.commands.results import MeasuredRun, measure_run, write_results
from weakspot.commands.thresholds import calibrate
from weakspot.config.schema import TrainConfig, with_values, write_config
from weakspot.data.corrections import as_files, learnt_from_words
from weakspot.data.left_out import left_out, left_out_words
from weakspot.data.roi_files import AUTO
from weakspot.data.splits import write_split
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.models.bundle import save_bundle
from weakspot.models.bundle_meta import read_meta, rewrite_meta
from weakspot.report.pairs import write_pairs
from weakspot.report.run_report import read_evaluated, write_report
from weakspot.runs.folder import (
    RunFolder,
    adopt_fit,
    adopt_stages,
    find_finished,
    find_fit,
    open_run,
    own_test_subset,
    parent_folder,
)
from weakspot.runs.identity import fit_identity, run_identity
from weakspot.runs.latest import note_latest
from weakspot.runs.log import logging_to
from weakspot.training.announce import agenda_of, announcement
from weakspot.training.prepare import PreparedRun, prepare
from weakspot.training.stages import FittedRun, bundle_meta, fit_and_infer
from weakspot.utils import console
from weakspot.utils.files import write_json
from weakspot.utils.locks import alone

log = logging.getLogger(__name__)


def train(config: TrainConfig, *before: RunFolder) -> RunFolder:
    """Train on image labels, then draw boxes on the test subset and measure them.

    Finished work is not repeated: a finished run with the same settings is returned as it is (unless ``output`` names
    another folder), frozen features come from the cache, a model that was already fitted from the same data, split,
    network and settings is taken over, and an interrupted run goes on from its last epoch.

    Args:
        config: what ``conf/train.yaml`` and its groups compose to; it stays as it is.
        before: runs that may know already what image labels alone teach, besides those under ``outputs/`` and beside
            this one; a run that does not fit is passed over.

    Returns:
        The run folder, complete.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    config = with_backbone(config)
    prepared = prepare(resolve(config))
    for remark in (*_of_other_files(config, prepared), *prepared.remarks):
        console.remark(remark)
    if prepared.data.corrections.any:
        console.remark(learnt_from_words(prepared.data.corrections.counts))
    fit_hash, run_hash = _identities(config, prepared)
    with _reserved(config, run_hash):
        finished = _finished(config, run_hash)
        if finished:
            note_latest(finished)
            return finished
        run = open_run(config, run_hash)
        run.update_identity(run=run_hash, fit=fit_hash)  # first, so that the folder is found again
        with alone(run.path) if config.output is None else nullcontext(), logging_to(run.log):
            log.info("pre-trained weights: %s", prepared.weights.origin)
            config = with_values(config, _whole_paths(config, prepared))
            _write_inputs(run, config, prepared)
            with alone(parent_folder(config), fit_hash):
                _fit_or_adopt(config, prepared, run, fit_hash, before)
            store, samples = own_test_subset(run)
            meta = calibrate(read_meta(run.bundle), prepared.rules.boxes, config.decision, run)
            rewrite_meta(run.bundle, meta)
            subset = EvaluatedSubset.predict(samples, store, meta)
            raised = raise_alarms(prepared, subset, run)
            run.update_identity(alarms=[alarm.to_dict() for alarm in raised.alarms], notes=list(raised.notes))
            measured = measure_run(
                MeasuredRun(config, subset, run.read_identity(), prepared.data.subsets, raised=raised),
                erasing=run if run.erasure_due else None,
            )
            write_results(run, measured)
    note_latest(run)
    return run


def _of_other_files(config: TrainConfig, prepared: PreparedRun) -> list[str]:
    """What lies among the pictures and is none; a table says itself what is meant."""
    if config.data.layout in ("manifest", "synthetic"):
        return []
    line = left_out_words(left_out(prepared.data.root / (config.data.subset or "")))
    return [line] if line else []


def _whole_paths(config: TrainConfig, prepared: PreparedRun) -> dict[str, Any]:
    """Folders and files of the configuration as they are called from anywhere."""
    found: dict[str, Any] = {"data.root": str(prepared.data.root.resolve())}
    if config.data.annotations is not None:
        found["data.annotations"] = [str(path.resolve()) for path in as_files(config.data.annotations)]
    if config.data.roi not in (None, AUTO):
        found["data.roi"] = str(Path(str(config.data.roi)).expanduser().resolve())
    return found


def _identities(config: TrainConfig, prepared: PreparedRun) -> tuple[str, str]:
    """What identifies the model, and the whole run."""
    data = prepared.data
    fit_hash = _fit_hash(config, prepared, data.corrections.identity(data.infos) if data.corrections.drawn else None)
    return fit_hash, run_identity(config, fit_hash, data.truth_hash)


def _fit_hash(config: TrainConfig, prepared: PreparedRun, drawn: str | None) -> str:
    return fit_identity(
        config,
        prepared.preprocess,
        prepared.data.data_hash,
        prepared.data.split_hash,
        prepared.weights.sha256,
        crossfit=prepared.crossfits,
        drawn=drawn,
    )


@contextmanager
def _reserved(config: TrainConfig, run_hash: str) -> Iterator[None]:
    """Whoever writes to the same folder waits, and so does whoever makes the same run wherever that will be."""
    named = config.output is not None
    with alone(Path(str(config.output)) if named else parent_folder(config), "" if named else run_hash):
        yield


def _finished(config: TrainConfig, run_hash: str) -> RunFolder | None:
    """A finished run of the same settings, with its report, where one may be taken."""
    finished = find_finished(config, run_hash) if config.reuse and config.output is None else None
    if finished:
        console.err.print(f"nothing to do: {finished.path} is the same run (reuse=false trains again)", style="dim")
        if not finished.report.is_file():
            write_report(read_evaluated(finished.path))
    return finished


def _write_inputs(run: RunFolder, config: TrainConfig, prepared: PreparedRun) -> None:
    """Write down what the run works on: configuration, split, near-duplicates, hashes."""
    data = prepared.data
    write_config(run.config, config)
    write_split(run.split, data.samples, data.subsets, data.root)
    if data.near_duplicates is not None and data.near_duplicates.any:
        write_pairs(run.figures / "near_duplicates.png", data.samples, data.near_duplicates)
    groups = data.groups
    run.update_identity(
        data=data.data_hash,
        truth=data.truth_hash,
        split=data.split_hash,
        identical_across_subsets=data.identical_across_subsets,
        leakage=data.leakage(),
        validation_groups=[groups[i] for i in prepared.validation_images],
        learnt_from=data.corrections.counts if data.corrections.any else {},
        seen=sorted(info.sha256 for info, subset in zip(data.infos, data.subsets, strict=True) if subset != "test"),
    )


def _fit_or_adopt(
    config: TrainConfig, prepared: PreparedRun, run: RunFolder, fit_hash: str, before: Sequence[RunFolder]
) -> None:
    """Give the run a model and outputs: its own, those of a run with the same data, split and settings, or new ones."""
    donor = find_fit(fit_hash, run) if config.reuse else None
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
    of_labels = _labels_only(config, prepared, run, before)
    if of_labels is not None and adopt_stages(run, of_labels):
        console.err.print(
            f"{of_labels.path} was trained on the same labels: what was drawn is learnt on top", style="dim"
        )
    checkpoints = run.checkpoint.parent
    agenda = agenda_of(prepared, checkpoints)
    console.err.print(announcement(prepared, agenda, checkpoints))
    with console.following(agenda):
        _save_fit(run, prepared, fit_and_infer(prepared, run.path))


def _labels_only(
    config: TrainConfig, prepared: PreparedRun, run: RunFolder, before: Sequence[RunFolder]
) -> RunFolder | None:
    """A finished run that differs in what was drawn alone; None where nothing was drawn, or there is none."""
    if not prepared.data.corrections.drawn:
        return None
    wanted = _fit_hash(config, prepared, None)
    run.update_identity(of_labels=wanted)
    if not config.reuse:
        return None
    corrected = (each for each in before if each.read_identity().get("of_labels") == wanted)
    return find_fit(wanted, run, *before) or next(corrected, None)


def _save_fit(run: RunFolder, prepared: PreparedRun, fitted: FittedRun) -> None:
    """Write bundle and outputs; ``maps.npz`` last, so that what has it is whole."""
    data = prepared.data
    run.update_identity(train={"images": len(data.indices("train")), **asdict(fitted.summary)})
    save_bundle(run.bundle, fitted.model, bundle_meta(prepared, fitted.model, fitted.familiarity))
    held_out = fitted.held_out
    if held_out is not None:
        targets = [data.targets[i] for i in prepared.validation_images]
        write_json(run.validation, {"logits": held_out.logits, "targets": targets})
        if held_out.good is not None:
            held_out.good.save(run.calibration)
        if held_out.imitated is not None:
            held_out.imitated.save(run.imitations)
        if held_out.drawn is not None:
            held_out.drawn.save(run.drawn)
    fitted.test.save(run.maps)
