"""Checkpoints: the same results to the last bit, in less memory; memory of a training step."""

import tracemalloc

import numpy as np
import pytest

import rnnx
from rnnx import projection, states, steps
from rnnx.backends import host_pool
from rnnx.cells import REGISTRY
from rnnx.ragged import Segment, segments, spans, split
from rnnx.stepcell import StepCell
from support.cells import make_case

CHAINS = [name for name, make in REGISTRY.items() if isinstance(make(2, 3), StepCell)]
LENGTHS = {"whole": None, "ragged": [9, 2, 11, 2, 5]}


def results(cell, case, lengths=None, every=None):
    """All outputs and all gradients, by name."""
    y, final, tape = cell.forward(case.params, case.x, case.state, lengths=lengths, checkpoint_every=every)
    dx, dinitial, grads = cell.backward(tape, case.dy, case.dstate)
    ends = dict(states.leaves(final, "final")) | dict(states.leaves(dinitial, "dstate"))
    return {"y": y, "dx": dx} | ends | {f"d{name}": value for name, value in grads.items()}


def assert_same(backend, found, expected):
    """Assert equal bits, shapes and dtypes; the last bits of torch's products depend on their number."""
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert backend.holds(value)
        assert value.dtype == expected[name].dtype
        value, wanted = backend.to_numpy(value), backend.to_numpy(expected[name])
        if backend.name == "torch":
            np.testing.assert_allclose(value, wanted, 1e-12, 1e-13, err_msg=name, strict=True)
        else:
            np.testing.assert_array_equal(value, wanted, err_msg=name, strict=True)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_with_checkpoints_are_the_same_to_the_last_bit(name, lengths, backend, rng, monkeypatch):
    monkeypatch.setattr(steps, "GROUP", 8)
    monkeypatch.setattr(projection, "COLUMNS", 9)
    cell = REGISTRY[name](2, 3)
    case = make_case(cell, rng, 11, 5).on(backend)
    expected = results(cell, case, LENGTHS[lengths])
    for every in (1, 4, 11, 40):
        assert_same(backend, results(cell, case, LENGTHS[lengths], every), expected)


@pytest.mark.parametrize("backend", ["numpy", "numba"], indirect=True)
@pytest.mark.parametrize("batch", [1, 2, 17, 40])
@pytest.mark.parametrize("name", CHAINS)
def test_last_bits_of_larger_products(name, batch, backend, rng):
    cell = REGISTRY[name](21, 40)
    case = make_case(cell, rng, 150, batch)
    case.params["Wh"] *= 0.1  # states of a chain that is not bounded
    case = case.on(backend, "float32")
    expected = results(cell, case)
    for every in (7, 64):
        assert_same(backend, results(cell, case, every=every), expected)


def test_an_empty_sequence_with_checkpoints(backend, rng):
    cell = rnnx.LSTM(2, 3)
    case = make_case(cell, rng, 0, 2).on(backend)
    assert_same(backend, results(cell, case, every=3), results(cell, case))


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "4"])
def test_a_wrong_distance_of_checkpoints(every):
    cell = rnnx.LSTM(2, 3)
    with pytest.raises(rnnx.OptionError, match=r"LSTM\.forward: checkpoint_every is .*; expected an integer"):
        cell.forward(cell.init(), np.zeros((4, 1, 2), np.float32), checkpoint_every=every)


@pytest.mark.parametrize("size", [1, 5, 8, 1000])
def test_spans_cover_every_step_once(size):
    for parts in (
        segments(7, 5, np.array([7, 5, 5, 2, 1])),
        segments(23, 3, None),
        segments(40, 9, np.array([40, 3, 3, 3, 3, 3, 2, 1, 1])),
    ):
        groups = spans(parts, size)
        covered = [(t, part.batch) for group in groups for part in group for t in range(*part[:2])]
        assert covered == [(t, part.batch) for part in parts for t in range(*part[:2])]
        total = sum(part.size for part in parts)
        assert all(groups)
        assert abs(len(groups) - total / size) <= max(1.0, 0.5 * total / size) or size == 1
        assert all(sum(part.size for part in group) < 2 * size + parts[0].batch for group in groups)


def test_split_cuts_every_segment():
    assert split([Segment(0, 5, 3), Segment(5, 7, 1)], 2) == [(0, 2, 3), (2, 4, 3), (4, 5, 3), (5, 7, 1)]
    assert split([Segment(0, 0, 3)], 2) == [(0, 0, 3)]


def training_step(cell, params, x, dy, **options):
    """Bytes at the peak of a training step, beside its arguments."""
    cell.backward(cell.forward(params, x[:2], **options)[2], dy[:2])  # what is compiled is so by now
    host_pool.pool.clear()
    tracemalloc.start()
    try:
        _, _, tape = cell.forward(params, x, **options)
        cell.backward(tape, dy)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("backend", ["numpy", "numba"], indirect=True)
def test_a_training_step_takes_little_more_memory_than_its_tape(name, backend):
    """Its tape, the gradients and all temporaries: at most 1.2 times the states, the gates, and a GRU's u."""
    cell, (T, N, D, H) = REGISTRY[name](16, 64), (1600, 16, 16, 64)
    params = cell.init()
    x, dy = np.ones((T, N, D), np.float32), np.ones((T, N, H), np.float32)
    blocks = (T + 1) * len(cell.State._fields) + T * (len(cell.gates) + cell.saved_blocks)
    assert cell.saved_blocks == (1 if name.startswith("gru") else 0)
    assert training_step(cell, params, x, dy) <= 1.2 * 4 * N * H * blocks


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("backend", ["numpy", "numba"], indirect=True)
def test_checkpoints_take_memory_for_the_steps_between_them(name, backend):
    """Beside y and the gradient of x: K steps, T/K states, and two groups of steps that are summed over."""
    cell, (T, N, D, H), K = REGISTRY[name](16, 64), (1600, 16, 16, 64), 40
    params = cell.init()
    x, dy = np.ones((T, N, D), np.float32), np.ones((T, N, H), np.float32)
    step = 4 * N * H * (len(cell.State._fields) + len(cell.gates) + cell.saved_blocks)
    found = training_step(cell, params, x, dy, checkpoint_every=K) - 4 * T * N * (H + D)
    assert found <= 1.1 * step * (K + T / K + 2 * steps.GROUP / N)
