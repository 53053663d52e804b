"""The cells, one a file, and the registry that every check, benchmark and command reads."""

from collections.abc import Callable
from functools import partial

from rnnx.basecell import BaseCell
from rnnx.cells.gru import GRU, GRUState
from rnnx.cells.lstm import LSTM, LSTMState
from rnnx.cells.peephole_lstm import PeepholeLSTM
from rnnx.cells.rnn import RNN, RNNState
from rnnx.cells.sru import SRU, SRUState
from rnnx.cells.tflstm import TFLSTM, TFLSTMState


def _tflstm(input_size: int, hidden_size: int, *, peepholes: bool = True) -> TFLSTM:
    """At most 8 blocks; each has half of the inputs, and they overlap where there are three or more."""
    filter_size, stride = (input_size + 1) // 2, max(1, input_size // 8)
    return TFLSTM(input_size, hidden_size, filter_size, stride, peepholes)


REGISTRY: dict[str, Callable[[int, int], BaseCell]] = {
    "rnn": RNN,
    "rnn-relu": partial(RNN, activation="relu"),
    "rnn-identity": partial(RNN, activation="identity"),
    "lstm": LSTM,
    "lstm-peephole": PeepholeLSTM,
    "gru": GRU,
    "gru-reset-before": partial(GRU, reset_after=False),
    "sru": SRU,
    "tflstm": _tflstm,
    "tflstm-no-peepholes": partial(_tflstm, peepholes=False),
}
"""Maker of every cell and variant by name: ``REGISTRY[name](input_size, hidden_size)``."""

__all__ = [
    "GRU",
    "LSTM",
    "REGISTRY",
    "RNN",
    "SRU",
    "TFLSTM",
    "GRUState",
    "LSTMState",
    "PeepholeLSTM",
    "RNNState",
    "SRUState",
    "TFLSTMState",
]
