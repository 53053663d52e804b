"""The verdict on a difference: whether the oracle's error and the rounding of both passes explain it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnx.backends import Backend, use_backend
from rnnx.errors import DtypeError
from rnnx.gradient_check.comparison import UNIT, Comparison, Place, compare
from rnnx.gradient_check.problem import Problem, draw

Host = dict[str, np.ndarray]
"""Arrays on the host, in float64, by name."""

SAMPLES, NEARBY, MARGIN = 5, 1e-2, 30.0
"""Points near the inputs at which rounding is measured, how near, and how much more than that is allowed."""

POINTS = 8
"""Points near the inputs at which it is looked how much a function changes."""

MOST_ROUNDING = 1e-6
"""Relative error that no rounding in float64 explains, since gradients of float32 have a digit left."""


class Judge:
    """Comparisons of one problem on one backend; `notes` says what was not done, or in another way.

    Parameters
    ----------
    problem : Problem
    backend : Backend
    shapes : mapping of str to tuple of int
        Of the outputs.
    seed : int
    """

    def __init__(
        self, problem: Problem, backend: Backend, shapes: Mapping[str, tuple[int, ...]], seed: int
    ) -> None:
        self.problem, self.backend, self.shapes, self.seed = problem, backend, shapes, seed
        # A gradient's entry is a sum over all outputs, an output is made of all entries of the tensors.
        self.length = problem.entries + sum(int(np.prod(shape)) for shape in shapes.values())
        self.notes: list[str] = []
        self._measured: dict[str, float] | None = None

    def compare(
        self,
        place: Place,
        tensor: str,
        hand: np.ndarray,
        oracle: np.ndarray,
        allowed: np.ndarray,
        scale: float = 1.0,
        **options: Any,
    ) -> Comparison:
        """Compare, and where the estimate does not explain a difference, once more with measured rounding.

        Parameters
        ----------
        place, tensor, hand, oracle, allowed, options
            As of `rnnx.gradient_check.comparison.compare`.
        scale : float
            Size of the upstream gradients.
        """
        found = compare(place, tensor, hand, oracle, allowed, **options)
        if not found.wrong.any() or found.row.error > MOST_ROUNDING:
            return found
        if self._measured is None:
            self._measured = self._measure()
        extra = scale * self._measured.get(tensor, 0.0)
        return compare(place, tensor, hand, oracle, allowed + extra, **options) if extra else found

    def _measure(self) -> dict[str, float]:
        """Rounding error of the gradients in float64, told from float32: mistakes do not shrink with it.

        A saturated unit's ``1 - tanh(a)**2`` has lost most of its digits in any precision, and no sum of
        absolute values tells. The gradients of a right backward pass in float32 and float64 differ by
        rounding alone, by 2**29 times the rounding of float64.

        Returns
        -------
        dict of str to float
            Largest error that any entry of a tensor may have, for upstream gradients in ±[0.2, 1]; empty if
            the function does not run in float32.
        """
        rng = np.random.default_rng(self.seed)
        allowed: dict[str, float] = {}
        for _ in range(SAMPLES):
            point = {
                name: single(value * (1.0 + NEARBY * rng.uniform(-1.0, 1.0, value.shape)))
                for name, value in self.problem.tensors.items()
            }
            weights = {name: single(draw(rng, shape)) for name, shape in self.shapes.items()}
            try:
                with np.errstate(all="ignore"):
                    found = gradients(self.problem, self.backend, "float32", point, weights)
                    right = gradients(self.problem, self.backend, "float64", point, weights)
            except Exception:  # a function of one precision alone: there is nothing to measure by
                return {}
            for name, value in right.items():
                error = float(np.max(np.abs(found[name] - value), initial=0.0))
                if np.isfinite(error):
                    scaled = MARGIN * error * UNIT["float64"] / UNIT["float32"]
                    allowed[name] = max(allowed.get(name, 0.0), scaled)
        return allowed


def single(value: np.ndarray) -> np.ndarray:
    """The value rounded to float32, as float64."""
    rounded: np.ndarray = value.astype(np.float32).astype(np.float64)
    return rounded


def gradients(
    problem: Problem, backend: Backend, dtype: str, tensors: Mapping[str, np.ndarray], upstream: Host
) -> Host:
    """Hand-written gradients at other inputs, in another precision, as float64 on the host."""
    with use_backend(backend):
        _, backward = problem.forward({k: backend.asarray(v, dtype) for k, v in tensors.items()})
        found = backward({k: backend.asarray(v, dtype) for k, v in upstream.items()})
        for name, value in found.items():
            if value.dtype != backend.dtype(dtype):
                raise DtypeError(f"the gradient of {name} comes back as {value.dtype}")
        return {name: backend.to_numpy(value).astype(np.float64) for name, value in found.items()}


def changes(
    run: Callable[[Host], Host], point: Host, there: Host, distance: float, seed: int
) -> dict[str, np.ndarray]:
    """How much each entry of what a function gives changes within that relative distance of a point.

    Parameters
    ----------
    run : callable
    point : dict of str to float64 array
    there : dict of str to float64 array
        What it gives at the point.
    distance : float
        Relative to the largest entry of each array.
    seed : int
    """
    rng, found = np.random.default_rng(seed), {name: np.zeros(value.shape) for name, value in there.items()}
    for _ in range(POINTS):
        moved = {
            k: v + distance * np.max(np.abs(v), initial=0.0) * rng.uniform(-1.0, 1.0, v.shape)
            for k, v in point.items()
        }
        for name, value in run(moved).items():
            found[name] = np.maximum(found[name], np.abs(value - there[name]))
    return found
