"""What a time loop leaves for the backward pass, and all its steps side by side as matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.ops import steps_last
from rnnx.ragged import Segment
from rnnx.typing import Array, Params, State


@dataclass
class Piece:
    """Buffers of one segment; the backward pass overwrites `pre` and `saved`."""

    segment: Segment
    pre: Array
    saved: Array
    states: tuple[Array, ...]

    def state(self, cell: Any, row: int) -> State:
        """State (H, N) before step `row` of the segment, as views."""
        return cell.State._make([buffer[row, ...] for buffer in self.states])


@dataclass
class Record:
    """What the backward pass needs of the forward pass.

    Of a ragged batch, `rows` are those of x that exist, piece after piece.
    """

    params: Params
    x: Array
    pieces: list[Piece]
    rows: Array | None = None


class Steps:
    """All steps of all sequences side by side, as matrices that are made when asked for.

    Attributes
    ----------
    x : (T*N, D) array
        Inputs, as rows.
    d : (G*H, T*N) array
        Gradients of the pre-activations.
    saved : (S*H, T*N) array
        What the steps saved, or what the backward step left there.
    """

    def __init__(self, cell: Any, backend: Backend, record: Record) -> None:
        self._fields = cell.State._fields
        self._backend = backend
        self._record = record
        self._pieces = record.pieces

    @cached_property
    def x(self) -> Array:
        if self._record.rows is not None:
            return self._record.rows
        T, N, D = self._record.x.shape
        return self._backend.xp.reshape(self._record.x, (T * N, D))

    @cached_property
    def d(self) -> Array:
        joined = self._columns([piece.pre for piece in self._pieces])
        for piece in self._pieces:
            piece.pre = None
        return joined

    @cached_property
    def saved(self) -> Array:
        return self._columns([piece.saved for piece in self._pieces])

    def before(self, field: str) -> Array:
        """State of that name before every step, (H, T*N)."""
        k = self._fields.index(field)
        return self._columns([piece.states[k][:-1, ...] for piece in self._pieces])

    def after(self, field: str) -> Array:
        """State of that name after every step, (H, T*N)."""
        k = self._fields.index(field)
        return self._columns([piece.states[k][1:, ...] for piece in self._pieces])

    def _columns(self, slabs: Sequence[Array]) -> Array:
        """Slabs (T, R, N) side by side as (R, T*N)."""
        if len(slabs) == 1:
            return steps_last(self._backend.xp, slabs[0])
        joined = self._backend.empty((slabs[0].shape[1], self.x.shape[0]), slabs[0].dtype)
        parts = [piece.segment for piece in self._pieces]
        for part, slab in zip(ragged.slabs(self._backend.xp, joined, parts), slabs, strict=True):
            part[...] = slab
        return joined
