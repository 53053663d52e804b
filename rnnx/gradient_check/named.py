"""Problems by name: of known cells, of layers and losses, and of any cell that ``module:attribute`` names."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rnnx.errors import OptionError, RnnxError
from rnnx.gradient_check.layers import LAYERS
from rnnx.gradient_check.problem import Problem, cell_problem, cell_problems, lacking, problems_of
from rnnx.typing import SequenceCell

Make = Callable[[int, int], SequenceCell]

LARGE = (8, 70, 60, 4)
"""D, H, T and N of the check along directions; long enough for what a backward pass does piece by piece."""

SMALL = (3, 5)
"""D and H that a class is tried with first."""

STEPS, BATCH = 4, 2
"""T and N of a cell that is given as it is."""


def problems(name: str, makers: Mapping[str, Make]) -> list[Problem]:
    """All problems of a layer, a loss, a known cell or a cell in a module, small ones first.

    Parameters
    ----------
    name : str
        A key of `rnnx.gradient_check.layers.LAYERS` or of the makers, or ``module:attribute``.
    makers : mapping of str to callable
        Makers of cells, called with D and H.

    Raises
    ------
    OptionError
        There is no such name; the module or its attribute is not found or is no cell.
    """
    if name in LAYERS:
        return LAYERS[name]()
    if name in makers:
        return of_maker(makers[name], name)
    found, title = _imported(name), name.rpartition(":")[2]
    if not lacking(found):
        return problems_of(found, title, STEPS, BATCH)
    if not callable(found):
        raise OptionError(
            f"{name} is a {type(found).__name__}; expected a cell, its class, or a function that makes one."
        )
    try:
        cell = found(*SMALL)
    except RnnxError:
        raise
    except Exception as error:  # the constructor is the user's
        raise OptionError(
            f"{name}{SMALL} raises {type(error).__name__}: {error}.",
            "A class or function must take (input_size, hidden_size); else name a cell that is made already.",
        ) from error
    if lacking(cell):
        raise OptionError(
            f"{name}{SMALL} gives a {type(cell).__name__}; expected a cell.",
            f"It lacks {', '.join(lacking(cell))}.",
        )
    return of_maker(found, title)


def of_maker(make: Make, name: str) -> list[Problem]:
    """All problems of the cells that a function makes, small ones first."""
    D, H, T, N = LARGE
    small, cell = cell_problems(make, name), make(D, H)
    if not cell.analytic:
        return small  # along a direction through thousands of units, every step meets a kink
    return [*small, cell_problem(cell, name, f"T={T}, N={N}, D={D}, H={H}", T, N)]


def _imported(name: str) -> Any:
    """What ``module:attribute`` names; modules are looked for in the working folder, too."""
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # importing runs the user's code
        raise OptionError(
            f"{name}: the module {module!r} cannot be imported ({type(error).__name__}: {error}).",
            "Name it as Python imports it, from the folder that it is in: package.module:Cell.",
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = sorted(key for key, value in vars(found).items() if hasattr(value, "param_shapes"))
            listed = f"It has the cells {', '.join(known)}." if known else "It has no cells."
            raise OptionError(f"{name}: {module} has no {attribute!r}.", listed)
        found = getattr(found, part)
    return found
