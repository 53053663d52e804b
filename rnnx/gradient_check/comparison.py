"""One comparison: a hand-written gradient, an oracle's, and the difference that neither can help.

A difference counts only where it is larger than the oracle's own error, which the oracle estimates entry by
entry, and the rounding of both passes together. For the latter: Higham and Mary, "A new approach to
probabilistic rounding error analysis", SIAM Journal on Scientific Computing 41 (2019), A2815-A2835: the
rounding errors of a sum of L terms grow as the square root of L.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rnnx.gradient_check.problem import Problem
from rnnx.gradient_check.report import LARGE, GradientRow

UNIT = {"float16": 2.0**-11, "float32": 2.0**-24, "float64": 2.0**-53}
"""Largest relative error of one rounding."""

ROUNDINGS = 16.0
"""How many standard deviations of accumulated rounding are allowed for."""

SHARE = 0.1
"""Share of a tensor's largest entry that is the least size of its small ones: they share its digits."""

UNDECIDED = 1e-3
"""Relative error of an oracle from which on it decides nothing: fewer than three digits are its own."""

TIE = 1e-6
"""Errors that differ by less are equal: the first one is told, whatever the machine's rounding."""

TINY = float(np.finfo(np.float64).tiny)

KEPT = 12
"""Skipped entries that a row lists."""


@dataclass(frozen=True)
class Place:
    """What is compared, and for which inputs and upstream gradients."""

    problem: Problem
    backend: str
    oracle: str
    upstream: str = ""


@dataclass(frozen=True)
class Comparison:
    """One tensor's gradient beside one oracle's, entry by entry.

    Attributes
    ----------
    row : GradientRow
    place : Place
    hand, oracle : float64 arrays
        Of the tensor's shape; of directions, of shape (K,).
    wrong : bool array of that shape
        Entries whose difference is not explained.
    others : dict of str to array
        The oracle's gradients of all tensors under the same upstream gradients.
    outputs : dict of str to array
        Of the forward pass.
    """

    row: GradientRow
    place: Place
    hand: np.ndarray
    oracle: np.ndarray
    wrong: np.ndarray
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)

    def with_hint(self, hint: str) -> "Comparison":
        """The same, and what may mend it."""
        return replace(self, row=replace(self.row, hint=hint))


def rounding(length: int, dtype: str = "float64") -> float:
    """Relative rounding error that sums of that many terms may have."""
    return ROUNDINGS * UNIT[dtype] * float(np.sqrt(length))


def of_size(size: np.ndarray) -> np.ndarray:
    """The size of the terms that each entry was summed from, given the sum of their absolute values."""
    whole: np.ndarray = size + SHARE * np.max(size, initial=0.0)
    return whole


def divisor(analytic: np.ndarray, numeric: np.ndarray, least: np.ndarray | float = 0.0) -> np.ndarray:
    """What a difference is relative to: ``max(|a|, |n|, 0.01 max|a|, 0.01 max|n|, least)``, or 1."""
    larger = np.maximum(np.abs(analytic), np.abs(numeric))
    found = np.maximum(np.maximum(larger, 0.01 * np.max(larger, initial=0.0)), least)
    return np.where(found == 0.0, 1.0, found)


def compare(
    place: Place,
    tensor: str,
    hand: np.ndarray,
    oracle: np.ndarray,
    allowed: np.ndarray,
    *,
    least: np.ndarray | float = 0.0,
    undecided: float = UNDECIDED,
    directions: bool = False,
) -> Comparison:
    """Compare entry by entry.

    Parameters
    ----------
    place : Place
    tensor : str
    hand, oracle : float64 arrays of one shape
    allowed : float64 array of that shape
        Largest difference that is explained; one that is not finite is never enough to judge by.
    least : float or array
        Least that a difference is relative to.
    undecided : float
        Entries whose `allowed` is more than that part of their values are skipped.
    directions : bool
        Whether the entries are derivatives along directions.
    """
    relative = divisor(_finite(hand), _finite(oracle), least)
    known = np.isfinite(allowed) & np.isfinite(oracle)
    tolerance = np.where(known, allowed, 0.0) / np.where(np.isfinite(relative), relative, 1.0)
    decided = known & (tolerance <= undecided)
    with np.errstate(invalid="ignore"):
        errors = np.where(decided, np.abs(hand - oracle) / relative, 0.0)
    errors = np.nan_to_num(errors, nan=np.inf)
    wrong = decided & (errors > tolerance)
    far = (
        np.where(wrong, errors, 0.0) if wrong.any() else np.where(decided, errors / (tolerance + TINY), -1.0)
    )
    worst = np.unravel_index(int(np.argmax(far >= (1.0 - TIE) * np.max(far))), errors.shape)
    skipped = [] if directions else np.argwhere(~decided)[:KEPT].tolist()
    row = GradientRow(
        name=place.problem.name,
        backend=place.backend,
        tensor=tensor,
        oracle=place.oracle,
        entries=int(np.sum(decided)),
        skipped=int(np.sum(~decided)),
        error=float(errors[worst]),
        tolerance=float(tolerance[worst]),
        case=place.problem.case,
        upstream=place.upstream,
        index=() if directions else tuple(int(i) for i in worst),
        analytic=float(hand[worst]),
        numeric=float(oracle[worst]),
        skipped_at=tuple(f"{tensor}{index} ({place.problem.case})" for index in skipped),
    )
    return Comparison(row, place, hand, oracle, wrong)


def _finite(x: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x), x, 0.0)


def refused(place: Place, tensor: str, problem: str, hint: str) -> Comparison:
    """What cannot be compared at all, as a failure."""
    row = GradientRow(
        name=place.problem.name,
        backend=place.backend,
        tensor=tensor,
        oracle=place.oracle,
        entries=1,
        skipped=0,
        error=np.inf,
        tolerance=0.0,
        case=f"{place.problem.case}: {problem}",
        upstream=place.upstream,
        index=(),
        analytic=np.nan,
        numeric=np.nan,
        hint=hint,
    )
    nothing = np.zeros(())
    return Comparison(row, place, nothing, nothing, np.zeros((), dtype=bool))


def nearness(row: GradientRow) -> tuple[int, float]:
    """How near a row is to failing: failures last, the largest error of ordinary size at the end."""
    if not row.checked:
        return 0, 0.0
    if row.passed:
        return 1, row.error / (row.tolerance + TINY)
    return (2 if row.upstream.endswith(LARGE) else 3), row.error


def worse(known: GradientRow | None, found: GradientRow) -> GradientRow:
    """The row that is nearer to failing, counting the entries of both."""
    if known is None:
        return found
    (kind, value), (known_kind, known_value) = nearness(found), nearness(known)
    keep = found if kind > known_kind or (kind == known_kind and value > (1.0 + TIE) * known_value) else known
    return replace(
        keep,
        entries=known.entries + found.entries,
        skipped=known.skipped + found.skipped,
        skipped_at=(known.skipped_at + found.skipped_at)[:KEPT],
    )
