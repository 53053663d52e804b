"""Layers of as many sequences as compiled sums over time are for."""

import numpy as np
import pytest

import rnnx
from rnnx.cells import REGISTRY
from rnnx.gradient_check.check import failing
from rnnx.gradient_check.problem import cell_problem
from support.cells import CHAINS, make_case

pytestmark = pytest.mark.parametrize("backend", ["numba"], indirect=True)


@pytest.mark.parametrize("lengths", [None, (2, 1, 2, 2, 1, 2, 1, 2, 2)], ids=["even", "ragged"])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_of_many_sequences(backend, name, lengths):
    """Every element against the oracles of the gradient check, whose own problems have fewer sequences."""
    problem = cell_problem(REGISTRY[name](1, 2), name, "N=9", 2, 9, lengths=lengths)
    assert list(failing(problem, backend)) == []


@pytest.mark.parametrize("name", CHAINS)
def test_ragged_batches_with_checkpoints(backend, rng, name):
    cell, lengths = REGISTRY[name](5, 7), rng.integers(1, 90, 20)
    case = make_case(cell, rng, 90, 20).on(backend)
    found = []
    for every in (None, 7, 33):
        *_, tape = cell.forward(case.params, case.x, lengths=lengths, checkpoint_every=every)
        dx, _, grads = cell.backward(tape, case.dy)
        found.append([dx, *grads.values()])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(other, one)
    with rnnx.use_backend("numpy"):
        *_, tape = cell.forward(case.params, case.x, lengths=lengths)
        dx, _, grads = cell.backward(tape, case.dy)
    for one, other in zip(found[0], [dx, *grads.values()], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())
