"""What is timed: the arrays of a layer, rnnx's side of it, and how much arithmetic it is."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from rnnx import states
from rnnx.backends import Backend, use_backend
from rnnx.backends.peers import Layer, Work
from rnnx.bench.sizes import Sizes
from rnnx.cells import REGISTRY
from rnnx.init import generator
from rnnx.stepcell import StepCell

PASSES = ("forward", "train")


@dataclass(frozen=True)
class Problem:
    """A cell of the registry at one size; the numbers are the same in every process."""

    cell: str
    sizes: Sizes

    @property
    def layer(self) -> Any:
        """The cell itself."""
        return REGISTRY[self.cell](self.sizes.D, self.sizes.H)

    @property
    def work(self) -> Work:
        """Draw the arrays: parameters as `init` does, all others from a normal distribution."""
        cell, (_, T, N, D, _) = self.layer, self.sizes

        def draw(name: str, *shape: int) -> np.ndarray:
            return generator(0, name).standard_normal(shape, "float32")

        with use_backend("numpy"):
            params = cell.init()
        state = {
            name.partition(".")[2]: draw(name, N, size) for name, size in states.leaves(cell.state_sizes)
        }
        return Work(params, draw("x", T, N, D), state, draw("dy", T, N, cell.output_size))

    @property
    def recurrent(self) -> tuple[int, int, int] | None:
        """Rows, columns and inner size of the recurrent product, (G*H, H) @ (H, N); None if there is none."""
        cell = self.layer
        if not isinstance(cell, StepCell):
            return None
        inner, rows = cell.param_shapes["Wh"]
        return rows, self.sizes.N, inner

    def operations(self, which: str) -> int | None:
        """Floating-point operations of the matrix products of a pass; None if the cell is no chain of steps.

        Every matrix meets every x[t] or h[t] once in a forward pass; a backward pass has two more products
        for each, one for the gradient of the vector and one for that of the matrix.
        """
        cell = self.layer
        if not isinstance(cell, StepCell):
            return None
        entries = sum(prod(shape) for shape in cell.param_shapes.values() if len(shape) == 2)
        return 2 * self.sizes.T * self.sizes.N * entries * (3 if which == "train" else 1)


def bind(problem: Problem, backend: Backend, work: Work) -> Layer:
    """Own layer; it runs where the arrays are, so a backend that shares them must be the default."""
    cell = problem.layer

    def move(value: np.ndarray) -> Any:
        return backend.asarray(value, "float32")

    params = {name: move(value) for name, value in work.params.items()}
    x, dy = move(work.x), move(work.dy)
    state = states.from_leaves(cell.state_sizes, map(move, work.state.values()))

    def forward() -> Any:
        y = cell.forward(params, x, state, training=False)[0]
        backend.synchronize()
        return y

    def train() -> Any:
        _, _, tape = cell.forward(params, x, state)
        found = cell.backward(tape, dy)
        backend.synchronize()
        return found

    def gradients(found: Any) -> dict[str, np.ndarray]:
        dx, dstate, grads = found
        dstates = dict(zip(work.state, (value for _, value in states.leaves(dstate)), strict=True))
        return {name: backend.to_numpy(value) for name, value in {"x": dx, **dstates, **grads}.items()}

    return Layer(forward, train, backend.to_numpy, gradients)


def product(problem: Problem) -> Layer | None:
    """NumPy's product of the recurrent shape, once for each step; None if the cell has none."""
    if problem.recurrent is None:
        return None
    rows, columns, inner = problem.recurrent
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner), "float32")
    b = rng.standard_normal((problem.sizes.T, inner, columns), "float32")
    out, matmul = np.empty((rows, columns), "float32"), np.matmul

    def forward() -> None:
        for each in b:
            matmul(a, each, out)

    return Layer(forward, None, lambda _: out, lambda _: {})


def errors(problem: Problem, layer: Layer, work: Work) -> dict[str, float]:
    """Largest difference of y and of each gradient from those of the numpy backend, over the largest value.

    Infinite where a result is not finite or has another shape; a gradient that is missing is infinite too.
    """
    with use_backend("numpy") as backend:
        expected = _results(bind(problem, backend, work))
    found = _results(layer)
    return {
        name: _error(found.get(name), value) for name, value in expected.items() if layer.train or name == "y"
    }


def _results(layer: Layer) -> dict[str, np.ndarray]:
    """Output and gradients on the host."""
    results = {"y": layer.y(layer.forward())}
    if layer.train:
        results |= {f"d{name}": value for name, value in layer.gradients(layer.train()).items()}
    return results


def _error(found: Any, expected: np.ndarray) -> float:
    if found is None or found.shape != expected.shape:
        return float("inf")
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    return error if np.isfinite(error) else float("inf")
