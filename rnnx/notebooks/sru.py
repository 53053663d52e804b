"""The simple recurrent unit of notebook 002, batch first, on separate weights and on one packed matrix.

Sizes: N batch, T time, D input, H hidden. The packed matrix is ``[W, Wf, Wr, Wh]``, (D, 4H), and the `_fast`
functions take it. A sequence starts from the cell state 0.
"""

from collections.abc import Mapping
from functools import cache as remember
from typing import Any

from rnnx.backends import Backend
from rnnx.cells import SRU, SRUState
from rnnx.notebooks import cache as caches
from rnnx.notebooks.arguments import agree, rules
from rnnx.notebooks.cache import Cache
from rnnx.typing import Array

__all__ = [
    "sru_backward",
    "sru_backward_fast",
    "sru_backward_fast_advance",
    "sru_forward",
    "sru_forward_fast",
    "sru_step_backward",
    "sru_step_backward_fast",
    "sru_step_forward",
    "sru_step_forward_fast",
]

SEPARATE = rules(W="D H", Wf="D H", Wr="D H", Wh="D H", bf="H", br="H")
PACKED = rules(W="D 4*H", bf="H", br="H")
STEP = rules(x="N D", prev_c="N H")
SEQUENCE = rules(x="N T D")

_sru = remember(SRU)


def sru_step_forward(
    x: Array, prev_c: Array, W: Array, Wf: Array, Wr: Array, Wh: Array, bf: Array, br: Array
) -> tuple[Array, Array, Cache]:
    """One step of an SRU.

    Parameters
    ----------
    x : (N, D) array
    prev_c : (N, H) array
    W, Wf, Wr, Wh : (D, H) array
        Of the candidate, the forget gate, the reset gate and the highway.
    bf, br : (H,) array

    Returns
    -------
    next_h, next_c : (N, H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "sru_step_forward"
    backend, sizes = agree(where, STEP + SEPARATE, (x, prev_c, W, Wf, Wr, Wh, bf, br))
    packed = backend.xp.concat([W, Wf, Wr, Wh], axis=1)
    return _step_forward(where, backend, sizes, x, prev_c, packed, bf, br)


def sru_step_backward(dnext_h: Array, dnext_c: Array, cache: Cache) -> tuple[Array, ...]:
    """Gradients of one step of an SRU.

    Parameters
    ----------
    dnext_h, dnext_c : (N, H) array
    cache : Cache
        From `sru_step_forward`.

    Returns
    -------
    dx, dprev_c, dW, dWf, dWr, dWh, dbf, dbr
        Of the shapes of the arguments.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    dx, dprev_c, dW, dbf, dbr = _step_backward(
        "sru_step_backward", "sru_step_forward", dnext_h, dnext_c, cache
    )
    return dx, dprev_c, *_blocks(dW), dbf, dbr


def sru_forward(
    x: Array, W: Array, Wf: Array, Wr: Array, Wh: Array, bf: Array, br: Array
) -> tuple[Array, Cache]:
    """An SRU over whole sequences.

    Parameters
    ----------
    x : (N, T, D) array
    W, Wf, Wr, Wh : (D, H) array
    bf, br : (H,) array

    Returns
    -------
    h : (N, T, H) array
    cache : Cache

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError
    """
    where = "sru_forward"
    backend, sizes = agree(where, SEQUENCE + SEPARATE, (x, W, Wf, Wr, Wh, bf, br))
    return _forward(where, backend, sizes, x, backend.xp.concat([W, Wf, Wr, Wh], axis=1), bf, br)


def sru_backward(dh: Array, cache: Cache) -> tuple[Array, ...]:
    """Gradients of an SRU over whole sequences.

    Parameters
    ----------
    dh : (N, T, H) array
    cache : Cache
        From `sru_forward`.

    Returns
    -------
    dx, dW, dWf, dWr, dWh, dbf, dbr
        Of the shapes of the arguments.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedArraysError
    """
    dx, dW, dbf, dbr = _backward("sru_backward", "sru_forward", dh, cache)
    return dx, *_blocks(dW), dbf, dbr


def sru_step_forward_fast(
    x: Array, prev_c: Array, W: Array, bf: Array, br: Array
) -> tuple[Array, Array, Cache]:
    """`sru_step_forward` on the packed W (D, 4H)."""
    where = "sru_step_forward_fast"
    backend, sizes = agree(where, STEP + PACKED, (x, prev_c, W, bf, br))
    return _step_forward(where, backend, sizes, x, prev_c, W, bf, br)


def sru_step_backward_fast(dnext_h: Array, dnext_c: Array, cache: Cache) -> tuple[Array, ...]:
    """`sru_step_backward` on the packed matrix: dx, dprev_c, dW (D, 4H), dbf, dbr."""
    return _step_backward("sru_step_backward_fast", "sru_step_forward_fast", dnext_h, dnext_c, cache)


def sru_forward_fast(x: Array, W: Array, bf: Array, br: Array) -> tuple[Array, Cache]:
    """`sru_forward` on the packed W (D, 4H)."""
    where = "sru_forward_fast"
    backend, sizes = agree(where, SEQUENCE + PACKED, (x, W, bf, br))
    return _forward(where, backend, sizes, x, W, bf, br)


def sru_backward_fast(dh: Array, cache: Cache) -> tuple[Array, ...]:
    """`sru_backward` on the packed matrix: dx, dW (D, 4H), dbf, dbr."""
    return _backward("sru_backward_fast", "sru_forward_fast", dh, cache)


def sru_backward_fast_advance(dh: Array, cache: Cache) -> tuple[Array, ...]:
    """The same as `sru_backward_fast`: rnnx takes all products out of the loop in any case."""
    return _backward("sru_backward_fast_advance", "sru_forward_fast", dh, cache)


def _step_forward(
    where: str, backend: Backend, sizes: Mapping[str, int], x: Array, c: Array, W: Array, bf: Array, br: Array
) -> tuple[Array, Array, Cache]:
    params = {"W": W, "bf": bf, "br": br}
    cell = _sru(sizes["D"], sizes["H"])
    h, final, cache = caches.forward(where, backend, cell, params, x[None, ...], SRUState(c))
    return caches.own(backend, h[0, ...]), final.c, cache


def _step_backward(where: str, maker: str, dnext_h: Array, dnext_c: Array, cache: Any) -> tuple[Array, ...]:
    cache = caches.of(where, cache, maker)
    cache.check(where, tuple(cache.state.c.shape), dnext_h=dnext_h, dnext_c=dnext_c)
    dx, before, grads = cache.backward(dnext_h[None, ...], SRUState(dnext_c))
    return dx[0, ...], before.c, grads["W"], grads["bf"], grads["br"]


def _forward(
    where: str, backend: Backend, sizes: Mapping[str, int], x: Array, W: Array, bf: Array, br: Array
) -> tuple[Array, Cache]:
    params = {"W": W, "bf": bf, "br": br}
    cell = _sru(sizes["D"], sizes["H"])
    h, _, cache = caches.forward(where, backend, cell, params, caches.time_first(backend, x), None)
    return caches.batch_first(backend, h), cache


def _backward(where: str, maker: str, dh: Array, cache: Any) -> tuple[Array, ...]:
    cache = caches.of(where, cache, maker)
    T, N, _ = cache.x.shape
    cache.check(where, (N, T, cache.cell.output_size), dh=dh)
    dx, _, grads = cache.backward(caches.time_first(cache.backend, dh))
    return caches.batch_first(cache.backend, dx), grads["W"], grads["bf"], grads["br"]


def _blocks(dW: Array) -> list[Array]:
    H = dW.shape[1] // 4
    return [dW[:, at : at + H] for at in range(0, 4 * H, H)]
