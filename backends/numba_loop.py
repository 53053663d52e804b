"""A compiled time loop bound to the matrices of a batch."""

from collections.abc import Callable
from functools import cache
from math import isqrt
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rnnx.backends import host_threads, numba_chain, numba_step
from rnnx.backends.host_pool import LINE
from rnnx.backends.numba_chain import Compiled
from rnnx.backends.numba_microkernels import ROWS
from rnnx.errors import ShapeError
from rnnx.typing import Array, Script, State

ALONE = 100_000
"""Operations that a core does in about the time by which each more thread makes a meeting longer."""


class Plan(NamedTuple):
    """What loops of a script are given, by number: matrices, with rows and columns in H, and columns."""

    shapes: list[tuple[int, int, int]]
    columns: list[int]


@cache
def plan(script: Script) -> Plan:
    """Of a script."""
    return Plan(numba_step.matrices_of(script), numba_step.columns_of(script))


@cache
def nothing(dtype: np.dtype) -> tuple[Array, Array, Array]:
    """What a loop gets in place of packed matrices, of a sequence and of a state, where there are none."""
    return np.empty(0, dtype), np.empty((0, 0, 0), dtype), np.empty((0, 0), dtype)


class BoundLoop:
    """A loop with its matrices, which the first run packs for the others too; see `Backend.bind_loop`."""

    projects: ClassVar[bool] = True

    def __init__(
        self,
        script: Script,
        hidden: int,
        operands: list[Array],
        projection: tuple[Array, Array] | None,
        empty: Callable[[tuple[int, ...], Any], Array],
    ) -> None:
        shapes, columns = plan(script)
        self._script, self._hidden, self._empty = script, hidden, empty
        self._given: list[Array] = []
        products = 0
        for k, rows, inner in shapes:
            expected = rows * hidden, inner * hidden
            if operands[k].shape != expected:
                found = "x".join(map(str, operands[k].shape))
                raise ShapeError(
                    f"{script.name}: a step multiplies by a matrix of {found}; "
                    f"its blocks need {expected[0]}x{expected[1]}."
                )
            self._given.append(_dense(operands[k]))
            products += rows * inner * hidden
        self._given += [operands[k] for k in columns]
        self._features = 0
        if projection is not None:
            Wx, b = projection
            if Wx.strides[1] != Wx.itemsize or Wx.strides[0] % Wx.itemsize:
                Wx = np.ascontiguousarray(Wx)
            self._features, rows = Wx.shape
            products += rows // hidden * (self._features + 1)
            self._given += [Wx, b]
        self._products = products
        self._packed: Array | None = None

    def run(
        self,
        steps: int,
        pre: Array,
        saved: Array,
        states: tuple[Array, ...],
        x: Array | None = None,
        d: tuple[Array, ...] = (),
        dy: Array | None = None,
    ) -> None:
        """Run so many steps, and keep them."""
        rows, height, N = pre.shape
        H, D, none = self._hidden, self._features, nothing(pre.dtype)[1]
        loop = numba_chain.time_loop(self._script, len(states), pre.dtype)
        sizes = steps, H, N, D, height // H, saved.shape[1] // H, rows, states[0].shape[0], True
        packed, first = self._begin(loop, steps, N, pre.dtype)
        sequences = (x, none) if D else (none if dy is None else dy,)
        loop.call(*first, *sizes, *self._given, *sequences, packed, pre, saved, *states, *d)

    def outputs(
        self, blocks: tuple[int, int], x: Array, y: Array, state: State, end: tuple[Array, ...]
    ) -> None:
        """Run the steps of x for y and for the states after them."""
        (steps, N, D), H, dtype = x.shape, self._hidden, x.dtype
        loop = numba_chain.time_loop(self._script, len(end), dtype)
        packed, first = self._begin(loop, steps, N, dtype)
        # One sequence is projected several steps at a time.
        sizes = steps, H, N, D, *blocks, ROWS if N == 1 else 1, 2, False
        starts = [nothing(dtype)[2]] * len(end) if state is None else state
        outputs: Any = loop.outputs
        outputs(*first, *sizes, *self._given, x, y, packed, *starts, *end)

    def _begin(
        self, loop: Compiled, steps: int, columns: int, dtype: np.dtype
    ) -> tuple[Array, tuple[int, ...]]:
        """Memory of the packed matrices, and what every loop is called with first."""
        panels = -(-self._hidden // ROWS)
        packed, fresh = nothing(dtype)[0], False
        if columns > 1:  # a single column is multiplied by the matrices as they are
            fresh = self._packed is None
            if fresh:
                room = panels * ROWS * self._products + LINE // dtype.itemsize
                self._packed = self._empty((room,), dtype)
            packed = self._packed
        execute, idle, team, apart = self._team(steps, panels, columns, columns * dtype.itemsize)
        return packed, (loop.job, execute, idle, *loop.functions, team, apart, fresh)

    def _team(self, steps: int, panels: int, columns: int, row: int) -> tuple[int, int, int, bool]:
        """Addresses for threads, how many there are to be, and whether they have columns of their own.

        A row of a batch has so many bytes. A single sequence waits for its weights more than for a core, and
        has too little to do between two meetings.
        """
        work = 2 * self._hidden * self._products * columns
        execute, idle, most = host_threads.team(steps * work if columns > 1 else 0, columns)
        if most == 1:
            return execute, idle, 1, False
        lines = row // LINE if row % LINE == 0 else 1
        apart = next(n for n in range(most, 0, -1) if lines % n == 0)
        # Work / n and meetings of n threads take least together for n = sqrt(work / meeting).
        meeting = max(min(most, isqrt(work // ALONE), panels), 1)
        if work // apart <= work // meeting + ALONE * meeting:
            return execute, idle, apart, apart > 1
        return execute, idle, meeting, False


def _dense(a: Any) -> Array:
    """The matrix itself if its rows or its columns are numbers side by side, else a copy."""
    size, (row, column) = a.itemsize, a.strides
    dense = a.flags.aligned and size in (row, column) and row % size == column % size == 0
    return a if dense else a.copy()
