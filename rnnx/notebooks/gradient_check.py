"""Numerical gradients as in cs231n's assignment 3, for arrays of any backend; nothing is written to.

They are checks: each evaluation copies its result to the host.
"""

from collections.abc import Callable

import numpy as np

from rnnx import backends, checks
from rnnx.backends import Backend
from rnnx.typing import Array

__all__ = ["eval_numerical_gradient", "eval_numerical_gradient_array", "rel_error"]


def eval_numerical_gradient(f: Callable[[Array], Array | float], x: Array, h: float = 1e-5) -> Array:
    """Gradient of a scalar function by central differences, ``(f(x + h) - f(x - h)) / (2 h)``.

    Parameters
    ----------
    f : callable
        From an array like x to a number.
    x : (...) array
    h : float
        Step, in x's unit.

    Returns
    -------
    (...) array
        Of x's shape and dtype.

    Raises
    ------
    DtypeError, MixedArraysError
    """
    return _quotients("eval_numerical_gradient", f, x, h, lambda ahead, behind: float(ahead - behind))


def eval_numerical_gradient_array(f: Callable[[Array], Array], x: Array, df: Array, h: float = 1e-5) -> Array:
    """Gradient of ``sum(f(x) * df)`` by central differences, as `eval_numerical_gradient`.

    Parameters
    ----------
    f : callable
        From an array like x to an array like df.
    x : (...) array
    df : (...) array
        Gradient of what f returns.
    h : float
        Step, in x's unit.

    Returns
    -------
    (...) array
        Of x's shape and dtype.

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "eval_numerical_gradient_array"
    weights = backends.of({"x": x, "df": df}, where).to_numpy(df)

    def change(ahead: np.ndarray, behind: np.ndarray) -> float:
        checks.shape(where, "df", weights, ahead.shape, "That of what f returns.")
        return float(np.sum((ahead - behind) * weights))

    return _quotients(where, f, x, h, change)


def rel_error(x: Array, y: Array) -> float:
    """Largest relative error, ``max(|x - y| / max(1e-8, |x| + |y|))``.

    Parameters
    ----------
    x, y : (...) array
        Of one shape.

    Returns
    -------
    float
        From 0 to 1; 0 for arrays without an element.

    Raises
    ------
    ShapeError, MixedArraysError
    """
    backend = backends.of({"x": x, "y": y}, "rel_error")
    a, b = backend.to_numpy(x), backend.to_numpy(y)
    checks.shape("rel_error", "y", b, a.shape, "That of x.")
    return float(np.max(np.abs(a - b) / np.maximum(1e-8, np.abs(a) + np.abs(b)), initial=0.0))


def _quotients(
    where: str,
    f: Callable[[Array], Array | float],
    x: Array,
    h: float,
    change: Callable[[np.ndarray, np.ndarray], float],
) -> Array:
    backend = backends.of({"x": x}, where)
    checks.floating(where, "x", backend.xp, x.dtype)
    host = backend.to_numpy(x)
    gradient = np.empty_like(host)
    for index in np.ndindex(host.shape):
        ahead, behind = (_moved(backend, f, host, index, step, x.dtype) for step in (h, -h))
        gradient[index] = change(ahead, behind) / (2.0 * h)
    return backend.asarray(gradient, x.dtype)


def _moved(
    backend: Backend,
    f: Callable[[Array], Array | float],
    host: np.ndarray,
    index: tuple[int, ...],
    step: float,
    dtype: object,
) -> np.ndarray:
    """What f returns with one element moved."""
    values = np.array(host)
    values[index] += step
    result = f(backend.asarray(values, dtype))
    return backend.to_numpy(result) if backend.holds(result) else np.asarray(result)
