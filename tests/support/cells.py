"""What tests of cells share: random inputs on the host, and the way onto a backend."""

from typing import NamedTuple

import numpy as np

from rnnx import states
from rnnx.gradient_check.problem import draw


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
