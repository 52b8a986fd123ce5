"""How fast are our maps and boxes beside pytorch-grad-cam, torchcam and captum, with the same weights?

Two questions: from tensors in memory to the anomaly map at input size, and from files to boxes. The libraries get a
plain network (VGG16, pooling, dense layer) and whichever of two memory formats and two batch sizes suits them best,
found out beforehand. From files they get our preprocessing and the box code of their tutorials: scale to 0…1,
cv2.threshold, the box round what is left. Their maps must agree with ours before anything is timed.

    pip install 'weakspot[bench]'
    python benchmarks/cam_libraries.py                                   # generated pictures
    python benchmarks/cam_libraries.py DATA --weights FILE --images 24 --rounds 5
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer
from captum.attr import LayerAttribution, LayerGradCam  # type: ignore[import-untyped,import-not-found,unused-ignore]
from common import (
    DataArgument,
    ImagesOption,
    OutputOption,
    RoundsOption,
    WeightsOption,
    alternate,
    choose_files,
    described,
    fastest,
    in_rounds,
    preprocessed,
    rates,
    ratios,
    report,
    save_model,
    table,
    workplace,
)
from plain import FROZEN_LAYERS, PlainNet, plain_copy
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torch.nn import functional
from torchcam.methods import CAM  # type: ignore[import-untyped,import-not-found,unused-ignore]

from weakspot.data.images import read_image
from weakspot.data.loading import batched
from weakspot.data.preprocess import Preprocess
from weakspot.inference.localizer import Localizer
from weakspot.models.network import CamNet
from weakspot.ops.iou import box_iou
from weakspot.ops.maps import class_map
from weakspot.ops.resize import upsample
from weakspot.types import Size

Maps = npt.NDArray[np.float32]
ToMaps = Callable[[Tensor], Maps]
"""From preprocessed images ``(n, 3, H, W)`` to anomaly maps ``(n, H, W)``, any range."""

OURS = "weakspot"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
BATCH_SIZES = (1, 8)
AGREEMENT = 0.99
THRESHOLD = 0.7
LOOKED_AT = 8
"""Pictures that each tool's best layout and batch size are found with."""


# --- the tools ----------------------------------------------------------------------------------------------------


def ours(network: CamNet) -> ToMaps:
    """Our maps: one pass gives logits and maps."""

    def maps(pixels: Tensor) -> Maps:
        with torch.inference_mode():
            raw = network(pixels).maps.numpy()
        return np.stack([upsample(class_map(each, 1), (pixels.shape[2], pixels.shape[3])) for each in raw])

    return maps


def grad_cam(net: PlainNet) -> ToMaps:
    """Grad-CAM of pytorch-grad-cam, as in its README."""
    cam = GradCAM(model=net, target_layers=[net.features[-1]])

    def maps(pixels: Tensor) -> Maps:
        return np.asarray(cam(input_tensor=pixels, targets=[ClassifierOutputTarget(1)] * len(pixels)))

    return maps


def torch_cam(net: PlainNet) -> ToMaps:
    """CAM of torchcam, as in its documentation: no gradients at all."""
    cam = CAM(net, target_layer="features.29", fc_layer="classifier")

    def maps(pixels: Tensor) -> Maps:
        with torch.inference_mode():
            net(pixels)
            small = cam(class_idx=1)[0]
            return resized(small[:, None], pixels)

    return maps


def captum_cam(net: PlainNet) -> ToMaps:
    """LayerGradCam of captum with the ReLU of the paper."""
    cam = LayerGradCam(net, net.features[-1])

    def maps(pixels: Tensor) -> Maps:
        small = cam.attribute(pixels, target=1, relu_attributions=True)
        size = (pixels.shape[2], pixels.shape[3])
        large = LayerAttribution.interpolate(small, size, interpolate_mode="bilinear")
        return np.asarray(large.detach()[:, 0].numpy())

    return maps


def resized(small: Tensor, pixels: Tensor) -> Maps:
    """Maps ``(n, 1, h, w)`` at the size of the images."""
    large = functional.interpolate(small, pixels.shape[2:], mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].numpy())


@dataclass(frozen=True)
class Way:
    """How a tool is fed."""

    layout: str
    batch: int

    def __str__(self) -> str:
        return f"{self.layout}, batch {self.batch}"


Tools = dict[str, dict[Way, ToMaps]]


def make_tools(localizer: Localizer) -> Tools:
    """Every tool in every way: ours in the product's own memory format, the others in both."""
    tools: Tools = {OURS: {Way("channels last", size): ours(localizer.model.network) for size in BATCH_SIZES}}
    for name, make, frozen in (
        ("torchcam CAM", torch_cam, FROZEN_LAYERS),
        ("captum LayerGradCam", captum_cam, FROZEN_LAYERS),
        ("pytorch-grad-cam GradCAM", grad_cam, FROZEN_LAYERS),
        ("pytorch-grad-cam GradCAM, nothing frozen", grad_cam, 0),
    ):
        tools[name] = {}
        for layout, memory_format in LAYOUTS.items():
            net = plain_copy(localizer.model.network, frozen).eval()
            maps = make(net.to(memory_format=memory_format))
            tools[name] |= {Way(layout, size): maps for size in BATCH_SIZES}
    # What most people run: the library's examples set no memory format, freeze nothing and take one picture at a time.
    unchanged = plain_copy(localizer.model.network, 0).eval()
    tools["pytorch-grad-cam GradCAM, as in its examples"] = {Way("contiguous", 1): grad_cam(unchanged)}
    return tools


# --- what is timed ------------------------------------------------------------------------------------------------


def from_tensors(maps: ToMaps, pixels: Tensor, way: Way) -> Maps:
    """Maps of all images, batch by batch."""
    memory_format = LAYOUTS[way.layout]
    return np.concatenate(
        [maps(batch.contiguous(memory_format=memory_format)) for batch in torch.split(pixels, way.batch)]
    )


def from_files(maps: ToMaps, paths: Sequence[Path], way: Way, preprocess: Preprocess) -> list[tuple[int, ...]]:
    """A box an image, the way tutorials do it."""
    boxes = []
    for group in batched(paths, way.batch):
        images = [read_image(path) for path in group]
        pixels = torch.from_numpy(np.stack([preprocess(image) for image in images]))
        found = maps(pixels.contiguous(memory_format=LAYOUTS[way.layout]))
        boxes += [tutorial_box(map_, image.shape[:2]) for map_, image in zip(found, images, strict=True)]
    return boxes


def tutorial_box(map_: Maps, size: Size) -> tuple[int, ...]:
    """The box round everything above the threshold, half-open, in pixels of the original image."""
    scaled = (map_ - map_.min()) / (map_.max() - map_.min() + 1e-8)
    _, hot = cv2.threshold((255 * scaled).astype(np.uint8), 255 * THRESHOLD, 255, cv2.THRESH_BINARY)
    x, y, width, height = cv2.boundingRect(hot)
    across, down = size[1] / map_.shape[1], size[0] / map_.shape[0]
    return int(x * across), int(y * down), int((x + width) * across), int((y + height) * down)


def our_boxes(localizer: Localizer, paths: Sequence[Path]) -> list[tuple[int, ...]]:
    """A box an image, by the product."""
    return [prediction.boxes[0].xyxy for prediction in localizer.predict(paths)]


# --- agreement ----------------------------------------------------------------------------------------------------


def agreement(theirs: Maps, reference: Maps) -> float:
    """Lowest correlation over the images, after ReLU; scaling by minimum and maximum would not change it."""
    pairs = zip(np.maximum(theirs, 0), np.maximum(reference, 0), strict=True)
    return min(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs)


def overlap(theirs: Sequence[tuple[int, ...]], reference: Sequence[tuple[int, ...]]) -> float:
    """Mean IoU of their boxes with ours, image by image."""
    return float(np.mean(np.diagonal(box_iou(np.array(theirs), np.array(reference)))))


# --- the program --------------------------------------------------------------------------------------------------


def best_ways(tools: Tools, pixels: Tensor) -> dict[str, Way]:
    """Find each tool's fastest memory format and batch size on a few images."""
    seconds = alternate(
        {
            (name, way): partial(from_tensors, maps, pixels, way)
            for name, ways in tools.items()
            for way, maps in ways.items()
        },
        rounds=2,
    )
    return {name: fastest({way: seconds[name, way] for way in ways}) for name, ways in tools.items()}


def compare(
    localizer: Localizer, tools: Tools, paths: Sequence[Path], rounds: int
) -> tuple[list[tuple[object, ...]], dict[str, float]]:
    """Check that all agree, time all, and return the rows of the table and each tool's agreement."""
    preprocess = localizer.meta.preprocess
    pixels = preprocessed(paths, preprocess)
    ways = best_ways(tools, pixels[:LOOKED_AT])
    tensors = {name: partial(from_tensors, tools[name][way], pixels, way) for name, way in ways.items()}
    files: dict[str, Callable[[], list[tuple[int, ...]]]] = {
        name: partial(from_files, tools[name][way], paths, way, preprocess) for name, way in ways.items()
    }
    files[OURS] = partial(our_boxes, localizer, paths)
    reference, boxes = tensors[OURS](), files[OURS]()
    agree = {name: agreement(run(), reference) for name, run in tensors.items()}
    if min(agree.values()) <= AGREEMENT:
        return [], agree
    overlaps = {name: overlap(run(), boxes) for name, run in files.items()}
    runs: Mapping[tuple[str, str], Callable[[], object]] = {
        (what, name): group[name] for what, group in (("tensors", tensors), ("files", files)) for name in ways
    }
    seconds = alternate(runs, rounds)
    rows: list[tuple[object, ...]] = []
    for name, way in ways.items():
        row: list[object] = [name, way, f"{agree[name]:.4f}", f"{overlaps[name]:.2f}"]
        for what in ("tensors", "files"):
            mine, theirs = seconds[what, OURS], seconds[what, name]
            row += [rates(theirs, len(paths)), "1" if name == OURS else ratios(theirs, mine)]
        rows.append(tuple(row))
    return rows, agree


HEADER = (
    "",
    "its best way",
    "maps: lowest correlation with ours",
    "boxes: mean IoU with ours",
    "tensors → maps, images/s",
    "weakspot is × faster",
    "files → boxes, images/s",
    "weakspot is × faster",
)


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 24,
    rounds: RoundsOption = 5,
    output: OutputOption = None,
) -> None:
    """Compare with the libraries; exit with 1 when a map does not agree with ours."""
    with workplace(data, images) as (scratch, folder):
        localizer = Localizer.load(save_model(scratch / "model", weights))
        rows, agree = compare(localizer, make_tools(localizer), choose_files(folder, images), rounds)
    intro = (
        f"{described(data, images)}, the same network and weights for all. {in_rounds(rounds)} Each library runs in "
        "the memory format and batch size that suit it best; from files ours takes its own default batch size. "
        "Gradients stop at conv4_3 as in a model that weakspot trains, but for the last two rows; the last runs as the "
        "library's examples do, with torch's default memory format."
    )
    told = ", ".join(f"{name} {value:.4f}" for name, value in agree.items())
    failure = "" if rows else f"a map does not agree with ours, correlation {told}"
    report("Maps and boxes beside other CAM libraries", [intro, table(HEADER, rows)], output, failure)


if __name__ == "__main__":
    typer.run(main)
