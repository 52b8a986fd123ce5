"""An exported model of one convolution, written by hand: it takes no torch and no training to make one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.inference.exported import METADATA_KEY
from weakspot.models.bundle_meta import BundleMeta
from weakspot.types import ANOMALY, GOOD, Size

OPSET, IR_VERSION = 18, 9


def tiny_onnx(path: Path, size: Size = (32, 48), sharpness: float = 6.0) -> Path:
    """Write a model that calls busy pictures defective, and draws its box round the busiest place.

    Args:
        path: the ``.onnx`` file.
        size: ``(height, width)`` of its input.
        sharpness: how strongly an edge speaks for a defect.
    """
    meta = BundleMeta(
        classes=[GOOD, ANOMALY], preprocess=Preprocess(size, "torchvision"), backbone="tiny", outputs=2,
        boxes=BoxRule(), thresholds={"boxes": {"value": 0.7, "origin": "test"}},
        weights={"origin": "none", "sha256": "x"}, split_hash="s", data_hash="d",
    )  # fmt: skip
    kernel = np.zeros((2, 3, 3, 3), np.float32)
    kernel[0, :, 1, 1] = 0.2
    kernel[1, :] = sharpness * np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float32) / 24
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels", "kernel"], ["edges"], pads=[1, 1, 1, 1], strides=[4, 4]),
        helper.make_node("Abs", ["edges"], ["maps"]),
        helper.make_node("ReduceMean", ["maps", "places"], ["logits"], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"scale": np.float32(255), "kernel": kernel, "places": np.array([2, 3], np.int64)}
    height, width = size
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", height, width, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["batch", 2, height // 4, width // 4]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(meta.to_dict())
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
