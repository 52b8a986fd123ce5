"""A trained model that takes pictures and returns predictions: :class:`Localizer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from weakspot.config.rules import BoxRule
from weakspot.data.loading import ImageSource, Loaded, batched, each_source, load_images, prepared
from weakspot.data.preprocess import Preprocess
from weakspot.data.roi import PairedRegions
from weakspot.errors import WeakspotError
from weakspot.inference.exported import EXPORTED, ExportedModel, load_exported
from weakspot.models.bundle_meta import BundleMeta
from weakspot.postprocess.predictions import make_prediction
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.types import BoolArray, ImageArray, ModelOutput, Prediction
from weakspot.utils.threads import in_order

if TYPE_CHECKING:
    import torch

    from weakspot.models.model import Model

OTHER_RULE = "its trust was calibrated for another box rule"


class Localizer:
    """Classifies pictures and draws boxes round the evidence for a defect.

    Attributes:
        meta: classes, preprocessing, box rule and provenance, as the bundle has them.
        rule: from maps to boxes; may be replaced, for instance to move the threshold.
        flip_tta: whether the mirrored picture is run too (flip test-time augmentation), for the trust of boxes; may be
            set.

    Examples:
        A model usually comes from a finished run, a bundle or an exported file (skipped here, as it needs one):

        >>> localizer = Localizer.load("outputs/demo/fabric/20260726-101500-1a2b3c4d")  # doctest: +SKIP

        In its place stands an untrained network, so that the rest of the example runs anywhere:

        >>> import numpy as np
        >>> from weakspot.config.rules import BoxRule
        >>> from weakspot.data.preprocess import Preprocess
        >>> from weakspot.models.bundle_meta import BundleMeta
        >>> from weakspot.models.model import Model
        >>> from weakspot.models.network import CamNet
        >>> meta = BundleMeta(
        ...     classes=["good", "anomaly"], preprocess=Preprocess((64, 64), "torchvision"), backbone="vgg16",
        ...     outputs=2, boxes=BoxRule(), thresholds={}, weights={}, split_hash="", data_hash="",
        ... )
        >>> localizer = Localizer(Model(CamNet("vgg16", classes=2)), meta, device="cpu")

        Predictions come in the order of the pictures; one that cannot be read does not stop the others:

        >>> picture = np.full((48, 80, 3), 127, np.uint8)
        >>> found = list(localizer.predict([picture, "no-such-picture.png"]))
        >>> [(prediction.path.name, prediction.status, prediction.size) for prediction in found]
        [('array-0', 'ok', (48, 80)), ('no-such-picture.png', 'error', (0, 0))]
        >>> sorted(each.name for each in found[0].classes)
        ['anomaly', 'good']

        The same model with another box rule:

        >>> localizer.with_rule(threshold=0.5).rule.threshold
        0.5
    """

    def __init__(self, model: Model | ExportedModel, meta: BundleMeta, device: str = "auto") -> None:
        model.move(device)
        self._model = model
        self.meta = meta
        self.rule: BoxRule = meta.boxes
        self.flip_tta = meta.flip_tta

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Localizer:
        """Load a run folder, a bundle, or a model made by ``weakspot export model``, which needs no torch.

        Args:
            path: a run folder made by ``weakspot train``, a bundle folder, or an ``.onnx`` or ``.xml`` file.
            device: ``auto``, ``cpu``, ``cuda`` or any other name torch knows; an exported model runs on the CPU.

        Raises:
            WeakspotError: when there is no model, or it is damaged.
        """
        path = Path(path)
        if path.suffix.lower() in EXPORTED:
            return cls(*load_exported(path), device=device)
        from weakspot.models.bundle import load_bundle  # torch, for those who need it

        model, meta = load_bundle(path)
        if meta.heatmap != "cam":
            from weakspot.heatmaps.classes import OtherMaps

            model = OtherMaps(model.network, familiarity=model.familiarity, method=meta.heatmap)
        return cls(model, meta, device=device)

    @property
    def model(self) -> Model:
        """The PyTorch model.

        Raises:
            WeakspotError: for an exported model, which has none.
        """
        if isinstance(self._model, ExportedModel):
            raise WeakspotError(f"{self._model.path} is an exported model; this needs the run that it was made of")
        return self._model

    @property
    def trust(self) -> TrustCalibration | None:
        """How the trust of boxes comes about; with another rule than it was calibrated for it promises nothing."""
        calibration, own = self.meta.trust, self.meta.boxes
        same = replace(self.rule, **{key: getattr(own, key) for key in ("min_score", "max_boxes", "outlines")}) == own
        return calibration if same or calibration is None else calibration.without_promise(OTHER_RULE)

    @property
    def looks(self) -> bool:
        """Whether it is measured what a picture looks like, for its familiarity."""
        return self.meta.familiarity is not None

    @property
    def device(self) -> torch.device | str:
        """Device that the network runs on."""
        return self._model.device

    @property
    def batch_size(self) -> int:
        """Number of images to run at once on this device."""
        return self._model.batch_size(self.meta.preprocess)

    @property
    def streams(self) -> int:
        """Number of threads that :meth:`predict_batch` of :meth:`for_many` is best called by at once."""
        return self._model.streams if isinstance(self._model, ExportedModel) else 1

    def for_many(self) -> Localizer:
        """The same localizer, ready for :attr:`streams` callers at once: more pictures a second, each one slower."""
        if not isinstance(self._model, ExportedModel):
            return self
        other = copy(self)
        other._model = self._model.for_many()
        return other

    def prepare(self, name: Path, image: ImageArray) -> Loaded:
        """Bring an image to the form that :meth:`predict_batch` takes.

        Args:
            name: the file, or what to call an image without one.
            image: uint8 RGB ``(H, W, 3)``.

        Returns:
            The preprocessed image with its name and original size; the picture itself is not kept. Where the model's
            region of interest is not for this image, the reason.
        """
        try:
            normalise = not isinstance(self._model, ExportedModel)
            return prepared(name, image, self.meta.preprocess, normalise=normalise, looks=self.looks)
        except WeakspotError as error:
            return Loaded(name, error=str(error))

    def predict(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Predict any number of images, in order and in constant memory.

        Args:
            images: one image or many: paths, uint8 arrays ``(H, W)``, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA, PIL
                images; a path may be a folder, which stands for every image in it.
            batch_size: images in one forward pass; None for what suits the device. Always 1 with ``data.resize=tile``.

        Yields:
            One prediction for each image; one that cannot be read has status ``error`` and a message, and does not stop
            the others.

        Raises:
            WeakspotError: for a `batch_size` below 1, and for a folder without images.
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
        """Predict as :meth:`predict` does, and give the loaded image beside each prediction.

        Args:
            images: as :meth:`predict` takes them.
            batch_size: images in one forward pass; None for what suits the device. Always what suits it with
                ``data.resize=tile``.
            keep_longest: keep each picture, shrunk so that no side is longer than this many pixels; None keeps no
                picture.

        Yields:
            Each prediction with what was loaded for it, in order.

        Raises:
            WeakspotError: for a `batch_size` below 1, and for a folder without images.
        """
        if batch_size is None or self.meta.preprocess.tile:
            batch_size = self.batch_size
        if batch_size < 1:
            raise WeakspotError(f"batch_size={batch_size} must be at least 1")
        normalise = not isinstance(self._model, ExportedModel)
        loaded = load_images(
            each_source(images), self.meta.preprocess, keep_longest=keep_longest, normalise=normalise, looks=self.looks
        )
        for predictions, batch in self._answered(batched(loaded, batch_size)):
            yield from zip(predictions, batch, strict=True)

    def _answered(self, batches: Iterator[list[Loaded]]) -> Iterator[tuple[list[Prediction], list[Loaded]]]:
        """Predictions of every batch; several batches at once where that is faster and there are several."""
        streams = self.streams
        first = list(islice(batches, streams))
        asked = self.for_many() if len(first) > 1 else self

        def answer(batch: list[Loaded]) -> tuple[list[Prediction], list[Loaded]]:
            return asked.predict_batch(batch), batch

        if asked is self:
            yield from map(answer, chain(first, batches))
        else:
            yield from in_order(answer, chain(first, batches), workers=streams, ahead=2 * streams)

    def predict_batch(self, batch: list[Loaded]) -> list[Prediction]:
        """Predict loaded images in one forward pass.

        Args:
            batch: from :meth:`prepare` or :func:`~weakspot.data.loading.load_images`; images that could not be read may
                be among them.

        Returns:
            One prediction for each, in order.
        """
        sound = [item for item in batch if item.pixels is not None]
        output = iter(self._ask(sound) if sound else [])
        return [
            Prediction(item.name, status="error", message=item.error)
            if item.pixels is None
            else make_prediction(
                item.name,
                item.size,
                next(output),
                self.meta.classes,
                self.meta.preprocess,
                self.rule,
                self.meta.decision,
                trust=self.trust,
                ranking=self.meta.ranking,
                familiarity=self.meta.familiarity,
            )
            for item in batch
        ]

    def _ask(self, batch: Sequence[Loaded]) -> list[ModelOutput]:
        arrays: list[npt.NDArray[Any]] = [item.pixels for item in batch if item.pixels is not None]
        found = self._model.ask(arrays)
        output = [one._replace(region=item.region, look=item.look) for one, item in zip(found, batch, strict=True)]
        if not self.flip_tta:
            return output
        across = 1 if isinstance(self._model, ExportedModel) else 2  # (h, w, 3) or (3, h, w)
        mirrored = self._model.ask([np.flip(array, across) for array in arrays])
        return [one.with_flipped(other) for one, other in zip(output, mirrored, strict=True)]

    def adjusted(self, threshold: float | None = None, flip_tta: bool | None = None) -> Localizer:
        """Make a localizer with other settings; the model is shared, not copied.

        Args:
            threshold: of the box rule; None leaves it as it is.
            flip_tta: whether to run the mirrored image too; None leaves it as it is.
        """
        other = self if threshold is None else self.with_rule(threshold=threshold)
        other = copy(other)
        other.flip_tta = self.flip_tta if flip_tta is None else flip_tta
        return other

    def for_picture(self, image: ImageArray, name: Path) -> Localizer:
        """Make a localizer for changed copies of one picture, all of which get its region of interest.

        Args:
            image: uint8 RGB ``(H, W, 3)``.
            name: the file that it was read from.

        Raises:
            WeakspotError: when the model's region of interest is not for it.
        """
        return self.with_preprocess(self.meta.preprocess.for_picture(image, name))

    def with_masks(self, folder: Path) -> Localizer:
        """Make a localizer that takes the regions of interest of its pictures from another folder.

        Args:
            folder: with a mask for each picture, under its name.

        Raises:
            WeakspotError: when the model was not trained with a mask for each picture, or the folder holds none.
        """
        if not isinstance(self.meta.preprocess.roi, PairedRegions):
            raise WeakspotError(
                "this model was not trained with a mask of the region of interest for each picture (data.roi=FOLDER), "
                "so it takes none"
            )
        return self.with_preprocess(replace(self.meta.preprocess, roi=PairedRegions.at(folder)))

    def with_preprocess(self, preprocess: Preprocess) -> Localizer:
        """Make a localizer with another preprocessing, of the same input size; the model is shared, not copied.

        Args:
            preprocess: what brings an image to the network's input.
        """
        other = copy(self)
        other.meta = replace(self.meta, preprocess=preprocess)
        return other

    def region_of(self, image: ImageArray) -> BoolArray | None:
        """The region of interest of a picture, ``(H, W)``; None where all of every picture counts.

        Args:
            image: uint8 RGB ``(H, W, 3)``.
        """
        roi = self.meta.preprocess.roi
        return None if roi is None else roi.mask(image, None)

    def with_rule(self, **changes: object) -> Localizer:
        """Make a localizer with another box rule; the model is shared, not copied.

        Args:
            **changes: fields of :class:`~weakspot.config.rules.BoxRule`, for instance ``threshold=0.5``.

        Raises:
            WeakspotError: for a value out of range.
        """
        other = copy(self)
        other.rule = replace(self.rule, **changes)  # type: ignore[arg-type]
        return other
