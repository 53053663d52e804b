"""The steps of a chain, bound to the arrays of a batch, and run one after the other."""

from collections.abc import Callable
from typing import Any

from rnnx.backends import Backend
from rnnx.ops import Operands, Workspace, capture
from rnnx.ragged import Segment
from rnnx.steps import Piece, Record
from rnnx.typing import Array, State


class Loop:
    """Both passes over some steps: compiled as a whole where the backend can, else step by step.

    What is bound is kept for the next steps of the same part of the batch.
    """

    def __init__(self, cell: Any, backend: Backend, record: Record) -> None:
        self.cell = cell
        self.backend = backend
        self._record = record
        self._bound: dict[bool, tuple[Segment, Callable[..., None]]] = {}
        self._operands = [Operands(backend, record.x.shape[1], record.x.shape[0]) for _ in range(2)]

    def forward(self, part: Segment) -> Callable[[Piece, int], None]:
        """Function ``run(piece, steps)`` for the steps of a part; it goes on from the piece's first state."""
        return self._of(part, backward=False)

    def backward(self, part: Segment) -> Callable[[Piece, int, State, Array | None], None]:
        """Function ``run(piece, steps, d, dy)``.

        It turns `d`, the gradient of the state after the steps, into that of the state before them.
        """
        return self._of(part, backward=True)

    def _of(self, part: Segment, backward: bool) -> Callable[..., None]:
        whole = self._record.whole(part)
        found = self._bound.get(backward)
        if found is None or found[0] != whole:
            operands, dtype = self._operands[backward], self._record.x.dtype
            ops = Workspace(operands, self.cell.hidden_size, whole.batch, dtype)
            run = self._compiled(ops, backward)
            if run is None:
                run = self._bind_backward(ops) if backward else self._bind_forward(ops)
            found = self._bound[backward] = whole, run
        return found[1]

    def _bind_forward(self, ops: Workspace) -> Callable[[Piece, int], None]:
        cell, step = self.cell, self.cell.bind_forward(ops, self._record.params)

        def run(piece: Piece, steps: int) -> None:
            prev = piece.state(cell, 0)
            for t in range(steps):
                after = piece.state(cell, t + 1)
                step(piece.pre[t, ...], prev, after, piece.saved[t, ...])
                prev = after

        return run

    def _bind_backward(self, ops: Workspace) -> Callable[[Piece, int, State, Array | None], None]:
        cell, step = self.cell, self.cell.bind_backward(ops, self._record.params)

        def run(piece: Piece, steps: int, d: State, dy: Array | None) -> None:
            upstream = None if dy is None else dy.mT
            after, dh = piece.state(cell, steps), d[0]
            for t in reversed(range(steps)):
                prev = piece.state(cell, t)
                if upstream is not None:
                    dh += upstream[t, ...]
                step(piece.pre[t, ...], piece.saved[t, ...], prev, after, d)
                after = prev

        return run

    def _compiled(self, ops: Workspace, backward: bool) -> Callable[..., None] | None:
        """The whole loop as one function of the backend; None if it has none."""
        cell, backend, H = self.cell, self.backend, ops.hidden
        script = capture.script(cell, backend, backward) if backend.compiles_loops(ops.dtype) else None
        if script is None:
            return None
        recorder = capture.Recorder(ops.operands, H)
        (cell.bind_backward if backward else cell.bind_forward)(recorder, self._record.params)
        scratch = [backend.empty((blocks * H, ops.batch), ops.dtype) for blocks in script.scratch]

        def run(piece: Piece, steps: int, d: State = (), dy: Array | None = None) -> None:
            slabs = piece.pre, piece.saved, piece.states, d, dy
            backend.run_loop(script, steps, H, slabs, scratch, recorder.operands)

        return run
