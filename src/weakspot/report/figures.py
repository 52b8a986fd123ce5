"""Figures of an evaluation with matplotlib: confusion matrix, gallery, threshold curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from weakspot.config.rules import BoxRule
from weakspot.data.images import read_image, read_mask
from weakspot.data.preprocess import fit_within
from weakspot.evaluation.schema import CalibrationResult, Measurement
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.metrics import IOU_LEVELS, best_iou, mask_boxes
from weakspot.metrics.results import ConfusionMatrix, TrustResult
from weakspot.ops.maps import class_map, margin_map, shown_map
from weakspot.postprocess.boxes import boxes_array
from weakspot.report.glyphs import any_name, drawable
from weakspot.report.overlays import BOX_COLOUR, LEGEND, TRUST_COLOURS, blend, draw
from weakspot.types import GOOD, BoolArray, FloatArray, ModelOutput, Prediction, Sample
from weakspot.utils.files import atomic_path

GALLERY_SIZE = 12


NAMES = ("confusion_matrix", "reliability", "gallery", "threshold", "trust", "training")


def write_figures(
    folder: Path,
    subset: EvaluatedSubset,
    measurement: Measurement,
    history: Sequence[Mapping[str, float]] = (),
) -> list[Path]:
    """Write every figure that the data allow as PNG, and drawings as SVG too; returns their paths.

    Args:
        folder: where the files go.
        subset: labels, masks and predictions.
        measurement: of that subset.
        history: what was logged in each epoch of training; empty where the model was not trained here.
    """
    samples, predictions, test = subset.samples, subset.predictions, measurement.test
    shown = choose(predictions, samples, GALLERY_SIZE)
    figures = {
        "confusion_matrix": confusion_figure(test.classification.confusion_matrix),
        "reliability": reliability_figure(test.calibration),
        "gallery": gallery_figure((subset.with_output(i) for i in shown), [samples[i] for i in shown]),
    }
    if measurement.curve:
        figures["threshold"] = threshold_figure(measurement, subset.meta.boxes)
    if test.localisation is not None and test.localisation.trust.boxes:
        figures["trust"] = trust_figure(test.localisation.trust)
    if history:
        figures["training"] = training_figure(history)
    for name in NAMES:
        if name not in figures:  # of an earlier evaluation
            for suffix in (".png", ".svg"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
    return [path for name, figure in figures.items() for path in _write(folder / name, figure, drawn=name != "gallery")]


@any_name()
def _write(path: Path, figure: Figure, *, drawn: bool) -> list[Path]:
    """A figure as PNG and, where it is drawn rather than made of pictures, as SVG for papers."""
    # Each canvas draws once; Figure.savefig draws twice, and laying out is most of the work. A layout once made stays.
    figure.set_dpi(110)
    with atomic_path(path.with_suffix(".png")) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, pil_kwargs={"compress_level": 2})  # type: ignore[no-untyped-call]
    if not drawn:
        return [path.with_suffix(".png")]
    figure.set_layout_engine("none")
    # The same figure is the same file: no date, and names of its parts that do not come from a random number.
    with atomic_path(path.with_suffix(".svg")) as temporary, mpl.rc_context({"svg.hashsalt": "weakspot"}):
        FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return [path.with_suffix(".png"), path.with_suffix(".svg")]


def training_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and balanced accuracy of every epoch, for the training subset and, where there is one, for validation.

    Args:
        history: an entry an epoch, with ``epoch`` and what was logged (``train/loss``, ``val/balanced_accuracy``, …).
    """
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    epochs = [int(entry["epoch"]) for entry in history]
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "balanced_accuracy"), strict=True):
        for subset, colour, name in (("train", "#0072b2", "training subset"), ("val", "#d55e00", "validation subset")):
            values = [entry.get(f"{subset}/{measure}") for entry in history]
            if any(value is not None for value in values):
                axes.plot(epochs, [np.nan if v is None else v for v in values], marker="o", color=colour, label=name)
        axes.set(xlabel="epoch", ylabel=measure.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(bottom=0, top=None if measure == "loss" else 1.02)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    return figure


def reliability_figure(calibration: CalibrationResult) -> Figure:
    """Accuracy against confidence; on the diagonal, a confidence of 80 % is right for 80 of 100 images."""
    figure = Figure(figsize=(3.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    if calibration.reliability:
        confidence, right, _ = np.array(calibration.reliability, dtype=float).T
        axes.plot(confidence, right, marker="o", color="#0072b2")
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(f"{calibration.n} images, calibration error {calibration.ece:.3f}", fontsize=9)
    return figure


def trust_figure(trust: TrustResult) -> Figure:
    """Every box's IoU against its trust, and the mean IoU of each tenth of the boxes."""
    values = np.array(trust.boxes, dtype=float)
    values = values[np.argsort(values[:, 0], kind="stable")]
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(values[:, 0], values[:, 1], s=10, color="0.6", label="a box")
    tenths = [tenth.mean(axis=0) for tenth in np.array_split(values, min(10, len(values)))]
    axes.plot(*np.array(tenths).T, marker="o", color="#0072b2", label="mean of a tenth of them")
    axes.axhline(0.5, color="0.7", linestyle=":", linewidth=1)
    found = trust.rank_correlation
    axes.set(xlabel="trust", ylabel="IoU with the nearest true box", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"{found.n} boxes, rank correlation {found.value:.2f}", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    return figure


def confusion_figure(matrix: ConfusionMatrix) -> Figure:
    """The confusion matrix: rows are true classes, columns predicted ones."""
    labels, counts = [drawable(label) for label in matrix.labels], matrix.counts
    side = 2.2 + 0.7 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(counts, cmap="Blues", vmin=0)
    limit = max(max(row) for row in counts) / 2
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            axes.text(j, i, str(count), ha="center", va="center", color="white" if count > limit else "black")
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=f"test subset, n = {sum(map(sum, counts))}")
    return figure


@any_name()
def gallery_figure(predictions: Iterable[Prediction], samples: Sequence[Sample], columns: int = 4) -> Figure:
    """Show pictures with map, true outlines (white) and predicted boxes in the colours of their trust.

    Args:
        predictions: with their maps; they are drawn one after another, so that a generator keeps memory low.
        samples: the same images' labels and masks, in the same order.
        columns: pictures in a row.
    """
    columns = max(1, min(columns, len(samples)))
    rows = max(1, -(-len(samples) // columns))
    figure = Figure(figsize=(3.2 * columns, 3.0 * rows), layout="constrained")
    for position, (prediction, sample) in enumerate(zip(predictions, samples, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, position)
        image = read_image(sample.path)
        mask = read_mask(sample.mask, image.shape[:2]) if sample.mask else None
        small = fit_within(image, 640)
        # Scaled to its own range, the map of a Good part called Good would glow like a defect's.
        output = None if sample.is_good and prediction.label == GOOD else prediction.output
        shown = small if output is None else blend(small, shown_map(output))
        axes.imshow(draw(shown, prediction.boxes, prediction.size, mask, scores=False))
        axes.set_title(_verdict(prediction, sample, mask), fontsize=7)
        axes.set_axis_off()
    if not samples:
        figure.add_subplot().set_axis_off()
        figure.text(0.5, 0.5, "no such image", ha="center")
    figure.suptitle("map, predicted boxes, true outline (white)", fontsize=10)
    _add_legend(figure)
    return figure


def samples_figure(samples: Sequence[Sample], of_each: int = 4) -> Figure:
    """Show pictures of every defect type, Good first, with the true outline in white.

    Args:
        samples: of a data set.
        of_each: number of pictures of each type; the first ones are taken.
    """
    names = sorted({sample.defect for sample in samples}, key=lambda name: (name != GOOD, name))
    figure = Figure(figsize=(2.6 * of_each, 2.2 * len(names)), layout="constrained")
    for row, axes in zip(names, figure.subplots(len(names), of_each, squeeze=False), strict=True):
        own = [sample for sample in samples if sample.defect == row]
        for axis in axes:
            axis.set_axis_off()
        for axis, sample in zip(axes, own, strict=False):
            image = read_image(sample.path)
            mask = read_mask(sample.mask, image.shape[:2]) if sample.mask else None
            axis.imshow(draw(fit_within(image, 320), (), (image.shape[0], image.shape[1]), mask))
        axes[0].set_title(f"{drawable(row)}, {len(own)}", fontsize=9, loc="left")
    return figure


def maps_figure(predictions: Sequence[Prediction], samples: Sequence[Sample]) -> Figure:
    """Show every map of a forward pass beside its picture; each is scaled to its own range, which stands above it.

    Args:
        predictions: with their maps.
        samples: the same images' labels and masks, in the same order.
    """
    rows = [
        (prediction, sample, _maps(prediction.output)) for prediction, sample in zip(predictions, samples, strict=True)
    ]
    figure = Figure(figsize=(12, 2.7 * max(1, len(rows))), layout="constrained")
    if not rows:
        figure.text(0.5, 0.5, "no such image", ha="center")
        return figure
    grid = figure.subplots(len(rows), 1 + len(rows[0][2]), squeeze=False)
    for axes, (prediction, sample, maps) in zip(grid, rows, strict=True):
        image = read_image(sample.path)
        mask = read_mask(sample.mask, image.shape[:2]) if sample.mask else None
        small = fit_within(image, 400)
        axes[0].imshow(draw(small, prediction.boxes, prediction.size, mask, scores=False))
        axes[0].set_title(_verdict(prediction, sample, mask), fontsize=7)
        for axis, (name, map_) in zip(axes[1:], maps.items(), strict=True):
            axis.imshow(blend(small, map_))
            axis.set_title(f"{name}: {map_.min():.1f} … {map_.max():.1f}", fontsize=7)
        for axis in axes:
            axis.set_axis_off()
    _add_legend(figure)
    return figure


def _add_legend(figure: Figure) -> None:
    """What the colours of boxes mean, below everything."""
    handles = [
        Line2D([], [], color=_hex(TRUST_COLOURS[name]), linewidth=3, label=words) for name, words in LEGEND.items()
    ]
    handles.append(Line2D([], [], color=_hex(BOX_COLOUR), linewidth=3, label="trust unknown"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=7, frameon=False)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _maps(output: ModelOutput | None) -> dict[str, FloatArray]:
    if output is None:
        return {}
    index = int(output.logits.argmax()) or output.likeliest_defect
    maps: dict[str, FloatArray] = {
        "class map": class_map(output.maps, index),
        "margin over Good": margin_map(output.maps, index),
    }
    if output.location_logits is not None and output.mask_logits is not None:
        maps |= {
            "location (log-odds)": output.location_logits.astype(np.float32),
            "mask (log-odds)": output.mask_logits.astype(np.float32),
        }
    return maps


def choose(predictions: Sequence[Prediction], samples: Sequence[Sample], count: int) -> list[int]:
    """Choose images worth showing: defect types and outcomes take turns, mistakes come before hits.

    Args:
        predictions: one for each image.
        samples: the same images' labels, in the same order.
        count: how many to choose at most.

    Returns:
        Positions of the chosen images; within a type and an outcome the most probable defects come first.
    """
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, (prediction, sample) in enumerate(zip(predictions, samples, strict=True)):
        groups.setdefault((sample.defect, prediction.label == prediction.target), []).append(i)
    for members in groups.values():
        members.sort(key=lambda i: -predictions[i].probability)
    # Defects before Good, mistakes before hits, so that a small gallery shows what matters.
    queues = [groups[key] for key in sorted(groups, key=lambda key: (key[0] == GOOD, key[1], key[0]))]
    chosen: list[int] = []
    while any(queues) and len(chosen) < count:
        chosen += [queue.pop(0) for queue in queues if queue]
    return chosen[:count]


def threshold_figure(measurement: Measurement, rule: BoxRule) -> Figure:
    """Box accuracy against the threshold; the threshold in use and the oracle's are marked.

    Args:
        measurement: with a threshold curve.
        rule: the box rule in use.

    Raises:
        ValueError: when there is no curve, because there are no masks.
    """
    curve, localisation = measurement.curve, measurement.test.localisation
    if curve is None or localisation is None:
        raise ValueError("there is no curve without masks")
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    colours = mpl.colormaps["viridis"]([0.0, 0.45, 0.8])
    at_levels = (curve.box_accuracy_30, curve.box_accuracy_50, curve.box_accuracy_70)
    for level, values, colour, style in zip(IOU_LEVELS, at_levels, colours, ("-", "--", ":"), strict=True):
        axes.plot(curve.thresholds, values, style, color=colour, label=f"IoU ≥ {level}")
    axes.plot(curve.thresholds, curve.mean_iou, color="tab:red", lw=1, label="mean IoU")
    axes.axvline(rule.threshold, color="black", lw=1, label=f"in use: {rule.threshold:g}")
    best = localisation.oracle_single_threshold
    axes.axvline(best, color="grey", lw=1, ls="-.", label=f"oracle (best on test): {best:.2f}")
    axes.set(
        xlabel=f"threshold ({rule.threshold_kind})",
        ylabel="share of images, IoU",
        ylim=(0, 1),
        title=f"images with a mask: {localisation.n}",
    )
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def _verdict(prediction: Prediction, sample: Sample, mask: BoolArray | None) -> str:
    text = f"{sample.path.parent.name}/{sample.path.name}\n"
    text += f"{sample.defect} → {prediction.label}, P(defect) {prediction.probability:.2f}"
    if mask is not None and mask.any():
        text += f", IoU {best_iou(boxes_array(prediction.boxes), mask_boxes(mask)):.2f}"
    return drawable(text)
