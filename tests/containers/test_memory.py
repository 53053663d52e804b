"""Memory of stacks: without a tape, and what a backward pass lets go of."""

import tracemalloc
import weakref

import numpy as np
import pytest

import rnnx
from rnnx import states
from rnnx.backends import host_pool
from rnnx.steps import CHUNK
from support.cells import check_array, make_case

STACK = rnnx.Stack(rnnx.LSTM(8, 16), rnnx.Stack(rnnx.GRU(16, 24), rnnx.RNN(24, 16)))


def peak(cell, params, x):
    """Bytes at the peak of a forward pass without a tape, y aside."""
    host_pool.pool.clear()
    tracemalloc.start()
    try:
        y, _, _ = cell.forward(params, x, training=False)
        return tracemalloc.get_traced_memory()[1] - y.nbytes
    finally:
        tracemalloc.stop()


def test_memory_without_a_tape_does_not_grow_with_time():
    params = STACK.init()
    short, long = (np.zeros((T, 64, 8), np.float32) for T in (100, 1988))  # the last chunk is the same
    peak(STACK, params, short)
    assert peak(STACK, params, long) < 1.1 * peak(STACK, params, short) + 4096


@pytest.mark.parametrize("lengths", [None, [CHUNK + 1, 2 * CHUNK + 3, 5], [CHUNK, 3, 2 * CHUNK]])
def test_without_a_tape_gives_the_same(lengths, backend, rng):
    cell = rnnx.Stack(rnnx.GRU(3, 4), rnnx.LSTM(4, 5))
    case = make_case(cell, rng, 2 * CHUNK + 3, 3)
    case = case._replace(params={name: 0.3 * value for name, value in case.params.items()}).on(backend)
    for state in (None, case.state):
        y, final, _ = cell.forward(case.params, case.x, state, lengths=lengths)
        found, after, tape = cell.forward(case.params, case.x, state, lengths=lengths, training=False)
        assert tape is None
        host = check_array(backend, found, tuple(y.shape), "float64")
        np.testing.assert_allclose(host, backend.to_numpy(y), rtol=1e-12, atol=1e-12)
        for (name, one), (_, other) in zip(states.leaves(after), states.leaves(final), strict=True):
            host = check_array(backend, one, tuple(other.shape), "float64")
            np.testing.assert_allclose(host, backend.to_numpy(other), rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_consumed_tape_lets_go_of_its_memory():
    _, _, tape = STACK.forward(STACK.init(), np.ones((50, 4, 8), np.float32))
    watched = [weakref.ref(layer.tape) for layer in tape.record]
    STACK.backward(tape)
    assert all(reference() is None for reference in watched)
