"""Any pair of functions as a problem: one maps named arrays to outputs, the other is its backward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnx.backends import Backend, use_backend
from rnnx.errors import FunctionError, OptionError, ShapeError
from rnnx.gradient_check import refusals
from rnnx.gradient_check.problem import Problem, Tensors, parts
from rnnx.typing import Array

OUTPUT = "output"
"""Name of an output that has none; of several, with its number."""


class Pair:
    """Two functions with the calling convention of `Problem.forward`.

    Parameters
    ----------
    forward : callable
        ``forward(**tensors) -> (outputs, cache)``; outputs are an array, a tuple or a dict of arrays.
    backward : callable
        ``backward(upstream, cache) -> dict``; upstream gradients are as the outputs are.
    backend : Backend
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any], backend: Backend) -> None:
        self.forward, self.backward, self.backend = forward, backward, backend

    def __call__(self, tensors: Tensors) -> tuple[Tensors, "BoundBackward"]:
        result = self.forward(**tensors)
        needs = "The cache is whatever backward needs, or None."
        outputs, cache = parts(result, "forward", "outputs", "cache", hint=needs)
        named = _named(outputs)
        if not named:
            raise FunctionError("gradcheck: forward returns no outputs; expected at least one array.")
        for name, value in named.items():
            if not self.backend.holds(value):
                raise FunctionError(
                    f"gradcheck: forward returns a {type(value).__name__} as {name}; expected an array on "
                    f"{self.backend}.",
                    "Return arrays only, a single number as one of shape ().",
                )
        return named, BoundBackward(self, outputs, named, cache)


class BoundBackward:
    """The backward pass of one call of the forward pass; upstream gradients that are not given are zeros."""

    def __init__(self, pair: Pair, outputs: Any, named: Tensors, cache: Any) -> None:
        self.pair, self.outputs, self.named, self.cache = pair, outputs, named, cache

    def __call__(self, upstream: Tensors) -> Tensors:
        zeros, full = self.pair.backend.zeros, {}
        for name, value in self.named.items():
            given = upstream.get(name)
            full[name] = zeros(tuple(value.shape), value.dtype) if given is None else given
        found = self.pair.backward(_like(self.outputs, full), self.cache)
        if not isinstance(found, Mapping):
            raise FunctionError(
                f"gradcheck: backward returns a {type(found).__name__}; expected a dict of gradients.",
                "Its keys are the names of the inputs.",
            )
        return dict(found)


def _named(outputs: Any) -> Tensors:
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, tuple):
        names = getattr(outputs, "_fields", [f"{OUTPUT} {k}" for k in range(len(outputs))])
        return dict(zip(names, outputs, strict=True))
    return {OUTPUT: outputs}


def _like(outputs: Any, values: Tensors) -> Any:
    """The upstream gradients in the outputs' own structure."""
    if isinstance(outputs, Mapping):
        return values
    if isinstance(outputs, tuple):
        parts = values.values()
        return type(outputs)(*parts) if hasattr(outputs, "_fields") else tuple(parts)
    return values[OUTPUT]


def function_problems(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Mapping[str, Array],
    gates: Mapping[str, Sequence[str]],
    time: Sequence[str],
    seed: int,
) -> tuple[list[Problem], Backend]:
    """Problems of a pair of functions, and the backend of their inputs; see `rnnx.gradcheck`.

    The inputs as they are, and, where some are sequences, the first step of them.
    """
    backend, host = refusals.arrays(inputs)
    refusals.callables(forward, backward, tuple(host))
    blocks = {name: tuple(each) for name, each in gates.items()}
    for name in [*blocks, *time]:
        if name not in host:
            raise OptionError(f"gradcheck: there is no input {name!r}.", f"Known are {', '.join(host)}.")
    for name, names in blocks.items():
        if not names or not host[name].ndim or host[name].shape[-1] % len(names):
            raise ShapeError(
                f"gradcheck: {name} has shape {host[name].shape}; expected a last axis of {len(names)} equal "
                "gates."
            )
    pair, title = Pair(forward, backward, backend), getattr(forward, "__name__", type(forward).__name__)

    def problem(case: str, tensors: dict[str, np.ndarray]) -> Problem:
        return Problem(
            title, case, tensors, pair, None, gates=blocks, over_time=frozenset(time), portable=False
        )

    with use_backend(backend):
        refusals.passes(pair, host, backend, np.random.default_rng(seed))
    found = [problem("as given", host)]
    if time and all(host[name].ndim and len(host[name]) > 1 for name in time):
        found.append(problem("first step", host | {name: host[name][:1] for name in time}))
    return found, backend
