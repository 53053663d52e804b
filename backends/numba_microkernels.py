"""Products so small that their sums stay in registers, as instructions.

A panel is ROWS rows of a matrix, column after column, so that a tile of the result stays in registers for
the whole inner dimension (K. Goto and R. A. van de Geijn, "Anatomy of high-performance matrix
multiplication", ACM Transactions on Mathematical Software 34 (2008), article 12). Addresses are integers.
"""

# mypy: disable-error-code="untyped-decorator"

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rnnx.backends.numba_vectors import INDEX, MASKS, VECTOR, WIDE, Vectors

ROWS = 8
"""Rows of a panel."""

DOTS = 4
"""Sums of a product with a single column, so that an addition need not wait for the one before."""


def make_tile(lanes_of: Callable[[int], int], vectors: int, height: int = ROWS) -> Any:
    """Function of one dtype's zero and integers: ``c = panel @ b``, or ``c += panel @ b`` where `add`.

    The panel's columns are `column` numbers apart. b is (inner, columns) with rows `row_b` numbers apart,
    c (rows, columns) with `row_c`; at most `height` rows, and at most `vectors` vectors of
    ``lanes_of(size of a number)`` columns. The first `skip` columns, less than a vector, are left out.
    """

    @intrinsic
    def tile(
        typing_context: Any,
        zero: Any,
        panel: Any,
        column: Any,
        inner: Any,
        b: Any,
        row_b: Any,
        c: Any,
        row_c: Any,
        rows: Any,
        columns: Any,
        skip: Any,
        add: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, panel, column, inner, b, row_b, c, row_c, rows, columns, skip, add = arguments
            make = Vectors(builder, zero, lanes_of(zero.bitwidth // 8))
            number = [ir.Constant(INDEX, k) for k in range(max(height, vectors * make.lanes) + 1)]
            masks = [make.mask(v * make.lanes, columns) for v in range(vectors)]
            masks[0] = builder.and_(masks[0], make.mask(0, skip, ">="))
            sums = [[make.variable() for _ in range(vectors)] for _ in range(height)]

            def sum_up(masks: list[Any]) -> None:
                with cgutils.for_range(builder, inner) as loop:
                    row = make.address(b, loop.index, row_b)
                    numbers = make.address(panel, loop.index, column)
                    places = [make.address(row, number[v * make.lanes]) for v in range(vectors)]
                    right = [make.load(place, mask) for place, mask in zip(places, masks, strict=True)]
                    for r in range(height):
                        left = make.broadcast(make.address(numbers, number[r]))
                        for v in range(vectors):
                            make.add_product(sums[r][v], left, right[v])

            if MASKS:
                sum_up(masks)
            else:
                whole = builder.icmp_signed(">=", columns, number[vectors * make.lanes])
                with builder.if_else(whole) as (yes, no):
                    with yes:
                        sum_up([None] * vectors)
                    with no:
                        sum_up(masks)
            adding = builder.icmp_signed("!=", add, number[0])
            for r in range(height):
                with builder.if_then(builder.icmp_signed("<", number[r], rows)):
                    row = make.address(c, number[r], row_c)
                    for v in range(vectors):
                        target = make.address(row, number[v * make.lanes])
                        with builder.if_then(adding):
                            before = make.load(target, masks[v])
                            builder.store(builder.fadd(builder.load(sums[r][v]), before), sums[r][v])
                        make.store(builder.load(sums[r][v]), target, masks[v])
            return context.get_dummy_value()

        return types.void(zero, *[types.int64] * 11), generate

    return tile


@intrinsic
def dots(
    typing_context: Any,
    zero: Any,
    a: Any,
    row_a: Any,
    inner: Any,
    b: Any,
    c: Any,
    rows: Any,
    add: Any,
) -> Any:
    """``c = a @ b``, or ``c += a @ b`` where `add`, for vectors b and c.

    a has up to DOTS rows, `row_a` numbers apart.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a, row_a, inner, b, c, rows, add = arguments
        make = Vectors(builder, zero, VECTOR // (zero.bitwidth // 8))
        one, lanes = ir.Constant(INDEX, 1), ir.Constant(INDEX, make.lanes)
        sums = [make.variable() for _ in range(DOTS)]
        # Rows that there are not: the last one instead.
        last = builder.sub(rows, one)
        places = []
        for r in range(DOTS):
            number = ir.Constant(INDEX, r)
            real = builder.select(builder.icmp_signed("<", number, last), number, last)
            places.append(make.address(a, real, row_a))

        def sum_up(k: Any, mask: Any) -> None:
            right = make.load(make.address(b, k), mask)
            for place, total in zip(places, sums, strict=True):
                make.add_product(total, make.load(make.address(place, k), mask), right)

        end = builder.mul(builder.sdiv(inner, lanes), lanes)
        with cgutils.for_range_slice(builder, ir.Constant(INDEX, 0), end, lanes) as (k, _):
            sum_up(k, None)
        with builder.if_then(builder.icmp_signed("<", end, inner)):
            sum_up(end, make.mask(0, builder.sub(inner, end)))
        adding = builder.icmp_signed("!=", add, ir.Constant(INDEX, 0))
        for r, total in enumerate(sums):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(INDEX, r), rows)):
                pointer = builder.inttoptr(make.address(c, ir.Constant(INDEX, r)), make.scalar.as_pointer())
                found = make.total(builder.load(total))
                before = builder.load(pointer)
                builder.store(builder.select(adding, builder.fadd(found, before), found), pointer)
        return context.get_dummy_value()

    return types.void(zero, *[types.int64] * 7), generate


def _lanes(size: int) -> int:
    return VECTOR // size


def _half_lanes(size: int) -> int:
    return max(VECTOR // size // 2, 2)


@intrinsic
def copy_row(typing_context: Any, zero: Any, source: Any, target: Any) -> Any:
    """Copy ROWS numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        make = Vectors(builder, zero, ROWS)
        make.store(make.load(arguments[1]), arguments[2])
        return context.get_dummy_value()

    return types.void(zero, types.int64, types.int64), generate


@intrinsic
def turn_square(typing_context: Any, zero: Any, source: Any, row: Any, target: Any, pitch: Any) -> Any:
    """Write ROWS rows of as many numbers, `row` bytes apart, as columns `pitch` numbers apart."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, row, target, pitch = arguments
        make = Vectors(builder, zero, ROWS)
        number = [ir.Constant(INDEX, k) for k in range(ROWS)]
        rows = [make.load(builder.add(source, builder.mul(row, number[r]))) for r in range(ROWS)]
        half = ROWS // 2
        for _ in range(ROWS.bit_length() - 1):  # a perfect shuffle each, of all numbers
            rows = [vector for k in range(half) for vector in make.shuffled(rows[k], rows[k + half])]
        for k in range(ROWS):
            make.store(rows[k], make.address(target, number[k], pitch))
        return context.get_dummy_value()

    return types.void(zero, *[types.int64] * 4), generate


@intrinsic
def size_of(typing_context: Any, zero: Any) -> Any:
    """Bytes of a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, zero.bitwidth // 8)

    return types.intp(zero), generate


wide_tile, tile, half_tile = make_tile(_lanes, WIDE), make_tile(_lanes, 1), make_tile(_half_lanes, 1)
row_tile = make_tile(_lanes, DOTS, 1)
