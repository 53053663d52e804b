"""Calls of BLAS from compiled loops, through the address of ``cblas_?gemm``."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy import int32

ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = int32(101), int32(111), int32(112)


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
    """``c = alpha a @ b + beta c``; of a, b and c the address of the first element is passed."""
    real = a.dtype
    long, short = types.int64, types.int32
    signature = types.void(long, short, short, short, long, long, long, real, a, long, b, long, real, c, long)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arguments = list(arguments)
        for place in (8, 10, 13):
            view = context.make_array(signature.args[place])(context, builder, arguments[place])
            arguments[place] = builder.bitcast(view.data, cgutils.voidptr_t)
        kinds = [argument.type for argument in arguments[1:]]
        pointer = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(arguments[0], pointer), arguments[1:])
        return context.get_dummy_value()

    return signature, generate


@numba.njit(inline="always")
def product(address: Any, a: Any, b: Any, out: Any, inner: Any, columns: Any, one: Any, beta: Any) -> None:
    """``out = one a @ b + beta out``, with b (inner, columns) and out as contiguous vectors.

    One of the two strides of a (rows, inner) is that of neighbours.
    """
    size = a.itemsize
    if a.strides[1] == size:
        transposed, leading = NO_TRANSPOSE, a.strides[0] // size
    else:
        transposed, leading = TRANSPOSE, a.strides[1] // size
    sizes = a.shape[0], columns, inner
    cblas_gemm(
        address, ROW_MAJOR, transposed, NO_TRANSPOSE, *sizes, one, a, leading, b, columns, beta, out, columns
    )
