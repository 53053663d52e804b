"""Checks of what is passed to the notebooks' functions: a rule for each argument, such as ``"N T D"``."""

from collections.abc import Mapping
from functools import cache
from math import prod
from typing import Any

from rnnx import backends
from rnnx.backends import Backend
from rnnx.errors import ShapeError
from rnnx.typing import Array

Rules = Mapping[str, str]
"""Sizes of each argument by name; a letter's first use alone says how large it is: ``"H 4*H"``."""


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
    for (name, rule), array in zip(rules.items(), arrays, strict=True):
        wanted, found, before = _parts(rule), array.shape, dict(sizes)
        if len(found) != len(wanted):
            raise _error(where, name, found, rules, arrays, before)
        for (factor, letters), size in zip(wanted, found, strict=True):
            if letters == ():
                fits = size == factor
            elif factor == 1 and len(letters) == 1 and letters[0] not in sizes:
                sizes[letters[0]] = size
                continue
            else:
                fits = size == factor * prod([sizes[letter] for letter in letters])
            if not fits:
                raise _error(where, name, found, rules, arrays, before)
    return backend, sizes


@cache
def _parts(rule: str) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """A number and the letters to multiply it by, for each axis."""
    axes = []
    for axis in rule.split():
        factors = axis.split("*")
        number = prod(int(factor) for factor in factors if factor.isdigit())
        axes.append((number, tuple(factor for factor in factors if not factor.isdigit())))
    return tuple(axes)


def _error(
    where: str, name: str, found: Any, rules: Rules, arrays: tuple[Array, ...], sizes: Mapping[str, int]
) -> ShapeError:
    axes = _parts(rules[name])
    reasons = []
    for letter in dict.fromkeys(letter for _, letters in axes for letter in letters):
        giver = next((key for key in rules if letter in rules[key].split()), name)
        if letter in sizes and giver == name:
            reasons.append(f"{letter} is {sizes[letter]}")
        elif letter in sizes:
            shape = tuple(arrays[list(rules).index(giver)].shape)
            reasons.append(f"{letter} is {sizes[letter]} in {giver} {shape}")
    values = [
        str(number * prod([sizes[letter] for letter in letters])) if sizes.keys() >= set(letters) else axis
        for axis, (number, letters) in zip(rules[name].split(), axes, strict=True)
    ]
    wanted = [_tuple(rules[name].split()), *([_tuple(values)] if reasons else [])]
    hint = f"{'; '.join(reasons)}." if reasons else ""
    return ShapeError(f"{where}: {name} has shape {tuple(found)}; expected {' = '.join(wanted)}.", hint)


def _tuple(values: list[str]) -> str:
    return f"({', '.join(values)}{',' if len(values) == 1 else ''})"
