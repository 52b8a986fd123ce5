"""Which model a folder is best run with: the run's own, or a certified export beside it. No torch."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
from importlib.util import find_spec
from pathlib import Path

from weakspot.errors import WeakspotError
from weakspot.inference.exported import EXPORTED
from weakspot.models.bundle_meta import META_FILE, find_bundle
from weakspot.utils.untrusted import read_json

FASTER = 1.05
"""From this ratio on an export is taken in the run's place."""

RUNTIMES = {".onnx": "onnxruntime", ".xml": "openvino"}


def fastest(run: Path, device: str = "auto") -> tuple[Path, str]:
    """The model to load for a run: its fastest certified export where there is one, else the run itself.

    A folder with exported models and no bundle, as it is handed over to a line, gives one of these.

    Args:
        run: run folder, bundle, exported model, or a folder with exported models.
        device: what the model is to run on; exports run on the CPU, so a graphics card keeps the run itself.

    Returns:
        What to load, and a line that says which was taken and why; empty where it is what was asked for.

    Raises:
        WeakspotError: for what is no folder, and for one with several exported models, none of which is known to be
            the fastest here.
    """
    if run.suffix.lower() in EXPORTED:
        return run, ""
    if not run.is_dir():
        find_bundle(run)  # says what is wrong before torch is loaded
    try:
        bundle = find_bundle(run)
    except WeakspotError:
        return _handed_over(run)
    folder = bundle.parent if bundle.name == "bundle" else run
    if device not in ("auto", "cpu") or not (folder / "exports").is_dir() or (device == "auto" and _has_cuda()):
        return run, ""
    found = faster_export(folder)
    if found is None:
        return run, ""
    return found[0], (
        f"running {found[0]}: it gives the same answers, {found[1]:.2f} × as fast when it was measured on this "
        "machine (--no-fastest runs what was given)"
    )


def faster_export(run: Path) -> tuple[Path, float] | None:
    """The fastest export of a run that answers the same, was measured on this machine to be faster, and can run here.

    Returns:
        Its path and how many times as fast it is; None where there is none.
    """
    return _fastest_of(run / "exports", bundle_hash(run))


def _fastest_of(folder: Path, bundle: str | None) -> tuple[Path, float] | None:
    best: tuple[Path, float] | None = None
    for path in sorted(folder.glob("*.certificate.json")):
        model = path.with_name(path.name.removesuffix(".certificate.json"))
        try:
            content = read_json(path)
            speed = content["speed"]
            here = speed["machine"] == machine() and speed["threads"] == os.environ.get("OMP_NUM_THREADS", "all")
            same = content["passed"] and content["precision"] == "fp32" and bundle in (None, content["bundle"])
            ratio = float(speed["ratio"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if here and same and _can_run(model) and ratio >= (best[1] if best else FASTER):
            best = model, ratio
    return best if best and math.isfinite(best[1]) else None


def _handed_over(folder: Path) -> tuple[Path, str]:
    """The exported model in a folder of nothing else."""
    models = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in EXPORTED]
    if not models:
        return find_bundle(folder), ""  # says what is missing
    able = [path for path in models if _can_run(path)] or models
    if len(able) > 1:
        found = _fastest_of(folder, None)
        if found is None:
            names = ", ".join(path.name for path in able)
            raise WeakspotError(f"{folder} holds several models ({names}); name the one to run")
        able = [found[0]]
    return able[0], f"running {able[0]}"


def _can_run(model: Path) -> bool:
    runtime = RUNTIMES.get(model.suffix.lower())
    return runtime is not None and model.is_file() and find_spec(runtime) is not None


def _has_cuda() -> bool:
    """Whether torch would find a graphics card; torch itself, which takes seconds to load, is asked only if it may."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    if find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def machine() -> str:
    """What a speed is worth on: the computer's name, its processor and number of cores."""
    return f"{platform.node()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def bundle_hash(run: Path) -> str:
    """SHA-256 of a run's ``model.json``, which changes with the tensors, the thresholds and the box rule."""
    return hashlib.sha256((find_bundle(run) / META_FILE).read_bytes()).hexdigest()


def certificate_path(model: Path) -> Path:
    """Where the certificate of an exported model lies."""
    return model.with_name(f"{model.name}.certificate.json")
