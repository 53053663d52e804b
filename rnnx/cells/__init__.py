"""The cells, one a file, and the registry that every check, benchmark and command reads."""

from collections.abc import Callable
from functools import partial

from rnnx.basecell import BaseCell
from rnnx.cells.gru import GRU, GRUState
from rnnx.cells.lstm import LSTM, LSTMState
from rnnx.cells.rnn import RNN, RNNState

REGISTRY: dict[str, Callable[[int, int], BaseCell]] = {
    "rnn": RNN,
    "rnn-relu": partial(RNN, activation="relu"),
    "rnn-identity": partial(RNN, activation="identity"),
    "lstm": LSTM,
    "gru": GRU,
    "gru-reset-before": partial(GRU, reset_after=False),
}
"""Maker of every cell and variant by name: ``REGISTRY[name](input_size, hidden_size)``."""

__all__ = ["GRU", "LSTM", "REGISTRY", "RNN", "GRUState", "LSTMState", "RNNState"]
