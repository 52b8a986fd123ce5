"""Controls of a measurement: guesses that know nothing of the image, boxes of other images, shuffled labels.

A result that a control reaches as well proves nothing about the images; it raises an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from weakspot.evaluation.schema import Alarm, BorderEvidence
from weakspot.evaluation.subsets import EvaluatedImages
from weakspot.evaluation.truth import levels_reached
from weakspot.metrics import centre_box, proportion, random_box, whole_image_box
from weakspot.metrics.intervals import Estimate
from weakspot.metrics.paired import balancing_weights, paired_difference
from weakspot.metrics.results import LocalisationResult
from weakspot.metrics.unvarying import mean_of_shares
from weakspot.ops.maps import Maps, combined_map, margin_map
from weakspot.postprocess.boxes import boxes_array
from weakspot.types import GOOD, ModelOutput, Prediction, Size

BORDER = 0.1
"""Width of the frame that counts as border, as a share of each side."""

P_VALUE = 0.01
SHUFFLES = 1000

BOX_P_VALUE = 0.05
"""Boxes that beat what knows nothing of the image with this certainty raise no alarm; few images allow no more."""

BETTER = " (experiment=recommended draws better ones than plain class maps)"

FEWEST = 10
"""With fewer images, boxes and the border raise no alarm."""


def box_controls(images: EvaluatedImages) -> tuple[dict[str, LocalisationResult], list[Alarm]]:
    """Measure boxes that know nothing of their image, drawn on every image with a mask.

    Args:
        images: some of them with a mask.

    Returns:
        ``whole_image``, ``centre_box``, ``random_box`` and ``shuffled_boxes`` (each image gets the boxes of another one
        with a mask); and an alarm where the predicted boxes do not beat the best of them.
    """
    truth, rng = images.truth, np.random.default_rng(0)
    sizes = [_size(row) for row in truth.sizes]
    know_nothing: dict[str, Callable[[Size], npt.NDArray[np.float64]]]
    know_nothing = {
        "whole_image": whole_image_box,
        "centre_box": centre_box,
        "random_box": partial(random_box, rng=rng),
    }
    guesses = {name: [guess(size) for size in sizes] for name, guess in know_nothing.items()}
    if len(truth.with_boxes) > 1:
        guesses["shuffled_boxes"] = shuffled_boxes(images.predictions, truth.with_boxes, rng)
    return {name: truth.localise(boxes) for name, boxes in guesses.items()}, _box_alarm(images, guesses)


def shuffled_boxes(
    predictions: Sequence[Prediction], among: Sequence[int], rng: np.random.Generator
) -> list[npt.NDArray[np.float64]]:
    """Give each prediction the boxes of another one, at the same place relative to the image's size.

    Args:
        predictions: of all images.
        among: positions of the predictions that exchange their boxes, at least two; the others get none.
        rng: draws which prediction gets whose boxes; none keeps its own.

    Returns:
        Boxes ``(n, 4)`` for each prediction, in pixels of its image.
    """
    order = rng.permutation(len(among))
    result: list[npt.NDArray[np.float64]] = [np.zeros((0, 4)) for _ in predictions]
    for position, following in zip(order, np.roll(order, -1), strict=True):
        here, other = predictions[among[position]], predictions[among[following]]
        scale = np.array([here.width / other.width, here.height / other.height] * 2)
        result[among[position]] = boxes_array(other.boxes) * scale
    return result


def _box_alarm(images: EvaluatedImages, guesses: dict[str, list[npt.NDArray[np.float64]]]) -> list[Alarm]:
    truth, known = images.truth, images.truth.with_boxes
    refined = all(subset.store.mask_logits is not None for subset in images.subsets)
    if len(known) < FEWEST:
        return []

    def reached(boxes: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        return np.array([levels_reached(boxes[i], truth.boxes[i]) for i in known])

    scores = {name: reached(boxes) for name, boxes in guesses.items()}
    name = max(scores, key=lambda key: float(scores[key].mean()))
    groups = [images.groups[i] for i in known]
    found = paired_difference(scores[name], reached(images.boxes), groups, np.zeros(len(known)))
    if found.difference.value > 0 and found.p_value <= BOX_P_VALUE:
        return []
    return [
        Alarm(
            f"V2 of the boxes is {found.second:.3f}, that of the {name.replace('_', ' ')} {found.first:.3f} "
            f"(n = {len(known)}, p = {found.p_value:.3f})",
            "boxes that know nothing of the image fit about as well",
            "use the class, not the boxes" + ("" if refined else BETTER),
        )
    ]


def shuffled_labels(images: EvaluatedImages) -> tuple[Estimate | None, list[Alarm]]:
    """Measure the balanced accuracy of the same decisions against shuffled labels.

    Images of a group keep together, but for a group that shows both classes (a part photographed before and after it
    was damaged): there the labels are shuffled inside it, since swapping whole groups would change nothing.

    Args:
        images: with their labels and decisions.

    Returns:
        Mean and middle 95 % over the shuffles (None where all images have one label); and an alarm where the true
        labels give no higher balanced accuracy than 99 % of the shuffles.
    """
    targets, decided = images.targets(), images.decided()
    if len(set(targets.tolist())) < 2:
        return None, []
    rng = np.random.default_rng(0)
    shuffled = np.array([_balanced_accuracy(*shuffle) for shuffle in _shuffles(targets, decided, images.groups, rng)])
    low, high = (float(quantile) for quantile in np.quantile(shuffled, [0.025, 0.975]))
    measured = _balanced_accuracy(targets, decided)
    p_value = float((1 + (shuffled >= measured - 1e-12).sum()) / (1 + SHUFFLES))
    control = Estimate(float(shuffled.mean()), len(targets), low, high)
    if p_value <= P_VALUE:
        return control, []
    seen = f"balanced accuracy is {measured:.3f}; with shuffled labels it would lie between {low:.3f} and {high:.3f}"
    means, cure = "it cannot be shown that the classes are told apart at all", "use more pictures or larger ones"
    if len(set((decided != 0).tolist())) < 2:
        seen = f"all {len(decided)} pictures are called {'defective' if decided[0] else 'Good'}; {seen}"
        cure += ", or decide by other costs (decision.miss, decision.false_alarm, decision.recall)"
    return control, [Alarm(f"{seen} (p = {p_value:.3f})", means, f"check the labels (weakspot check), {cure}")]


def _shuffles(
    targets: npt.NDArray[np.int64], decided: npt.NDArray[np.int64], groups: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Shuffled targets and, in the same order, decisions, :data:`SHUFFLES` times."""
    numbers = np.array(groups)
    members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    mixed = [group for group in members if len(set(targets[group].tolist())) > 1]
    pure = [group for group in members if len(set(targets[group].tolist())) == 1]
    order = np.concatenate([*pure, *mixed])
    for _ in range(SHUFFLES):
        between = [pure[i] for i in rng.permutation(len(pure))]
        inside = [rng.permutation(group) for group in mixed]
        yield targets[np.concatenate([*between, *inside])], decided[order]


def _balanced_accuracy(targets: npt.NDArray[np.int64], decided: npt.NDArray[np.int64]) -> float:
    return float((balancing_weights(targets) * (targets == decided)).sum())


def border_evidence(images: EvaluatedImages) -> tuple[BorderEvidence | None, list[Alarm]]:
    """Measure how much of the evidence lies in the frame along the border, a :data:`BORDER` of each side wide.

    Args:
        images: those called Good are left out.

    Returns:
        The measurement, None with too few images; and an alarm where two thirds of the images have their strongest
        evidence in the frame and chance alone does not explain that.
    """
    called = [i for i, prediction in enumerate(images.predictions) if prediction.label != GOOD]
    found = [_in_frame(mass) for i in called if (mass := _evidence_mass(images.output(i))) is not None]
    if len(found) < FEWEST:
        return None, []
    shares, peaks = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
    area, hits = 1 - (1 - 2 * BORDER) ** 2, int(peaks.sum())
    p_value = float(binomtest(hits, len(peaks), area, alternative="greater").pvalue)
    control = BorderEvidence(mean_of_shares(shares), proportion(hits, len(peaks)), area, p_value)
    if not control.striking:
        return control, []
    alarm = Alarm(
        f"in {hits} of {len(peaks)} images called defective the strongest evidence lies within {BORDER:.0%} of "
        f"the border (chance: {area:.0%})",
        "parts are seldom defective there, backgrounds and frames often differ there",
        "look at the overlays; if the defects are elsewhere, crop the border or photograph the classes alike",
    )
    return control, [alarm]


def _evidence_mass(output: ModelOutput) -> Maps | None:
    """Evidence 0 and above, ``(h, w)``, of an image called defective; None where there is none."""
    if output.mask_logits is not None and output.location_logits is not None:
        mass: Maps = np.exp(combined_map(output.mask_logits, output.location_logits, output.logits))
    else:
        mass = np.maximum(margin_map(output.maps, output.likeliest_defect), 0)
    return mass if mass.sum() > 0 else None


def _in_frame(mass: Maps) -> tuple[float, float]:
    """Share of the mass in the frame, whose edge may cut through cells, and whether the peak is there (0 or 1)."""
    inside = np.outer(*(_inner_share(side) for side in mass.shape))
    peak = np.unravel_index(int(mass.argmax()), mass.shape)
    return float((mass * (1 - inside)).sum() / mass.sum()), float(inside[peak] < 0.5 - 1e-9)


def _inner_share(cells: int) -> npt.NDArray[np.float64]:
    """Of each of `cells` along a side, how much lies inside the frame: ``(cells,)``, 0…1."""
    edges = np.arange(cells + 1) / cells
    return np.asarray(np.diff(np.clip(edges, BORDER, 1 - BORDER)) * cells)


def _size(row: npt.NDArray[np.int64]) -> Size:
    return int(row[0]), int(row[1])
