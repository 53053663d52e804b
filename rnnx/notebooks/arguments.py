"""Checks of what is passed to the notebooks' functions: a rule for each argument, such as ``"N T D"``."""

from collections.abc import Mapping
from functools import cache
from math import prod

from rnnx import backends
from rnnx.backends import Backend
from rnnx.errors import ShapeError
from rnnx.typing import Array

Rules = Mapping[str, str]
"""Sizes of each argument by name: ``"H 4*H"``. The first axis that is a letter alone says how large it is."""


def agree(
    where: str, rules: Rules, arrays: tuple[Array, ...], known: Mapping[str, int] | None = None
) -> tuple[Backend, dict[str, int]]:
    """The one backend of all arguments, and the size that each letter of their rules stands for.

    Parameters
    ----------
    where : str
        The function that asks, for the error.
    rules : mapping of str to str
        In the order of the arrays.
    arrays : tuple of array
    known : mapping of str to int, optional
        Letters whose sizes are known already.

    Raises
    ------
    ShapeError
        An array disagrees with its rule, or with the arrays before it.
    MixedArraysError
    """
    backend = backends.of(dict(zip(rules, arrays, strict=True)), where)
    sizes = dict(known or {})
    givers: dict[str, str] = {}
    for (name, rule), array in zip(rules.items(), arrays, strict=True):
        axes = _axes(rule)
        if len(array.shape) != len(axes):
            raise _error(where, name, rules, arrays, sizes, givers)
        for (number, letters), size in zip(axes, array.shape, strict=True):
            if number == 1 and len(letters) == 1 and letters[0] not in sizes:
                sizes[letters[0]], givers[letters[0]] = size, name
    for (name, rule), array in zip(rules.items(), arrays, strict=True):
        for (number, letters), size in zip(_axes(rule), array.shape, strict=True):
            if size != number * prod([sizes[letter] for letter in letters]):
                raise _error(where, name, rules, arrays, sizes, givers)
    return backend, sizes


@cache
def _axes(rule: str) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """A number and the letters to multiply it by, for each axis."""
    axes = []
    for axis in rule.split():
        factors = axis.split("*")
        number = prod(int(factor) for factor in factors if factor.isdigit())
        axes.append((number, tuple(factor for factor in factors if not factor.isdigit())))
    return tuple(axes)


def _error(
    where: str,
    name: str,
    rules: Rules,
    arrays: tuple[Array, ...],
    sizes: Mapping[str, int],
    givers: Mapping[str, str],
) -> ShapeError:
    """What was given, the rule, and where its letters have their sizes from: the other arguments."""
    shapes = {key: tuple(array.shape) for key, array in zip(rules, arrays, strict=True)}
    others = {letter: size for letter, size in sizes.items() if givers.get(letter) != name}
    axes, names = _axes(rules[name]), rules[name].split()
    values = [
        str(number * prod([others[letter] for letter in letters])) if others.keys() >= set(letters) else axis
        for axis, (number, letters) in zip(names, axes, strict=True)
    ]
    reasons = []
    for letter in dict.fromkeys(letter for _, letters in axes for letter in letters if letter in others):
        giver = givers.get(letter)
        reasons.append(f"{letter} is {sizes[letter]}" + (f" in {giver} {shapes[giver]}" if giver else ""))
    wanted = [_tuple(names), *([_tuple(values)] if reasons else [])]
    hint = f"{'; '.join(reasons)}." if reasons else ""
    return ShapeError(f"{where}: {name} has shape {shapes[name]}; expected {' = '.join(wanted)}.", hint)


def _tuple(values: list[str]) -> str:
    return f"({', '.join(values)}{',' if len(values) == 1 else ''})"
