"""Cells made of cells: stacks of layers, and both directions of time, nested freely."""

from collections.abc import Callable

from rnnx.basecell import BaseCell
from rnnx.cells import GRU, LSTM, SRU
from rnnx.containers.bidirectional import Bidirectional, BidirectionalState
from rnnx.containers.stack import Stack


def _stack(input_size: int, hidden_size: int) -> Stack:
    return Stack(LSTM(input_size, hidden_size), GRU(hidden_size, hidden_size + 1))


def _bidirectional(input_size: int, hidden_size: int) -> Bidirectional:
    return Bidirectional(GRU(input_size, hidden_size), LSTM(input_size, hidden_size + 1))


def _bidirectional_sum(input_size: int, hidden_size: int) -> Bidirectional:
    return Bidirectional(LSTM(input_size, hidden_size), merge="sum")


def _stack_of_sru(input_size: int, hidden_size: int) -> Stack:
    return Stack(SRU(input_size, hidden_size), SRU(hidden_size, hidden_size, highway="identity"))


CONTAINERS: dict[str, Callable[[int, int], BaseCell]] = {
    "stack": _stack,
    "stack-sru": _stack_of_sru,
    "bidirectional": _bidirectional,
    "bidirectional-sum": _bidirectional_sum,
}
"""Maker of one example of every container by name: ``CONTAINERS[name](input_size, hidden_size)``."""

__all__ = ["CONTAINERS", "Bidirectional", "BidirectionalState", "Stack"]
