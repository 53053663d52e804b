"""Result of a gradient check: one row per function, backend and tensor."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite, isnan, log10, nan
from typing import Literal

FORWARD = ("forward pass without a tape", "loop of steps")
"""What a forward pass with a tape must agree with; in these rows `tensor` is an output."""


AGAIN, UNTOUCHED, LINEAR, SECOND, PADDING, ENDED = PURITY = (
    "second forward pass",
    "copy made before",
    "linear combination",
    "second backward pass",
    "zero of the padding",
    "zero past the end",
)
"""What stands for the oracle where it is looked for what a pass may not do; the last one is of outputs."""

IN_FLOAT64 = "float64 gradient"
"""How the oracle's name begins where another precision or device is compared with NumPy's float64."""

LARGE = "a million times as large"
"""How the upstream gradients' name ends where they are large ones."""

OF_VALUES = (*FORWARD, AGAIN, UNTOUCHED, ENDED)
"""In these rows `tensor` is an array itself, and not its gradient."""

MOST_DIGITS = 16.0
"""Digits of an agreement that is exact."""


@dataclass(frozen=True)
class GradientRow:
    """How well one tensor's gradient agrees with one oracle, over all cases and upstream gradients.

    Attributes
    ----------
    name, backend, tensor, oracle : str
        What was compared with what. Where forward passes are compared, or what a pass may not do is looked
        for, that stands for the oracle, and `tensor` may be an output.
    entries : int
        Compared entries or directions, over all cases and upstream gradients.
    skipped : int
        Entries that were not compared: a kink lies within the step, or the oracle's own error is too large.
    error : float
        Largest relative error: the difference over the larger of both values, or over a hundredth of the
        tensor's largest where that is more.
    tolerance : float
        What is explained there: the oracle's own error, as it estimates it, and the rounding of both passes.
    case, upstream : str
        Where the largest error was.
    index : tuple of int
        Its entry; empty for a direction.
    analytic, numeric : float
        The two values there: hand-written, and the oracle's.
    skipped_at : tuple of str
        The first skipped entries.
    where : str
        Of a failure: layer and direction, gate blocks, time steps.
    hint : str
        What may have caused it.
    """

    name: str
    backend: str
    tensor: str
    oracle: str
    entries: int
    skipped: int
    error: float
    tolerance: float
    case: str
    upstream: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    skipped_at: tuple[str, ...] = ()
    where: str = ""
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether most entries were compared and all of these agree; a NaN never does."""
        return self.checked and self.error <= self.tolerance

    @property
    def checked(self) -> bool:
        """Whether entries were compared, and more than were skipped."""
        return self.entries > self.skipped

    @property
    def margin(self) -> float:
        """Decimal digits between the error and what is explained: by how many digits a check passed."""
        if self.error == 0.0:
            return MOST_DIGITS
        if not (isfinite(self.error) and self.tolerance > 0.0):
            return -MOST_DIGITS
        return min(MOST_DIGITS, log10(self.tolerance) - log10(self.error))

    @property
    def kind(self) -> Literal["oracle", "precision", "forward", "purity"]:
        """What sort of comparison it is."""
        if self.oracle in FORWARD:
            return "forward"
        if self.oracle in PURITY:
            return "purity"
        return "precision" if self.oracle.startswith(IN_FLOAT64) else "oracle"

    @property
    def refused(self) -> bool:
        """Whether there was nothing to compare: no gradient, or one of another shape, dtype or device."""
        return self.error == inf and self.tolerance == 0.0 and not self.index

    @property
    def ratio(self) -> float:
        """Hand-written value over the oracle's."""
        return self.analytic / self.numeric if self.numeric else nan

    def __str__(self) -> str:
        lines = [self._sentence()]
        if not self.passed:
            lines += [f"    Where: {self.where}."] if self.where else []
            lines += [f"    Hint: {self.hint}"] if self.hint else []
        return "\n".join(lines)

    def _sentence(self) -> str:
        what = self.tensor if self.oracle in OF_VALUES else f"the gradient of {self.tensor}"
        start = f"{self.name} on {self.backend}: {what}"
        if not self.checked:
            at = f", first at {self.skipped_at[0]}" if self.skipped_at else ""
            why = "steps meet a kink" if "differences" in self.oracle else "values are not finite"
            return (
                f"{start} was NOT CHECKED by {self.oracle}: {self.skipped} of {self.entries + self.skipped} "
                f"{why}{at}."
            )
        if self.refused:
            return f"{start} cannot be compared with the {self.oracle} ({self.case})."
        verdict = "agrees with" if self.passed else "DIFFERS from"
        place = f"{self.tensor}{list(self.index)}" if self.index else f"{self.tensor} along a direction"
        ratio = "" if isnan(self.ratio) else f" (ratio {self.ratio:.4g})"
        case = f"{self.case}; upstream on {self.upstream}" if self.upstream else self.case
        return (
            f"{start} {verdict} {_listed([self.oracle])}: relative error {self.error:.1e} (at most "
            f"{self.tolerance:.0e}) at {place}, {self.analytic:.9g} against {self.numeric:.9g}{ratio} "
            f"({case})."
        )


@dataclass(frozen=True)
class GradientReport:
    """Rows of a gradient check.

    Attributes
    ----------
    rows : tuple of GradientRow
    notes : tuple of str
        What could not be done, and what was done in its place.
    """

    rows: tuple[GradientRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there are rows and all of them passed."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def failures(self) -> tuple[GradientRow, ...]:
        """The rows that did not pass."""
        return tuple(row for row in self.rows if not row.passed)

    @property
    def gradients(self) -> tuple[GradientRow, ...]:
        """The rows that compare a gradient in float64 with an oracle."""
        return tuple(row for row in self.rows if row.kind == "oracle")

    def __add__(self, other: "GradientReport") -> "GradientReport":
        return GradientReport(self.rows + other.rows, self.notes + other.notes)

    def __str__(self) -> str:
        lines: Sequence[object] = [*(self.failures or [self._agreement()]), *self.notes]
        return "\n".join(map(str, lines))

    def _agreement(self) -> str:
        known = self.gradients or self.rows
        count = len({(row.name, row.backend, row.tensor) for row in known})
        oracles = dict.fromkeys(row.oracle for row in known)
        margin = min((row.margin for row in known), default=0.0)
        skipped = sum(row.skipped for row in known)
        aside = f"; {skipped} entries that lie at a kink were left out" if skipped else ""
        return f"{count} gradients agree with {_listed(oracles)}, by {margin:.1f} digits or more{aside}."

    def to_json(self) -> str:
        """Return the report as a JSON object: ``passed``, ``rows``, each with its ``passed``, and ``notes``.

        Each row has its ``margin`` besides. What is not finite is null.
        """
        rows = [asdict(row) | {"passed": row.passed, "margin": row.margin} for row in self.rows]
        for row in rows:
            row |= {k: None for k, v in row.items() if isinstance(v, float) and not isfinite(v)}
        return json.dumps(
            {"passed": self.passed, "rows": rows, "notes": self.notes}, indent=2, allow_nan=False
        )


def _listed(oracles: Iterable[str]) -> str:
    """The oracles as part of a sentence."""
    *first, last = (f"the {oracle}" if oracle != "autograd" else oracle for oracle in oracles)
    return f"{', '.join(first)} and {last}" if first else last
