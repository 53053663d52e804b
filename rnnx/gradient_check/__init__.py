"""The gradient check: every hand-written gradient against derivatives found in another way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from rnnx import checks
from rnnx.backends import Backend, get_backend, resolve
from rnnx.errors import OptionError
from rnnx.gradient_check.check import check
from rnnx.gradient_check.functions import function_problems
from rnnx.gradient_check.problem import lacking, problems_of
from rnnx.gradient_check.report import GradientReport, GradientRow
from rnnx.typing import Array, SequenceCell


@overload
def gradcheck(
    function: SequenceCell,
    *,
    steps: int = 4,
    batch: int = 2,
    backend: str | Backend | None = None,
    seed: int = 0,
) -> GradientReport: ...


@overload
def gradcheck(
    function: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Mapping[str, Array],
    *,
    gates: Mapping[str, Sequence[str]] | None = None,
    time: Sequence[str] = (),
    seed: int = 0,
) -> GradientReport: ...


def gradcheck(
    function: Any,
    backward: Callable[..., Any] | None = None,
    inputs: Mapping[str, Array] | None = None,
    *,
    gates: Mapping[str, Sequence[str]] | None = None,
    time: Sequence[str] = (),
    steps: int = 4,
    batch: int = 2,
    backend: str | Backend | None = None,
    seed: int = 0,
) -> GradientReport:
    """Check the hand-written gradients of a cell, or of any pair of functions.

    ``gradcheck(cell)`` and ``gradcheck(forward, backward, inputs)`` compare every entry of every gradient,
    under several choices of upstream gradients, with the complex step where the formulas and the backend
    allow it, and with central differences elsewhere; from 3,000 entries on, along random directions; on torch
    also with autograd. What differs by more than the oracle's own error and rounding explain is a failure.
    Besides: both passes must be pure, and give the same in lower precisions.

    Parameters
    ----------
    function : SequenceCell or callable
        A cell, of any size; or ``forward(**inputs) -> (outputs, cache)``, whose outputs are an array, or a
        tuple or dict of arrays.
    backward : callable
        ``backward(upstream, cache) -> dict``: from the gradients of the outputs, in the outputs' own
        structure, and the cache to the gradients of all inputs by name.
    inputs : mapping of str to array
        The arrays of forward by name, all on one backend, in float64 (float32 is converted).
    gates : mapping of str to sequence of str, optional
        Names of the equal blocks that the last axis of an input consists of, so that a failure can name one.
    time : sequence of str
        Inputs whose first axis is time, so that a failure can name a step.
    steps, batch : int
        T and N, for a cell; other cases have one step, ragged lengths and no initial state.
    backend : str or Backend, optional
        For a cell; the default backend if not given.
    seed : int
        Of a cell's inputs, and of upstream gradients and directions.

    Returns
    -------
    GradientReport
        ``passed``, ``rows``, ``notes``, ``to_json()``; `str` of it says what differs, where, and why it may.

    Raises
    ------
    FunctionError
        A function is random, writes to its inputs, gives NaN, or returns something else than arrays.
    ShapeError, DtypeError, OptionError, MixedArraysError

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.gradcheck(rnnx.LSTM(3, 5)).passed
    True
    >>> def forward(x):
    ...     y = np.tanh(x)
    ...     return y, y
    >>> def backward(dy, y):
    ...     return {"x": dy * (1 - y * y)}
    >>> rnnx.gradcheck(forward, backward, {"x": np.linspace(-1, 1, 5)}).passed
    True
    """
    if hasattr(function, "param_shapes") and not isinstance(function, type):
        if backward is not None or inputs is not None:
            raise OptionError("gradcheck: a cell has its own backward pass and inputs; give no others.")
        if lacking(function):
            raise OptionError(
                f"gradcheck: {type(function).__name__} lacks {', '.join(lacking(function))}; expected a "
                "cell, such as rnnx.LSTM(3, 5)."
            )
        for size, value in {"steps": steps, "batch": batch}.items():
            checks.size("gradcheck", size, value)
        where = get_backend() if backend is None else resolve(backend)
        return check(problems_of(function, type(function).__name__, steps, batch, seed), where, seed)
    if backward is None or inputs is None:
        raise OptionError(
            f"gradcheck: the function is {function!r}; expected a cell, such as rnnx.LSTM(3, 5), "
            "or a forward function with its backward function and inputs."
        )
    problems, where = function_problems(function, backward, inputs, gates or {}, time, seed)
    return check(problems, where, seed)


__all__ = ["GradientReport", "GradientRow", "gradcheck"]
