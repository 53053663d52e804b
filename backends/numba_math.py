"""Hyperbolic tangents that Numba's compiler turns into vector instructions: no call, no branch, one division.

With ``x = n h + r``, ``h = ln(2) / 2`` and n an integer, ``tanh(n h) = (2**n - 1) / (2**n + 1)``, so that the
addition theorem (DLMF 4.35.3) reads, with ``t = tanh(r)``,

    tanh(x) = ((2**n - 1) + (2**n + 1) t) / ((2**n + 1) + (2**n - 1) t).

``|r| <= h / 2``, and there ``t = r + r**3 p(r**2)``, p a minimax polynomial (Remez) whose error, relative to
t, is below 2**-57 (float64) and 2**-32 (float32). h is taken off in two parts, the first of which has so few
bits that n times it is exact (Cody and Waite, "Software manual for the elementary functions", 1980). Beyond
the largest x that is looked at, tanh rounds to 1.

For n = 0 the quotient is 2 t / 2: t itself, however small, off by little more than half a unit in the last
place. Else, with u half a unit relative to 1 (2**-53 or 2**-24), numerator, denominator and quotient add u
each, and t, off by at most u/4 with the rounding of r, adds at most 1.6 u, since the numerator is at least
0.48 where its factor is 3 (n = 1): below 5 u, which is 6e-16 in float64. Measured: 2.8 u. NaN, infinities and
the sign of zero are those of tanh.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy import float32, float64

TWO_OVER_LN2 = 2.885390081777926815
TANH_64 = (
    -0.3333333333333249,
    0.13333333332785188,
    -0.05396825278421559,
    0.021869370861831355,
    -0.00885731323642288,
    0.00344488823645685,
)
TANH_32 = (-0.33333322746412974, 0.1333118664147984, -0.05272775387076045)


@intrinsic
def power_of_two(typing_context: Any, one: Any, shifted: Any) -> Any:
    """``2**n`` for ``shifted = shifter + n``: n, the lowest bits there, is added to the exponent of one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        width, mantissa = (32, 23) if one == types.float32 else (64, 52)
        integer = ir.IntType(width)
        bits, n = (builder.bitcast(argument, integer) for argument in arguments)
        total = builder.add(bits, builder.shl(n, ir.Constant(integer, mantissa)))
        return builder.bitcast(total, arguments[0].type)

    return one(one, one), generate


@intrinsic
def copysign(typing_context: Any, x: Any, y: Any) -> Any:
    """X with the sign of y; ``math.copysign`` is a call."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        signature = ir.FunctionType(kind, [kind, kind])
        function = builder.module.declare_intrinsic("llvm.copysign", [kind], signature)
        return builder.call(function, arguments)

    return x(x, x), generate


def make_tanh(T: Any, mantissa: int, largest: float, h: tuple[float, float], p: tuple[float, ...]) -> Any:
    """The function for scalars of type T; a small number added to `shifter` is rounded to an integer."""
    one, limit, scale, shifter = T(1.0), T(largest), T(TWO_OVER_LN2), T(1.5 * 2.0**mantissa)
    h_high, h_low, *coefficients = map(T, (*h, *p))
    polynomial = _horner(*coefficients)

    def tanh(x: Any) -> Any:
        z = limit if x > limit else (-limit if x < -limit else x)
        shifted = z * scale + shifter
        n = shifted - shifter
        r = (z - n * h_high) - n * h_low
        s = r * r
        t = r + r * s * polynomial(s)
        power = power_of_two(one, shifted)
        plus, minus = power + one, power - one
        return copysign((minus + plus * t) / (plus + minus * t), x)

    return numba.njit(inline="always")(tanh)


def _horner(first: Any, *rest: Any) -> Any:
    """The polynomial with these coefficients, the constant one first."""
    if not rest:
        return numba.njit(inline="always")(lambda s: first)
    higher = _horner(*rest)
    return numba.njit(inline="always")(lambda s: first + s * higher(s))


tanh32 = make_tanh(float32, 23, 9.1, (0.3466796875, -1.0609722002734529e-4), TANH_32)
tanh64 = make_tanh(float64, 52, 20.0, (0.3465728759765625, 7.143034101547086e-07), TANH_64)
