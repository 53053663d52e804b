"""Rows of a matrix as arrays that Numba knows to be contiguous: else it makes no vector instructions."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """An address as what `numba.carray` takes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@numba.njit(inline="always")
def row(matrix: Any, r: Any) -> Any:
    """Row r of a matrix whose rows are contiguous, each by itself."""
    address = pointer(matrix.ctypes.data + r * matrix.strides[0])
    return numba.carray(address, (matrix.shape[1],), matrix.dtype)
