"""What tests of cells share: random inputs on the host, and the way onto a backend."""

from typing import NamedTuple

import numpy as np

from rnnx import states
from rnnx.backends import resolve, use_backend
from rnnx.cells import REGISTRY
from rnnx.gradient_check.problem import draw
from rnnx.ops.capture import captured

CHAINS = [name for name in REGISTRY if hasattr(REGISTRY[name](1, 1), "bind_forward")]
"""Cells whose steps are a chain, by name."""


class Case(NamedTuple):
    """Host arrays of one sequence of a cell; no two sizes are equal."""

    params: dict
    x: np.ndarray
    state: tuple
    dy: np.ndarray
    dstate: tuple

    def on(self, backend, dtype="float64"):
        """The same arrays on a backend."""

        def move(value):
            if isinstance(value, dict):
                return {name: move(array) for name, array in value.items()}
            if isinstance(value, tuple):
                return states.rebuild(value, list(map(move, value)))
            return backend.asarray(value, dtype)

        return Case(*map(move, self))


def make_case(cell, rng, steps=5, batch=2):
    """Draw parameters, input, initial state and upstream gradients."""
    params = {name: draw(rng, shape) for name, shape in cell.param_shapes.items()}
    start, end = (states.transform(lambda size: draw(rng, (batch, size)), cell.state_sizes) for _ in range(2))
    x = draw(rng, (steps, batch, cell.input_size))
    return Case(params, x, start, draw(rng, (steps, batch, cell.output_size)), end)


def check_array(backend, x, shape, dtype):
    """Assert backend, shape and dtype, and return the values on the host."""
    assert backend.holds(x)
    assert tuple(x.shape) == shape
    assert x.dtype == backend.dtype(dtype)
    return backend.to_numpy(x)


def script_of(cell, backward):
    """Script of a step; None if it cannot be captured."""
    numpy = resolve("numpy")
    with use_backend(numpy):
        return captured(cell, numpy, cell.init(), backward)[0]


def everything(cell, case, **options):
    """Outputs, states and gradients of a cell."""
    y, final, tape = cell.forward(case.params, case.x, case.state, **options)
    dx, dstate, grads = cell.backward(tape, case.dy, case.dstate)
    again = cell.forward(case.params, case.x, case.state, training=False)
    return [y, *final, dx, *dstate, *grads.values(), again[0], *again[1]]


def padded_with(value, array, lengths):
    """A copy in which everything past the ends is that value."""
    array = array.copy()
    for n, length in enumerate(lengths):
        array[length:, n] = value
    return array


def alone(cell, case, lengths):
    """Every sequence by itself, in a batch of one: results as the ragged batch should give them."""
    zeros = {
        "y": np.zeros(case.dy.shape),
        "dx": np.zeros_like(case.x),
        "grads": {name: np.zeros(shape) for name, shape in cell.param_shapes.items()},
        "final": [[] for _ in states.leaves(cell.state_sizes)],
        "dstate": [[] for _ in states.leaves(cell.state_sizes)],
    }
    for n, length in enumerate(lengths):
        own = np.s_[:length, n : n + 1]
        state, dstate = (
            states.transform(lambda _, s, n=n: s[n : n + 1], cell.state_sizes, s)
            for s in (case.state, case.dstate)
        )
        y, final, tape = cell.forward(case.params, case.x[own], state)
        dx, dinitial, grads = cell.backward(tape, case.dy[own], dstate)
        zeros["y"][own], zeros["dx"][own] = y, dx
        for name, value in grads.items():
            zeros["grads"][name] += value
        for key, found in {"final": final, "dstate": dinitial}.items():
            for rows, (_, value) in zip(zeros[key], states.leaves(found), strict=True):
                rows.append(value[0])
    return zeros


class WithLengths:
    """A cell whose every batch has these lengths; of no class of the library's."""

    def __init__(self, cell, lengths):
        self._cell, self._lengths = cell, lengths
        self.causal = False

    def __getattr__(self, name):
        return getattr(self._cell, name)

    def forward(self, params, x, state=None, *, lengths=None, training=True):
        return self._cell.forward(params, x, state, lengths=self._lengths, training=training)
