"""Functions and inputs that no gradient can be told of: each error says what to change."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from rnnx import backends
from rnnx.backends import Backend
from rnnx.errors import BackendError, DtypeError, FunctionError, OptionError, ShapeError
from rnnx.gradient_check.comparison import of_size, rounding
from rnnx.gradient_check.problem import Backward, Tensors, draw
from rnnx.typing import Array

Run: TypeAlias = Callable[[Tensors], tuple[Tensors, Backward]]


def arrays(inputs: Any) -> tuple[Backend, dict[str, np.ndarray]]:
    """The backend that the inputs are on, and copies of them on the host, in float64."""
    if not isinstance(inputs, Mapping) or not inputs:
        found = "empty" if isinstance(inputs, Mapping) else f"a {type(inputs).__name__}"
        raise OptionError(
            f"gradcheck: inputs is {found}; expected the arrays of forward by name.",
            'Such as inputs={"x": x, "W": W}.',
        )
    backend = backends.of(inputs, "gradcheck")
    if not backend.double:
        raise BackendError(
            f"gradcheck: the inputs are on {backend}, without float64; no oracle can judge there.",
            "Check the same functions on arrays of the CPU.",
        )
    return backend, {name: _floating(name, backend.to_numpy(value)) for name, value in inputs.items()}


def callables(forward: Any, backward: Any, names: tuple[str, ...]) -> None:
    """Both are functions that can be called as they will be."""
    listed = f"a function of the inputs by name: {', '.join(names)}"
    _takes("forward", forward, listed, **dict.fromkeys(names))
    _takes("backward", backward, "a function of (upstream, cache)", None, None)


def _floating(name: str, value: np.ndarray) -> np.ndarray:
    """A copy in float64; the dtype is one that has a gradient, and digits enough to tell it."""
    if value.dtype.kind != "f":
        raise DtypeError(
            f"gradcheck: inputs[{name!r}] has dtype {value.dtype}; expected float64.",
            f"Integers have no gradient: bind {name} before, with functools.partial or in a closure."
            if value.dtype.kind in "iub"
            else "Check real functions of real numbers.",
        )
    if value.dtype.itemsize < 4:
        raise DtypeError(
            f"gradcheck: inputs[{name!r}] has dtype {value.dtype}, which has three digits; expected float64.",
            "Convert it to float64; the check runs in lower precisions by itself.",
        )
    if not value.size:
        raise ShapeError(f"gradcheck: inputs[{name!r}] has shape {value.shape}; expected at least one entry.")
    if not np.all(np.isfinite(value)):
        raise FunctionError(f"gradcheck: inputs[{name!r}] holds NaN or infinity; expected finite numbers.")
    return np.array(value, dtype=np.float64)


def _takes(what: str, function: Any, expected: str, *arguments: Any, **named: Any) -> None:
    if not callable(function):
        raise OptionError(f"gradcheck: {what} is a {type(function).__name__}; expected a function.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function written in C may have none
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        raise OptionError(
            f"gradcheck: {what}{signature} cannot be called ({error}); expected {expected}."
        ) from error


def passes(pair: Run, host: dict[str, np.ndarray], backend: Backend, rng: np.random.Generator) -> None:
    """Call both functions, and say what is wrong with them as functions."""
    given = {name: backend.asarray(value.copy(), "float64") for name, value in host.items()}
    outputs, backward = pair(given)
    first = {name: np.array(backend.to_numpy(value)) for name, value in outputs.items()}
    for name, value in first.items():
        if value.dtype != np.float64:
            raise DtypeError(
                f"gradcheck: forward returns {name} as {value.dtype} from float64 inputs; expected float64.",
                "Make buffers in the inputs' dtype, and write constants as Python numbers.",
            )
        if not np.all(np.isfinite(value)):
            bad = int(np.sum(~np.isfinite(value)))
            raise FunctionError(
                f"gradcheck: forward returns NaN or infinity in {bad} of {value.size} entries of {name}.",
                "Choose inputs inside of its domain, and look for memory that is never written (np.empty).",
            )
    _refuse_changed("forward", given, host, backend)
    again, _ = pair({name: backend.asarray(value.copy(), "float64") for name, value in host.items()})
    slack = rounding(sum(value.size for value in [*host.values(), *first.values()]))
    for name, value in again.items():
        difference = np.abs(backend.to_numpy(value) - first[name])
        if np.any(difference > slack * of_size(np.abs(first[name]))):
            raise FunctionError(
                f"gradcheck: forward is random: two calls on equal inputs differ by {np.max(difference):.3g} "
                f"in {name}.",
                "Seed its generator inside of it, or pass what it draws as an input.",
            )
    upstream = {name: backend.asarray(draw(rng, value.shape)) for name, value in first.items()}
    gradients = backward(upstream)
    if gradients.keys() != host.keys():
        raise ShapeError(
            f"gradcheck: backward returns {', '.join(map(str, gradients)) or 'nothing'}; expected "
            f"{', '.join(host)}, the names of the inputs.",
            "An input that needs no gradient is bound before, with functools.partial or in a closure.",
        )
    for name, value in gradients.items():
        _refuse_gradient(name, value, host[name].shape, backend)
    _refuse_changed("backward", given, host, backend)


def _refuse_changed(what: str, given: Tensors, host: dict[str, np.ndarray], backend: Backend) -> None:
    for name, value in given.items():
        changed = int(np.sum(backend.to_numpy(value) != host[name]))
        if changed:
            raise FunctionError(
                f"gradcheck: {what} writes to the input {name}: {changed} of {host[name].size} entries.",
                f"Work on a copy of {name}; `a += b` and `out=` write into a.",
            )


def _refuse_gradient(name: str, value: Array, shape: tuple[int, ...], backend: Backend) -> None:
    if not backend.holds(value):
        raise FunctionError(
            f"gradcheck: backward returns a {type(value).__name__} as gradient of {name}; expected an "
            f"array on {backend}."
        )
    if tuple(value.shape) != shape:
        raise ShapeError(
            f"gradcheck: backward returns a gradient of shape {tuple(value.shape)} for {name}; expected "
            f"{shape}, the input's.",
            "Sum over the axes that were broadcast, and undo transpositions.",
        )
    if value.dtype != backend.dtype("float64"):
        raise DtypeError(
            f"gradcheck: backward returns a gradient of dtype {value.dtype} for {name}; expected float64.",
            "Make buffers in the inputs' dtype, and write constants as Python numbers.",
        )
