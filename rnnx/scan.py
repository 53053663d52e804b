"""The time loop, over the hooks of a `rnnx.stepcell.StepCell`.

Inside, everything is features first: pre-activations (T, G*H, N), states (T+1, H, N) with the initial state
in row 0. So every gate block is contiguous, the recurrent product is ``(G*H, H) @ (H, N)``, and "the previous
h" is a slice. Users see (T, N, H).

A batch of sequences of different lengths, longest first, is a row of segments (`rnnx.ragged`). Each has
buffers of its own and no padding, so that only the sequences still alive enter the products.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.ops import Workspace, capture
from rnnx.projection import Projection
from rnnx.ragged import Segment
from rnnx.steps import Piece, Record, Sums
from rnnx.typing import Array, Params, State

CHUNK = 32
"""Steps that a forward pass without a tape holds at a time."""


def forward_with_record(
    cell: Any,
    backend: Backend,
    params: Params,
    x: Array,
    state: State,
    lengths: np.ndarray | None,
    checkpoint_every: int | None,
) -> tuple[Array, State, Record]:
    """Run the sequences and keep what the backward pass needs, or checkpoints to compute it from."""
    T, N, _ = x.shape
    parts = ragged.segments(T, N, lengths)
    rows = None if lengths is None else ragged.packed(backend, x, parts)
    record = Record(params, x, parts, [], rows)
    runs = parts if checkpoint_every is None else ragged.split(parts, checkpoint_every)
    final, projection = _Final(cell, backend, x, runs), Projection(cell, backend, record)
    y = None
    if checkpoint_every is not None or lengths is not None:
        make = backend.empty if lengths is None else backend.zeros
        y = make((T, N, cell.output_size), x.dtype)
    before = state
    for part in runs:
        piece = _forward(cell, backend, record, projection, part, before)
        if y is not None:
            y[part.start : part.stop, : part.batch, :] = piece.states[0][1:, ...].mT
        final.take(part, piece.state(cell, part.stop - part.start))
        before = piece
        record.pieces.append(piece if checkpoint_every is None else _checkpoint(backend, piece))
    if y is None:
        y = backend.freeze(piece.states[0][1:, ...].mT)
    return y, final.state, record


def forward_in_chunks(
    cell: Any, backend: Backend, params: Params, x: Array, state: State, lengths: np.ndarray | None
) -> tuple[Array, State, None]:
    """Run the sequences in memory that does not grow with T, y aside."""
    xp, (T, N, _) = backend.xp, x.shape
    parts = ragged.segments(T, N, lengths)
    final, previous = _Final(cell, backend, x, parts), state
    record = Record(params, x, parts, [])
    projection = Projection(cell, backend, record)
    y = (backend.empty if lengths is None else backend.zeros)((T, N, cell.output_size), x.dtype)
    for part in parts:
        rows = min(part.stop - part.start, CHUNK)
        piece = Piece(part, None, *_buffers(cell, backend, rows, part.batch, x.dtype))
        _start(piece, previous)
        run = _bind(cell, backend, record, part)
        start = stop = part.start
        for start in range(part.start, part.stop, CHUNK):
            stop = min(start + CHUNK, part.stop)
            piece.pre = projection.block(x[start:stop, : part.batch, :])
            run(piece, stop - start)
            y[start:stop, : part.batch, :] = piece.states[0][1 : stop - start + 1, ...].mT
            if stop < part.stop:
                for buffer in piece.states:
                    buffer[0, ...] = buffer[stop - start, ...]
        count = stop - start
        final.take(part, piece.state(cell, count))
        previous = Piece(part, None, None, tuple(buffer[count : count + 1, ...] for buffer in piece.states))
    return y, final.state, None


def backward(
    cell: Any, backend: Backend, record: Record, dy: Array | None, dstate: State
) -> tuple[Array, State, dict[str, Array]]:
    """Run a record backwards; return the gradients of x, of the initial state and of the parameters."""
    make, params, H, dtype = cell.State._make, record.params, cell.hidden_size, record.x.dtype
    sums, projection = Sums(cell, backend, record), Projection(cell, backend, record)
    d: Any = None
    while record.pieces:
        piece, later = record.pieces.pop(), d
        start, stop, N = piece.segment
        if piece.pre is None:
            piece = _forward(cell, backend, record, projection, piece.segment, piece)
        alive = 0 if later is None else later[0].shape[1]
        d = make([backend.zeros((H, N), dtype) for _ in cell.State._fields])
        for k, given in enumerate(dstate or ()):
            if given is not None:
                d[k][:, alive:] = given.T[:, alive:N]
        for k, carry in enumerate(later or ()):
            d[k][:, :alive] = carry
        given = None if dy is None else dy[start:stop, :N, :]
        _bind_backward(cell, backend, record, piece)(piece, d, given)
        sums.add(piece)
        del piece
    dx, grads = sums.result()
    return dx, make([total.T for total in d]), grads


def _forward(
    cell: Any, backend: Backend, record: Record, projection: Projection, part: Segment, before: Any
) -> Piece:
    """Run the steps of a part, and keep their buffers."""
    pre, steps = projection.of(part), part.stop - part.start
    piece = Piece(part, pre, *_buffers(cell, backend, steps, part.batch, pre.dtype))
    _start(piece, before)
    _bind(cell, backend, record, part)(piece, steps)
    return piece


def _checkpoint(backend: Backend, piece: Piece) -> Piece:
    """The state before a piece, alone."""
    states = tuple(backend.xp.asarray(buffer[:1, ...], copy=True) for buffer in piece.states)
    return Piece(piece.segment, None, None, states)


class _Final:
    """Final states of all sequences, put together from the segments that they end in."""

    def __init__(self, cell: Any, backend: Backend, x: Array, parts: list[Segment]) -> None:
        self._xp, self._whole = backend.xp, len(parts) == 1
        self.state: State = None
        if not self._whole:
            self._alive = dict(zip(parts, [part.batch for part in parts[1:]] + [0], strict=True))
            shape = (x.shape[1], cell.hidden_size)
            self.state = cell.State(*(backend.empty(shape, x.dtype) for _ in cell.State._fields))

    def take(self, part: Segment, state: State) -> None:
        """Keep the state (H, N) after a segment of the sequences that end there."""
        if self._whole:
            self.state = state._make([self._xp.asarray(value.T, copy=True) for value in state])
            return
        alive = self._alive[part]
        for total, value in zip(self.state, state, strict=True):
            total[alive : part.batch, :] = value.T[alive:, :]


def _buffers(
    cell: Any, backend: Backend, steps: int, batch: int, dtype: Any
) -> tuple[Array, tuple[Array, ...]]:
    """Memory of what the steps save, and of the states."""
    H = cell.hidden_size
    states = tuple([backend.empty((steps + 1, H, batch), dtype) for _ in cell.State._fields])
    return backend.empty((steps, cell.saved_blocks * H, batch), dtype), states


def _start(piece: Piece, before: Any) -> None:
    """Set the state before the first step: that after a piece, or one of (N, H) arrays, or zeros."""
    batch = piece.segment.batch
    for k, buffer in enumerate(piece.states):
        if isinstance(before, Piece):
            buffer[0, ...] = before.states[k][-1, :, :batch]
        else:
            buffer[0, ...] = 0.0 if before is None else before[k].T


def _bind(cell: Any, backend: Backend, record: Record, part: Segment) -> Callable[..., None]:
    """Function ``run(piece, steps)``: the loop compiled where the backend can, else step by step."""
    ops = _workspace(cell, backend, record, part)
    whole = _compiled(cell, ops, record.params, backward=False)
    if whole is not None:
        return lambda piece, steps: whole(steps, piece, None, None)
    step = cell.bind_forward(ops, record.params)

    def run(piece: Piece, steps: int) -> None:
        prev = piece.state(cell, 0)
        for t in range(steps):
            after = piece.state(cell, t + 1)
            step(piece.pre[t, ...], prev, after, piece.saved[t, ...])
            prev = after

    return run


def _bind_backward(cell: Any, backend: Backend, record: Record, piece: Piece) -> Callable[..., None]:
    """Function ``run(piece, d, dy)``, likewise; it turns `d` into the gradient of the state at the start."""
    count = piece.segment.stop - piece.segment.start
    ops = _workspace(cell, backend, record, piece.segment)
    whole = _compiled(cell, ops, record.params, backward=True)
    if whole is not None:
        return lambda piece, d, dy: whole(count, piece, d, dy)
    step = cell.bind_backward(ops, record.params)

    def run(piece: Piece, d: State, dy: Array | None) -> None:
        upstream = None if dy is None else dy.mT
        after, dh = piece.state(cell, count), d[0]
        for t in reversed(range(count)):
            prev = piece.state(cell, t)
            if upstream is not None:
                dh += upstream[t, ...]
            step(piece.pre[t, ...], piece.saved[t, ...], prev, after, d)
            after = prev

    return run


def _workspace(cell: Any, backend: Backend, record: Record, part: Segment) -> Workspace:
    """Of some steps; with checkpoints or without, products get their matrices in the same layout."""
    whole = record.whole(part)
    return Workspace(backend, cell.hidden_size, part.batch, record.x.dtype, whole.stop - whole.start)


def _compiled(cell: Any, ops: Workspace, params: Params, *, backward: bool) -> Callable[..., None] | None:
    """The whole loop as one function of the backend, ``run(steps, piece, d, dy)``; None if it has none."""
    backend, H = ops.backend, ops.hidden
    script = capture.script(cell, backend, backward) if backend.compiles_loops(ops.dtype) else None
    if script is None:
        return None
    recorder = capture.Recorder(backend, H, ops.batch, ops.steps)
    (cell.bind_backward if backward else cell.bind_forward)(recorder, params)
    scratch = [backend.empty((blocks * H, ops.batch), ops.dtype) for blocks in script.scratch]

    def run(steps: int, piece: Piece, d: State | None, dy: Array | None) -> None:
        slabs = piece.pre, piece.saved, piece.states, d or (), dy
        backend.run_loop(script, steps, H, slabs, scratch, recorder.operands)

    return run
