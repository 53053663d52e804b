"""What a time loop leaves for the backward pass, and the sums over its steps, as products of matrices."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.columns import Columns
from rnnx.ragged import Segment
from rnnx.typing import Array, Params, State

CHUNK = 32
"""Steps that a forward pass without a tape holds at a time."""

GROUP = 512
"""Steps times sequences that are summed over in one product: more take memory, fewer take time.

Where D + H is larger, that many: to copy them and to add their sums takes about as long.
"""


@dataclass
class Piece:
    """Buffers of some steps; the backward pass overwrites `pre` and `saved`.

    Of a checkpoint, there is only the state before the first step, as the only row of `states`.
    """

    segment: Segment
    pre: Array
    saved: Array
    states: tuple[Array, ...]

    @classmethod
    def begin(
        cls,
        cell: Any,
        backend: Backend,
        segment: Segment,
        rows: int,
        dtype: Any,
        before: Any,
        h: Array | None = None,
    ) -> "Piece":
        """Memory for so many steps of a segment, and the state before them.

        That is the one after another piece, or one of (N, H) arrays, or zeros if it is None. The memory of
        the first state may be given.
        """
        H, batch = cell.hidden_size, segment.batch
        states = tuple(
            [
                h if k == 0 and h is not None else backend.empty((rows + 1, H, batch), dtype)
                for k in range(len(cell.State._fields))
            ]
        )
        for k, buffer in enumerate(states):
            if isinstance(before, Piece):
                buffer[0, ...] = before.states[k][-1, :, :batch]
            else:
                buffer[0, ...] = 0.0 if before is None else before[k].T
        return cls(segment, None, backend.empty((rows, cell.saved_blocks * H, batch), dtype), states)

    def state(self, cell: Any, row: int) -> State:
        """State (H, N) before step `row` of the segment, as views."""
        return cell.State._make([buffer[row, ...] for buffer in self.states])


@dataclass
class Record:
    """What the backward pass needs of the forward pass.

    Attributes
    ----------
    params : mapping of str to array
    x : (T, N, D) array
    parts : list of Segment
        Of the whole batch.
    pieces : list of Piece
        One for each part, or, with checkpoints, for a part of a part.
    rows : (K, D) array or None
        Of a ragged batch, the rows of x that exist, part after part.
    """

    params: Params
    x: Array
    parts: list[Segment]
    pieces: list[Piece]
    rows: Array | None = None

    def whole(self, part: Segment) -> Segment:
        """The part of the batch that some steps are of."""
        return self.parts[bisect_right(self._starts, part.start) - 1]

    @cached_property
    def _starts(self) -> list[int]:
        return [part.start for part in self.parts]


class Steps:
    """Some steps of all their sequences side by side, as matrices.

    Attributes
    ----------
    x : (D, K) Columns
        Inputs.
    d : (G*H, K) Columns
        Gradients of the pre-activations.
    saved : (S*H, K) Columns
        What the steps saved, or what the backward step left there.
    """

    def __init__(
        self, cell: Any, backend: Backend, x: Array, group: list[Segment], pieces: list[Piece]
    ) -> None:
        self._fields = cell.State._fields
        self._backend = backend
        self._slices = [each for part in group for each in _inside(part, pieces)]
        self.x = Columns.of_rows(backend, x)
        self.d = Columns(backend, [piece.pre[i:j, ...] for piece, i, j in self._slices])

    @cached_property
    def saved(self) -> Columns:
        return Columns(self._backend, [piece.saved[i:j, ...] for piece, i, j in self._slices])

    def before(self, field: str) -> Columns:
        """State of that name before every step, (H, K)."""
        return self._states(field, 0)

    def after(self, field: str) -> Columns:
        """State of that name after every step, (H, K)."""
        return self._states(field, 1)

    def _states(self, field: str, later: int) -> Columns:
        k = self._fields.index(field)
        slices = self._slices
        return Columns(self._backend, [piece.states[k][i + later : j + later, ...] for piece, i, j in slices])


class Sums:
    """Gradients of x and of the parameters, formed group by group while the time loop goes back.

    The groups depend on the batch alone, not on its pieces: with checkpoints or without, the same products
    are added in the same order.
    """

    def __init__(self, cell: Any, backend: Backend, record: Record) -> None:
        self._cell, self._backend, self._record = cell, backend, record
        self._groups = ragged.spans(record.parts, max(GROUP, cell.input_size + cell.hidden_size))
        self._pieces: list[Piece] = []
        self._behind = sum(part.size for part in record.parts)
        self._rows: Array = None
        self._grads: dict[str, Array] = {}

    def add(self, piece: Piece) -> None:
        """Take the steps before those taken last; the piece may go once all its groups are formed."""
        self._pieces.insert(0, piece)
        while self._groups and self._groups[-1][0].start >= piece.segment.start:
            group = self._groups.pop()
            self._form(group)
            self._pieces = [each for each in self._pieces if each.segment.start < group[0].start]

    def result(self) -> tuple[Array, dict[str, Array]]:
        """Gradients of x and of the parameters, once all pieces were added."""
        x = self._record.x
        if self._record.rows is None:
            dx = self._backend.xp.reshape(self._rows, x.shape)
        else:
            dx = ragged.spread(self._backend, self._rows, x.shape, self._record.parts)
        return dx, {name: self._backend.contiguous(value) for name, value in self._grads.items()}

    def _form(self, group: list[Segment]) -> None:
        count = sum(part.size for part in group)
        first, last = self._behind - count, self._behind
        steps = Steps(self._cell, self._backend, self._inputs(group, first, last), group, self._pieces)
        dx, grads = self._cell.finish(self._backend.xp, self._record.params, steps)
        if not self._grads:
            self._grads = grads
            self._rows = self._backend.empty((last, dx.shape[1]), dx.dtype) if first else dx
        else:
            for name, value in grads.items():
                self._grads[name] += value
        if self._rows is not dx:
            self._rows[first:last, :] = dx
        self._behind = first

    def _inputs(self, group: list[Segment], first: int, last: int) -> Array:
        """Rows of x of a group."""
        if self._record.rows is not None:
            return self._record.rows[first:last, :]
        ((start, stop, _),) = group
        x = self._record.x[start:stop, ...]
        return self._backend.xp.reshape(x, (last - first, x.shape[2]))


def _inside(part: Segment, pieces: list[Piece]) -> Iterator[tuple[Piece, int, int]]:
    """Pieces that have steps of a part, with the rows of these."""
    for piece in pieces:
        start, stop = max(part.start, piece.segment.start), min(part.stop, piece.segment.stop)
        if start < stop or part.start == part.stop:
            yield piece, start - piece.segment.start, stop - piece.segment.start
