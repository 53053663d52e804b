"""ONNX Runtime on the CPU: the operators RNN, LSTM and GRU; it infers and does not train."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rnnx.backends.peers.base import Layer, Work, reorder, threads

CELLS: Mapping[str, tuple[str, dict[str, Any], str, str]] = {
    "rnn": ("RNN", {}, "h", "h"),
    "rnn-relu": ("RNN", {"activations": ["Relu"]}, "h", "h"),
    "lstm": ("LSTM", {}, "ifgo", "iofg"),
    "gru": ("GRU", {"linear_before_reset": 1}, "rzn", "zrn"),
    "gru-reset-before": ("GRU", {}, "rzn", "zrn"),
}
"""Operator, its attributes, and the order of gates here and there."""

OPSET, IR = 17, 8


def version() -> str:
    """Library and version."""
    return f"ONNX Runtime {onnxruntime.__version__}"


def bind(cell: str, work: Work) -> Layer:
    """A session of a graph with one node, whose weights are constants."""
    T, N, D = work.x.shape
    H = work.dy.shape[-1]
    kind, attributes, order, target = CELLS[cell]
    ours = work.params
    hidden_bias = np.zeros_like(ours["b"])
    if "bn" in ours:
        hidden_bias[2 * H :] = ours["bn"]
    wx, wh, b, bh = (reorder(a, order, target) for a in (ours["Wx"], ours["Wh"], ours["b"], hidden_bias))
    constants = {"W": wx.T[None], "R": wh.T[None], "B": np.concatenate([b, bh])[None]}
    shapes = {"X": (T, N, D)} | {f"initial_{name}": (1, N, H) for name in work.state}
    node = helper.make_node(
        kind,
        ["X", "W", "R", "B", "", *(name for name in shapes if name != "X")],
        ["Y"],
        hidden_size=H,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        cell,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (T, 1, N, H))],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    if (count := threads()) is not None:
        options.intra_op_num_threads = count
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {"X": work.x} | {f"initial_{name}": value[None] for name, value in work.state.items()}
    return Layer(lambda: session.run(None, feeds)[0], None, lambda y: y[:, 0], lambda _: {})
