"""Calls of BLAS from compiled loops, through the addresses of its functions."""

# mypy: disable-error-code="untyped-decorator"

from collections.abc import Sequence
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy import int32

ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = int32(101), int32(111), int32(112)


def _call(kinds: Sequence[Any]) -> Any:
    """A function of an address and these arguments; of an array it gets the address of the first element."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arguments = list(arguments)
        for place, kind in enumerate(signature.args):
            if isinstance(kind, types.Array):
                view = context.make_array(kind)(context, builder, arguments[place])
                arguments[place] = builder.bitcast(view.data, cgutils.voidptr_t)
        pointer = ir.FunctionType(ir.VoidType(), [each.type for each in arguments[1:]]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], pointer), arguments[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *kinds), generate


@intrinsic
def cblas_gemm(
    typing_context: Any,
    address: Any,
    order: Any,
    transpose_a: Any,
    transpose_b: Any,
    m: Any,
    n: Any,
    k: Any,
    alpha: Any,
    a: Any,
    lda: Any,
    b: Any,
    ldb: Any,
    beta: Any,
    c: Any,
    ldc: Any,
) -> Any:
    """``c = alpha a @ b + beta c``."""
    real, long, short = a.dtype, types.int64, types.int32
    return _call((short, short, short, long, long, long, real, a, long, b, long, real, c, long))


@intrinsic
def cblas_gemv(
    typing_context: Any,
    address: Any,
    order: Any,
    transpose: Any,
    m: Any,
    n: Any,
    alpha: Any,
    a: Any,
    lda: Any,
    x: Any,
    incx: Any,
    beta: Any,
    y: Any,
    incy: Any,
) -> Any:
    """``y = alpha a @ x + beta y``, or of the transpose of a."""
    real, long, short = a.dtype, types.int64, types.int32
    return _call((short, short, long, long, real, a, long, x, long, real, y, long))


@numba.njit(inline="always")
def product(
    gemm: Any, gemv: Any, a: Any, b: Any, out: Any, inner: Any, columns: Any, one: Any, beta: Any
) -> None:
    """``out = one a @ b + beta out``, with b (inner, columns) and out as contiguous vectors.

    One of the two strides of a (rows, inner) is that of neighbours.
    """
    size = a.itemsize
    rows = a.shape[0]
    by_rows = a.strides[1] == size
    leading = (a.strides[0] if by_rows else a.strides[1]) // size
    if columns == 1:
        # Of the memory that a lies in, by rows: a itself, or its transpose.
        if by_rows:
            cblas_gemv(gemv, ROW_MAJOR, NO_TRANSPOSE, rows, inner, one, a, leading, b, 1, beta, out, 1)
        else:
            cblas_gemv(gemv, ROW_MAJOR, TRANSPOSE, inner, rows, one, a, leading, b, 1, beta, out, 1)
    else:
        transposed = NO_TRANSPOSE if by_rows else TRANSPOSE
        sizes = rows, columns, inner
        cblas_gemm(
            gemm, ROW_MAJOR, transposed, NO_TRANSPOSE, *sizes, one, a, leading, b, columns, beta, out, columns
        )
