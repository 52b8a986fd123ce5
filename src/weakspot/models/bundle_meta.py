"""Everything about a trained model but its tensors: ``model.json``. No torch, as exported models use it too."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weakspot._version import __version__
from weakspot.config.rules import BoxRule
from weakspot.config.values import typed_setting
from weakspot.data.picture_sizes import PictureSizes
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.familiarity import Familiarity
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.utils.files import OUTPUTS, write_json
from weakspot.utils.untrusted import expect, read_json

FORMAT = 8
"""Goes up when a bundle of today could not be used rightly by a weakspot of yesterday. Every older one is read for
ever: a new key has a default that means what there was before it, and ``tests/data/bundles`` keeps one of each format.
"""

WEIGHTS_FILE, META_FILE = "model.safetensors", "model.json"
EVALUATIONS = "evaluations"
"""Folder of a run with what was measured again; an evaluation holds no model of its own."""

MOST_CLASSES, LONGEST_NAME = 1000, 300
MOST_TAPS, MOST_CHANNELS, WIDEST = 8, 4096, 256
"""Limits of what a description may require; without them one of a hundred bytes could take all memory there is."""


class NewerFormatError(WeakspotError):
    """The model was made by a newer weakspot than this one."""


@dataclass(frozen=True)
class BundleMeta:
    """Everything about a trained model but its tensors.

    Attributes:
        classes: class names, ``good`` first.
        preprocess: what brings an image to the network's input.
        backbone, outputs: arguments of :class:`CamNet`.
        boxes: the rule that turns maps into boxes.
        decision: how logits become a class.
        thresholds: ``{name: {"value", "origin"}}``; every number that decides something, and how it was chosen.
        weights: ``{"origin", "sha256"}`` of the pre-trained weights.
        split_hash, data_hash: which data the model was trained on.
        heatmap: method of the maps that boxes are drawn round.
        flip_tta: whether the mirrored image is run too (flip test-time augmentation), for the trust of boxes.
        trust: how the trust of boxes comes about; None where it was not calibrated.
        ranking: what boxes are ordered by; None orders them by their places.
        evidence: arguments of :class:`~weakspot.models.evidence.EvidenceNet`; None without evidence heads.
        statistics: arguments of :class:`~weakspot.models.statistics.StatisticsHead`; None without a statistics head.
        learnt_from: number of boxes, masks and corrected labels that it was trained on; None for labels alone.
        pictures: sizes of the training pictures; None where a version before 0.2 did not say.
        familiarity: what is known of the pictures that the model was trained on; None where that is nothing.
        versions: of the libraries that the model was made with.
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
    flip_tta: bool = False
    evidence: dict[str, Any] | None = None
    statistics: dict[str, Any] | None = None
    decision: Decision = field(default_factory=Decision)
    trust: TrustCalibration | None = None
    ranking: TrustCalibration | None = None
    learnt_from: dict[str, int] | None = None
    pictures: PictureSizes | None = None
    familiarity: Familiarity | None = None
    versions: dict[str, str] = field(default_factory=lambda: library_versions())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back."""
        trust = None if self.trust is None else self.trust.to_dict()
        familiarity = None if self.familiarity is None else self.familiarity.to_dict()
        ranking = None if self.ranking is None else self.ranking.to_dict()
        own = {"preprocess": self.preprocess.to_dict(), "trust": trust, "ranking": ranking, "familiarity": familiarity}
        values = {**asdict(self), **own, "format": FORMAT}
        if self.learnt_from is None:  # as it was before there was anything else to learn from
            del values["learnt_from"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BundleMeta:
        """Read what :meth:`to_dict` wrote.

        Raises:
            NewerFormatError: when it was written by a newer weakspot.
            WeakspotError: when a key is missing or unknown, or a value is out of range.
        """
        values = dict(values)
        found = values.pop("format", None)
        if type(found) is not int or found < 1:
            raise WeakspotError("it has no format number; copy it again, or train again")
        if found > FORMAT:
            raise NewerFormatError(
                f"it is of format {found}, and this weakspot ({_version()}) knows formats up to {FORMAT}; upgrade "
                "weakspot: pip install --upgrade weakspot"
            )
        values = _with_new_names(values)
        try:
            _check(values)
            for key, read in (
                ("boxes", lambda found: BoxRule(**found)),
                ("preprocess", Preprocess.from_dict),
                ("decision", lambda found: Decision(**found)),
                ("trust", TrustCalibration.from_dict),
                ("ranking", TrustCalibration.from_dict),
                ("pictures", PictureSizes.from_dict),
                ("familiarity", Familiarity.from_dict),
            ):
                if values.get(key) is not None:
                    values[key] = read(values[key])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise WeakspotError(f"a key is missing or unknown ({error})") from error
        except (ValueError, OverflowError) as error:
            raise WeakspotError(str(error)) from error


def _with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    """A description with today's names in place of those of formats 1 and 2."""
    renamed = {"second_look": "flip_tta"}
    values = {renamed.get(key, key): value for key, value in values.items()}
    if isinstance(values.get("evidence"), dict):
        widths = {"where_width": "location_width", "extent_width": "mask_width"}
        values["evidence"] = {widths.get(key, key): value for key, value in values["evidence"].items()}
    return values


def _check(values: Mapping[str, Any]) -> None:
    """Types and sizes; what the numbers must be is checked where they are used.

    Raises:
        ValueError: naming the entry.
    """
    expect(values, classes=list, backbone=str, outputs=int, split_hash=str, data_hash=str, heatmap=str)
    expect(values, boxes=dict, preprocess=dict, decision=dict, weights=dict, thresholds=dict, versions=dict)
    expect({"statistics": None, **values}, evidence=(dict, type(None)), statistics=(dict, type(None)))
    expect({"pictures": None, **values}, pictures=(dict, type(None)))
    expect({"flip_tta": False, **values}, flip_tta=bool)
    classes = values["classes"]
    named = all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in classes)
    if not named or len(set(classes)) < len(classes) or not 2 <= len(classes) <= MOST_CLASSES:
        raise ValueError(f"classes are not 2 to {MOST_CLASSES} different names of up to {LONGEST_NAME} characters")
    for key in ("weights", "versions"):
        expect(values.get(key, {}), **dict.fromkeys(values.get(key, {}), str))
    expect(values["thresholds"], **dict.fromkeys(values["thresholds"], dict))
    expect(values["boxes"], outlines=bool)
    number = (int, float)
    expect(values.get("decision", {}), temperature=number, threshold=(*number, type(None)), bias=number)
    expect(values.get("learnt_from") or {}, **dict.fromkeys(values.get("learnt_from") or {}, int))
    if values.get("evidence"):
        _check_evidence(values["evidence"])
    if values.get("statistics"):
        _check_statistics(values["statistics"])
    if values.get("familiarity"):
        _check_familiarity(values["familiarity"])


def _check_evidence(settings: Mapping[str, Any]) -> None:
    expect(settings, taps=list, channels=list, location_width=int, mask_width=int)
    expect({str(i): tap for i, tap in enumerate(settings["taps"])}, **{str(i): str for i in range(MOST_TAPS)})
    pairs = settings["channels"]
    numbers = [n for pair in pairs for n in (pair if isinstance(pair, list) and len(pair) == 2 else [0])]
    if not 1 <= len(settings["taps"]) == len(pairs) <= MOST_TAPS:
        raise ValueError(f"evidence has {len(settings['taps'])} taps and {len(pairs)} pairs of channels")
    if not all(type(n) is int and 1 <= n <= MOST_CHANNELS for n in numbers):
        raise ValueError(f"evidence channels are not pairs of 1 to {MOST_CHANNELS}")
    if not all(2 <= settings.get(key, 2) <= WIDEST for key in ("location_width", "mask_width")):
        raise ValueError(f"evidence widths are not 2 to {WIDEST}")


def _check_statistics(settings: Mapping[str, Any]) -> None:
    expect(settings, taps=list, channels=list)
    taps, channels = settings["taps"], settings["channels"]
    if not (1 <= len(taps) == len(channels) <= MOST_TAPS and all(isinstance(tap, str) for tap in taps)):
        raise ValueError(f"a head has {len(taps)} taps and {len(channels)} numbers of channels")
    if not all(type(n) is int and 1 <= n <= MOST_CHANNELS for n in channels):
        raise ValueError(f"channels of a head are not 1 to {MOST_CHANNELS}")


def _check_familiarity(settings: Mapping[str, Any]) -> None:
    _check_statistics(settings)
    ranks = settings.get("ranks")
    if not isinstance(ranks, list) or not all(type(n) is int and 0 <= n <= WIDEST for n in ranks):
        raise ValueError(f"familiarity ranks are not 0 to {WIDEST}")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    names = ("weakspot", "torch", "torchvision", "pytorch-lightning", "numpy", "opencv-python-headless", "scikit-learn")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str = "weakspot") -> str:
    if name == "weakspot":  # of this very code; an editable install remembers the version that it was installed with
        return __version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def rewrite_meta(folder: Path, meta: BundleMeta) -> None:
    """Replace a bundle's ``model.json``, for instance when its box rule has changed; the tensors stay.

    Args:
        folder: the bundle.
        meta: the new description.

    Raises:
        WeakspotError: when the old ``model.json`` is missing or damaged.
    """
    sha256 = read_meta_file(folder / META_FILE)[1]
    write_json(folder / META_FILE, meta.to_dict() | {"sha256": sha256})


def read_meta(folder: Path) -> BundleMeta:
    """Read a bundle's ``model.json``.

    Raises:
        WeakspotError: when it is missing, damaged, or of another format.
    """
    return read_meta_file(folder / META_FILE)[0]


def read_meta_file(path: Path) -> tuple[BundleMeta, str]:
    """Read a ``model.json``, and the hash of the tensors that belong to it.

    Raises:
        WeakspotError: when it is missing, damaged, or of another format.
    """
    try:
        values = read_json(path)
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
    if folder.parent.name == EVALUATIONS:
        run = folder.parent.parent
        raise WeakspotError(
            f"{folder} is an evaluation and holds no model; predict with {run}, which decides by these settings when "
            f"you have typed: weakspot evaluate {shlex.quote(str(run))} {typed_setting('output', run)} and the settings"
        )
    if folder.is_dir():
        what = f"holds no finished model{_models_below(folder)}"
    elif folder.exists():
        what = "is a file and no run"
    else:
        near = [str(other) for other in _finished(folder.parent)]
        what = f"does not exist{did_you_mean(str(folder), near) or _models_below(folder.parent)}"
    raise WeakspotError(f"{folder} {what}; give a run folder made by 'weakspot train' or a bundle folder")


def _models_below(folder: Path) -> str:
    """The newest finished runs below a folder, to put behind what is wrong with another name."""
    newest = sorted(_finished(folder), key=lambda run: (run / "bundle" / META_FILE).stat().st_mtime, reverse=True)
    return f" (finished runs: {', '.join(map(str, newest[:3]))})" if newest else ""


def _finished(folder: Path) -> list[Path]:
    """The runs with a model, as deep below a folder as runs lie by default; of the working folder, in outputs."""
    base = OUTPUTS if folder == Path() else folder
    deep = [f"{'*/' * depth}bundle/{META_FILE}" for depth in range(1, 4)]
    found = {path.parents[1] for pattern in deep for path in base.glob(pattern)}
    if base != folder:
        found |= {path.parents[1] for path in folder.glob(deep[0])}
    return sorted(found)
