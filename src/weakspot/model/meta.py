"""Everything about a trained model but its tensors: ``model.json``. No torch, so that exported models do without."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weakspot.boxes import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.decision import Decision
from weakspot.errors import WeakspotError
from weakspot.files import write_json

FORMAT = 1
WEIGHTS_FILE, META_FILE = "model.safetensors", "model.json"


@dataclass(frozen=True)
class BundleMeta:
    """Everything about a trained model but its tensors.

    Attributes:
        classes: class names, ``good`` first.
        preprocess: what has to be done to an image before the network sees it.
        backbone, outputs: arguments of :class:`CamNet`.
        boxes: the rule that turns maps into boxes.
        decision: how logits become a class.
        thresholds: ``{name: {"value", "origin"}}``; every number that decides something, and how it was chosen.
        weights: ``{"origin", "sha256"}`` of the pre-trained weights.
        split_hash, data_hash: which data it was trained on.
        heatmap: method that the maps are made by, which boxes are drawn round.
        evidence: arguments of :class:`~weakspot.model.evidence.EvidenceNet`; None without refinement.
        versions: of the libraries that made it.
    """

    classes: list[str]
    preprocess: Preprocess
    backbone: str
    outputs: int
    boxes: BoxRule
    thresholds: dict[str, dict[str, Any]]
    weights: dict[str, str]
    split_hash: str
    data_hash: str
    heatmap: str = "cam"
    evidence: dict[str, Any] | None = None
    decision: Decision = field(default_factory=Decision)
    versions: dict[str, str] = field(default_factory=lambda: library_versions())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back."""
        return {**asdict(self), "preprocess": self.preprocess.to_dict(), "format": FORMAT}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BundleMeta:
        """Read what :meth:`to_dict` wrote.

        Raises:
            WeakspotError: when a key is missing or unknown, or a value is out of range.
        """
        values = dict(values)
        if values.pop("format", None) != FORMAT:
            raise WeakspotError(f"its format is not {FORMAT}; train again with this version of weakspot")
        try:
            boxes, preprocess = BoxRule(**values.pop("boxes")), Preprocess.from_dict(values.pop("preprocess"))
            decision = Decision(**values.pop("decision", {}))
            return cls(**values, boxes=boxes, preprocess=preprocess, decision=decision)
        except (KeyError, TypeError) as error:
            raise WeakspotError(f"a key is missing or unknown ({error})") from error


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    names = ("weakspot", "torch", "torchvision", "pytorch-lightning", "numpy", "opencv-python-headless", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def rewrite_meta(folder: Path, meta: BundleMeta) -> None:
    """Replace a bundle's ``model.json``, for instance after its box rule changed; the tensors stay."""
    sha256 = read_meta_file(folder / META_FILE)[1]
    write_json(folder / META_FILE, meta.to_dict() | {"sha256": sha256})


def read_meta(folder: Path) -> BundleMeta:
    """Read a bundle's ``model.json``.

    Raises:
        WeakspotError: when it is missing, damaged, or of another format.
    """
    return read_meta_file(folder / META_FILE)[0]


def read_meta_file(path: Path) -> tuple[BundleMeta, str]:
    """A ``model.json`` and the hash of the tensors that belong to it.

    Raises:
        WeakspotError: when it is missing, damaged, or of another format.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        sha256 = values.pop("sha256")
        return BundleMeta.from_dict(values), sha256
    except (OSError, ValueError, KeyError, AttributeError, TypeError, WeakspotError) as error:
        raise WeakspotError(f"{path} cannot be used: {error}") from error


def find_bundle(folder: Path) -> Path:
    """The bundle folder in or at `folder`.

    Raises:
        WeakspotError: when `folder` is neither a run folder nor a bundle.
    """
    for candidate in (folder, folder / "bundle"):
        if (candidate / META_FILE).is_file():
            return candidate
    what = "holds no finished model" if folder.is_dir() else "does not exist"
    raise WeakspotError(f"{folder} {what}; give a run folder made by 'weakspot train' or a bundle folder")
