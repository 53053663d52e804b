"""Dropout between the layers of a stack: the seed of a call decides, on every backend alike."""

import numpy as np
import pytest

import rnnx
from rnnx.gradient_check.check import check
from rnnx.gradient_check.problem import cell_problem
from support.cells import WithLengths, check_array, make_case

T, N, D, H, RATE = 6, 5, 3, 8, 0.4
STACK = rnnx.Stack(rnnx.LSTM(D, H), rnnx.GRU(H, H), rnnx.RNN(H, 2), dropout=RATE)
NESTED = rnnx.Stack(
    rnnx.Bidirectional(rnnx.Stack(rnnx.RNN(D, H), rnnx.RNN(H, H), dropout=RATE)), rnnx.RNN(2 * H, 2)
)


class Seeded(WithLengths):
    """A stack that drops out in every call, by the same seed."""

    def forward(self, params, x, state=None, *, lengths=None, training=True):
        return self._cell.forward(params, x, state, lengths=self._lengths, dropout_seed=7)


def outputs(cell, case, **options):
    return np.array(rnnx.to_numpy(cell.forward(case.params, case.x, case.state, **options)[0]))


@pytest.mark.parametrize("cell", [STACK, NESTED], ids=["stack", "nested"])
def test_the_seed_decides_on_every_backend(cell, backend, rng):
    case = make_case(cell, rng, T, N)
    with rnnx.use_backend("numpy"):
        expected = outputs(cell, case, dropout_seed=3)
        assert np.abs(expected - outputs(cell, case, dropout_seed=4)).max() > 1e-3
        assert np.abs(expected - outputs(cell, case)).max() > 1e-3
    y, _, _ = cell.forward(case.on(backend).params, *case.on(backend)[1:3], dropout_seed=3)
    host = check_array(backend, y, (T, N, cell.output_size), "float64")
    np.testing.assert_allclose(host, expected, rtol=1e-12, atol=1e-12)


def test_without_a_seed_or_without_training_nothing_is_dropped(rng):
    case = make_case(STACK, rng, T, N)
    plain = rnnx.Stack(*STACK.cells)
    expected = outputs(plain, case)
    np.testing.assert_array_equal(outputs(STACK, case), expected)
    np.testing.assert_array_equal(outputs(plain, case, dropout_seed=3), expected)
    for options in ({}, {"dropout_seed": 3}):
        np.testing.assert_allclose(
            outputs(STACK, case, training=False, **options), expected, rtol=1e-12, atol=1e-12
        )


def test_is_between_the_layers_only_and_keeps_expectations(rng):
    identity = rnnx.RNN(H, H, activation="identity")
    stack = rnnx.Stack(identity, identity, dropout=RATE)
    params = {
        f"layers.{k}.{name}": np.eye(H) if name == "Wx" else np.zeros(shape)
        for k in range(2)
        for name, shape in identity.param_shapes.items()
    }
    y, (first, last), _ = stack.forward(params, np.ones((300, N, H)), dropout_seed=1)
    assert set(np.unique(y)) == {0.0, 1.0 / (1.0 - RATE)}
    assert y.mean() == pytest.approx(1.0, abs=0.02)
    assert (first.h == 1.0).all(), "the first layer's input and state are whole"
    np.testing.assert_array_equal(last.h, y[-1])


def test_every_mask_has_a_seed_of_its_own():
    cell = rnnx.RNN(H, H, activation="identity")
    pair = rnnx.Stack(cell, cell, dropout=0.5)
    stack = rnnx.Stack(pair, pair, dropout=0.5)
    params = {
        name: np.eye(H) if name.endswith("Wx") else np.zeros(shape)
        for name, shape in stack.param_shapes.items()
    }
    y, _, _ = stack.forward(params, np.ones((100, N, H)), dropout_seed=1)
    assert set(np.unique(y)) == {0.0, 8.0}
    assert np.mean(y == 8.0) == pytest.approx(0.5**3, abs=0.02), "three independent masks"


@pytest.mark.parametrize("lengths", [None, [4, 1, 2]], ids=["full", "ragged"])
def test_gradients_with_dropout(lengths, backend):
    small = rnnx.Stack(rnnx.Bidirectional(rnnx.RNN(2, 2)), rnnx.GRU(4, 2), dropout=0.4)
    report = check([cell_problem(Seeded(small, lengths), "dropout", "seed 7", 4, 3)], backend)
    assert report.passed, str(report)
    assert {row.tensor for row in report.rows} >= {*small.param_shapes, "x", "state.0.forward.h", "state.1.h"}
