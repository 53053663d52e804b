"""What passes may not do: be random, write to their arguments, answer out of proportion, touch padding."""

from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from rnnx.backends import Backend
from rnnx.errors import TapeConsumed
from rnnx.gradient_check.comparison import Comparison, Place, compare, of_size, refused, rounding
from rnnx.gradient_check.judge import Host, Judge
from rnnx.gradient_check.problem import Backward, Problem, Tensors, draw
from rnnx.gradient_check.report import AGAIN, ENDED, LINEAR, PADDING, SECOND, UNTOUCHED
from rnnx.typing import Array

FACTOR = 1e3
"""Of the upstream gradients that a combination of two others is compared under."""

DEPTH = 4
"""Levels of nested containers of a cache that are looked into."""

NO_CONTAINER = (type(None), str, bytes, type, ModuleType, FunctionType)


def unfit_outputs(problem: Problem, backend: Backend, outputs: Tensors) -> Iterator[Comparison]:
    """Outputs that no gradient can be told of: no arrays, of another dtype, not finite."""
    place = Place(problem, str(backend), AGAIN)
    for name, value in outputs.items():
        if not backend.holds(value):
            yield refused(place, name, f"a {type(value).__name__}, no array on {backend}", "Return arrays.")
        elif value.dtype != backend.dtype("float64"):
            found = f"{value.dtype} from float64 inputs"
            yield refused(place, name, found, "Keep the inputs' dtype; write constants as Python numbers.")
        elif not np.all(finite := np.isfinite(backend.to_numpy(value))):
            found = f"NaN or infinity in {np.sum(~finite)} of {finite.size} entries"
            hint = "Look for a division by zero, an overflow, and memory that is never written (np.empty)."
            yield refused(place, name, found, hint)


class Purity:
    """One problem on one backend, as a judge knows them."""

    def __init__(self, judge: Judge) -> None:
        self.problem, self.backend, self.judge = judge.problem, judge.backend, judge
        self.rng = np.random.default_rng(judge.seed)

    def of_forward(self) -> Iterator[Comparison]:
        """Two runs on equal inputs give equal outputs and leave the inputs alone."""
        given = self._tensors()
        first, _ = self.problem.forward(given)
        once = self._host(first)
        second, _ = self.problem.forward(self._tensors())
        for name, value in self._host(second).items():
            allowed = rounding(self.judge.length) * of_size(np.abs(value))
            found = self._compare(AGAIN, name, value, once[name], allowed)
            yield _hinted(found, "The forward pass is random: seed its generator inside of it.")
        for name, value in given.items():
            yield self._untouched(name, self.backend.to_numpy(value), self.problem.tensors[name])
        for name, mask in self.problem.padding.items():
            if name in once:
                yield self._zero(ENDED, name, once[name][mask])

    def of_backward(self) -> Iterator[Comparison]:
        """Nothing is written to, zero gives zero, sums give sums, a second pass gives the same or refuses."""
        shapes = self.judge.shapes
        ones, twos = ({name: draw(self.rng, shape) for name, shape in shapes.items()} for _ in range(2))
        tensors, given = self._tensors(), self._on(ones)
        _, backward = self.problem.forward(tensors)
        cache = getattr(backward, "cache", None)
        before = _snapshot(cache, self.backend)
        answer = backward(given)
        of_ones = self._host({name: value for name, value in answer.items() if self._fits(name, value)})
        for name, value in given.items():
            yield self._untouched(f"upstream {name}", self.backend.to_numpy(value), ones[name])
        for name, value in tensors.items():
            yield self._untouched(name, self.backend.to_numpy(value), self.problem.tensors[name])
        yield from self._second(backward, ones, of_ones, before, cache)
        sums = {name: FACTOR * (ones[name] - 3.0 * twos[name]) for name in shapes}
        of_twos, of_sums = self._gradients(twos), self._gradients(sums)
        of_zeros = self._gradients({name: 0.0 * value for name, value in ones.items()})
        for name, value in of_ones.items():
            if any(name not in other for other in (of_twos, of_sums, of_zeros)):
                continue
            size = FACTOR * (np.abs(value) + 3.0 * np.abs(of_twos[name]))
            expected = FACTOR * (value - 3.0 * of_twos[name])
            allowed = rounding(self.judge.length) * of_size(size)
            place = self._place(LINEAR)
            found = self.judge.compare(place, name, of_sums[name], expected, allowed, 4.0 * FACTOR)
            yield _hinted(found, _not_linear(of_zeros[name], self.problem.tensors[name]))
        for name, mask in self.problem.padding.items():
            if name in of_ones:
                yield self._zero(PADDING, name, of_ones[name][mask])

    def _second(
        self, backward: Backward, upstream: Host, first: Host, before: list[np.ndarray], cache: Any
    ) -> Iterator[Comparison]:
        try:
            again = self._host(backward(self._on(upstream)))
        except TapeConsumed:
            return
        except Exception as error:
            found = f"a second call raises {type(error).__name__}: {error}"
            hint = "Let it work, or raise rnnx.TapeConsumed."
            yield refused(self._place(SECOND), "backward", found, hint)
            return
        for name, value in first.items():
            if name in again and again[name].shape == value.shape:
                allowed = rounding(self.judge.length) * of_size(np.abs(value))
                found_again = self._compare(SECOND, name, again[name], value, allowed)
                yield _hinted(
                    found_again,
                    "The first call has overwritten its cache: write to copies, or raise rnnx.TapeConsumed.",
                )
        for k, (old, new) in enumerate(zip(before, _snapshot(cache, self.backend), strict=False)):
            if old.size and old.shape == new.shape:
                yield self._untouched(f"cache array {k}", new, old)

    def _tensors(self) -> Tensors:
        """Copies, which a function may spoil without harm to what it is compared with."""
        return {name: self.backend.asarray(value.copy()) for name, value in self.problem.tensors.items()}

    def _on(self, upstream: Host) -> Tensors:
        return {name: self.backend.asarray(value.copy()) for name, value in upstream.items()}

    def _host(self, values: Tensors) -> Host:
        arrays = {name: value for name, value in values.items() if self.backend.holds(value)}
        return {name: np.array(self.backend.to_numpy(value)) for name, value in arrays.items()}

    def _fits(self, name: str, gradient: Array) -> bool:
        """Whether a gradient is one; of others it is said where they are compared."""
        known = self.backend.holds(gradient) and name in self.problem.tensors
        return known and bool(
            gradient.dtype == self.backend.dtype("float64")
            and gradient.shape == self.problem.tensors[name].shape
            and np.all(np.isfinite(self.backend.to_numpy(gradient)))
        )

    def _gradients(self, upstream: Host) -> Host:
        _, backward = self.problem.forward(self._tensors())
        return self._host(backward(self._on(upstream)))

    def _place(self, what: str) -> Place:
        return Place(self.problem, str(self.backend), what)

    def _compare(
        self, what: str, name: str, found: np.ndarray, expected: np.ndarray, allowed: np.ndarray
    ) -> Comparison:
        return compare(self._place(what), name, found, expected, allowed)

    def _untouched(self, name: str, found: np.ndarray, expected: np.ndarray) -> Comparison:
        unread = np.isnan(found) & np.isnan(expected)  # memory that was made and not written
        found, expected = np.where(unread, 0.0, found), np.where(unread, 0.0, expected)
        result = self._compare(UNTOUCHED, name, found, expected, np.zeros(expected.shape))
        return _hinted(result, f"{name} was written to: work on a copy of it.")

    def _zero(self, what: str, name: str, padded: np.ndarray) -> Comparison:
        result = self._compare(what, name, padded, np.zeros(padded.shape), np.zeros(padded.shape))
        return _hinted(result, f"{name} is not exactly zero past the ends of the sequences: mask it.")


def _hinted(found: Comparison, hint: str) -> Comparison:
    return found if found.row.passed else found.with_hint(hint)


def _not_linear(of_zeros: np.ndarray, value: np.ndarray) -> str:
    if np.any(of_zeros != 0.0):
        if np.allclose(of_zeros, value, rtol=1e-9, atol=0.0):
            return "Without any upstream gradient it is the tensor itself: start it with zeros."
        return "It is not zero without any upstream gradient: something else is added to it."
    return "It is not proportional to the upstream gradient: is it clipped, or normalised?"


def _snapshot(cache: Any, backend: Backend, depth: int = DEPTH) -> list[np.ndarray]:
    """Copies of all arrays of numbers in a cache, in the order of its containers."""
    if depth == 0 or isinstance(cache, NO_CONTAINER):
        return []
    if backend.holds(cache):
        host = backend.to_numpy(cache)
        return [host.astype(np.float64)] if host.dtype.kind in "biuf" else []
    if isinstance(cache, Mapping):
        parts = list(cache.values())
    elif isinstance(cache, tuple | list):
        parts = list(cache)
    else:
        parts = list(getattr(cache, "__dict__", {}).values())
    return [array for part in parts for array in _snapshot(part, backend, depth - 1)]
