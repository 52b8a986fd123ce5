"""State dicts in files: reading them, telling what they hold, and their hash. Nothing is unpickled but arrays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from weakspot.data.preprocess import PreprocessMode
from weakspot.errors import WeakspotError

StateDict = dict[str, Tensor]


def features_only(state: StateDict) -> StateDict:
    """Keep VGG16's convolutions and strip torchvision's ``features.`` prefix, as float32."""
    if any(name.startswith("features.") for name in state):
        state = {name.removeprefix("features."): t for name, t in state.items() if name.startswith("features.")}
    return {name: tensor.float().contiguous() for name, tensor in state.items()}


def hash_state(state: StateDict) -> str:
    """Hash names, shapes and values with SHA-256 (hexadecimal), whatever the file format and the order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def holds_vgg16(source: str) -> bool:
    """Tell whether ``model.weights`` names a file with VGG16's convolutions; what cannot be read holds none.

    Args:
        source: as in ``model.weights``.
    """
    path = Path(source).expanduser()
    if source in ("auto", "imagenet", "none") or not path.is_file():
        return False
    try:
        state = features_only(read_weights(path, f"model.weights={path}")[0])
    except WeakspotError:
        return False
    last = state.get("21.weight")  # conv4_3
    return last is not None and tuple(last.shape) == (512, 512, 3, 3)


def read_state(path: Path) -> StateDict:
    """Read a state dict from a ``.pth``/``.pt`` file (with ``weights_only=True``) or a ``.safetensors`` file.

    Raises:
        WeakspotError: when the file is missing, damaged, or no state dict.
    """
    if not path.is_file():
        raise WeakspotError(f"weights {path}: no such file")
    return read_weights(path, f"weights {path}")[0]


def read_weights(path: Path, named: str) -> tuple[StateDict, PreprocessMode | None]:
    """Read a state dict and the preprocessing that its file states.

    Args:
        path: a ``.safetensors`` file, or one that torch reads with ``weights_only=True``.
        named: what the file is called in an error.

    Returns:
        The tensors, and the preprocessing; None where the file does not say.

    Raises:
        WeakspotError: when the file is damaged, or no state dict.
    """
    stated: PreprocessMode | None = None
    try:
        if path.suffix == ".safetensors":
            state, stated = _read_safetensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many types for damaged or unsafe files
        raise WeakspotError(f"{named} cannot be read ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeakspotError(f"{named} is not a state dict (a dictionary of tensors)")
    return state, stated


def _read_safetensors(path: Path) -> tuple[StateDict, PreprocessMode | None]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        stated = (file.metadata() or {}).get("preprocess", "")
    if stated == "torchvision":
        return state, "torchvision"
    if stated == "caffe" or stated.startswith("RGB 0..255 minus (123,117,104)"):
        return state, "caffe"
    return state, None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its kind where it has none.

    Args:
        error: any.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
