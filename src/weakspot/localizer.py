"""A trained model that takes pictures and gives predictions: :class:`Localizer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from weakspot.boxes import BoxRule
from weakspot.data.loading import ImageSource, Loaded, batched, load_images, pictures_in, stack_pixels
from weakspot.errors import WeakspotError
from weakspot.heatmaps.classes import ClassMaps
from weakspot.model.bundle import BundleMeta, load_bundle
from weakspot.model.model import Model
from weakspot.model.network import inference_batch_size
from weakspot.predictions import make_prediction
from weakspot.types import ImageMaps, Prediction


class Localizer:
    """Classifies pictures and draws boxes round what made it say "not Good".

    Attributes:
        meta: classes, preprocessing, box rule and provenance, as the bundle has them.
        rule: from maps to boxes; may be replaced, for instance to move the threshold.
        device: where the network runs.

    Example:
        >>> localizer = Localizer.load("outputs/demo/fabric/…")  # doctest: +SKIP
        >>> for prediction in localizer.predict(["a.png", "b.png"]):  # doctest: +SKIP
        ...     print(prediction.path, prediction.label, prediction.boxes)
    """

    def __init__(self, model: Model, meta: BundleMeta, device: str = "auto") -> None:
        try:
            self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
            # Channels last is the faster layout for convolutions on CPUs and GPUs alike.
            layout = {"device": self.device, "memory_format": torch.channels_last}
            model.network.eval().to(**layout)  # type: ignore[call-overload]
            if model.evidence is not None:
                model.evidence.eval().to(**layout)  # type: ignore[call-overload]
            self.model = model
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeakspotError(f"device {device} cannot be used ({reason}); try cpu") from error
        self.meta = meta
        self.rule: BoxRule = meta.boxes
        self._by_method = ClassMaps(model.network, meta.heatmap)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Localizer:
        """Load a run folder or a bundle.

        Args:
            path: a run folder made by ``weakspot train``, or a bundle folder.
            device: ``auto``, ``cpu``, ``cuda`` or any other name torch knows.

        Raises:
            WeakspotError: when there is no model, or it is damaged.
        """
        return cls(*load_bundle(Path(path)), device=device)

    def predict(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Predict any number of images, in order and in constant memory.

        Args:
            images: one image or many: paths, uint8 arrays ``(H, W)``, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA, PIL
                images; a path may be a folder, which stands for every image in it.
            batch_size: images in one forward pass; None for what suits the device. Always 1 with ``data.resize=tile``.

        Yields:
            A prediction an image; one that cannot be read has status ``error`` and a message, and the others go on.
        """
        for prediction, _ in self.stream(images, batch_size=batch_size):
            yield prediction

    def stream(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int | None = None,
        keep_longest: int | None = None,
    ) -> Iterator[tuple[Prediction, Loaded]]:
        """As :meth:`predict`, with the loaded image beside each prediction (its picture only with `keep_longest`)."""
        if batch_size is None or self.meta.preprocess.tile:
            batch_size = inference_batch_size(self.device, self.meta.preprocess)
        if batch_size < 1:
            raise WeakspotError(f"batch_size={batch_size} must be at least 1")
        loaded = load_images(_expand(images), self.meta.preprocess, keep_longest=keep_longest)
        for batch in batched(loaded, batch_size):
            yield from zip(self._predict_batch(batch), batch, strict=True)

    def _predict_batch(self, batch: list[Loaded]) -> list[Prediction]:
        arrays = [item.pixels for item in batch if item.pixels is not None]
        said = iter(self._answer(torch.from_numpy(stack_pixels(arrays)).to(self.device)) if arrays else [])
        return [
            Prediction(item.name, status="error", message=item.error)
            if item.pixels is None
            else make_prediction(
                item.name,
                item.size,
                next(said),
                self.meta.classes,
                self.meta.preprocess,
                self.rule,
                self.meta.decision,
            )
            for item in batch
        ]

    def _answer(self, pixels: torch.Tensor) -> list[ImageMaps]:
        return self._by_method(self.model(pixels), pixels)

    def with_rule(self, **changes: object) -> Localizer:
        """The same model (not copied) with another box rule, for instance ``with_rule(threshold=0.5)``."""
        other = Localizer(self.model, self.meta, str(self.device))
        other.rule = replace(self.rule, **changes)  # type: ignore[arg-type]
        return other


def _expand(images: ImageSource | Iterable[ImageSource]) -> Iterator[ImageSource]:
    single = isinstance(images, str | Path | Image.Image | np.ndarray)
    for image in [images] if single else images:  # type: ignore[union-attr]
        if isinstance(image, str | Path) and Path(image).is_dir():
            yield from pictures_in(Path(image))
        else:
            yield image  # type: ignore[misc]
