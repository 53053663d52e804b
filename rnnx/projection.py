"""Pre-activations of all steps as far as they do not depend on a state, before the time loop."""

from functools import cached_property
from itertools import accumulate
from typing import Any

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.ops import Operands, Workspace
from rnnx.ragged import Segment
from rnnx.steps import Record
from rnnx.typing import Array

COLUMNS = 512
"""Steps times sequences from which on a segment is worth a product of its own."""

ROWS = 128
"""Steps of a single sequence that are one product."""


class Projection:
    """Projects the inputs of a batch part by part.

    What is multiplied together does not depend on the parts asked for, so that neither do the last bits.
    """

    def __init__(self, cell: Any, backend: Backend, record: Record) -> None:
        self._cell, self._backend, self._record = cell, backend, record
        self._together: dict[Segment, Array] = {}

    def of(self, part: Segment) -> Array:
        """Pre-activations (S, G*H, N) of a part of one of the record's segments."""
        record = self._record
        if record.rows is None:
            if part.batch == 1:
                return self._of_one(record.x[:, 0, :], part.start, part.stop)
            return self.block(record.x[part.start : part.stop, ...])
        whole = record.whole(part)
        first = self._first_rows[whole]
        group = self._groups[whole]
        start, stop = part.start - whole.start, part.stop - whole.start
        if len(group) > 1:
            slab = self._slabs(group)[whole][start:stop, ...]
            pre = self._backend.empty(slab.shape, slab.dtype)
            pre[...] = slab
            return pre
        rows = record.rows[first : first + whole.size, :]
        if part.batch == 1:
            return self._of_one(rows, start, stop)
        x = self._backend.xp.reshape(rows, (whole.stop - whole.start, whole.batch, rows.shape[1]))
        return self.block(x[start:stop, ...])

    def block(self, x: Array) -> Array:
        """Pre-activations of x (S, N, D)."""
        if x.shape[1] == 1:
            return self._columns(self._cell.project(self._backend.xp, self._record.params, x[:, 0, :]))
        return self._backend.contiguous(self._project(x))

    @cached_property
    def _project(self) -> Any:
        cell, x = self._cell, self._record.x
        operands = Operands(self._backend, x.shape[1], x.shape[0])
        ops = Workspace(operands, cell.hidden_size, x.shape[1], x.dtype)
        return cell.bind_projection(ops, self._record.params)

    @cached_property
    def _first_rows(self) -> dict[Segment, int]:
        """Segments of a ragged batch, each with its first packed row."""
        ends = accumulate((part.size for part in self._record.parts), initial=0)
        return dict(zip(self._record.parts, ends, strict=False))

    @cached_property
    def _groups(self) -> dict[Segment, list[Segment]]:
        """Segments of a ragged batch, each with those that it is projected together with."""
        return {part: group for group in ragged.groups(self._record.parts, COLUMNS) for part in group}

    def _slabs(self, group: list[Segment]) -> dict[Segment, Array]:
        """Pre-activations of short segments together: a small product for each step would take longer."""
        if group[0] not in self._together:
            first = self._first_rows[group[0]]
            packed: Array = self._record.rows
            rows = packed[first : first + sum(part.size for part in group), :]
            columns = self._project(rows[None, ...])[0, ...]
            slabs = ragged.slabs(self._backend.xp, columns, group)
            self._together = dict(zip(group, slabs, strict=True))
        return self._together

    def _of_one(self, rows: Array, start: int, stop: int) -> Array:
        """Pre-activations of steps of a single sequence, by blocks that do not depend on them."""
        xp, params, project = self._backend.xp, self._record.params, self._cell.project
        if start == 0 and stop == rows.shape[0] <= ROWS:
            return self._columns(project(xp, params, rows))
        pre = None
        for first in range(start - start % ROWS, stop, ROWS):
            block = project(xp, params, rows[first : first + ROWS, :])
            if pre is None:
                pre = self._backend.empty((stop - start, block.shape[1]), block.dtype)
            low, high = max(first, start), min(first + ROWS, stop)
            pre[low - start : high - start, :] = block[low - first : high - first, :]
        return self._columns(pre)

    def _columns(self, rows: Array) -> Array:
        """Rows (S, R) as (S, R, 1), without a copy if they are contiguous."""
        return self._backend.contiguous(self._backend.xp.reshape(rows, (*rows.shape, 1)))
