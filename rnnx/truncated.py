"""Truncated backpropagation through time: gradients of a long sequence in memory for a short one.

Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories", Neural Computation 2 (1990), 490-501: there h is `window` and h' is `stride`.
"""

from collections.abc import Callable
from typing import Any

from rnnx import backends, checks
from rnnx.errors import OptionError, ShapeError
from rnnx.typing import Array, Params, SequenceCell, State

__all__ = ["tbptt"]


def tbptt(
    cell: SequenceCell,
    params: Params,
    x: Array,
    dy_fn: Callable[[Array, int], tuple[Any, Array]],
    *,
    window: int,
    stride: int | None = None,
    state: State = None,
) -> tuple[Any, dict[str, Array], State]:
    """Run a sequence and sum the truncated gradients of its losses.

    The steps are cut into pieces of `stride`. The loss of each piece is differentiated through the piece and
    the ``window - stride`` steps before it; the state before these is carried, but no gradient passes it.
    With a window of T or more nothing is cut: the result is the full gradient. With ``stride == window`` it
    is the sum of the gradients of windows side by side.

    Where stride is less than window, windows overlap, and the overlap is run again: the work is about
    ``window / stride`` times that of one pass, the memory that of `window` steps.

    Parameters
    ----------
    cell : SequenceCell
        A causal one.
    params : mapping of str to array
    x : (T, N, D) array
        T of at least 1; the last piece may be shorter than `stride`.
    dy_fn : callable
        ``dy_fn(y, start) -> (loss, dy)``, called once for each piece, in order. y (S, N, output_size) holds
        the outputs of the steps ``start .. start + S - 1``; loss is a scalar, summed over the pieces, and dy
        is its gradient by y, of the shape and dtype of y. What else it needs or computes, such as targets or
        the gradients of a head, it keeps itself.
    window : int
        Steps that a loss is differentiated through; at least `stride`.
    stride : int, optional
        Steps of a piece; `window` by default.
    state : tuple, optional
        State before the first step; zeros by default.

    Returns
    -------
    loss : scalar
        Sum of the losses, as `dy_fn` gives them.
    grads : dict of str to array
        Sum of the truncated gradients of the parameters.
    state : tuple
        State after the last step, for the next call.

    Raises
    ------
    OptionError
        The cell is not causal, or the window is shorter than the stride.
    ShapeError, DtypeError, MixedArraysError

    Examples
    --------
    >>> import numpy as np
    >>> import rnnx
    >>> cell, x = rnnx.GRU(2, 3), np.ones((100, 1, 2), np.float32)
    >>> def halves(y, start):
    ...     return rnnx.half_squared_error(y, np.zeros_like(y))
    >>> loss, grads, state = rnnx.tbptt(cell, cell.init(), x, halves, window=20, stride=10)
    >>> state.h.shape
    (1, 3)
    """
    where = "tbptt"
    window = checks.size(where, "window", window)
    stride = window if stride is None else checks.size(where, "stride", stride)
    if window < stride:
        raise OptionError(
            f"{where}: window is {window}; expected at least {stride}, the stride.",
            "Else the first steps of each piece would have no gradient.",
        )
    if not cell.causal:
        raise OptionError(
            f"{where}: {type(cell).__name__} is not causal; expected a cell whose state can be carried.",
            "Both directions need the whole sequence: use forward and backward.",
        )
    backend = backends.of({"x": x}, where)
    if len(x.shape) != 3 or x.shape[0] == 0:
        wanted = f"(T, N, {cell.input_size}) with at least one step"
        raise ShapeError(f"{where}: x has shape {tuple(x.shape)}; expected {wanted}.")
    steps, begin = x.shape[0], 0
    earlier = steps if window >= steps else window - stride
    known = {0: state}  # states before those steps that windows may start at
    loss: Any = None
    total: dict[str, Array] = {}
    for start in range(0, steps, stride):
        stop = min(start + stride, steps)
        before, begin = begin, max(start - earlier, 0)
        if begin not in known:
            _, known[begin], _ = cell.forward(params, x[before:begin, ...], known[before], training=False)
        known = {step: known[step] for step in known if step >= begin}
        y, known[stop], tape = cell.forward(params, x[begin:stop, ...], known[begin])
        y = y[start - begin :, ...]
        value, dy = dy_fn(y, start)
        checks.gradient(where, backend, "dy", dy, tuple(y.shape), y.dtype)
        if begin < start:
            nothing = backend.zeros((start - begin, *dy.shape[1:]), y.dtype)
            dy = backend.xp.concat([nothing, dy], axis=0)
        _, _, grads = cell.backward(tape, dy)
        loss = value if loss is None else loss + value
        total = {name: grad + total[name] for name, grad in grads.items()} if total else grads
    return loss, total, known[steps]
