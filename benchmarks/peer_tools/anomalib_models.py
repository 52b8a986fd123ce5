"""Models of anomalib, trained as they are meant to be: on Good pictures alone.

Their thresholds are anomalib's own (``F1AdaptiveThreshold``), set on the validation subset of the same split: its Good
pictures, which were not trained on, and its defective ones with their image label. No mask is handed over, so anomalib
uses the threshold of images for pixels too (``enable_threshold_matching``). Boxes are those of its ``masks_to_boxes``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import link
from torchvision.transforms import v2

from peer_tools.cells import Fold, Found, LeftOutError, Predict
from weakspot.data.images import read_image
from weakspot.data.loading import batched
from weakspot.data.preprocess import Preprocess
from weakspot.models import timm_weights
from weakspot.models.timm_networks import import_timm
from weakspot.types import Sample, Size

TRAINED = "model.pt"
"""The state of a trained model, in the folder of its cell."""

SQUARE: Size = (256, 256)
"""Height and width that anomalib's models see pictures at unless told otherwise."""

BATCH = 8
LITE = "efficientnet_lite0"
BANK = 4_000
"""At most this many patches in PatchCore's memory; its own share of 10 % where that is fewer."""

SEEN = 1_200
"""Pictures that a model which trains by gradients sees in all, at most 300 times each: a CPU's worth."""

FINE, MIDDLE, COARSE = "blocks.1", "blocks.2", "blocks.4"
"""Layers of EfficientNet-Lite0 at strides 4, 8 and 16, as layer1, layer2 and layer3 of a ResNet are."""


@dataclass(frozen=True)
class Backbone:
    """A pre-trained network for a model of anomalib.

    Attributes:
        name: as timm lists it.
        state: its weights under timm's names.
        mean, spread: of the pictures it was trained on, RGB in 0…1.
        origin: where the weights come from.
    """

    name: str
    state: dict[str, torch.Tensor]
    mean: list[float]
    spread: list[float]
    origin: str


def find_backbone(own: str | None) -> Backbone:
    """The weights of EfficientNet-Lite0 or of the model's own backbone.

    Args:
        own: name of the model's own backbone in timm; None for EfficientNet-Lite0, which needs no download.

    Raises:
        LeftOutError: where the weights are neither in timm's cache nor to be downloaded.
    """
    if own is None:
        found = timm_weights.find(LITE, packages=True)
        preprocess = Preprocess(SQUARE, timm_weights.needed_preprocess(LITE))
        mean, spread = ((np.asarray(each) / 255).tolist() for each in preprocess.mean_and_spread)
        return Backbone(f"tf_{LITE}", found.state, mean, spread, "EfficientNet-Lite0 (ImageNet)")
    from_hub = timm_weights.from_hub(own)
    if from_hub is None:
        raise LeftOutError(f"its weights ({own}) are only to be had by download, and there is no connection")
    return Backbone(own, from_hub.state, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], f"{own} (ImageNet)")


@contextmanager
def given_weights(backbone: Backbone) -> Iterator[None]:
    """Let timm give a network that is asked for with pre-trained weights those of `backbone`, without a download."""
    timm = import_timm()
    original = timm.create_model

    def create(name: str, *arguments: Any, pretrained: bool = False, **more: Any) -> Any:  # noqa: ANN401 - timm's own
        network = original(name, *arguments, pretrained=False, **more)
        if pretrained:
            wanted = network.state_dict()  # a network that is cut off lacks the last layers
            network.load_state_dict({key: backbone.state.get(key, value) for key, value in wanted.items()})
            lacking = [key for key in wanted if key not in backbone.state and not key.endswith("num_batches_tracked")]
            if lacking:
                raise LeftOutError(f"the weights of {backbone.name} lack {lacking[0]}")
        return network

    vars(timm)["create_model"] = create
    try:
        yield
    finally:
        vars(timm)["create_model"] = original


@dataclass(frozen=True)
class Anomalib:
    """A model of anomalib.

    Attributes:
        model: ``patchcore``, ``padim``, ``dfm``, ``stfpm`` or ``supersimplenet``.
        own: name of its own backbone in timm, to be used in place of EfficientNet-Lite0.
        size: height and width that it sees pictures at.
    """

    model: str
    own: str | None = None
    size: Size = SQUARE

    def train(self, fold: Fold, folder: Path) -> str:
        """Fit on the Good training pictures, set the thresholds, and save the state."""
        try:
            from anomalib.data import Folder  # type: ignore[import-not-found,unused-ignore]
            from anomalib.engine import Engine  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise LeftOutError(f"{error.name} is not installed (pip install 'weakspot[peers]')") from error
        torch.manual_seed(0)
        good = fold.good("train")
        patches = (self.size[0] // 8) * (self.size[1] // 8)  # at the finer of the two layers that PatchCore looks at
        ratio = min(0.1, BANK / (len(good) * patches))
        model, origin = self._build(ratio)
        pictures = link_pictures(fold, folder / "pictures")
        data = Folder(
            name="fold",
            root=pictures,
            normal_dir="train/good",
            normal_test_dir="val/good",
            abnormal_dir="val/defect",
            val_split_mode="same_as_test",  # what anomalib calls its test is the validation subset: no test picture
            train_batch_size=min(32, len(good)),
            eval_batch_size=BATCH,
            num_workers=0,
        )
        epochs = max(1, min(300, SEEN // len(good)))
        engine = Engine(
            default_root_dir=folder / "engine",
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            logger=False,
            enable_progress_bar=False,
        )
        engine.fit(model=model, datamodule=data)
        torch.save({"ratio": ratio, "state": model.state_dict()}, folder / TRAINED)
        shutil.rmtree(pictures)
        shutil.rmtree(folder / "engine", ignore_errors=True)
        return self._note(origin, ratio, epochs)

    def load(self, folder: Path) -> Predict:
        """The model with its saved state."""
        model = self._trained(folder)
        resize = v2.Resize(self.size, antialias=True)

        def predict(paths: Sequence[Path]) -> Iterator[Found]:
            for group in batched(paths, BATCH):
                images = [torch.from_numpy(read_image(path)).permute(2, 0, 1).float() / 255 for path in group]
                with torch.inference_mode():  # its forward pass step by step, as the last step clips scores to 0…1
                    raw = model.model(model.pre_processor(torch.stack([resize(image) for image in images])))
                    out = model.post_processor(raw)
                maps = raw.anomaly_map.reshape(len(images), *self.size)
                sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
                labels, scores = out.pred_label.reshape(-1), raw.pred_score.reshape(-1)
                yield from self._found(sizes, out.pred_mask.reshape(maps.shape), maps, labels, scores)

        return predict

    def export_openvino(self, folder: Path, target: Path) -> Path:
        """Write the model that was trained in `folder` below `target`, with anomalib's own exporter.

        For one picture of any size, as anomalib's inferencer asks. With its own setting, any number of pictures,
        anomalib 2.7 and torch 2.14 write a PatchCore that takes two at once and no other number.

        Returns:
            The ``.xml``.
        """
        any_size = {"input": {2: "height", 3: "width"}}
        path: Path = self._trained(folder).to_openvino(target, onnx_kwargs={"dynamic_axes": any_size})
        return path

    def load_openvino(self, path: Path) -> Predict:
        """Anomalib's own ``OpenVINOInferencer``, one file at a time as it takes them; scores are clipped to 0…1.

        Args:
            path: the ``.xml``. A folder ``openvino_cache`` is made in the working folder.
        """
        from anomalib.deploy import OpenVINOInferencer  # type: ignore[import-not-found,unused-ignore]

        inferencer = OpenVINOInferencer(path, device="CPU")

        def predict(paths: Sequence[Path]) -> Iterator[Found]:
            for each in paths:
                out = inferencer.predict(each)
                size = (int(out.image.shape[2]), int(out.image.shape[3]))
                maps = torch.from_numpy(np.asarray(out.anomaly_map)).reshape(1, *self.size)
                mask = torch.from_numpy(np.asarray(out.pred_mask)).reshape(maps.shape)
                yield from self._found([size], mask, maps, out.pred_label.reshape(-1), out.pred_score.reshape(-1))

        return predict

    def _trained(self, folder: Path) -> Any:  # noqa: ANN401 - anomalib's own
        """The model with its saved state."""
        saved = torch.load(folder / TRAINED, map_location="cpu", weights_only=True)
        model, _ = self._build(saved["ratio"])
        model.load_state_dict(saved["state"])
        return model.eval()

    def _found(
        self,
        sizes: Sequence[Size],
        masks: torch.Tensor,
        maps: torch.Tensor,
        labels: Sequence[Any],
        scores: Sequence[Any],
    ) -> Iterator[Found]:
        """Boxes of anomalib's own function, and the rest, of pictures of `sizes`; masks and maps are ``(n, H, W)``."""
        from anomalib.data.utils import masks_to_boxes  # type: ignore[import-not-found,unused-ignore]

        boxes, peaks = masks_to_boxes(masks, maps)
        for i, size in enumerate(sizes):
            corners = scaled(boxes[i].numpy().astype(np.float64), self.size, size)
            found = np.c_[corners, peaks[i].numpy().astype(np.float64)]
            yield Found(float(scores[i]), bool(labels[i]), found, maps[i].numpy().astype(np.float32), size)

    def _build(self, ratio: float) -> tuple[Any, str]:
        """The untrained model with its backbone, and where the backbone's weights come from."""
        from anomalib import models  # type: ignore[import-not-found,unused-ignore]
        from anomalib.pre_processing import PreProcessor  # type: ignore[import-not-found,unused-ignore]

        backbone = find_backbone(self.own)
        steps = [v2.Resize(self.size, antialias=True), v2.Normalize(backbone.mean, backbone.spread)]
        quiet = {"evaluator": False, "visualizer": False, "pre_processor": PreProcessor(transform=v2.Compose(steps))}
        layers = [FINE, MIDDLE, COARSE] if self.own is None else ["layer1", "layer2", "layer3"]
        kinds: dict[str, tuple[Any, dict[str, Any]]] = {
            "patchcore": (models.Patchcore, {"layers": layers[1:], "coreset_sampling_ratio": ratio}),
            "padim": (models.Padim, {"layers": layers, "n_features": 100 if self.own in (None, "resnet18") else None}),
            "dfm": (models.Dfm, {"layer": layers[2]}),
            "stfpm": (models.Stfpm, {"layers": layers}),
            "supersimplenet": (models.Supersimplenet, {"layers": layers[1:]}),
        }
        kind, settings = kinds[self.model]
        with given_weights(backbone):
            return kind(backbone=backbone.name, **settings, **quiet), backbone.origin

    def _note(self, origin: str, ratio: float, epochs: int) -> str:
        """How it was trained, for the table."""
        how = {"patchcore": f"coreset of {100 * ratio:.2g} %", "padim": "100 features", "dfm": "97 % of the variance"}
        told = how.get(self.model, f"{epochs} epochs, for want of time")
        seen = f"{self.size[1]} × {self.size[0]} px"
        return f"{origin}, {seen}, {told}; threshold: F1AdaptiveThreshold on validation pictures, no masks"


def scaled(
    boxes: np.ndarray[Any, np.dtype[np.float64]], seen: Size, size: Size
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Boxes of anomalib, whose corners are the first and last pixel of what it saw, half-open in original pixels.

    Args:
        boxes: ``(k, 4)``.
        seen: ``(height, width)`` that the boxes are of.
        size: ``(height, width)`` of the original image.
    """
    half_open = boxes.reshape(-1, 4) + np.array([0, 0, 1, 1])
    return np.asarray(half_open * np.array([size[1] / seen[1], size[0] / seen[0]] * 2))


def link_pictures(fold: Fold, folder: Path) -> Path:
    """Lay the training and validation pictures out as anomalib's ``Folder`` wants them; test pictures stay away.

    Args:
        fold: the split.
        folder: where the links go; an older one is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    places: dict[str, list[Sample]] = {
        "train/good": fold.good("train"),
        "val/good": fold.good("val"),
        "val/defect": [sample for sample in fold.subset("val") if not sample.is_good],
    }
    for place, samples in places.items():
        digits = math.ceil(math.log10(len(samples) + 1))
        for i, sample in enumerate(samples):
            link(sample.path, folder / place / f"{i:0{digits}}{sample.path.suffix}")
    return folder
