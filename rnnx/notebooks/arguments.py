"""Checks of what is passed to the notebooks' functions: a rule for each argument, such as ``"N T D"``."""

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from math import prod
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from rnnx import backends
from rnnx.backends import Backend
from rnnx.errors import ShapeError
from rnnx.typing import Array

Rules: TypeAlias = tuple[tuple[str, str], ...]
"""Name and sizes of each argument; the first axis that is a letter alone says how large that is."""


def rules(**sizes: str) -> Rules:
    """Rules by name, such as ``x="N D", Wx="D 4*H"``."""
    return tuple(sizes.items())


def agree(
    where: str, rules: Rules, arrays: tuple[Array, ...], known: Mapping[str, int] | None = None
) -> tuple[Backend, Mapping[str, int]]:
    """The one backend of all arguments, and the size that each letter of their rules stands for.

    Parameters
    ----------
    where : str
        The function that asks, for the error.
    rules : Rules
        In the order of the arrays.
    arrays : tuple of array
    known : mapping of str to int, optional
        Letters whose sizes are known already.

    Raises
    ------
    ShapeError
        An array disagrees with its rule, or with the others.
    MixedArraysError
    """
    backend = backends.of(dict(zip(_plan(rules).names, arrays, strict=True)), where)
    shapes = tuple([tuple(array.shape) for array in arrays])
    return backend, _sizes(where, rules, shapes, tuple(known.items()) if known else ())


@lru_cache(maxsize=256)
def _sizes(
    where: str, rules: Rules, shapes: tuple[tuple[int, ...], ...], known: tuple[tuple[str, int], ...]
) -> Mapping[str, int]:
    """Size of each letter. Shapes that have passed once are looked up: a small call is mostly checks."""
    plan, fixed = _plan(rules), dict(known)
    for at, (shape, axes) in enumerate(zip(shapes, plan.axes, strict=True)):
        if len(shape) != len(axes):
            raise _error(where, plan, at, shapes, fixed)
    sizes = {letter: shapes[at][axis] for letter, (at, axis) in plan.givers.items()} | fixed
    for at, axis, number, letters in plan.checks:
        if shapes[at][axis] != number * prod([sizes[letter] for letter in letters]):
            raise _error(where, plan, at, shapes, fixed)
    return MappingProxyType(sizes)


class _Plan(NamedTuple):
    """Rules, read once: every axis as a number and the letters to multiply it by."""

    names: tuple[str, ...]
    axes: tuple[tuple[tuple[int, tuple[str, ...]], ...], ...]
    givers: dict[str, tuple[int, int]]
    checks: tuple[tuple[int, int, int, tuple[str, ...]], ...]


@cache
def _plan(rules: Rules) -> _Plan:
    axes = tuple(tuple(_factors(rule)) for _, rule in rules)
    givers: dict[str, tuple[int, int]] = {}
    checks = []
    for at, shape in enumerate(axes):
        for axis, (number, letters) in enumerate(shape):
            if number == 1 and len(letters) == 1:
                givers.setdefault(letters[0], (at, axis))
            checks.append((at, axis, number, letters))
    return _Plan(tuple(name for name, _ in rules), axes, givers, tuple(checks))


def _factors(rule: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    for axis in rule.split():
        factors = axis.split("*")
        number = prod(int(factor) for factor in factors if factor.isdigit())
        yield number, tuple(factor for factor in factors if not factor.isdigit())


def _error(
    where: str, plan: _Plan, at: int, shapes: tuple[tuple[int, ...], ...], known: Mapping[str, int]
) -> ShapeError:
    """What was given, the rule, and where its letters have their sizes from: the other arguments."""
    sizes = dict(known)
    origins = dict.fromkeys(known, "")
    for letter, (giver, axis) in plan.givers.items():
        if letter not in known and giver != at and len(shapes[giver]) == len(plan.axes[giver]):
            sizes[letter] = shapes[giver][axis]
            origins[letter] = f" in {plan.names[giver]} {shapes[giver]}"
    names, values = [], []
    reasons: dict[str, str] = {}
    for number, letters in plan.axes[at]:
        names.append("*".join([*([str(number)] if number != 1 or not letters else []), *letters]))
        fixed = sizes.keys() >= set(letters)
        values.append(str(number * prod([sizes[letter] for letter in letters])) if fixed else names[-1])
        reasons |= {
            letter: f"{letter} is {sizes[letter]}{origins[letter]}" for letter in letters if letter in sizes
        }
    wanted = [_tuple(names), *([_tuple(values)] if reasons else [])]
    hint = f"{'; '.join(reasons.values())}." if reasons else ""
    problem = f"{where}: {plan.names[at]} has shape {shapes[at]}; expected {' = '.join(wanted)}."
    return ShapeError(problem, hint)


def _tuple(values: list[str]) -> str:
    return f"({', '.join(values)}{',' if len(values) == 1 else ''})"
