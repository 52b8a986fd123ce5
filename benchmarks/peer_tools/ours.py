"""weakspot's own experiments, CAM libraries on the classifier of ``plain_cam``, and a floor that needs no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from peer_tools.cells import Fold, Found, LeftOutError, Predict
from weakspot.commands.train import train
from weakspot.config import hydra_app
from weakspot.config.schema import TrainConfig, typed, with_values
from weakspot.data.images import read_image
from weakspot.data.loading import batched
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle_meta import read_meta
from weakspot.ops.maps import comparable_map
from weakspot.types import GOOD

Maps = npt.NDArray[np.float32]
BATCH = 8
RUN = "run"
NO_BOXES = np.zeros((0, 5))

THRESHOLDS = {
    "plain_cam": "none: the most probable class, box at 0.7 of the map's range",
    "fast": "set on its validation pictures",
    "recommended": "set on training pictures, each judged by models that were trained without it",
}
"""How each experiment comes to its thresholds; what needs no validation subset trains on those pictures too."""


@dataclass(frozen=True)
class Experiment:
    """``weakspot train experiment=NAME``, from nothing: features are not taken from any cache.

    Attributes:
        name: of the experiment.
        weights: of VGG16, as ``model.weights``; for ``plain_cam`` alone, as the others choose their own backbone.
        overrides: further ``key=value``.
    """

    name: str
    weights: str = "auto"
    overrides: tuple[str, ...] = ()

    def train(self, fold: Fold, folder: Path) -> str:
        """Train; the time includes the test subset, measuring, and the report, which the command does."""
        validates = self.name == "fast"
        config = typed(hydra_app.compose("train", [f"experiment={self.name}", *self.overrides]), TrainConfig)
        keys = {
            "data.root": str(fold.root),
            "split.file": str(fold.split_file if validates else fold.without_validation()),
            "split.near_duplicates": fold.near_duplicates,
            "model.weights": self.weights if self.name == "plain_cam" else "auto",
            "cache.dir": str(folder / "cache"),
            "output": str(folder / RUN),
            "reuse": False,
        }
        run = train(with_values(config, keys))
        shutil.rmtree(folder / "cache", ignore_errors=True)
        meta = read_meta(run.bundle)
        height, width = meta.preprocess.image_size
        return f"{meta.backbone}, {width} × {height} px; thresholds: {THRESHOLDS[self.name]}"

    def load(self, folder: Path) -> Predict:
        """The bundle of the run."""
        localizer = Localizer.load(folder / RUN, device="cpu")

        def predict(paths: Sequence[Path]) -> Iterator[Found]:
            for one in localizer.predict(paths):
                if one.output is None:
                    raise RuntimeError(one.message)
                boxes = [[*box.xyxy, box.score] for box in one.boxes]
                yield Found(
                    one.probability,
                    one.label != GOOD,
                    np.array(boxes, np.float64).reshape(-1, 5),
                    comparable_map(one.output),
                    one.size,
                )

        return predict


@dataclass(frozen=True)
class CamLibrary:
    """A CAM library on the network that ``plain_cam`` trained, with the preprocessing and box of its tutorials.

    Attributes:
        tool: name of the function of ``benchmarks/cam_libraries.py``.
    """

    tool: str

    def train(self, fold: Fold, folder: Path) -> str:
        """Nothing: the network is there."""
        network = folder.parent / "plain_cam" / RUN
        if not network.is_dir():
            raise LeftOutError("it needs the network of plain_cam, which is not there")
        (folder / "network.txt").write_text(str(network), encoding="utf-8")
        return "the network of plain_cam; class: the most probable one, box at 0.7 of the map's range"

    def load(self, folder: Path) -> Predict:
        """A plain network with the weights of plain_cam, and the library's map of it."""
        try:
            import cam_libraries
        except ImportError as error:
            raise LeftOutError(f"{error.name} is not installed (pip install 'weakspot[bench]')") from error
        from plain import plain_copy

        localizer = Localizer.load((folder / "network.txt").read_text(encoding="utf-8"), device="cpu")
        net = plain_copy(localizer.model.network).eval()
        to_maps: Callable[[torch.Tensor], Maps] = getattr(cam_libraries, self.tool)(net)
        preprocess = localizer.meta.preprocess

        def predict(paths: Sequence[Path]) -> Iterator[Found]:
            for group in batched(paths, BATCH):
                images = [read_image(path) for path in group]
                pixels = torch.from_numpy(np.stack([preprocess(image) for image in images]))
                maps = to_maps(pixels)
                with torch.inference_mode():
                    probabilities = torch.softmax(net(pixels), dim=1)[:, 1].tolist()
                for image, map_, probability in zip(images, maps, probabilities, strict=True):
                    size = (image.shape[0], image.shape[1])
                    x0, y0, x1, y1 = cam_libraries.tutorial_box(map_, size)
                    drawn = probability > 0.5 and x1 > x0 and y1 > y0
                    boxes = np.array([[x0, y0, x1, y1, probability]], np.float64) if drawn else NO_BOXES
                    yield Found(probability, probability > 0.5, boxes, map_, size)

        return predict


@dataclass(frozen=True)
class MeanImage:
    """The floor: how far an image is from the mean of the Good ones, pixel by pixel, in standard deviations.

    Trained on Good alone. Its thresholds are the highest values that the Good validation images reach.
    """

    side: int = 64

    def train(self, fold: Fold, folder: Path) -> str:
        """Mean and deviation of each pixel, and the thresholds."""
        good = np.stack([self._small(sample.path) for sample in fold.good("train")])
        mean, spread = good.mean(axis=0), good.std(axis=0) + 4.0
        held_out = [self._evidence(self._small(sample.path), mean, spread) for sample in fold.good("val")]
        pixel = np.array(max(float(map_.max()) for map_ in held_out))
        np.savez(folder / "model.npz", mean=mean, spread=spread, pixel=pixel)
        return "no network; threshold: the highest value in Good validation pictures"

    def load(self, folder: Path) -> Predict:
        """What was saved."""
        with np.load(folder / "model.npz") as file:
            mean, spread, threshold = file["mean"], file["spread"], float(file["pixel"])

        def predict(paths: Sequence[Path]) -> Iterator[Found]:
            from peer_tools.scoring import region_boxes

            for path in paths:
                image = read_image(path)
                size = (image.shape[0], image.shape[1])
                evidence = self._evidence(self._small(path), mean, spread)
                peak = float(evidence.max())
                boxes = region_boxes(evidence, np.nextafter(threshold, np.inf), np.array(size))
                yield Found(peak, peak > threshold, np.c_[boxes, np.full(len(boxes), peak)], evidence, size)

        return predict

    def _small(self, path: Path) -> Maps:
        grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY).astype(np.float32)
        return np.asarray(cv2.resize(grey, (self.side, self.side), interpolation=cv2.INTER_AREA), np.float32)

    @staticmethod
    def _evidence(image: Maps, mean: Maps, spread: Maps) -> Maps:
        return np.asarray(cv2.GaussianBlur(np.abs(image - mean) / spread, (0, 0), 1.5), np.float32)
