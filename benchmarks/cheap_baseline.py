"""How far does one get without looking? Logistic regression on global image statistics of the synthetic data set.

A data set whose classes differ in brightness, contrast or histogram measures nothing: a localiser could ignore the
defect. This prints, per subset and per generator seed, the cross-validated balanced accuracy of logistic regression on
means, deviation, histogram and gradient energy. 0.5 is guessing; the data set promises to stay below 0.75.

    python benchmarks/cheap_baseline.py                 # three subsets, three seeds, about a minute
    python benchmarks/cheap_baseline.py --subset gear --seeds 5 --root outputs/cheap
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from weakspot.data import synthetic
from weakspot.types import GOOD, ImageArray

Floats = npt.NDArray[np.float64]
LIMIT = 0.75


def cheap_features(image: ImageArray) -> Floats:
    """Global statistics of an RGB image (H, W, 3): mean, deviation, 32-bin histogram, colour means, gradient energy."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    histogram = np.histogram(grey, bins=32, range=(0, 256))[0] / grey.size
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)).mean()
    curvature = (cv2.Laplacian(grey, cv2.CV_32F) ** 2).mean()
    colours = image.reshape(-1, 3).mean(axis=0)
    return np.asarray([grey.mean(), grey.std(), *histogram, *colours, slope, curvature], np.float64)


def read_features(folder: Path) -> tuple[Floats, npt.NDArray[np.int_]]:
    """Features (n, 39) and classes (n,; 0 Good, 1 defect) of every image of a data set in MVTec AD layout."""
    paths = sorted(path for part in ("train", "test") for path in (folder / part).glob("*/*.png"))
    pictures = (cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) for path in paths)
    features = [cheap_features(np.asarray(picture, np.uint8)) for picture in pictures]
    return np.stack(features), np.array([int(path.parent.name != GOOD) for path in paths])


def cheap_scores(features: Floats, classes: npt.NDArray[np.int_], folds: int = 5, repeats: int = 3) -> Floats:
    """Balanced accuracy of logistic regression on each test fold, shape (folds * repeats,)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
    scores = [
        cross_val_score(
            model,
            features,
            classes,
            cv=StratifiedKFold(folds, shuffle=True, random_state=r),
            scoring="balanced_accuracy",
        )
        for r in range(repeats)
    ]
    return np.concatenate(scores)


def measure(job: tuple[str, int], root: Path, good: int, defect: int) -> Floats:
    """Scores of one (subset, generator seed), generated below `root` where it is not there yet."""
    name, seed = job
    return cheap_scores(
        *read_features(synthetic.ensure(root / f"seed-{seed}", name, seed=seed, good=good, defect=defect))
    )


def main(
    root: Annotated[Path | None, typer.Option(help="Where to generate; a temporary folder when left out.")] = None,
    subset: Annotated[list[str] | None, typer.Option(help="Subset to measure; repeatable; all when left out.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of generator seeds.")] = 3,
    good: Annotated[int, typer.Option(min=5, help="Good images per data set.")] = 120,
    defect: Annotated[int, typer.Option(min=1, help="Images per defect type.")] = 16,
) -> None:
    """Print the cheap baseline per subset; exit with 1 when one reaches the limit."""
    table = Table(
        "subset",
        "n (good + defect)",
        "balanced accuracy, per seed",
        "mean",
        "spread over folds",
        "verdict",
        title=f"Cheap baseline: logistic regression on global statistics (limit {LIMIT})",
    )
    names = subset or list(synthetic.PRODUCTS)
    jobs = [(name, seed) for name in names for seed in range(seeds)]
    found: dict[str, list[Floats]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        measured = pool.map(partial(measure, root=root or Path(scratch), good=good, defect=defect), jobs)
        for (name, _), scores in track(
            zip(jobs, measured, strict=True), "Measuring …", len(jobs), console=Console(stderr=True)
        ):
            found[name].append(scores)
    for name, per_seed in found.items():
        bad = defect * len(synthetic.PRODUCTS[name].defects)
        means = [float(scores.mean()) for scores in per_seed]
        table.add_row(
            name,
            f"{good + bad} ({good} + {bad})",
            "  ".join(f"{mean:.3f}" for mean in means),
            f"{np.mean(means):.3f}",
            f"± {np.std(np.concatenate(per_seed)):.3f}",
            "ok" if max(means) < LIMIT else "TOO EASY",
        )
    Console().print(table)
    if any(scores.mean() >= LIMIT for per_seed in found.values() for scores in per_seed):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
