"""What compiled time loops call: products, and the transpositions between users' arrays and theirs.

BLAS packs a matrix anew at every call; here the weights are packed once for all time steps. Every number of a
result is summed in an order that depends on the shapes alone, not on which rows are computed together.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba

from rnnx.backends.numba_microkernels import (
    DOTS,
    ROWS,
    copy_row,
    dots,
    half_tile,
    row_tile,
    size_of,
    tile,
    wide_tile,
)
from rnnx.backends.numba_rows import get, put
from rnnx.backends.numba_vectors import MASKS, VECTOR, WIDE

TOGETHER = 4
"""Panels that are packed at a time, so that what is fetched with one number of a row serves the others."""

STRIP = 32
"""Numbers of a row that are turned at a time, for the same reason."""

PAGE = 2**12
"""Bytes of a page of memory. A core's first cache holds FEW lines that lie a multiple of it apart."""

FEW = 8
"""Rows of memory that are read side by side where they are a multiple of PAGE apart."""

STREAMS = 64
"""Rows of memory read side by side where all of them lie on more pages than that: a core knows so many."""

BLOCK = 2**18
"""Bytes of the right operand that are multiplied by all panels at a time: they stay in a core's own cache."""


@numba.njit(error_model="numpy")
def multiply(
    zero: Any,
    packed: Any,
    blocks: Any,
    height: Any,
    first: Any,
    last: Any,
    inner: Any,
    b: Any,
    columns: Any,
    out: Any,
    add: Any,
) -> None:
    """Some rows of ``out = a @ b``, or of ``out += a @ b``, with contiguous b (inner, columns) and out.

    a, of which the address of its panels is given, has `blocks` blocks of `height` rows; computed are panels
    first .. last - 1 of each block. `zero` tells the dtype.
    """
    size = size_of(zero)
    panels = (height + ROWS - 1) // ROWS
    lanes = VECTOR // size
    together = max(BLOCK // (inner * size * WIDE * lanes), 1) * WIDE * lanes
    for block in range(blocks):
        for left in range(0, columns, together):
            right = min(left + together, columns)
            for p in range(first, last):
                panel = packed + (block * panels + p) * inner * ROWS * size
                target = out + (block * height + p * ROWS) * columns * size
                rows = min(ROWS, height - p * ROWS)
                j = left
                while j < right:
                    rest = right - j
                    source, place = b + j * size, target + j * size
                    if rest > lanes and WIDE == 2:
                        wide_tile(
                            zero, panel, ROWS, inner, source, columns, place, columns, rows, rest, 0, add
                        )
                        j += WIDE * lanes
                    elif rest > lanes // 2 or lanes < 4:
                        tile(zero, panel, ROWS, inner, source, columns, place, columns, rows, rest, 0, add)
                        j += lanes
                    else:
                        half_tile(
                            zero, panel, ROWS, inner, source, columns, place, columns, rows, rest, 0, add
                        )
                        j += lanes // 2


@numba.njit(error_model="numpy")
def multiply_one(
    zero: Any, a: Any, row: Any, column: Any, height: Any, inner: Any, b: Any, out: Any, add: Any
) -> None:
    """As `multiply`, for one column, all rows, and an a (height, inner) that is not packed.

    Neighbours in a column of a are `row` bytes apart, those in a row `column`; one of the two is a number's
    size.
    """
    size = size_of(zero)
    if row == size:
        # Rows of memory are columns of a: some at a time, each from its first number to its last.
        together = DOTS * VECTOR // size
        streams = inner if inner * column <= STREAMS * PAGE else STREAMS
        if column % PAGE == 0:
            streams = FEW
        # Vectors begin where cache lines do, if all rows have them at the same places.
        skip = a % VECTOR // size if MASKS and column % VECTOR == 0 else 0
        for k in range(0, inner, streams):
            count = min(streams, inner - k)
            for u in range(-skip, height, together):
                source, place = a + u * row + k * column, out + u * size
                left, rest = max(-u, 0), min(height - u, together)
                row_tile(
                    zero, b + k * size, 1, count, source, column // size, place, 0, 1, rest, left, add or k
                )
    else:
        for u in range(0, height, DOTS):
            dots(zero, a + u * row, row // size, inner, b, out + u * size, min(height - u, DOTS), add)


@numba.njit(error_model="numpy")
def project(
    zero: Any,
    panel: Any,
    steps: Any,
    inner: Any,
    W: Any,
    row_W: Any,
    bias: Any,
    bias_step: Any,
    width: Any,
    out: Any,
) -> None:
    """``out = x @ W + bias`` for up to ROWS steps of one sequence, of which x is a panel.

    W (inner, width) has rows `row_W` numbers apart, bias numbers `bias_step` bytes; out is (steps, width).
    """
    size = size_of(zero)
    lanes = VECTOR // size
    for step in range(steps):
        for u in range(width):
            put(out, step * width + u, get(bias + u * bias_step, 0, zero))
    j = 0
    while j < width:
        rest, source, place = width - j, W + j * size, out + j * size
        if steps == 1:
            row_tile(zero, panel, ROWS, inner, source, row_W, place, width, 1, rest, 0, 1)
            j += DOTS * lanes
        elif rest > lanes and WIDE == 2:
            wide_tile(zero, panel, ROWS, inner, source, row_W, place, width, steps, rest, 0, 1)
            j += WIDE * lanes
        else:
            tile(zero, panel, ROWS, inner, source, row_W, place, width, steps, rest, 0, 1)
            j += lanes


@numba.njit(error_model="numpy")
def pack(
    zero: Any,
    a: Any,
    row: Any,
    column: Any,
    packed: Any,
    blocks: Any,
    height: Any,
    first: Any,
    last: Any,
    inner: Any,
    start: Any,
    stop: Any,
) -> None:
    """Write columns ``start .. stop - 1`` of panels first .. last - 1 of each block for `multiply`.

    Neighbours in a column of a are `row` bytes apart, those in a row `column`.
    """
    panels = (height + ROWS - 1) // ROWS
    size = size_of(zero)
    whole = min(last, height // ROWS) if row == size else first  # the panels that are copied row by row
    for block in range(blocks):
        for left in range(first, whole, TOGETHER):
            for k in range(stop - start):
                for p in range(left, min(left + TOGETHER, whole)):
                    source = a + (block * height + p * ROWS) * row + k * column
                    copy_row(zero, source, packed + ((block * panels + p) * inner + start + k) * ROWS * size)
        for p in range(whole, last):
            rows = min(ROWS, height - p * ROWS)
            target = packed + ((block * panels + p) * inner + start) * ROWS * size
            source = a + (block * height + p * ROWS) * row
            if rows == ROWS and column == size:
                for k in range(stop - start):
                    for r in range(ROWS):
                        put(target, k * ROWS + r, get(source + r * row, k, zero))
            else:
                for k in range(stop - start):
                    for r in range(ROWS):
                        value = get(source + r * row + k * column, 0, zero) if r < rows else zero
                        put(target, k * ROWS + r, value)


@numba.njit(error_model="numpy")
def turn(
    zero: Any,
    x: Any,
    sequence: Any,
    feature: Any,
    out: Any,
    first: Any,
    last: Any,
    columns: Any,
    width: Any,
    add: Any,
) -> None:
    """Features first .. last - 1 of x (columns, D), in strides of bytes, as rows of out (D, width)."""
    for left in range(first, last, STRIP):
        right = min(left + STRIP, last)
        for n in range(columns):
            for d in range(left, right):
                value = get(x + n * sequence + d * feature, 0, zero)
                if add:
                    value += get(out, d * width + n, zero)
                put(out, d * width + n, value)


@numba.njit(error_model="numpy")
def turn_back(
    zero: Any, h: Any, y: Any, sequence: Any, feature: Any, first: Any, last: Any, columns: Any
) -> None:
    """The other way round, from rows first .. last - 1 of h (H, columns) to those features of y."""
    for left in range(first, last, STRIP):
        right = min(left + STRIP, last)
        for n in range(columns):
            if feature == size_of(zero):
                for u in range(left, right):
                    put(y + n * sequence, u, get(h, u * columns + n, zero))
            else:
                for u in range(left, right):
                    put(y + n * sequence + u * feature, 0, get(h, u * columns + n, zero))


@numba.njit(error_model="numpy")
def copy_columns(
    zero: Any,
    source: Any,
    width: Any,
    target: Any,
    target_width: Any,
    blocks: Any,
    height: Any,
    first: Any,
    last: Any,
    columns: Any,
) -> None:
    """Copy so many columns, a multiple of ROWS, between matrices whose rows are `width` numbers apart.

    Copied are rows first .. last - 1 of each block of `height` rows.
    """
    size = size_of(zero)
    for block in range(blocks):
        for r in range(block * height + first, block * height + last):
            for n in range(0, columns, ROWS):
                copy_row(zero, source + (r * width + n) * size, target + (r * target_width + n) * size)
