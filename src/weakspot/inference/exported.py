"""Exported models: one file for ONNX Runtime or OpenVINO that holds all that prediction needs. No torch."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.models.bundle_meta import BundleMeta, NewerFormatError
from weakspot.models.output_store import OLD_NAMES
from weakspot.types import ModelOutput
from weakspot.utils.threads import shared_out, wanted
from weakspot.utils.untrusted import parse_json

METADATA_KEY = "weakspot"
"""Where a file's metadata keep :meth:`BundleMeta.to_dict` as JSON."""

GRAPH_OUTPUTS: Final = (
    "logits", "probabilities", "maps", "mask_logits", "location_logits", "distances", "part_log_odds"
)  # fmt: skip
"""What the graph gives, in this order; `mask_logits` and `location_logits` with evidence heads only, `distances` with
statistics of familiarity, `part_log_odds` where more than the classifier decides."""

Run = Callable[[npt.NDArray[np.uint8]], Mapping[str, npt.NDArray[np.float32]]]
"""Pictures ``(n, H, W, 3)`` to :data:`GRAPH_OUTPUTS`; several threads may call it at once."""

Open = Callable[[int, int], Run]
"""Makes ready for so many calls at once, on so many threads each; 0 threads: as many as suit the machine."""


class ExportedModel:
    """Runs an exported model for a :class:`~weakspot.inference.localizer.Localizer`, in another runtime than torch.

    Attributes:
        path: the file.
        device: always ``cpu``.
        streams: number of pictures to run at once where there are many.
    """

    device = "cpu"

    def __init__(self, path: Path, opened: Open) -> None:
        self.path, self._open = path, opened
        self._many: ExportedModel | None = None
        self.streams, self._threads = shared_out(wanted() or os.cpu_count() or 1)

    def for_many(self) -> ExportedModel:
        """The same model, ready for :attr:`streams` callers at once: more pictures a second, each one slower."""
        if self._many is None:
            self._many = copy(self)
            self._many._run = self._open(self.streams, self._threads)
        return self._many

    @cached_property
    def _run(self) -> Run:
        return self._open(1, wanted())

    def move(self, device: str) -> None:
        """Check the device; an exported model stays on the CPU.

        Raises:
            WeakspotError: for another device than the CPU.
        """
        if device not in ("auto", "cpu"):
            raise WeakspotError(f"device {device}: exported models run on the CPU; give the run itself, or device cpu")

    def batch_size(self, preprocess: Preprocess) -> int:
        """Number of images to run at once: one, which keeps a processor's caches warm."""
        return 1

    def ask(self, inputs: Sequence[npt.NDArray[Any]]) -> list[ModelOutput]:
        """Run the model on pictures at network size, uint8 ``(H, W, 3)`` each; gives an output for each."""
        output = self._run(np.stack(inputs))
        named = {"logits": output["logits"], "maps": output["maps"]}
        for name in ("mask_logits", "location_logits"):
            plane = output.get(name, output.get(OLD_NAMES[name]))
            if plane is not None:  # half the precision, as the PyTorch model gives it: the boxes must be the same
                named[name] = plane.astype(np.float16)
        named |= {name: output[name] for name in ("distances", "part_log_odds") if name in output}
        return [ModelOutput(**{name: array[i] for name, array in named.items()}) for i in range(len(inputs))]


def load_exported(path: Path) -> tuple[ExportedModel, BundleMeta]:
    """Read a model that ``weakspot export model`` wrote.

    Raises:
        WeakspotError: when the file is missing, damaged or no model of weakspot's, or its runtime is not installed.
    """
    if not path.is_file():
        raise WeakspotError(f"{path} does not exist; make it with 'weakspot export model RUN'")
    opened, text = EXPORTED[path.suffix.lower()](path)
    if not text:
        raise WeakspotError(f"{path} was not made by 'weakspot export model': it holds no description of the model")
    try:
        return ExportedModel(path, opened), BundleMeta.from_dict(parse_json(text))
    except NewerFormatError as error:
        raise WeakspotError(f"{path} cannot be used: {error}") from error
    except (ValueError, TypeError, AttributeError, WeakspotError) as error:
        raise WeakspotError(f"{path} cannot be used: {error}; export it again") from error


def _imported(name: str, extra: str) -> Any:  # noqa: ANN401 - a module
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeakspotError(f"{name} is not installed; pip install 'weakspot[{extra}]'") from error


def _onnx(path: Path) -> tuple[Open, str]:
    runtime = _imported("onnxruntime", "onnx")

    def session(threads: int) -> Any:  # noqa: ANN401 - of a library that may be missing
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class
            why = str(error).splitlines()[0]
            raise WeakspotError(f"{path} is damaged or no ONNX model ({why}); export it again") from error

    first = session(wanted())
    names = [output.name for output in first.get_outputs()]
    (pictures,) = (entry.name for entry in first.get_inputs())

    def opened(streams: int, threads: int) -> Run:
        used = first if streams == 1 else session(threads)

        def run(batch: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.float32]]:
            return dict(zip(names, used.run(names, {pictures: batch}), strict=True))

        return run

    return opened, first.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")


_OPENVINO_IS_NEW, _OPENVINO_IS_READY = threading.Lock(), threading.Event()
"""A process's first inference runs alone: OpenVINO's Python module makes ready for NumPy at the first array that it is
given, and two threads that give it one at the same moment wait for each other for ever."""


def _openvino(path: Path) -> tuple[Open, str]:
    openvino = _imported("openvino", "openvino")
    core = openvino.Core()
    try:
        model = core.read_model(path)
        text = model.get_rt_info([METADATA_KEY]).astype(str) if model.has_rt_info([METADATA_KEY]) else ""
    except Exception as error:
        raise _no_openvino(path, error) from error

    def opened(streams: int, threads: int) -> Run:
        # Full precision: processors with bfloat16 or float16 units would round the answers otherwise.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        settings |= {"PERFORMANCE_HINT": "LATENCY"} if streams == 1 else {"NUM_STREAMS": streams}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = streams * threads
        try:
            compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise _no_openvino(path, error) from error
        names = [output.any_name for output in compiled.outputs]
        own = threading.local()  # a request serves one caller at a time

        def ask(batch: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.float32]]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            found = own.request.infer([batch])
            return {name: np.array(found[i]) for i, name in enumerate(names)}

        def run(batch: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.float32]]:
            if _OPENVINO_IS_READY.is_set():
                return ask(batch)
            with _OPENVINO_IS_NEW:
                answer = ask(batch)
            _OPENVINO_IS_READY.set()
            return answer

        return run

    return opened, text


def _no_openvino(path: Path, error: Exception) -> WeakspotError:
    why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return WeakspotError(f"{path} is damaged or no OpenVINO model ({why}); export it again")


EXPORTED: dict[str, Callable[[Path], tuple[Open, str]]] = {".onnx": _onnx, ".xml": _openvino}
"""Readers of exported models by the file's suffix."""
