"""Products of a step, which compiled time loops call.

BLAS packs a matrix anew at every call; here the weights are packed once for all time steps. Every number of a
result is summed in an order that depends on the shapes alone, not on which rows are computed together.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba

from rnnx.backends.numba_copies import order
from rnnx.backends.numba_microkernels import (
    DOTS,
    ROWS,
    dots,
    half_tile,
    row_tile,
    size_of,
    tile,
    wide_tile,
)
from rnnx.backends.numba_vectors import MASKS, VECTOR, WIDE

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
    order(zero, bias, bias_step, 0, width, steps, out, width)  # the same column for every step
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
