"""The only time loop of the library, over the hooks of a `rnnx.stepcell.StepCell`.

Inside, everything is features first: pre-activations (T, G*H, N), states (T+1, H, N) with the initial state
in row 0. So every gate block is contiguous, the recurrent product is ``(G*H, H) @ (H, N)``, and "the previous
h" is a slice. Users see (T, N, H).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnx.backends import Backend
from rnnx.ops import Workspace
from rnnx.typing import Array, Namespace, Params, State

CHUNK = 32
"""Steps that a forward pass without a tape holds at a time."""


@dataclass
class Tape:
    """What a backward pass needs of its forward pass; it overwrites `pre` and `saved`, and lets go of all."""

    cell: Any
    backend: Backend
    params: Any
    x: Array
    pre: Array
    saved: Array
    states: tuple[Array, ...]
    consumed: bool = False


def forward_with_tape(
    cell: Any, backend: Backend, params: Params, x: Array, state: State
) -> tuple[Array, State, Tape]:
    """Run the sequence and keep what the backward pass needs."""
    T = x.shape[0]
    states, saved = _buffers(cell, backend, T, x, state)
    pre = cell.project(backend.xp, params, x)
    _loop(cell, _bind(cell, backend, params, x), pre, states, saved)
    y = backend.freeze(backend.xp.matrix_transpose(states[0][1:, ...]))
    return y, _state_at(cell, backend.xp, states, T), Tape(cell, backend, params, x, pre, saved, states)


def forward_in_chunks(
    cell: Any, backend: Backend, params: Params, x: Array, state: State
) -> tuple[Array, State, None]:
    """Run the sequence in memory that does not grow with T, y aside."""
    xp, (T, N, _) = backend.xp, x.shape
    states, saved = _buffers(cell, backend, min(T, CHUNK), x, state)
    step = _bind(cell, backend, params, x)
    y = backend.empty((T, N, cell.hidden_size), x.dtype)
    for start in range(0, T, CHUNK):
        steps = min(CHUNK, T - start)
        pre = cell.project(xp, params, x[start : start + steps, ...])
        _loop(cell, step, pre, states, saved)
        y[start : start + steps, ...] = xp.matrix_transpose(states[0][1 : steps + 1, ...])
        for buffer in states:
            buffer[0, ...] = buffer[steps, ...]
    return y, _state_at(cell, xp, states, 0), None


def backward(cell: Any, tape: Tape, dy: Array | None, dstate: State) -> tuple[Array, State, dict[str, Array]]:
    """Run a tape backwards; return the gradients of x, of the initial state and of the parameters."""
    backend, xp, make = tape.backend, tape.backend.xp, cell.State._make
    params, x, pre, saved, states = tape.params, tape.x, tape.pre, tape.saved, tape.states
    tape.params = tape.x = tape.pre = tape.saved = None
    tape.states = ()
    T, N, _ = x.shape
    d = make([backend.zeros((cell.hidden_size, N), x.dtype) for _ in cell.State._fields])
    for total, given in zip(d, dstate or (), strict=False):
        if given is not None:
            total[...] = given.T
    upstream = None if dy is None else xp.matrix_transpose(dy)
    step = cell.bind_backward(Workspace(backend, cell.hidden_size, N, x.dtype), params)
    after, dh = make([buffer[T, ...] for buffer in states]), d[0]
    for t in reversed(range(T)):
        prev = make([buffer[t, ...] for buffer in states])
        if upstream is not None:
            dh += upstream[t, ...]
        step(pre[t, ...], saved[t, ...], prev, after, d)
        after = prev
    dx, grads = cell.finish(xp, params, x, states[0][:-1, ...], pre, saved)
    return dx, make([total.T for total in d]), grads


def _buffers(
    cell: Any, backend: Backend, steps: int, x: Array, state: State
) -> tuple[tuple[Array, ...], Array]:
    H, N = cell.hidden_size, x.shape[1]
    states = tuple(backend.empty((steps + 1, H, N), x.dtype) for _ in cell.State._fields)
    for k, buffer in enumerate(states):
        buffer[0, ...] = 0.0 if state is None else state[k].T
    return states, backend.empty((steps, cell.saved_blocks * H, N), x.dtype)


def _bind(cell: Any, backend: Backend, params: Params, x: Array) -> Callable[..., State]:
    step: Callable[..., State] = cell.bind_forward(
        Workspace(backend, cell.hidden_size, x.shape[1], x.dtype), params
    )
    return step


def _loop(cell: Any, step: Callable[..., State], pre: Array, states: tuple[Array, ...], saved: Array) -> None:
    make = cell.State._make
    prev = make([buffer[0, ...] for buffer in states])
    for t in range(pre.shape[0]):
        after = make([buffer[t + 1, ...] for buffer in states])
        step(pre[t, ...], prev, after, saved[t, ...])
        prev = after


def _state_at(cell: Any, xp: Namespace, states: tuple[Array, ...], row: int) -> State:
    return cell.State(*(xp.asarray(buffer[row, ...].T, copy=True) for buffer in states))
