"""Memory by its address, and arrays over it that Numba knows to be contiguous.

Of others it makes no vector instructions.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

INTEGER = np.int64(0)
"""Tells `get` that the number is an integer."""


@intrinsic
def address(typing_context: Any, array: Any) -> Any:
    """Of an array's first element; ``array.ctypes.data`` takes long to compile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(array)(context, builder, arguments[0])
        return builder.ptrtoint(view.data, cgutils.intp_t)

    return types.intp(array), generate


@intrinsic
def vector(typing_context: Any, place: Any, size: Any, zero: Any) -> Any:
    """So many numbers at an address as an array, of the dtype of `zero`; it owns no memory."""
    kind = types.Array(zero, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(kind)(context, builder)
        pointer = builder.inttoptr(arguments[0], view.data.type)
        step = context.get_constant(types.intp, zero.bitwidth // 8)
        arrayobj.populate_array(view, pointer, [arguments[1]], [step], step, None)
        return view._getvalue()

    return kind(types.intp, types.intp, zero), generate


@intrinsic
def get(typing_context: Any, place: Any, number: Any, zero: Any) -> Any:
    """A number after an address, of the dtype of `zero`.

    The index of an array would be looked at for its sign.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(zero).as_pointer()
        return builder.load(builder.gep(builder.inttoptr(arguments[0], kind), [arguments[1]]))

    return zero(types.intp, types.intp, zero), generate


@intrinsic(prefer_literal=True)
def get_words(typing_context: Any, place: Any, count: Any) -> Any:
    """So many integers at an address."""
    kind = types.UniTuple(types.int64, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = builder.inttoptr(arguments[0], cgutils.intp_t.as_pointer())
        numbers = [builder.load(cgutils.gep_inbounds(builder, base, k)) for k in range(kind.count)]
        return context.make_tuple(builder, kind, numbers)

    return kind(types.int64, count), generate


@intrinsic
def put(typing_context: Any, place: Any, number: Any, value: Any) -> Any:
    """Write it there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(value).as_pointer()
        builder.store(arguments[2], builder.gep(builder.inttoptr(arguments[0], kind), [arguments[1]]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, value), generate


@intrinsic
def row(typing_context: Any, matrix: Any, number: Any) -> Any:
    """A row of a matrix whose rows are contiguous, each by itself."""
    kind = types.Array(matrix.dtype, 1, "C", readonly=not matrix.mutable)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = context.make_array(matrix)(context, builder, arguments[0])
        (_, columns), (stride, _) = (
            cgutils.unpack_tuple(builder, each) for each in (whole.shape, whole.strides)
        )
        place = builder.add(builder.ptrtoint(whole.data, cgutils.intp_t), builder.mul(arguments[1], stride))
        view = context.make_array(kind)(context, builder)
        size = context.get_constant(types.intp, matrix.dtype.bitwidth // 8)
        arrayobj.populate_array(view, builder.inttoptr(place, view.data.type), [columns], [size], size, None)
        return view._getvalue()

    return kind(matrix, types.intp), generate


@intrinsic
def call(typing_context: Any, function: Any, *arguments: Any) -> Any:
    """Call the function of that address, which takes integers and returns nothing."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        passed = cgutils.unpack_tuple(builder, values[1])
        passed = [
            context.cast(builder, value, kind, types.int64)
            for value, kind in zip(passed, signature.args[1], strict=True)
        ]
        kind = ir.FunctionType(ir.VoidType(), [cgutils.intp_t] * len(passed)).as_pointer()
        builder.call(builder.inttoptr(values[0], kind), passed)
        return context.get_dummy_value()

    return types.void(types.int64, types.StarArgTuple(arguments)), generate
