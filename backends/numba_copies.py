"""Copies of matrices in another order: panels, transpositions between users' arrays and loops', columns."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba

from rnnx.backends.numba_microkernels import ROWS, copy_row, size_of, turn_square
from rnnx.backends.numba_rows import get, put

TOGETHER = 4
"""Panels that are packed at a time, so that what is fetched with one number of a row serves the others."""

STRIP = 32
"""Numbers of a row that are turned at a time, for the same reason."""


@numba.njit(error_model="numpy")
def order(
    zero: Any,
    source: Any,
    row: Any,
    column: Any,
    rows: Any,
    columns: Any,
    target: Any,
    pitch: Any,
) -> None:
    """Write a matrix column after column, `pitch` numbers apart.

    Neighbours in a column are `row` bytes apart, those in a row `column`.
    """
    size = size_of(zero)
    whole, squares = rows - rows % ROWS, 0
    if column == size:
        squares = columns - columns % ROWS
        for r in range(0, whole, ROWS):
            for k in range(0, squares, ROWS):
                turn_square(zero, source + r * row + k * size, row, target + (k * pitch + r) * size, pitch)
    elif row == size:
        squares = columns
        for k in range(columns):
            for r in range(0, whole, ROWS):
                copy_row(zero, source + k * column + r * size, target + (k * pitch + r) * size)
    for k in range(columns):
        for r in range(whole if k < squares else 0, rows):
            put(target, k * pitch + r, get(source + r * row + k * column, 0, zero))


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
            if rows < ROWS:
                for i in range((stop - start) * ROWS):
                    put(target, i, zero)
            order(zero, a + (block * height + p * ROWS) * row, row, column, rows, stop - start, target, ROWS)


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
