"""TensorFlow: Keras's SimpleRNN, LSTM and GRU inside a tf.function on the CPU, with a GradientTape."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnx.backends.peers.base import Layer, Work, reorder, threads

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if (_threads := threads()) is not None:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(_threads))
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(_threads))

import keras
import tensorflow as tf

tf.config.set_visible_devices([], "GPU")

CELLS: Mapping[str, tuple[Any, dict[str, Any], str, str]] = {
    "rnn": (keras.layers.SimpleRNN, {}, "h", "h"),
    "rnn-relu": (keras.layers.SimpleRNN, {"activation": "relu"}, "h", "h"),
    "rnn-identity": (keras.layers.SimpleRNN, {"activation": None}, "h", "h"),
    "lstm": (keras.layers.LSTM, {}, "ifgo", "ifgo"),
    "gru": (keras.layers.GRU, {"reset_after": True}, "rzn", "zrn"),
    "gru-reset-before": (keras.layers.GRU, {"reset_after": False}, "rzn", "zrn"),
}
"""Layer, its options, and the order of gates here and there."""


def version() -> str:
    """Library and version."""
    return f"TensorFlow {tf.__version__}, Keras {keras.__version__}"


def bind(cell: str, work: Work) -> Layer:
    """The layer with rnnx's weights; its arrays have the batch first, as Keras's do."""
    H = work.dy.shape[-1]
    make, options, order, target = CELLS[cell]
    ours = work.params
    layer = make(H, return_sequences=True, **options)
    layer.build((work.x.shape[1], work.x.shape[0], work.x.shape[2]))
    wx, wh, b = (reorder(ours[name], order, target) for name in ("Wx", "Wh", "b"))
    if "bn" in ours:
        hidden_bias = np.zeros_like(b)
        hidden_bias[2 * H :] = ours["bn"]
        b = np.stack([b, hidden_bias])
    layer.set_weights([wx, wh, b])
    x, dy = (tf.constant(np.ascontiguousarray(value.transpose(1, 0, 2))) for value in (work.x, work.dy))
    state = [tf.constant(value) for value in work.state.values()]

    def outputs(x: Any, *state: Any) -> Any:
        return layer(x, initial_state=list(state))

    def derived(x: Any, dy: Any, *state: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *state])
            y = outputs(x, *state)
        return y, tape.gradient(y, [x, *state, *layer.trainable_variables], output_gradients=dy)

    forward, train = tf.function(outputs), tf.function(derived)

    def gradients(found: Any) -> dict[str, np.ndarray]:
        dx, *dstate, dwx, dwh, db = (value.numpy() for value in found[1])
        db, dbh = db if db.ndim == 2 else (db, db)
        named = {"x": dx.transpose(1, 0, 2)} | dict(zip(work.state, dstate, strict=True))
        blocks = {"Wx": dwx, "Wh": dwh, "b": db}
        named |= {name: reorder(value, target, order) for name, value in blocks.items()}
        return named | ({"bn": dbh[2 * H :]} if "bn" in ours else {})

    return Layer(
        lambda: forward(x, *state),
        lambda: train(x, dy, *state),
        lambda y: y.numpy().transpose(1, 0, 2),
        gradients,
    )
