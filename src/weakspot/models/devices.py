"""Whether there is the device that a user names, asked before anything is loaded for it."""

from __future__ import annotations

from weakspot.errors import WeakspotError


def check_device(device: str) -> None:
    """Refuse a device that there is not.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or another name that torch knows. Where torch is missing, any will do.

    Raises:
        WeakspotError: for a name that torch does not know, and for ``cuda`` where torch finds no graphics card.
    """
    if device in ("auto", "cpu"):
        return
    unknown = WeakspotError(f"device {device} is unknown; choose auto, cpu or cuda")
    if device.lower() == "gpu":  # what most people try first need not wait for torch
        raise unknown
    try:
        import torch
    except ImportError:  # exported models say by themselves where they run
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:  # it lists all of torch's twenty names
        raise unknown from error
    if kind == "cuda" and not torch.cuda.is_available():
        of_cpu = torch.version.cuda is None and torch.version.hip is None
        why = "the PyTorch that is installed is for CPUs alone" if of_cpu else "PyTorch finds no graphics card here"
        raise WeakspotError(f"device {device} cannot be used: {why}; choose auto or cpu")
