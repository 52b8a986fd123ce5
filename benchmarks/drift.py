"""Does the watch for changes keep its promise, and how many pictures does it need to notice a change?

``python benchmarks/drift.py --run RUN --output drift.md``; RUN is a run that was trained on generated pictures of
``--subset`` in ``--size``. Without it no network is asked: only light, contrast, sharpness, colour, place and the share
called defective are watched, as a classifier that is right in 97 of 100 pictures would call them. Its network is run
once on a pool of other generated pictures, clean and changed; streams are drawn from the pool, so that many months cost
little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import common
import cv2
import numpy as np
import numpy.typing as npt
import typer

from weakspot.data import synthetic
from weakspot.data.images import list_images, read_image
from weakspot.data.looks import measure_look
from weakspot.drift.alarm import LOOK_AT
from weakspot.drift.monitor import FALSE_ALARM_IN, Monitor
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.familiarity import PLAIN, UNLIKE, plain_measures
from weakspot.types import ANOMALY, GOOD, ImageArray, Prediction
from weakspot.utils.spread import spread_evenly

ThumbnailArray = npt.NDArray[np.uint8]

CLEAN = 500
"""Pictures before the change."""

WRONG = 0.03
"""Share of wrong classes without a network."""

PATIENCE = 2000
"""Pictures after it that are waited for an alarm at most."""


@dataclass(frozen=True)
class Pool:
    """Predictions to draw streams from."""

    good: Sequence[Prediction]
    defective: Sequence[Prediction]

    def draw(self, share: float, random: np.random.Generator) -> Prediction:
        """One picture, defective with that probability."""
        side = self.defective if random.random() < share else self.good
        return side[int(random.integers(len(side)))]


def dimmed(image: ImageArray) -> ImageArray:
    """A lamp that gives 10 % less."""
    return np.asarray(np.rint(image * 0.9), dtype=np.uint8)


def softened(image: ImageArray) -> ImageArray:
    """A focus that is a little off: a Gaussian of 0.7 pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7), dtype=np.uint8)


def shifted(image: ImageArray) -> ImageArray:
    """A part that lies 5 % of the picture's width to the right."""
    move = np.array([[1, 0, 0.05 * image.shape[1]], [0, 1, 0]], dtype=np.float32)
    moved = cv2.warpAffine(image, move, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8)


CHANGES: dict[str, Callable[[ImageArray], ImageArray]] = {
    "the lamp gives 10 % less light": dimmed,
    "the focus softens (Gaussian of 0.7 pixels)": softened,
    "the part shifts by 5 % of the width": shifted,
}


def main(
    run: Annotated[Path | None, typer.Option(help="A run trained on generated pictures; none asks no network.")] = None,
    subset: Annotated[str, typer.Option(help="Product that the run was trained on.")] = "gear",
    other: Annotated[str, typer.Option(help="New product.")] = "brushed_metal",
    size: Annotated[tuple[int, int], typer.Option(help="Height and width of the pictures.")] = (112, 120),
    good: Annotated[int, typer.Option(help="Good pictures that are generated for the pool.")] = 240,
    defect: Annotated[int, typer.Option(help="Pictures of each defect type that are generated for it.")] = 8,
    most: Annotated[int, typer.Option(help="Pictures of the pool that are used at most.")] = 140,
    share: Annotated[float, typer.Option(help="Share of defective pictures.")] = 0.05,
    months: Annotated[int, typer.Option(help="Clean months.")] = 20,
    pictures: Annotated[int, typer.Option(help="Pictures of a month.")] = 3000,
    seeds: Annotated[int, typer.Option(help="Streams for each change.")] = 20,
    pool_folder: Annotated[Path | None, typer.Option("--pool", help="Keep the pool's pictures here.")] = None,
    output: Annotated[Path | None, typer.Option(help="File for the report.")] = None,
) -> None:
    """Measure false alarms and delays."""
    localizer = None if run is None else Localizer.load(run, "cpu")
    with TemporaryDirectory() as scratch:
        root = pool_folder or Path(scratch)
        folder = synthetic.ensure(root, subset, seed=6, good=good, defect=defect, size=size)
        foreign = synthetic.ensure(root, other, seed=6, good=40, defect=1, size=size)
        clean = pooled(localizer, folder, most)
        changed = {name: pooled(localizer, folder, most, change) for name, change in CHANGES.items()}
        new = pooled(localizer, foreign, most)
    changed["a new product appears"] = Pool(new.good, new.good)
    alarms = sum(month(localizer, clean, share, seed, pictures) for seed in range(months))
    rows = [delays(localizer, clean, pool, name, share, share, seeds) for name, pool in changed.items()]
    rows.append(delays(localizer, clean, clean, "defects become 3 times as frequent", share, 3 * share, seeds))
    unlike = (
        []
        if localizer is None
        else [
            (name, sum(p.unlike_training for p in pool.good) / len(pool.good))
            for name, pool in {"clean": clean, **changed}.items()
        ]
    )
    blocks = [
        f"A pool of {len(clean.good)} Good and {len(clean.defective)} defective pictures of `{subset}`, "
        f"{size[0]}×{size[1]} pixels; {share:.0%} of a stream are defective. Promise: within n pictures the chance of "
        f"a false alarm is at most n / {FALSE_ALARM_IN:,}.",
        f"**{months} clean months of {pictures:,} pictures: {alarms} false alarms** (at most "
        f"{months * pictures / FALSE_ALARM_IN:g} expected).",
        common.table(
            [f"change after {CLEAN} pictures", "noticed", "pictures until the alarm, median (range)", "named first"],
            rows,
        ),
    ]
    if unlike:
        blocks.append(common.table(["Good pictures", f"called {UNLIKE}"], [(n, f"{s:.1%}") for n, s in unlike]))
    failure = "more false alarms than promised" if alarms > 3 + 2 * months * pictures / FALSE_ALARM_IN else ""
    common.report("The watch for changes", blocks, output, failure)


def pooled(
    localizer: Localizer | None,
    folder: Path,
    most: int,
    change: Callable[[ImageArray], ImageArray] = lambda image: image,
) -> Pool:
    """Predictions for all pictures of a data set, each changed before it is looked at."""
    paths = spread_evenly([path for path in list_images(folder) if "ground_truth" not in path.parts], most)
    images = (change(read_image(path)) for path in paths)
    found = unseen(paths, images) if localizer is None else list(localizer.predict(images))
    sides: dict[bool, list[Prediction]] = {True: [], False: []}
    for path, prediction in zip(paths, found, strict=True):
        sides[path.parent.name == "good"].append(prediction)
    return Pool(sides[True], sides[False])


def unseen(paths: Sequence[Path], images: Iterable[ImageArray]) -> list[Prediction]:
    """Predictions without a network: looks and places are measured, classes drawn."""
    random, looks = np.random.default_rng(0), [measure_look(image) for image in images]
    template = read_template(paths)
    found = []
    for path, look in zip(paths, looks, strict=True):
        defective = (path.parent.name != "good") != (random.random() < WRONG)
        measures = dict(zip(PLAIN, plain_measures(look, template).tolist(), strict=True))
        chance = random.beta(8, 2) if defective else random.beta(2, 8)
        label = ANOMALY if defective else GOOD
        found.append(Prediction(path, label=label, probability=float(chance), measures=measures))
    return found


def read_template(paths: Sequence[Path]) -> ThumbnailArray:
    """The mean thumbnail of the pictures as they are."""
    thumbnails = [measure_look(read_image(path)).thumbnail for path in paths]
    return np.asarray(np.mean(thumbnails, axis=0).round(), dtype=np.uint8)


def month(localizer: Localizer | None, pool: Pool, share: float, seed: int, pictures: int) -> int:
    """Alarms of a stream in which nothing changes."""
    monitor, random = (
        Monitor(None if localizer is None else localizer.meta.familiarity, seed=seed),
        np.random.default_rng((1, seed)),
    )
    for _ in range(pictures):
        monitor.feed(pool.draw(share, random))
    for alarm in monitor.alarms:
        common.say(f"month {seed}: {alarm.words}")
    return len(monitor.alarms)


def delays(
    localizer: Localizer | None, before: Pool, after: Pool, name: str, share: float, share_after: float, seeds: int
) -> tuple[str, str, str, str]:
    """Of streams that change: how many were noticed, after how many pictures, and what was named first."""
    found, named = list[int](), Counter[str]()
    for seed in range(seeds):
        monitor, random = (
            Monitor(None if localizer is None else localizer.meta.familiarity, seed=seed),
            np.random.default_rng((2, seed)),
        )
        for _ in range(CLEAN):
            monitor.feed(before.draw(share, random))
        early = len(monitor.alarms)
        for delay in range(1, PATIENCE + 1):
            monitor.feed(after.draw(share_after, random))
            if len(monitor.alarms) > early:
                found.append(delay)
                named[monitor.alarms[-1].changes[0].measure] += 1
                break
    common.say(f"{name}: {sorted(found)} {dict(named)}")
    told = f"{median(found):g} ({min(found)} – {max(found)})" if found else f"none within {PATIENCE:,}"
    first = ", ".join(f"{measure} {count}" for measure, count in named.most_common())
    assert all(measure in LOOK_AT for measure in named)  # noqa: S101
    return name, f"{len(found)} of {seeds}", told, first


if __name__ == "__main__":
    typer.run(main)
