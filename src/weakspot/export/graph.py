"""The network as one graph, from uint8 pictures to all that prediction needs; written as ONNX or OpenVINO."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.inference.exported import GRAPH_OUTPUTS, METADATA_KEY
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.model import Model
from weakspot.models.tokens import Embedding
from weakspot.postprocess.decision import Decision
from weakspot.types import Size

OPSET = 18


class Graph(nn.Module):
    """Pictures at network size in, :data:`~weakspot.inference.exported.GRAPH_OUTPUTS` out.

    Args:
        model: what is exported.
        preprocess: its normalisation becomes part of the graph.
        decision: its temperature and bias make the probabilities.
    """

    mean: Tensor
    spread: Tensor
    decision_bias: Tensor

    def __init__(self, model: Model, preprocess: Preprocess, decision: Decision) -> None:
        super().__init__()
        self.model, self.temperature = model, decision.temperature
        bias = torch.full((len(model.network.bias),), decision.bias)
        bias[0] = 0.0  # of Good
        self.register_buffer("decision_bias", bias)
        self.network, self.evidence = model.network, model.evidence  # so that their parameters are known
        self.familiarity = model.familiarity
        mean, spread = preprocess.mean_and_spread
        self.register_buffer("mean", torch.from_numpy(mean)[:, None, None])
        self.register_buffer("spread", torch.from_numpy(spread)[:, None, None])

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """From uint8 ``(batch, height, width, 3)``."""
        pixels = (pictures.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.spread
        output = self.model.tensors(self.model.network.forward_taps(pixels, self.model.taps), pixels)
        probabilities = torch.softmax(output.logits / self.temperature + self.decision_bias, dim=1)
        named = output._asdict() | {"probabilities": probabilities}
        return tuple(named[name] for name in GRAPH_OUTPUTS if named[name] is not None)


def write_onnx(path: Path, model: Model, meta: BundleMeta) -> None:
    """Write a model as ONNX, for any batch size, with its description in the file's metadata.

    Args:
        path: the ``.onnx`` file to write.
        model: classifier and evidence heads, on the CPU.
        meta: its description, which goes into the metadata.

    Raises:
        WeakspotError: for ``data.resize=tile``, or when ``onnx`` and ``onnxscript`` are not installed.
    """
    if meta.preprocess.tile:
        raise WeakspotError(
            "a model of data.resize=tile cannot be exported: its pictures have sizes of their own; "
            "train with data.resize=keep_ratio or squash"
        )
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise WeakspotError(f"{error.name} is not installed; pip install 'weakspot[onnx]'") from error
    graph = Graph(_settled(model, meta.preprocess.image_size), meta.preprocess, meta.decision).eval()
    heads = meta.evidence is not None
    given = {
        "mask_logits": heads,
        "location_logits": heads,
        "distances": meta.familiarity is not None,
        "part_log_odds": heads or meta.statistics is not None,
    }
    names = [name for name in GRAPH_OUTPUTS if given.get(name, True)]
    blank = torch.zeros((2, *meta.preprocess.image_size, 3), dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph, (blank,), input_names=["pictures"], output_names=names, opset_version=OPSET, dynamo=True,
            dynamic_shapes={"pictures": {0: torch.export.Dim("batch", min=1, max=4096)}}, external_data=False,
            verbose=False,
        )  # fmt: skip
    assert program is not None  # noqa: S101 - None only where a path is given
    proto = program.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, description(meta)
    onnx.save(proto, str(path))


def _settled(model: Model, size: Size) -> Model:
    """The same model for one size of pictures; a copy, where that makes a difference."""
    if not isinstance(model.network.stem[0], Embedding):
        return model
    model = deepcopy(model)
    for layer in model.network.stem:
        if isinstance(layer, Embedding):
            layer.settle(size)
    return model


def description(meta: BundleMeta) -> str:
    """The description that goes into the file: classes, preprocessing, box rule, thresholds and decision, as JSON."""
    return json.dumps(meta.to_dict(), ensure_ascii=True, sort_keys=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter explains itself at length."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def halve_onnx(path: Path) -> None:
    """Store and compute in float16; pictures stay uint8 and outputs float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = convert_float_to_float16(onnx.load(str(path)), keep_io_types=True)
    onnx.save(proto, str(path))


def quantise_onnx(path: Path, batches: Callable[[], Iterator[npt.NDArray[np.uint8]]]) -> None:
    """Store and compute convolutions in whole numbers of 8 bits (static quantisation, one scale a channel).

    Those of :func:`kept_convolutions` stay as they are. OpenVINO 2026.4 crashes on the dense layer in 8 bits.

    Args:
        path: the model; replaced.
        batches: pictures ``(n, H, W, 3)`` whose activations set the scales.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = batches()

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"pictures": batch}

    with _quiet():
        quantize_static(
            str(path), str(path), Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=kept_convolutions(onnx.load(str(path)).graph.node),
        )  # fmt: skip


def kept_convolutions(nodes: Sequence[Any]) -> list[str]:
    """Names of the convolutions that stay in full precision, as a step of 8 bits is too coarse for what they give.

    They are those that maps come out of, with no other in between, as maps are log-odds; and with evidence heads all
    that the location logits come from. The frozen layers are among those: the heads divide their features by how little
    they spread, which makes small errors large, and 8 bits there did not make the graph faster.

    Args:
        nodes: of the ONNX graph.
    """
    # Known by their weights: the mask head runs twice with the same, and what is rounded for one run is for the other.
    kept = {node.input[1] for node in convolutions_before(["maps", "mask_logits"], nodes, all_of_them=False)}
    before_location = {node.name for node in convolutions_before(["location_logits"], nodes, all_of_them=True)}
    return [
        node.name
        for node in nodes
        if node.op_type == "Conv" and (node.input[1] in kept or node.name in before_location)
    ]


def convolutions_before(outputs: Sequence[str], nodes: Sequence[Any], *, all_of_them: bool) -> list[Any]:
    """Convolutions that outputs of a graph are computed from.

    Args:
        outputs: names; those that the graph lacks have none.
        nodes: of the ONNX graph.
        all_of_them: whether also those with another convolution between them and the output.
    """
    made_by = {output: node for node in nodes for output in node.output}
    waiting, seen = list(outputs), set[str]()
    found = []
    while waiting:
        name = waiting.pop()
        if name in seen or name not in made_by:
            continue
        seen.add(name)
        node = made_by[name]
        if node.op_type == "Conv":
            found.append(node)
        if node.op_type != "Conv" or all_of_them:
            waiting += node.input
    return found


def write_openvino(source: Path, target: Path, meta: BundleMeta, *, half: bool) -> None:
    """Turn an ONNX file into OpenVINO's ``.xml`` and ``.bin``.

    Args:
        source: the ``.onnx`` file.
        target: the ``.xml`` file to write; the ``.bin`` goes beside it.
        meta: the model's description, which goes into the file's metadata.
        half: store the weights as float16.

    Raises:
        WeakspotError: when ``openvino`` is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise WeakspotError("openvino is not installed; pip install 'weakspot[openvino]'") from error
    model = openvino.convert_model(str(source))
    model.set_rt_info(description(meta), [METADATA_KEY])
    openvino.save_model(model, str(target), compress_to_fp16=half)
