"""Exported models: one file for ONNX Runtime or OpenVINO, with all that prediction needs to know in it. No torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.model.meta import BundleMeta, NewerFormatError
from weakspot.types import ImageMaps
from weakspot.untrusted import parse_json

METADATA_KEY = "weakspot"
"""Where a file's metadata keep :meth:`BundleMeta.to_dict` as JSON."""

OUTPUTS: Final = ("logits", "probabilities", "maps", "extent", "where")
"""What the graph gives; the last two with refinement only."""

Run = Callable[[npt.NDArray[np.uint8]], Mapping[str, npt.NDArray[np.float32]]]
"""Pictures ``(n, H, W, 3)`` to :data:`OUTPUTS`."""


class ExportedModel:
    """What a :class:`~weakspot.localizer.Localizer` asks of a model, answered by another runtime.

    Attributes:
        path: the file.
        device: always ``cpu``.
    """

    device = "cpu"

    def __init__(self, path: Path, run: Run) -> None:
        self.path, self._run = path, run

    def move(self, device: str) -> None:
        """Nothing moves.

        Raises:
            WeakspotError: for another device than the CPU.
        """
        if device not in ("auto", "cpu"):
            raise WeakspotError(f"device {device}: exported models run on the CPU; give the run itself, or device cpu")

    def batch_size(self, preprocess: Preprocess) -> int:
        """How many images to run at once: one, which keeps a processor's caches warm."""
        return 1

    def ask(self, inputs: Sequence[npt.NDArray[Any]]) -> list[ImageMaps]:
        """What it says of pictures at network size, uint8 ``(H, W, 3)`` each."""
        said = self._run(np.stack(inputs))
        # Half the precision, as the PyTorch model gives it: the boxes must be the same.
        planes = [said[name].astype(np.float16) for name in OUTPUTS[3:] if name in said]
        return [ImageMaps(*one) for one in zip(said["logits"], said["maps"], *planes, strict=True)]


def load_exported(path: Path) -> tuple[ExportedModel, BundleMeta]:
    """Read a model that ``weakspot export model`` wrote.

    Raises:
        WeakspotError: when it is missing, damaged, not one of ours, or its runtime is not installed.
    """
    if not path.is_file():
        raise WeakspotError(f"{path} does not exist; make it with 'weakspot export model RUN'")
    run, text = EXPORTED[path.suffix.lower()](path)
    if not text:
        raise WeakspotError(f"{path} was not made by 'weakspot export model': it holds no description of the model")
    try:
        return ExportedModel(path, run), BundleMeta.from_dict(parse_json(text))
    except NewerFormatError as error:
        raise WeakspotError(f"{path} cannot be used: {error}") from error
    except (ValueError, TypeError, AttributeError, WeakspotError) as error:
        raise WeakspotError(f"{path} cannot be used: {error}; export it again") from error


def threads() -> int:
    """How many threads to run on: ``OMP_NUM_THREADS``, as torch does; 0 for as many as suit the machine."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else 0


def _imported(name: str, extra: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeakspotError(f"{name} is not installed; pip install 'weakspot[{extra}]'") from error


def _onnx(path: Path) -> tuple[Run, str]:
    runtime = _imported("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise WeakspotError(
            f"{path} is damaged or no ONNX model ({str(error).splitlines()[0]}); export it again"
        ) from error
    names = [output.name for output in session.get_outputs()]
    (pictures,) = (entry.name for entry in session.get_inputs())

    def run(batch: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.float32]]:
        return dict(zip(names, session.run(names, {pictures: batch}), strict=True))

    return run, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")


def _openvino(path: Path) -> tuple[Run, str]:
    openvino = _imported("openvino", "openvino")
    core = openvino.Core()
    # Full precision: processors with bfloat16 or float16 units would round the answers otherwise.
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads():
        settings["INFERENCE_NUM_THREADS"] = threads()
    try:
        model = core.read_model(path)
        text = model.get_rt_info([METADATA_KEY]).astype(str) if model.has_rt_info([METADATA_KEY]) else ""
        compiled = core.compile_model(model, "CPU", settings)
    except Exception as error:
        raise WeakspotError(
            f"{path} is damaged or no OpenVINO model ({_first_line(error)}); export it again"
        ) from error
    request = compiled.create_infer_request()
    names = [output.any_name for output in compiled.outputs]

    def run(batch: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.float32]]:
        found = request.infer([batch])
        return {name: np.array(found[i]) for i, name in enumerate(names)}

    return run, text


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


EXPORTED: dict[str, Callable[[Path], tuple[Run, str]]] = {".onnx": _onnx, ".xml": _openvino}
"""Readers of exported models by the file's suffix."""
