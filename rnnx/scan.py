"""The time loop, over the hooks of a `rnnx.stepcell.StepCell`.

Inside, everything is features first: pre-activations (T, G*H, N), states (T+1, H, N) with the initial state
in row 0. So every gate block is contiguous, the recurrent product is ``(G*H, H) @ (H, N)``, and "the previous
h" is a slice. Users see (T, N, H).

A batch of sequences of different lengths, longest first, is a row of segments (`rnnx.ragged`). Each has
buffers of its own and no padding, so that only the sequences still alive enter the products.
"""

from typing import Any

import numpy as np

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.loop import Loop
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
    projection, loop = Projection(cell, backend, record), Loop(cell, backend, record)
    final = _Final(cell, backend, x, runs)
    y = None
    if checkpoint_every is not None or lengths is not None:
        make = backend.empty if lengths is None else backend.zeros
        y = make((T, N, cell.output_size), x.dtype)
    before = state
    for part in runs:
        piece = _forward(loop, projection, part, before)
        if y is not None:
            y[part.start : part.stop, : part.batch, :] = piece.states[0][1:, ...].mT
        final.take(part, piece.state(cell, part.stop - part.start))
        before = piece
        kept = checkpoint_every is None or part is runs[-1]  # the backward pass begins with the last one
        record.pieces.append(piece if kept else _checkpoint(backend, piece))
    if y is None:
        y = backend.freeze(piece.states[0][1:, ...].mT)
    return y, final.state, record


def forward_in_chunks(
    cell: Any, backend: Backend, params: Params, x: Array, state: State, lengths: np.ndarray | None
) -> tuple[Array, State, None]:
    """Run the sequences in memory that does not grow with T, y aside."""
    T, N, _ = x.shape
    parts = ragged.segments(T, N, lengths)
    final, previous = _Final(cell, backend, x, parts), state
    record = Record(params, x, parts, [])
    projection, loop = Projection(cell, backend, record), Loop(cell, backend, record)
    y = (backend.empty if lengths is None else backend.zeros)((T, N, cell.output_size), x.dtype)
    for part in parts:
        rows = min(part.stop - part.start, CHUNK)
        piece = Piece(part, None, *_buffers(cell, backend, rows, part.batch, x.dtype))
        _start(piece, previous)
        run = loop.forward(part)
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
    make, H, dtype = cell.State._make, cell.hidden_size, record.x.dtype
    loop, projection = Loop(cell, backend, record), Projection(cell, backend, record)
    sums = Sums(cell, backend, record)
    d: Any = None
    while record.pieces:
        piece, later = record.pieces.pop(), d
        start, stop, N = piece.segment
        if piece.pre is None:
            piece = _forward(loop, projection, piece.segment, piece)
        alive = 0 if later is None else later[0].shape[1]
        d = make([backend.zeros((H, N), dtype) for _ in cell.State._fields])
        for k, given in enumerate(dstate or ()):
            if given is not None:
                d[k][:, alive:] = given.T[:, alive:N]
        for k, carry in enumerate(later or ()):
            d[k][:, :alive] = carry
        given = None if dy is None else dy[start:stop, :N, :]
        loop.backward(piece.segment)(piece, stop - start, d, given)
        sums.add(piece)
        del piece
    dx, grads = sums.result()
    return dx, make([total.T for total in d]), grads


def _forward(loop: Loop, projection: Projection, part: Segment, before: Any) -> Piece:
    """Run the steps of a part, and keep their buffers."""
    pre, steps = projection.of(part), part.stop - part.start
    piece = Piece(part, pre, *_buffers(loop.cell, loop.backend, steps, part.batch, pre.dtype))
    _start(piece, before)
    loop.forward(part)(piece, steps)
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
