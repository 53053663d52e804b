"""Checks of what users pass to a cell: each error names the argument, what came and what was expected."""

from collections.abc import Mapping
from functools import cache
from math import inf
from numbers import Integral, Real
from typing import Any

import numpy as np

from rnnx import backends, states
from rnnx.backends import Backend
from rnnx.errors import DtypeError, MixedArraysError, OptionError, ShapeError
from rnnx.typing import Array, Namespace, Params, State


def size(where: str, name: str, value: Any) -> int:
    """Return the value as an int; it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise OptionError(f"{where}: {name} is {value!r}; expected an integer of at least 1.")
    return int(value)


def seed(where: str, name: str, value: Any) -> int:
    """Return the value as an int; it is an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise OptionError(f"{where}: {name} is {value!r}; expected an integer of at least 0.")
    return int(value)


def sizes(owner: object, *names: str) -> None:
    """Replace these fields of a frozen dataclass by ints; each is an integer of at least 1."""
    for name in names:
        object.__setattr__(owner, name, size(type(owner).__name__, name, getattr(owner, name)))


def numbers(owner: object, **bounds: float) -> None:
    """Replace these fields of a frozen dataclass by floats; each is at least 0 and below its bound."""
    for name, below in bounds.items():
        value = number(type(owner).__name__, name, getattr(owner, name), below)
        object.__setattr__(owner, name, value)


def gate_order(owner: Any, order: Any) -> tuple[str, ...]:
    """The order as a tuple; the cell's own by default."""
    if order is None:
        return tuple(owner.gates)
    if not isinstance(order, str | tuple | list) or sorted(map(str, order)) != sorted(owner.gates):
        raise OptionError(
            f"{type(owner).__name__}: gate_order is {order!r}; expected {', '.join(owner.gates)}, each once.",
            f'For example "{"".join(owner.gates)}".',
        )
    return tuple(order)


def shape(where: str, name: str, x: Array, expected: tuple[int | str, ...], hint: str = "") -> None:
    """X has that shape; a letter stands for any size."""
    found = tuple(x.shape)
    if len(found) != len(expected) or any(
        isinstance(e, int) and e != f for e, f in zip(expected, found, strict=True)
    ):
        wanted = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
        raise ShapeError(f"{where}: {name} has shape {found}; expected ({wanted}).", hint)


def dtype(where: str, name: str, x: Array, expected: object) -> None:
    """X has that dtype."""
    if x.dtype != expected:
        raise DtypeError(
            f"{where}: {name} has dtype {x.dtype}; expected {expected}, that of the parameters.",
            f"Convert it: rnnx.asarray({name}, dtype=...).",
        )


@cache
def _is_floating(xp: Namespace, found: object) -> bool:
    return bool(xp.isdtype(found, ("real floating", "complex floating")))


def floating(where: str, name: str, xp: Namespace, found: object) -> None:
    """The dtype is of real or complex floating numbers."""
    if not _is_floating(xp, found):
        raise DtypeError(f"{where}: {name} has dtype {found}; expected floating numbers.", 'Use "float32".')


def named(where: str, params: Params) -> dict[str, Array]:
    """The parameters by the names that errors use; they are in a mapping."""
    if not isinstance(params, Mapping):
        raise ShapeError(
            f"{where}: params is a {type(params).__name__}; expected a dict of arrays, as from init."
        )
    return {f"params[{name!r}]": value for name, value in params.items()}


def parameters(where: str, backend: Backend, params: Params, shapes: Mapping[str, tuple[int, ...]]) -> object:
    """The parameters have these names and shapes, and one floating dtype, which is returned."""
    if params.keys() != shapes.keys():
        raise ShapeError(f"{where}: params has {', '.join(params)}; expected {', '.join(shapes)}.")
    common = params[next(iter(shapes))].dtype
    for name, expected in shapes.items():
        value = params[name]
        if value.shape != expected:
            shape(where, f"params[{name!r}]", value, expected)
        if value.dtype != common:
            dtype(where, f"params[{name!r}]", value, common)
    floating(where, f"params[{next(iter(shapes))!r}]", backend.xp, common)
    return common


def _fits(
    cell: Any, backend: Backend, params: Params, x: Array, expected: tuple[int | str, ...], state: State
) -> bool:
    """Whether arrays fit as in nearly all calls, at little cost: if not, `call` finds out what is wrong."""
    shapes, sizes = cell.known_shapes, cell.state_sizes
    if type(params) is not dict or params.keys() != shapes.keys() or not backend.holds(x):
        return False
    common = x.dtype
    if x.ndim != len(expected) or x.shape[-1] != expected[-1] or not _is_floating(backend.xp, common):
        return False
    given = [(params[name], size) for name, size in shapes.items()]
    if state is not None:
        if type(state) is not type(sizes) or any(map(states.is_node, sizes)):
            return False
        batch = x.shape[-2]
        given += [(value, (batch, size)) for value, size in zip(state, sizes, strict=True)]
    for value, size in given:
        if not backend.holds(value) or value.shape != size or value.dtype != common:
            return False
    return True


def call(
    cell: Any, method: str, params: Params, x: Array, expected: tuple[int | str, ...], state: State
) -> Backend:
    """What is passed to `forward` or `step` fits together; return the backend that it lives on."""
    backend = backends.get_backend()
    if _fits(cell, backend, params, x, expected, state):
        return backend
    where = f"{type(cell).__name__}.{method}"
    given = {} if state is None else states.checked(where, "state", cell.state_sizes, state)
    parts = [value for value, _ in given.values()]
    whole: Any = params
    # Names take a while to make, and only an error shows them.
    if not isinstance(whole, Mapping) or not all(map(backend.holds, [*params.values(), x, *parts])):
        arrays = named(where, params) | {"x": x} | dict(zip(given, parts, strict=True))
        backend = backends.of(arrays, where)
    common = parameters(where, backend, params, cell.known_shapes)
    hint = ""
    if len(x.shape) == len(expected) - 1:
        hint = f"For one step use {type(cell).__name__}.step."
    elif len(x.shape) == len(expected) + 1:
        hint = f"For a whole sequence use {type(cell).__name__}.forward."
    shape(where, "x", x, expected, hint)
    dtype(where, "x", x, common)
    for name, (value, features) in given.items():
        shape(where, name, value, (x.shape[-2], features), cell.state_hint)
        dtype(where, name, value, common)
    return backend


def lengths(where: str, values: Any, steps: int, batch: int) -> np.ndarray | None:
    """Lengths of the sequences as int64, each in 1 .. T; None if none are given, or if all are T."""
    if values is None:
        return None
    found = on_host(where, "lengths", values, "integers")
    if found.dtype.kind not in "iu":
        raise DtypeError(f"{where}: lengths has dtype {found.dtype}; expected integers.", "Use int64.")
    shape(where, "lengths", found, (batch,))
    wrong = np.flatnonzero((found < 1) | (found > steps))
    if wrong.size:
        raise OptionError(
            f"{where}: lengths[{wrong[0]}] is {found[wrong[0]]}; expected lengths in 1..{steps}, T of x.",
            "Leave out empty sequences, or pad x to the longest one.",
        )
    return None if (found == steps).all() else found.astype(np.int64)


def upstream(cell: Any, tape: Any, dy: Array | None, dstate: State) -> None:
    """What is passed to `backward` fits its tape."""
    whole = tape.steps, tape.batch, cell.output_size
    plain: Any = dy if dstate is None and tape.backend.holds(dy) else None
    if plain is not None and plain.shape == whole and plain.dtype == tape.dtype:
        return
    where = f"{type(cell).__name__}.backward"
    given: dict[str, tuple[Array, tuple[int, ...]]] = {}
    if dy is not None:
        given["dy"] = (dy, whole)
    leaves = states.checked(where, "dstate", cell.state_sizes, dstate, partial=True)
    for name, (value, features) in leaves.items():
        given[name] = (value, (tape.batch, features))
    for name, (value, expected) in given.items():
        gradient(where, tape.backend, name, value, expected, tape.dtype, cell.state_hint)


def gradient(
    where: str,
    backend: Backend,
    name: str,
    value: Array,
    expected: tuple[int, ...],
    expected_dtype: object,
    hint: str = "",
) -> None:
    """The gradient of an output fits the tape: backend, shape and dtype."""
    if not backend.holds(value):
        owner = backends.of({name: value}, where)
        raise MixedArraysError(
            f"{where}: {name} is on {owner}, the tape is on {backend}; expected both on {backend}.",
            f'Move it: with rnnx.use_backend("{backend}"): {name} = rnnx.asarray({name}).',
        )
    shape(where, name, value, expected, hint)
    dtype(where, name, value, expected_dtype)


def number(where: str, name: str, value: Any, below: float = inf) -> float:
    """Return the value as a float; it is a number of at least 0 and below that bound."""
    # A device array is no Real: float() would copy it to the host.
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < below:
        wanted = "a finite number of at least 0" if below == inf else f"a number in 0 <= {name} < {below:g}"
        raise OptionError(f"{where}: {name} is {value!r}; expected {wanted}.")
    return float(value)


def on_host(where: str, name: str, values: Any, expected: str) -> np.ndarray:
    """Return the values as a NumPy array, without a copy from a device."""
    if hasattr(values, "shape") and not backends.resolve("numpy").holds(values):
        raise DtypeError(
            f"{where}: {name} is a {type(values).__name__}; expected {expected} on the host.",
            f"Pass a list or a NumPy array, such as rnnx.to_numpy({name}).",
        )
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{where}: {name} is ragged; expected rows of one length.", "Pad it.") from error


def ids(where: str, name: str, values: np.ndarray, size: int) -> np.ndarray:
    """Return the values as int64; they are integers in 0 .. size - 1.

    On the host, since a device either wraps an id that is out of range silently or reports it much later.
    """
    if values.dtype.kind not in "iu":
        raise DtypeError(f"{where}: {name} has dtype {values.dtype}; expected integers.", "Use int64.")
    found = np.array(values, dtype=np.int64, order="C")  # a copy: a loader may fill its array anew
    # As unsigned numbers, the negative ones are the largest: one pass finds both kinds.
    if found.size and found.view(np.uint64).max() >= size:
        worst = max(int(found.min()), int(found.max()), key=lambda k: -k if k < 0 else k - size + 1)
        raise OptionError(
            f"{where}: {name} holds {worst}; expected ids in 0..{size - 1}.",
            "Encode with the vocabulary that the sizes were taken from.",
        )
    return found
