"""The steps of a chain, bound to the arrays of a batch, and run one after the other."""

from collections.abc import Callable
from functools import cached_property
from itertools import repeat
from typing import Any

from rnnx.backends import Backend
from rnnx.ops import Operands, Workspace, capture
from rnnx.projection import Projection
from rnnx.ragged import Segment
from rnnx.steps import CHUNK, Piece, Record
from rnnx.typing import Array, State, TimeLoop


class Loop:
    """Both passes over some steps: compiled as a whole where the backend can, else step by step.

    What is bound is kept for the next steps of the same part of the batch.
    """

    def __init__(self, cell: Any, backend: Backend, record: Record) -> None:
        self.cell = cell
        self.backend = backend
        self._record = record
        self._compiles = backend.compiles_loops(record.x.dtype)
        self._compiled: dict[bool, TimeLoop | None] = {}
        self._bound: dict[bool, tuple[Segment, Callable[..., None]]] = {}
        self._shared: dict[bool, Operands] = {}

    def pre(self, part: Segment) -> Array:
        """Memory of pre-activations (S, G*H, N); unless the loop projects x by itself, they are in it."""
        if self._whole(backward=False) is None:
            return self._projection.of(part)
        return self._empty(part.stop - part.start, part.batch)

    def forward(self, piece: Piece) -> None:
        """Run the steps of a piece, of which `pre` is given and the state before the first one."""
        start, stop, _ = piece.segment
        whole = self._whole(backward=False)
        if whole is None:
            self._step_by_step(piece.segment, backward=False)(piece, stop - start)
        else:
            whole.run(stop - start, piece.pre, piece.saved, piece.states, x=self._inputs(piece.segment))

    def outputs(self, part: Segment, before: Any, y: Array) -> tuple[Array, ...]:
        """Run the steps of a part for y (S, N, H) alone; states, before and returned after, are (N, H)."""
        cell, x, whole = self.cell, self._inputs(part), self._whole(backward=False)
        H, dtype, (start, stop, batch) = cell.hidden_size, self._record.x.dtype, part
        if whole is not None:
            end = tuple([self.backend.empty((batch, H), dtype) for _ in cell.State._fields])
            whole.outputs((len(cell.gates), cell.saved_blocks), x, y, before, end)
            return end
        rows, count = min(max(stop - start, 1), CHUNK), 0
        piece = Piece.begin(cell, self.backend, part, rows, dtype, before)
        run = self._step_by_step(part, backward=False)
        for first in range(0, stop - start, rows):
            for buffer in piece.states:
                buffer[0, ...] = buffer[count, ...]
            count = min(rows, stop - start - first)
            piece.pre = self._projection.block(x[first : first + count, ...])
            run(piece, count)
            y[first : first + count, ...] = piece.states[0][1 : count + 1, ...].mT
        return tuple([self.backend.copy(value.T) for value in piece.state(cell, count)])

    def backward(self, piece: Piece, d: State, dy: Array | None) -> None:
        """Run the steps of a piece backwards; turn `d`, the gradient of the state after, into that before."""
        start, stop, _ = piece.segment
        whole = self._whole(backward=True)
        if whole is None:
            self._step_by_step(piece.segment, backward=True)(piece, stop - start, d, dy)
        else:
            whole.run(stop - start, piece.pre, piece.saved, piece.states, d=d, dy=dy)

    @cached_property
    def _projection(self) -> Projection:
        return Projection(self.cell, self.backend, self._record)

    def _whole(self, backward: bool) -> TimeLoop | None:
        """The whole loop as one function of the backend; None if it has none."""
        if not self._compiles:
            return None
        if backward not in self._compiled:
            self._compiled[backward] = self._compile(backward)
        return self._compiled[backward]

    def _compile(self, backward: bool) -> TimeLoop | None:
        cell, backend, params = self.cell, self.backend, self._record.params
        script = capture.script(cell, backend, backward)
        if script is None or (cell.projects_itself and not backward):
            return None
        recorder = capture.Recorder(backend, cell.hidden_size)
        (cell.bind_backward if backward else cell.bind_forward)(recorder, params)
        projection = None if backward else (params["Wx"], params["b"])
        return backend.bind_loop(script, cell.hidden_size, recorder.operands, projection)

    def _step_by_step(self, part: Segment, backward: bool) -> Callable[..., None]:
        """Function ``run(piece, steps)``, or ``run(piece, steps, d, dy)``, for the steps of a part."""
        whole = self._record.whole(part)
        found = self._bound.get(backward)
        if found is None or found[0] != whole:
            x = self._record.x
            operands = self._shared.setdefault(backward, Operands(self.backend, x.shape[1], x.shape[0]))
            ops = Workspace(operands, self.cell.hidden_size, whole.batch, x.dtype)
            run = self._bind_backward(ops) if backward else self._bind_forward(ops)
            found = self._bound[backward] = whole, run
        return found[1]

    def _bind_forward(self, ops: Workspace) -> Callable[[Piece, int], None]:
        step, each = self.cell.bind_forward(ops, self._record.params), self.backend.each
        make = self.cell.State

        def run(piece: Piece, steps: int) -> None:
            states = map(make, *map(each, piece.states))
            prev = next(states)
            for pre, saved, after in zip(each(piece.pre), each(piece.saved), states, strict=False):
                step(pre, prev, after, saved)
                prev = after

        return run

    def _bind_backward(self, ops: Workspace) -> Callable[[Piece, int, State, Array | None], None]:
        step, each = self.cell.bind_backward(ops, self._record.params), self.backend.each
        make = self.cell.State

        def run(piece: Piece, steps: int, d: State, dy: Array | None) -> None:
            upstream = repeat(None, steps) if dy is None else each(dy.mT, True)
            states = map(make, *(each(buffer, True) for buffer in piece.states))
            after, dh = next(states), d[0]
            buffers = each(piece.pre, True), each(piece.saved, True), states, upstream
            for pre, saved, prev, dh_t in zip(*buffers, strict=True):
                if dh_t is not None:
                    dh += dh_t
                step(pre, saved, prev, after, d)
                after = prev

        return run

    def _inputs(self, part: Segment) -> Array:
        return self._record.x[part.start : part.stop, : part.batch, :]

    def _empty(self, steps: int, batch: int) -> Array:
        rows = len(self.cell.gates) * self.cell.hidden_size
        return self.backend.empty((steps, rows, batch), self._record.x.dtype)
