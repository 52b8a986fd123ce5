"""What can be explained: the model of a run or of a bundle, or a classifier of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from weakspot.data.images import read_image
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.evaluation.erasure import good_training_images
from weakspot.heatmaps.network import Logits
from weakspot.heatmaps.subject import Answer, Subject
from weakspot.inference.localizer import Localizer
from weakspot.models.devices import check_device
from weakspot.models.imagenet import load_photographs
from weakspot.ops.maps import Maps, shown_map
from weakspot.postprocess.familiarity import UNLIKE
from weakspot.runs.folder import RunFolder
from weakspot.types import ImageArray, Prediction


def subject_of_run(run: Path, device: str = "auto") -> Subject:
    """Load the model of a run or a bundle, to be explained.

    The maps are those of the classifier, and that of the evidence heads where there are some. The decision is that of
    the whole model, with evidence heads, calibration and costs.

    Args:
        run: a run folder or a bundle.
        device: ``auto``, ``cpu``, ``cuda`` or any other name torch knows.

    Raises:
        WeakspotError: when there is no model.
    """
    localizer = Localizer.load(run, device)
    classes = localizer.meta.classes

    def answer(prediction: Prediction) -> Answer:
        if prediction.status != "ok":
            raise WeakspotError(prediction.message)
        found = {each.name: each.confidence for each in prediction.classes}
        remark = (
            f"it is {UNLIKE}: do not believe its class before you have looked" if prediction.unlike_training else ""
        )
        confidences = np.array([found[name] for name in classes])
        return Answer(classes.index(prediction.label), confidences, remark, prediction.part_log_odds)

    def evidence(image: ImageArray, preprocess: Preprocess) -> Maps:
        (prediction,) = localizer.with_preprocess(preprocess).predict([image])
        if prediction.output is None:
            raise WeakspotError(prediction.message)
        return shown_map(prediction.output)

    model = localizer.model
    voices = [
        name
        for name, part in (("the location head", model.evidence), ("the statistics head", model.statistics))
        if part
    ]
    return Subject(
        Logits(localizer.model.network),
        classes,
        localizer.meta.preprocess,
        lambda images, preprocess: [answer(p) for p in localizer.with_preprocess(preprocess).predict(list(images))],
        f"{' and '.join(voices)} share the say in the confidences with the classifier" if voices else "",
        None if model.evidence is None else evidence,
    )


def subject_of_imagenet(model: str = "vgg16", weights: Path | None = None, device: str = "auto") -> Subject:
    """Load a classifier of photographs with ImageNet's classes, to be explained.

    Args:
        model: its name in torchvision's registry.
        weights: a ``.pth`` or ``.safetensors`` file of the whole network; None for torchvision's own.
        device: ``auto``, ``cpu``, ``cuda`` or any other name torch knows.

    Raises:
        WeakspotError: as :func:`~weakspot.models.imagenet.load_photographs`, and when there is no such device.
    """
    check_device(device)
    photographs = load_photographs(model, weights)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    module = photographs.module.to(place)

    def ask(images: Sequence[ImageArray], preprocess: Preprocess) -> list[Answer]:
        answers = []
        for image in images:
            with torch.inference_mode():
                pixels = torch.from_numpy(preprocess(image).copy())[None].to(place)
                confidences = softmax(module(pixels)[0].double().cpu().numpy())
            answers.append(Answer(int(confidences.argmax()), confidences))
        return answers

    return Subject(module, photographs.classes, photographs.preprocess, ask)


def donor_of(run: Path) -> ImageArray | None:
    """A Good picture that the run was trained on, to put in place of what is erased; None where there is none."""
    try:
        return read_image(good_training_images(RunFolder(run))[0].path)
    except (WeakspotError, IndexError):  # a bundle alone, or its pictures have moved
        return None
