"""Both passes of a cell that is recurrent over time and over frequency, along the diagonals of that plane.

Block k at step t depends on block k at step t - 1 and on block k - 1 at step t. Both lie on the diagonal
before its own, s = t + k, so the blocks of one diagonal do not depend on each other: each pass is T + B - 1
steps of up to B blocks, with one recurrent product and one pointwise body each (docs/derivations/tflstm.md).

The buffers are skewed: slab s holds diagonal s, features first, and its slot k, columns k*N .. (k+1)*N - 1,
holds block k at step s - k; in the same slot of the slab before is its state one step earlier. The first and
the last B - 1 diagonals have fewer blocks than slots: what the others hold is finite, its gradient zero.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rnnx.backends import Backend
from rnnx.ops import Operands, Workspace
from rnnx.ragged import segments
from rnnx.steps import CHUNK
from rnnx.typing import Array, Kernel, Namespace, Params, State

GROUP, IN_CACHE = 16, 4
"""Diagonals that the parameters' gradients are summed over at a time: where work is queued, and elsewhere."""


class End(NamedTuple):
    """Sequences ``first .. last - 1`` of the batch are `step` steps long."""

    step: int
    first: int
    last: int


@dataclass(frozen=True)
class Plane:
    """The T times B blocks of N sequences, by diagonals.

    Attributes
    ----------
    steps, blocks, batch : int
        T, B and N.
    ends : tuple of End
        Where the sequences end, longest first.
    """

    steps: int
    blocks: int
    batch: int
    ends: tuple[End, ...]

    @classmethod
    def of(cls, steps: int, blocks: int, batch: int, lengths: np.ndarray | None) -> "Plane":
        """Plane of a batch that is sorted by length, longest first."""
        parts = segments(steps, batch, lengths)
        longer = [*(part.batch for part in parts[1:]), 0]
        ends = [End(part.stop, first, part.batch) for part, first in zip(parts, longer, strict=True)]
        return cls(steps, blocks, batch, tuple(reversed(ends)))

    @property
    def diagonals(self) -> int:
        """Number of diagonals."""
        return self.steps + self.blocks - 1 if self.steps else 0

    def on(self, start: int, stop: int) -> tuple[int, int]:
        """First block on the diagonals ``start .. stop - 1``, and the one behind their last."""
        return max(0, start - self.steps + 1), min(self.blocks, stop)

    def slots(self, first: int, last: int) -> slice:
        """Columns of the blocks ``first .. last - 1``."""
        return slice(first * self.batch, last * self.batch)

    def tracks(self, start: int, stop: int, base: int) -> Iterator[tuple[int, slice, slice]]:
        """Yield each block on the diagonals ``start .. stop - 1``, its steps there, and their slabs.

        The slabs are counted from diagonal `base`.
        """
        for k in range(*self.on(start, stop)):
            first, last = max(0, start - k), min(self.steps, stop - k)
            yield k, slice(first, last), slice(first + k - base, last + k - base)

    def endings(self, s: int) -> Iterator[tuple[int, slice, slice]]:
        """Yield each block on diagonal s in which sequences end, with their rows and their columns."""
        for step, first, last in self.ends:
            k = s - step + 1
            if 0 <= k < self.blocks:
                yield k, slice(first, last), slice(k * self.batch + first, k * self.batch + last)

    def without_padding(self, xp: Namespace, x: Array) -> Array:
        """X (T, N, F) with zeros past the ends of the sequences."""
        if all(end.step == self.steps for end in self.ends):
            return x
        x = xp.asarray(x, copy=True)
        for step, first, last in self.ends:
            x[step:, first:last, :] = 0.0
        return x


@dataclass
class Record:
    """What the backward pass needs of the forward pass, by diagonals.

    Attributes
    ----------
    plane : Plane
    params : mapping of str to array
    weights : (2H+F+1, 4H) array
        Wh, Wk, Wx and b, one below the other.
    operands : (S+1, 2H+F+1, B*N) array
        What they are multiplied by: h[t-1, k], h[t, k-1], the window of x, and 1.
    c : (S+1, H, B*N) array
        c[t-1, k], and so c[t, k] in the next slab.
    gates : (S, 4H, B*N) array
        The backward pass makes the gradients of the pre-activations of them.
    """

    plane: Plane
    params: Params
    weights: Array
    operands: Array
    c: Array
    gates: Array


def forward(
    cell: Any,
    backend: Backend,
    params: Params,
    x: Array,
    state: State,
    lengths: np.ndarray | None,
    training: bool,
) -> tuple[Array, Any, Record | None]:
    """Run the sequences; without `training`, in memory that does not grow with T, y aside."""
    xp, (T, N, _), dtype = backend.xp, x.shape, x.dtype
    B, F, H = cell.block_count, cell.filter_size, cell.hidden_size
    plane = Plane.of(T, B, N, lengths)
    x = plane.without_padding(xp, x)
    y = backend.empty((T, N, B * H), dtype)
    final = type(state)(*map(backend.copy, state))

    chunk = plane.diagonals if training else min(plane.diagonals, max(CHUNK, B))
    kept = chunk if training else 1
    weights = xp.concat([params["Wh"], params["Wk"], params["Wx"], params["b"][None, :]], axis=0)
    operands = backend.zeros((chunk + 1, 2 * H + F + 1, B * N), dtype)
    operands[:, -1, :] = 1.0
    c = backend.zeros((chunk + 1 if training else 1, H, B * N), dtype)
    gates = backend.zeros((kept, 4 * H, B * N), dtype)
    for k in range(B if T else 0):
        own, slot = cell.features(k), plane.slots(k, k + 1)
        operands[k, :H, slot] = state.h[:, own].T
        c[k if training else 0, :, slot] = state.c[:, own].T

    step = _bind_forward(cell, backend, plane, params, weights)
    for start in range(0, plane.diagonals, max(chunk, 1)):
        stop = min(start + chunk, plane.diagonals)
        if start:
            operands[0, : 2 * H, :] = operands[chunk, : 2 * H, :]
        for part in _parts(backend, start, stop):
            for k, steps, slabs in plane.tracks(*part, start):
                window = xp.matrix_transpose(x[steps, :, cell.window(k)])
                operands[slabs, 2 * H : -1, plane.slots(k, k + 1)] = window
            for s in range(*part):
                at = s - start
                now = at if training else 0
                before = c[now, ...]
                after = operands[at + 1, ...], c[now + 1, ...] if training else before
                step(s, operands[at, ...], gates[now, ...], before, *after)
                for k, rows, columns in plane.endings(s):
                    for end, slab in zip(final, after, strict=True):
                        end[rows, cell.features(k)] = slab[:H, columns].T
            for k, steps, slabs in plane.tracks(*part, start - 1):
                h = operands[slabs, :H, plane.slots(k, k + 1)]
                y[steps, :, cell.features(k)] = xp.matrix_transpose(h)
    for end, first, last in plane.ends:
        y[end:, first:last, :] = 0.0
    record = Record(plane, params, weights, operands, c, gates) if training else None
    return y, final, record


def backward(
    cell: Any, backend: Backend, record: Record, dy: Array | None, dstate: State
) -> tuple[Array, Any, dict[str, Array]]:
    """Run a record backwards; return the gradients of x, of the initial state and of the parameters."""
    xp, plane, c = backend.xp, record.plane, record.c
    dtype, T, B, N = c.dtype, plane.steps, plane.blocks, plane.batch
    F, H = cell.filter_size, cell.hidden_size
    dx = backend.zeros((T, N, cell.input_size), dtype)
    grads = {name: backend.zeros(shape, dtype) for name, shape in cell.param_shapes.items()}
    given, make = (None, None) if dstate is None else dstate, cell.state_sizes._make
    if not T:
        ends = (backend.zeros((N, B * H), dtype) if end is None else end for end in given)
        return dx, make([backend.copy(end) for end in ends]), grads

    dy = None if dy is None else plane.without_padding(xp, dy)
    start_h, dc = backend.empty((N, B * H), dtype), backend.zeros((H, B * N), dtype)
    parts, group = _parts(backend, 0, plane.diagonals), GROUP if backend.asynchronous else IN_CACHE
    size = parts[0][1]
    dh = backend.zeros((size + 1, H, B * N), dtype)  # of h, from the diagonal before a part on
    windows = backend.empty((size, F, B * N), dtype)
    products = backend.empty((min(group, size), 2 * H + F, B * N), dtype)
    dW = backend.zeros(record.weights.shape, dtype)
    step = _bind_backward(cell, backend, plane, record)
    for first, last in reversed(parts):
        if last < plane.diagonals:
            dh[last - first, ...] = dh[0, ...]
            dh[: last - first, ...] = 0.0
        if dy is not None:
            for k, steps, slabs in plane.tracks(first, last, first - 1):
                upstream = dh[slabs, :, plane.slots(k, k + 1)]
                upstream += xp.matrix_transpose(dy[steps, :, cell.features(k)])
        for start in reversed(range(first, last, group)):
            stop = min(start + group, last)
            for s in reversed(range(start, stop)):
                for k, rows, columns in plane.endings(s):
                    totals = dh[s + 1 - first, :, columns], dc[:, columns]
                    for total, end in zip(totals, given, strict=True):
                        if end is not None:
                            total += end[rows, cell.features(k)].T
                step(s, dh[s + 1 - first, ...], dc, dh[s - first, ...], products[s - start, ...])
            d = record.gates[start:stop, :, own := plane.slots(*plane.on(start, stop))]
            dW += xp.sum(record.operands[start:stop, :, own] @ xp.matrix_transpose(d), axis=0)
            windows[start - first : stop - first, :, own] = products[: stop - start, 2 * H :, own]
            seen = c[start:stop, :, own], c[start + 1 : stop + 1, :, own]
            for name, value in cell.peephole_sums(xp, d, *seen).items():
                grads[name] += value
        for k, steps, slabs in plane.tracks(first, last, first):
            part = dx[steps, :, cell.window(k)]
            part += xp.matrix_transpose(windows[slabs, :, plane.slots(k, k + 1)])
        for k in range(first, min(last, B)):
            start_h[:, cell.features(k)] = dh[k - first, :, plane.slots(k, k + 1)].T
    grads |= {"Wh": dW[:H, :], "Wk": dW[H : 2 * H, :], "Wx": dW[2 * H : -1, :], "b": dW[-1, :]}
    start_c = xp.permute_dims(xp.reshape(dc, (H, B, N)), (2, 1, 0))
    return dx, make([start_h, xp.reshape(start_c, (N, B * H))]), grads


def _parts(backend: Backend, start: int, stop: int) -> list[tuple[int, int]]:
    """Parts of the diagonals; x, y and their gradients move to the slabs and back for one at a time.

    A few diagonals stay in the cache. Where work is queued, all are one part: each move is a launch.
    """
    size = stop - start if backend.asynchronous else GROUP
    return [(at, min(at + size, stop)) for at in range(start, stop, max(size, 1))]


def _bind_forward(
    cell: Any, backend: Backend, plane: Plane, params: Params, weights: Array
) -> Callable[[int, Array, Array, Array, Array, Array], None]:
    """Return ``step(s, operand, gates, c, after, c_next)``: all but `operand` and `c` are filled."""
    H, N, peepholes = cell.hidden_size, plane.batch, cell.peephole_columns(params)
    operands = Operands(backend, plane.blocks * N, plane.diagonals)
    WT = operands.get(0, weights.T)

    @lru_cache(maxsize=1)
    def bound(blocks: int) -> tuple[Callable[..., Array], Kernel]:
        ops = Workspace(operands, H, blocks * N, weights.dtype)
        return ops.matmul(4 * H), ops.kernel(cell.bodies[0])

    def step(s: int, operand: Array, gates: Array, c: Array, after: Array, c_next: Array) -> None:
        first, last = plane.on(s, s + 1)
        own, above = plane.slots(first, last), plane.slots(first + 1, min(last + 1, plane.blocks))
        product, gate = bound(last - first)
        i, f, g, o = cell.blocks(product(WT, operand[:, own], gates[:, own]))
        before = c[:, own]
        new = before if c_next is c else c_next[:, own], after[:H, own]
        *_, h = gate(i, f, g, o, before, *peepholes, out=(i, f, g, o, *new))
        after[H : 2 * H, above] = h[:, : above.stop - above.start]

    return step


def _bind_backward(
    cell: Any, backend: Backend, plane: Plane, record: Record
) -> Callable[[int, Array, Array, Array, Array], None]:
    """Return ``step(s, dh, dc, before, products)``; the last are Wh, Wk and Wx times the gates' gradients."""
    H, N, peepholes = cell.hidden_size, plane.batch, cell.peephole_columns(record.params)
    operands = Operands(backend, plane.blocks * N, plane.diagonals)
    weights = operands.get(0, record.weights[:-1, :])

    @lru_cache(maxsize=1)
    def bound(blocks: int) -> tuple[Callable[..., Array], Kernel]:
        ops = Workspace(operands, H, blocks * N, weights.dtype)
        return ops.matmul(weights.shape[0]), ops.kernel(cell.bodies[1])

    def step(s: int, dh: Array, dc: Array, before: Array, products: Array) -> None:
        first, last = plane.on(s, s + 1)
        own, below = plane.slots(first, last), plane.slots(max(first, 1) - 1, last - 1)
        product, gate = bound(last - first)
        d, carry = record.gates[s, :, own], dc[:, own]
        i, f, g, o = cell.blocks(d)
        cells = record.c[s, :, own], record.c[s + 1, :, own]
        gate(i, f, g, o, carry, *cells, dh[:, own], *peepholes, out=(i, f, g, o, carry))
        back = product(weights, d, products[:, own])
        over_time, over_frequency = before[:, own], before[:, below]
        over_time += back[:H, :]
        over_frequency += back[H : 2 * H, (last - first) * N - (below.stop - below.start) :]

    return step
