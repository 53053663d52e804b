"""States of any structure: an array, or a (named) tuple of states.

A cell describes its state by `state_sizes`: the same structure with the number of features in place of each
array, such as ``LSTMState(h=4, c=4)``.
"""

from collections.abc import Callable, Iterator
from typing import Any

from rnnx.errors import ShapeError


def is_node(value: Any) -> bool:
    """Whether it is a tuple of states, not an array."""
    return isinstance(value, tuple)


def rebuild(like: Any, values: list[Any]) -> Any:
    """Tuple of the same type, NamedTuple or plain, with other members."""
    return type(like)(*values) if hasattr(like, "_fields") else tuple(values)


def transform(function: Callable[..., Any], sizes: Any, *states: Any) -> Any:
    """Apply ``function(size, *arrays)`` to every leaf; a missing state (None) has leaves None."""
    if not is_node(sizes):
        return function(sizes, *states)
    parts = [
        transform(function, size, *(None if state is None else state[k] for state in states))
        for k, size in enumerate(sizes)
    ]
    return rebuild(sizes, parts)


def leaves(structure: Any, name: str = "state") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with its dotted name: ``state.h``, ``state.0.forward.c``."""
    if not is_node(structure):
        yield name, structure
        return
    keys = getattr(structure, "_fields", range(len(structure)))
    for key, part in zip(keys, structure, strict=True):
        yield from leaves(part, f"{name}.{key}")


def from_leaves(sizes: Any, values: Iterator[Any]) -> Any:
    """State of that structure from its leaves, in the order of `leaves`."""
    return transform(lambda _: next(values), sizes)


def checked(
    where: str, name: str, sizes: Any, state: Any, *, partial: bool = False
) -> dict[str, tuple[Any, int]]:
    """Leaves of a state by name, each with its number of features; the state has the expected structure.

    If it may be partial, leaves and whole parts may be None; they are left out.
    """
    if state is None and partial:
        return {}
    if not is_node(sizes):
        return {name: (state, sizes)}
    keys = getattr(sizes, "_fields", None)
    if not is_node(state) or len(state) != len(sizes):
        found = f"a {type(state).__name__}" + (f" of {len(state)}" if is_node(state) else "")
        wanted = f"{type(sizes).__name__}({', '.join(keys)})" if keys else f"a tuple of {len(sizes)}"
        raise ShapeError(
            f"{where}: {name} is {found}; expected {wanted}.",
            "Pass a state as forward, step and init_state return it.",
        )
    parts: dict[str, tuple[Any, int]] = {}
    for key, size, part in zip(keys or range(len(sizes)), sizes, state, strict=True):
        parts |= checked(where, f"{name}.{key}", size, part, partial=partial)
    return parts
