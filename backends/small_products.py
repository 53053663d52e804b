"""Products with few columns as several smaller ones, which OpenBLAS multiplies without copying them first.

Before a product, BLAS copies its matrices in the order in which it reads them, which takes as long as to
multiply them by a few columns. For products of up to a million multiplications, OpenBLAS has functions that
do without, on processors with AVX-512 (``interface/gemm.c``, ``sgemm_small_kernel_permit_skylakex.c``). They
run on one thread; several threads would share the copy and the product.
"""

from functools import cache
from typing import Any

from rnnx.backends import host_threads
from rnnx.typing import Array

LARGEST = 10**6
"""Multiplications of a product that is not copied."""

LEAST = 8
"""Rows from which on such a product is fast."""

COPY = 8
"""Columns whose multiplication takes about as long as the copy."""

SMALL = 2**10
"""Numbers of a result that is not worth a look at whether its product is larger than that."""

CORES = "SkylakeX", "Cooperlake", "SapphireRapids"
"""What OpenBLAS calls the processors that it has these functions for."""


@cache
def _blas() -> host_threads.Threads | None:
    """NumPy's BLAS, if it has such functions."""
    found = host_threads.threads()
    return found if found is not None and found.core() in CORES else None


def may_gain(rows: int, columns: int) -> bool:
    """Whether products with such a result may be faster in parts."""
    if columns < 2 or rows * columns < SMALL:
        return False
    blas = _blas()
    # Whole, n threads take (columns + COPY) / n; in parts, one takes columns.
    return blas is not None and columns * (blas.number() - 1) <= COPY


def cut(a: Any, columns: int) -> Array | None:
    """A matrix (R, K) as (parts, R/parts, K) for products with so many columns; None if whole is better."""
    parts = number(a.shape, columns)
    return a.reshape(parts, -1, a.shape[1]) if parts and a.flags.c_contiguous else None


@cache
def number(shape: tuple[int, int], columns: int) -> int:
    """Into how many equal parts a matrix is cut; 0 if it is small, or no number makes them small enough."""
    rows, inner = shape
    least = -(-rows * inner * columns // LARGEST)
    fitting = range(least, rows // LEAST + 1) if least > 1 else ()
    return next((parts for parts in fitting if rows % parts == 0), 0)
