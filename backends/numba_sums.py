"""Sums over time steps, compiled, from the slabs as they are: nothing is joined to a matrix first."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from rnnx.backends import host_threads, numba_kernels
from rnnx.backends.host_pool import LINE
from rnnx.backends.numba_microkernels import ROWS
from rnnx.backends.numba_products import BLOCK, DEPTH, SLAB, STRIP
from rnnx.errors import ShapeError
from rnnx.typing import Array, Columns

SOURCE = """
from numba import cfunc, njit, void
from numba.types import {dtype} as TYPE, Array, int32, int64, intp, uint8
from numpy import empty
from rnnx.backends import numba_copies, numba_products
from rnnx.backends.numba_rows import address
from rnnx.backends.numba_team import run_together


@cfunc(void(intp, intp, intp, intp, intp, intp, intp), cache=True, error_model="numpy")
def order(source, row, column, rows, columns, target, pitch):
    numba_copies.order(ZERO, source, row, column, rows, columns, target, pitch)


@cfunc(
    void(intp, intp, intp, intp, intp, intp, intp, intp, intp, intp), cache=True, error_model="numpy"
)
def by_strips(panel, column, inner, strips, left, right, out, width, rows, add):
    numba_products.by_strips(ZERO, panel, column, inner, strips, left, right, out, width, rows, add)


@cfunc(int32(intp, intp, intp, intp, intp, intp), cache=True, error_model="numpy")
def weights(table, range_m, range_n, a, b, position):
    numba_products.weight_gradients(ZERO, table)
    return 0


@cfunc(int32(intp, intp, intp, intp, intp, intp), cache=True, error_model="numpy")
def inputs(table, range_m, range_n, a, b, position):
    numba_products.input_gradient(ZERO, table)
    return 0


@njit(void(int64[:, ::1], int64, int64, Array(TYPE, 3, "A", readonly=True)), cache=True)
def tell(table, number, slabs, slab):
    table[number, 0], table[number, 1], table[number, 2] = address(slab), slab.shape[0], slab.shape[2]
    table[number, 3], table[number, 4], table[number, 5] = slab.strides
    table[number, 6], table[number, 7] = slab.shape[1], slabs


@njit(
    int64(int64, int64, int64, int64, int64, uint8[::1], int64[:, ::1], int64, int64, int64, TYPE[:, ::1]),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def weight_gradients(order, by_strips, job, execute, team, memory, table, count, seen, bias, out):
    tables, one = empty((team, 16), int64), empty(1, TYPE)
    one[0] = ONE
    numba_products.share(tables, out.shape[1], {wide}, address(memory), memory.size // team)
    for rank in range(team):
        tables[rank, 3], tables[rank, 4], tables[rank, 5] = order, by_strips, address(table)
        tables[rank, 6], tables[rank, 7], tables[rank, 8] = address(out), count, seen
        tables[rank, 9] = address(one) if bias else 0
    return run_together(job, execute, tables) + one.size  # so that it lives until here


@njit(
    int64(
        int64, int64, int64, int64, int64, uint8[::1], int64[:, ::1],
        Array(TYPE, 2, "A", readonly=True), TYPE[:, ::1],
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def input_gradient(order, by_strips, job, execute, team, memory, table, W, out):
    tables = empty((team, 16), int64)
    numba_products.share(tables, out.shape[0], {rows}, address(memory), memory.size // team)
    for rank in range(team):
        tables[rank, 3], tables[rank, 4], tables[rank, 5] = order, by_strips, address(table)
        tables[rank, 6], tables[rank, 7], tables[rank, 8] = address(out), out.shape[1], address(W)
        tables[rank, 9], tables[rank, 10] = W.strides
    return run_together(job, execute, tables)
"""

Empty = Callable[[tuple[int, ...], Any], Array]
"""Makes an array of some shape and dtype."""

BYTE = np.dtype("uint8")


class Compiled(NamedTuple):
    """Functions that fill a table, and that share a sum among threads; addresses of what those call."""

    tell: Callable[..., None]
    weight_gradients: Callable[..., int]
    input_gradient: Callable[..., int]
    weights: tuple[int, int, int]
    inputs: tuple[int, int, int]


@cache
def compiled(dtype: np.dtype) -> Compiled:
    """Of a dtype."""
    text = SOURCE.format(dtype=dtype.name, wide=STRIP // dtype.itemsize, rows=ROWS)
    module = numba_kernels.module(f"sums_{dtype.name}", numba_kernels.header(dtype) + text)
    functions = module.tell, module.weight_gradients, module.input_gradient
    common = module.order.address, module.by_strips.address
    return Compiled(*functions, (*common, module.weights.address), (*common, module.inputs.address))


def suits(d: Columns) -> bool:
    """Whether these functions are made for a matrix.

    Steps of few sequences are better joined. Where the threads of BLAS are not known, these functions would
    run on one, and BLAS's own products on all of them.
    """
    steps, _, batch = d.slabs[0].shape
    return (
        batch >= ROWS
        and steps > 0
        and d.slabs[0].dtype in numba_kernels.DTYPES
        and host_threads.threads() is not None
    )


def weight_gradients(empty: Empty, d: Columns, seen: Sequence[Columns], bias: bool) -> list[Array]:
    """As `Products.weight_gradients`; threads share the columns of the results, which share memory."""
    dtype, (width, count) = d.slabs[0].dtype, d.shape
    ends = [0]
    for a in seen:
        _check(a.shape, (a.shape[0], count))
        ends.append(ends[-1] + a.shape[0])
    execute, _, team = host_threads.team(
        2 * width * count * (ends[-1] + bias), width * dtype.itemsize // STRIP
    )
    loops, out = compiled(dtype), empty((ends[-1] + bias, width), dtype)
    given = _memory(empty, team, -(-width // team), dtype), _table(loops, (d, *seen)), count, len(seen), bias
    loops.weight_gradients(*loops.weights, execute, team, *given, out)
    found = [out[first:last] for first, last in pairwise(ends)]
    return [out[-1], *found] if bias else found


def input_gradient(empty: Empty, W: Array, d: Columns) -> Array:
    """As `Products.input_gradient`; threads share the rows of the result."""
    dtype, (inner, count), width = W.dtype, d.shape, W.shape[0]
    _check(W.shape, (width, inner))
    execute, _, team = host_threads.team(2 * count * inner * width, count // ROWS)
    loops, out = compiled(dtype), empty((count, width), dtype)
    memory = _memory(empty, team, width, dtype)
    loops.input_gradient(*loops.inputs, execute, team, memory, _table(loops, (d,)), W, out)
    return out


def _check(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    """Compiled functions look at no shape: they would read what is behind a matrix.

    Raises
    ------
    ShapeError
    """
    if shape != expected:
        found, needed = ("x".join(map(str, each)) for each in (shape, expected))
        raise ShapeError(f"A sum over time steps is given a matrix of {found}; the steps need {needed}.")


def _memory(empty: Empty, team: int, width: int, dtype: np.dtype) -> Array:
    """Bytes for each thread's panel and its strips of so many columns, from the next cache line on."""
    strips = min(-(-width * dtype.itemsize // STRIP) * DEPTH * STRIP, BLOCK)
    return empty((team * (DEPTH * ROWS * dtype.itemsize + strips + LINE),), BYTE)


def _table(loops: Compiled, matrices: Sequence[Columns]) -> np.ndarray:
    """What compiled products are told of matrices; see `rnnx.backends.numba_products`."""
    table = np.empty((sum([len(a.slabs) for a in matrices]), SLAB), np.int64)
    number = 0
    for a in matrices:
        for slab in a.slabs:
            loops.tell(table, number, len(a.slabs), slab)
            number += 1
    return table
