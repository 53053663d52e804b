"""The RNN and LSTM layers of notebooks 002 and 003, batch first, gates in the order i, f, o, g.

Sizes: N batch, T time, D input, H hidden.
"""

from functools import cache as remember
from typing import Any

from rnnx.cells import LSTM, RNN, LSTMState, RNNState
from rnnx.notebooks import cache as caches
from rnnx.notebooks.arguments import agree, rules
from rnnx.notebooks.cache import Cache
from rnnx.ops import pointwise
from rnnx.ops import sigmoid as logistic
from rnnx.typing import Array

__all__ = [
    "lstm_backward",
    "lstm_forward",
    "lstm_step_backward",
    "lstm_step_forward",
    "rnn_backward",
    "rnn_forward",
    "rnn_step_backward",
    "rnn_step_forward",
    "sigmoid",
]

RNN_STEP = rules(x="N D", prev_h="N H", Wx="D H", Wh="H H", b="H")
RNN_SEQUENCE = rules(x="N T D", h0="N H", Wx="D H", Wh="H H", b="H")
LSTM_STEP = rules(x="N D", prev_h="N H", prev_c="N H", Wx="D 4*H", Wh="H 4*H", b="4*H")
LSTM_SEQUENCE = rules(x="N T D", h0="N H", Wx="D 4*H", Wh="H 4*H", b="4*H")

_rnn = remember(RNN)


@remember
def _lstm(D: int, H: int) -> LSTM:
    return LSTM(D, H, gate_order="ifog")


@pointwise
def _sigmoid(x: Any) -> Any:
    return logistic(x)


def sigmoid(x: Array) -> Array:
    """Logistic function, element by element; it does not overflow.

    Parameters
    ----------
    x : (...) array

    Returns
    -------
    (...) array
    """
    return _sigmoid(x)[0]


def rnn_step_forward(x: Array, prev_h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Cache]:
    """One step of an RNN, ``next_h = tanh(x Wx + prev_h Wh + b)``.

    Parameters
    ----------
    x : (N, D) array
    prev_h : (N, H) array
    Wx, Wh, b : (D, H), (H, H), (H,) array

    Returns
    -------
    next_h : (N, H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "rnn_step_forward"
    backend, sizes = agree(where, RNN_STEP, (x, prev_h, Wx, Wh, b))
    cell, params = _rnn(sizes["D"], sizes["H"]), {"Wx": Wx, "Wh": Wh, "b": b}
    _, final, cache = caches.forward(where, backend, cell, params, x[None, ...], RNNState(prev_h))
    return final.h, cache


def rnn_step_backward(dnext_h: Array, cache: Cache) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of one step of an RNN.

    Parameters
    ----------
    dnext_h : (N, H) array
    cache : Cache
        From `rnn_step_forward`.

    Returns
    -------
    dx, dprev_h, dWx, dWh, db : (N, D), (N, H), (D, H), (H, H), (H,) array

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    dx, before, grads = _step_gradients("rnn_step_backward", cache, RNNState, dnext_h=dnext_h)
    return dx, before.h, grads["Wx"], grads["Wh"], grads["b"]


def rnn_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Cache]:
    """An RNN over whole sequences.

    Parameters
    ----------
    x : (N, T, D) array
    h0 : (N, H) array
    Wx, Wh, b : (D, H), (H, H), (H,) array

    Returns
    -------
    h : (N, T, H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "rnn_forward"
    backend, sizes = agree(where, RNN_SEQUENCE, (x, h0, Wx, Wh, b))
    cell, params = _rnn(sizes["D"], sizes["H"]), {"Wx": Wx, "Wh": Wh, "b": b}
    steps = caches.time_first(backend, x)
    h, _, cache = caches.forward(where, backend, cell, params, steps, RNNState(h0))
    return caches.batch_first(backend, h), cache


def rnn_backward(dh: Array, cache: Cache) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of an RNN over whole sequences.

    Parameters
    ----------
    dh : (N, T, H) array
        Gradient of all hidden states.
    cache : Cache
        From `rnn_forward`.

    Returns
    -------
    dx, dh0, dWx, dWh, db : (N, T, D), (N, H), (D, H), (H, H), (H,) array

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    return _sequence_gradients("rnn_backward", cache, dh)


def lstm_step_forward(
    x: Array, prev_h: Array, prev_c: Array, Wx: Array, Wh: Array, b: Array
) -> tuple[Array, Array, Cache]:
    """One step of an LSTM.

    Parameters
    ----------
    x : (N, D) array
    prev_h, prev_c : (N, H) array
    Wx, Wh, b : (D, 4H), (H, 4H), (4H,) array
        Gates in the order i, f, o, g.

    Returns
    -------
    next_h, next_c : (N, H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "lstm_step_forward"
    backend, sizes = agree(where, LSTM_STEP, (x, prev_h, prev_c, Wx, Wh, b))
    cell, params = _lstm(sizes["D"], sizes["H"]), {"Wx": Wx, "Wh": Wh, "b": b}
    state = LSTMState(prev_h, prev_c)
    _, final, cache = caches.forward(where, backend, cell, params, x[None, ...], state)
    return final.h, final.c, cache


def lstm_step_backward(
    dnext_h: Array, dnext_c: Array, cache: Cache
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Gradients of one step of an LSTM.

    Parameters
    ----------
    dnext_h, dnext_c : (N, H) array
    cache : Cache
        From `lstm_step_forward`.

    Returns
    -------
    dx, dprev_h, dprev_c, dWx, dWh, db : (N, D), (N, H), (N, H), (D, 4H), (H, 4H), (4H,) array

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    given = {"dnext_h": dnext_h, "dnext_c": dnext_c}
    dx, before, grads = _step_gradients("lstm_step_backward", cache, LSTMState, **given)
    return dx, before.h, before.c, grads["Wx"], grads["Wh"], grads["b"]


def lstm_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Cache]:
    """An LSTM over whole sequences, from a cell state of zeros.

    Parameters
    ----------
    x : (N, T, D) array
    h0 : (N, H) array
    Wx, Wh, b : (D, 4H), (H, 4H), (4H,) array
        Gates in the order i, f, o, g.

    Returns
    -------
    h : (N, T, H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "lstm_forward"
    backend, sizes = agree(where, LSTM_SEQUENCE, (x, h0, Wx, Wh, b))
    cell, params = _lstm(sizes["D"], sizes["H"]), {"Wx": Wx, "Wh": Wh, "b": b}
    state = LSTMState(h0, backend.zeros(h0.shape, h0.dtype))
    h, _, cache = caches.forward(where, backend, cell, params, caches.time_first(backend, x), state)
    return caches.batch_first(backend, h), cache


def lstm_backward(dh: Array, cache: Cache) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of an LSTM over whole sequences.

    Parameters
    ----------
    dh : (N, T, H) array
        Gradient of all hidden states.
    cache : Cache
        From `lstm_forward`.

    Returns
    -------
    dx, dh0, dWx, dWh, db : (N, T, D), (N, H), (D, 4H), (H, 4H), (4H,) array

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    return _sequence_gradients("lstm_backward", cache, dh)


def _step_gradients(where: str, cache: Cache, make: Any, **given: Array) -> Any:
    cache = caches.of(where, cache, where.replace("backward", "forward"))
    cache.check(where, tuple(cache.state[0].shape), **given)
    dx, before, grads = cache.backward(None, make(*given.values()))
    return dx[0, ...], before, grads


def _sequence_gradients(where: str, cache: Cache, dh: Array) -> tuple[Array, Array, Array, Array, Array]:
    cache = caches.of(where, cache, where.replace("backward", "forward"))
    T, N, _ = cache.x.shape
    cache.check(where, (N, T, cache.cell.output_size), dh=dh)
    dx, before, grads = cache.backward(caches.time_first(cache.backend, dh))
    return caches.batch_first(cache.backend, dx), before.h, grads["Wx"], grads["Wh"], grads["b"]
