"""What a plot of a gradient check shows: errors over time and gates, and over the step of the quotients."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rnnx.backends import Backend, use_backend
from rnnx.gradient_check.comparison import divisor
from rnnx.gradient_check.oracles import Oracle
from rnnx.gradient_check.places import blocks
from rnnx.gradient_check.problem import Problem, draw

STEPS = np.logspace(0, -13, 53)
"""Of the curve, in units of the tensor's largest entry."""

MOST_ENTRIES = 3000
"""Entries of all tensors together up to which the map has every one; above, it has directions."""

DIRECTIONS = 4


@dataclass(frozen=True)
class Diagnosis:
    """Errors of one problem's gradients.

    Attributes
    ----------
    title : str
    parts : tuple of str
        Tensors, and the gate blocks of those that have some.
    upstream : tuple of str
        Time steps of outputs, and outputs that are not over time: what alone had an upstream gradient.
    errors : (parts, upstream) float64 array
        Largest relative errors; 0 where both gradients are.
    tensor : str
        The worst one, or the first if there is none.
    steps, curve : (K,) float64 arrays
        Relative error of a central difference quotient of that tensor along a direction, by its step. Of a
        right gradient it falls with the square of the step, until rounding lets it rise.
    """

    title: str
    parts: tuple[str, ...]
    upstream: tuple[str, ...]
    errors: np.ndarray
    tensor: str
    steps: np.ndarray
    curve: np.ndarray


def diagnose(problem: Problem, backend: Backend, seed: int = 0) -> Diagnosis:
    """Take one problem's gradients apart."""
    with use_backend(backend):
        return _Diagnosing(problem, backend, seed).result()


class _Diagnosing:
    def __init__(self, problem: Problem, backend: Backend, seed: int) -> None:
        self.problem, self.backend = problem, backend
        self.rng = np.random.default_rng(seed)
        self.oracle = Oracle(problem, backend, seed)
        self.tensors = {k: backend.asarray(v.copy(), "float64") for k, v in problem.tensors.items()}
        outputs, _ = problem.forward(self.tensors)
        self.shapes = {name: tuple(value.shape) for name, value in outputs.items()}
        self.whole = problem.entries <= MOST_ENTRIES
        self.directions = {name: self._directions(value) for name, value in problem.tensors.items()}

    def result(self) -> Diagnosis:
        jacobians = {
            name: np.stack([self.oracle.derivative(name, row)[0] for row in rows])
            for name, rows in self.directions.items()
        }
        columns = {}
        for label, upstream in self._upstreams():
            flat = np.concatenate([upstream[name].ravel() for name in self.shapes])
            hand = self._hand_written(upstream)
            column: dict[str, float] = {}
            for name, jacobian in jacobians.items():
                column |= self._errors(name, hand.get(name), jacobian @ flat)
            columns[label] = column
        parts = tuple(next(iter(columns.values())))
        errors = np.array([[column[part] for column in columns.values()] for part in parts])
        worst = parts[int(np.argmax(errors.max(axis=1)))].partition(" ")[0]
        return Diagnosis(self.problem.name, parts, tuple(columns), errors, worst, STEPS, self._curve(worst))

    def _directions(self, value: np.ndarray) -> np.ndarray:
        if self.whole:
            return np.eye(value.size).reshape(value.size, *value.shape)
        return draw(self.rng, (DIRECTIONS, *value.shape))

    def _upstreams(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Upstream gradients of one time step of one output, or of one output."""
        for name, shape in self.shapes.items():
            draws = draw(self.rng, shape)
            steps = range(shape[0]) if name in self.problem.over_time else [slice(None)]
            for step in steps:
                chosen = {other: np.zeros(size) for other, size in self.shapes.items()}
                chosen[name][step] = draws[step]
                yield (name if isinstance(step, slice) else f"{name}[{step}]"), chosen

    def _hand_written(self, upstream: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        _, backward = self.problem.forward(self.tensors)
        found = backward({name: self.backend.asarray(value) for name, value in upstream.items()})
        return {name: self.backend.to_numpy(value) for name, value in found.items()}

    def _errors(self, name: str, hand: np.ndarray | None, oracle: np.ndarray) -> dict[str, float]:
        """Largest relative error of a tensor, or of each of its gates."""
        value = self.problem.tensors[name]
        if hand is None or hand.shape != value.shape:
            return {name: np.inf}
        if not self.whole:
            hand = np.array([np.sum(hand * row) for row in self.directions[name]])
            return {name: _largest(hand, oracle)}
        oracle = oracle.reshape(value.shape)
        errors = np.abs(hand - oracle) / divisor(hand, oracle)
        parts = blocks(self.problem, name, errors) or {"": errors}
        return {f"{name} {gate}".strip(): float(np.max(part, initial=0.0)) for gate, part in parts.items()}

    def _curve(self, name: str) -> np.ndarray:
        value = self.problem.tensors[name]
        direction = draw(self.rng, value.shape) * (float(np.max(np.abs(value), initial=0.0)) or 1.0)
        upstream = {other: draw(self.rng, shape) for other, shape in self.shapes.items()}
        hand = self._hand_written(upstream)[name]
        expected = float(np.sum(hand * direction))
        flat = np.concatenate([each.ravel() for each in upstream.values()])
        found = self.oracle.quotients(name, direction, STEPS) @ flat
        curve: np.ndarray = np.abs(found - expected) / np.maximum(np.abs(found), abs(expected))
        return curve


def _largest(hand: np.ndarray, oracle: np.ndarray) -> float:
    return float(np.max(np.abs(hand - oracle) / divisor(hand, oracle), initial=0.0))
