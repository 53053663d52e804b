"""Batches of sequences of different lengths, as rectangles that hold no padding.

Sorted by length, longest first, the sequences that are still alive at a step are the first ones of the batch.
So a ragged batch is a row of segments: runs of steps in which the same sequences are alive.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnnx import states
from rnnx.backends import Backend
from rnnx.typing import Array, Namespace, State


class Segment(NamedTuple):
    """Steps ``start .. stop - 1``, in which the first `batch` sequences are alive."""

    start: int
    stop: int
    batch: int

    @property
    def size(self) -> int:
        """Steps times sequences."""
        return (self.stop - self.start) * self.batch


def segments(steps: int, batch: int, lengths: np.ndarray | None) -> list[Segment]:
    """Segments of a batch sorted by length; without lengths, one of all steps."""
    if lengths is None or batch == 0:
        return [Segment(0, steps, batch)]
    ends = np.unique(lengths)
    alive = np.searchsorted(-lengths, -ends, side="right")  # as long as that end, or longer
    starts = [0, *ends[:-1].tolist()]
    return [Segment(*each) for each in zip(starts, ends.tolist(), alive.tolist(), strict=True)]


def groups(parts: list[Segment], least: int) -> Iterator[list[Segment]]:
    """The segments of at least that size, each alone, and the smaller ones in groups of about it."""
    group: list[Segment] = []
    for part in parts:
        if group and (part.size >= least or sum(each.size for each in group) >= least):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def split(parts: list[Segment], steps: int) -> list[Segment]:
    """Segments of at most so many steps."""
    return [
        Segment(start, min(start + steps, part.stop), part.batch)
        for part in parts
        for start in range(part.start, part.stop, steps)
    ] or parts


def spans(parts: list[Segment], size: int) -> list[list[Segment]]:
    """The segments in groups of about that size, and of about the same; a group may begin inside of one."""
    total = sum(part.size for part in parts)
    count = round(total / size)
    if count < 2:
        return [parts]
    ends = [total * (k + 1) // count for k in range(count)]
    found: list[list[Segment]] = [[]]
    at = 0
    for part in parts:
        start = part.start
        while start < part.stop:
            if at >= ends[len(found) - 1]:
                found.append([])
            room = ends[len(found) - 1] - at
            stop = min(part.stop, start + max(1, -(-room // part.batch)))
            found[-1].append(Segment(start, stop, part.batch))
            start, at = stop, at + found[-1][-1].size
    return found


# A reshape that splits one axis copies nothing, whatever the strides: the next two yield views, to be filled.


def blocks(xp: Namespace, rows: Array, parts: list[Segment]) -> Iterator[Array]:
    """Each segment's part (steps, batch, D) of packed rows (K, D)."""
    at = 0
    for part in parts:
        shape = part.stop - part.start, part.batch, rows.shape[1]
        yield xp.reshape(rows[at : at + part.size, :], shape)
        at += part.size


def slabs(xp: Namespace, columns: Array, parts: list[Segment]) -> Iterator[Array]:
    """Each segment's part (steps, R, batch) of packed columns (R, K)."""
    at = 0
    for part in parts:
        shape = columns.shape[0], part.stop - part.start, part.batch
        yield xp.permute_dims(xp.reshape(columns[:, at : at + part.size], shape), (1, 0, 2))
        at += part.size


def packed(backend: Backend, x: Array, parts: list[Segment]) -> Array:
    """Rows (K, D) of x (T, N, D) without padding, segment after segment."""
    rows = backend.empty((sum(part.size for part in parts), x.shape[2]), x.dtype)
    for part, block in zip(parts, blocks(backend.xp, rows, parts), strict=True):
        block[...] = x[part.start : part.stop, : part.batch, :]
    return rows


def spread(backend: Backend, rows: Array, shape: tuple[int, ...], parts: list[Segment]) -> Array:
    """Packed rows (K, D) as an array (T, N, D), zero past a sequence's end."""
    total = backend.zeros(shape, rows.dtype)
    for part, block in zip(parts, blocks(backend.xp, rows, parts), strict=True):
        total[part.start : part.stop, : part.batch, :] = block
    return total


def reversal(
    backend: Backend, steps: int, batch: int, lengths: np.ndarray | None
) -> Callable[[Array], Array]:
    """Function that turns each sequence of an array (T, N, F) round at its own length.

    What stands past a sequence's end stays there. The function is its own inverse and its own transpose.
    """
    xp = backend.xp
    if lengths is None:
        return lambda x: xp.flip(x, axis=0)
    t, n = np.arange(steps)[:, None], np.arange(batch)
    source = np.where(t < lengths, lengths - 1 - t, t) * batch + n
    rows = backend.asarray(source.reshape(-1), "int64")

    def reverse(x: Array) -> Array:
        flat = xp.reshape(x, (steps * batch, x.shape[2]))
        return xp.reshape(xp.take(flat, rows, axis=0), x.shape)

    return reverse


@dataclass(frozen=True)
class Ragged:
    """Order that sorts a batch by length, and the way back.

    Attributes
    ----------
    lengths : (N,) int64 NumPy array
        Sorted, longest first.
    order, inverse : (N,) integer array on the device, or None
        Indices that sort the batch and that undo it; None if it is sorted already.
    """

    lengths: np.ndarray
    order: Array | None
    inverse: Array | None

    @classmethod
    def of(cls, backend: Backend, lengths: np.ndarray) -> "Ragged":
        """Order of a batch with these lengths."""
        order = np.argsort(-lengths, kind="stable")
        if np.array_equal(order, np.arange(order.size)):
            return cls(lengths, None, None)
        device = (backend.asarray(indices, "int64") for indices in (order, np.argsort(order)))
        return cls(lengths[order], *device)

    def sort(self, backend: Backend, x: Array, axis: int) -> Array:
        """Sequences, along that axis, longest first."""
        return x if self.order is None else backend.xp.take(x, self.order, axis=axis)

    def unsort(self, backend: Backend, x: Array, axis: int) -> Array:
        """Sequences, along that axis, in the caller's order."""
        return x if self.inverse is None else backend.xp.take(x, self.inverse, axis=axis)

    def sort_state(self, backend: Backend, sizes: Any, state: State) -> State:
        """State, or its gradient, longest sequences first; what is None stays so."""
        if state is None:
            return None
        return states.transform(lambda _, s: None if s is None else self.sort(backend, s, 0), sizes, state)

    def unsort_state(self, backend: Backend, sizes: Any, state: State) -> State:
        """State, or its gradient, in the caller's order."""
        return states.transform(lambda _, s: self.unsort(backend, s, 0), sizes, state)
