"""Central differences of order four, extrapolated, with an error estimate for every number they give.

The formulas: Fornberg, "Generation of finite difference formulas on arbitrarily spaced grids", Mathematics of
Computation 51 (1988), 699-706. Richardson's extrapolation: Press et al., Numerical Recipes, section 5.7. The
rounding of the function itself, from a table of differences: Moré and Wild, "Estimating computational noise",
SIAM Journal on Scientific Computing 33 (2011), 1292-1314.
"""

from collections.abc import Callable, Sequence
from math import comb, factorial

import numpy as np

SMOOTH_STEPS = (5e-4, 1e-5, 1e-7)
"""Finest steps, tried in turn: with the first, the estimates for cells are near 1e-11."""

STEPS_WITH_KINKS = (1e-5, 1e-7)
"""The same for functions that are smooth in pieces: small, so that hardly any step meets a kink."""

GOOD = 1e-8
"""Relative error estimate with which no finer step is tried."""

KINK_SAFETY = 3.0
"""With it, the estimate is larger than the error wherever one kink lies within the steps."""

NOISE_STEP, NOISE_POINTS = 1e-8, 7
"""Spacing and number of points of the table of differences."""

NOISE_SAFETY = 4.0
"""How many standard deviations of the function's noise are allowed for."""

Along = Callable[[float], np.ndarray]
"""Outputs of a function as one vector, at a step along a line."""


def derivative(
    along: Along, centre: np.ndarray, noise: np.ndarray, steps: Sequence[float] = SMOOTH_STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """Differentiate along a line, and estimate the error of each number.

    Parameters
    ----------
    along : callable
    centre : (M,) float64 array
        ``along(0.0)``.
    noise : (M,) float64 array
        Standard deviation of the outputs' own rounding, as of `noise_of`.
    steps : sequence of float
        Finest steps to try: the next one only where the error estimates of this one are not good.

    Returns
    -------
    value, error : (M,) float64 arrays
        An error is infinite where the function is not finite.
    """
    value, error = np.zeros_like(centre), np.full_like(centre, np.inf)
    for step in steps:
        found, estimate = _at_step(along, centre, noise, step)
        better = estimate < error
        value, error = np.where(better, found, value), np.where(better, estimate, error)
        if np.all(error <= GOOD * max(1.0, float(np.max(np.abs(value), initial=0.0)))):
            break
    return value, error


def _at_step(
    along: Along, centre: np.ndarray, noise: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """One formula of order four at two steps, extrapolated to order six, and how far its parts disagree."""
    with np.errstate(invalid="ignore", over="ignore"):
        ahead, behind = ([along(sign * k * step) for k in (1.0, 2.0, 4.0)] for sign in (1.0, -1.0))
        second, slopes = [], []
        for k, a, b in zip((1.0, 2.0, 4.0), ahead, behind, strict=True):
            slopes.append((a - b) / (2.0 * k * step))
            second.append((a - 2.0 * centre + b) / (2.0 * k * step))
        fine, coarse = ((4.0 * slopes[k] - slopes[k + 1]) / 3.0 for k in (0, 1))
        value = fine + (fine - coarse) / 15.0
        # Of a smooth function the terms of order one and three cancel; half the jump of a slope is left.
        jump = np.abs(16.0 * second[0] - 10.0 * second[1] + second[2]) / 7.0
        error = KINK_SAFETY * (4.0 * np.abs(value - fine) + jump) + 2.0 * NOISE_SAFETY * noise / step
    known = np.isfinite(value) & np.isfinite(error)
    return np.where(known, value, 0.0), np.where(known, error, np.inf)


def noise_of(along: Along, counts: Sequence[int]) -> np.ndarray:
    """Standard deviation of the outputs' rounding, from their differences of high order at tiny steps.

    Parameters
    ----------
    along : callable
    counts : sequence of int
        Number of entries of every output, as they stand in the vector: all entries of one output are taken to
        be as noisy as the noisiest.

    Returns
    -------
    (M,) float64 array
    """
    table = np.stack([along(NOISE_STEP * k) for k in range(NOISE_POINTS)])
    size = np.max(np.abs(table), axis=0)
    found = np.zeros_like(size)
    for order in (4, 5):
        coefficients = [(-1) ** k * comb(order, k) for k in range(order + 1)]
        rows = [
            sum((c * table[start + k] for k, c in enumerate(coefficients)), 0.0 * size)
            for start in range(NOISE_POINTS - order)
        ]
        scale = factorial(order) ** 2 / factorial(2 * order)
        found = np.maximum(found, np.sqrt(scale * np.mean(np.square(rows), axis=0)))
    noise: np.ndarray = np.empty_like(found)
    start = 0
    for count in counts:
        part = slice(start, start + count)
        # Differences that vanish by chance do not make a rounding of less than half a unit.
        least = 0.5 * np.finfo(np.float64).eps * np.max(size[part], initial=0.0)
        noise[part] = max(float(np.max(found[part], initial=0.0)), float(least))
        start += count
    return noise
