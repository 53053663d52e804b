"""The time loop, over the hooks of a `rnnx.stepcell.StepCell`.

Inside, everything is features first: pre-activations (T, G*H, N), states (T+1, H, N) with the initial state
in row 0. So every gate block is contiguous, the recurrent product is ``(G*H, H) @ (H, N)``, and "the previous
h" is a slice. Users see (T, N, H).

A batch of sequences of different lengths, longest first, is a row of segments (`rnnx.ragged`). Each has
buffers of its own and no padding, so that only the sequences still alive enter the products.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.loop import Loop
from rnnx.ragged import Segment
from rnnx.steps import Piece, Record, Sums
from rnnx.typing import Array, Params, State


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
    loop, final = Loop(cell, backend, record), _Final(cell, backend, x, runs)
    h: Any = None
    padded: Any = None
    if lengths is None:
        h = backend.empty((T + 1, cell.output_size, N), x.dtype)
    else:
        padded = backend.zeros((T, cell.output_size, N), x.dtype)
    before = state
    for part in runs:
        piece = _forward(loop, part, before, h)
        if padded is not None:
            padded[part.start : part.stop, :, : part.batch] = piece.states[0][1:, ...]
        if final.awaits(part):
            final.take(part, [backend.copy(value.T) for value in piece.state(cell, part.stop - part.start)])
        before = piece
        # The backward pass begins with the last ones, and has two at a time in any case.
        kept = checkpoint_every is None or part in runs[-2:]
        record.pieces.append(piece if kept else _checkpoint(backend, piece))
    return backend.freeze(h[1:, ...].mT) if padded is None else padded.mT, final.state, record


def forward_without_record(
    cell: Any, backend: Backend, params: Params, x: Array, state: State, lengths: np.ndarray | None
) -> tuple[Array, State, None]:
    """Run the sequences in memory that does not grow with T, y aside."""
    T, N, _ = x.shape
    parts = ragged.segments(T, N, lengths)
    final, previous = _Final(cell, backend, x, parts), state
    record = Record(params, x, parts, [])
    loop = Loop(cell, backend, record)
    y = (backend.empty if lengths is None else backend.zeros)((T, N, cell.output_size), x.dtype)
    for part in parts:
        if previous is not None and part.batch < N:
            previous = [value[: part.batch, :] for value in previous]
        own = y if lengths is None else y[part.start : part.stop, : part.batch, :]
        previous = loop.outputs(part, previous, own)
        final.take(part, previous)
    return y, final.state, None


def backward(
    cell: Any, backend: Backend, record: Record, dy: Array | None, dstate: State
) -> tuple[Array, State, dict[str, Array]]:
    """Run a record backwards; return the gradients of x, of the initial state and of the parameters."""
    make, H, dtype = cell.State._make, cell.hidden_size, record.x.dtype
    loop, sums = Loop(cell, backend, record), Sums(cell, backend, record)
    d: Any = None
    while record.pieces:
        piece, later = record.pieces.pop(), d
        start, stop, N = piece.segment
        if piece.pre is None:
            piece = _forward(loop, piece.segment, piece)
        alive = 0 if later is None else later[0].shape[1]
        if d is None or alive < N:
            d = make([backend.zeros((H, N), dtype) for _ in cell.State._fields])
            for k, given in enumerate(dstate or ()):
                if given is not None:
                    d[k][:, alive:] = given.T[:, alive:N]
            for k, carry in enumerate(later or ()):
                d[k][:, :alive] = carry
        given = None if dy is None else dy[start:stop, :N, :]
        loop.backward(piece, d, given)
        sums.add(piece)
        del piece
    dx, grads = sums.result()
    return dx, make([total.T for total in d]), grads


def _forward(loop: Loop, part: Segment, before: Any, h: Array | None = None) -> Piece:
    """Run the steps of a part, and keep their buffers; h (T+1, H, N) is memory for all steps' outputs."""
    pre, steps = loop.pre(part), part.stop - part.start
    own = None if h is None else h[part.start : part.stop + 1, ...]
    piece = Piece.begin(loop.cell, loop.backend, part, steps, pre.dtype, before, own)
    piece.pre = pre
    loop.forward(piece)
    return piece


def _checkpoint(backend: Backend, piece: Piece) -> Piece:
    """The state before a piece, alone."""
    states = tuple(backend.copy(buffer[:1, ...]) for buffer in piece.states)
    return Piece(piece.segment, None, None, states)


class _Final:
    """Final states of all sequences, put together from the segments that they end in."""

    def __init__(self, cell: Any, backend: Backend, x: Array, parts: list[Segment]) -> None:
        self._make, self._whole = cell.State._make, len(parts) == 1
        self.state: State = None
        if not self._whole:
            self._alive = dict(zip(parts, [part.batch for part in parts[1:]] + [0], strict=True))
            shape = (x.shape[1], cell.hidden_size)
            self.state = cell.State(*(backend.empty(shape, x.dtype) for _ in cell.State._fields))

    def awaits(self, part: Segment) -> bool:
        """Whether sequences end with a segment."""
        return self._whole or self._alive[part] < part.batch

    def take(self, part: Segment, state: Iterable[Array]) -> None:
        """Keep the state, (N, H) arrays, after a segment of the sequences that end there."""
        if self._whole:
            self.state = self._make(state)
            return
        alive = self._alive[part]
        for total, value in zip(self.state, state, strict=True):
            total[alive : part.batch, :] = value[alive:, :]
