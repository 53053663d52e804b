"""The steps of a chain, bound to the arrays of a batch, and run one after the other."""

from collections.abc import Callable
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar, cast

from rnnx.backends import Backend
from rnnx.ops import Operands, Workspace, capture
from rnnx.projection import Projection
from rnnx.ragged import Segment
from rnnx.steps import CHUNK, Piece, Record
from rnnx.typing import Array, ProjectingLoop, State, TimeLoop


class Loop:
    """Both passes over some steps: as one function of the backend where it has one, else step by step.

    What is bound is kept for the next steps of the same part of the batch.
    """

    def __init__(self, cell: Any, backend: Backend, record: Record) -> None:
        self.cell = cell
        self.backend = backend
        self._record = record
        self._whole: dict[bool, TimeLoop | None] = {}
        self._bound: dict[bool, tuple[Segment, StepByStep]] = {}
        self._shared: dict[bool, Operands] = {}

    def pre(self, part: Segment) -> Array:
        """Memory of pre-activations (S, G*H, N); unless the loop projects x by itself, they are in it."""
        if not self._loop(part, backward=False).projects:
            return self._projection.of(part)
        shape = part.stop - part.start, len(self.cell.gates) * self.cell.hidden_size, part.batch
        return self.backend.empty(shape, self._record.x.dtype)

    def forward(self, piece: Piece) -> None:
        """Run the steps of a piece, of which `pre` is given and the state before the first one."""
        start, stop, _ = part = piece.segment
        loop = self._loop(part, backward=False)
        x = self._inputs(part) if loop.projects else None
        loop.run(stop - start, piece.pre, piece.saved, piece.states, x=x)

    def outputs(self, part: Segment, before: Any, y: Array) -> tuple[Array, ...]:
        """Run the steps of a part for y (S, N, H) alone; states, before and returned after, are (N, H)."""
        cell, x, loop = self.cell, self._inputs(part), self._loop(part, backward=False)
        H, dtype, (start, stop, batch) = cell.hidden_size, self._record.x.dtype, part
        if loop.projects:
            end = tuple([self.backend.empty((batch, H), dtype) for _ in cell.State._fields])
            cast(ProjectingLoop, loop).outputs((len(cell.gates), cell.saved_blocks), x, y, before, end)
            return end
        rows, count = min(max(stop - start, 1), CHUNK), 0
        piece = Piece.begin(cell, self.backend, part, rows, dtype, before)
        for first in range(0, stop - start, rows):
            for buffer in piece.states:
                buffer[0, ...] = buffer[count, ...]
            count = min(rows, stop - start - first)
            pre = self._projection.block(x[first : first + count, ...])
            loop.run(count, pre, piece.saved, piece.states)
            y[first : first + count, ...] = piece.states[0][1 : count + 1, ...].mT
        return tuple([self.backend.copy(value.T) for value in piece.state(cell, count)])

    def backward(self, piece: Piece, d: State, dy: Array | None) -> None:
        """Run the steps of a piece backwards; turn `d`, the gradient of the state after, into that before."""
        start, stop, _ = part = piece.segment
        loop = self._loop(part, backward=True)
        loop.run(stop - start, piece.pre, piece.saved, piece.states, d=d, dy=dy)

    @cached_property
    def _projection(self) -> Projection:
        return Projection(self.cell, self.backend, self._record)

    def _loop(self, part: Segment, backward: bool) -> TimeLoop:
        if backward not in self._whole:
            self._whole[backward] = self._bind_whole(backward)
        return self._whole[backward] or self._step_by_step(part, backward)

    def _bind_whole(self, backward: bool) -> TimeLoop | None:
        """The loop as one function of the backend; None if it has none."""
        cell, backend, (params, x) = self.cell, self.backend, (self._record.params, self._record.x)
        if not backend.loops:
            return None
        script, operands = capture.captured(cell, backend, params, backward)
        if script is None:
            return None
        projection = None if backward or cell.projects_itself else (params["Wx"], params["b"])
        return backend.bind_loop(script, cell.hidden_size, operands, projection, x)

    def _step_by_step(self, part: Segment, backward: bool) -> TimeLoop:
        whole = self._record.whole(part)
        found = self._bound.get(backward)
        if found is None or found[0] != whole:
            cell, x = self.cell, self._record.x
            operands = self._shared.setdefault(backward, Operands(self.backend, x.shape[1], x.shape[0]))
            ops = Workspace(operands, cell.hidden_size, whole.batch, x.dtype)
            bind = cell.bind_backward if backward else cell.bind_forward
            loop = StepByStep(cell, self.backend, bind(ops, self._record.params))
            found = self._bound[backward] = whole, loop
        return found[1]

    def _inputs(self, part: Segment) -> Array:
        return self._record.x[part.start : part.stop, : part.batch, :]


class StepByStep:
    """A loop that calls a step of either pass; see `rnnx.typing.TimeLoop`."""

    projects: ClassVar[bool] = False

    def __init__(self, cell: Any, backend: Backend, step: Callable[..., Any]) -> None:
        self._make, self._each, self._step = cell.State, backend.each, step

    def run(
        self,
        steps: int,
        pre: Array,
        saved: Array,
        states: tuple[Array, ...],
        x: Array | None = None,
        d: State = (),
        dy: Array | None = None,
    ) -> None:
        """Run so many steps."""
        if d:
            self._backward(steps, pre, saved, states, d, dy)
        else:
            self._forward(pre, saved, states)

    def _forward(self, pre: Array, saved: Array, states: tuple[Array, ...]) -> None:
        step, each = self._step, self._each
        values = map(self._make, *map(each, states))
        before = next(values)
        for own, kept, after in zip(each(pre), each(saved), values, strict=False):
            step(own, before, after, kept)
            before = after

    def _backward(
        self, steps: int, pre: Array, saved: Array, states: tuple[Array, ...], d: State, dy: Array | None
    ) -> None:
        step, each = self._step, self._each
        upstream = repeat(None, steps) if dy is None else each(dy.mT, True)
        values = map(self._make, *(each(buffer, True) for buffer in states))
        after, dh = next(values), d[0]
        buffers = each(pre, True), each(saved, True), values, upstream
        for own, kept, before, above in zip(*buffers, strict=True):
            if above is not None:
                dh += above
            step(own, kept, before, after, d)
            after = before
