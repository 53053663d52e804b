"""Memory of a forward pass without a tape, and protection of what a tape shares."""

import tracemalloc
import weakref

import numpy as np
import pytest

import rnnx
from rnnx.backends import host_pool
from rnnx.cells import REGISTRY


def peak(cell, params, x):
    """Bytes at the peak of a forward pass without a tape, y aside."""
    host_pool.pool.clear()
    tracemalloc.start()
    try:
        y, _, _ = cell.forward(params, x, training=False)
        return tracemalloc.get_traced_memory()[1] - y.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", REGISTRY)
def test_memory_without_a_tape_does_not_grow_with_time(name):
    cell = REGISTRY[name](8, 16)
    params = cell.init()
    short, long = (np.zeros((T, 64, 8), np.float32) for T in (100, 1988))  # the last chunk is the same
    peak(cell, params, short)
    assert peak(cell, params, long) < 1.1 * peak(cell, params, short) + 4096


def test_a_consumed_tape_lets_go_of_its_memory():
    cell = rnnx.LSTM(8, 16)
    _, _, tape = cell.forward(cell.init(), np.ones((50, 4, 8), np.float32))
    (piece,) = tape.record.pieces
    watched = [weakref.ref(array) for array in (piece.pre, piece.saved, *piece.states)]
    del piece
    cell.backward(tape)
    assert all(reference() is None for reference in watched)


def test_y_cannot_be_written_to_while_a_tape_shares_its_memory():
    cell = rnnx.RNN(3, 4)
    y, state, _ = cell.forward(cell.init(), np.ones((5, 2, 3), np.float32))
    with pytest.raises(ValueError, match="read-only"):
        y += 1.0
    state.h[...] = 0.0
    assert y[-1].any(), "the final state is a copy"
