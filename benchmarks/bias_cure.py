"""Does the cure help? A bias is planted in every defect picture, and what learns from them is tested on others.

For each bias the same pictures are trained on three times: without the bias, with it, and with it and the cure that
the alarm names: ``trainer.augment=photometric`` for light, focus and files, ``data.roi`` without the place for places.
Balanced accuracy is measured on another generated set that has no bias; its interval is a bootstrap over its pictures,
within Good and defect, over all seeds together.

    python benchmarks/bias_cure.py                          # every bias, two seeds: about 40 minutes on 2 cores
    python benchmarks/bias_cure.py --bias gamma --seeds 1

Finished trainings are kept below ``--root`` and taken over by the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from common import OutputOption, WeightsOption, report, table, training_config

from weakspot.commands.train import train
from weakspot.data import synthetic
from weakspot.data.images import inspect_image
from weakspot.data.readers import read_samples
from weakspot.data.roi_files import write_polygons
from weakspot.data.synthetic.biases import BIASES
from weakspot.inference.localizer import Localizer
from weakspot.metrics.intervals import Estimate, bootstrap
from weakspot.runs.folder import RunFolder
from weakspot.types import GOOD, Sample
from weakspot.utils import console

FRAMES = {"background_grain": 0.12, "border_tint": 0.06}
"""Biases that a region of interest leaves out with a frame of this share of each side; the mark's corner is cut off."""

CORNER = 0.15
"""Share of each side that the corner with the mark takes up."""

PLACES = ("corner_mark", *FRAMES)

SET_UP = ("experiment=plain_cam", "data.image_size=128", "split.near_duplicates=ignore",
          "trainer.logger=csv", "trainer.stop_at_accuracy=null")  # fmt: skip


@dataclass
class Arm:
    """Targets and decisions of one way of training, over all seeds.

    Attributes:
        targets: True for a defect.
        decided: whether the picture was called defective.
    """

    targets: list[bool] = field(default_factory=list)
    decided: list[bool] = field(default_factory=list)

    def estimate(self) -> Estimate:
        """Balanced accuracy."""
        targets, decided = np.array(self.targets), np.array(self.decided)
        return bootstrap(balanced_accuracy, [targets, decided], strata=targets)


def balanced_accuracy(targets: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_]) -> float:
    """Mean of the shares of Good and of defect pictures that are decided rightly."""
    return float((decided[targets].mean() + (~decided[~targets]).mean()) / 2)


def add_run(arm: Arm, folder: Path, test: Sequence[Sample], weights: str, output: Path, *overrides: str) -> None:
    """Train on all of a data set but a fifth, unless that was done, and decide on the pictures of another one."""
    if not RunFolder(output).metrics.is_file():
        train(training_config(folder, weights, *SET_UP, f"output={output}", *overrides))
    predictions = Localizer.load(output).predict([sample.path for sample in test])
    for sample, prediction in zip(test, predictions, strict=True):
        arm.targets.append(not sample.is_good)
        arm.decided.append(prediction.label != GOOD)


def main(
    bias: Annotated[list[str] | None, typer.Option(help="Some of the biases; all when left out.")] = None,
    product: Annotated[str, typer.Option(help="Generated product.")] = "brushed_metal",
    seeds: Annotated[int, typer.Option(min=1, help="Number of generated sets for each bias.")] = 2,
    good: Annotated[int, typer.Option(min=10, help="Good pictures in each set.")] = 60,
    defect: Annotated[int, typer.Option(min=2, help="Pictures of each defect type in each set.")] = 12,
    root: Annotated[Path, typer.Option(help="Folder for pictures and runs.")] = Path("outputs/bias_cure"),
    weights: WeightsOption = "auto",
    output: OutputOption = None,
) -> None:
    """Print a table of balanced accuracies on pictures without the bias."""
    names = bias or list(BIASES)
    rows = []
    clean = Arm()
    arms = {name: (Arm(), Arm()) for name in names}
    with console.progress_bar("trainings", seeds * (1 + 2 * len(names))) as progress:
        done = 0
        for seed in range(seeds):
            test_folder = synthetic.ensure(root / f"test{seed}", product, seed=1000 + seed, good=good, defect=defect)
            test = read_samples("mvtec", test_folder)
            plain = synthetic.ensure(root / f"clean{seed}", product, seed=seed, good=good, defect=defect)
            first = read_samples("mvtec", plain)[0]
            add_run(clean, plain, test, weights, root / f"run-clean{seed}")
            progress(done := done + 1, seeds * (1 + 2 * len(names)))
            for name in names:
                folder = synthetic.ensure(
                    root / f"{name}{seed}", product, seed=seed, good=good, defect=defect, bias=name
                )
                cure = "trainer.augment=photometric"
                if name in PLACES:
                    cure = f"data.roi={_region(root / f'roi-{name}.json', first.path, name)}"
                for arm, label, extra in zip(arms[name], ("biased", "cured"), ((), (cure,)), strict=True):
                    add_run(arm, folder, test, weights, root / f"run-{name}{seed}-{label}", *extra)
                    progress(done := done + 1, seeds * (1 + 2 * len(names)))
    reference = clean.estimate()
    for name in names:
        biased, cured = (arm.estimate() for arm in arms[name])
        cure = "region of interest" if name in PLACES else "photometric views"
        rows.append([name, _shown(biased), cure, _shown(cured), f"{cured.value / reference.value:.0%}"])
    header = ["bias in every defect picture", "without the cure", "cure", "with it", "of training without the bias"]
    command = f"python benchmarks/bias_cure.py --seeds {seeds} --good {good} --defect {defect} --product {product}"
    about = (
        f"Balanced accuracy on {reference.n} pictures without the bias ({seeds} generated sets), 95 % intervals. "
        f"Trained on the same pictures without any bias: {_shown(reference)}."
    )
    report("The cure of a planted bias", [f"`{command}`", about, table(header, rows)], output)


def _region(path: Path, picture: Path, bias: str) -> Path:
    """Draw the region of interest without the place where a bias is."""
    info = inspect_image(picture)
    x, y = (FRAMES.get(bias, 0) * side for side in (info.width, info.height))
    corners = [(x, y), (info.width - x, y), (info.width - x, info.height - y), (x, info.height - y)]
    if bias not in FRAMES:
        x, y = CORNER * info.width, CORNER * info.height
        corners = [(x, 0), *corners[1:], (0, y), (x, y)]
    write_polygons(path, [corners], (info.height, info.width))
    return path.resolve()


def _shown(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} – {found.high:.3f})"


if __name__ == "__main__":
    typer.run(main)
