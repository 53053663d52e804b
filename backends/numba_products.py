"""Products over the columns of matrices in slabs, which are brought into order while they are multiplied.

A matrix in slabs is told by a table, with SLAB numbers of 64 bits for each slab: the address, the number of
steps, of columns in each of them, how many bytes apart steps, rows and columns are, the number of rows, and
how many slabs the matrix has. What a thread is to do stands in a table of its own, which
`rnnx.backends.numba_sums` fills.

The blocks follow K. Goto and R. A. van de Geijn (see `rnnx.backends.numba_microkernels`): strips of the right
operand stay in a core's own cache, a panel of the left one in its first. Each thread orders what it needs by
itself, and waits for no other.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba

from rnnx.backends.host_pool import LINE
from rnnx.backends.numba_microkernels import ROWS, row_tile, size_of, tile, wide_tile
from rnnx.backends.numba_rows import INTEGER, call, get, get_words
from rnnx.backends.numba_vectors import VECTOR, WIDE

SLAB = 8
"""Numbers that tell of a slab."""

BYTES = 8 * SLAB
"""Bytes of these."""

DEPTH = 256
"""Products that are summed up in registers, before they are added to a result."""

BLOCK = 2**13 * VECTOR
"""Bytes of strips at a time, for which a core of such a machine has room in a cache of its own."""

STRIP = WIDE * VECTOR
"""Bytes of a row of a strip."""


@numba.njit(error_model="numpy")
def share(tables: Any, size: Any, unit: Any, memory: Any, own: Any) -> None:
    """Begin the table of each thread: with its numbers below a size, in whole units, and its memory."""
    team = tables.shape[0]
    units = -(-size // unit)
    for rank in range(team):
        tables[rank, 0] = min(units * rank // team * unit, size)
        tables[rank, 1] = min(units * (rank + 1) // team * unit, size)
        tables[rank, 2] = memory + rank * own


@numba.njit(error_model="numpy")
def order_slabs(
    order: Any, table: Any, first: Any, count: Any, low: Any, rows: Any, target: Any, pitch: Any, size: Any
) -> None:
    """`rnnx.backends.numba_copies.order` for some rows of columns from `first` on of a matrix in slabs."""
    while count > 0:
        place, steps, batch, step, row, column, _, _ = get_words(table, SLAB)
        while first < steps * batch and count > 0:
            n = first % batch
            run = min(batch - n, count)
            source = place + first // batch * step + low * row + n * column
            call(order, source, row, column, rows, run, target, pitch)
            target += run * pitch * size
            first += run
            count -= run
        first -= steps * batch
        table += BYTES


@numba.njit(error_model="numpy")
def by_strips(
    zero: Any,
    panel: Any,
    column: Any,
    inner: Any,
    strips: Any,
    left: Any,
    right: Any,
    out: Any,
    width: Any,
    rows: Any,
    add: Any,
) -> None:
    """Columns left .. right - 1 of rows of `out`, or what is added to them: a panel by strips."""
    size = size_of(zero)
    wide = STRIP // size
    for j in range(left, right, wide):
        place, rest = out + j * size, min(right - j, wide)
        if rows == 1:
            row_tile(zero, panel, column, inner, strips, wide, place, width, 1, rest, 0, add)
        elif rest > VECTOR // size:
            wide_tile(zero, panel, column, inner, strips, wide, place, width, rows, rest, 0, add)
        else:
            tile(zero, panel, column, inner, strips, wide, place, width, rows, rest, 0, add)
        strips += inner * STRIP


@numba.njit(error_model="numpy")
def weight_gradients(zero: Any, table: Any) -> None:
    """Columns low .. high - 1 of ``a @ d.T``, of a matrix d (R, K) and, row after row, some a (C, K)."""
    low, high, memory, order, by_strips, d, out, count, seen, one = get_words(table, 10)
    size = size_of(zero)
    wide = STRIP // size
    panel = -(-memory // LINE) * LINE
    strips = panel + DEPTH * ROWS * size
    width, slabs = get(d, 6, INTEGER), get(d, 7, INTEGER)
    together = BLOCK // (DEPTH * STRIP) * wide
    for left in range(low, high, together):
        right = min(left + together, high)
        for k in range(0, count, DEPTH):
            inner, add = min(DEPTH, count - k), k > 0
            for j in range(left, right, wide):
                target = strips + (j - left) // wide * inner * STRIP
                order_slabs(order, d, k, inner, j, min(wide, right - j), target, wide, size)
            place, a = out, d + slabs * BYTES
            for _ in range(seen):
                height = get(a, 6, INTEGER)
                for p in range(0, height, ROWS):
                    rows = min(ROWS, height - p)
                    order_slabs(order, a, k, inner, p, rows, panel, ROWS, size)
                    call(by_strips, panel, ROWS, inner, strips, left, right, place, width, rows, add)
                    place += rows * width * size
                a += get(a, 7, INTEGER) * BYTES
            if one:  # a bias is the weight of an input that is one
                call(by_strips, one, 0, inner, strips, left, right, place, width, 1, add)


@numba.njit(error_model="numpy")
def input_gradient(zero: Any, table: Any) -> None:
    """Rows first .. last - 1 of ``d.T @ W.T``, of W (width, R) and d (R, K)."""
    first, last, memory, order, by_strips, d, out, width, W, row_W, column_W = get_words(table, 11)
    size = size_of(zero)
    wide = STRIP // size
    panel = -(-memory // LINE) * LINE
    strips = panel + DEPTH * ROWS * size
    height = get(d, 6, INTEGER)
    together = BLOCK // (DEPTH * STRIP) * wide
    for left in range(0, width, together):
        right = min(left + together, width)
        for g in range(0, height, DEPTH):
            inner, add = min(DEPTH, height - g), g > 0
            for j in range(left, right, wide):
                source, target = W + j * row_W + g * column_W, strips + (j - left) // wide * inner * STRIP
                call(order, source, row_W, column_W, min(wide, right - j), inner, target, wide)
            slab, start, k = d, 0, first
            while k < last:
                address, steps, batch, step, row, column, _, _ = get_words(slab, SLAB)
                end = start + steps * batch
                while k < min(end, last):
                    n = (k - start) % batch
                    rows, place = min(min(ROWS, batch - n), last - k), out + k * width * size
                    source = address + (k - start) // batch * step + g * row + n * column
                    call(order, source, column, row, rows, inner, panel, ROWS)
                    call(by_strips, panel, ROWS, inner, strips, left, right, place, width, rows, add)
                    k += rows
                start = end
                slab += BYTES
