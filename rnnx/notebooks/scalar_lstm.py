"""The LSTM of one unit of notebook 001, and its four partial derivatives.

    a = tanh(V x + U h_prev + b)        candidate
    s = i a + f s_prev                  cell state
    h = o tanh(s)                       output

The gates i, f, o are given numbers of any size, not sigmoids, as in the notebook. Each derivative is one
output of the pointwise backward pass of `rnnx.LSTM` or `rnnx.RNN`, at the values that make it a partial one.

Arguments may be arrays of any one backend, numbers or lists; the last two become float64 on the default
backend.
"""

from typing import Any

from rnnx import backends, checks
from rnnx.backends import Backend, asarray
from rnnx.cells.lstm import lstm_backward
from rnnx.cells.rnn import rnn_tanh_backward, rnn_tanh_forward
from rnnx.typing import Array

__all__ = ["candidate", "cell_state", "da_dV", "dh_dV", "dh_ds", "ds_da", "output"]


def candidate(V: Any, x: Any, U: Any, h_prev: Any, b: Any) -> Array:
    """Candidate a.

    Parameters
    ----------
    V, x : (D,) array
        Weights of the input, and the input.
    U, h_prev : (K,) array
        Weights of the last outputs, and these.
    b : () array

    Returns
    -------
    () array

    Raises
    ------
    ShapeError, MixedArraysError
    """
    backend, V, x, U, h_prev, b = _arrays("candidate", V=V, x=x, U=U, h_prev=h_prev, b=b)
    checks.shape("candidate", "x", x, tuple(V.shape), "One number for each weight of V.")
    checks.shape("candidate", "h_prev", h_prev, tuple(U.shape), "One number for each weight of U.")
    return rnn_tanh_forward(backend.xp.sum(V * x) + backend.xp.sum(U * h_prev) + b)[0]


def cell_state(i: Any, a: Any, f: Any, s_prev: Any) -> Array:
    """Cell state s, of () arrays."""
    _, i, a, f, s_prev = _arrays("cell_state", i=i, a=a, f=f, s_prev=s_prev)
    return i * a + f * s_prev


def output(o: Any, s: Any) -> Array:
    """Output h, of () arrays."""
    _, o, s = _arrays("output", o=o, s=s)
    return o * rnn_tanh_forward(s)[0]


def ds_da(i: Any) -> Array:
    """``ds/da = i``, of a () array."""
    _, i = _arrays("ds_da", i=i)
    zero = 0.0 * i
    _, _, dg, _, _ = lstm_backward(i, zero, zero, zero, zero + 1.0, zero, zero, zero)
    return dg


def dh_ds(o: Any, s: Any) -> Array:
    """``dh/ds = o (1 - tanh(s)²)``, of () arrays."""
    _, o, s = _arrays("dh_ds", o=o, s=s)
    zero = 0.0 * s
    one = zero + 1.0
    *_, dc = lstm_backward(zero, one, zero, o, zero, zero, s, one)
    return dc


def da_dV(V: Any, x: Any, U: Any, h_prev: Any, b: Any) -> Array:
    """``da/dV = (1 - a²) x``, of the arguments of `candidate`.

    Returns
    -------
    (D,) array
    """
    a = candidate(V, x, U, h_prev, b)
    _, x, _ = _arrays("da_dV", x=x, a=a)
    return rnn_tanh_backward(0.0 * a + 1.0, a)[0] * x


def dh_dV(V: Any, x: Any, U: Any, h_prev: Any, b: Any, f: Any, i: Any, o: Any, s_prev: Any) -> Array:
    """``dh/dV = dh/ds ds/da da/dV``, in the notebook's order of arguments.

    Parameters
    ----------
    V, x, U, h_prev, b
        As of `candidate`.
    f, i, o, s_prev : () array

    Returns
    -------
    (D,) array

    Raises
    ------
    ShapeError, MixedArraysError
    """
    a = candidate(V, x, U, h_prev, b)
    _, x, f, i, o, s_prev, _ = _arrays("dh_dV", x=x, f=f, i=i, o=o, s_prev=s_prev, a=a)
    s, zero = cell_state(i, a, f, s_prev), 0.0 * a
    _, _, dg, _, _ = lstm_backward(i, f, a, o, zero, s_prev, s, zero + 1.0)
    return dg * x


def _arrays(where: str, **values: Any) -> tuple[Any, ...]:
    """The backend of these arguments, and each as an array."""
    arrays = {
        name: value if hasattr(value, "dtype") else asarray(value, "float64")
        for name, value in values.items()
    }
    backend: Backend = backends.of(arrays, where)
    return backend, *arrays.values()
