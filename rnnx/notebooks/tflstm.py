"""The TF-LSTM of notebook 002, batch first, with peepholes.

Sizes: N batch, T time, D input, H hidden; a filter of F inputs, moved by S, makes B = (D - F) // S + 1
blocks, whose states stand side by side. A sequence starts from the cell state 0. One step and `origin2_pp`
have the gates in the order i, f, o, g; the `unfold` and `advance` pair has Kaldi's, g, i, f, o.

Both pairs are one pass of `rnnx.TFLSTM`, along the diagonals of time and frequency.
"""

from functools import cache as remember
from typing import Any

from rnnx.backends import Backend
from rnnx.cells import TFLSTM, TFLSTMState
from rnnx.errors import ShapeError
from rnnx.notebooks import cache as caches
from rnnx.notebooks.arguments import Rules, agree, rules
from rnnx.notebooks.cache import Cache
from rnnx.typing import Array, Params

__all__ = [
    "tflstm_backward_advance_origin_step_pp",
    "tflstm_backward_pp",
    "tflstm_backward_pp_advance",
    "tflstm_forward_origin2_pp",
    "tflstm_forward_origin2_pp_unfold",
    "tflstm_forward_origin_step_pp",
]

WEIGHTS = rules(Wx="F 4*H", Wh="H 4*H", Wk="H 4*H", b="4*H", pi="H", pf="H", po="H")
STEP = rules(x="N D", prev_h="N B*H", prev_c="N B*H") + WEIGHTS
SEQUENCE = rules(x="N T D", h0="N B*H") + WEIGHTS


@remember
def _cell(D: int, H: int, F: int, S: int, gate_order: str) -> TFLSTM:
    return TFLSTM(D, H, F, S, gate_order=gate_order)


def tflstm_forward_origin_step_pp(
    x: Array,
    prev_h: Array,
    prev_c: Array,
    Wx: Array,
    Wh: Array,
    Wk: Array,
    b: Array,
    pi: Array,
    pf: Array,
    po: Array,
    F: int,
    S: int,
    H: int,
) -> tuple[Array, Array, Cache]:
    """One step of a TF-LSTM, over all blocks.

    Parameters
    ----------
    x : (N, D) array
    prev_h, prev_c : (N, B*H) array
    Wx, Wh, Wk, b : (F, 4H), (H, 4H), (H, 4H), (4H,) array
        Of the input, of the state one step before, and of the block below; gates in the order i, f, o, g.
    pi, pf, po : (H,) array
        Peepholes.
    F, S, H : int
        Size of the filter, its stride, and the hidden size of a block.

    Returns
    -------
    next_h, next_c : (N, B*H) array
    cache : Cache

    Raises
    ------
    ShapeError
        Shapes disagree, F > D, or S < 1.
    DtypeError, MixedArraysError
    """
    where = "tflstm_forward_origin_step_pp"
    arrays = (x, prev_h, prev_c, Wx, Wh, Wk, b, pi, pf, po)
    backend, cell, params = _described(where, STEP, arrays, F, S, H, "ifog")
    state = TFLSTMState(prev_h, prev_c)
    _, final, cache = caches.forward(where, backend, cell, params, x[None, ...], state)
    return final.h, final.c, cache


def tflstm_backward_advance_origin_step_pp(dnext_h: Array, dnext_c: Array, cache: Cache) -> tuple[Array, ...]:
    """Gradients of one step of a TF-LSTM.

    Parameters
    ----------
    dnext_h, dnext_c : (N, B*H) array
    cache : Cache
        From `tflstm_forward_origin_step_pp`.

    Returns
    -------
    dx, dprev_h, dprev_c, dWx, dWh, dWk, db, dpi, dpf, dpo
        Of the shapes of the arguments.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    where = "tflstm_backward_advance_origin_step_pp"
    cache = caches.of(where, cache, "tflstm_forward_origin_step_pp")
    cache.check(where, tuple(cache.state.c.shape), dnext_h=dnext_h, dnext_c=dnext_c)
    dx, before, grads = cache.backward(None, TFLSTMState(dnext_h, dnext_c))
    return dx[0, ...], before.h, before.c, *(grads[name] for name, _ in WEIGHTS)


def tflstm_forward_origin2_pp(
    x: Array,
    h0: Array,
    Wx: Array,
    Wh: Array,
    Wk: Array,
    b: Array,
    pi: Array,
    pf: Array,
    po: Array,
    F: int,
    S: int,
    H: int,
) -> tuple[Array, Cache]:
    """A TF-LSTM over whole sequences.

    Parameters
    ----------
    x : (N, T, D) array
    h0 : (N, B*H) array
    Wx, Wh, Wk, b, pi, pf, po, F, S, H
        As of `tflstm_forward_origin_step_pp`.

    Returns
    -------
    h : (N, T, B*H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    arrays = (x, h0, Wx, Wh, Wk, b, pi, pf, po)
    return _forward("tflstm_forward_origin2_pp", arrays, F, S, H, "ifog")


def tflstm_backward_pp(dh: Array, cache: Cache) -> tuple[Array, ...]:
    """Gradients of a TF-LSTM over whole sequences.

    Parameters
    ----------
    dh : (N, T, B*H) array
    cache : Cache
        From `tflstm_forward_origin2_pp`.

    Returns
    -------
    dx, dh0, dWx, dWh, dWk, db, dpi, dpf, dpo
        Of the shapes of the arguments.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    return _backward("tflstm_backward_pp", "tflstm_forward_origin2_pp", dh, cache)


def tflstm_forward_origin2_pp_unfold(
    x: Array,
    h0: Array,
    Wx: Array,
    Wh: Array,
    Wk: Array,
    b: Array,
    pi: Array,
    pf: Array,
    po: Array,
    F: int,
    S: int,
    H: int,
) -> tuple[Array, Cache]:
    """`tflstm_forward_origin2_pp` with the gates in the order g, i, f, o."""
    arrays = (x, h0, Wx, Wh, Wk, b, pi, pf, po)
    return _forward("tflstm_forward_origin2_pp_unfold", arrays, F, S, H, "gifo")


def tflstm_backward_pp_advance(dh: Array, cache: Cache) -> tuple[Array, ...]:
    """`tflstm_backward_pp` for a cache of `tflstm_forward_origin2_pp_unfold`."""
    return _backward("tflstm_backward_pp_advance", "tflstm_forward_origin2_pp_unfold", dh, cache)


def _forward(
    where: str, arrays: tuple[Array, ...], F: int, S: int, H: int, gate_order: str
) -> tuple[Array, Cache]:
    backend, cell, params = _described(where, SEQUENCE, arrays, F, S, H, gate_order)
    x, h0, *_ = arrays
    state = TFLSTMState(h0, backend.zeros(tuple(h0.shape), h0.dtype))
    h, _, cache = caches.forward(where, backend, cell, params, caches.time_first(backend, x), state)
    return caches.batch_first(backend, h), cache


def _backward(where: str, maker: str, dh: Array, cache: Any) -> tuple[Array, ...]:
    cache = caches.of(where, cache, maker)
    T, N, _ = cache.x.shape
    cache.check(where, (N, T, cache.cell.output_size), dh=dh)
    dx, before, grads = cache.backward(caches.time_first(cache.backend, dh))
    return caches.batch_first(cache.backend, dx), before.h, *(grads[name] for name, _ in WEIGHTS)


def _described(
    where: str,
    described: Rules,
    arrays: tuple[Array, ...],
    F: int,
    S: int,
    H: int,
    gate_order: str,
) -> tuple[Backend, TFLSTM, Params]:
    """Backend, cell and parameters of these arguments, which fit together."""
    agree(where, described[:1], arrays[:1])
    x = tuple(arrays[0].shape)
    for name, value in {"F": F, "S": S, "H": H}.items():
        if value < 1:
            raise ShapeError(f"{where}: {name} is {value}; expected at least 1, for x of shape {x}.")
    if x[-1] < F:
        raise ShapeError(
            f"{where}: F is {F}, x has shape {x}; expected F <= D, here {x[-1]}.",
            "A filter that fits no window makes no block.",
        )
    blocks = (x[-1] - F) // S + 1
    backend, _ = agree(where, described, arrays, {"F": F, "H": H, "B": blocks})
    weights = arrays[-len(WEIGHTS) :]
    params = {name: value for (name, _), value in zip(WEIGHTS, weights, strict=True)}
    return backend, _cell(x[-1], H, F, S, gate_order), params
